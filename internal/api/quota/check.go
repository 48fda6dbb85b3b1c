package quota

import (
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// Limited is a resource that may be used only where a quota covers it.
type Limited struct {
	APIGroup      string                                     `json:"apiGroup,omitempty"`
	Resource      string                                     `json:"resource"`
	MatchContains []string                                   `json:"matchContains,omitempty"`
	MatchScopes   []corev1.ScopedResourceSelectorRequirement `json:"matchScopes,omitempty"`
}

// Refusal is why a quota does not allow a change, for a Forbidden error.
type Refusal string

func (r Refusal) Error() string { return string(r) }

// Check judges a change by the quotas of its namespace, and tells how much more
// each of them would be used: one list per quota, nil where nothing changes.
// An error that is no Refusal says that the quotas cannot be judged.
func Check(quotas []*corev1.ResourceQuota, e Evaluator, c Change, limited []Limited, now time.Time) ([]corev1.ResourceList, error) {
	if !e.Handles(c) {
		return nil, nil
	}
	must, mustScopes := needed(e, c, limited, now)
	var covered []corev1.ResourceName
	var coveredScopes []corev1.ScopedResourceSelectorRequirement
	var concerned []int
	for i, q := range quotas {
		in, err := within(e, scopesOf(q.Spec.Scopes, q.Spec.ScopeSelector), c)
		if err != nil {
			return nil, fmt.Errorf("error matching scopes of quota %s, err: %v", q.Name, err)
		}
		coveredScopes = append(coveredScopes, in...)
		ok, err := matches(e, q, c.Object)
		if err != nil {
			return nil, err
		}
		if !ok {
			continue
		}
		names := e.Matching(Names(q.Status.Hard))
		if err := e.Constraints(names, c.Object); err != nil {
			return nil, Refusal(fmt.Sprintf("failed quota: %s: %v", q.Name, err))
		}
		for _, n := range names {
			if _, ok := q.Status.Used[n]; !ok {
				return nil, Refusal(fmt.Sprintf("status unknown for quota: %s, resources: %s", q.Name, printNames(names)))
			}
		}
		concerned = append(concerned, i)
		covered = append(covered, names...)
	}
	usage := e.Usage(c.Object, now)
	if n := negative(usage); len(n) > 0 {
		return nil, Refusal("quota usage is negative for resource(s): " + printNames(n))
	}
	more := growth(usage, nil)
	if !c.Create {
		if c.Old == nil {
			return nil, Refusal("unable to get previous usage since prior version of object was not found")
		}
		more = growth(usage, e.Usage(c.Old, now))
	}
	deltas := make([]corev1.ResourceList, len(quotas))
	any := len(concerned) == 0 && len(withoutZeros(more)) > 0
	for _, i := range concerned {
		d := more
		if !c.Create {
			// an object that comes into a quota's scope counts whole
			was, err := matches(e, quotas[i], c.Old)
			if err != nil {
				return nil, err
			}
			if !was {
				d = growth(usage, nil)
			}
		}
		if d = withoutZeros(d); len(d) > 0 {
			deltas[i], any = d, true
		}
	}
	if !any {
		return nil, nil
	}
	if lacking := uncovered(must, covered); len(lacking) > 0 {
		return nil, Refusal("insufficient quota to consume: " + strings.Join(lacking, ","))
	}
	if lacking := uncoveredScopes(e, mustScopes, coveredScopes); len(lacking) > 0 {
		return nil, fmt.Errorf("insufficient quota to match these scopes: %v", lacking)
	}
	for _, i := range concerned {
		if deltas[i] == nil {
			continue
		}
		q := quotas[i]
		d := Mask(deltas[i], Names(q.Status.Hard))
		if c.Subresource != "status" {
			if n := over(Mask(Add(q.Status.Used, d), Names(d)), q.Status.Hard); len(n) > 0 {
				return nil, Refusal(fmt.Sprintf("exceeded quota: %s, requested: %s, used: %s, limited: %s",
					q.Name, print(Mask(d, n)), print(Mask(q.Status.Used, n)), print(Mask(q.Status.Hard, n))))
			}
		}
		if deltas[i] = d; len(d) == 0 {
			deltas[i] = nil
		}
	}
	return deltas, nil
}

// within picks the scopes that the changed object is in.
func within(e Evaluator, scopes []corev1.ScopedResourceSelectorRequirement, c Change) ([]corev1.ScopedResourceSelectorRequirement, error) {
	var out []corev1.ScopedResourceSelectorRequirement
	for _, s := range scopes {
		ok, err := e.InScope(s, c.Object)
		if err != nil {
			return nil, fmt.Errorf("error on matching scope %v: %v", s, err)
		}
		if ok {
			out = append(out, s)
		}
	}
	return out, nil
}

// needed are the resources and scopes that a quota must cover.
func needed(e Evaluator, c Change, limited []Limited, now time.Time) (names []corev1.ResourceName, scopes []corev1.ScopedResourceSelectorRequirement) {
	for _, l := range limited {
		if in, err := within(e, l.MatchScopes, c); err == nil {
			scopes = append(scopes, in...)
		}
		if r := e.Resource(); l.APIGroup != r.Group || l.Resource != r.Resource {
			continue
		}
		for n, amount := range e.Usage(c.Object, now) {
			if amount.Sign() > 0 && slices.ContainsFunc(l.MatchContains, func(s string) bool { return strings.Contains(string(n), s) }) {
				names = append(names, n)
			}
		}
	}
	return names, scopes
}

func uncovered(must, covered []corev1.ResourceName) []string {
	var out []string
	for _, n := range must {
		if !slices.Contains(covered, n) {
			out = append(out, string(n))
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func uncoveredScopes(e Evaluator, must, covered []corev1.ScopedResourceSelectorRequirement) []corev1.ScopedResourceSelectorRequirement {
	if !e.Scoped() {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(must), func(s corev1.ScopedResourceSelectorRequirement) bool {
		return slices.ContainsFunc(covered, func(c corev1.ScopedResourceSelectorRequirement) bool { return c.ScopeName == s.ScopeName })
	})
}
