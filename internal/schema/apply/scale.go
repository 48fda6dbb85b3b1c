package apply

import (
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/monohull/monohull/internal/api"
)

// Scale tracks the fields of one write through the scale subresource: the
// object's entries show in the Scale as far as they own the replicas, and come
// back from it.
type Scale struct {
	m *Manager
	w Write
	h *managedfields.ScaleHandler
}

// Scale begins a write to the scale subresource of an object with these
// entries, and gives those of the Scale.
func (m *Manager) Scale(w Write, entries []metav1.ManagedFieldsEntry) (*Scale, []metav1.ManagedFieldsEntry, error) {
	gv := w.Kind.GVK.GroupVersion()
	if w.Version != nil {
		gv = w.Version.GVK.GroupVersion()
	}
	h := managedfields.NewScaleHandler(entries, gv, replicas(w.Kind))
	out, err := h.ToSubresource()
	if err != nil {
		return nil, nil, statusOf(err)
	}
	return &Scale{m: m, w: w, h: h}, out, nil
}

// replicas says where each version of a kind keeps what a Scale scales.
func replicas(k *api.Kind) managedfields.ResourcePathMappings {
	at := fieldpath.MakePathOrDie("spec", "replicas")
	out := managedfields.ResourcePathMappings{k.GVK.GroupVersion().String(): at}
	for _, v := range k.Versions {
		out[v.GVK.GroupVersion().String()] = at
	}
	return out
}

// Update tracks a Scale that is about to replace live.
func (s *Scale) Update(live, obj *autoscalingv1.Scale) {
	s.m.update(scaleTarget, s.w.Manager, s.w.Now, live, obj)
}

// Apply merges a document into a Scale.
func (s *Scale) Apply(live *autoscalingv1.Scale, p Patch) (*autoscalingv1.Scale, error) {
	obj, err := s.m.apply(scaleTarget, s.w.Manager, s.w.Now, live, p)
	if err != nil {
		return nil, err
	}
	return obj.(*autoscalingv1.Scale), nil
}

// Entries are those of the object after the write.
func (s *Scale) Entries(scale *autoscalingv1.Scale) ([]metav1.ManagedFieldsEntry, error) {
	out, err := s.h.ToParent(scale.ManagedFields)
	if err != nil {
		return nil, statusOf(err)
	}
	return out, nil
}
