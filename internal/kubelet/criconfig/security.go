package criconfig

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/monohull/monohull/internal/kubelet/podmachine"
)

var (
	maskedPaths = []string{
		"/proc/asound", "/proc/acpi", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
		"/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware", "/sys/devices/virtual/powercap",
	}
	readonlyPaths = []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}
)

// ImageUser is the user an image asks for.
type ImageUser struct {
	UID  *int64
	Name string
}

// merged is a container's security context over its pod's.
type merged struct {
	pod *corev1.PodSecurityContext
	own *corev1.SecurityContext
}

func mergedContext(pod *corev1.Pod, c *corev1.Container) merged {
	m := merged{pod: pod.Spec.SecurityContext, own: c.SecurityContext}
	if m.pod == nil {
		m.pod = &corev1.PodSecurityContext{}
	}
	if m.own == nil {
		m.own = &corev1.SecurityContext{}
	}
	return m
}

func either[T any](own, pod *T) *T {
	if own != nil {
		return own
	}
	return pod
}

// VerifyNonRoot refuses a container that must not run as root and would.
func VerifyNonRoot(pod *corev1.Pod, c *corev1.Container, u ImageUser) error {
	m := mergedContext(pod, c)
	nonRoot, uid := either(m.own.RunAsNonRoot, m.pod.RunAsNonRoot), either(m.own.RunAsUser, m.pod.RunAsUser)
	if nonRoot == nil || !*nonRoot {
		return nil
	}
	where := fmt.Sprintf("(pod: %q, container: %s)", podmachine.Describe(pod), c.Name)
	switch {
	case uid != nil && *uid == 0:
		return fmt.Errorf("container's runAsUser breaks non-root policy %s", where)
	case uid != nil:
		return nil
	case u.UID == nil && u.Name != "":
		return fmt.Errorf("container has runAsNonRoot and image has non-numeric user (%s), cannot verify user is non-root %s", u.Name, where)
	case u.UID == nil || *u.UID == 0:
		return fmt.Errorf("container has runAsNonRoot and image will run as root %s", where)
	}
	return nil
}

// Namespaces are a pod's shares of the node's and each other's namespaces. targetID
// is the container whose processes an ephemeral one sees.
func Namespaces(pod *corev1.Pod, targetID string) *runtimeapi.NamespaceOption {
	n := &runtimeapi.NamespaceOption{Network: runtimeapi.NamespaceMode_POD, Ipc: runtimeapi.NamespaceMode_POD, Pid: runtimeapi.NamespaceMode_CONTAINER}
	if pod.Spec.HostNetwork {
		n.Network = runtimeapi.NamespaceMode_NODE
	}
	if pod.Spec.HostIPC {
		n.Ipc = runtimeapi.NamespaceMode_NODE
	}
	switch {
	case pod.Spec.HostPID:
		n.Pid = runtimeapi.NamespaceMode_NODE
	case targetID != "":
		n.Pid, n.TargetId = runtimeapi.NamespaceMode_TARGET, targetID
	case pod.Spec.ShareProcessNamespace != nil && *pod.Spec.ShareProcessNamespace:
		n.Pid = runtimeapi.NamespaceMode_POD
	}
	return n
}

// SecurityContext translates a container's security context.
func SecurityContext(pod *corev1.Pod, c *corev1.Container, u ImageUser, targetID, seccompRoot string) *runtimeapi.LinuxContainerSecurityContext {
	m := mergedContext(pod, c)
	out := &runtimeapi.LinuxContainerSecurityContext{
		NamespaceOptions:   Namespaces(pod, targetID),
		SupplementalGroups: Groups(pod),
		Seccomp:            seccomp(either(m.own.SeccompProfile, m.pod.SeccompProfile), seccompRoot),
		Apparmor:           apparmor(either(m.own.AppArmorProfile, m.pod.AppArmorProfile)),
	}
	if uid := either(m.own.RunAsUser, m.pod.RunAsUser); uid != nil {
		out.RunAsUser = &runtimeapi.Int64Value{Value: *uid}
	} else if u.UID != nil {
		out.RunAsUser = &runtimeapi.Int64Value{Value: *u.UID}
	} else {
		out.RunAsUsername = u.Name
	}
	if gid := either(m.own.RunAsGroup, m.pod.RunAsGroup); gid != nil {
		out.RunAsGroup = &runtimeapi.Int64Value{Value: *gid}
	}
	if p := m.pod.SupplementalGroupsPolicy; p != nil && *p == corev1.SupplementalGroupsPolicyStrict {
		out.SupplementalGroupsPolicy = runtimeapi.SupplementalGroupsPolicy_Strict
	}
	if caps := m.own.Capabilities; caps != nil {
		out.Capabilities = &runtimeapi.Capability{}
		for _, a := range caps.Add {
			out.Capabilities.AddCapabilities = append(out.Capabilities.AddCapabilities, string(a))
		}
		for _, d := range caps.Drop {
			out.Capabilities.DropCapabilities = append(out.Capabilities.DropCapabilities, string(d))
		}
	}
	out.Privileged = m.own.Privileged != nil && *m.own.Privileged
	out.ReadonlyRootfs = m.own.ReadOnlyRootFilesystem != nil && *m.own.ReadOnlyRootFilesystem
	out.NoNewPrivs = m.own.AllowPrivilegeEscalation != nil && !*m.own.AllowPrivilegeEscalation
	if se := either(m.own.SELinuxOptions, m.pod.SELinuxOptions); se != nil {
		out.SelinuxOptions = &runtimeapi.SELinuxOption{User: se.User, Role: se.Role, Type: se.Type, Level: se.Level}
	}
	if !out.Privileged && (m.own.ProcMount == nil || *m.own.ProcMount == corev1.DefaultProcMount) {
		out.MaskedPaths, out.ReadonlyPaths = slices.Clone(maskedPaths), slices.Clone(readonlyPaths)
	}
	return out
}

// Groups are the groups every process of a pod has besides its own.
func Groups(pod *corev1.Pod) []int64 {
	var out []int64
	if s := pod.Spec.SecurityContext; s != nil {
		out = append(out, s.SupplementalGroups...)
		if s.FSGroup != nil {
			out = append(out, *s.FSGroup)
		}
	}
	return out
}

func seccomp(p *corev1.SeccompProfile, root string) *runtimeapi.SecurityProfile {
	out := &runtimeapi.SecurityProfile{ProfileType: runtimeapi.SecurityProfile_Unconfined}
	if p == nil {
		return out
	}
	switch p.Type {
	case corev1.SeccompProfileTypeRuntimeDefault:
		out.ProfileType = runtimeapi.SecurityProfile_RuntimeDefault
	case corev1.SeccompProfileTypeLocalhost:
		out.ProfileType = runtimeapi.SecurityProfile_Localhost
		if p.LocalhostProfile != nil {
			out.LocalhostRef = filepath.Join(root, *p.LocalhostProfile)
		}
	}
	return out
}

func apparmor(p *corev1.AppArmorProfile) *runtimeapi.SecurityProfile {
	if p == nil {
		return nil
	}
	switch p.Type {
	case corev1.AppArmorProfileTypeRuntimeDefault:
		return &runtimeapi.SecurityProfile{ProfileType: runtimeapi.SecurityProfile_RuntimeDefault}
	case corev1.AppArmorProfileTypeLocalhost:
		out := &runtimeapi.SecurityProfile{ProfileType: runtimeapi.SecurityProfile_Localhost}
		if p.LocalhostProfile != nil {
			out.LocalhostRef = strings.TrimSpace(*p.LocalhostProfile)
		}
		return out
	}
	return &runtimeapi.SecurityProfile{ProfileType: runtimeapi.SecurityProfile_Unconfined}
}
