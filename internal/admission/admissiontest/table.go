package admissiontest

import (
	"reflect"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	nodev1 "k8s.io/api/node/v1"
	resourcev1 "k8s.io/api/resource/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/monohull/monohull/internal/api"
	"github.com/monohull/monohull/internal/api/all"
)

// Table is the table of kinds, and a bare row for each that is missing.
func Table() *api.Table {
	t := all.Table()
	kinds := slices.Clone(t.Kinds())
	missing := func(k *api.Kind) {
		if t.ByGVK(k.GVK) == nil && !slices.ContainsFunc(kinds, func(o *api.Kind) bool { return o.GoType == k.GoType }) {
			kinds = append(kinds, k)
		}
	}
	missing(bare[*corev1.LimitRange](corev1.SchemeGroupVersion, "limitranges", true, &corev1.LimitRangeList{}))
	missing(bare[*corev1.ResourceQuota](corev1.SchemeGroupVersion, "resourcequotas", true, &corev1.ResourceQuotaList{}))
	missing(bare[*corev1.PersistentVolumeClaim](corev1.SchemeGroupVersion, "persistentvolumeclaims", true, &corev1.PersistentVolumeClaimList{}))
	missing(bare[*corev1.PersistentVolume](corev1.SchemeGroupVersion, "persistentvolumes", false, &corev1.PersistentVolumeList{}))
	missing(bare[*corev1.PodTemplate](corev1.SchemeGroupVersion, "podtemplates", true, &corev1.PodTemplateList{}))
	missing(bare[*appsv1.StatefulSet](appsv1.SchemeGroupVersion, "statefulsets", true, &appsv1.StatefulSetList{}))
	missing(bare[*appsv1.DaemonSet](appsv1.SchemeGroupVersion, "daemonsets", true, &appsv1.DaemonSetList{}))
	missing(bare[*batchv1.Job](batchv1.SchemeGroupVersion, "jobs", true, &batchv1.JobList{}))
	missing(bare[*batchv1.CronJob](batchv1.SchemeGroupVersion, "cronjobs", true, &batchv1.CronJobList{}))
	missing(bare[*certificatesv1.CertificateSigningRequest](certificatesv1.SchemeGroupVersion, "certificatesigningrequests", false, &certificatesv1.CertificateSigningRequestList{}))
	missing(bare[*networkingv1.Ingress](networkingv1.SchemeGroupVersion, "ingresses", true, &networkingv1.IngressList{}))
	missing(bare[*networkingv1.IngressClass](networkingv1.SchemeGroupVersion, "ingressclasses", false, &networkingv1.IngressClassList{}))
	missing(bare[*nodev1.RuntimeClass](nodev1.SchemeGroupVersion, "runtimeclasses", false, &nodev1.RuntimeClassList{}))
	missing(bare[*resourcev1.DeviceClass](resourcev1.SchemeGroupVersion, "deviceclasses", false, &resourcev1.DeviceClassList{}))
	missing(bare[*resourcev1.ResourceClaim](resourcev1.SchemeGroupVersion, "resourceclaims", true, &resourcev1.ResourceClaimList{}))
	missing(bare[*resourcev1.ResourceSlice](resourcev1.SchemeGroupVersion, "resourceslices", false, &resourcev1.ResourceSliceList{}))
	missing(bare[*storagev1.StorageClass](storagev1.SchemeGroupVersion, "storageclasses", false, &storagev1.StorageClassList{}))
	missing(bare[*storagev1.VolumeAttributesClass](storagev1.SchemeGroupVersion, "volumeattributesclasses", false, &storagev1.VolumeAttributesClassList{}))
	missing(bare[*storagev1.CSIDriver](storagev1.SchemeGroupVersion, "csidrivers", false, &storagev1.CSIDriverList{}))
	missing(bare[*storagev1.CSINode](storagev1.SchemeGroupVersion, "csinodes", false, &storagev1.CSINodeList{}))
	return api.NewTable(kinds...)
}

func bare[T api.Object](gv schema.GroupVersion, plural string, namespaced bool, list runtime.Object) *api.Kind {
	kind := reflect.TypeFor[T]().Elem().Name()
	return api.Define(api.Spec[T]{
		GVK: gv.WithKind(kind), Plural: plural, Singular: strings.ToLower(kind), Namespaced: namespaced, List: list, UnconditionalUpdate: true,
	})
}
