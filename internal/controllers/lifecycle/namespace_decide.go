package lifecycle

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// remains is what is left of a namespace after everything was told to go.
type remains struct {
	objects    map[schema.GroupResource]int
	finalizers map[string]int
	failures   []error
}

func (r *remains) count(gr schema.GroupResource, finalizers []string) {
	if r.objects == nil {
		r.objects, r.finalizers = map[schema.GroupResource]int{}, map[string]int{}
	}
	r.objects[gr]++
	for _, f := range finalizers {
		r.finalizers[f]++
	}
}

func (r *remains) err() error { return errors.Join(r.failures...) }

// namespaceConditions says in a namespace's conditions how its deletion goes,
// and tells whether that is news. The conditions for discovery and for parsing
// are always good: there is one table of kinds, and it cannot fail.
func namespaceConditions(s *corev1.NamespaceStatus, r *remains, now time.Time) bool {
	changed := false
	set := func(t corev1.NamespaceConditionType, bad bool, goodReason, good, badReason string, message func() string) {
		c := corev1.NamespaceCondition{Type: t, Status: corev1.ConditionFalse, Reason: goodReason, Message: good, LastTransitionTime: metav1.NewTime(now)}
		if bad {
			c.Status, c.Reason, c.Message = corev1.ConditionTrue, badReason, message()
		}
		i := slices.IndexFunc(s.Conditions, func(o corev1.NamespaceCondition) bool { return o.Type == t })
		if i < 0 {
			s.Conditions = append(s.Conditions, c)
			changed = true
			return
		}
		old := &s.Conditions[i]
		if old.Status == c.Status {
			c.LastTransitionTime = old.LastTransitionTime
		}
		if old.Status != c.Status || old.Reason != c.Reason || old.Message != c.Message {
			*old = c
			changed = true
		}
	}
	set(corev1.NamespaceDeletionDiscoveryFailure, false, "ResourcesDiscovered", "All resources successfully discovered", "", nil)
	set(corev1.NamespaceDeletionGVParsingFailure, false, "ParsedGroupVersions", "All legacy kube types successfully parsed", "", nil)
	set(corev1.NamespaceDeletionContentFailure, len(r.failures) > 0,
		"ContentDeleted", "All content successfully deleted, may be waiting on finalization", "ContentDeletionFailed", func() string {
			msgs := make([]string, len(r.failures))
			for i, err := range r.failures {
				msgs[i] = err.Error()
			}
			slices.Sort(msgs)
			return fmt.Sprintf("Failed to delete all resource types, %d remaining: %s", len(msgs), strings.Join(msgs, ", "))
		})
	set(corev1.NamespaceContentRemaining, len(r.objects) > 0,
		"ContentRemoved", "All content successfully removed", "SomeResourcesRemain", func() string {
			var parts []string
			for gr, n := range r.objects {
				parts = append(parts, fmt.Sprintf("%s.%s has %d resource instances", gr.Resource, gr.Group, n))
			}
			slices.Sort(parts)
			return "Some resources are remaining: " + strings.Join(parts, ", ")
		})
	set(corev1.NamespaceFinalizersRemaining, len(r.finalizers) > 0,
		"ContentHasNoFinalizers", "All content-preserving finalizers finished", "SomeFinalizersRemain", func() string {
			var parts []string
			for _, f := range slices.Sorted(maps.Keys(r.finalizers)) {
				parts = append(parts, fmt.Sprintf("%s in %d resource instances", f, r.finalizers[f]))
			}
			return "Some content in the namespace has finalizers remaining: " + strings.Join(parts, ", ")
		})
	return changed
}
