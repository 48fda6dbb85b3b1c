package core

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/monohull/monohull/internal/api/meta"
)

const (
	requiredTerms  = "requiredDuringSchedulingIgnoredDuringExecution"
	preferredTerms = "preferredDuringSchedulingIgnoredDuringExecution"
)

func (c *podCheck) checkAffinity(p *field.Path) {
	a := c.spec.Affinity
	if a == nil {
		return
	}
	if n := a.NodeAffinity; n != nil {
		at := p.Child("nodeAffinity")
		if n.RequiredDuringSchedulingIgnoredDuringExecution != nil {
			c.Add(ValidateNodeSelector(n.RequiredDuringSchedulingIgnoredDuringExecution, at.Child(requiredTerms)))
		}
		for i, t := range n.PreferredDuringSchedulingIgnoredDuringExecution {
			at := at.Child(preferredTerms).Index(i)
			c.checkWeight(t.Weight, at)
			// A preference with a value no label can have prefers nothing: harmless.
			nodeSelectorTerm(&c.Report, &t.Preference, false, at.Child("preference"))
		}
	}
	if pa := a.PodAffinity; pa != nil {
		c.checkPodTerms(pa.RequiredDuringSchedulingIgnoredDuringExecution, pa.PreferredDuringSchedulingIgnoredDuringExecution, p.Child("podAffinity"))
	}
	if pa := a.PodAntiAffinity; pa != nil {
		c.checkPodTerms(pa.RequiredDuringSchedulingIgnoredDuringExecution, pa.PreferredDuringSchedulingIgnoredDuringExecution, p.Child("podAntiAffinity"))
	}
}

func (c *podCheck) checkWeight(w int32, p *field.Path) {
	if w <= 0 || w > 100 {
		c.Invalid(p.Child("weight"), w, "must be in the range 1-100")
	}
}

func (c *podCheck) checkPodTerms(required []corev1.PodAffinityTerm, preferred []corev1.WeightedPodAffinityTerm, p *field.Path) {
	for i := range required {
		c.checkPodTerm(&required[i], p.Child(requiredTerms).Index(i))
	}
	for i := range preferred {
		at := p.Child(preferredTerms).Index(i)
		c.checkWeight(preferred[i].Weight, at)
		c.checkPodTerm(&preferred[i].PodAffinityTerm, at.Child("podAffinityTerm"))
	}
}

func (c *podCheck) checkPodTerm(t *corev1.PodAffinityTerm, p *field.Path) {
	c.Add(meta.Selector(t.LabelSelector, p.Child("labelSelector")))
	c.Add(meta.Selector(t.NamespaceSelector, p.Child("namespaceSelector")))
	for _, n := range t.Namespaces {
		c.Named(p.Child("namespace"), n, meta.Namespace)
	}
	c.checkLabelKeys(t.MatchLabelKeys, t.MismatchLabelKeys, t.LabelSelector, p)
	if t.TopologyKey == "" {
		c.Required(p.Child("topologyKey"), "can not be empty")
	}
	c.Add(meta.LabelName(t.TopologyKey, p.Child("topologyKey")))
}

// checkLabelKeys judges keys whose values are taken from the pod's own labels.
// One expression of the selector with such a key is its own, made at creation;
// a second is the user's.
func (c *podCheck) checkLabelKeys(match, mismatch []string, sel *metav1.LabelSelector, p *field.Path) {
	list := func(keys []string, at *field.Path) {
		if len(keys) == 0 {
			return
		}
		if sel == nil {
			c.Forbidden(at, "must not be specified when labelSelector is not set")
			return
		}
		for i, k := range keys {
			c.Add(meta.LabelName(k, at.Index(i)))
		}
	}
	list(match, p.Child("matchLabelKeys"))
	list(mismatch, p.Child("mismatchLabelKeys"))
	if sel != nil {
		seen, at := sets.KeySet(sel.MatchLabels), map[string]int{}
		for i, k := range match {
			at[k] = i
		}
		for _, e := range sel.MatchExpressions {
			if i, ok := at[e.Key]; ok && seen.Has(e.Key) {
				c.Invalid(p.Index(i), e.Key, "exists in both matchLabelKeys and labelSelector")
			}
			seen.Insert(e.Key)
		}
	}
	for i, k := range match {
		if slices.Contains(mismatch, k) {
			c.Invalid(p.Child("matchLabelKeys").Index(i), k, "exists in both matchLabelKeys and mismatchLabelKeys")
		}
	}
}

// ValidateNodeSelector judges a selector of nodes that must be met.
func ValidateNodeSelector(s *corev1.NodeSelector, p *field.Path) field.ErrorList {
	var r meta.Report
	at := p.Child("nodeSelectorTerms")
	if len(s.NodeSelectorTerms) == 0 {
		r.Required(at, "must have at least one node selector term")
	}
	for i := range s.NodeSelectorTerms {
		nodeSelectorTerm(&r, &s.NodeSelectorTerms[i], true, at.Index(i))
	}
	return r.Errs
}

func nodeSelectorTerm(r *meta.Report, t *corev1.NodeSelectorTerm, checkValues bool, p *field.Path) {
	const notOperator = "not a valid selector operator"
	for i, q := range t.MatchExpressions {
		at := p.Child("matchExpressions").Index(i)
		values := at.Child("values")
		switch q.Operator {
		case corev1.NodeSelectorOpIn, corev1.NodeSelectorOpNotIn:
			if len(q.Values) == 0 {
				r.Required(values, "must be specified when `operator` is 'In' or 'NotIn'")
			}
		case corev1.NodeSelectorOpExists, corev1.NodeSelectorOpDoesNotExist:
			r.ForbiddenIf(len(q.Values) > 0, values, "may not be specified when `operator` is 'Exists' or 'DoesNotExist'")
		case corev1.NodeSelectorOpGt, corev1.NodeSelectorOpLt:
			if len(q.Values) != 1 {
				r.Required(values, "must be specified single value when `operator` is 'Lt' or 'Gt'")
			}
		default:
			r.Invalid(at.Child("operator"), q.Operator, notOperator)
		}
		r.Add(meta.LabelName(q.Key, at.Child("key")))
		if checkValues {
			for j, v := range q.Values {
				r.InvalidAll(values.Index(j), v, validation.IsValidLabelValue(v))
			}
		}
	}
	for i, q := range t.MatchFields {
		at := p.Child("matchFields").Index(i)
		switch q.Operator {
		case corev1.NodeSelectorOpIn, corev1.NodeSelectorOpNotIn:
			if len(q.Values) != 1 {
				r.Required(at.Child("values"), "must be only one value when `operator` is 'In' or 'NotIn' for node field selector")
			}
		default:
			r.Invalid(at.Child("operator"), q.Operator, notOperator)
		}
		if q.Key != metav1.ObjectNameField {
			r.Invalid(at.Child("key"), q.Key, "not a valid field selector key")
			continue
		}
		for j, v := range q.Values {
			r.Named(at.Child("values").Index(j), v, meta.DNSSubdomain)
		}
	}
}

// ValidateTolerations judges the tolerations of pods.
func ValidateTolerations(list []corev1.Toleration, p *field.Path) field.ErrorList {
	var r meta.Report
	for i, t := range list {
		at := p.Index(i)
		op := at.Child("operator")
		if t.Key != "" {
			r.Add(meta.LabelName(t.Key, at.Child("key")))
		} else if t.Operator != corev1.TolerationOpExists {
			r.Invalid(op, t.Operator, "operator must be Exists when `key` is empty, which means \"match all values and all keys\"")
		}
		if t.TolerationSeconds != nil && t.Effect != corev1.TaintEffectNoExecute {
			r.Invalid(at.Child("effect"), t.Effect, "effect must be 'NoExecute' when `tolerationSeconds` is set")
		}
		switch t.Operator {
		case corev1.TolerationOpEqual, "":
			if msgs := validation.IsValidLabelValue(t.Value); len(msgs) > 0 {
				r.Invalid(op, t.Value, strings.Join(msgs, ";"))
			}
		case corev1.TolerationOpExists:
			if t.Value != "" {
				r.Invalid(op, t.Value, "value must be empty when `operator` is 'Exists'")
			}
		case corev1.TolerationOpLt, corev1.TolerationOpGt:
			// Comparison of taints is an alpha feature, off; the list is upstream's.
			r.Errs = append(r.Errs, field.NotSupported(op, t.Operator, []corev1.TolerationOperator{
				corev1.TolerationOpEqual, corev1.TolerationOpExists, corev1.TolerationOpLt, corev1.TolerationOpGt}))
		default:
			meta.Among(&r, op, t.Operator, corev1.TolerationOpEqual, corev1.TolerationOpExists)
		}
		if t.Effect != "" {
			taintEffect(&r, t.Effect, at.Child("effect"))
		}
	}
	return r.Errs
}

func taintEffect(r *meta.Report, e corev1.TaintEffect, p *field.Path) {
	meta.OneOf(r, p, e, corev1.TaintEffectNoSchedule, corev1.TaintEffectPreferNoSchedule, corev1.TaintEffectNoExecute)
}

func (c *podCheck) checkSpread(p *field.Path) {
	list := c.spec.TopologySpreadConstraints
	for i := range list {
		t, at := &list[i], p.Index(i)
		c.Positive(at.Child("maxSkew"), int64(t.MaxSkew))
		if t.TopologyKey == "" {
			c.Required(at.Child("topologyKey"), "can not be empty")
		}
		meta.Among(&c.Report, at.Child("whenUnsatisfiable"), t.WhenUnsatisfiable, corev1.DoNotSchedule, corev1.ScheduleAnyway)
		if slices.ContainsFunc(list[i+1:], func(o corev1.TopologySpreadConstraint) bool {
			return o.TopologyKey == t.TopologyKey && o.WhenUnsatisfiable == t.WhenUnsatisfiable
		}) {
			c.Duplicate(at.Child("{topologyKey, whenUnsatisfiable}"), fmt.Sprintf("{%v, %v}", t.TopologyKey, t.WhenUnsatisfiable))
		}
		if n := t.MinDomains; n != nil {
			c.Positive(at.Child("minDomains"), int64(*n))
			if t.WhenUnsatisfiable != corev1.DoNotSchedule {
				c.Invalid(at.Child("minDomains"), n, fmt.Sprintf("can only use minDomains if whenUnsatisfiable=%s, not %s", corev1.DoNotSchedule, t.WhenUnsatisfiable))
			}
		}
		meta.AmongPtr(&c.Report, at.Child("nodeAffinityPolicy"), t.NodeAffinityPolicy, corev1.NodeInclusionPolicyHonor, corev1.NodeInclusionPolicyIgnore)
		meta.AmongPtr(&c.Report, at.Child("nodeTaintsPolicy"), t.NodeTaintsPolicy, corev1.NodeInclusionPolicyHonor, corev1.NodeInclusionPolicyIgnore)
		c.checkLabelKeys(t.MatchLabelKeys, nil, t.LabelSelector, at)
		c.Add(meta.Selector(t.LabelSelector, at.Child("labelSelector")))
	}
}
