package admission

import (
	"cmp"
	"context"
	"errors"
	"slices"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/monohull/monohull/internal/api"
	"github.com/monohull/monohull/internal/api/quota"
)

// Finalizers that keep storage objects while they are in use.
const (
	ClaimFinalizer           = "kubernetes.io/pvc-protection"
	VolumeFinalizer          = "kubernetes.io/pv-protection"
	AttributesClassFinalizer = "kubernetes.io/vac-protection"
)

// Annotations by which a class is the default one.
const (
	defaultStorageAnnotation     = "storageclass.kubernetes.io/is-default-class"
	betaDefaultStorageAnnotation = "storageclass.beta.kubernetes.io/is-default-class"
	ingressClassAnnotation       = "kubernetes.io/ingress.class"
)

// newest is the class to use of those that say they are the default, or none.
func newest[T api.Object](list []T, isDefault func(T) bool) (T, bool) {
	list = slices.DeleteFunc(list, func(c T) bool { return !isDefault(c) })
	if len(list) == 0 {
		var none T
		return none, false
	}
	return slices.MinFunc(list, func(a, b T) int {
		return cmp.Or(b.GetCreationTimestamp().Compare(a.GetCreationTimestamp().Time), cmp.Compare(a.GetName(), b.GetName()))
	}), true
}

// defaultStorageClass gives claims that name no class the default one.
func defaultStorageClass(d Deps) Plugin {
	classes := read[*storagev1.StorageClass](d.Client)
	return Plugin{Mutate: func(_ context.Context, a *Attributes) error {
		claim, ok := a.Object.(*corev1.PersistentVolumeClaim)
		if !ok || !a.writes(Create) || claim.Spec.StorageClassName != nil {
			return nil
		}
		if _, ok := claim.Annotations[corev1.BetaStorageClassAnnotation]; ok {
			return nil
		}
		c, ok := newest(classes.List(""), func(c *storagev1.StorageClass) bool {
			return c.Annotations[defaultStorageAnnotation] == "true" || c.Annotations[betaDefaultStorageAnnotation] == "true"
		})
		if ok {
			name := c.Name
			claim.Spec.StorageClassName = &name
		}
		return nil
	}}
}

// storageProtection puts the finalizers on storage objects that their
// controllers take off once nothing uses them.
func storageProtection(Deps) Plugin {
	return Plugin{Mutate: func(_ context.Context, a *Attributes) error {
		if !a.writes(Create) {
			return nil
		}
		name := ""
		switch a.Object.(type) {
		case *corev1.PersistentVolumeClaim:
			name = ClaimFinalizer
		case *corev1.PersistentVolume:
			name = VolumeFinalizer
		case *storagev1.VolumeAttributesClass:
			name = AttributesClassFinalizer
		default:
			return nil
		}
		if f := a.Object.GetFinalizers(); !slices.Contains(f, name) {
			a.Object.SetFinalizers(append(f, name))
		}
		return nil
	}}
}

// claimResize refuses to enlarge claims whose class does not allow it.
func claimResize(d Deps) Plugin {
	classes := read[*storagev1.StorageClass](d.Client)
	return Plugin{Validate: func(_ context.Context, a *Attributes) error {
		claim, ok := a.Object.(*corev1.PersistentVolumeClaim)
		old, ok2 := a.Old.(*corev1.PersistentVolumeClaim)
		if !ok || !ok2 || !a.writes(Update) {
			return nil
		}
		was, is := old.Spec.Resources.Requests[corev1.ResourceStorage], claim.Spec.Resources.Requests[corev1.ResourceStorage]
		if is.Cmp(was) <= 0 {
			return nil
		}
		if old.Status.Phase != corev1.ClaimBound {
			return forbidden(a, errors.New("Only bound persistent volume claims can be expanded")) //nolint:staticcheck // upstream's words
		}
		name := quota.ClassOf(claim)
		if name != "" && name == quota.ClassOf(old) {
			if c, ok := classes.Get("", name); ok && c.AllowVolumeExpansion != nil && *c.AllowVolumeExpansion {
				return nil
			}
		}
		return forbidden(a, errors.New("only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize"))
	}}
}

// defaultIngressClass gives Ingresses that name no class the default one.
func defaultIngressClass(d Deps) Plugin {
	classes := read[*networkingv1.IngressClass](d.Client)
	return Plugin{Mutate: func(_ context.Context, a *Attributes) error {
		ingress, ok := a.Object.(*networkingv1.Ingress)
		if !ok || !a.writes(Create) || ingress.Spec.IngressClassName != nil {
			return nil
		}
		if metav1.HasAnnotation(ingress.ObjectMeta, ingressClassAnnotation) {
			return nil
		}
		c, ok := newest(classes.List(""), func(c *networkingv1.IngressClass) bool {
			return c.Annotations[networkingv1.AnnotationIsDefaultIngressClass] == "true"
		})
		if ok {
			name := c.Name
			ingress.Spec.IngressClassName = &name
		}
		return nil
	}}
}

// denyExternalIPs refuses new addresses in the external IPs of Services.
func denyExternalIPs(Deps) Plugin {
	return Plugin{Validate: func(_ context.Context, a *Attributes) error {
		svc, ok := a.Object.(*corev1.Service)
		if !ok || !a.writes(Create, Update) {
			return nil
		}
		var had []string
		if old, ok := a.Old.(*corev1.Service); ok {
			had = old.Spec.ExternalIPs
		}
		for _, ip := range svc.Spec.ExternalIPs {
			if !slices.Contains(had, ip) {
				return forbidden(a, errors.New("Use of external IPs is denied by admission control")) //nolint:staticcheck // upstream's words
			}
		}
		return nil
	}}
}
