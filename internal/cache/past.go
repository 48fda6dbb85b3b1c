package cache

import (
	"context"
	"fmt"
	"strings"

	"github.com/monohull/monohull/internal/api"
)

// Past reads a kind as it was at an older revision, from the store: for lists
// at an exact revision that no snapshot is kept of. It fails with
// store.ErrCompacted where the store has forgotten it.
func (s *Set) Past(ctx context.Context, k *api.Kind, namespace string, rev int64) (Snapshot, error) {
	c := s.Of(k)
	prefix := Prefix + k.Prefix + "/"
	if namespace != "" && k.Namespaced {
		prefix += namespace + "/"
	}
	out := Snapshot{Rev: rev, last: rev, cache: c, tree: newTree()}
	for range c.indexes {
		out.filed = append(out.filed, newFiled())
	}
	for start := ""; ; {
		page, err := s.store.Range(ctx, prefix, start, rev, loadPage)
		if err != nil {
			return Snapshot{}, fmt.Errorf("cache: reading %s at revision %d: %w", k.Plural, rev, err)
		}
		for _, kv := range page.KVs {
			if strings.Count(strings.TrimPrefix(kv.Key, Prefix+k.Prefix+"/"), "/") != btoi(k.Namespaced) {
				continue // another kind's, whose prefix is longer
			}
			obj, raw, err := k.DecodeStored(kv.Value, kv.ModRev)
			if err != nil {
				return Snapshot{}, err
			}
			out.tree.Set(NewItem(k, obj, kv.ModRev, raw))
		}
		if !page.More || len(page.KVs) == 0 {
			return out, nil
		}
		start = page.KVs[len(page.KVs)-1].Key + "\x00"
	}
}

// Kept tells whether the store still has a revision: store.ErrCompacted where it
// has not.
func (s *Set) Kept(ctx context.Context, k *api.Kind, rev int64) error {
	if _, err := s.store.Range(ctx, Prefix+k.Prefix+"/", "", rev, 1); err != nil {
		return fmt.Errorf("cache: reading %s at revision %d: %w", k.Plural, rev, err)
	}
	return nil
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}
