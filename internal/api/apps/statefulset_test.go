package apps

import (
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"github.com/monohull/monohull/internal/api"
)

// wants compares errors with "path: part of the detail".
func wants(t *testing.T, name string, errs field.ErrorList, want ...string) {
	t.Helper()
	var got []string
	for _, e := range errs {
		got = append(got, e.Field+": "+e.Detail)
	}
	slices.Sort(got)
	got = slices.Compact(got)
	ok := len(got) == len(want)
	for _, w := range want {
		path, text, _ := strings.Cut(w, ": ")
		ok = ok && slices.ContainsFunc(got, func(g string) bool { return strings.HasPrefix(g, path+": ") && strings.Contains(g, text) })
	}
	if !ok {
		t.Errorf("%s: got %q, want %q", name, got, want)
	}
}

func metaOf() metav1.ObjectMeta {
	return metav1.ObjectMeta{Name: "a", Namespace: "ns", UID: "u", ResourceVersion: "1"}
}

var (
	labelled = map[string]string{"a": "b"}
	template = corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labelled}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i"}}}}
)

func create[T api.Object](k *api.Kind, o T) T {
	k.Default(o)
	k.PrepareCreate(o)
	return o
}

func aStatefulSet(change func(*appsv1.StatefulSet)) *appsv1.StatefulSet {
	s := &appsv1.StatefulSet{ObjectMeta: metaOf(), Spec: appsv1.StatefulSetSpec{Selector: &metav1.LabelSelector{MatchLabels: labelled}, Template: *template.DeepCopy()}}
	if change != nil {
		change(s)
	}
	return create(statefulSetRow(), s)
}

func TestStatefulSet(t *testing.T) {
	claim := corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: "data"}, Spec: corev1.PersistentVolumeClaimSpec{
		AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
		Resources:   corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}},
	}}
	k := statefulSetRow()
	for _, c := range []struct {
		name   string
		change func(*appsv1.StatefulSet)
		want   []string
	}{
		{"plain", nil, nil},
		{"a mount of a claim", func(s *appsv1.StatefulSet) {
			s.Spec.VolumeClaimTemplates = []corev1.PersistentVolumeClaim{claim}
			s.Spec.Template.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "data", MountPath: "/d"}}
		}, nil},
		{"a mount of nothing", func(s *appsv1.StatefulSet) {
			s.Spec.Template.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "data", MountPath: "/d"}}
		}, []string{"spec.template.spec.containers[0].volumeMounts[0].name"}},
		{"a hostname of its own", func(s *appsv1.StatefulSet) { s.Spec.Template.Spec.Hostname = "Not a name" }, nil},
		{"name", func(s *appsv1.StatefulSet) { s.Name = "a.b" }, []string{"metadata.name"}},
		{"service", func(s *appsv1.StatefulSet) { s.Spec.ServiceName = "A" }, []string{"spec.serviceName"}},
		{"management", func(s *appsv1.StatefulSet) { s.Spec.PodManagementPolicy = "x" }, []string{"spec.podManagementPolicy: must be 'OrderedReady' or 'Parallel'"}},
		{"rolling on delete", func(s *appsv1.StatefulSet) {
			s.Spec.UpdateStrategy = appsv1.StatefulSetUpdateStrategy{Type: appsv1.OnDeleteStatefulSetStrategyType, RollingUpdate: &appsv1.RollingUpdateStatefulSetStrategy{}}
		}, []string{"spec.updateStrategy.rollingUpdate: only allowed for"}},
		{"ordinals", func(s *appsv1.StatefulSet) { s.Spec.Ordinals = &appsv1.StatefulSetOrdinals{Start: -1} }, []string{"spec.ordinals.start"}},
		{"selects others", func(s *appsv1.StatefulSet) { s.Spec.Selector.MatchLabels = map[string]string{"x": "y"} }, []string{"spec.template.metadata.labels"}},
	} {
		wants(t, c.name, k.Validate(aStatefulSet(c.change)), c.want...)
	}
	if s := aStatefulSet(func(s *appsv1.StatefulSet) {
		s.Spec.UpdateStrategy.RollingUpdate = &appsv1.RollingUpdateStatefulSetStrategy{MaxUnavailable: ptr.To(intstr.FromInt32(2))}
	}); s.Spec.UpdateStrategy.RollingUpdate.MaxUnavailable != nil || *s.Spec.UpdateStrategy.RollingUpdate.Partition != 0 {
		t.Errorf("update strategy is %+v", s.Spec.UpdateStrategy.RollingUpdate)
	}
}

func TestStatefulSetUpdate(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*appsv1.StatefulSetSpec)
		want   []string
	}{
		{"what may", func(s *appsv1.StatefulSetSpec) {
			s.Replicas, s.MinReadySeconds, s.RevisionHistoryLimit = ptr.To[int32](5), 3, ptr.To[int32](1)
			s.Template.Spec.Containers[0].Image = "j"
			s.Ordinals = &appsv1.StatefulSetOrdinals{Start: 1}
			s.PersistentVolumeClaimRetentionPolicy.WhenDeleted = appsv1.DeletePersistentVolumeClaimRetentionPolicyType
		}, nil},
		{"service", func(s *appsv1.StatefulSetSpec) { s.ServiceName = "other" }, []string{"spec: updates to statefulset spec for fields other than"}},
		{"claims", func(s *appsv1.StatefulSetSpec) { s.VolumeClaimTemplates = []corev1.PersistentVolumeClaim{{}} }, []string{
			"spec: updates to statefulset spec", "spec.template.spec.volumes[0].name", "spec.template.spec.volumes[0].persistentVolumeClaim.claimName"}},
	} {
		old := aStatefulSet(nil)
		s := old.DeepCopy()
		c.change(&s.Spec)
		wants(t, c.name, validateStatefulSetUpdate(s, old), c.want...)
	}
	old, s := aStatefulSet(nil), aStatefulSet(nil)
	old.Status.CollisionCount = ptr.To[int32](2)
	s.Status = appsv1.StatefulSetStatus{Replicas: 1, ReadyReplicas: 2, CollisionCount: ptr.To[int32](1)}
	wants(t, "status", validateStatefulSetStatus(s, old), "status.readyReplicas: cannot be greater than status.replicas", "status.collisionCount: cannot be decremented")
}

func aDaemonSet(change func(*appsv1.DaemonSet)) *appsv1.DaemonSet {
	d := &appsv1.DaemonSet{ObjectMeta: metaOf(), Spec: appsv1.DaemonSetSpec{Selector: &metav1.LabelSelector{MatchLabels: labelled}, Template: *template.DeepCopy()}}
	if change != nil {
		change(d)
	}
	return create(daemonSetRow(), d)
}

func TestDaemonSetStrategy(t *testing.T) {
	roll := func(unavailable, surge string) func(*appsv1.DaemonSet) {
		return func(d *appsv1.DaemonSet) {
			d.Spec.UpdateStrategy.RollingUpdate = &appsv1.RollingUpdateDaemonSet{MaxUnavailable: ptr.To(intstr.Parse(unavailable)), MaxSurge: ptr.To(intstr.Parse(surge))}
		}
	}
	k := daemonSetRow()
	for _, c := range []struct {
		name   string
		change func(*appsv1.DaemonSet)
		want   []string
	}{
		{"default", nil, nil},
		{"surge", roll("0", "10%"), nil},
		{"both", roll("1", "1"), []string{"spec.updateStrategy.rollingUpdate.maxSurge: may not be set when"}},
		{"neither", roll("0", "0%"), []string{"spec.updateStrategy.rollingUpdate.maxUnavailable: cannot be 0"}},
		{"more than all", roll("101%", "0"), []string{"spec.updateStrategy.rollingUpdate.maxUnavailable: must not be greater"}},
		{"generation", func(d *appsv1.DaemonSet) { d.Annotations = map[string]string{appsv1.DeprecatedTemplateGeneration: "x"} }, []string{
			"metadata.annotations[deprecated.daemonset.template.generation]"}},
	} {
		wants(t, c.name, k.Validate(aDaemonSet(c.change)), c.want...)
	}
}

func TestTemplateGenerationCountsTemplates(t *testing.T) {
	k := daemonSetRow()
	at := func(d *appsv1.DaemonSet, want string) {
		t.Helper()
		if got := d.Annotations[appsv1.DeprecatedTemplateGeneration]; got != want {
			t.Errorf("template generation is %s, want %s", got, want)
		}
	}
	old := aDaemonSet(nil)
	at(old, "1")
	d := old.DeepCopy()
	d.Annotations = nil
	k.PrepareUpdate(d, old)
	at(d, "1")
	d.Spec.Template.Spec.Containers[0].Image = "j"
	k.PrepareUpdate(d, old)
	at(d, "2")
	d.Annotations = map[string]string{"x": "y"}
	k.PrepareStatus(d, old)
	at(d, "1")
}

func TestControllerRevision(t *testing.T) {
	k := controllerRevisionRow()
	for data, want := range map[string][]string{
		`{"a":1}`: nil, ``: {"data: data is mandatory"}, `null`: {"data: data is mandatory"}, `[1]`: {"data: must be a valid JSON object"}, `{`: {"data: error parsing data"},
	} {
		c := &appsv1.ControllerRevision{ObjectMeta: metaOf()}
		if data != "" {
			c.Data.Raw = []byte(data)
		}
		wants(t, data, k.Validate(c), want...)
	}
	old := &appsv1.ControllerRevision{ObjectMeta: metaOf()}
	old.Data.Raw = []byte(`{}`)
	c := old.DeepCopy()
	c.Data.Raw, c.Revision = []byte(`{"a":1}`), -1
	wants(t, "update", k.ValidateUpdate(c, old), "data: immutable", "revision")
	c.OwnerReferences = []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "StatefulSet", Name: "s", Controller: ptr.To(true)}}
	if got := controllerName(c); got != "statefulset.apps/s" {
		t.Errorf("controller is %s", got)
	}
}

func TestClaimsKeepTheirKind(t *testing.T) {
	k := statefulSetRow()
	set := &appsv1.StatefulSet{}
	set.Name, set.Namespace = "web", "default"
	set.Spec.VolumeClaimTemplates = []corev1.PersistentVolumeClaim{{}}
	k.Default(set)
	value, err := k.EncodeStored(set)
	if err != nil {
		t.Fatal(err)
	}
	got, _, err := k.DecodeStored(value, 7)
	if err != nil {
		t.Fatal(err)
	}
	if c := got.(*appsv1.StatefulSet).Spec.VolumeClaimTemplates[0]; c.APIVersion != "v1" || c.Kind != "PersistentVolumeClaim" {
		t.Errorf("a claim of a stored set is %v", c.TypeMeta)
	}
}

func TestUnchangedWorkloadsAreNotWarnedOf(t *testing.T) {
	k := deploymentRow()
	old := &appsv1.Deployment{}
	old.Name = "Bad_Name"
	old.Spec.Template.Spec.NodeSelector = map[string]string{"beta.kubernetes.io/os": "linux"}
	if w := k.Warnings(old); len(w) != 2 {
		t.Errorf("creation earned %q", w)
	}
	now := old.DeepCopy()
	if w := k.UpdateWarnings(now, old); w != nil {
		t.Errorf("an update that changed nothing earned %q", w)
	}
	now.Generation++
	if w := k.UpdateWarnings(now, old); len(w) != 1 {
		t.Errorf("an update earned %q", w)
	}
}
