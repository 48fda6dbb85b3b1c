package protection

import (
	"log/slog"
	"slices"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/monohull/monohull/internal/admission"
	"github.com/monohull/monohull/internal/admission/admissiontest"
	"github.com/monohull/monohull/internal/api"
	"github.com/monohull/monohull/internal/client"
	"github.com/monohull/monohull/internal/controllers"
)

func TestWhetherAPodUsesAClaim(t *testing.T) {
	yes, now, zero := true, metav1.Now(), int64(0)
	claim := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "p-v", OwnerReferences: []metav1.OwnerReference{{UID: "u", Controller: &yes}}}}
	pod := func(change func(*corev1.Pod)) *corev1.Pod {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "p", UID: "u"}, Spec: corev1.PodSpec{NodeName: "n"}}
		change(p)
		return p
	}
	named := corev1.Volume{Name: "x", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "p-v"}}}
	own := corev1.Volume{Name: "v", VolumeSource: corev1.VolumeSource{Ephemeral: &corev1.EphemeralVolumeSource{}}}
	for what, c := range map[string]struct {
		pod  *corev1.Pod
		want bool
	}{
		"by name":       {pod(func(p *corev1.Pod) { p.Spec.Volumes = []corev1.Volume{named} }), true},
		"not at all":    {pod(func(*corev1.Pod) {}), false},
		"not on a node": {pod(func(p *corev1.Pod) { p.Spec.Volumes, p.Spec.NodeName = []corev1.Volume{named}, "" }), false},
		"its own":       {pod(func(p *corev1.Pod) { p.Spec.Volumes = []corev1.Volume{own} }), true},
		"another's":     {pod(func(p *corev1.Pod) { p.Spec.Volumes, p.UID = []corev1.Volume{own}, "x" }), false},
		"its own, at last": {pod(func(p *corev1.Pod) {
			p.Spec.Volumes, p.DeletionTimestamp, p.DeletionGracePeriodSeconds = []corev1.Volume{own}, &now, &zero
		}), false},
		"by name, at last": {pod(func(p *corev1.Pod) {
			p.Spec.Volumes, p.DeletionTimestamp, p.DeletionGracePeriodSeconds = []corev1.Volume{named}, &now, &zero
		}), true},
	} {
		if got := uses(c.pod, claim); got != c.want {
			t.Errorf("%s: %v", what, got)
		}
	}
}

func remove[T api.Object](t *testing.T, c *admissiontest.Cluster, namespace, name string) {
	t.Helper()
	if err := client.Of[T](c.Client).Delete(t.Context(), namespace, name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
}

func there[T api.Object](c *admissiontest.Cluster, namespace, name string) bool {
	_, ok := admissiontest.Get[T](c, namespace, name)
	return ok
}

func TestStorageInUseStays(t *testing.T) {
	c := admissiontest.New(t, admission.Config{Disable: []string{"PodSecurity"}}, nil)
	claim := func(name string) *corev1.PersistentVolumeClaim {
		return admissiontest.Create(c, &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name}, Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			Resources:   corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}},
		}})
	}
	claim("used")
	claim("free")
	admissiontest.Create(c, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "p"}, Spec: corev1.PodSpec{
		NodeName: "n", Containers: []corev1.Container{{Name: "c", Image: "i"}},
		Volumes: []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "used"}}}},
	}})
	mode := corev1.PersistentVolumeFilesystem
	admissiontest.Create(c, &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "bound"}, Spec: corev1.PersistentVolumeSpec{
		Capacity: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}, AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
		PersistentVolumeReclaimPolicy: corev1.PersistentVolumeReclaimRetain, VolumeMode: &mode,
		PersistentVolumeSource: corev1.PersistentVolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/x"}},
	}, Status: corev1.PersistentVolumeStatus{Phase: corev1.VolumeBound}})
	admissiontest.Create(c, &storagev1.VolumeAttributesClass{ObjectMeta: metav1.ObjectMeta{Name: "gold"}, DriverName: "d", Parameters: map[string]string{"a": "b"}})
	admissiontest.Modify(c, "ns", "used", "status", func(p *corev1.PersistentVolumeClaim) {
		gold := "gold"
		p.Status.CurrentVolumeAttributesClassName = &gold
	})
	// one from before there was protection
	admissiontest.Modify(c, "ns", "free", "", func(p *corev1.PersistentVolumeClaim) { p.Finalizers = nil })

	log := slog.New(slog.DiscardHandler)
	var wg sync.WaitGroup
	wg.Go(func() {
		_ = controllers.Run(t.Context(), log, Controllers(controllers.Deps{Client: func(name string) *client.Client { return c.Client.AsUser("system:serviceaccount:kube-system:" + name) }, Clock: c.Clock, Log: log}))
	})
	t.Cleanup(wg.Wait)
	c.Eventually("a claim without protection gets it", func() bool {
		p, _ := admissiontest.Get[*corev1.PersistentVolumeClaim](c, "ns", "free")
		return slices.Contains(p.Finalizers, admission.ClaimFinalizer)
	})
	remove[*corev1.PersistentVolumeClaim](t, c, "ns", "used")
	remove[*corev1.PersistentVolumeClaim](t, c, "ns", "free")
	remove[*corev1.PersistentVolume](t, c, "", "bound")
	remove[*storagev1.VolumeAttributesClass](t, c, "", "gold")
	c.Eventually("what is free goes", func() bool { return !there[*corev1.PersistentVolumeClaim](c, "ns", "free") })
	if !there[*corev1.PersistentVolumeClaim](c, "ns", "used") || !there[*corev1.PersistentVolume](c, "", "bound") || !there[*storagev1.VolumeAttributesClass](c, "", "gold") {
		t.Fatal("what is used went")
	}
	admissiontest.Modify(c, "", "bound", "status", func(v *corev1.PersistentVolume) { v.Status.Phase = corev1.VolumeReleased })
	zero := int64(0)
	if err := client.Of[*corev1.Pod](c.Client).Delete(t.Context(), "ns", "p", metav1.DeleteOptions{GracePeriodSeconds: &zero}); err != nil {
		t.Fatal(err)
	}
	c.Eventually("the rest goes with its users", func() bool {
		return !there[*corev1.PersistentVolumeClaim](c, "ns", "used") && !there[*corev1.PersistentVolume](c, "", "bound") && !there[*storagev1.VolumeAttributesClass](c, "", "gold")
	})
}
