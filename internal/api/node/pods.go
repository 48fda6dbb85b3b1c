package node

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/monohull/monohull/internal/api/core"
	"github.com/monohull/monohull/internal/api/meta"
)

// LabelDeprecation says what to use in place of a label of nodes, "" for one
// that is not deprecated.
func LabelDeprecation(key string) string {
	const oldOne = `deprecated since %s; use "%s" instead`
	switch key {
	case "beta.kubernetes.io/arch":
		return fmt.Sprintf(oldOne, "v1.14", corev1.LabelArchStable)
	case "beta.kubernetes.io/os":
		return fmt.Sprintf(oldOne, "v1.14", corev1.LabelOSStable)
	case corev1.LabelFailureDomainBetaRegion:
		return fmt.Sprintf(oldOne, "v1.17", corev1.LabelTopologyRegion)
	case corev1.LabelFailureDomainBetaZone:
		return fmt.Sprintf(oldOne, "v1.17", corev1.LabelTopologyZone)
	case corev1.LabelInstanceType:
		return fmt.Sprintf(oldOne, "v1.17", corev1.LabelInstanceTypeStable)
	case "app.kubernetes.io/created-by":
		return "deprecated since v1.9"
	case "scheduler.alpha.kubernetes.io/preferAvoidPods":
		return "deprecated since v1.22; use Taints and Tolerations instead"
	case "node-role.kubernetes.io/master":
		return `use "node-role.kubernetes.io/control-plane" instead`
	}
	return ""
}

// overhead judges resources by the rules for the limits of containers.
func overhead(r *meta.Report, list corev1.ResourceList, p *field.Path) {
	compute, huge := false, false
	for _, n := range slices.Sorted(maps.Keys(list)) {
		q, at := list[n], p.Child("limits").Key(string(n))
		r.Add(core.ValidateResourceName(n, at))
		page, isHuge := strings.CutPrefix(string(n), corev1.ResourceHugePagesPrefix)
		native := !strings.Contains(string(n), "/") || strings.Contains(string(n), corev1.ResourceDefaultNamespacePrefix)
		switch {
		case !strings.Contains(string(n), "/"):
			if n != corev1.ResourceCPU && n != corev1.ResourceMemory && n != corev1.ResourceEphemeralStorage && !isHuge {
				r.Invalid(at, n, "must be a standard resource for containers")
			}
		case !native && !extended(n):
			r.Invalid(at, n, "doesn't follow extended resource name standard")
		}
		r.Add(core.ValidateQuantity(n, q, at))
		if isHuge {
			huge = true
			if !multipleOf(q, page) {
				r.Invalid(at, q.String(), fmt.Sprintf("%s is not positive integer multiple of %s", q.String(), n))
			}
		}
		compute = compute || n == corev1.ResourceCPU || n == corev1.ResourceMemory
	}
	r.ForbiddenIf(huge && !compute, p, "HugePages require cpu or memory")
}

func extended(n corev1.ResourceName) bool {
	return !strings.HasPrefix(string(n), corev1.DefaultResourceRequestsPrefix) &&
		len(validation.IsQualifiedName(corev1.DefaultResourceRequestsPrefix+string(n))) == 0
}

// multipleOf tells whether q is made of whole pages.
func multipleOf(q resource.Quantity, page string) bool {
	size, err := resource.ParseQuantity(page)
	return err == nil && size.Sign() > 0 && size.MilliValue()%1000 == 0 && q.Value()%size.Value() == 0
}

// tolerations judges those that pods of the class get.
func tolerations(r *meta.Report, list []corev1.Toleration, p *field.Path) {
	for i, t := range list {
		at := p.Index(i)
		op, effect := at.Child("operator"), at.Child("effect")
		if t.Key != "" {
			r.Add(meta.LabelName(t.Key, at.Child("key")))
		} else if t.Operator != corev1.TolerationOpExists {
			r.Invalid(op, t.Operator, "operator must be Exists when `key` is empty, which means \"match all values and all keys\"")
		}
		if t.TolerationSeconds != nil && t.Effect != corev1.TaintEffectNoExecute {
			r.Invalid(effect, t.Effect, "effect must be 'NoExecute' when `tolerationSeconds` is set")
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
			meta.Among(r, op, t.Operator, corev1.TolerationOpEqual, corev1.TolerationOpExists)
		}
		if t.Effect != "" {
			meta.Among(r, effect, t.Effect, corev1.TaintEffectNoSchedule, corev1.TaintEffectPreferNoSchedule, corev1.TaintEffectNoExecute)
		}
	}
}
