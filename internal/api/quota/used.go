package quota

import (
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/monohull/monohull/internal/api"
)

// Used adds up what the objects of a namespace count for against a quota.
// evaluators are those of every kind there is; list gives the objects of one.
// Resources that no kind knows are left out.
func Used(q *corev1.ResourceQuota, evaluators []Evaluator, list func(Evaluator) []api.Object, now time.Time) corev1.ResourceList {
	hard := Names(q.Spec.Hard)
	scopes := scopesOf(q.Spec.Scopes, q.Spec.ScopeSelector)
	used := corev1.ResourceList{}
	for _, e := range evaluators {
		names := e.Matching(hard)
		if len(names) == 0 {
			continue
		}
		for _, n := range names {
			if _, ok := used[n]; !ok {
				used[n] = whole(0)
			}
		}
		for _, o := range list(e) {
			// a scope that cannot be read counts nothing
			if ok, err := inAll(e, scopes, o); err != nil || !ok {
				continue
			}
			for n, amount := range e.Usage(o, now) {
				if sum, ok := used[n]; ok {
					sum.Add(amount)
					used[n] = sum
				} else {
					used[n] = amount.DeepCopy()
				}
			}
		}
	}
	return Mask(used, hard)
}

// Status is the status a quota should have when used was added up. What nobody
// adds up keeps its number.
func Status(q *corev1.ResourceQuota, used corev1.ResourceList) corev1.ResourceQuotaStatus {
	all := Add(nil, q.Status.Used)
	for n, amount := range used {
		all[n] = amount.DeepCopy()
	}
	return corev1.ResourceQuotaStatus{Hard: Add(nil, q.Spec.Hard), Used: Mask(all, Names(q.Spec.Hard))}
}
