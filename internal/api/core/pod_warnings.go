package core

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// deprecatedNodeLabels says what to use in their place.
var deprecatedNodeLabels = map[string]string{
	"beta.kubernetes.io/arch":                       `deprecated since v1.14; use "kubernetes.io/arch" instead`,
	"beta.kubernetes.io/os":                         `deprecated since v1.14; use "kubernetes.io/os" instead`,
	"failure-domain.beta.kubernetes.io/region":      `deprecated since v1.17; use "topology.kubernetes.io/region" instead`,
	"failure-domain.beta.kubernetes.io/zone":        `deprecated since v1.17; use "topology.kubernetes.io/zone" instead`,
	"beta.kubernetes.io/instance-type":              `deprecated since v1.17; use "node.kubernetes.io/instance-type" instead`,
	"app.kubernetes.io/created-by":                  "deprecated since v1.9",
	"scheduler.alpha.kubernetes.io/preferAvoidPods": "deprecated since v1.22; use Taints and Tolerations instead",
	"node-role.kubernetes.io/master":                `use "node-role.kubernetes.io/control-plane" instead`,
}

// LabelDeprecation says what to use in place of a label of nodes, "" for one
// that is not deprecated.
func LabelDeprecation(key string) string { return deprecatedNodeLabels[key] }

var deadPodAnnotations = []struct{ key, text string }{
	{"scheduler.alpha.kubernetes.io/critical-pod", `non-functional in v1.16+; use the "priorityClassName" field instead`},
	{"security.alpha.kubernetes.io/sysctls", `non-functional in v1.11+; use the "sysctls" field instead`},
	{"security.alpha.kubernetes.io/unsafe-sysctls", `non-functional in v1.11+; use the "sysctls" field instead`},
}

// PodTemplateWarnings are the warnings for a template at p.
func PodTemplateWarnings(p *field.Path, t *corev1.PodTemplateSpec) []string {
	return podWarnings(p, &t.ObjectMeta, &t.Spec)
}

// NameInPodsWarning warns of a workload whose name does not fit a hostname.
func NameInPodsWarning(name string) []string {
	if msgs := validation.IsDNS1123Label(name); len(msgs) > 0 {
		return []string{fmt.Sprintf("metadata.name: this is used in Pod names and hostnames, which can result in surprising behavior; a DNS label is recommended: %v", msgs)}
	}
	return nil
}

// warner gathers warnings, each led by the path it is about.
type warner []string

func (w *warner) at(p *field.Path, format string, args ...any) {
	*w = append(*w, p.String()+": "+fmt.Sprintf(format, args...))
}

// podWarnings warns of what is valid and yet hardly meant; p is nil for a pod.
func podWarnings(p *field.Path, m *metav1.ObjectMeta, s *corev1.PodSpec) []string {
	var w warner
	spec := p.Child("spec")
	for k := range s.NodeSelector {
		if msg := LabelDeprecation(k); msg != "" {
			w.at(spec.Child("nodeSelector").Key(k), "%s", msg)
		}
	}
	w.affinity(s.Affinity, spec.Child("affinity"))
	for i, t := range s.TopologySpreadConstraints {
		at := spec.Child("topologySpreadConstraints").Index(i)
		if msg := LabelDeprecation(t.TopologyKey); msg != "" {
			w.at(at.Child("topologyKey"), "%s is %s", t.TopologyKey, msg)
		}
		if t.LabelSelector == nil {
			w.at(at.Child("labelSelector"), "a null labelSelector results in matching no pod")
		}
	}
	for _, a := range deadPodAnnotations {
		if _, ok := m.Annotations[a.key]; ok {
			w.at(p.Child("metadata", "annotations").Key(a.key), "%s", a.text)
		}
	}
	for i := range s.Volumes {
		w.volume(&s.Volumes[i], spec.Child("volumes").Index(i))
	}
	w.overlaps(s.Volumes)
	w.repeats(len(s.HostAliases), func(i int) string { return s.HostAliases[i].IP }, spec.Child("hostAliases"), "ip")
	w.repeats(len(s.ImagePullSecrets), func(i int) string { return s.ImagePullSecrets[i].Name }, spec.Child("imagePullSecrets"), "name")
	for i, r := range s.ImagePullSecrets {
		if r.Name == "" {
			w.at(spec.Child("imagePullSecrets").Index(i).Child("name"), "invalid empty name %q", r.Name)
		}
	}
	w.fractions(s.Overhead, spec.Child("overhead"))
	w.profiles(p, m, s)
	eachContainer(s, spec, func(c *corev1.Container, p *field.Path) {
		w.fractions(c.Resources.Limits, p.Child("resources", "limits"))
		w.fractions(c.Resources.Requests, p.Child("resources", "requests"))
		w.env(c.Env, p.Child("env"))
	})
	w.ports(s, spec)
	if g := s.TerminationGracePeriodSeconds; g != nil && *g < 0 {
		w.at(spec.Child("terminationGracePeriodSeconds"), "must be >= 0; negative values are invalid and will be treated as 1")
	}
	if s.DNSConfig != nil {
		for i, ns := range s.DNSConfig.Nameservers {
			w = append(w, validation.GetWarningsForIP(spec.Child("dnsConfig", "nameservers").Index(i), ns)...)
		}
	}
	for i, a := range s.HostAliases {
		w = append(w, validation.GetWarningsForIP(spec.Child("hostAliases").Index(i).Child("ip"), a.IP)...)
	}
	return w
}

func (w *warner) repeats(n int, value func(int) string, p *field.Path, name string) {
	seen := sets.Set[string]{}
	for i := range n {
		if v := value(i); seen.Has(v) {
			w.at(p.Index(i).Child(name), "duplicate %s %q", name, v)
		} else {
			seen.Insert(v)
		}
	}
}

func (w *warner) fractions(l corev1.ResourceList, p *field.Path) {
	for _, n := range []corev1.ResourceName{corev1.ResourceMemory, corev1.ResourceEphemeralStorage} {
		if q, ok := l[n]; ok && q.MilliValue()%1000 != 0 {
			w.at(p.Key(string(n)), "fractional byte value %q is invalid, must be an integer", q.String())
		}
	}
}

// profiles warns of annotations that no longer do anything, or soon will not.
func (w *warner) profiles(p *field.Path, m *metav1.ObjectMeta, s *corev1.PodSpec) {
	if len(m.Annotations) == 0 {
		return
	}
	at := p.Child("metadata", "annotations")
	dead := func(key string, f *corev1.SeccompProfile) {
		if _, ok := m.Annotations[key]; ok && f == nil {
			w.at(at.Key(key), `non-functional in v1.27+; use the "seccompProfile" field instead`)
		}
	}
	sc := s.SecurityContext
	if sc == nil {
		sc = &corev1.PodSecurityContext{}
	}
	dead(corev1.SeccompPodAnnotationKey, sc.SeccompProfile)
	eachContainer(s, nil, func(c *corev1.Container, _ *field.Path) {
		own := c.SecurityContext
		if own == nil {
			own = &corev1.SecurityContext{}
		}
		dead(seccompContainerNS+c.Name, own.SeccompProfile)
		if p == nil || own.AppArmorProfile != nil {
			return // preparation of a pod moves its AppArmor annotations into fields
		}
		key := appArmorKeyPrefix + c.Name
		if v, ok := m.Annotations[key]; ok && (sc.AppArmorProfile == nil || !equality.Semantic.DeepEqual(sc.AppArmorProfile, appArmorFromAnnotation(v))) {
			w.at(at.Key(key), `deprecated since v1.30; use the "appArmorProfile" field instead`)
		}
	})
}

// env warns of a variable defined twice, unless the second extends the first.
func (w *warner) env(vars []corev1.EnvVar, p *field.Path) {
	seen := sets.Set[string]{}
	for i, v := range vars {
		ref := "$(" + v.Name + ")"
		if !seen.Has(v.Name) {
			seen.Insert(v.Name)
		} else if v.ValueFrom != nil || v.Value == ref || !strings.Contains(v.Value, ref) {
			w.at(p.Index(i), "hides previous definition of %q, which may be dropped when using apply", v.Name)
		}
	}
}

func (w *warner) ports(s *corev1.PodSpec, p *field.Path) {
	type placed struct {
		at   *field.Path
		port corev1.ContainerPort
	}
	same, named := map[string][]placed{}, map[string]*field.Path{}
	var names warner
	eachContainer(s, p, func(c *corev1.Container, p *field.Path) {
		for i, port := range c.Ports {
			at := p.Child("ports").Index(i)
			if port.HostIP != "" && port.HostPort == 0 {
				w.at(at, "hostIP set without hostPort: %+v", port)
			}
			key := fmt.Sprintf("%d/%s", port.ContainerPort, port.Protocol)
			for _, o := range same[key] {
				switch {
				case port.HostIP == o.port.HostIP && port.HostPort == o.port.HostPort:
					w.at(at, "duplicate port definition with %s", o.at)
				case port.HostPort == 0 || o.port.HostPort == 0:
					w.at(at, "overlapping port definition with %s", o.at)
				case port.HostPort == o.port.HostPort && (port.HostIP == "") != (o.port.HostIP == ""):
					w.at(at, "dangerously ambiguous port definition with %s", o.at)
				}
			}
			same[key] = append(same[key], placed{at, port})
			if port.Name == "" {
				continue
			}
			if o := named[port.Name]; o != nil {
				names.at(at, "duplicate port name %q with %s, services and probes that select ports by name will use %s", port.Name, o, o)
			} else {
				named[port.Name] = at
			}
		}
	})
	*w = append(*w, names...)
}

func (w *warner) affinity(a *corev1.Affinity, p *field.Path) {
	if a == nil {
		return
	}
	if n := a.NodeAffinity; n != nil {
		at := p.Child("nodeAffinity")
		if n.RequiredDuringSchedulingIgnoredDuringExecution != nil {
			for i := range n.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms {
				w.nodeTerm(&n.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms[i], at.Child(requiredTerms, "nodeSelectorTerms").Index(i), false)
			}
		}
		for i := range n.PreferredDuringSchedulingIgnoredDuringExecution {
			w.nodeTerm(&n.PreferredDuringSchedulingIgnoredDuringExecution[i].Preference, at.Child(preferredTerms).Index(i).Child("preference"), true)
		}
	}
	terms := func(required []corev1.PodAffinityTerm, preferred []corev1.WeightedPodAffinityTerm, p *field.Path) {
		const none = "a null labelSelector results in matching no pod"
		for i := range required {
			if required[i].LabelSelector == nil {
				w.at(p.Child(requiredTerms).Index(i).Child("labelSelector"), none)
			}
		}
		for i := range preferred {
			if preferred[i].PodAffinityTerm.LabelSelector == nil {
				w.at(p.Child(preferredTerms).Index(i).Child("podAffinityTerm", "labelSelector"), none)
			}
		}
	}
	if pa := a.PodAffinity; pa != nil {
		terms(pa.RequiredDuringSchedulingIgnoredDuringExecution, pa.PreferredDuringSchedulingIgnoredDuringExecution, p.Child("podAffinity"))
	}
	if pa := a.PodAntiAffinity; pa != nil {
		terms(pa.RequiredDuringSchedulingIgnoredDuringExecution, pa.PreferredDuringSchedulingIgnoredDuringExecution, p.Child("podAntiAffinity"))
	}
}

func (w *warner) nodeTerm(t *corev1.NodeSelectorTerm, p *field.Path, checkValues bool) {
	for i, e := range t.MatchExpressions {
		at := p.Child("matchExpressions").Index(i)
		if msg := LabelDeprecation(e.Key); msg != "" {
			w.at(at.Child("key"), "%s is %s", e.Key, msg)
		}
		if !checkValues {
			continue
		}
		for j, v := range e.Values {
			for _, msg := range validation.IsValidLabelValue(v) {
				w.at(at.Child("values").Index(j), "%s is invalid, %s", v, msg)
			}
		}
	}
}

func (w *warner) volume(v *corev1.Volume, p *field.Path) {
	gone := func(set bool, name, text string) {
		if set {
			w.at(p.Child(name), "%s", text)
		}
	}
	gone(v.PhotonPersistentDisk != nil, "photonPersistentDisk", "deprecated in v1.11, non-functional in v1.16+")
	gone(v.GitRepo != nil, "gitRepo", "deprecated in v1.11, and disabled by default in v1.33+")
	gone(v.ScaleIO != nil, "scaleIO", "deprecated in v1.16, non-functional in v1.22+")
	gone(v.Flocker != nil, "flocker", "deprecated in v1.22, non-functional in v1.25+")
	gone(v.StorageOS != nil, "storageOS", "deprecated in v1.22, non-functional in v1.25+")
	gone(v.Quobyte != nil, "quobyte", "deprecated in v1.22, non-functional in v1.25+")
	gone(v.Glusterfs != nil, "glusterfs", "deprecated in v1.25, non-functional in v1.26+")
	gone(v.CephFS != nil, "cephfs", "deprecated in v1.28, non-functional in v1.31+")
	gone(v.RBD != nil, "rbd", "deprecated in v1.28, non-functional in v1.31+")
	if v.Ephemeral != nil && v.Ephemeral.VolumeClaimTemplate != nil {
		if q, ok := v.Ephemeral.VolumeClaimTemplate.Spec.Resources.Requests[corev1.ResourceStorage]; ok && q.MilliValue()%1000 != 0 {
			w.at(p.Child("ephemeral", "volumeClaimTemplate", "spec", "resources", "requests").Key(string(corev1.ResourceStorage)),
				"fractional byte value %q is invalid, must be an integer", q.String())
		}
	}
}

// ownedPath is one file of a volume and what puts it there.
type ownedPath struct{ path, owner string }

func (o ownedPath) String() string {
	if o.owner != "" {
		return fmt.Sprintf("%q (%s)", o.path, o.owner)
	}
	return fmt.Sprintf("%q", o.path)
}

// overlaps warns of files of one volume that hide one another.
func (w *warner) overlaps(volumes []corev1.Volume) {
	for i := range volumes {
		v := &volumes[i]
		keys := func(items []corev1.KeyToPath, owner string) (paths []ownedPath) {
			for _, it := range items {
				paths = append(paths, ownedPath{it.Path, owner})
			}
			return paths
		}
		files := func(items []corev1.DownwardAPIVolumeFile, owner string) (paths []ownedPath) {
			for _, it := range items {
				paths = append(paths, ownedPath{it.Path, owner})
			}
			return paths
		}
		switch {
		case v.ConfigMap != nil:
			w.overlap(v.Name, fmt.Sprintf("ConfigMap %q", v.ConfigMap.Name), keys(v.ConfigMap.Items, ""))
		case v.Secret != nil:
			w.overlap(v.Name, fmt.Sprintf("Secret %q", v.Secret.SecretName), keys(v.Secret.Items, ""))
		case v.DownwardAPI != nil:
			w.overlap(v.Name, "DownwardAPI", files(v.DownwardAPI.Items, ""))
		case v.Projected != nil:
			var all []ownedPath
			for _, src := range v.Projected.Sources {
				switch {
				case src == corev1.VolumeProjection{}:
					*w = append(*w, fmt.Sprintf("volume %q (Projected) has no sources provided", v.Name))
				case src.ConfigMap != nil:
					all = append(all, keys(src.ConfigMap.Items, fmt.Sprintf("ConfigMap %q", src.ConfigMap.Name))...)
				case src.Secret != nil:
					all = append(all, keys(src.Secret.Items, fmt.Sprintf("Secret %q", src.Secret.Name))...)
				case src.DownwardAPI != nil:
					all = append(all, files(src.DownwardAPI.Items, "DownwardAPI")...)
				case src.ServiceAccountToken != nil:
					all = append(all, ownedPath{src.ServiceAccountToken.Path, "ServiceAccountToken"})
				}
			}
			w.overlap(v.Name, "Projected", all)
		}
	}
}

func (w *warner) overlap(volume, kind string, paths []ownedPath) {
	for i := range paths {
		a := &paths[i]
		a.path = strings.TrimRight(a.path, "/")
		for _, b := range paths[:i] {
			if a.path != "" && b.path != "" && (strings.HasPrefix(a.path+"/", b.path+"/") || strings.HasPrefix(b.path+"/", a.path+"/")) {
				*w = append(*w, fmt.Sprintf("volume %q (%s): overlapping paths: %s with %s", volume, kind, a, b))
			}
		}
	}
}

// podStatusWarnings warn of addresses that are not written as they should be.
func podStatusWarnings(p *corev1.Pod) (w []string) {
	for i, ip := range p.Status.PodIPs {
		w = append(w, validation.GetWarningsForIP(statusPath.Child("podIPs").Index(i).Child("ip"), ip.IP)...)
	}
	for i, ip := range p.Status.HostIPs {
		w = append(w, validation.GetWarningsForIP(statusPath.Child("hostIPs").Index(i).Child("ip"), ip.IP)...)
	}
	return w
}
