package fairness

import (
	"sync"

	"k8s.io/apimachinery/pkg/fields"
)

// watches counts watches by what they look at, to know how many a change
// concerns.
type watches struct {
	mu sync.RWMutex
	n  map[watched]int
}

type watched struct{ group, plural, namespace, name string }

func newWatches() *watches { return &watches{n: map[watched]int{}} }

// add counts a watch, unless it looks at the pods of one node alone: a change
// concerns at most one node's. It tells whether it was counted.
func (w *watches) add(r *Request, d int) bool {
	if d > 0 && r.Plural == "pods" && r.Group == "" {
		if sel, err := fields.ParseSelector(r.Query.Get("fieldSelector")); err == nil {
			if node, ok := sel.RequiresExactMatch("spec.nodeName"); ok && node != "" {
				return false
			}
		}
	}
	k := watched{r.Group, r.Plural, r.Namespace, r.Name}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.n[k] += d; w.n[k] == 0 {
		delete(w.n, k)
	}
	return true
}

// interested is the number of watches of a kind, a namespace and an object.
func (w *watches) interested(r *Request) int {
	w.mu.RLock()
	defer w.mu.RUnlock()
	if len(w.n) == 0 {
		return 0
	}
	k := watched{group: r.Group, plural: r.Plural}
	n := w.n[k]
	if r.Namespace != "" {
		k.namespace = r.Namespace
		n += w.n[k]
	}
	if r.Name != "" {
		k.name = r.Name
		n += w.n[k]
	}
	return n
}
