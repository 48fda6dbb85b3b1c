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

const onceSet = "may not change once set"

func isIP(v string) bool { return netutils.ParseIPSloppy(v) != nil }

// validateServiceSpec judges a service after the allocators have filled it; old
// is nil at creation.
func validateServiceSpec(s, old *corev1.Service) field.ErrorList {
	r := &meta.Report{}
	spec, p := &s.Spec, specPath
	hints, hasHints := s.Annotations[corev1.DeprecatedAnnotationTopologyAwareHints]
	if mode, ok := s.Annotations[corev1.AnnotationTopologyMode]; ok && hasHints && mode != hints {
		r.Invalid(metaPath.Child("annotations").Key(corev1.AnnotationTopologyMode), mode,
			fmt.Sprintf("must match annotations[%s] when both are specified", corev1.DeprecatedAnnotationTopologyAwareHints))
	}
	external, balanced := spec.Type == corev1.ServiceTypeExternalName, spec.Type == corev1.ServiceTypeLoadBalancer
	r.RequiredIf(len(spec.Ports) == 0 && !isHeadless(s) && !external, p.Child("ports"))
	if isHeadless(s) && needsNodePorts(s) {
		r.Invalid(p.Child("clusterIPs").Index(0), spec.ClusterIPs[0], fmt.Sprintf("may not be set to 'None' for %s services", spec.Type))
	}
	if external {
		const no = "may not be set for ExternalName services"
		r.ForbiddenIf(len(spec.ClusterIPs) > 0, p.Child("clusterIPs"), no)
		r.ForbiddenIf(len(spec.IPFamilies) > 0, p.Child("ipFamilies"), no)
		r.ForbiddenIf(spec.IPFamilyPolicy != nil, p.Child("ipFamilyPolicy"), no)
		if name := trimDot(spec.ExternalName); name == "" {
			r.Required(p.Child("externalName"), "")
		} else {
			r.Add(meta.Subdomain1123(name, p.Child("externalName")))
		}
	}
	servicePorts(r, spec, p.Child("ports"))
	r.Add(meta.Labels(spec.Selector, p.Child("selector")))
	sessionAffinity(r, spec, p)
	if needsClusterIP(s) {
		clusterIPs(r, s, old)
	}
	var hadExternal, hadRanges []string
	if old != nil {
		hadExternal = old.Spec.ExternalIPs
		for _, v := range old.Spec.LoadBalancerSourceRanges {
			hadRanges = append(hadRanges, strings.TrimSpace(v))
		}
	}
	for i, ip := range spec.ExternalIPs {
		at := p.Child("externalIPs").Index(i)
		if errs := meta.IP(at, ip, hadExternal); len(errs) > 0 {
			r.Add(errs)
		} else {
			r.Add(ValidateEndpointIP(ip, at))
		}
	}
	meta.OneOf(r, p.Child("type"), spec.Type, corev1.ServiceTypeClusterIP, corev1.ServiceTypeExternalName, corev1.ServiceTypeLoadBalancer, corev1.ServiceTypeNodePort)
	sourceRanges(r, s, old, hadRanges)

	const onlyBalanced = "may only be used when `type` is 'LoadBalancer'"
	r.ForbiddenIf(spec.AllocateLoadBalancerNodePorts != nil && !balanced, p.Child("allocateLoadBalancerNodePorts"), onlyBalanced)
	r.RequiredIf(spec.AllocateLoadBalancerNodePorts == nil && balanced, field.NewPath("allocateLoadBalancerNodePorts"))
	if c := spec.LoadBalancerClass; c != nil {
		if balanced {
			r.Add(meta.QualifiedName(*c, p.Child("loadBalancerClass")))
		} else {
			r.Forbidden(p.Child("loadBalancerClass"), onlyBalanced)
		}
	}
	trafficPolicies(r, s, p)
	return r.Errs
}

func sourceRanges(r *meta.Report, s, old *corev1.Service, had []string) {
	const only = "may only be used when `type` is 'LoadBalancer'"
	balanced := s.Spec.Type == corev1.ServiceTypeLoadBalancer
	if list := s.Spec.LoadBalancerSourceRanges; len(list) > 0 {
		at := specPath.Child("LoadBalancerSourceRanges")
		r.ForbiddenIf(!balanced, at, only)
		for i, v := range list {
			r.Add(meta.CIDR(at.Index(i), strings.TrimSpace(v), had))
		}
		return
	}
	v, ok := s.Annotations[corev1.AnnotationLoadBalancerSourceRangesKey]
	if !ok {
		return
	}
	at := metaPath.Child("annotations").Key(corev1.AnnotationLoadBalancerSourceRangesKey)
	r.ForbiddenIf(!balanced, at, only)
	if old != nil && old.Annotations[corev1.AnnotationLoadBalancerSourceRangesKey] == v {
		return
	}
	if v = strings.TrimSpace(v); v != "" {
		for _, c := range strings.Split(v, ",") {
			r.Add(meta.CIDR(at, strings.TrimSpace(c), nil))
		}
	}
}

func servicePorts(r *meta.Report, spec *corev1.ServiceSpec, p *field.Path) {
	names := sets.Set[string]{}
	type key struct {
		protocol corev1.Protocol
		port     int32
	}
	ports, taken := map[key]bool{}, map[key]bool{}
	for i, sp := range spec.Ports {
		at := p.Index(i)
		if sp.Name != "" {
			r.Add(meta.Label1123(sp.Name, at.Child("name")))
			if names.Has(sp.Name) {
				r.Duplicate(at.Child("name"), sp.Name)
			}
			names.Insert(sp.Name)
		} else {
			r.RequiredIf(len(spec.Ports) > 1, at.Child("name"))
		}
		r.InvalidAll(at.Child("port"), sp.Port, validation.IsValidPortNum(int(sp.Port)))
		meta.OneOf(r, at.Child("protocol"), sp.Protocol, protocols...)
		r.Add(validatePort(sp.TargetPort, at.Child("targetPort")))
		if sp.AppProtocol != nil {
			r.Add(meta.QualifiedName(*sp.AppProtocol, at.Child("appProtocol")))
		}
		if sp.NodePort != 0 {
			r.ForbiddenIf(spec.Type == corev1.ServiceTypeClusterIP, at.Child("nodePort"), "may not be used when `type` is 'ClusterIP'")
			if taken[key{sp.Protocol, sp.NodePort}] {
				r.Duplicate(at.Child("nodePort"), sp.NodePort)
			}
			taken[key{sp.Protocol, sp.NodePort}] = true
		}
		if ports[key{sp.Protocol, sp.Port}] {
			r.Duplicate(at, corev1.ServicePort{Protocol: sp.Protocol, Port: sp.Port})
		}
		ports[key{sp.Protocol, sp.Port}] = true
	}
}

func sessionAffinity(r *meta.Report, spec *corev1.ServiceSpec, p *field.Path) {
	meta.OneOf(r, p.Child("sessionAffinity"), spec.SessionAffinity, corev1.ServiceAffinityClientIP, corev1.ServiceAffinityNone)
	at, c := p.Child("sessionAffinityConfig"), spec.SessionAffinityConfig
	when := fmt.Sprintf("when session affinity type is %s", corev1.ServiceAffinityClientIP)
	switch {
	case spec.SessionAffinity == corev1.ServiceAffinityNone:
		r.ForbiddenIf(c != nil, at, fmt.Sprintf("must not be set when session affinity is %s", corev1.ServiceAffinityNone))
	case spec.SessionAffinity != corev1.ServiceAffinityClientIP:
	case c == nil:
		r.Required(at, when)
	case c.ClientIP == nil:
		r.Required(at.Child("clientIP"), when)
	case c.ClientIP.TimeoutSeconds == nil:
		r.Required(at.Child("clientIP", "timeoutSeconds"), when)
	default:
		const day = 24 * 60 * 60
		if t := c.ClientIP.TimeoutSeconds; *t <= 0 || *t > day {
			r.Invalid(at.Child("clientIP", "timeoutSeconds"), t, fmt.Sprintf("must be greater than 0 and less than %d", day))
		}
	}
}

func trafficPolicies(r *meta.Report, s *corev1.Service, p *field.Path) {
	spec := &s.Spec
	at := p.Child("externalTrafficPolicy")
	if externallyAccessible(s) {
		meta.OneOf(r, at, spec.ExternalTrafficPolicy, corev1.ServiceExternalTrafficPolicyCluster, corev1.ServiceExternalTrafficPolicyLocal)
	} else if spec.ExternalTrafficPolicy != "" {
		r.Invalid(at, spec.ExternalTrafficPolicy, "may only be set for externally-accessible services")
	}
	at = p.Child("healthCheckNodePort")
	switch port := spec.HealthCheckNodePort; {
	case !needsHealthCheckPort(s) && port != 0:
		r.Invalid(at, port, "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'")
	case needsHealthCheckPort(s) && port == 0:
		r.Required(at, "")
	case needsHealthCheckPort(s):
		r.InvalidAll(at, port, validation.IsValidPortNum(int(port)))
	}
	at = p.Child("internalTrafficPolicy")
	if spec.InternalTrafficPolicy == nil {
		switch spec.Type {
		case corev1.ServiceTypeNodePort, corev1.ServiceTypeLoadBalancer, corev1.ServiceTypeClusterIP:
			r.Required(at, "")
		}
	}
	meta.AmongPtr(r, at, spec.InternalTrafficPolicy, corev1.ServiceInternalTrafficPolicyCluster, corev1.ServiceInternalTrafficPolicyLocal)
	meta.AmongPtr(r, p.Child("trafficDistribution"), spec.TrafficDistribution, corev1.ServiceTrafficDistributionPreferClose,
		corev1.ServiceTrafficDistributionPreferSameZone, corev1.ServiceTrafficDistributionPreferSameNode)
}

// clusterIPs judges addresses and families: the single field and the list
// agree, one address for each family, in the families' order.
func clusterIPs(r *meta.Report, s, old *corev1.Service) {
	spec, at, families := &s.Spec, specPath.Child("clusterIPs"), specPath.Child("ipFamilies")
	ips := spec.ClusterIPs
	switch {
	case spec.ClusterIP == "" && len(ips) > 0:
		r.Invalid(at, ips, "must be empty when `clusterIP` is not specified")
	case spec.ClusterIP != "" && len(ips) == 0:
		r.Required(at, "")
	case spec.ClusterIP != "" && ips[0] != spec.ClusterIP:
		r.Invalid(at, ips, "first value must match `clusterIP`")
	}
	for i, f := range spec.IPFamilies {
		meta.Among(r, families.Index(i), f, corev1.IPv4Protocol, corev1.IPv6Protocol)
		if slices.Contains(spec.IPFamilies[:i], f) {
			r.Duplicate(families.Index(i), f)
		}
	}
	meta.AmongPtr(r, specPath.Child("ipFamilyPolicy"), spec.IPFamilyPolicy, corev1.IPFamilyPolicyPreferDualStack, corev1.IPFamilyPolicyRequireDualStack, corev1.IPFamilyPolicySingleStack)
	var had []string
	if old != nil {
		had = old.Spec.ClusterIPs
	}
	bad := false
	for i, ip := range ips {
		if i == 0 && ip == corev1.ClusterIPNone {
			if len(ips) > 1 {
				bad = true
				r.Invalid(at, ips, "'None' must be the first and only value")
			}
			continue
		}
		errs := meta.IP(at.Index(i), ip, had)
		bad = bad || len(errs) > 0
		r.Add(errs)
	}
	if len(ips) > 2 {
		r.Invalid(at, ips, "may only hold up to 2 values")
	}
	if bad {
		return
	}
	if len(ips) > 1 {
		dual, err := netutils.IsDualStackIPStrings(ips)
		if err != nil {
			r.Errs = append(r.Errs, field.InternalError(at, fmt.Errorf("failed to check for dual stack with error:%v", err)))
		}
		if !dual {
			r.Invalid(at, ips, "may specify no more than one IP for each IP family")
		}
	}
	if isHeadless(s) {
		return
	}
	for i, ip := range ips[:min(len(ips), len(spec.IPFamilies))] {
		f, is6 := spec.IPFamilies[i], netutils.IsIPv6String(ip)
		if f == corev1.IPv4Protocol && is6 || f == corev1.IPv6Protocol && !is6 {
			r.Invalid(at.Index(i), ip, fmt.Sprintf("expected an %s value as indicated by `ipFamilies[%v]`", f, i))
		}
	}
}

// clusterIPsUpdate lets a secondary address come and go; the primary stays.
func clusterIPsUpdate(r *meta.Report, s, old *corev1.Service) {
	if isHeadless(s) && isHeadless(old) {
		return
	}
	now, was, at := s.Spec.ClusterIPs, old.Spec.ClusterIPs, specPath.Child("clusterIPs")
	switch {
	case len(now) == len(was):
		for i := range was {
			if was[i] != now[i] {
				r.Invalid(at.Index(i), now, onceSet)
			}
		}
	case len(now) == 0:
		r.Invalid(at.Index(0), now, "primary clusterIP can not be unset")
	case len(was) > 0 && now[0] != was[0]:
		r.Invalid(at.Index(0), now, onceSet)
	}
	releasing(r, len(now), len(was), s, "clusterIP")
}

func ipFamiliesUpdate(r *meta.Report, s, old *corev1.Service) {
	if isHeadless(s) || isHeadless(old) {
		return
	}
	now, was, at := s.Spec.IPFamilies, old.Spec.IPFamilies, specPath.Child("ipFamilies").Index(0)
	switch {
	case len(now) == len(was):
		for i := range was {
			if was[i] != now[i] {
				r.Invalid(at, now, onceSet)
			}
		}
	case len(was) > len(now) && len(s.Spec.ClusterIPs) == 0:
		r.Invalid(at, now, "primary ipFamily can not be unset")
	case len(now) > 0 && len(was) > 0 && now[0] != was[0]:
		r.Invalid(at, s.Spec.ClusterIPs, onceSet)
	}
	releasing(r, len(now), len(was), s, "ipFamily")
}

func releasing(r *meta.Report, now, was int, s *corev1.Service, what string) {
	if pol := s.Spec.IPFamilyPolicy; now == 1 && was > 1 && (pol == nil || *pol != corev1.IPFamilyPolicySingleStack) {
		r.Invalid(specPath.Child("ipFamilyPolicy"), pol, "must be set to 'SingleStack' when releasing the secondary "+what)
	}
}
