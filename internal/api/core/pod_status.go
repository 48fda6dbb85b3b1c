package core

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	netutils "k8s.io/utils/net"

	"github.com/monohull/monohull/internal/api/meta"
)

func validatePodStatus(pod, old *corev1.Pod) field.ErrorList {
	r := &meta.Report{Errs: meta.ValidateObjectMetaUpdate(&pod.ObjectMeta, &old.ObjectMeta)}
	podAnnotationsUpdate(r, pod, old)
	s, was, p := &pod.Status, &old.Status, statusPath
	const natural = "must be a non-negative integer"
	for i, c := range s.Conditions {
		at := p.Child("conditions").Index(i)
		if c.ObservedGeneration < 0 {
			r.Invalid(at.Child("observedGeneration"), c.ObservedGeneration, natural)
		}
		switch c.Type {
		case corev1.PodScheduled, corev1.PodReady, corev1.PodInitialized:
		default:
			r.Add(meta.QualifiedName(string(c.Type), at.Child("Type")))
		}
	}
	r.ForbiddenIf(pod.Spec.NodeName != old.Spec.NodeName, p.Child("nodeName"), "may not be changed directly")
	if n := s.NominatedNodeName; n != "" && n != was.NominatedNodeName {
		r.Named(p.Child("nominatedNodeName"), n, meta.DNSSubdomain)
		r.ForbiddenIf(old.Spec.NodeName != "", p.Child("nominatedNodeName"), "may not be set on pods that are already bound to a node")
	}
	if s.ObservedGeneration < 0 {
		r.Invalid(p.Child("observedGeneration"), s.ObservedGeneration, natural)
	}
	r.Add(meta.Immutable(s.QOSClass, was.QOSClass, p.Child("qosClass")))
	stateTransitions(r, s.ContainerStatuses, was.ContainerStatuses, old.Spec.Containers, &old.Spec, p.Child("containerStatuses"))
	stateTransitions(r, s.InitContainerStatuses, was.InitContainerStatuses, old.Spec.InitContainers, &old.Spec, p.Child("initContainerStatuses"))
	stateTransitions(r, s.EphemeralContainerStatuses, was.EphemeralContainerStatuses, nil, nil, p.Child("ephemeralContainerStatuses"))
	claimStatuses(r, s.ResourceClaimStatuses, pod.Spec.ResourceClaims, p.Child("resourceClaimStatuses"))
	extendedClaimStatus(r, s.ExtendedResourceClaimStatus, &pod.Spec, p.Child("extendedResourceClaimStatus"))

	var ips, wasIPs, hostIPs, wasHostIPs []string
	for _, ip := range s.PodIPs {
		ips = append(ips, ip.IP)
	}
	for _, ip := range was.PodIPs {
		wasIPs = append(wasIPs, ip.IP)
	}
	for _, ip := range s.HostIPs {
		hostIPs = append(hostIPs, ip.IP)
	}
	for _, ip := range was.HostIPs {
		wasHostIPs = append(wasHostIPs, ip.IP)
	}
	ipPair(r, ips, wasIPs, s.PodIPs, p.Child("podIPs"))
	if len(hostIPs) > 0 && s.HostIP != hostIPs[0] {
		r.Invalid(p.Child("hostIPs").Index(0).Child("ip"), hostIPs[0], "must be equal to `hostIP`")
	}
	ipPair(r, hostIPs, wasHostIPs, s.HostIPs, p.Child("hostIPs"))

	containerStatuses(r, s.ContainerStatuses, pod.Spec.Containers, pod.Spec.OS, p.Child("containerStatuses"))
	containerStatuses(r, s.InitContainerStatuses, pod.Spec.InitContainers, pod.Spec.OS, p.Child("initContainerStatuses"))
	containerStatuses(r, s.EphemeralContainerStatuses, nil, pod.Spec.OS, p.Child("ephemeralContainerStatuses"))
	for i, st := range s.EphemeralContainerStatuses {
		r.ForbiddenIf(len(st.AllocatedResourcesStatus) > 0, p.Child("ephemeralContainerStatuses").Index(i).Child("allocatedResourcesStatus"), "must not be specified in container status")
	}
	return r.Errs
}

// ipPair wants at most one address of each family.
func ipPair(r *meta.Report, ips, old []string, shown any, p *field.Path) {
	for i, ip := range ips {
		r.Add(meta.IP(p.Index(i), ip, old))
	}
	if len(ips) < 2 {
		return
	}
	dual, err := netutils.IsDualStackIPStrings(ips)
	if err != nil {
		r.Errs = append(r.Errs, field.InternalError(p, fmt.Errorf("failed to check for dual stack with error:%v", err)))
	}
	if !dual || len(ips) > 2 {
		r.Invalid(p, shown, "may specify no more than one IP for each IP family")
	}
}

// stateTransitions refuses to bring back a container that has ended for good.
// s is nil where none may ever restart.
func stateTransitions(r *meta.Report, list, old []corev1.ContainerStatus, containers []corev1.Container, s *corev1.PodSpec, p *field.Path) {
	if s != nil && anyRestartsAll(s) {
		return
	}
	for i, was := range old {
		if was.State.Terminated == nil {
			continue
		}
		j := slices.IndexFunc(list, func(n corev1.ContainerStatus) bool { return n.Name == was.Name && n.State.Terminated == nil })
		if j < 0 {
			continue
		}
		k := slices.IndexFunc(containers, func(c corev1.Container) bool { return c.Name == was.Name })
		r.ForbiddenIf(k < 0 || !ShouldRestart(&containers[k], s.RestartPolicy, was.State.Terminated.ExitCode), p.Index(i).Child("state"),
			"may not be transitioned to non-terminated state")
	}
}

func anyRestartsAll(s *corev1.PodSpec) bool {
	for _, list := range [][]corev1.Container{s.InitContainers, s.Containers} {
		for i := range list {
			for _, rule := range list[i].RestartPolicyRules {
				if rule.Action == corev1.ContainerRestartRuleActionRestartAllContainers {
					return true
				}
			}
		}
	}
	return false
}

// ShouldRestart tells whether a container that ended with exitCode is started
// again: by its rules, else its own policy, else the pod's.
func ShouldRestart(c *corev1.Container, ofPod corev1.RestartPolicy, exitCode int32) bool {
	policy := ofPod
	if c.RestartPolicy != nil {
		for _, rule := range c.RestartPolicyRules {
			if rule.ExitCodes == nil {
				continue
			}
			in := slices.Contains(rule.ExitCodes.Values, exitCode)
			if in == (rule.ExitCodes.Operator == corev1.ContainerRestartRuleOnExitCodesOpIn) {
				return true
			}
		}
		policy = corev1.RestartPolicy(*c.RestartPolicy)
	}
	switch policy {
	case corev1.RestartPolicyNever:
		return false
	case corev1.RestartPolicyOnFailure:
		return exitCode != 0
	}
	return true
}

func claimStatuses(r *meta.Report, list []corev1.PodResourceClaimStatus, claims []corev1.PodResourceClaim, p *field.Path) {
	seen := sets.Set[string]{}
	for i, s := range list {
		at := p.Index(i)
		if !slices.ContainsFunc(claims, func(c corev1.PodResourceClaim) bool { return c.Name == s.Name }) {
			r.Invalid(at.Child("name"), s.Name, "must match the name of an entry in `spec.resourceClaims`")
		}
		if seen.Has(s.Name) {
			r.Duplicate(at.Child("name"), s.Name)
		}
		seen.Insert(s.Name)
		if s.ResourceClaimName != nil {
			r.InvalidAll(at.Child("resourceClaimName"), s.ResourceClaimName, meta.DNSSubdomain(*s.ResourceClaimName, false))
		}
	}
}

func extendedClaimStatus(r *meta.Report, s *corev1.PodExtendedResourceClaimStatus, spec *corev1.PodSpec, p *field.Path) {
	if s == nil {
		return
	}
	containers := map[string]*corev1.Container{}
	for _, list := range [][]corev1.Container{spec.InitContainers, spec.Containers} {
		for i := range list {
			containers[list[i].Name] = &list[i]
		}
	}
	maps := p.Child("requestMappings")
	if len(s.RequestMappings) == 0 {
		r.Required(maps, "at least one request mapping is required")
	}
	seen := map[corev1.ContainerExtendedResourceRequest]bool{}
	for i, m := range s.RequestMappings {
		at := maps.Index(i)
		if c := containers[m.ContainerName]; c == nil {
			r.Invalid(at.Child("containerName"), m.ContainerName, "must match the name of an entry in spec.initContainers.name or spec.containers.name")
		} else if _, ok := c.Resources.Requests[corev1.ResourceName(m.ResourceName)]; !ok {
			r.Invalid(at.Child("resourceName"), m.ResourceName, "must match the extended resource name of an entry in spec.initContainers.resources.requests or spec.containers.resources.requests")
		}
		r.Add(meta.Label1123(m.RequestName, p.Child("requestName")))
		if seen[m] {
			r.Duplicate(at.Child("containerName"), m.ContainerName)
			r.Duplicate(at.Child("resourceName"), m.ResourceName)
			r.Duplicate(at.Child("requestName"), m.RequestName)
		}
		seen[m] = true
	}
	if s.ResourceClaimName == "" {
		r.Required(p.Child("resourceClaimName"), "")
	} else {
		r.Named(p.Child("resourceClaimName"), s.ResourceClaimName, meta.DNSSubdomain)
	}
}

func containerStatuses(r *meta.Report, list []corev1.ContainerStatus, containers []corev1.Container, os *corev1.PodOS, p *field.Path) {
	for i := range list {
		st, at := &list[i], p.Index(i)
		if u := st.User; u != nil && u.Linux != nil {
			at := at.Child("user", "linux")
			if os != nil && os.Name == corev1.Windows {
				r.Forbidden(at, "cannot be set for a windows pod")
			} else if os == nil || os.Name == corev1.Linux {
				r.InvalidAll(at.Child("uid"), u.Linux.UID, validation.IsValidUserID(u.Linux.UID))
				r.InvalidAll(at.Child("gid"), u.Linux.GID, validation.IsValidGroupID(u.Linux.GID))
				for g, gid := range u.Linux.SupplementalGroups {
					r.InvalidAll(at.Child("supplementalGroups").Index(g), gid, validation.IsValidGroupID(gid))
				}
			}
		}
		if k := slices.IndexFunc(containers, func(c corev1.Container) bool { return c.Name == st.Name }); k >= 0 {
			allocatedHealth(r, st, &containers[k], at.Child("allocatedResourcesStatus"))
		}
	}
}

// allocatedHealth judges the reported health of devices: each belongs to a
// claim or a request of the container, each device is told once.
func allocatedHealth(r *meta.Report, st *corev1.ContainerStatus, c *corev1.Container, p *field.Path) {
	for j, a := range st.AllocatedResourcesStatus {
		at := p.Index(j)
		if claim, ok := strings.CutPrefix(string(a.Name), "claim:"); ok {
			if !slices.ContainsFunc(c.Resources.Claims, func(rc corev1.ResourceClaim) bool {
				return claim == rc.Name && rc.Request == "" || rc.Request != "" && claim == rc.Name+"/"+rc.Request
			}) {
				r.Invalid(at.Child("name"), a.Name, "must match one of the container's resource claims in a format 'claim:<claimName>/<request>' or 'claim:<claimName>' if request is empty")
			}
		} else if _, ok := c.Resources.Requests[a.Name]; !ok {
			r.Invalid(at.Child("name"), a.Name, "must match one of the container's resource requests")
		}
		seen := sets.Set[corev1.ResourceID]{}
		for k, h := range a.Resources {
			at := at.Child("resources").Index(k)
			meta.Among(r, at.Child("health"), h.Health, corev1.ResourceHealthStatusHealthy, corev1.ResourceHealthStatusUnhealthy, corev1.ResourceHealthStatusUnknown)
			if h.Message != nil && *h.Message == "" {
				r.Required(at.Child("message"), "must be non-empty if specified")
			} else if h.Message != nil && len(*h.Message) > corev1.ResourceHealthMessageMaxLength {
				r.TooLong(at.Child("message"), corev1.ResourceHealthMessageMaxLength)
			}
			if seen.Has(h.ResourceID) {
				r.Duplicate(at.Child("resourceID"), h.ResourceID)
			}
			seen.Insert(h.ResourceID)
		}
	}
}
