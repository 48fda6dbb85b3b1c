package batch

import (
	"fmt"
	"maps"
	"slices"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/monohull/monohull/internal/api/core"
	"github.com/monohull/monohull/internal/api/meta"
)

// The bounds of an indexed job keep the lists of indexes in its status short
// enough to store.
const (
	maxParallelism    = 100_000
	maxFailedIndexes  = 100_000
	manyCompletions   = 100_000
	highParallelism   = 10_000
	highFailedIndexes = 10_000
)

const (
	maxFailureRules      = 20
	maxExitCodes         = 255
	maxPodConditions     = 20
	maxSuccessRules      = 20
	maxSucceededIndexes  = 64 * 1024
	maxManagedBy         = 63
	requiresIndexed      = "requires indexed completion mode"
	selectorNotGenerated = "`selector` not auto-generated"
)

func indexed(s *batchv1.JobSpec) bool { return value(s.CompletionMode) == batchv1.IndexedCompletion }

// validateJob judges a job. Jobs from before labels had prefixes need not have
// those.
func validateJob(j *batchv1.Job, prefixed bool) field.ErrorList {
	r := meta.Report{Errs: meta.ValidateObjectMeta(&j.ObjectMeta, true, meta.DNSSubdomain)}
	if maps.Equal(j.Labels, ownLabels(j)) { // copied from the template, which tells
		r.Errs = r.Errs.Filter(func(err error) bool {
			e, ok := err.(*field.Error)
			return ok && e.Field == "metadata.labels"
		})
	}
	generatedSelector(&r, j, prefixed)
	r.Add(validateSelectingSpec(&j.Spec, specPath))
	if n := value(j.Spec.Completions); indexed(&j.Spec) && n > 0 {
		host := fmt.Sprintf("%s-%d", j.Name, n-1)
		if len(validation.IsDNS1123Label(host)) > 0 {
			r.Invalid(field.NewPath("metadata", "name"), j.Name, "will not able to create pod with invalid DNS label: "+host)
		}
	}
	return r.Errs
}

// generatedSelector judges whether a selector that the user has not made was
// made by us.
func generatedSelector(r *meta.Report, j *batchv1.Job, prefixed bool) {
	if value(j.Spec.ManualSelector) || j.Spec.Selector == nil {
		return
	}
	if j.UID == "" {
		r.Required(field.NewPath("metadata", "uid"), "")
	}
	want := ownLabels(j)
	if !prefixed {
		delete(want, batchv1.ControllerUidLabel)
		delete(want, batchv1.JobNameLabel)
	}
	at := specPath.Child("template", "metadata", "labels")
	for _, k := range []string{legacyControllerUIDLabel, legacyJobNameLabel, batchv1.ControllerUidLabel, batchv1.JobNameLabel} {
		v, asked := want[k]
		if !asked {
			continue
		}
		if got, ok := j.Spec.Template.Labels[k]; !ok {
			r.Required(at.Key(k), fmt.Sprintf("must be '%s'", v))
		} else if got != v {
			r.Invalid(at.Key(k), j.Spec.Template.Labels, fmt.Sprintf("must be '%s'", v))
		}
	}
	if sel, err := metav1.LabelSelectorAsSelector(j.Spec.Selector); err == nil && !sel.Matches(labels.Set(want)) {
		r.Invalid(specPath.Child("selector"), j.Spec.Selector, selectorNotGenerated)
	}
}

// validateSelectingSpec judges a specification that has a selector, as all
// have but those within cron jobs.
func validateSelectingSpec(s *batchv1.JobSpec, p *field.Path) field.ErrorList {
	r := meta.Report{Errs: validateJobSpec(s, p)}
	if s.Selector == nil {
		r.Required(p.Child("selector"), "")
	} else {
		r.Add(meta.Selector(s.Selector, p.Child("selector")))
	}
	if sel, err := metav1.LabelSelectorAsSelector(s.Selector); err == nil && !sel.Matches(labels.Set(s.Template.Labels)) {
		r.Invalid(p.Child("template", "metadata", "labels"), s.Template.Labels, "`selector` does not match template `labels`")
	}
	return r.Errs
}

func validateJobSpec(s *batchv1.JobSpec, p *field.Path) field.ErrorList {
	var r meta.Report
	for _, n := range []struct {
		v    *int32
		name string
	}{
		{s.Parallelism, "parallelism"}, {s.Completions, "completions"}, {s.BackoffLimit, "backoffLimit"},
		{s.TTLSecondsAfterFinished, "ttlSecondsAfterFinished"}, {s.BackoffLimitPerIndex, "backoffLimitPerIndex"}, {s.MaxFailedIndexes, "maxFailedIndexes"},
	} {
		r.NonNegative(p.Child(n.name), int64(value(n.v)))
	}
	r.NonNegative(p.Child("activeDeadlineSeconds"), value(s.ActiveDeadlineSeconds))
	if s.MaxFailedIndexes != nil && s.BackoffLimitPerIndex == nil {
		r.Required(p.Child("backoffLimitPerIndex"), "when maxFailedIndexes is specified")
	}
	if m := s.ManagedBy; m != nil {
		r.Add(validation.IsDomainPrefixedPath(p.Child("managedBy"), *m))
		if len(*m) > maxManagedBy {
			r.TooLong(p.Child("managedBy"), maxManagedBy)
		}
	}
	completionMode(&r, s, p)
	if s.PodFailurePolicy != nil {
		failurePolicy(&r, s, p.Child("podFailurePolicy"))
	}
	if s.SuccessPolicy != nil {
		if at := p.Child("successPolicy"); indexed(s) {
			successPolicy(&r, s, at)
		} else {
			r.Invalid(at, *s.SuccessPolicy, requiresIndexed)
		}
	}
	if v := s.PodReplacementPolicy; v != nil {
		if at := p.Child("podReplacementPolicy"); s.PodFailurePolicy != nil {
			meta.Among(&r, at, *v, batchv1.Failed)
		} else {
			meta.Among(&r, at, *v, batchv1.Failed, batchv1.TerminatingOrFailed)
		}
	}
	r.Add(core.ValidatePodTemplateSpec(&s.Template, p.Child("template")))
	at := p.Child("template", "spec", "restartPolicy")
	switch v := s.Template.Spec.RestartPolicy; v {
	case "", corev1.RestartPolicyAlways:
		r.Required(at, fmt.Sprintf("valid values: %q, %q", corev1.RestartPolicyOnFailure, corev1.RestartPolicyNever))
	case corev1.RestartPolicyOnFailure:
		if s.PodFailurePolicy != nil {
			r.Invalid(at, v, fmt.Sprintf("only %q is supported when podFailurePolicy is specified", corev1.RestartPolicyNever))
		}
	default:
		meta.Among(&r, at, v, corev1.RestartPolicyOnFailure, corev1.RestartPolicyNever)
	}
	return r.Errs
}

func completionMode(r *meta.Report, s *batchv1.JobSpec, p *field.Path) {
	meta.AmongPtr(r, p.Child("completionMode"), s.CompletionMode, batchv1.NonIndexedCompletion, batchv1.IndexedCompletion)
	if s.CompletionMode == nil || *s.CompletionMode == batchv1.NonIndexedCompletion {
		if v := s.BackoffLimitPerIndex; v != nil {
			r.Invalid(p.Child("backoffLimitPerIndex"), *v, requiresIndexed)
		}
		if v := s.MaxFailedIndexes; v != nil {
			r.Invalid(p.Child("maxFailedIndexes"), *v, requiresIndexed)
		}
		return
	}
	if !indexed(s) {
		return
	}
	if s.Completions == nil {
		r.Required(p.Child("completions"), fmt.Sprintf("when completion mode is %s", batchv1.IndexedCompletion))
	}
	parallelism, failed := p.Child("parallelism"), p.Child("maxFailedIndexes")
	if n := value(s.Parallelism); n > maxParallelism {
		r.Invalid(parallelism, n, fmt.Sprintf("must be less than or equal to %d when completion mode is %s", maxParallelism, batchv1.IndexedCompletion))
	}
	if s.MaxFailedIndexes != nil && s.Completions != nil && *s.MaxFailedIndexes > *s.Completions {
		r.Invalid(failed, *s.MaxFailedIndexes, "must be less than or equal to completions")
	}
	if n := value(s.MaxFailedIndexes); n > maxFailedIndexes {
		r.Invalid(failed, n, fmt.Sprintf("must be less than or equal to %d", maxFailedIndexes))
	}
	if value(s.Completions) <= manyCompletions || s.BackoffLimitPerIndex == nil {
		return
	}
	const bound = "must be less than or equal to %d when completions are above %d and used with backoff limit per index"
	if s.MaxFailedIndexes == nil {
		r.Required(failed, fmt.Sprintf("must be specified when completions is above %d", manyCompletions))
	}
	if n := value(s.Parallelism); n > highParallelism {
		r.Invalid(parallelism, n, fmt.Sprintf(bound, highParallelism, manyCompletions))
	}
	if n := value(s.MaxFailedIndexes); n > highFailedIndexes {
		r.Invalid(failed, n, fmt.Sprintf(bound, highFailedIndexes, manyCompletions))
	}
}

func failurePolicy(r *meta.Report, s *batchv1.JobSpec, p *field.Path) {
	rules := p.Child("rules")
	if n := len(s.PodFailurePolicy.Rules); n > maxFailureRules {
		r.TooMany(rules, n, maxFailureRules)
	}
	var names []string
	for _, list := range [][]corev1.Container{s.Template.Spec.InitContainers, s.Template.Spec.Containers} {
		for i := range list {
			names = append(names, list[i].Name)
		}
	}
	for i := range s.PodFailurePolicy.Rules {
		rule, at := &s.PodFailurePolicy.Rules[i], rules.Index(i)
		if rule.Action == batchv1.PodFailurePolicyActionFailIndex {
			if s.BackoffLimitPerIndex == nil {
				r.Invalid(at.Child("action"), rule.Action, "requires the backoffLimitPerIndex to be set")
			}
		} else {
			oneOf(r, at.Child("action"), rule.Action, batchv1.PodFailurePolicyActionCount, batchv1.PodFailurePolicyActionFailIndex,
				batchv1.PodFailurePolicyActionFailJob, batchv1.PodFailurePolicyActionIgnore)
		}
		if rule.OnExitCodes != nil {
			exitCodes(r, rule.OnExitCodes, names, at.Child("onExitCodes"))
		}
		podConditions(r, rule.OnPodConditions, at.Child("onPodConditions"))
		switch codes, conditions := rule.OnExitCodes != nil, len(rule.OnPodConditions) > 0; {
		case codes && conditions:
			r.Invalid(at, field.OmitValueType{}, "specifying both OnExitCodes and OnPodConditions is not supported")
		case !codes && !conditions:
			r.Invalid(at, field.OmitValueType{}, "specifying one of OnExitCodes and OnPodConditions is required")
		}
	}
}

// oneOf is meta.OneOf that tells the valid values also where there is none.
func oneOf[T ~string](r *meta.Report, p *field.Path, v T, allowed ...T) {
	if v == "" {
		r.Required(p, fmt.Sprintf("valid values: %q", allowed))
		return
	}
	meta.Among(r, p, v, allowed...)
}

func exitCodes(r *meta.Report, e *batchv1.PodFailurePolicyOnExitCodesRequirement, names []string, p *field.Path) {
	oneOf(r, p.Child("operator"), e.Operator, batchv1.PodFailurePolicyOnExitCodesOpIn, batchv1.PodFailurePolicyOnExitCodesOpNotIn)
	if n := e.ContainerName; n != nil && !slices.Contains(names, *n) {
		r.Invalid(p.Child("containerName"), *n, "must be one of the container or initContainer names in the pod template")
	}
	at := p.Child("values")
	if n := len(e.Values); n == 0 {
		r.Invalid(at, e.Values, "at least one value is required")
	} else if n > maxExitCodes {
		r.TooMany(at, n, maxExitCodes)
	}
	seen := map[int32]bool{}
	for i, v := range e.Values {
		if v == 0 && e.Operator == batchv1.PodFailurePolicyOnExitCodesOpIn {
			r.Invalid(at.Index(i), v, "must not be 0 for the In operator")
		}
		if seen[v] {
			r.Duplicate(at.Index(i), v)
		}
		seen[v] = true
	}
	if !slices.IsSorted(e.Values) {
		r.Invalid(at, e.Values, "must be ordered")
	}
}

func podConditions(r *meta.Report, list []batchv1.PodFailurePolicyOnPodConditionsPattern, p *field.Path) {
	if n := len(list); n > maxPodConditions {
		r.TooMany(p, n, maxPodConditions)
	}
	for i, c := range list {
		r.Add(meta.QualifiedName(string(c.Type), p.Index(i).Child("type")))
		oneOf(r, p.Index(i).Child("status"), c.Status, corev1.ConditionFalse, corev1.ConditionTrue, corev1.ConditionUnknown)
	}
}

func successPolicy(r *meta.Report, s *batchv1.JobSpec, p *field.Path) {
	rules := p.Child("rules")
	switch n := len(s.SuccessPolicy.Rules); {
	case n == 0:
		r.Required(rules, "at least one rules must be specified when the successPolicy is specified")
	case n > maxSuccessRules:
		r.TooMany(rules, n, maxSuccessRules)
	}
	completions := value(s.Completions)
	for i, rule := range s.SuccessPolicy.Rules {
		at, named := rules.Index(i), int32(0)
		if rule.SucceededCount == nil && rule.SucceededIndexes == nil {
			r.Required(at, "at least one of succeededCount or succeededIndexes must be specified")
		}
		if list := rule.SucceededIndexes; list != nil {
			at := at.Child("succeededIndexes")
			if len(*list) > maxSucceededIndexes {
				r.TooLong(at, maxSucceededIndexes)
			}
			var err error
			if named, err = countIndexes(*list, completions); err != nil {
				r.Invalid(at, *list, fmt.Sprintf("error parsing succeededIndexes: %s", err))
			}
		}
		if n := rule.SucceededCount; n != nil {
			at := at.Child("succeededCount")
			r.NonNegative(at, int64(*n))
			if *n > completions {
				r.Invalid(at, *n, fmt.Sprintf("must be less than or equal to %d (the number of specified completions)", completions))
			}
			if rule.SucceededIndexes != nil && *n > named {
				r.Invalid(at, *n, fmt.Sprintf("must be less than or equal to %d (the number of indexes in the specified succeededIndexes field)", named))
			}
		}
	}
}

func validateJobUpdate(j, old *batchv1.Job) field.ErrorList {
	_, hadName := old.Spec.Template.Labels[batchv1.JobNameLabel]
	_, hadUID := old.Spec.Template.Labels[batchv1.ControllerUidLabel]
	r := meta.Report{Errs: validateJob(j, hadName && hadUID)}
	r.Add(meta.ValidateObjectMetaUpdate(&j.ObjectMeta, &old.ObjectMeta))
	r.Add(validateSelectingSpec(&j.Spec, specPath))
	s, was := &j.Spec, &old.Spec
	completionsUpdate(&r, s, was, specPath.Child("completions"))
	r.Add(meta.Immutable(s.Selector, was.Selector, specPath.Child("selector")))
	templateUpdate(&r, j, old, specPath)
	r.Add(meta.Immutable(s.CompletionMode, was.CompletionMode, specPath.Child("completionMode")))
	r.Add(meta.Immutable(s.PodFailurePolicy, was.PodFailurePolicy, specPath.Child("podFailurePolicy")))
	r.Add(meta.Immutable(s.BackoffLimitPerIndex, was.BackoffLimitPerIndex, specPath.Child("backoffLimitPerIndex")))
	r.Add(meta.Immutable(s.ManagedBy, was.ManagedBy, specPath.Child("managedBy")))
	r.Add(meta.Immutable(s.SuccessPolicy, was.SuccessPolicy, specPath.Child("successPolicy")))
	return r.Errs
}

// completionsUpdate lets indexed jobs alone be resized, with one pod for each
// index.
func completionsUpdate(r *meta.Report, s, old *batchv1.JobSpec, p *field.Path) {
	if !indexed(s) {
		r.Add(meta.Immutable(s.Completions, old.Completions, p))
		return
	}
	if s.Completions != nil && !same(s.Completions, old.Completions) && *s.Completions != value(s.Parallelism) {
		r.Invalid(p, s.Completions, "can only be modified in tandem with spec.parallelism")
	}
}

// templateUpdate judges a change of the pod template: of a suspended job
// without pods, where they may run and what they ask for may change.
func templateUpdate(r *meta.Report, j, old *batchv1.Job, p *field.Path) {
	t, was := &j.Spec.Template, old.Spec.Template.DeepCopy()
	suspended := value(old.Spec.Suspend)
	idle := suspended && old.Status.Active == 0 &&
		(old.Status.StartTime == nil || conditionIs(old, batchv1.JobSuspended, corev1.ConditionTrue))
	if !idle {
		r.Add(meta.Immutable(t, was, p.Child("template")))
		return
	}
	allowScheduling(t, was)
	for _, lists := range [][2][]corev1.Container{{t.Spec.Containers, was.Spec.Containers}, {t.Spec.InitContainers, was.Spec.InitContainers}} {
		if len(lists[0]) != len(lists[1]) {
			continue
		}
		for i := range lists[0] {
			if lists[0][i].Name == lists[1][i].Name {
				lists[1][i].Resources = lists[0][i].Resources
			}
		}
	}
	r.Add(meta.Immutable(t.Spec, was.Spec, p.Child("template.spec")))
}

// allowScheduling takes over into was what says where pods may run, and the
// metadata that queueing controllers write beside it.
func allowScheduling(t, was *corev1.PodTemplateSpec) {
	switch now := t.Spec.Affinity; {
	case now == nil && was.Spec.Affinity != nil:
		was.Spec.Affinity.NodeAffinity = nil
		if equality.Semantic.DeepEqual(*was.Spec.Affinity, corev1.Affinity{}) {
			was.Spec.Affinity = nil
		}
	case now != nil && was.Spec.Affinity == nil:
		was.Spec.Affinity = &corev1.Affinity{NodeAffinity: now.NodeAffinity}
	case now != nil:
		was.Spec.Affinity.NodeAffinity = now.NodeAffinity
	}
	was.Spec.NodeSelector, was.Spec.Tolerations, was.Spec.SchedulingGates = t.Spec.NodeSelector, t.Spec.Tolerations, t.Spec.SchedulingGates
	was.Annotations, was.Labels = t.Annotations, t.Labels
}
