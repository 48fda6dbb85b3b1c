package pipeline

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/monohull/monohull/internal/admission"
	"github.com/monohull/monohull/internal/api"
	"github.com/monohull/monohull/internal/cache"
	"github.com/monohull/monohull/internal/client"
)

const (
	// maxDisrupted bounds the pods that a budget's status names as evicted and
	// not yet gone.
	maxDisrupted = 2000
	// evictAgain is what a refused client is told to wait, in seconds, where the
	// budget's controller has only to catch up.
	evictAgain = 10
)

// evict deletes a pod unless a disruption budget forbids it. Who may evict need
// not be one who may delete.
func (p *Pipeline) evict(ctx context.Context, r client.Request, e *policyv1.Eviction) (*cache.Item, error) {
	if e.Name != "" && e.Name != r.Name {
		return nil, apierrors.NewBadRequest("name in URL does not match name in Eviction object")
	}
	o := metav1.DeleteOptions{}
	if e.DeleteOptions != nil {
		o = *e.DeleteOptions
	}
	r.DryRun = r.DryRun || len(o.DryRun) > 0
	if err := p.admitBoth(ctx, p.attributes(r, admission.Create, e, nil)); err != nil {
		return nil, err
	}
	r.Admitted = true
	pinned := o.Preconditions != nil && o.Preconditions.ResourceVersion != nil
	for range maxAttempts {
		cur := p.current(r)
		if cur == nil {
			return nil, notFound(r)
		}
		pod := cur.Obj.(*corev1.Pod)
		budget, free, err := p.guard(pod)
		if err != nil {
			return nil, err
		}
		if budget != nil && !free {
			if err := p.spend(ctx, r, budget.Name, pod.Name); err != nil {
				return nil, err
			}
		}
		guarded := o
		if free && !pinned && !ended(pod) {
			// only as it was judged: it may have come to count meanwhile
			guarded = pinTo(o, pod.ResourceVersion)
		}
		err = p.deleteEvicted(ctx, r, guarded)
		if apierrors.IsConflict(err) && free && !pinned {
			if budget != nil {
				return nil, budgetUnsettled(budget.Name)
			}
			continue
		}
		if err != nil {
			return nil, err
		}
		return answer(&corev1.Binding{}), nil
	}
	return nil, conflict(r)
}

// ended tells whether a pod is on its way out or through.
func ended(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed || pod.DeletionTimestamp != nil
}

// guard finds the budget that a pod falls under, if any. free is set where the
// pod's eviction costs no budget anything.
func (p *Pipeline) guard(pod *corev1.Pod) (budget *policyv1.PodDisruptionBudget, free bool, err error) {
	if ended(pod) || pod.Status.Phase == corev1.PodPending {
		return nil, true, nil
	}
	k := p.Table.ByGVK(budgetKind)
	if k == nil {
		return nil, false, nil
	}
	p.Caches.Of(k).Snapshot().Ascend(pod.Namespace, "", func(it *cache.Item) bool {
		b := it.Obj.(*policyv1.PodDisruptionBudget)
		sel, bad := metav1.LabelSelectorAsSelector(b.Spec.Selector)
		if bad != nil || !sel.Matches(labels.Set(pod.Labels)) {
			return true
		}
		if budget != nil {
			err = &apierrors.StatusError{ErrStatus: metav1.Status{
				Status: metav1.StatusFailure, Code: http.StatusInternalServerError,
				Message: "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.",
			}}
			return false
		}
		budget = b
		return true
	})
	if err != nil || budget == nil {
		return nil, false, err
	}
	return budget, !podReady(pod) && sparesUnready(budget), nil
}

var budgetKind = policyv1.SchemeGroupVersion.WithKind("PodDisruptionBudget")

func podReady(pod *corev1.Pod) bool {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// sparesUnready tells whether pods that are not ready may go for nothing.
func sparesUnready(b *policyv1.PodDisruptionBudget) bool {
	if u := b.Spec.UnhealthyPodEvictionPolicy; u != nil && *u == policyv1.AlwaysAllow {
		return true
	}
	return b.Status.CurrentHealthy >= b.Status.DesiredHealthy && b.Status.DesiredHealthy > 0
}

// spend takes one disruption from a budget for a pod.
func (p *Pipeline) spend(ctx context.Context, r client.Request, budget, pod string) error {
	inner := client.Request{
		User: r.User, Kind: p.Table.ByGVK(budgetKind), Namespace: r.Namespace, Name: budget,
		Subresource: "status", Manager: r.Manager, DryRun: r.DryRun, Admitted: true,
	}
	_, err := p.write(ctx, inner, 0, func(cur *cache.Item) (api.Object, error) {
		b := cur.Obj.DeepCopyObject().(*policyv1.PodDisruptionBudget)
		return b, disrupt(b, pod, p.Clock.Now())
	})
	return err
}

// disrupt writes a disruption into a budget's status, or says why there may be
// none.
func disrupt(b *policyv1.PodDisruptionBudget, pod string, now time.Time) error {
	resource := policyv1.Resource("poddisruptionbudget")
	st := &b.Status
	switch {
	case st.ObservedGeneration < b.Generation:
		return budgetUnsettled(b.Name)
	case st.DisruptionsAllowed < 0:
		return apierrors.NewForbidden(resource, b.Name, errors.New("pdb disruptions allowed is negative"))
	case len(st.DisruptedPods) > maxDisrupted:
		return apierrors.NewForbidden(resource, b.Name, errors.New("DisruptedPods map too big - too many evictions not confirmed by PDB controller"))
	case st.DisruptionsAllowed == 0:
		return refusedEviction(0, whyExhausted(b))
	}
	st.DisruptionsAllowed--
	if st.DisruptionsAllowed == 0 {
		apimeta.SetStatusCondition(&st.Conditions, metav1.Condition{
			Type: policyv1.DisruptionAllowedCondition, Status: metav1.ConditionFalse, Reason: policyv1.InsufficientPodsReason,
			ObservedGeneration: st.ObservedGeneration, LastTransitionTime: metav1.NewTime(now),
		})
	}
	if st.DisruptedPods == nil {
		st.DisruptedPods = map[string]metav1.Time{}
	}
	st.DisruptedPods[pod] = metav1.NewTime(now)
	return nil
}

func whyExhausted(b *policyv1.PodDisruptionBudget) string {
	c := apimeta.FindStatusCondition(b.Status.Conditions, policyv1.DisruptionAllowedCondition)
	explained := c != nil && c.Status == metav1.ConditionFalse && c.Message != ""
	switch {
	case explained && c.Reason == policyv1.SyncFailedReason:
		return fmt.Sprintf("The disruption budget %s does not allow evicting pods currently because it failed sync: %s", b.Name, c.Message)
	case b.Status.CurrentHealthy <= b.Status.DesiredHealthy:
		return fmt.Sprintf("The disruption budget %s needs %d healthy pods and has %d currently", b.Name, b.Status.DesiredHealthy, b.Status.CurrentHealthy)
	case explained:
		return fmt.Sprintf("The disruption budget %s does not allow evicting pods currently (%s): %s", b.Name, c.Reason, c.Message)
	}
	return fmt.Sprintf("The disruption budget %s does not allow evicting pods currently", b.Name)
}

func budgetUnsettled(name string) error {
	return refusedEviction(evictAgain, fmt.Sprintf("The disruption budget %s is still being processed by the server.", name))
}

func refusedEviction(retrySeconds int, cause string) error {
	err := apierrors.NewTooManyRequests("Cannot evict pod as it would violate the pod's disruption budget.", retrySeconds)
	err.ErrStatus.Details.Causes = append(err.ErrStatus.Details.Causes, metav1.StatusCause{Type: policyv1.DisruptionBudgetCause, Message: cause})
	return err
}

func pinTo(o metav1.DeleteOptions, version string) metav1.DeleteOptions {
	pre := metav1.Preconditions{}
	if o.Preconditions != nil {
		pre = *o.Preconditions
	}
	pre.ResourceVersion = &version
	o.Preconditions = &pre
	return o
}

// deleteEvicted marks the pod as evicted and deletes it.
func (p *Pipeline) deleteEvicted(ctx context.Context, r client.Request, o metav1.DeleteOptions) error {
	r.Subresource = ""
	if !r.DryRun {
		marking := r
		marking.Subresource = "status"
		it, err := p.write(ctx, marking, 0, func(cur *cache.Item) (api.Object, error) {
			if err := preconditions(r, cur.Obj, o.Preconditions); err != nil {
				return nil, err
			}
			pod := cur.Obj.DeepCopyObject().(*corev1.Pod)
			setPodCondition(pod, corev1.PodCondition{
				Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: "EvictionByEvictionAPI", Message: "Eviction API: evicting",
			}, p.Clock.Now())
			return pod, nil
		})
		if err != nil {
			return err
		}
		if o.Preconditions != nil && o.Preconditions.ResourceVersion != nil {
			o = pinTo(o, it.Obj.GetResourceVersion())
		}
	}
	unchecked := *p
	unchecked.Authorizer = allowAll{}
	_, err := unchecked.Delete(ctx, r, o)
	return err
}
