// Package client is how components of the cluster read and write objects.
//
// Reading is looking into the cache: no copy, no error, no network. What is
// read is shared and must not be written to; DeepCopy it to change it. Writing
// goes through the API's whole pipeline under the component's own identity,
// and returns when the cache, and so every reader, has the new state.
//
// A component holds a Kind per kind it uses, typed at the call:
//
//	pods := client.Of[*corev1.Pod](c)
//	pod, ok := pods.Get("default", "web-0")
package client

import (
	"context"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apiserver/pkg/authentication/user"

	"github.com/monohull/monohull/internal/api"
	"github.com/monohull/monohull/internal/cache"
)

// Request says who wants what done to which object.
type Request struct {
	User        user.Info
	Kind        *api.Kind
	Version     *api.Version // the version the caller speaks; nil for the kind's own
	Namespace   string
	Name        string
	Subresource string // "", "status", "scale", "finalize", "binding", "eviction", …
	Manager     string // field manager
	// Admitted says that admission has seen the write in another form: as a
	// Binding, an Eviction, a Scale.
	Admitted bool
	Force    bool // of a server-side apply: take fields from whom they are
	DryRun   bool
	// Collection says that the object is deleted as one of a collection: what
	// the user needs is the right to delete that.
	Collection bool
	// Strict, where set, judges the fields nobody knows in what a patch makes of
	// the object.
	Strict func(unknown []error) error
	// Audit, where set, takes annotations of the request's audit event.
	Audit func(key, value string)
	// Warn, where set, takes messages for the user.
	Warn func(string)
}

// Writer is the pipeline. All errors are apierrors.APIStatus.
type Writer interface {
	// Create stores a new object, or acts on a subresource with the body obj.
	Create(ctx context.Context, r Request, obj api.Object) (*cache.Item, error)
	// Update replaces an object, or its subresource. With a resource version in
	// obj it fails with a conflict unless that is the current one.
	Update(ctx context.Context, r Request, obj api.Object) (*cache.Item, error)
	// Modify reads, lets change alter a private copy, and writes, again until
	// no other write came between. change may return an error to stop; a copy
	// left equal is not written.
	Modify(ctx context.Context, r Request, change func(api.Object) error) (*cache.Item, error)
	// Patch applies a JSON, merge or strategic merge patch, or a document by
	// server-side apply, which creates an object that is not there.
	Patch(ctx context.Context, r Request, pt types.PatchType, patch []byte) (*cache.Item, error)
	// Delete begins or completes a deletion. It returns the last state.
	Delete(ctx context.Context, r Request, o metav1.DeleteOptions) (*cache.Item, error)
}

// Client reads and writes as one user.
type Client struct {
	table  *api.Table
	caches *cache.Set
	writer Writer
	user   user.Info
}

// New makes a client for a user.
func New(t *api.Table, caches *cache.Set, w Writer, u user.Info) *Client {
	return &Client{table: t, caches: caches, writer: w, user: u}
}

// As is the same client for another user.
func (c *Client) As(u user.Info) *Client { return New(c.table, c.caches, c.writer, u) }

// AsUser is As for a user name with groups.
func (c *Client) AsUser(name string, groups ...string) *Client {
	return c.As(&user.DefaultInfo{Name: name, Groups: append(groups, user.AllAuthenticated)})
}

// User is the identity the client writes under.
func (c *Client) User() user.Info { return c.user }

// Table is the table of kinds.
func (c *Client) Table() *api.Table { return c.table }

// Caches are the object caches the client reads.
func (c *Client) Caches() *cache.Set { return c.caches }

// Writer is the pipeline the client writes to.
func (c *Client) Writer() Writer { return c.writer }

// Request begins a request of this client's user.
func (c *Client) Request(k *api.Kind, namespace, name, subresource string) Request {
	return Request{User: c.user, Kind: k, Namespace: namespace, Name: name, Subresource: subresource, Manager: c.user.GetName()}
}

// Kind is the client for one kind.
type Kind[T api.Object] struct {
	c     *Client
	kind  *api.Kind
	cache *cache.Cache
}

// Of makes the client for one kind.
func Of[T api.Object](c *Client) Kind[T] {
	k := api.For[T](c.table)
	return Kind[T]{c: c, kind: k, cache: c.caches.Of(k)}
}

// Get returns an object, or false.
func (k Kind[T]) Get(namespace, name string) (T, bool) {
	it := k.cache.Get(k.kind.Key(namespace, name))
	if it == nil {
		var zero T
		return zero, false
	}
	return it.Obj.(T), true
}

// List returns the objects of a namespace ("" for all) that match a selector
// (nil for all), in the order of their names.
func (k Kind[T]) List(namespace string, sel labels.Selector) []T {
	var out []T
	k.cache.Snapshot().Ascend(namespace, "", func(it *cache.Item) bool {
		if sel == nil || sel.Empty() || sel.Matches(labels.Set(it.Obj.GetLabels())) {
			out = append(out, it.Obj.(T))
		}
		return true
	})
	return out
}

// ByIndex returns the objects an index files under a value.
func (k Kind[T]) ByIndex(index, value string) []T {
	var out []T
	k.cache.Snapshot().ByIndex(index, value, func(it *cache.Item) bool {
		out = append(out, it.Obj.(T))
		return true
	})
	return out
}

// Change is one change of an object. Old is nil (zero) for a new object; New
// is its last state where it was deleted.
type Change[T api.Object] struct {
	Old, New T
	Deleted  bool
}

// Follow calls handle for each object there is, then for each change, until
// ctx ends. See cache.Cache.Follow for what a slow follower sees.
func (k Kind[T]) Follow(ctx context.Context, handle func([]Change[T])) error {
	return k.cache.Follow(ctx, func(events []cache.Event) {
		out := make([]Change[T], len(events))
		for i, e := range events {
			out[i].New, out[i].Deleted = e.Item.Obj.(T), e.Deleted
			if e.Prev != nil {
				out[i].Old = e.Prev.Obj.(T)
			}
		}
		handle(out)
	})
}

// Create stores a new object. The argument belongs to the cache afterwards.
func (k Kind[T]) Create(ctx context.Context, obj T) (T, error) {
	r := k.c.Request(k.kind, obj.GetNamespace(), obj.GetName(), "")
	return typed[T](k.c.writer.Create(ctx, r, obj))
}

// Update replaces an object. The argument belongs to the cache afterwards.
func (k Kind[T]) Update(ctx context.Context, obj T) (T, error) { return k.update(ctx, obj, "") }

// UpdateStatus replaces an object's status.
func (k Kind[T]) UpdateStatus(ctx context.Context, obj T) (T, error) {
	return k.update(ctx, obj, "status")
}

func (k Kind[T]) update(ctx context.Context, obj T, sub string) (T, error) {
	r := k.c.Request(k.kind, obj.GetNamespace(), obj.GetName(), sub)
	return typed[T](k.c.writer.Update(ctx, r, obj))
}

// Modify changes an object ("" as subresource) or its status ("status"), again
// until no other write came between. change gets a private copy.
func (k Kind[T]) Modify(ctx context.Context, namespace, name, subresource string, change func(T) error) (T, error) {
	r := k.c.Request(k.kind, namespace, name, subresource)
	return typed[T](k.c.writer.Modify(ctx, r, func(o api.Object) error { return change(o.(T)) }))
}

// Patch applies a patch to an object or a subresource.
func (k Kind[T]) Patch(ctx context.Context, namespace, name, subresource string, pt types.PatchType, patch []byte) (T, error) {
	return typed[T](k.c.writer.Patch(ctx, k.c.Request(k.kind, namespace, name, subresource), pt, patch))
}

// Delete deletes an object; one that is gone already is no error.
func (k Kind[T]) Delete(ctx context.Context, namespace, name string, o metav1.DeleteOptions) error {
	_, err := k.c.writer.Delete(ctx, k.c.Request(k.kind, namespace, name, ""), o)
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

func typed[T api.Object](it *cache.Item, err error) (T, error) {
	if err != nil {
		var zero T
		return zero, err
	}
	obj, ok := it.Obj.(T)
	if !ok {
		var zero T
		return zero, nil // the answer of a subresource of another type
	}
	return obj, nil
}
