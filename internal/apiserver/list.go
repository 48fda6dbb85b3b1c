package apiserver

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/clock"

	"github.com/monohull/monohull/internal/api"
	"github.com/monohull/monohull/internal/cache"
	"github.com/monohull/monohull/internal/store"
)

// Bounds on the snapshots kept for clients that list in pages.
const (
	maxPages     = 64
	pageLifetime = 5 * time.Minute
	// revisionWait is how long a list waits for a revision that has not come.
	revisionWait = 3 * time.Second
)

// selection is what the selectors of a list or watch ask for.
type selection struct {
	kind   *api.Kind
	labels labels.Selector // nil: all
	fields fields.Selector // nil: all
	name   string          // the only name, if one is asked for
}

func (c *call) selection() (selection, error) {
	s := selection{kind: c.kind}
	if v := c.query.Get("labelSelector"); v != "" {
		sel, err := labels.Parse(v)
		if err != nil {
			return s, apierrors.NewBadRequest(fmt.Sprintf("unable to parse requirement: %v", err))
		}
		if !sel.Empty() {
			s.labels = sel
		}
	}
	if v := c.query.Get("fieldSelector"); v != "" {
		sel, err := fields.ParseSelector(v)
		if err != nil {
			return s, apierrors.NewBadRequest(fmt.Sprintf("unable to parse field selector: %v", err))
		}
		if names := c.ver.Fields; names != nil {
			if sel, err = sel.Transform(func(name, value string) (string, string, error) {
				if own, ok := names[name]; ok {
					return own, value, nil
				}
				if name == "metadata.name" || name == "metadata.namespace" {
					return name, value, nil
				}
				return "", "", fmt.Errorf("field label not supported: %s", name)
			}); err != nil {
				return s, apierrors.NewBadRequest(fmt.Sprintf("Unable to find %q that match label selector %q, field selector %q: %v",
					c.ver.GVR().String(), c.query.Get("labelSelector"), v, err))
			}
		}
		for _, r := range sel.Requirements() {
			if r.Field != "metadata.name" && !(r.Field == "metadata.namespace" && c.kind.Namespaced) && !slices.Contains(c.kind.FieldNames, r.Field) {
				return s, apierrors.NewBadRequest(fmt.Sprintf("Unable to find %q that match label selector %q, field selector %q: field label not supported: %s",
					c.kind.GVK.GroupVersion().WithResource(c.kind.Plural).String(), c.query.Get("labelSelector"), v, r.Field))
			}
		}
		if !sel.Empty() {
			s.fields = sel
		}
		s.name, _ = sel.RequiresExactMatch("metadata.name")
	}
	if c.verb == "watch" && s.name == "" && c.name != "" {
		s.name = c.name // …/watch/pods/NAME
	}
	return s, nil
}

// matches tells whether an object is selected.
func (s selection) matches(o api.Object) bool {
	if s.name != "" && o.GetName() != s.name {
		return false
	}
	if s.labels != nil && !s.labels.Matches(labels.Set(o.GetLabels())) {
		return false
	}
	if s.fields == nil {
		return true
	}
	return s.fields.Matches(fieldsOf{s.kind, o})
}

// fieldsOf shows an object to a field selector.
type fieldsOf struct {
	kind *api.Kind
	obj  api.Object
}

func (f fieldsOf) Has(string) bool { return true }

func (f fieldsOf) Get(field string) string {
	switch field {
	case "metadata.name":
		return f.obj.GetName()
	case "metadata.namespace":
		return f.obj.GetNamespace()
	}
	if f.kind.Fields == nil {
		return ""
	}
	return f.kind.Fields(f.obj, field)
}

func (c *call) selectItems(snap cache.Snapshot, sel selection) []*cache.Item {
	items, _ := c.selectPage(snap, sel, "", 0)
	return items
}

// selectPage selects up to limit items (0: all) after a key.
func (c *call) selectPage(snap cache.Snapshot, sel selection, after string, limit int) (items []*cache.Item, more bool) {
	ns := c.namespace
	if c.kind.Plural == "namespaces" {
		ns = ""
	}
	if sel.name != "" && (ns != "" || !c.kind.Namespaced) && after == "" {
		if it := snap.Get(c.kind.Key(ns, sel.name)); it != nil && sel.matches(it.Obj) {
			items = append(items, it)
		}
		return items, false
	}
	if sel.labels == nil && sel.fields == nil && ns == "" {
		items = make([]*cache.Item, 0, min(snap.Len(), max(limit, 0)+snap.Len()*btoi(limit == 0)))
	}
	snap.Ascend(ns, after, func(it *cache.Item) bool {
		if !sel.matches(it.Obj) {
			return true
		}
		if limit > 0 && len(items) == limit {
			more = true
			return false
		}
		items = append(items, it)
		return true
	})
	return items, more
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// list answers a collection, or a page of one.
func (c *call) list() error {
	sel, err := c.selection()
	if err != nil {
		return err
	}
	limit := 0
	if v := c.query.Get("limit"); v != "" {
		if limit, err = strconv.Atoi(v); err != nil {
			return apierrors.NewBadRequest(fmt.Sprintf("limit: %v", err))
		}
	}
	limit = max(limit, 0)
	snap, after, err := c.snapshot()
	if err != nil {
		return err
	}
	items, more := c.selectPage(snap, sel, after, limit)
	meta := listMeta{rev: snap.Rev}
	if more {
		meta.cont = token(snap.Rev, items[len(items)-1].Key)
		if c.query.Get("continue") == "" {
			c.s.pages.keep(c.kind, snap)
		}
		if sel.labels == nil && sel.fields == nil {
			n := int64(c.countAfter(snap, items[len(items)-1].Key))
			meta.remaining = &n
		}
	}
	if c.view.streamable(items) {
		return streamList(c.w, c.kind, items, meta, c.view)
	}
	body, err := viewListBytes(c.kind, items, meta, c.view, c.s.Clock.Now())
	if err != nil {
		return err
	}
	respond(c.w, c.view, http.StatusOK, body)
	return nil
}

func (c *call) countAfter(snap cache.Snapshot, key string) (n int) {
	snap.Ascend(c.namespace, key, func(*cache.Item) bool { n++; return true })
	return n
}

// snapshot finds the state a list is answered from, and the key it goes on
// after.
func (c *call) snapshot() (cache.Snapshot, string, error) {
	rv, match := c.query.Get("resourceVersion"), c.query.Get("resourceVersionMatch")
	if cont := c.query.Get("continue"); cont != "" {
		if rv != "" && rv != "0" {
			return cache.Snapshot{}, "", apierrors.NewBadRequest("specifying resource version is not allowed when using continue")
		}
		rev, key, err := parseToken(cont)
		if err != nil {
			return cache.Snapshot{}, "", apierrors.NewBadRequest(fmt.Sprintf("continue key is not valid: %v", err))
		}
		if rev < 0 { // goes on from wherever things are now
			return c.cache().Snapshot(), key, nil
		}
		snap, err := c.at(rev)
		if errors.Is(err, store.ErrCompacted) {
			return snap, "", expiredPage(key)
		}
		if errors.Is(err, store.ErrFuture) {
			return snap, "", tooNew(rev, c.s.Caches.Rev())
		}
		return snap, key, err
	}
	if c.query.Get("sendInitialEvents") != "" {
		return cache.Snapshot{}, "", invalidListOption("sendInitialEvents", "sendInitialEvents is forbidden for list")
	}
	if match != "" && rv == "" {
		return cache.Snapshot{}, "", invalidListOption("resourceVersionMatch", "resourceVersionMatch is forbidden unless resourceVersion is provided")
	}
	if match != "" && match != string(metav1.ResourceVersionMatchExact) && match != string(metav1.ResourceVersionMatchNotOlderThan) {
		return cache.Snapshot{}, "", invalidListOption("resourceVersionMatch", fmt.Sprintf("unsupported resourceVersionMatch %q", match))
	}
	if match == string(metav1.ResourceVersionMatchExact) && rv == "0" {
		return cache.Snapshot{}, "", invalidListOption("resourceVersionMatch", `resourceVersionMatch "exact" is forbidden for resourceVersion "0"`)
	}
	switch rv {
	case "":
		if err := c.s.Caches.Fresh(c.req.Context()); err != nil {
			return cache.Snapshot{}, "", apierrors.NewInternalError(err)
		}
	case "0":
	default:
		if err := c.waitFor(rv); err != nil {
			return cache.Snapshot{}, "", err
		}
		if match == string(metav1.ResourceVersionMatchExact) || (match == "" && c.query.Get("limit") != "" && c.query.Get("limit") != "0") {
			rev, _ := strconv.ParseInt(rv, 10, 64)
			snap, err := c.at(rev)
			if errors.Is(err, store.ErrCompacted) {
				err = apierrors.NewResourceExpired("The resourceVersion for the provided list is too old.")
			}
			return snap, "", err
		}
	}
	return c.cache().Snapshot(), "", nil
}

// at is the collection as it was at a revision: from a snapshot that is kept,
// the newest where nothing has changed since, or else from the store.
func (c *call) at(rev int64) (cache.Snapshot, error) {
	if snap, ok := c.s.pages.find(c.kind, rev); ok {
		return snap, nil
	}
	if now := c.cache().Snapshot(); now.LastChange() <= rev && rev <= now.Rev {
		// what is too old is too old, whether or not it is still true
		return now.At(rev), c.s.Caches.Kept(c.req.Context(), c.kind, rev)
	}
	return c.s.Caches.Past(c.req.Context(), c.kind, c.namespace, rev)
}

func tooNew(rev, now int64) error {
	e := apierrors.NewTimeoutError(fmt.Sprintf("Too large resource version: %d, current: %d", rev, now), 1)
	e.ErrStatus.Details.Causes = []metav1.StatusCause{{Type: metav1.CauseTypeResourceVersionTooLarge, Message: "Too large resource version"}}
	return e
}

func invalidListOption(name, msg string) error {
	return apierrors.NewInvalid(schema.GroupKind{Group: "meta.k8s.io", Kind: "ListOptions"}, "", field.ErrorList{
		field.Forbidden(field.NewPath(name), msg),
	})
}

// waitFor waits until the caches have a revision, as long as upstream does.
func (c *call) waitFor(rv string) error {
	rev, err := strconv.ParseInt(rv, 10, 64)
	if err != nil || rev < 0 {
		return apierrors.NewBadRequest(fmt.Sprintf("Invalid value: %q: resourceVersion must be a number", rv))
	}
	ctx, cancel := context.WithTimeout(c.req.Context(), revisionWait)
	defer cancel()
	if err := c.s.Caches.WaitFor(ctx, rev); err != nil {
		return tooNew(rev, c.s.Caches.Rev())
	}
	return nil
}

// continueToken is what the continue parameter holds, upstream's form.
type continueToken struct {
	APIVersion      string `json:"v"`
	ResourceVersion int64  `json:"rv"`
	StartKey        string `json:"start"`
}

const tokenVersion = "meta.k8s.io/v1"

func token(rev int64, after string) string {
	b, _ := json.Marshal(continueToken{tokenVersion, rev, after + "\u0000"})
	return base64.RawURLEncoding.EncodeToString(b)
}

func parseToken(s string) (rev int64, after string, err error) {
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil {
		return 0, "", err
	}
	var t continueToken
	if err := json.Unmarshal(b, &t); err != nil {
		return 0, "", err
	}
	if t.APIVersion != tokenVersion || t.ResourceVersion == 0 || len(t.StartKey) < 2 || t.StartKey[len(t.StartKey)-1] != 0 {
		return 0, "", fmt.Errorf("incorrect encoded start resourceVersion (version meta.k8s.io/v1)")
	}
	return t.ResourceVersion, t.StartKey[:len(t.StartKey)-1], nil
}

// expiredPage is the answer to a token whose state is no longer kept; it
// carries one that goes on, inconsistently, from the newest state.
func expiredPage(key string) error {
	e := apierrors.NewResourceExpired("The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list.")
	e.ErrStatus.ListMeta.Continue = token(-1, key)
	return e
}

// pages keeps the snapshots that clients are paging through.
type pages struct {
	clock clock.PassiveClock
	mu    sync.Mutex
	kept  []page // oldest first
}

type page struct {
	kind *api.Kind
	snap cache.Snapshot
	at   time.Time
}

func newPages(c clock.PassiveClock) *pages { return &pages{clock: c} }

// keep holds on to a snapshot from now on. Reading on in one that is kept does not
// make it younger: a list ends when its history does.
func (p *pages) keep(k *api.Kind, s cache.Snapshot) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.forgetLocked()
	for _, x := range p.kept {
		if x.kind == k && x.snap.Rev == s.Rev {
			return
		}
	}
	if len(p.kept) == maxPages {
		p.kept = slices.Delete(p.kept, 0, 1)
	}
	p.kept = append(p.kept, page{k, s, p.clock.Now()})
}

func (p *pages) forgetLocked() {
	now := p.clock.Now()
	p.kept = slices.DeleteFunc(p.kept, func(x page) bool { return now.Sub(x.at) > pageLifetime })
}

func (p *pages) find(k *api.Kind, rev int64) (cache.Snapshot, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.forgetLocked()
	for _, x := range p.kept {
		if x.kind == k && x.snap.Rev == rev {
			return x.snap, true
		}
	}
	return cache.Snapshot{}, false
}
