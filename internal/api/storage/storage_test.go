package storage

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/monohull/monohull/internal/api"
)

func row(t *testing.T, kind string) *api.Kind {
	t.Helper()
	for _, k := range Rows() {
		if k.GVK.Kind == kind {
			return k
		}
	}
	t.Fatalf("no row of %s", kind)
	return nil
}

// says tells whether errs are exactly those at the paths, in any order.
func says(t *testing.T, what string, errs field.ErrorList, paths ...string) {
	t.Helper()
	var got []string
	for _, e := range errs {
		got = append(got, e.Field)
	}
	slices.Sort(got)
	slices.Sort(paths)
	if !slices.Equal(slices.Compact(got), paths) {
		t.Errorf("%s: errors at %q, want them at %q: %v", what, got, paths, errs)
	}
}

func class(change func(*storagev1.StorageClass)) *storagev1.StorageClass {
	c := &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: "c", ResourceVersion: "1"}, Provisioner: "csi.example.com", Parameters: map[string]string{"a": "b"}}
	storageClassRow().Default(c)
	change(c)
	return c
}

func TestStorageClassKeepsWhatVolumesWereMadeBy(t *testing.T) {
	k, old := row(t, "StorageClass"), class(func(*storagev1.StorageClass) {})
	for path, change := range map[string]func(*storagev1.StorageClass){
		"parameters":        func(c *storagev1.StorageClass) { c.Parameters = nil },
		"provisioner":       func(c *storagev1.StorageClass) { c.Provisioner = "other" },
		"reclaimPolicy":     func(c *storagev1.StorageClass) { *c.ReclaimPolicy = corev1.PersistentVolumeReclaimRetain },
		"volumeBindingMode": func(c *storagev1.StorageClass) { *c.VolumeBindingMode = storagev1.VolumeBindingWaitForFirstConsumer },
	} {
		says(t, path, k.ValidateUpdate(class(change), old), path)
	}
	yes := true
	says(t, "allowing growth", k.ValidateUpdate(class(func(c *storagev1.StorageClass) { c.AllowVolumeExpansion = &yes }), old))
}

func TestTopologiesOfAClassDiffer(t *testing.T) {
	term := func(values ...string) corev1.TopologySelectorTerm {
		return corev1.TopologySelectorTerm{MatchLabelExpressions: []corev1.TopologySelectorLabelRequirement{{Key: "zone", Values: values}}}
	}
	for _, c := range []struct {
		what  string
		terms []corev1.TopologySelectorTerm
		paths []string
	}{
		{"two zones", []corev1.TopologySelectorTerm{term("a"), term("b")}, nil},
		{"the same values in another order", []corev1.TopologySelectorTerm{term("a", "b"), term("b", "a")}, []string{"allowedTopologies[1].matchLabelExpressions"}},
		{"no values", []corev1.TopologySelectorTerm{term()}, []string{"allowedTopologies[0].matchLabelExpressions[0].values"}},
		{"one value twice", []corev1.TopologySelectorTerm{term("a", "a")}, []string{"allowedTopologies[0].matchLabelExpressions[0].values[1]"}},
		{"an empty term", []corev1.TopologySelectorTerm{{}}, []string{"allowedTopologies[0].matchLabelExpressions"}},
	} {
		says(t, c.what, row(t, "StorageClass").Validate(class(func(s *storagev1.StorageClass) { s.AllowedTopologies = c.terms })), c.paths...)
	}
}

func TestDriverDefaultsAndLimits(t *testing.T) {
	k := row(t, "CSIDriver")
	make := func(change func(*storagev1.CSIDriverSpec)) *storagev1.CSIDriver {
		d := &storagev1.CSIDriver{ObjectMeta: metav1.ObjectMeta{Name: "csi.example.com", ResourceVersion: "1"}}
		k.Default(d)
		change(&d.Spec)
		return d
	}
	plain := make(func(*storagev1.CSIDriverSpec) {})
	s := plain.Spec
	if !*s.AttachRequired || *s.PodInfoOnMount || *s.StorageCapacity || *s.RequiresRepublish || *s.SELinuxMount || *s.FSGroupPolicy != storagev1.ReadWriteOnceWithFSTypeFSGroupPolicy ||
		!slices.Equal(s.VolumeLifecycleModes, []storagev1.VolumeLifecycleMode{storagev1.VolumeLifecyclePersistent}) || s.PreventPodSchedulingIfMissing != nil {
		t.Errorf("the defaults are %+v", s)
	}
	says(t, "defaults", k.Validate(plain))
	for path, change := range map[string]func(*storagev1.CSIDriverSpec){
		"spec.nodeAllocatableUpdatePeriodSeconds": func(s *storagev1.CSIDriverSpec) { s.NodeAllocatableUpdatePeriodSeconds = new(int64(9)) },
		"spec.tokenRequests[0].expirationSeconds": func(s *storagev1.CSIDriverSpec) {
			s.TokenRequests = []storagev1.TokenRequest{{ExpirationSeconds: new(int64(599))}}
		},
		"spec.tokenRequests[1].audience": func(s *storagev1.CSIDriverSpec) {
			s.TokenRequests = []storagev1.TokenRequest{{Audience: "a"}, {Audience: "a"}}
		},
		"spec.serviceAccountTokenInSecrets": func(s *storagev1.CSIDriverSpec) { s.ServiceAccountTokenInSecrets = new(false) },
		"spec.volumeLifecycleModes":         func(s *storagev1.CSIDriverSpec) { s.VolumeLifecycleModes = []storagev1.VolumeLifecycleMode{"Eternal"} },
	} {
		says(t, path, k.Validate(make(change)), path)
	}
	says(t, "a driver that attaches no more", k.ValidateUpdate(make(func(s *storagev1.CSIDriverSpec) { *s.AttachRequired = false }), plain), "spec.attachedRequired")
	if w := k.Warnings(make(func(s *storagev1.CSIDriverSpec) { s.TokenRequests = []storagev1.TokenRequest{{}} })); len(w) != 1 {
		t.Errorf("a driver whose tokens may be logged earns the warnings %q", w)
	}
}

func TestDriversOfANodeChangeOnlyWhatTheyHold(t *testing.T) {
	k := row(t, "CSINode")
	node := func(drivers ...storagev1.CSINodeDriver) *storagev1.CSINode {
		return &storagev1.CSINode{ObjectMeta: metav1.ObjectMeta{Name: "n", ResourceVersion: "1"}, Spec: storagev1.CSINodeSpec{Drivers: drivers}}
	}
	d := storagev1.CSINodeDriver{Name: "a", NodeID: "i", Allocatable: &storagev1.VolumeNodeResources{Count: new(int32(1))}}
	old := node(d)
	more, other := d, d
	more.Allocatable = &storagev1.VolumeNodeResources{Count: new(int32(2))}
	other.NodeID = "j"
	says(t, "more room", k.ValidateUpdate(node(more), old))
	says(t, "another id", k.ValidateUpdate(node(other), old), "spec.drivers")
	says(t, "gone", k.ValidateUpdate(node(), old))
	says(t, "twice", k.Validate(node(d, d)), "spec.drivers[1].name")
	if *old.Spec.Drivers[0].Allocatable.Count != 1 {
		t.Error("validation wrote to the old object")
	}
}

func TestAttachmentNamesOneVolume(t *testing.T) {
	k := row(t, "VolumeAttachment")
	inline := func() *corev1.PersistentVolumeSpec {
		return &corev1.PersistentVolumeSpec{AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			PersistentVolumeSource: corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{Driver: "d", VolumeHandle: "h"}}}
	}
	placed := inline()
	placed.StorageClassName, placed.ClaimRef = "c", &corev1.ObjectReference{}
	for _, c := range []struct {
		what   string
		source storagev1.VolumeAttachmentSource
		paths  []string
	}{
		{"none", storagev1.VolumeAttachmentSource{}, []string{"spec.source"}},
		{"both", storagev1.VolumeAttachmentSource{PersistentVolumeName: new("pv"), InlineVolumeSpec: inline()}, []string{"spec.source"}},
		{"a name", storagev1.VolumeAttachmentSource{PersistentVolumeName: new("pv")}, nil},
		{"no volume's name", storagev1.VolumeAttachmentSource{PersistentVolumeName: new("P V")}, []string{"spec.source.persistentVolumeName"}},
		{"inline", storagev1.VolumeAttachmentSource{InlineVolumeSpec: inline()}, nil},
		{"inline and claimed", storagev1.VolumeAttachmentSource{InlineVolumeSpec: placed}, []string{"spec.source.inlineVolumeSpec.claimRef", "spec.source.inlineVolumeSpec.storageClassName"}},
	} {
		a := &storagev1.VolumeAttachment{ObjectMeta: metav1.ObjectMeta{Name: "a", ResourceVersion: "1"}, Spec: storagev1.VolumeAttachmentSpec{Attacher: "d", NodeName: "n", Source: c.source}}
		says(t, c.what, k.Validate(a), c.paths...)
		if c.paths == nil {
			b := a.DeepCopy()
			b.Spec.NodeName = "m"
			says(t, c.what+" moved", k.ValidateUpdate(b, a), "spec")
			b = a.DeepCopy()
			b.Status.AttachError = &storagev1.VolumeError{Message: strings.Repeat("x", maxVolumeError+1), ErrorCode: new(int32(-1))}
			says(t, c.what+" failed at length", k.ValidateStatus(b, a), "status.attachError.errorCode", "status.attachError.message")
		}
	}
}

func TestParametersAreBounded(t *testing.T) {
	many := map[string]string{}
	for i := range maxParameters + 1 {
		many[fmt.Sprint(i)] = ""
	}
	k := row(t, "VolumeAttributesClass")
	for what, c := range map[string]struct {
		parameters map[string]string
		bad        bool
	}{
		"none":     {nil, true},
		"one":      {map[string]string{"a": "b"}, false},
		"nameless": {map[string]string{"": "b"}, true},
		"too many": {many, true},
		"too long": {map[string]string{"a": strings.Repeat("x", maxParametersSize)}, true},
	} {
		errs := k.Validate(&storagev1.VolumeAttributesClass{ObjectMeta: metav1.ObjectMeta{Name: "c"}, DriverName: "d", Parameters: c.parameters})
		if (len(errs) > 0) != c.bad {
			t.Errorf("%s: %v", what, errs)
		}
	}
}
