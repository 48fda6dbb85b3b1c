package core

import (
	"fmt"
	"regexp"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/component-helpers/node/util/sysctl"

	"github.com/monohull/monohull/internal/api/meta"
)

const maxSysctlName = 253

var sysctlName = regexp.MustCompile(`^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$`)

func (c *podCheck) userID(v *int64, p *field.Path) {
	if v != nil {
		c.InvalidAll(p, *v, validation.IsValidUserID(*v))
	}
}

func (c *podCheck) groupID(v *int64, p *field.Path) {
	if v != nil {
		c.InvalidAll(p, *v, validation.IsValidGroupID(*v))
	}
}

// checkPodSecurity judges the security context of the pod.
func (c *podCheck) checkPodSecurity(p *field.Path) {
	if v := c.spec.ShareProcessNamespace; v != nil && *v && c.spec.HostPID {
		c.Invalid(p.Child("shareProcessNamespace"), *v, "ShareProcessNamespace and HostPID cannot both be enabled")
	}
	sc := c.spec.SecurityContext
	if sc == nil {
		return
	}
	c.groupID(sc.FSGroup, p.Child("fsGroup"))
	c.userID(sc.RunAsUser, p.Child("runAsUser"))
	c.groupID(sc.RunAsGroup, p.Child("runAsGroup"))
	for i, g := range sc.SupplementalGroups {
		c.groupID(&g, p.Child("supplementalGroups").Index(i))
	}
	c.checkSysctls(sc.Sysctls, p.Child("sysctls"))
	meta.AmongPtr(&c.Report, p.Child("fsGroupChangePolicy"), sc.FSGroupChangePolicy, corev1.FSGroupChangeAlways, corev1.FSGroupChangeOnRootMismatch)
	c.checkSeccomp(sc.SeccompProfile, p.Child("seccompProfile"))
	c.checkWindowsOptions(sc.WindowsOptions, p.Child("windowsOptions"))
	c.checkAppArmor(sc.AppArmorProfile, p.Child("appArmorProfile"))
	meta.AmongPtr(&c.Report, p.Child("supplementalGroupsPolicy"), sc.SupplementalGroupsPolicy, corev1.SupplementalGroupsPolicyMerge, corev1.SupplementalGroupsPolicyStrict)
	meta.AmongPtr(&c.Report, p.Child("seLinuxChangePolicy"), sc.SELinuxChangePolicy, corev1.SELinuxChangePolicyRecursive)
}

func (c *podCheck) checkSysctls(list []corev1.Sysctl, p *field.Path) {
	seen := sets.Set[string]{}
	for i, s := range list {
		at := p.Index(i).Child("name")
		switch {
		case s.Name == "":
			c.Required(at, "")
		case len(s.Name) > maxSysctlName || !sysctlName.MatchString(s.Name):
			c.Invalid(at, s.Name, fmt.Sprintf("must have at most %d characters and match regex %s", maxSysctlName, sysctlName))
		case seen.Has(s.Name):
			c.Duplicate(at, s.Name)
		}
		seen.Insert(s.Name)
		switch ns, _, _ := sysctl.GetNamespace(s.Name); {
		case c.spec.HostNetwork && ns == sysctl.NetNamespace:
			c.Invalid(at, s.Name, "may not be specified when 'hostNetwork' is true")
		case c.spec.HostIPC && ns == sysctl.IPCNamespace:
			c.Invalid(at, s.Name, "may not be specified when 'hostIPC' is true")
		}
	}
}

// checkSecurity judges the security context of a container.
func (c *podCheck) checkSecurity(sc *corev1.SecurityContext, p *field.Path) {
	if sc == nil {
		return
	}
	c.userID(sc.RunAsUser, p.Child("runAsUser"))
	c.groupID(sc.RunAsGroup, p.Child("runAsGroup"))
	if m := sc.ProcMount; m != nil {
		meta.Among(&c.Report, p.Child("procMount"), *m, corev1.DefaultProcMount, corev1.UnmaskedProcMount)
		if c.hostUsers && *m == corev1.UnmaskedProcMount {
			c.Invalid(p.Child("procMount"), m, "`hostUsers` must be false to use `Unmasked`")
		}
	}
	c.checkSeccomp(sc.SeccompProfile, p.Child("seccompProfile"))
	if sc.AllowPrivilegeEscalation != nil && !*sc.AllowPrivilegeEscalation {
		if sc.Privileged != nil && *sc.Privileged {
			c.Invalid(p, sc, "cannot set `allowPrivilegeEscalation` to false and `privileged` to true")
		}
		if sc.Capabilities != nil {
			for _, cap := range sc.Capabilities.Add {
				if cap == "CAP_SYS_ADMIN" {
					c.Invalid(p, sc, "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN")
				}
			}
		}
	}
	c.checkWindowsOptions(sc.WindowsOptions, p.Child("windowsOptions"))
	c.checkAppArmor(sc.AppArmorProfile, p.Child("appArmorProfile"))
}

func (c *podCheck) checkSeccomp(v *corev1.SeccompProfile, p *field.Path) {
	if v == nil {
		return
	}
	if v.Type == "" {
		c.Required(p.Child("type"), "type is required when seccompProfile is set")
	} else {
		meta.Among(&c.Report, p.Child("type"), v.Type, corev1.SeccompProfileTypeLocalhost, corev1.SeccompProfileTypeRuntimeDefault, corev1.SeccompProfileTypeUnconfined)
	}
	at := p.Child("localhostProfile")
	switch {
	case v.Type != corev1.SeccompProfileTypeLocalhost:
		if v.LocalhostProfile != nil {
			c.Invalid(at, v, "can only be set when seccomp type is Localhost")
		}
	case v.LocalhostProfile == nil:
		c.Required(at, "must be set when seccomp type is Localhost")
	default:
		c.checkDescending(*v.LocalhostProfile, at)
	}
}

// maxAppArmorProfile is the longest path, less its end.
const maxAppArmorProfile = 4095

func (c *podCheck) checkAppArmor(v *corev1.AppArmorProfile, p *field.Path) {
	at := p.Child("localhostProfile")
	if v == nil {
		return
	}
	switch v.Type {
	case corev1.AppArmorProfileTypeLocalhost:
		if v.LocalhostProfile == nil {
			c.Required(at, "must be set when AppArmor type is Localhost")
			return
		}
		name := *v.LocalhostProfile
		if strings.TrimSpace(name) != name {
			c.Invalid(at, name, "must not be padded with whitespace")
		} else if name == "" {
			c.Required(at, "must be set when AppArmor type is Localhost")
		}
		if len(name) > maxAppArmorProfile {
			c.TooLong(at, maxAppArmorProfile)
		}
	case corev1.AppArmorProfileTypeRuntimeDefault, corev1.AppArmorProfileTypeUnconfined:
		if v.LocalhostProfile != nil {
			c.Invalid(at, v.LocalhostProfile, "can only be set when AppArmor type is Localhost")
		}
	case "":
		c.Required(p.Child("type"), "type is required when appArmorProfile is set")
	default:
		meta.Among(&c.Report, p.Child("type"), v.Type, corev1.AppArmorProfileTypeLocalhost, corev1.AppArmorProfileTypeRuntimeDefault, corev1.AppArmorProfileTypeUnconfined)
	}
}

func (c *podCheck) checkHostUsers(p *field.Path) {
	if c.hostUsers {
		return
	}
	const when = "when `hostUsers` is false"
	c.ForbiddenIf(c.spec.HostNetwork, p.Child("hostNetwork"), when)
	c.ForbiddenIf(c.spec.HostPID, p.Child("HostPID"), when)
	c.ForbiddenIf(c.spec.HostIPC, p.Child("HostIPC"), when)
	eachContainer(c.spec, p, func(ctr *corev1.Container, p *field.Path) {
		c.ForbiddenIf(len(ctr.VolumeDevices) > 0, p.Child("volumeDevices"), when)
	})
}
