package workload

import (
	"encoding/json"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/monohull/monohull/internal/api"
)

// claims says what becomes of objects that an owner may have a claim on.
type claims[T api.Object] struct {
	kept    []T // owned, and still selected
	adopt   []T // selected, and nobody's
	release []T // owned, and no longer selected
}

// claim sorts candidates. An owner that is being deleted takes and gives
// nothing.
func claim[T api.Object](owner api.Object, sel labels.Selector, candidates []T) claims[T] {
	var out claims[T]
	deleting := owner.GetDeletionTimestamp() != nil
	for _, o := range candidates {
		ref := metav1.GetControllerOfNoCopy(o)
		match := sel.Matches(labels.Set(o.GetLabels()))
		switch {
		case ref != nil && ref.UID != owner.GetUID():
		case ref != nil && match:
			out.kept = append(out.kept, o)
		case ref != nil && !deleting:
			out.release = append(out.release, o)
		case ref == nil && match && !deleting && o.GetDeletionTimestamp() == nil:
			out.adopt = append(out.adopt, o)
		}
	}
	return out
}

// adoptPatch adds a controller reference to the object with that uid, and
// fails for its namesake.
func adoptPatch(owner api.Object, gvk schema.GroupVersionKind, uid types.UID) []byte {
	return marshal(map[string]any{"metadata": map[string]any{
		"uid":             uid,
		"ownerReferences": []metav1.OwnerReference{*metav1.NewControllerRef(owner, gvk)},
	}})
}

// releasePatch takes the reference to the owner away.
func releasePatch(owner api.Object, uid types.UID) []byte {
	return marshal(map[string]any{"metadata": map[string]any{
		"uid":             uid,
		"ownerReferences": []map[string]any{{"$patch": "delete", "uid": owner.GetUID()}},
	}})
}

func marshal(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("workload: encoding a patch: %v", err)) // plain values only
	}
	return b
}
