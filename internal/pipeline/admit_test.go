package pipeline

import (
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

var deploymentGVK = appsv1.SchemeGroupVersion.WithKind("Deployment")

func TestNothingIsCreatedInANamespaceThatIsNotThereOrGoing(t *testing.T) {
	r := newRig(t).withAdmission()
	for _, err := range []error{
		second(kind[*corev1.ConfigMap](r).Create(r.ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "none", Name: "a"}})),
		second(kind[*corev1.Pod](r).Create(r.ctx, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "none", Name: "a"}, Spec: newPod("").Spec})),
	} {
		s := refused(t, err, 404, metav1.StatusReasonNotFound)
		if s.Message != `namespaces "none" not found` || s.Details.Kind != "namespaces" {
			t.Errorf("it says %q, %+v", s.Message, s.Details)
		}
	}
	cm := create(r, configMap("here"))
	if _, err := del[*corev1.Namespace](r, "ns", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	ns := get[*corev1.Namespace](r, "ns")
	if ns.Status.Phase != corev1.NamespaceTerminating || ns.DeletionTimestamp == nil {
		t.Fatalf("the namespace is %s", ns.Status.Phase)
	}
	_, err := kind[*corev1.ConfigMap](r).Create(r.ctx, configMap("late"))
	s := refused(t, err, 403, metav1.StatusReasonForbidden, "unable to create new content in namespace ns because it is being terminated")
	if !apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
		t.Errorf("the causes are %q", causes(s))
	}
	// what is there may still be changed and deleted
	up := cm.DeepCopy()
	up.Data = map[string]string{"a": "b"}
	if _, err := kind[*corev1.ConfigMap](r).Update(r.ctx, up); err != nil {
		t.Error(err)
	}
	if _, err := del[*corev1.ConfigMap](r, "here", metav1.DeleteOptions{}); err != nil {
		t.Error(err)
	}
}

func second[T any](_ T, err error) error { return err }

func TestNamespaceGoesWhenItsFinalizersDo(t *testing.T) {
	r := newRig(t).withAdmission()
	if got := get[*corev1.Namespace](r, "ns"); len(got.Spec.Finalizers) != 1 || got.Spec.Finalizers[0] != corev1.FinalizerKubernetes || got.Status.Phase != corev1.NamespaceActive {
		t.Fatalf("a new namespace has %v, phase %s", got.Spec.Finalizers, got.Status.Phase)
	}
	if _, err := del[*corev1.Namespace](r, "ns", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	ns := get[*corev1.Namespace](r, "ns").DeepCopy()
	ns.Spec.Finalizers = nil
	if _, err := kind[*corev1.Namespace](r).Update(r.ctx, ns.DeepCopy()); err != nil {
		t.Fatal(err)
	}
	ns = get[*corev1.Namespace](r, "ns").DeepCopy()
	if len(ns.Spec.Finalizers) != 1 {
		t.Fatal("an ordinary update took a namespace's finalizer")
	}
	ns.Spec.Finalizers = nil
	if _, err := r.pipe.Update(r.ctx, r.client.Request(r.table.ByGVK(corev1.SchemeGroupVersion.WithKind("Namespace")), "", "ns", "finalize"), ns); err != nil {
		t.Fatal(err)
	}
	if _, ok := kind[*corev1.Namespace](r).Get("", "ns"); ok {
		t.Fatal("a finalized namespace is still there")
	}
	create(r, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "default"}})
	_, err := del[*corev1.Namespace](r, "default", metav1.DeleteOptions{})
	refused(t, err, 403, metav1.StatusReasonForbidden, "this namespace may not be deleted")
}

func TestPodGetsItsAccountsToken(t *testing.T) {
	r := newRig(t).withAdmission()
	p := newPod("p")
	p.Spec.InitContainers = []corev1.Container{{Name: "i", Image: "img"}}
	got := create(r, p)
	if got.Spec.ServiceAccountName != "default" || got.Spec.DeprecatedServiceAccount != "default" {
		t.Errorf("the account is %q", got.Spec.ServiceAccountName)
	}
	if n := len(got.Spec.Volumes); n != 1 {
		t.Fatalf("the pod has %d volumes", n)
	}
	v := got.Spec.Volumes[0]
	if !strings.HasPrefix(v.Name, "kube-api-access-") || v.Projected == nil || len(v.Projected.Sources) != 3 || *v.Projected.DefaultMode != 0o644 {
		t.Fatalf("the volume is %+v", v)
	}
	if tok := v.Projected.Sources[0].ServiceAccountToken; tok == nil || *tok.ExpirationSeconds != 3607 || tok.Path != "token" {
		t.Errorf("the token is %+v", tok)
	}
	for _, c := range append(got.Spec.InitContainers, got.Spec.Containers...) {
		if len(c.VolumeMounts) != 1 || c.VolumeMounts[0].MountPath != "/var/run/secrets/kubernetes.io/serviceaccount" || !c.VolumeMounts[0].ReadOnly {
			t.Errorf("container %s mounts %+v", c.Name, c.VolumeMounts)
		}
	}
	if n := len(got.Spec.Tolerations); n != 2 || *got.Spec.Tolerations[0].TolerationSeconds != 300 {
		t.Errorf("the tolerations are %+v", got.Spec.Tolerations)
	}
	off := newPod("off")
	off.Spec.AutomountServiceAccountToken = ptr(false)
	if got := create(r, off); len(got.Spec.Volumes) != 0 {
		t.Error("a pod that wants no token got one")
	}
	create(r, &corev1.ServiceAccount{ObjectMeta: meta("quiet"), AutomountServiceAccountToken: ptr(false), ImagePullSecrets: []corev1.LocalObjectReference{{Name: "reg"}}})
	quiet := newPod("quiet")
	quiet.Spec.ServiceAccountName = "quiet"
	if got := create(r, quiet); len(got.Spec.Volumes) != 0 || len(got.Spec.ImagePullSecrets) != 1 {
		t.Errorf("of an account without tokens: %+v", got.Spec)
	}
	lost := newPod("lost")
	lost.Spec.ServiceAccountName = "nobody"
	_, err := kind[*corev1.Pod](r).Create(r.ctx, lost)
	refused(t, err, 403, metav1.StatusReasonForbidden, `pods "lost" is forbidden: error looking up service account ns/nobody: serviceaccount "nobody" not found`)
}

func TestPodGetsItsPriority(t *testing.T) {
	r := newRig(t).withAdmission()
	if got := create(r, newPod("plain")); got.Spec.Priority == nil || *got.Spec.Priority != 0 || *got.Spec.PreemptionPolicy != corev1.PreemptLowerPriority {
		t.Errorf("without classes: %v", got.Spec.Priority)
	}
	create(r, &schedulingv1.PriorityClass{ObjectMeta: metav1.ObjectMeta{Name: "high"}, Value: 1000, PreemptionPolicy: ptr(corev1.PreemptNever)})
	create(r, &schedulingv1.PriorityClass{ObjectMeta: metav1.ObjectMeta{Name: "usual"}, Value: 5, GlobalDefault: true})
	p := newPod("high")
	p.Spec.PriorityClassName = "high"
	if got := create(r, p); *got.Spec.Priority != 1000 || *got.Spec.PreemptionPolicy != corev1.PreemptNever {
		t.Errorf("of class high: %d", *got.Spec.Priority)
	}
	if got := create(r, newPod("usual")); *got.Spec.Priority != 5 || got.Spec.PriorityClassName != "usual" {
		t.Errorf("of the default class: %d", *got.Spec.Priority)
	}
	p = newPod("lost")
	p.Spec.PriorityClassName = "none"
	_, err := kind[*corev1.Pod](r).Create(r.ctx, p)
	refused(t, err, 403, metav1.StatusReasonForbidden, "no PriorityClass with name none was found")
	p = newPod("own")
	p.Spec.Priority = ptr(int32(9))
	_, err = kind[*corev1.Pod](r).Create(r.ctx, p)
	refused(t, err, 403, metav1.StatusReasonForbidden, "the integer value of priority (9) must not be provided in pod spec")
	_, err = kind[*schedulingv1.PriorityClass](r).Create(r.ctx, &schedulingv1.PriorityClass{ObjectMeta: metav1.ObjectMeta{Name: "third"}, GlobalDefault: true})
	refused(t, err, 403, metav1.StatusReasonForbidden, "PriorityClass usual is already marked as default")
}
