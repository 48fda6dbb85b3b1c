package core

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	netutils "k8s.io/utils/net"

	"github.com/monohull/monohull/internal/api"
	"github.com/monohull/monohull/internal/api/meta"
)

const nodeRolePrefix = "node-role.kubernetes.io/"

var declaredFeature = regexp.MustCompile(`^[A-Z][a-zA-Z0-9]*(\/[a-zA-Z][a-zA-Z0-9]*)*$`)

func nodeRow() *api.Kind {
	return api.Define(api.Spec[*corev1.Node]{
		GVK: gvk("Node"), Plural: "nodes", Singular: "node", ShortNames: []string{"no"}, Prefix: "minions", UnconditionalUpdate: true, StatusOnCreate: true,
		List:    &corev1.NodeList{},
		Default: defaultNode,
		Restore: offerAll, // an empty list is not kept
		PrepareCreate: func(n *corev1.Node) {
			n.Spec.ConfigSource, n.Status.Config = nil, nil // a feature that is gone
		},
		PrepareUpdate: func(n, old *corev1.Node) {
			if old.Spec.ConfigSource == nil {
				n.Spec.ConfigSource = nil
			}
		},
		PrepareStatus: func(n, old *corev1.Node) {
			if old.Status.Config == nil {
				n.Status.Config = nil
			}
		},
		Validate: validateNode,
		ValidateUpdate: func(n, old *corev1.Node) field.ErrorList {
			return append(validateNode(n), validateNodeUpdate(n, old)...)
		},
		ValidateStatus: validateNodeUpdate,
		Warnings: func(n *corev1.Node) (w []string) {
			if n.Spec.ConfigSource != nil {
				w = append(w, "spec.configSource: the feature is removed")
			}
			if n.Spec.DoNotUseExternalID != "" {
				w = append(w, "spec.externalID: this field is deprecated, and is unused by Kubernetes")
			}
			for i, c := range n.Spec.PodCIDRs {
				w = append(w, validation.GetWarningsForCIDR(specPath.Child("podCIDRs").Index(i), c)...)
			}
			return w
		},
		Fields: map[string]func(*corev1.Node) string{
			"spec.unschedulable": func(n *corev1.Node) string { return fmt.Sprint(n.Spec.Unschedulable) },
		},
		Columns: []metav1.TableColumnDefinition{
			meta.NameColumn,
			meta.Text("Status", "The status of the node"),
			meta.Text("Roles", "The roles of the node"),
			meta.AgeColumn,
			meta.Text("Version", "Kubelet Version reported by the node."),
			meta.Wide("Internal-IP", "An address of the node within the cluster."),
			meta.Wide("External-IP", "An address of the node from outside."),
			meta.Wide("OS-Image", "OS Image reported by the node."),
			meta.Wide("Kernel-Version", "Kernel Version reported by the node."),
			meta.Wide("Container-Runtime", "ContainerRuntime Version reported by the node."),
		},
		Row: nodeCells,
	})
}

func defaultNode(n *corev1.Node) {
	s := &n.Spec
	switch {
	case s.PodCIDR != "" && (len(s.PodCIDRs) == 0 || s.PodCIDRs[0] != s.PodCIDR):
		s.PodCIDRs = []string{s.PodCIDR}
	case len(s.PodCIDRs) > 0:
		s.PodCIDR = s.PodCIDRs[0]
	}
	offerAll(n)
	roundUp(n.Status.Capacity)
	roundUp(n.Status.Allocatable)
}

// offerAll lets pods have all that a node has, where it does not say what they
// may have.
func offerAll(n *corev1.Node) {
	if n.Status.Allocatable == nil && n.Status.Capacity != nil {
		n.Status.Allocatable = n.Status.Capacity.DeepCopy()
	}
}

func validateNode(n *corev1.Node) field.ErrorList {
	r := &meta.Report{Errs: meta.ValidateObjectMeta(&n.ObjectMeta, false, meta.DNSSubdomain)}
	nodeParts(r, n)
	if s := n.Status.NodeInfo.Swap; s != nil && s.Capacity != nil {
		r.Positive(metaPath.Child("nodeSwapStatus", "capacity"), *s.Capacity)
	}
	p := specPath.Child("podCIDRs")
	for i, c := range n.Spec.PodCIDRs {
		r.Add(meta.CIDR(p.Index(i), c, nil))
	}
	if len(n.Spec.PodCIDRs) > 1 {
		dual, err := netutils.IsDualStackCIDRStrings(n.Spec.PodCIDRs)
		if err != nil {
			r.Errs = append(r.Errs, field.InternalError(p, fmt.Errorf("invalid PodCIDRs. failed to check with dual stack with error:%v", err)))
		}
		if !dual || len(n.Spec.PodCIDRs) > 2 {
			r.Invalid(p, n.Spec.PodCIDRs, "may specify no more than one CIDR for each IP family")
		}
	}
	return r.Errs
}

// nodeParts judges what both creation and change of a node look at.
func nodeParts(r *meta.Report, n *corev1.Node) {
	p := metaPath.Child("annotations")
	if v := n.Annotations[taintsKey]; v != "" {
		var list []corev1.Taint
		if err := json.Unmarshal([]byte(v), &list); err != nil {
			r.Invalid(p, taintsKey, err.Error())
		} else {
			taints(r, list, p.Child(taintsKey))
		}
	}
	if v := n.Annotations[avoidPodsKey]; v != "" {
		avoidPods(r, v, p)
	}
	taints(r, n.Spec.Taints, metaPath.Child("taints"))
	for name, list := range map[string]corev1.ResourceList{"capacity": n.Status.Capacity, "allocatable": n.Status.Allocatable} {
		for _, k := range sortedNames(list) {
			r.Add(ValidateQuantity(k, list[k], statusPath.Child(name, string(k))))
		}
	}
	declaredFeatures(r, n.Status.DeclaredFeatures, statusPath.Child("declaredFeatures"))
}

func avoidPods(r *meta.Report, v string, p *field.Path) {
	var a corev1.AvoidPods
	if err := json.Unmarshal([]byte(v), &a); err != nil {
		r.Invalid(p.Child("AvoidPods"), avoidPodsKey, err.Error())
		return
	}
	for i, e := range a.PreferAvoidPods {
		at := p.Child(avoidPodsKey).Index(i).Child("PodSignature")
		c := e.PodSignature.PodController
		if c == nil {
			r.Required(at, "")
		} else if c.Controller == nil || !*c.Controller {
			r.Invalid(at.Child("PodController", "Controller"), false, "must point to a controller")
		}
	}
}

func taints(r *meta.Report, list []corev1.Taint, p *field.Path) {
	type key struct {
		key    string
		effect corev1.TaintEffect
	}
	seen := map[key]bool{}
	for i, t := range list {
		at := p.Index(i)
		r.Add(meta.LabelName(t.Key, at.Child("key")))
		if msgs := validation.IsValidLabelValue(t.Value); len(msgs) > 0 {
			r.Invalid(at.Child("value"), t.Value, strings.Join(msgs, ";"))
		}
		taintEffect(r, t.Effect, at.Child("effect"))
		if seen[key{t.Key, t.Effect}] {
			e := field.Duplicate(at, t)
			e.Detail = "taints must be unique by key and effect pair"
			r.Errs = append(r.Errs, e)
		}
		seen[key{t.Key, t.Effect}] = true
	}
}

func declaredFeatures(r *meta.Report, list []string, p *field.Path) {
	for i, f := range list {
		if len(f) > validation.DNS1123SubdomainMaxLength {
			r.Invalid(p.Index(i), f, fmt.Sprintf("invalid feature name %q: must be no more than %d characters", f, validation.DNS1123SubdomainMaxLength))
		} else if !declaredFeature.MatchString(f) {
			r.Invalid(p.Index(i), f, fmt.Sprintf("invalid feature name %q: must start with an UpperCamelCase segment, with subsequent segments separated by '/' "+
				"(e.g., MyFeature or MyFeature/mySubFeature), and contain only alphanumeric characters and slashes", f))
		}
		if i == 0 {
			continue
		}
		if f == list[i-1] {
			r.Duplicate(p.Index(i), f)
		} else if f < list[i-1] {
			r.Invalid(p.Index(i), f, "list must be sorted alphabetically")
		}
	}
}

func validateNodeUpdate(n, old *corev1.Node) field.ErrorList {
	r := &meta.Report{Errs: meta.ValidateObjectMetaUpdate(&n.ObjectMeta, &old.ObjectMeta)}
	nodeParts(r, n)
	seen := sets.Set[corev1.NodeAddress]{}
	for i, a := range n.Status.Addresses {
		if seen.Has(a) {
			r.Duplicate(statusPath.Child("addresses").Index(i), a)
		}
		seen.Insert(a)
	}
	const cidr = "node updates may not change podCIDR except from \"\" to valid"
	if was, now := old.Spec.PodCIDRs, n.Spec.PodCIDRs; len(was) > 0 && len(was) != len(now) {
		r.Forbidden(specPath.Child("podCIDRs"), cidr)
	} else {
		for i := range was {
			r.ForbiddenIf(was[i] != now[i], specPath.Child("podCIDRs"), cidr)
		}
	}
	r.ForbiddenIf(old.Spec.ProviderID != "" && old.Spec.ProviderID != n.Spec.ProviderID, specPath.Child("providerID"),
		"node updates may not change providerID except from \"\" to valid")
	nodeConfig(r, n)
	r.ForbiddenIf(n.Spec.DoNotUseExternalID != old.Spec.DoNotUseExternalID, specPath.Child("externalID"), "may not be updated")
	return r.Errs
}

// nodeConfig judges what is left of a feature that is gone: nodes that were
// given a source of configuration keep it.
func nodeConfig(r *meta.Report, n *corev1.Node) {
	source := func(s *corev1.NodeConfigSource, p *field.Path, identity func(c *corev1.ConfigMapNodeConfigSource, p *field.Path)) {
		if s == nil {
			return
		}
		if s.ConfigMap == nil {
			r.Invalid(p, s, "exactly one reference subfield must be non-nil")
			return
		}
		c, p := s.ConfigMap, p.Child("configMap")
		identity(c, p)
		named := func(name, v string, rule meta.NameRule) {
			if v == "" {
				r.Required(p.Child(name), "")
			} else {
				r.Named(p.Child(name), v, rule)
			}
		}
		named("namespace", c.Namespace, meta.Namespace)
		named("name", c.Name, meta.DNSSubdomain)
		named("kubeletConfigKey", c.KubeletConfigKey, func(v string, _ bool) []string { return validation.IsConfigMapKey(v) })
	}
	source(n.Spec.ConfigSource, specPath.Child("configSource"), func(c *corev1.ConfigMapNodeConfigSource, p *field.Path) {
		r.ForbiddenIf(c.UID != "", p.Child("uid"), "uid must not be set in spec")
		r.ForbiddenIf(c.ResourceVersion != "", p.Child("resourceVersion"), "resourceVersion must not be set in spec")
	})
	if c := n.Status.Config; c != nil {
		known := func(c *corev1.ConfigMapNodeConfigSource, p *field.Path) {
			r.RequiredIf(c.UID == "", p.Child("uid"))
			r.RequiredIf(c.ResourceVersion == "", p.Child("resourceVersion"))
		}
		p := statusPath.Child("config")
		source(c.Assigned, p.Child("assigned"), known)
		source(c.Active, p.Child("active"), known)
		source(c.LastKnownGood, p.Child("lastKnownGood"), known)
	}
}

func nodeCells(n *corev1.Node, now time.Time) []any {
	status := "Unknown"
	for _, c := range n.Status.Conditions {
		if c.Type != corev1.NodeReady {
			continue
		}
		status = "NotReady"
		if c.Status == corev1.ConditionTrue {
			status = "Ready"
		}
	}
	if n.Spec.Unschedulable {
		status += ",SchedulingDisabled"
	}
	roles := sets.Set[string]{}
	for k, v := range n.Labels {
		if role, ok := strings.CutPrefix(k, nodeRolePrefix); ok && role != "" {
			roles.Insert(role)
		} else if k == "kubernetes.io/role" && v != "" {
			roles.Insert(v)
		}
	}
	address := func(t corev1.NodeAddressType) string {
		for _, a := range n.Status.Addresses {
			if a.Type == t {
				return a.Address
			}
		}
		return "<none>"
	}
	info := n.Status.NodeInfo
	setDefault(&info.OSImage, "<unknown>")
	setDefault(&info.KernelVersion, "<unknown>")
	setDefault(&info.ContainerRuntimeVersion, "<unknown>")
	if info.Architecture != "" {
		info.KernelVersion += " (" + info.Architecture + ")"
	}
	return []any{n.Name, status, meta.OrNone(strings.Join(sets.List(roles), ",")), meta.Age(n.CreationTimestamp, now), info.KubeletVersion,
		address(corev1.NodeInternalIP), address(corev1.NodeExternalIP), info.OSImage, info.KernelVersion, info.ContainerRuntimeVersion}
}
