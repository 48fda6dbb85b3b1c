package pipeline

import (
	"context"
	"fmt"
	"net/http"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/monohull/monohull/internal/admission"
	"github.com/monohull/monohull/internal/api"
	"github.com/monohull/monohull/internal/api/core"
	"github.com/monohull/monohull/internal/cache"
	"github.com/monohull/monohull/internal/client"
)

func (p *Pipeline) createSubresource(ctx context.Context, r client.Request, obj api.Object) (*cache.Item, error) {
	switch body := obj.(type) {
	case *corev1.Binding:
		return p.bind(ctx, r, body)
	case *policyv1.Eviction:
		return p.evict(ctx, r, body)
	case *authenticationv1.TokenRequest:
		return p.token(ctx, r, body)
	}
	return nil, methodNotAllowed(r, "create")
}

// bind assigns a pod to a node, once.
func (p *Pipeline) bind(ctx context.Context, r client.Request, b *corev1.Binding) (*cache.Item, error) {
	if b.Name != "" && b.Name != r.Name {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("the name of the object (%s) does not match the name on the URL (%s)", b.Name, r.Name))
	}
	errs := core.ValidateBinding(b)
	if len(errs) > 0 {
		return nil, apierrors.NewInvalid(corev1.SchemeGroupVersion.WithKind("Binding").GroupKind(), r.Name, errs)
	}
	if err := p.admitBoth(ctx, p.attributes(r, admission.Create, b, nil)); err != nil {
		return nil, err
	}
	inner := r
	inner.Subresource, inner.Admitted = subBinding, true
	refuse := func(format string, a ...any) error {
		return apierrors.NewConflict(corev1.Resource("pods/binding"), r.Name, fmt.Errorf(format, a...))
	}
	_, err := p.write(ctx, inner, 0, func(cur *cache.Item) (api.Object, error) {
		pod := cur.Obj.DeepCopyObject().(*corev1.Pod)
		switch {
		case b.UID != "" && b.UID != pod.UID:
			return nil, refuse("Precondition failed: UID in precondition: %v, UID in object meta: %v", b.UID, pod.UID)
		case pod.DeletionTimestamp != nil:
			return nil, refuse("pod %s is being deleted, cannot be assigned to a host", pod.Name)
		case pod.Spec.NodeName != "":
			return nil, refuse("pod %v is already assigned to node %q", pod.Name, pod.Spec.NodeName)
		case len(pod.Spec.SchedulingGates) > 0:
			return nil, refuse("pod %v has non-empty .spec.schedulingGates", pod.Name)
		}
		pod.Spec.NodeName = b.Target.Name
		for k, v := range b.Annotations {
			metav1.SetMetaDataAnnotation(&pod.ObjectMeta, k, v)
		}
		for k, v := range b.Labels {
			metav1.SetMetaDataLabel(&pod.ObjectMeta, k, v)
		}
		setPodScheduled(pod, p.Clock.Now())
		return pod, nil
	})
	if err != nil {
		return nil, err
	}
	return answer(&corev1.Binding{}), nil
}

func setPodScheduled(pod *corev1.Pod, now time.Time) {
	setPodCondition(pod, corev1.PodCondition{Type: corev1.PodScheduled, Status: corev1.ConditionTrue}, now)
}

// setPodCondition puts in a condition that begins now, or keeps its beginning
// where it holds already.
func setPodCondition(pod *corev1.Pod, c corev1.PodCondition, now time.Time) {
	c.LastTransitionTime = metav1.NewTime(now.Truncate(time.Second))
	c.ObservedGeneration = pod.Generation
	for i := range pod.Status.Conditions {
		if old := &pod.Status.Conditions[i]; old.Type == c.Type {
			if old.Status == c.Status {
				c.LastTransitionTime = old.LastTransitionTime
			}
			*old = c
			return
		}
	}
	pod.Status.Conditions = append(pod.Status.Conditions, c)
}

// Names of writes that touch what neither a client's write nor a status write
// may touch.
const subBinding = "binding"

func (p *Pipeline) settleSubresource(r client.Request, obj, old api.Object) error {
	switch r.Subresource {
	case subBinding:
		return nil // bind made obj of old itself
	}
	if part := r.Kind.Parts[r.Subresource]; part != nil {
		part.Settle(obj, old)
		if r.Kind.Generation && !r.Kind.SpecEqual(obj, old) {
			obj.SetGeneration(old.GetGeneration() + 1)
		}
		return nil
	}
	return &apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: http.StatusNotFound, Reason: metav1.StatusReasonNotFound,
		Message: "the server could not find the requested resource",
	}}
}

func (p *Pipeline) token(ctx context.Context, r client.Request, req *authenticationv1.TokenRequest) (*cache.Item, error) {
	if p.Tokens == nil {
		return nil, methodNotAllowed(r, "create")
	}
	if err := p.admitBoth(ctx, p.attributes(r, admission.Create, req, nil)); err != nil {
		return nil, err
	}
	issued, err := p.Tokens.Request(ctx, r.Namespace, r.Name, req, nil)
	if err != nil {
		return nil, err
	}
	if r.Warn != nil {
		for _, w := range issued.Warnings {
			r.Warn(w)
		}
	}
	return answer(issued.Response), nil
}

func answer(o api.Object) *cache.Item { return &cache.Item{Obj: o} }

// ScaleOf shows an object through its scale subresource.
func ScaleOf(k *api.Kind, o api.Object) *autoscalingv1.Scale {
	spec, status, selector := k.Scale.Get(o)
	return &autoscalingv1.Scale{
		ObjectMeta: metav1.ObjectMeta{
			Name: o.GetName(), Namespace: o.GetNamespace(), UID: o.GetUID(),
			ResourceVersion: o.GetResourceVersion(), CreationTimestamp: o.GetCreationTimestamp(),
		},
		Spec:   autoscalingv1.ScaleSpec{Replicas: spec},
		Status: autoscalingv1.ScaleStatus{Replicas: status, Selector: selector},
	}
}
