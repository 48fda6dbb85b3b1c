package apiserver

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/monohull/monohull/internal/api"
	"github.com/monohull/monohull/internal/cache"
	"github.com/monohull/monohull/internal/client"
)

// deleteWorkers bounds the deletions that one deletecollection runs at once.
const deleteWorkers = 16

var deleteOptionsKind = schema.GroupVersionKind{Version: "v1", Kind: "DeleteOptions"}

// deleteOptions reads the options from the body, or else from the query.
func (c *call) deleteOptions() (metav1.DeleteOptions, error) {
	var o metav1.DeleteOptions
	body, err := readBody(c.req)
	if err != nil {
		return o, err
	}
	if len(body) > 0 {
		gvk := deleteOptionsKind
		if len(body) > 3 && string(body[:4]) == string(api.Magic) {
			return o, protoDeleteOptions(body, &o)
		}
		// any group serves its own copy of the kind
		var head metav1.TypeMeta
		if api.DecodeJSON(body, &head) == nil && head.Kind == gvk.Kind && head.APIVersion != "" {
			if gv, err := schema.ParseGroupVersion(head.APIVersion); err == nil {
				gvk = gv.WithKind(gvk.Kind)
			}
		}
		f := fieldValidation{mode: metav1.FieldValidationIgnore}
		if err := decode(body, c.req.Header.Get("Content-Type"), gvk, &o, f); err != nil {
			return o, err
		}
		return o, nil
	}
	q := c.query.Get
	if v := q("gracePeriodSeconds"); v != "" {
		n, err := strconv.ParseInt(v, 10, 64)
		if err != nil {
			return o, apierrors.NewBadRequest(fmt.Sprintf("gracePeriodSeconds: %v", err))
		}
		o.GracePeriodSeconds = &n
	}
	if v := q("propagationPolicy"); v != "" {
		p := metav1.DeletionPropagation(v)
		o.PropagationPolicy = &p
	}
	if v := q("orphanDependents"); v != "" {
		b := isTrue(v)
		o.OrphanDependents = &b //nolint:staticcheck // old clients send it
	}
	return o, nil
}

func protoDeleteOptions(body []byte, o *metav1.DeleteOptions) error {
	raw := api.Raw(body)
	if raw == nil {
		return nil // every option at its default
	}
	if err := o.Unmarshal(raw); err != nil {
		return badObject(deleteOptionsKind, err)
	}
	return nil
}

// deletion is what the pipeline is asked, and with which options.
func (c *call) deletion() (client.Request, metav1.DeleteOptions, error) {
	r, err := c.request("")
	if err != nil {
		return r, metav1.DeleteOptions{}, err
	}
	o, err := c.deleteOptions()
	r.DryRun = r.DryRun || len(o.DryRun) > 0
	return r, o, err
}

// delete removes an object, or begins to.
func (c *call) delete() error {
	r, o, err := c.deletion()
	if err != nil {
		return err
	}
	it, err := c.s.Writer.Delete(c.req.Context(), r, o)
	if err != nil {
		return err
	}
	if c.current() != nil && it.Obj.GetDeletionTimestamp() != nil || c.kind.GracePeriod != nil {
		return c.reply(http.StatusOK, it)
	}
	st := &metav1.Status{
		TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: metav1.StatusSuccess,
		Details: &metav1.StatusDetails{Name: c.name, Group: c.kind.GVK.Group, Kind: c.kind.Plural, UID: it.Obj.GetUID()},
	}
	body, err := objectBytes(st, st.GroupVersionKind(), c.view.media)
	if err != nil {
		return err
	}
	respond(c.w, c.view, http.StatusOK, body)
	return nil
}

// deleteCollection deletes what a list with the same selectors shows.
func (c *call) deleteCollection() error {
	base, o, err := c.deletion()
	if err != nil {
		return err
	}
	sel, err := c.selection()
	if err != nil {
		return err
	}
	snap := c.cache().Snapshot()
	items := c.selectItems(snap, sel)
	work := make(chan *cache.Item)
	var mu sync.Mutex
	var errs []error
	var wg sync.WaitGroup
	for range min(deleteWorkers, len(items)) {
		wg.Go(func() {
			for it := range work {
				r := base
				r.Namespace, r.Name = it.Obj.GetNamespace(), it.Obj.GetName()
				r.Collection = true
				if _, err := c.s.Writer.Delete(c.req.Context(), r, o); err != nil && !apierrors.IsNotFound(err) {
					mu.Lock()
					errs = append(errs, err)
					mu.Unlock()
				}
			}
		})
	}
	for _, it := range items {
		work <- it
	}
	close(work)
	wg.Wait()
	if len(errs) > 0 {
		return errors.Join(errs...)
	}
	body, err := viewListBytes(c.kind, items, listMeta{rev: c.s.Caches.Rev()}, c.view, c.s.Clock.Now())
	if err != nil {
		return err
	}
	respond(c.w, c.view, http.StatusOK, body)
	return nil
}
