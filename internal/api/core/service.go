package core

import (
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/monohull/monohull/internal/api"
	"github.com/monohull/monohull/internal/api/meta"
)

func serviceRow() *api.Kind {
	return api.Define(api.Spec[*corev1.Service]{
		GVK: gvk("Service"), Plural: "services", Singular: "service", ShortNames: []string{"svc"}, Categories: []string{"all"},
		Namespaced: true, Prefix: "services/specs", CreateOnUpdate: true, UnconditionalUpdate: true,
		List:           &corev1.ServiceList{},
		Default:        defaultService,
		PrepareCreate:  func(s *corev1.Service) { setClusterIPs(s) },
		PrepareUpdate:  prepareServiceUpdate,
		Validate:       validateService,
		ValidateUpdate: validateServiceUpdate,
		ValidateStatus: validateServiceStatus,
		Warnings:       serviceWarnings,
		StatusWarnings: func(s *corev1.Service) (w []string) {
			for i, in := range s.Status.LoadBalancer.Ingress {
				if in.IP != "" {
					w = append(w, validation.GetWarningsForIP(statusPath.Child("loadBalancer", "ingress").Index(i), in.IP)...)
				}
			}
			return w
		},
		Fields: map[string]func(*corev1.Service) string{
			"spec.clusterIP": func(s *corev1.Service) string { return s.Spec.ClusterIP },
			"spec.type":      func(s *corev1.Service) string { return string(s.Spec.Type) },
		},
		Columns: []metav1.TableColumnDefinition{
			meta.NameColumn,
			meta.Text("Type", "How the service is exposed."),
			meta.Text("Cluster-IP", "The address of the service within the cluster."),
			meta.Text("External-IP", "The addresses of the service outside the cluster."),
			meta.Text("Port(s)", "The ports the service listens on."),
			meta.AgeColumn,
			meta.Wide("Selector", "The labels of the pods the service leads to."),
		},
		Row: func(s *corev1.Service, now time.Time) []any {
			ip := "<none>"
			if len(s.Spec.ClusterIPs) > 0 {
				ip = s.Spec.ClusterIPs[0]
			}
			return []any{s.Name, string(s.Spec.Type), ip, externalIP(s), meta.OrNone(printPorts(s.Spec.Ports)),
				meta.Age(s.CreationTimestamp, now), labels.FormatLabels(s.Spec.Selector)}
		},
	})
}

func defaultService(s *corev1.Service) {
	spec := &s.Spec
	setDefault(&spec.SessionAffinity, corev1.ServiceAffinityNone)
	switch spec.SessionAffinity {
	case corev1.ServiceAffinityNone:
		spec.SessionAffinityConfig = nil
	case corev1.ServiceAffinityClientIP:
		if c := spec.SessionAffinityConfig; c == nil || c.ClientIP == nil || c.ClientIP.TimeoutSeconds == nil {
			seconds := corev1.DefaultClientIPServiceAffinitySeconds
			spec.SessionAffinityConfig = &corev1.SessionAffinityConfig{ClientIP: &corev1.ClientIPConfig{TimeoutSeconds: &seconds}}
		}
	}
	setDefault(&spec.Type, corev1.ServiceTypeClusterIP)
	for i := range spec.Ports {
		port := &spec.Ports[i]
		setDefault(&port.Protocol, corev1.ProtocolTCP)
		if port.TargetPort == intstr.FromInt32(0) || port.TargetPort == intstr.FromString("") {
			port.TargetPort = intstr.FromInt32(port.Port)
		}
	}
	if externallyAccessible(s) {
		setDefault(&spec.ExternalTrafficPolicy, corev1.ServiceExternalTrafficPolicyCluster)
	}
	switch spec.Type {
	case corev1.ServiceTypeNodePort, corev1.ServiceTypeLoadBalancer, corev1.ServiceTypeClusterIP:
		setDefaultPtr(&spec.InternalTrafficPolicy, corev1.ServiceInternalTrafficPolicyCluster)
	}
	if spec.Type == corev1.ServiceTypeLoadBalancer {
		setDefaultPtr(&spec.AllocateLoadBalancerNodePorts, true)
	}
	defaultIPModes(s)
}

func defaultIPModes(s *corev1.Service) {
	if s.Spec.Type != corev1.ServiceTypeLoadBalancer {
		return
	}
	for i := range s.Status.LoadBalancer.Ingress {
		if in := &s.Status.LoadBalancer.Ingress[i]; in.IP != "" {
			setDefaultPtr(&in.IPMode, corev1.LoadBalancerIPModeVIP)
		}
	}
}

func externallyAccessible(s *corev1.Service) bool {
	switch s.Spec.Type {
	case corev1.ServiceTypeLoadBalancer, corev1.ServiceTypeNodePort:
		return true
	case corev1.ServiceTypeClusterIP:
		return len(s.Spec.ExternalIPs) > 0
	}
	return false
}

// What a service of its type has from the cluster's allocators.
func needsClusterIP(s *corev1.Service) bool { return s.Spec.Type != corev1.ServiceTypeExternalName }

func needsNodePorts(s *corev1.Service) bool {
	return s.Spec.Type == corev1.ServiceTypeNodePort || s.Spec.Type == corev1.ServiceTypeLoadBalancer
}

func needsHealthCheckPort(s *corev1.Service) bool {
	return s.Spec.Type == corev1.ServiceTypeLoadBalancer && s.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal
}

// isHeadless tells a service that has names and no address of its own.
func isHeadless(s *corev1.Service) bool {
	return len(s.Spec.ClusterIPs) == 1 && s.Spec.ClusterIPs[0] == corev1.ClusterIPNone
}

// setClusterIPs follows a client that knows the single field only.
func setClusterIPs(s *corev1.Service) {
	if s.Spec.ClusterIP != "" && len(s.Spec.ClusterIPs) == 0 {
		s.Spec.ClusterIPs = []string{s.Spec.ClusterIP}
	}
}

// prepareServiceUpdate keeps what the cluster allocated where the client left
// it out, and drops what a service that changed its type has no use for, where
// the client left it as it was.
func prepareServiceUpdate(s, old *corev1.Service) {
	n, o := &s.Spec, &old.Spec
	sameIPs := slices.Equal(n.ClusterIPs, o.ClusterIPs)
	switch {
	case n.ClusterIP == o.ClusterIP:
		if len(n.ClusterIPs) == 0 {
			n.ClusterIPs = slices.Clone(o.ClusterIPs)
		}
	case n.ClusterIP == "" && sameIPs:
		n.ClusterIPs = nil
	case sameIPs:
		n.ClusterIPs = []string{n.ClusterIP}
	}
	if needsClusterIP(old) && needsClusterIP(s) {
		setDefault(&n.ClusterIP, o.ClusterIP)
		if len(n.ClusterIPs) == 0 {
			n.ClusterIPs = slices.Clone(o.ClusterIPs)
		}
	}
	defaultIPModes(s)
	keepNodePorts(s, old)
	if needsHealthCheckPort(old) && needsHealthCheckPort(s) {
		setDefault(&n.HealthCheckNodePort, o.HealthCheckNodePort)
	}

	if needsClusterIP(old) && !needsClusterIP(s) {
		if n.ClusterIP == o.ClusterIP && slices.Equal(n.ClusterIPs, o.ClusterIPs) {
			n.ClusterIP, n.ClusterIPs = "", nil
		}
		if slices.Equal(n.IPFamilies, o.IPFamilies) {
			n.IPFamilies = nil
		}
		if equalPtr(n.IPFamilyPolicy, o.IPFamilyPolicy) {
			n.IPFamilyPolicy = nil
		}
	}
	if needsNodePorts(old) && !needsNodePorts(s) && nodePorts(old).IsSuperset(nodePorts(s)) {
		for i := range n.Ports {
			n.Ports[i].NodePort = 0
		}
	}
	if needsHealthCheckPort(old) && !needsHealthCheckPort(s) && n.HealthCheckNodePort == o.HealthCheckNodePort {
		n.HealthCheckNodePort = 0
	}
	if o.Type == corev1.ServiceTypeLoadBalancer && n.Type != corev1.ServiceTypeLoadBalancer {
		if equalPtr(n.AllocateLoadBalancerNodePorts, o.AllocateLoadBalancerNodePorts) {
			n.AllocateLoadBalancerNodePorts = nil
		}
		if equalPtr(n.LoadBalancerClass, o.LoadBalancerClass) {
			n.LoadBalancerClass = nil
		}
	}
	if externallyAccessible(old) && !externallyAccessible(s) && n.ExternalTrafficPolicy == o.ExternalTrafficPolicy {
		n.ExternalTrafficPolicy = ""
	}
	if n.Type != corev1.ServiceTypeLoadBalancer {
		s.Status.LoadBalancer = corev1.LoadBalancerStatus{}
	}
}

func keepNodePorts(s, old *corev1.Service) {
	if !needsNodePorts(old) || !needsNodePorts(s) {
		return
	}
	kept := nodePorts(old).Intersection(nodePorts(s))
	had := map[string]int32{}
	for _, p := range old.Spec.Ports {
		had[p.Name] = p.NodePort
	}
	for i := range s.Spec.Ports {
		if p := &s.Spec.Ports[i]; p.NodePort == 0 && !kept.Has(had[p.Name]) {
			p.NodePort = had[p.Name]
		}
	}
}

func nodePorts(s *corev1.Service) sets.Set[int32] {
	ports := sets.Set[int32]{}
	for _, p := range s.Spec.Ports {
		if p.NodePort != 0 {
			ports.Insert(p.NodePort)
		}
	}
	return ports
}

func equalPtr[T comparable](a, b *T) bool {
	return a == nil && b == nil || a != nil && b != nil && *a == *b
}

func serviceWarnings(s *corev1.Service) []string {
	var w []string
	add := func(text string) { w = append(w, text) }
	spec := &s.Spec
	if _, ok := s.Annotations[corev1.DeprecatedAnnotationTopologyAwareHints]; ok {
		add(fmt.Sprintf("annotation %s is deprecated, please use %s instead", corev1.DeprecatedAnnotationTopologyAwareHints, corev1.AnnotationTopologyMode))
	}
	headless := spec.Type == corev1.ServiceTypeClusterIP && spec.ClusterIP == corev1.ClusterIPNone
	if spec.ClusterIP != "" && spec.ClusterIP != corev1.ClusterIPNone {
		for i, ip := range spec.ClusterIPs {
			w = append(w, validation.GetWarningsForIP(specPath.Child("clusterIPs").Index(i), ip)...)
		}
	}
	if headless {
		if spec.LoadBalancerIP != "" {
			add("spec.loadBalancerIP is ignored for headless services")
		}
		if len(spec.ExternalIPs) > 0 {
			add("spec.externalIPs is ignored for headless services")
		}
		if spec.SessionAffinity != corev1.ServiceAffinityNone {
			add("spec.SessionAffinity is ignored for headless services")
		}
	}
	for i, ip := range spec.ExternalIPs {
		w = append(w, validation.GetWarningsForIP(specPath.Child("externalIPs").Index(i), ip)...)
	}
	external := spec.Type == corev1.ServiceTypeExternalName
	if len(spec.ExternalIPs) > 0 && !headless && !external {
		add("spec.externalIPs is deprecated and may no longer be implemented in some clusters")
	}
	if spec.LoadBalancerIP != "" {
		w = append(w, validation.GetWarningsForIP(specPath.Child("loadBalancerIP"), spec.LoadBalancerIP)...)
	}
	for i, c := range spec.LoadBalancerSourceRanges {
		w = append(w, validation.GetWarningsForCIDR(specPath.Child("loadBalancerSourceRanges").Index(i), c)...)
	}
	if external && len(spec.ExternalIPs) > 0 {
		add(fmt.Sprintf("spec.externalIPs is ignored when spec.type is %q", corev1.ServiceTypeExternalName))
	}
	if !external && spec.ExternalName != "" {
		add(fmt.Sprintf("spec.externalName is ignored when spec.type is not %q", corev1.ServiceTypeExternalName))
	}
	if d := spec.TrafficDistribution; d != nil && *d == corev1.ServiceTrafficDistributionPreferClose {
		add(fmt.Sprintf("spec.trafficDistribution: %q is deprecated; use %q", corev1.ServiceTrafficDistributionPreferClose, corev1.ServiceTrafficDistributionPreferSameZone))
	}
	return w
}

func externalIP(s *corev1.Service) string {
	switch s.Spec.Type {
	case corev1.ServiceTypeClusterIP, corev1.ServiceTypeNodePort:
		return meta.OrNone(strings.Join(s.Spec.ExternalIPs, ","))
	case corev1.ServiceTypeLoadBalancer:
		found := sets.Set[string]{}
		for _, in := range s.Status.LoadBalancer.Ingress {
			if in.IP != "" {
				found.Insert(in.IP)
			} else if in.Hostname != "" {
				found.Insert(in.Hostname)
			}
		}
		if all := append(sets.List(found), s.Spec.ExternalIPs...); len(all) > 0 {
			return strings.Join(all, ",")
		}
		return "<pending>"
	case corev1.ServiceTypeExternalName:
		return s.Spec.ExternalName
	}
	return "<unknown>"
}

func printPorts(ports []corev1.ServicePort) string {
	var list []string
	for _, p := range ports {
		if p.NodePort > 0 {
			list = append(list, fmt.Sprintf("%d:%d/%s", p.Port, p.NodePort, p.Protocol))
		} else {
			list = append(list, fmt.Sprintf("%d/%s", p.Port, p.Protocol))
		}
	}
	return strings.Join(list, ",")
}

func validateService(s *corev1.Service) field.ErrorList {
	return append(meta.ValidateObjectMeta(&s.ObjectMeta, true, meta.DNSLabel), validateServiceSpec(s, nil)...)
}

func validateServiceUpdate(s, old *corev1.Service) field.ErrorList {
	r := meta.Report{Errs: meta.ValidateObjectMetaUpdate(&s.ObjectMeta, &old.ObjectMeta)}
	if needsClusterIP(s) && needsClusterIP(old) {
		clusterIPsUpdate(&r, s, old)
		ipFamiliesUpdate(&r, s, old)
	}
	if s.Spec.Type == corev1.ServiceTypeLoadBalancer && old.Spec.Type == corev1.ServiceTypeLoadBalancer && !equalPtr(s.Spec.LoadBalancerClass, old.Spec.LoadBalancerClass) {
		r.Invalid(specPath.Child("loadBalancerClass"), s.Spec.LoadBalancerClass, onceSet)
	}
	r.ForbiddenIf(needsHealthCheckPort(old) && needsHealthCheckPort(s) && s.Spec.HealthCheckNodePort != old.Spec.HealthCheckNodePort,
		specPath.Child("healthCheckNodePort"), "field is immutable")
	r.Add(validateServiceSpec(s, old))
	return r.Errs
}

func validateServiceStatus(s, old *corev1.Service) field.ErrorList {
	r := meta.Report{Errs: meta.ValidateObjectMetaUpdate(&s.ObjectMeta, &old.ObjectMeta)}
	p := statusPath.Child("loadBalancer", "ingress")
	ingress := s.Status.LoadBalancer.Ingress
	if s.Spec.Type != corev1.ServiceTypeLoadBalancer {
		r.ForbiddenIf(len(ingress) > 0, p, "may only be used when `spec.type` is 'LoadBalancer'")
		return r.Errs
	}
	var had []string
	for _, in := range old.Status.LoadBalancer.Ingress {
		if in.IP != "" {
			had = append(had, in.IP)
		}
	}
	for i, in := range ingress {
		at := p.Index(i)
		if in.IP != "" {
			r.Add(meta.IP(at.Child("ip"), in.IP, had))
		}
		switch {
		case in.IPMode == nil:
			if in.IP != "" {
				r.Required(at.Child("ipMode"), "must be specified when `ip` is set")
			}
		case in.IP == "":
			r.Forbidden(at.Child("ipMode"), "may not be specified when `ip` is not set")
		default:
			meta.Among(&r, at.Child("ipMode"), *in.IPMode, corev1.LoadBalancerIPModeProxy, corev1.LoadBalancerIPModeVIP)
		}
		if in.Hostname != "" {
			r.InvalidAll(at.Child("hostname"), in.Hostname, validation.IsDNS1123Subdomain(in.Hostname))
			if isIP(in.Hostname) {
				r.Invalid(at.Child("hostname"), in.Hostname, "must be a DNS name, not an IP address")
			}
		}
	}
	return r.Errs
}
