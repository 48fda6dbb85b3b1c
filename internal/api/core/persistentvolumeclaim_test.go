package core

import (
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"
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

func storage(size string) corev1.ResourceList {
	return corev1.ResourceList{corev1.ResourceStorage: resource.MustParse(size)}
}

func aClaim(change func(*corev1.PersistentVolumeClaim)) *corev1.PersistentVolumeClaim {
	c := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: "c", Namespace: "ns", UID: "u", ResourceVersion: "1"}}
	c.Spec = corev1.PersistentVolumeClaimSpec{AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}, Resources: corev1.VolumeResourceRequirements{Requests: storage("5Gi")}}
	DefaultClaim(c)
	if change != nil {
		change(c)
	}
	return c
}

func bound(c *corev1.PersistentVolumeClaim) {
	c.Spec.VolumeName, c.Spec.StorageClassName = "v", ptr.To("fast")
	c.Status = corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimBound, Capacity: storage("5Gi")}
}

func TestClaimUpdate(t *testing.T) {
	size := func(s string) func(*corev1.PersistentVolumeClaim) {
		return func(c *corev1.PersistentVolumeClaim) { c.Spec.Resources.Requests = storage(s) }
	}
	class := func(n string) func(*corev1.PersistentVolumeClaim) {
		return func(c *corev1.PersistentVolumeClaim) { c.Spec.StorageClassName = ptr.To(n) }
	}
	attributes := func(n *string) func(*corev1.PersistentVolumeClaim) {
		return func(c *corev1.PersistentVolumeClaim) { c.Spec.VolumeAttributesClassName = n }
	}
	const fixed = "spec: spec is immutable after creation except resources.requests"
	for _, c := range []struct {
		name        string
		old, change func(*corev1.PersistentVolumeClaim)
		want        []string
	}{
		{"bind", nil, func(c *corev1.PersistentVolumeClaim) { c.Spec.VolumeName = "v" }, nil},
		{"bind elsewhere", bound, func(c *corev1.PersistentVolumeClaim) { c.Spec.VolumeName = "w" }, []string{fixed}},
		{"grow", bound, size("6Gi"), nil},
		{"grow before there is a volume", nil, size("6Gi"), []string{fixed}},
		{"shrink below what there is", bound, size("4Gi"), []string{"spec.resources.requests.storage: field can not be less than status.capacity"}},
		{"take back a growth that failed", func(c *corev1.PersistentVolumeClaim) {
			bound(c)
			c.Spec.Resources.Requests = storage("100Gi")
		}, size("6Gi"), nil},
		{"get a class", nil, class("fast"), nil},
		{"change the class", bound, class("slow"), []string{fixed}},
		{"class of the annotation", func(c *corev1.PersistentVolumeClaim) { c.Annotations = map[string]string{betaStorageClassKey: "fast"} }, class("fast"), nil},
		{"class of another", func(c *corev1.PersistentVolumeClaim) { c.Annotations = map[string]string{betaStorageClassKey: "fast"} }, class("slow"), []string{fixed}},
		{"annotation", nil, func(c *corev1.PersistentVolumeClaim) { c.Annotations = map[string]string{betaStorageClassKey: "fast"} }, []string{
			"metadata.annotations." + betaStorageClassKey + ": field is immutable"}},
		{"attributes", bound, attributes(ptr.To("gold")), nil},
		{"no more attributes", func(c *corev1.PersistentVolumeClaim) {
			bound(c)
			c.Spec.VolumeAttributesClassName, c.Status.CurrentVolumeAttributesClassName = ptr.To("gold"), ptr.To("gold")
		}, attributes(nil), []string{"spec.volumeAttributesClassName: update to nil is forbidden"}},
		{"mode", nil, func(c *corev1.PersistentVolumeClaim) { c.Spec.VolumeMode = ptr.To(corev1.PersistentVolumeBlock) }, []string{fixed, "volumeMode: field is immutable"}},
	} {
		old := aClaim(c.old)
		pvc := old.DeepCopy()
		c.change(pvc)
		wants(t, c.name, validateClaimUpdate(pvc, old), c.want...)
	}
}

func TestClaimSources(t *testing.T) {
	src := func(group, kind string) *corev1.TypedLocalObjectReference {
		r := &corev1.TypedLocalObjectReference{Kind: kind, Name: "x"}
		if group != "" {
			r.APIGroup = &group
		}
		return r
	}
	for _, c := range []struct {
		name     string
		source   *corev1.TypedLocalObjectReference
		ref      *corev1.TypedObjectReference
		has, had bool
	}{
		{"a claim", src("", "PersistentVolumeClaim"), nil, true, true},
		{"a snapshot", src("snapshot.storage.k8s.io", "VolumeSnapshot"), nil, true, true},
		{"something else", src("example.com", "Foo"), nil, false, false},
		{"something else, by the new field", nil, &corev1.TypedObjectReference{APIGroup: ptr.To("example.com"), Kind: "Foo", Name: "x"}, true, true},
		{"of another namespace", nil, &corev1.TypedObjectReference{Kind: "PersistentVolumeClaim", Name: "x", Namespace: ptr.To("o")}, false, false},
	} {
		s := &corev1.PersistentVolumeClaimSpec{DataSource: c.source, DataSourceRef: c.ref}
		settleSources(s, nil)
		if (s.DataSource != nil) != c.has || (s.DataSourceRef != nil) != c.had {
			t.Errorf("%s: %+v, %+v", c.name, s.DataSource, s.DataSourceRef)
		}
	}
}

func TestClaimStatus(t *testing.T) {
	c := aClaim(bound)
	c.Status.AllocatedResources = corev1.ResourceList{"cpu": resource.MustParse("1"), "storage": resource.MustParse("6Gi"), "example.com/x": resource.MustParse("1")}
	c.Status.AllocatedResourceStatuses = map[corev1.ResourceName]corev1.ClaimResourceStatus{"storage": "x"}
	c.Status.Capacity = storage("-1")
	wants(t, "status", validateClaimStatus(c, c), "status.allocatedResources: supported values", "status.allocatedResourceStatuses: supported values", "status.capacity[storage]: must be a valid resource quantity")
}

func TestVolume(t *testing.T) {
	k := persistentVolumeRow()
	one := func(change func(*corev1.PersistentVolume)) *corev1.PersistentVolume {
		v := &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "v", ResourceVersion: "1", CreationTimestamp: metav1.Time{Time: now}}}
		v.Spec = corev1.PersistentVolumeSpec{Capacity: storage("1Gi"), AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}}
		v.Spec.HostPath = &corev1.HostPathVolumeSource{Path: "/d"}
		if change != nil {
			change(v)
		}
		k.Default(v)
		k.PrepareCreate(v)
		return v
	}
	for _, c := range []struct {
		name   string
		change func(*corev1.PersistentVolume)
		want   []string
	}{
		{"plain", nil, nil},
		{"two sources", func(v *corev1.PersistentVolume) { v.Spec.NFS = &corev1.NFSVolumeSource{} }, []string{"spec.nfs: may not specify more than 1"}},
		{"no source", func(v *corev1.PersistentVolume) { v.Spec.HostPath = nil }, []string{"spec: must specify a volume type"}},
		{"local without a node", func(v *corev1.PersistentVolume) {
			v.Spec.HostPath, v.Spec.Local = nil, &corev1.LocalVolumeSource{Path: "/d"}
		}, []string{"spec.nodeAffinity: Local volume requires"}},
		{"the root recycled", func(v *corev1.PersistentVolume) {
			v.Spec.HostPath.Path, v.Spec.PersistentVolumeReclaimPolicy = "//", corev1.PersistentVolumeReclaimRecycle
		}, []string{"spec.persistentVolumeReclaimPolicy: may not be 'recycle'"}},
		{"csi", func(v *corev1.PersistentVolume) {
			v.Spec.HostPath, v.Spec.CSI = nil, &corev1.CSIPersistentVolumeSource{NodeStageSecretRef: &corev1.SecretReference{}, NodePublishSecretRef: &corev1.SecretReference{Name: "a"}}
		}, []string{"spec.csi.driver", "spec.csi.volumeHandle", "spec.csi.nodePublishSecretRef.namespace"}},
		{"attributes without csi", func(v *corev1.PersistentVolume) { v.Spec.VolumeAttributesClassName = ptr.To("gold") }, []string{"spec.csi: has to be specified"}},
		{"two capacities", func(v *corev1.PersistentVolume) { v.Spec.Capacity["cpu"] = resource.MustParse("0") }, []string{"spec.capacity: supported values", "spec.capacity[cpu]: greater than zero"}},
	} {
		wants(t, c.name, validateVolumeObject(one(c.change)), c.want...)
	}
	old := one(nil)
	if s := old.Status; s.Phase != corev1.VolumePending {
		t.Errorf("new status is %+v", s)
	}
	v := old.DeepCopy()
	v.Spec.HostPath.Path, v.Spec.VolumeMode = "/e", ptr.To(corev1.PersistentVolumeBlock)
	wants(t, "update", validateVolumeUpdate(v, old), "spec.persistentvolumesource: immutable", "volumeMode: immutable")

	affinity := func(key string) *corev1.VolumeNodeAffinity {
		return &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
			MatchExpressions: []corev1.NodeSelectorRequirement{{Key: key, Operator: corev1.NodeSelectorOpIn, Values: []string{"z"}}}}}}}
	}
	old.Spec.NodeAffinity = affinity(corev1.LabelFailureDomainBetaZone)
	v = old.DeepCopy()
	v.Spec.NodeAffinity = affinity(corev1.LabelTopologyZone)
	wants(t, "newer label", validateVolumeUpdate(v, old))
	v.Spec.NodeAffinity = affinity(corev1.LabelTopologyRegion)
	wants(t, "another label", validateVolumeUpdate(v, old), "nodeAffinity: field is immutable, except for updating from beta label to GA")
}

func TestVolumePhaseTime(t *testing.T) {
	k := persistentVolumeRow()
	then := metav1.NewTime(now.Add(-time.Hour))
	old := &corev1.PersistentVolume{Status: corev1.PersistentVolumeStatus{Phase: corev1.VolumeAvailable, LastPhaseTransitionTime: &then}}
	same := &corev1.PersistentVolume{Status: corev1.PersistentVolumeStatus{Phase: corev1.VolumeAvailable}}
	k.Date(same, old, now)
	if !same.Status.LastPhaseTransitionTime.Equal(&then) {
		t.Errorf("an unchanged phase began %v", same.Status.LastPhaseTransitionTime)
	}
	moved := old.DeepCopy()
	moved.Status.Phase = corev1.VolumeBound
	k.Date(moved, old, now)
	if !moved.Status.LastPhaseTransitionTime.Time.Equal(now) {
		t.Errorf("a new phase began %v, not now", moved.Status.LastPhaseTransitionTime)
	}
}

func TestOldClaimsShowTheirSourceInBothFields(t *testing.T) {
	k := persistentVolumeClaimRow()
	c := &corev1.PersistentVolumeClaim{Spec: corev1.PersistentVolumeClaimSpec{
		DataSource: &corev1.TypedLocalObjectReference{Kind: "PersistentVolumeClaim", Name: "from"},
	}}
	c.Name, c.Namespace = "copy", "default"
	value, err := k.EncodeStored(c)
	if err != nil {
		t.Fatal(err)
	}
	got, raw, err := k.DecodeStored(value, 7)
	if err != nil {
		t.Fatal(err)
	}
	if ref := got.(*corev1.PersistentVolumeClaim).Spec.DataSourceRef; ref == nil || ref.Name != "from" {
		t.Errorf("the newer field says %v", ref)
	}
	sent := &corev1.PersistentVolumeClaim{}
	if err := sent.Unmarshal(raw); err != nil {
		t.Fatal(err)
	}
	if sent.Spec.DataSourceRef == nil {
		t.Error("clients of protobuf are not sent the newer field")
	}
}
