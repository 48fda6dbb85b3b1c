package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/monohull/monohull/internal/api"
	"github.com/monohull/monohull/internal/cache"
	"github.com/monohull/monohull/internal/client"
	"github.com/monohull/monohull/internal/controllers"
)

const (
	garbageWorkers = 20
	// goneRemembered bounds the uids of deleted objects that are kept to tell
	// a deleted owner from one in another namespace.
	goneRemembered = 500
)

// collector deletes objects whose owners are gone. Its keys name any object:
// the namespace, and the kind's path in the store with the name.
type collector struct {
	c        *client.Client
	kinds    []*api.Kind
	byPrefix map[string]*api.Kind
	recorder controllers.Recorder

	mu   sync.Mutex
	gone map[types.UID]bool
	ring []types.UID // the same in order, the oldest at next
	next int
}

func garbageCollector(deps controllers.Deps) *controllers.Controller {
	c := deps.Client("generic-garbage-collector")
	r := &collector{
		c: c, byPrefix: map[string]*api.Kind{}, gone: map[types.UID]bool{},
		recorder: deps.Recorder("garbage-collector-controller", c),
	}
	var inputs []controllers.Input
	for _, k := range c.Table().Kinds() {
		if k == api.For[*corev1.Event](c.Table()) || (k.Verbs != nil && !slices.Contains(k.Verbs, "delete")) {
			continue // events own nothing, and there are many
		}
		r.kinds = append(r.kinds, k)
		r.byPrefix[k.Prefix] = k
		inputs = append(inputs, controllers.OnKind(k, func(e cache.Event) []controllers.Key { return r.keys(k, e) }))
	}
	return &controllers.Controller{
		Name: "garbage-collector-controller", Client: c, Workers: garbageWorkers, Inputs: inputs, Reconcile: r.reconcile,
		Outputs: []controllers.Output{
			{Field: "metadata.ownerReferences"},
			{Field: "metadata.finalizers"},
			{},
		},
	}
}

// object is an object with its kind.
type object struct {
	kind *api.Kind
	api.Object
}

func (o object) key() controllers.Key {
	return controllers.Key{Namespace: o.GetNamespace(), Name: o.kind.Prefix + "\x00" + o.GetName()}
}

// keys names what a change may have made garbage. Most changes name nothing:
// this runs for each change of each object.
func (r *collector) keys(k *api.Kind, e cache.Event) []controllers.Key {
	o := object{k, e.Item.Obj}
	if e.Deleted {
		r.remember(o.GetUID())
		keys := keysOf(r.dependents(o.GetUID()))
		return append(keys, r.waitingOwners(o, e.Item.Obj.GetOwnerReferences())...)
	}
	var keys []controllers.Key
	switch {
	case deletesDependents(o) || orphansDependents(o):
		keys = append(keys, o.key())
		if e.Prev == nil || e.Prev.Obj.GetUID() != o.GetUID() || e.Prev.Obj.GetDeletionTimestamp() == nil || !deletesDependents(e.Prev.Obj) {
			if deletesDependents(o) {
				keys = append(keys, keysOf(r.dependents(o.GetUID()))...)
			}
		}
	case len(o.GetOwnerReferences()) > 0 && (e.Prev == nil || e.Prev.Obj.GetUID() != o.GetUID() || !sameOwners(e.Prev.Obj, o)):
		if f, _ := r.judge(o, o.GetOwnerReferences()); f != keep || r.misplaced(o) {
			keys = append(keys, o.key())
		}
	}
	if e.Prev != nil && e.Prev.Obj.GetUID() != o.GetUID() {
		// another object has taken the name in one step
		r.remember(e.Prev.Obj.GetUID())
		keys = append(keys, keysOf(r.dependents(e.Prev.Obj.GetUID()))...)
	}
	if e.Prev != nil && !sameOwners(e.Prev.Obj, o) {
		keys = append(keys, r.waitingOwners(o, e.Prev.Obj.GetOwnerReferences())...)
	}
	return keys
}

func sameOwners(a, b api.Object) bool {
	return slices.EqualFunc(a.GetOwnerReferences(), b.GetOwnerReferences(), func(x, y metav1.OwnerReference) bool {
		return x.UID == y.UID && x.Name == y.Name && x.Kind == y.Kind && x.APIVersion == y.APIVersion &&
			(x.BlockOwnerDeletion != nil && *x.BlockOwnerDeletion) == (y.BlockOwnerDeletion != nil && *y.BlockOwnerDeletion)
	})
}

func keysOf(list []object) []controllers.Key {
	keys := make([]controllers.Key, len(list))
	for i, o := range list {
		keys[i] = o.key()
	}
	return keys
}

// waitingOwners names the owners that wait for the end of an object.
func (r *collector) waitingOwners(o object, refs []metav1.OwnerReference) []controllers.Key {
	var keys []controllers.Key
	for _, ref := range refs {
		if owner, state := r.owner(o, ref); state == ownerWaits {
			keys = append(keys, owner.key())
		}
	}
	return keys
}

// dependents lists what refers to an owner, of every kind.
func (r *collector) dependents(uid types.UID) []object {
	var out []object
	for _, k := range r.kinds {
		r.c.Caches().Of(k).Snapshot().ByIndex(client.ByOwner, string(uid), func(it *cache.Item) bool {
			out = append(out, object{k, it.Obj})
			return true
		})
	}
	return out
}

// owner looks an owner up where the reference says it is.
func (r *collector) owner(o object, ref metav1.OwnerReference) (object, ownerState) {
	k := r.kindOf(ref)
	if k == nil || (k.Namespaced && !o.kind.Namespaced) {
		return object{}, ownerUnknown
	}
	ns := ""
	if k.Namespaced {
		ns = o.GetNamespace()
	}
	it := r.c.Caches().Of(k).Get(k.Key(ns, ref.Name))
	if it == nil || it.Obj.GetUID() != ref.UID {
		return object{}, ownerAbsent
	}
	owner := object{k, it.Obj}
	if deletesDependents(owner) {
		return owner, ownerWaits
	}
	return owner, ownerThere
}

// kindOf takes any version of a group for the one that is served.
func (r *collector) kindOf(ref metav1.OwnerReference) *api.Kind {
	gvk := schema.FromAPIVersionAndKind(ref.APIVersion, ref.Kind)
	if k := r.c.Table().ByGVK(gvk); k != nil {
		return k
	}
	for _, k := range r.c.Table().Kinds() {
		if k.GVK.GroupKind() == gvk.GroupKind() {
			return k
		}
	}
	return nil
}

func (r *collector) judge(o object, refs []metav1.OwnerReference) (fate, []types.UID) {
	states := make([]ownerState, len(refs))
	waits := false
	for i, ref := range refs {
		_, states[i] = r.owner(o, ref)
		waits = waits || states[i] == ownerWaits
	}
	return classify(refs, states, waits && len(r.dependents(o.GetUID())) > 0)
}

// misplaced: an object without a namespace names an owner that has one.
func (r *collector) misplaced(o object) bool {
	return !o.kind.Namespaced && slices.ContainsFunc(o.GetOwnerReferences(), func(ref metav1.OwnerReference) bool {
		k := r.kindOf(ref)
		return k != nil && k.Namespaced
	})
}

func (r *collector) get(key controllers.Key) (object, bool) {
	prefix, name, ok := strings.Cut(key.Name, "\x00")
	k := r.byPrefix[prefix]
	if !ok || k == nil {
		return object{}, false
	}
	it := r.c.Caches().Of(k).Get(k.Key(key.Namespace, name))
	if it == nil {
		return object{}, false
	}
	return object{k, it.Obj}, true
}

func (r *collector) reconcile(ctx context.Context, key controllers.Key) (time.Duration, error) {
	o, ok := r.get(key)
	if !ok {
		return 0, nil
	}
	switch {
	case orphansDependents(o):
		return 0, r.orphan(ctx, o)
	case deletesDependents(o):
		return 0, r.foreground(ctx, o)
	case o.GetDeletionTimestamp() != nil || len(o.GetOwnerReferences()) == 0:
		return 0, nil
	}
	return 0, r.attempt(ctx, o)
}

// attempt deletes an object that has no owner any more.
func (r *collector) attempt(ctx context.Context, o object) error {
	refs := o.GetOwnerReferences()
	r.reportMisplaced(ctx, o, refs)
	f, drop := r.judge(o, refs)
	policy := propagation(o)
	switch f {
	case keep:
		return nil
	case trim:
		return r.modify(ctx, o, func(m api.Object) { m.SetOwnerReferences(withoutOwners(m.GetOwnerReferences(), drop)) })
	case collectForeground:
		if slices.ContainsFunc(r.dependents(o.GetUID()), func(d object) bool { return deletesDependents(d) }) {
			// perhaps a circle of owners that wait for each other: let go
			if err := r.modify(ctx, o, func(m api.Object) { m.SetOwnerReferences(unblocked(m.GetOwnerReferences())) }); err != nil {
				return err
			}
			var ok bool
			if o, ok = r.get(o.key()); !ok {
				return nil
			}
		}
		policy = metav1.DeletePropagationForeground
	}
	uid, rv := o.GetUID(), o.GetResourceVersion()
	_, err := r.c.Writer().Delete(ctx, r.c.Request(o.kind, o.GetNamespace(), o.GetName(), ""), metav1.DeleteOptions{
		PropagationPolicy: &policy, Preconditions: &metav1.Preconditions{UID: &uid, ResourceVersion: &rv},
	})
	switch {
	case apierrors.IsNotFound(err):
		return nil
	case apierrors.IsConflict(err):
		return r.collectChanged(ctx, o, refs, policy, err)
	case err != nil:
		return fmt.Errorf("deleting %s %s: %w", o.kind.Plural, o.GetName(), err)
	}
	return nil
}

// collectChanged deletes an object that was written to between look and
// deletion, as long as its owners are the same: pods that start change often.
func (r *collector) collectChanged(ctx context.Context, o object, refs []metav1.OwnerReference, policy metav1.DeletionPropagation, conflict error) error {
	cur, ok := r.get(o.key())
	if !ok || cur.GetUID() != o.GetUID() {
		return nil
	}
	if !slices.EqualFunc(refs, cur.GetOwnerReferences(), func(a, b metav1.OwnerReference) bool { return a.UID == b.UID }) {
		return conflict
	}
	uid := o.GetUID()
	_, err := r.c.Writer().Delete(ctx, r.c.Request(o.kind, o.GetNamespace(), o.GetName(), ""), metav1.DeleteOptions{
		PropagationPolicy: &policy, Preconditions: &metav1.Preconditions{UID: &uid},
	})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("deleting %s %s: %w", o.kind.Plural, o.GetName(), err)
	}
	return nil
}

// foreground lets an owner go once none of its dependents holds it. Each of
// them was named when the owner began to wait, or when it came, and names the
// owner when it goes.
func (r *collector) foreground(ctx context.Context, o object) error {
	if slices.ContainsFunc(r.dependents(o.GetUID()), func(d object) bool { return blocks(d, o.GetUID()) }) {
		return nil
	}
	return r.removeFinalizer(ctx, o, metav1.FinalizerDeleteDependents)
}

// orphan takes an owner out of its dependents before it goes.
func (r *collector) orphan(ctx context.Context, o object) error {
	var errs []error
	for _, d := range r.dependents(o.GetUID()) {
		err := r.modify(ctx, d, func(m api.Object) {
			m.SetOwnerReferences(withoutOwners(m.GetOwnerReferences(), []types.UID{o.GetUID()}))
		})
		if err != nil {
			errs = append(errs, err)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return r.removeFinalizer(ctx, o, metav1.FinalizerOrphanDependents)
}

func (r *collector) removeFinalizer(ctx context.Context, o object, name string) error {
	return r.modify(ctx, o, func(m api.Object) {
		m.SetFinalizers(slices.DeleteFunc(slices.Clone(m.GetFinalizers()), func(f string) bool { return f == name }))
	})
}

var errReplaced = errors.New("lifecycle: the object was replaced by another of its name")

// modify changes an object; that it is gone is no error.
func (r *collector) modify(ctx context.Context, o object, change func(api.Object)) error {
	_, err := r.c.Writer().Modify(ctx, r.c.Request(o.kind, o.GetNamespace(), o.GetName(), ""), func(m api.Object) error {
		if m.GetUID() != o.GetUID() {
			return errReplaced
		}
		change(m)
		return nil
	})
	if err != nil && !apierrors.IsNotFound(err) && !errors.Is(err, errReplaced) {
		return fmt.Errorf("updating %s %s: %w", o.kind.Plural, o.GetName(), err)
	}
	return nil
}

// reportMisplaced tells the user of references to owners in other namespaces,
// which cannot hold.
func (r *collector) reportMisplaced(ctx context.Context, o object, refs []metav1.OwnerReference) {
	for _, ref := range refs {
		k := r.kindOf(ref)
		if k == nil || !k.Namespaced {
			continue
		}
		if o.kind.Namespaced {
			if _, state := r.owner(o, ref); state != ownerAbsent || !r.elsewhere(k, ref) {
				continue
			}
		}
		r.recorder.Event(ctx, o.Object, corev1.EventTypeWarning, "OwnerRefInvalidNamespace", fmt.Sprintf(
			"ownerRef [%s/%s, namespace: %s, name: %s, uid: %s] does not exist in namespace %q",
			ref.APIVersion, ref.Kind, o.GetNamespace(), ref.Name, ref.UID, o.GetNamespace()))
	}
}

// elsewhere looks for an owner in other namespaces. That is a search, so an
// owner is looked for once.
func (r *collector) elsewhere(k *api.Kind, ref metav1.OwnerReference) bool {
	r.mu.Lock()
	known := r.gone[ref.UID]
	r.mu.Unlock()
	if known {
		return false
	}
	found := false
	r.c.Caches().Of(k).Snapshot().Ascend("", "", func(it *cache.Item) bool {
		found = it.Obj.GetUID() == ref.UID
		return !found
	})
	if !found {
		r.remember(ref.UID)
	}
	return found
}

// remember keeps the uid of an object that is gone.
func (r *collector) remember(uid types.UID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.gone[uid] {
		return
	}
	if len(r.ring) < goneRemembered {
		r.ring = append(r.ring, uid)
	} else {
		delete(r.gone, r.ring[r.next])
		r.ring[r.next] = uid
		r.next = (r.next + 1) % goneRemembered
	}
	r.gone[uid] = true
}
