package oracle

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/monohull/monohull/internal/api"
	"github.com/monohull/monohull/internal/api/core"
)

type judge func(newObj, old api.Object) field.ErrorList

// settleByHand mirrors the subresources that the pipeline treats itself rather
// than by a Part of the row.
func settleByHand(k *api.Kind, sub string, obj, old api.Object) (judge, bool) {
	switch k.Plural + "/" + sub {
	case "pods/ephemeralcontainers":
		pod, was := obj.(*corev1.Pod), old.DeepCopyObject().(*corev1.Pod)
		was.Spec.EphemeralContainers = pod.Spec.EphemeralContainers
		was.ResourceVersion = pod.ResourceVersion
		*pod = *was
		return func(n, old api.Object) field.ErrorList {
			return core.ValidateEphemeralContainersUpdate(n.(*corev1.Pod), old.(*corev1.Pod))
		}, true
	case "namespaces/finalize":
		k.CopyStatus(obj, old)
		obj.SetLabels(old.GetLabels())
		obj.SetAnnotations(old.GetAnnotations())
		obj.SetOwnerReferences(old.GetOwnerReferences())
		obj.SetFinalizers(old.GetFinalizers())
		return func(n, old api.Object) field.ErrorList {
			return core.ValidateNamespaceFinalize(n.(*corev1.Namespace), old.(*corev1.Namespace))
		}, true
	}
	return nil, false
}

// allocated gives the object that both sides judge where preparing it is no
// pure function: upstream fills a Service's addresses and ports from its
// allocators between preparation and validation, and we do so in the pipeline.
// What is filled is compared by the pipeline's own tests.
func (j *Judge) allocated(o runtime.Object) runtime.Object {
	if j.Name == "Service" {
		return o
	}
	return nil
}
