package core

import (
	"fmt"
	"math"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/monohull/monohull/internal/api/meta"
)

var (
	metaPath   = field.NewPath("metadata")
	specPath   = field.NewPath("spec")
	statusPath = field.NewPath("status")
)

// podCheck is one judgement of a pod specification: the report it fills and
// what several of its parts need to know.
type podCheck struct {
	meta.Report
	spec *corev1.PodSpec
	// pod is nil for a template. Some rules bind only real pods, which are
	// run as they are, and not templates, which admission may still complete.
	pod       *metav1.ObjectMeta
	volumes   map[string]*corev1.VolumeSource
	claims    sets.Set[string]
	hostUsers bool
}

// eachContainer visits init, regular and ephemeral containers, each with its
// path below p; p may be nil where paths do not matter.
func eachContainer(s *corev1.PodSpec, p *field.Path, visit func(*corev1.Container, *field.Path)) {
	at := func(list string, i int) *field.Path {
		if p == nil {
			return nil
		}
		return p.Child(list).Index(i)
	}
	for i := range s.InitContainers {
		visit(&s.InitContainers[i], at("initContainers", i))
	}
	for i := range s.Containers {
		visit(&s.Containers[i], at("containers", i))
	}
	for i := range s.EphemeralContainers {
		visit((*corev1.Container)(&s.EphemeralContainers[i].EphemeralContainerCommon), at("ephemeralContainers", i))
	}
}

func validatePod(pod *corev1.Pod) field.ErrorList {
	r := meta.Report{Errs: validatePodMetaAndSpec(pod)}
	r.ForbiddenIf(len(pod.Spec.EphemeralContainers) > 0, specPath.Child("ephemeralContainers"), "cannot be set on create")
	r.ForbiddenIf(pod.Spec.NodeName != "" && len(pod.Spec.SchedulingGates) > 0, specPath.Child("nodeName"), "cannot be set until all schedulingGates have been cleared")
	profilesMatchAnnotations(&r, pod.Annotations, &pod.Spec, specPath)
	return r.Errs
}

// validatePodMetaAndSpec judges what holds for a pod at all times.
func validatePodMetaAndSpec(pod *corev1.Pod) field.ErrorList {
	r := meta.Report{Errs: meta.ValidateObjectMeta(&pod.ObjectMeta, true, meta.DNSSubdomain)}
	podAnnotations(&r, pod.Annotations, &pod.Spec, metaPath.Child("annotations"))
	r.Add(validatePodSpec(&pod.Spec, &pod.ObjectMeta, specPath))
	if pod.Spec.ServiceAccountName == "" {
		for i, v := range pod.Spec.Volumes {
			if v.Projected == nil {
				continue
			}
			for j, src := range v.Projected.Sources {
				r.ForbiddenIf(src.ServiceAccountToken != nil, specPath.Child("volumes").Index(i).Child("projected", "sources").Index(j).Child("serviceAccountToken"),
					"must not be specified when serviceAccountName is not set")
			}
		}
	}
	for i := range pod.Spec.Containers {
		imageTrimmed(&r, pod.Spec.Containers[i].Image, specPath.Child("containers").Index(i))
	}
	for i := range pod.Spec.InitContainers {
		imageTrimmed(&r, pod.Spec.InitContainers[i].Image, specPath.Child("initContainers").Index(i))
	}
	return r.Errs
}

// ValidatePodTemplateSpec judges a template at p.
func ValidatePodTemplateSpec(t *corev1.PodTemplateSpec, p *field.Path) field.ErrorList {
	var r meta.Report
	r.Add(meta.Labels(t.Labels, p.Child("labels")))
	r.Add(meta.Annotations(t.Annotations, p.Child("annotations")))
	podAnnotations(&r, t.Annotations, &t.Spec, p.Child("annotations"))
	spec := p.Child("spec")
	r.Add(validatePodSpec(&t.Spec, nil, spec))
	profilesMatchAnnotations(&r, t.Annotations, &t.Spec, spec)
	r.ForbiddenIf(len(t.Spec.EphemeralContainers) > 0, spec.Child("ephemeralContainers"), "ephemeral containers not allowed in pod template")
	return r.Errs
}

// validatePodSpec judges a specification; pod is nil for a template's.
func validatePodSpec(s *corev1.PodSpec, pod *metav1.ObjectMeta, p *field.Path) field.ErrorList {
	c := &podCheck{spec: s, pod: pod, hostUsers: s.HostUsers == nil || *s.HostUsers}
	mirror := false
	if pod != nil {
		_, mirror = pod.Annotations[corev1.MirrorPodAnnotationKey]
	}
	if s.TerminationGracePeriodSeconds == nil {
		c.Required(p.Child("terminationGracePeriodSeconds"), "")
	}
	c.checkVolumes(p.Child("volumes"))
	c.claims = podClaims(&c.Report, mirror, s.ResourceClaims, p.Child("resourceClaims"))
	c.checkContainers(p.Child("containers"))
	c.checkInitContainers(p.Child("initContainers"))
	c.checkEphemeralContainers(p.Child("ephemeralContainers"))
	podResources(&c.Report, s, c.claims, p.Child("resources"))
	c.checkHostNetworkPorts(p.Child("containers"))
	meta.OneOf(&c.Report, p.Child("restartPolicy"), s.RestartPolicy, corev1.RestartPolicyAlways, corev1.RestartPolicyOnFailure, corev1.RestartPolicyNever)
	meta.OneOf(&c.Report, p.Child("dnsPolicy"), s.DNSPolicy, corev1.DNSClusterFirstWithHostNet, corev1.DNSClusterFirst, corev1.DNSDefault, corev1.DNSNone)
	c.Add(meta.Labels(s.NodeSelector, p.Child("nodeSelector")))
	c.checkPodSecurity(p.Child("securityContext"))
	c.checkAffinity(p.Child("affinity"))
	c.checkDNS(p.Child("dnsConfig"))
	for i, g := range s.ReadinessGates {
		c.Add(meta.QualifiedName(string(g.ConditionType), p.Child("readinessGates").Index(i).Child("conditionType")))
	}
	c.checkSchedulingGates(p.Child("schedulingGates"))
	c.checkSpread(p.Child("topologySpreadConstraints"))
	c.checkHostProcess(p)
	c.checkHostUsers(p)
	c.checkHostname(p)
	if s.ServiceAccountName != "" {
		c.Named(p.Child("serviceAccountName"), s.ServiceAccountName, meta.ServiceAccount)
	}
	if s.NodeName != "" {
		c.Named(p.Child("nodeName"), s.NodeName, meta.DNSSubdomain)
	}
	if d := s.ActiveDeadlineSeconds; d != nil && (*d < 1 || *d > math.MaxInt32) {
		c.Invalid(p.Child("activeDeadlineSeconds"), *d, validation.InclusiveRangeError(1, math.MaxInt32))
	}
	c.Add(ValidateTolerations(s.Tolerations, p.Child("tolerations")))
	for i, a := range s.HostAliases {
		at := p.Child("hostAliases").Index(i)
		c.Add(meta.IP(at.Child("ip"), a.IP, nil))
		for j, h := range a.Hostnames {
			c.Add(meta.Subdomain1123(h, at.Child("hostnames").Index(j)))
		}
	}
	if s.PriorityClassName != "" {
		c.Named(p.Child("priorityClassName"), s.PriorityClassName, meta.DNSSubdomain)
	}
	if s.RuntimeClassName != nil {
		c.Named(p.Child("runtimeClassName"), *s.RuntimeClassName, meta.DNSSubdomain)
	}
	if s.PreemptionPolicy != nil {
		c.Add(ValidatePreemptionPolicy(*s.PreemptionPolicy, p.Child("preemptionPolicy")))
	}
	if s.Overhead != nil {
		requirements(&c.Report, &corev1.ResourceRequirements{Limits: s.Overhead}, containerResourceName, nil, p.Child("overhead"))
	}
	c.checkOS(p)
	c.checkFileKeyVolumes(p)
	return c.Errs
}

// ValidatePreemptionPolicy judges the policy of a pod or a priority class.
func ValidatePreemptionPolicy(v corev1.PreemptionPolicy, p *field.Path) field.ErrorList {
	var r meta.Report
	meta.OneOf(&r, p, v, corev1.PreemptLowerPriority, corev1.PreemptNever)
	return r.Errs
}

func (c *podCheck) checkHostNetworkPorts(p *field.Path) {
	if !c.spec.HostNetwork {
		return
	}
	for i := range c.spec.Containers {
		for j, port := range c.spec.Containers[i].Ports {
			if (c.pod != nil || port.HostPort != 0) && port.HostPort != port.ContainerPort {
				c.Invalid(p.Index(i).Child("ports").Index(j).Child("hostPort"), port.HostPort, "must match `containerPort` when `hostNetwork` is true")
			}
		}
	}
}

func (c *podCheck) checkSchedulingGates(p *field.Path) {
	seen := sets.Set[string]{}
	for i, g := range c.spec.SchedulingGates {
		c.Add(meta.QualifiedName(g.Name, p.Index(i)))
		if seen.Has(g.Name) {
			c.Duplicate(p.Index(i), g.Name)
		}
		seen.Insert(g.Name)
	}
}

// The bounds of resolv.conf that Kubernetes grants a pod.
const (
	maxNameservers     = 3
	maxSearchPaths     = 32
	maxSearchListChars = 2048
	maxHostname        = 64
)

func (c *podCheck) checkDNS(p *field.Path) {
	d := c.spec.DNSConfig
	if c.spec.DNSPolicy == corev1.DNSNone {
		if d == nil {
			c.Required(p, fmt.Sprintf("must provide `dnsConfig` when `dnsPolicy` is %s", corev1.DNSNone))
			return
		}
		if len(d.Nameservers) == 0 {
			c.Required(p.Child("nameservers"), fmt.Sprintf("must provide at least one DNS nameserver when `dnsPolicy` is %s", corev1.DNSNone))
			return
		}
	}
	if d == nil {
		return
	}
	if len(d.Nameservers) > maxNameservers {
		c.Invalid(p.Child("nameservers"), d.Nameservers, fmt.Sprintf("must not have more than %v nameservers", maxNameservers))
	}
	for i, ns := range d.Nameservers {
		c.Add(meta.IP(p.Child("nameservers").Index(i), ns, nil))
	}
	searches := p.Child("searches")
	if len(d.Searches) > maxSearchPaths {
		c.Invalid(searches, d.Searches, fmt.Sprintf("must not have more than %v search paths", maxSearchPaths))
	}
	chars := max(len(d.Searches)-1, 0)
	for _, s := range d.Searches {
		chars += len(s)
	}
	if chars > maxSearchListChars {
		c.Invalid(searches, d.Searches, fmt.Sprintf("must not have more than %v characters (including spaces) in the search list", maxSearchListChars))
	}
	for i, s := range d.Searches {
		if s == "." {
			continue
		}
		s = trimDot(s)
		c.InvalidAll(searches.Index(i), s, validation.IsDNS1123SubdomainWithUnderscore(s))
	}
	for i, o := range d.Options {
		if o.Name == "" {
			c.Required(p.Child("options").Index(i), "must not be empty")
		}
	}
}

func (c *podCheck) checkHostname(p *field.Path) {
	s := c.spec
	if s.Hostname != "" {
		c.Add(meta.Label1123(s.Hostname, p.Child("hostname")))
	}
	if s.Subdomain != "" {
		c.Add(meta.Label1123(s.Subdomain, p.Child("subdomain")))
	}
	if s.HostnameOverride == nil {
		return
	}
	at := p.Child("hostnameOverride")
	c.ForbiddenIf(s.SetHostnameAsFQDN != nil && *s.SetHostnameAsFQDN, at, "may not be specified when setHostnameAsFQDN is true")
	c.ForbiddenIf(s.HostNetwork, at, "may not be specified when hostNetwork is true")
	if len(*s.HostnameOverride) > maxHostname {
		c.TooLong(at, maxHostname)
	}
	c.Add(meta.Subdomain1123(*s.HostnameOverride, at))
}

func trimDot(s string) string {
	if n := len(s); n > 0 && s[n-1] == '.' {
		return s[:n-1]
	}
	return s
}
