package apiserver

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/monohull/monohull/internal/api"
	"github.com/monohull/monohull/internal/apiserver/streams"
	"github.com/monohull/monohull/internal/cache"
)

// How long a watch lasts when the client does not say, and how often one that
// asked for bookmarks gets one.
const (
	defaultMinWatch  = 30 * time.Minute
	bookmarkInterval = time.Minute
)

// watch sends a collection's changes as they happen.
func (c *call) watch() error {
	sel, err := c.selection()
	if err != nil {
		return err
	}
	o, err := c.watchOptions()
	if err != nil {
		return err
	}
	var snap cache.Snapshot
	var from *cache.Watcher
	if o.initial {
		snap, from = c.cache().SnapshotAndWatch()
	} else if from, err = c.cache().Watch(o.rev); err != nil {
		return c.refuseWatch(apierrors.NewResourceExpired(fmt.Sprintf("too old resource version: %d (%d)", o.rev, c.s.Caches.Rev())))
	}
	ctx, cancel := context.WithTimeout(c.req.Context(), o.timeout)
	defer cancel()
	stop := context.AfterFunc(c.s.draining, cancel)
	defer stop()
	out, err := c.watchStream(cancel)
	if err != nil {
		return nil // it has been answered
	}
	defer out.close()
	crowd := c.s.crowd(c.kind)
	crowd.Add(1)
	defer crowd.Add(-1)
	if o.initial {
		for _, it := range c.selectItems(snap, sel) {
			if err := out.event("ADDED", it); err != nil {
				return nil
			}
		}
		if o.endMark {
			if err := out.bookmark(snap.Rev, true); err != nil {
				return nil
			}
		}
	}
	if err := out.flush(); err != nil {
		return nil
	}
	return c.follow(ctx, from, sel, o, out, &pace{crowd: crowd})
}

// Many watchers of a kind take its events in small batches: a frame to each for
// every event would cost the server more than the events are worth. The first
// event after a pause is never held back.
const (
	pacePerWatcher = 50 * time.Microsecond
	maxPace        = 20 * time.Millisecond
)

// pace keeps one watch's writes apart.
type pace struct {
	crowd *atomic.Int64 // watches of the kind
	last  time.Time     // of the last write
	timer *time.Timer
}

// hold is how long the next write is to wait.
func (p *pace) hold(now time.Time) time.Duration {
	apart := min(time.Duration(p.crowd.Load())*pacePerWatcher, maxPace)
	return apart - now.Sub(p.last)
}

// wait lets events gather.
func (p *pace) wait(ctx context.Context) {
	d := p.hold(time.Now())
	if d <= 0 {
		return
	}
	if p.timer == nil {
		p.timer = time.NewTimer(d)
	} else {
		p.timer.Reset(d)
	}
	select {
	case <-p.timer.C:
	case <-ctx.Done():
	}
}

// crowd counts the watches of a kind.
func (s *Server) crowd(k *api.Kind) *atomic.Int64 {
	n, _ := s.crowds.LoadOrStore(k, new(atomic.Int64))
	return n.(*atomic.Int64)
}

func (c *call) follow(ctx context.Context, w *cache.Watcher, sel selection, o watchOptions, out *watchWriter, p *pace) error {
	var bookmark <-chan time.Time
	if o.bookmarks {
		// spread over the interval, so that they do not all come at once
		t := time.NewTimer(bookmarkInterval - time.Duration(rand.Int64N(int64(bookmarkInterval/10))))
		defer t.Stop()
		bookmark = t.C
	}
	for {
		events, changed, err := w.Poll()
		if err != nil {
			st := statusOf(apierrors.NewResourceExpired("too old resource version: the watch fell behind"))
			_ = out.status(&st)
			_ = out.flush()
			return nil
		}
		for i := range events {
			if err := out.change(&events[i], sel, c); err != nil {
				return nil
			}
		}
		if len(events) > 0 {
			if out.pending() {
				if err := out.flush(); err != nil {
					return nil
				}
				p.last = time.Now()
			}
			continue
		}
		select {
		case <-changed:
			p.wait(ctx)
		case <-ctx.Done():
			return nil
		case <-bookmark:
			if out.bookmark(w.Rev(), false) != nil || out.flush() != nil {
				return nil
			}
			bookmark = time.After(bookmarkInterval)
		}
	}
}

type watchOptions struct {
	rev       int64
	initial   bool // begin with an ADDED event for everything there is
	endMark   bool // and say when that is over
	bookmarks bool
	timeout   time.Duration
}

func (c *call) watchOptions() (watchOptions, error) {
	q := c.query.Get
	o := watchOptions{bookmarks: isTrue(q("allowWatchBookmarks")), timeout: c.s.MinWatch + time.Duration(rand.Int64N(int64(c.s.MinWatch)))}
	if v := q("timeoutSeconds"); v != "" {
		n, err := strconv.ParseInt(v, 10, 32)
		if err != nil {
			return o, apierrors.NewBadRequest(fmt.Sprintf("timeoutSeconds: %v", err))
		}
		if n > 0 {
			o.timeout = time.Duration(n) * time.Second
		}
	}
	rv, match := q("resourceVersion"), q("resourceVersionMatch")
	send := q("sendInitialEvents")
	switch {
	case send == "" && match != "":
		return o, invalidListOption("resourceVersionMatch", "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided")
	case send != "" && match != string(metav1.ResourceVersionMatchNotOlderThan):
		return o, invalidListOption("resourceVersionMatch", "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan")
	case send != "" && rv != "" && rv != "0":
		if err := c.waitFor(rv); err != nil {
			return o, err
		}
	}
	switch {
	case isTrue(send):
		o.initial, o.endMark = true, o.bookmarks
		return o, nil
	case send == "" && (rv == "" || rv == "0"):
		o.initial = true
		return o, nil
	case rv == "" || rv == "0":
		o.rev = c.cache().Snapshot().Rev
		return o, nil
	}
	rev, err := strconv.ParseInt(rv, 10, 64)
	if err != nil || rev < 0 {
		return o, apierrors.NewBadRequest(fmt.Sprintf("Invalid value: %q: resourceVersion must be a number", rv))
	}
	o.rev = rev
	return o, nil
}

// refuseWatch answers 200 with an ERROR event, as upstream's watch cache does.
func (c *call) refuseWatch(err error) error {
	out, upErr := c.watchStream(func() {})
	if upErr != nil {
		return nil
	}
	defer out.close()
	st := statusOf(err)
	_ = out.status(&st)
	_ = out.flush()
	return nil
}

// watchWriter frames events in the form the client asked for.
type watchWriter struct {
	w       http.ResponseWriter
	kind    *api.Kind
	view    view
	now     func() time.Time
	buf     []byte
	rows    bool // a table's columns have been sent
	written bool // since the last flush
	control *http.ResponseController
	socket  *streams.Messages // instead of w
	// stuck cuts off a client that takes nothing of what is written to it.
	stuck *time.Timer
}

const (
	// maxWatchBuffer is how much is gathered before it is written.
	maxWatchBuffer = 64 << 10
	// watchPatience is how long one write of a watch may take.
	watchPatience = time.Minute
)

// watchStream begins the answer. gone is called when the client of a WebSocket
// hangs up; on error it has been answered.
func (c *call) watchStream(gone func()) (*watchWriter, error) {
	h := c.w.Header()
	media := c.view.media
	if media == typeYAML {
		media = typeJSON
	}
	c.view.media = media
	out := &watchWriter{w: c.w, kind: c.kind, view: c.view, now: c.s.Clock.Now}
	if streams.WantsWebSocket(c.req) {
		var err error
		out.socket, err = streams.OpenMessages(c.w, c.req, nil, gone)
		return out, err
	}
	h.Set("Content-Type", media)
	if media == typeProtobuf {
		h.Set("Content-Type", typeProtobuf+";stream=watch")
	}
	h.Set("Cache-Control", "no-cache, private")
	c.w.WriteHeader(http.StatusOK)
	out.control = http.NewResponseController(c.w)
	out.stuck = time.AfterFunc(watchPatience, func() { _ = out.control.SetWriteDeadline(time.Unix(1, 0)) })
	out.stuck.Stop()
	return out, nil
}

func (w *watchWriter) close() {
	if w.stuck != nil {
		w.stuck.Stop()
	}
	if w.socket != nil {
		w.socket.Close()
	}
}

// change sends an event as the selection sees it: an object that comes to
// match is added, one that ceases to is deleted.
func (w *watchWriter) change(e *cache.Event, sel selection, c *call) error {
	if c.kind.Namespaced && c.namespace != "" && e.Item.Obj.GetNamespace() != c.namespace {
		return nil
	}
	is := !e.Deleted && sel.matches(e.Item.Obj)
	was := e.Prev != nil && sel.matches(e.Prev.Obj)
	switch {
	case is && was:
		return w.event("MODIFIED", e.Item)
	case is:
		return w.event("ADDED", e.Item)
	case was && e.Deleted:
		return w.event("DELETED", e.Item)
	case was:
		// the object as it was when it matched, at the revision of the change
		last := e.Prev.Obj.DeepCopyObject().(api.Object)
		last.SetResourceVersion(strconv.FormatInt(e.Rev, 10))
		msg, _ := e.Prev.Proto()
		return w.event("DELETED", cache.NewItem(e.Item.Kind, last, e.Rev, msg))
	}
	return nil
}

func (w *watchWriter) event(typ string, it *cache.Item) error {
	if w.view.as == "" && !w.view.own() {
		body, err := itemBytes(it, w.view)
		if err != nil {
			return err
		}
		return w.frame(typ, body)
	}
	if w.view.as == "" && w.view.media == typeProtobuf {
		if msg, rev := it.Proto(); msg != nil {
			w.protoFrame(typ, api.Envelope(it.Kind.GVK.GroupVersion().String(), it.Kind.GVK.Kind, msg, rev))
			return w.spill()
		}
	}
	if w.view.as == "" {
		body, err := it.JSON()
		if err != nil {
			return err
		}
		w.buf = append(w.buf, `{"type":"`...)
		w.buf = append(w.buf, typ...)
		w.buf = append(w.buf, `","object":`...)
		w.buf = append(w.buf, typeHeader(it.Kind.GVK)...)
		w.buf = append(w.buf, body[1:]...)
		w.buf = append(w.buf, "}\n"...)
		return w.spill()
	}
	var body []byte
	var err error
	if w.view.as == "Table" {
		var t *metav1.Table
		if t, err = tableOf(it.Kind, []*cache.Item{it}, w.view, listMeta{rev: it.Rev}, w.now(), !w.rows); err == nil {
			w.rows = true
			body, err = json.Marshal(t)
		}
	} else {
		body, err = viewBytes(it, w.view, w.now())
	}
	if err != nil {
		return err
	}
	return w.frame(typ, body)
}

// bookmark tells the client that it has seen everything up to rev.
func (w *watchWriter) bookmark(rev int64, initialEnd bool) error {
	obj, gvk := w.kind.New(), w.kind.GVK
	if !w.view.own() {
		obj, gvk = w.view.version.New(), w.view.version.GVK
	}
	obj.SetResourceVersion(strconv.FormatInt(rev, 10))
	if initialEnd {
		obj.SetAnnotations(map[string]string{metav1.InitialEventsAnnotationKey: "true"})
	}
	if w.view.as == "PartialObjectMetadata" {
		p := partial(obj, w.view.asGV)
		body, err := objectBytes(p, p.GroupVersionKind(), w.view.media)
		if err != nil {
			return err
		}
		return w.frame("BOOKMARK", body)
	}
	if w.view.as == "Table" {
		t, err := tableOf(w.kind, nil, w.view, listMeta{rev: rev}, w.now(), !w.rows)
		if err != nil {
			return err
		}
		raw, err := json.Marshal(partial(obj, w.view.asGV))
		if err != nil {
			return err
		}
		t.Rows = []metav1.TableRow{{Cells: make([]any, 0)}}
		t.Rows[0].Object.Raw = raw
		body, err := json.Marshal(t)
		if err != nil {
			return err
		}
		w.rows = true
		return w.frame("BOOKMARK", body)
	}
	body, err := objectBytes(obj, gvk, w.view.media)
	if err != nil {
		return err
	}
	return w.frame("BOOKMARK", body)
}

func (w *watchWriter) status(st *metav1.Status) error {
	body, err := objectBytes(st, st.GroupVersionKind(), w.view.media)
	if err != nil {
		return err
	}
	return w.frame("ERROR", body)
}

func (w *watchWriter) frame(typ string, body []byte) error {
	if w.view.media == typeProtobuf {
		w.protoFrame(typ, body)
		return w.spill()
	}
	w.buf = append(w.buf, `{"type":"`...)
	w.buf = append(w.buf, typ...)
	w.buf = append(w.buf, `","object":`...)
	w.buf = append(w.buf, body...)
	w.buf = append(w.buf, "}\n"...)
	return w.spill()
}

// protoFrame appends a length and a metav1.WatchEvent{type: 1, object{raw: 1}: 2}.
func (w *watchWriter) protoFrame(typ string, obj []byte) {
	inner := 1 + uvarintLen(len(obj)) + len(obj)
	n := 2 + len(typ) + 1 + uvarintLen(inner) + inner
	w.buf = binary.BigEndian.AppendUint32(w.buf, uint32(n))
	w.buf = append(w.buf, 0x0a, byte(len(typ)))
	w.buf = append(w.buf, typ...)
	w.buf = append(w.buf, 0x12)
	w.buf = binary.AppendUvarint(w.buf, uint64(inner))
	w.buf = append(w.buf, 0x0a)
	w.buf = binary.AppendUvarint(w.buf, uint64(len(obj)))
	w.buf = append(w.buf, obj...)
}

func uvarintLen(n int) int {
	l := 1
	for ; n >= 0x80; n >>= 7 {
		l++
	}
	return l
}

// spill ends an event: messages of a WebSocket are one event each, others are
// gathered.
func (w *watchWriter) spill() error {
	if w.socket != nil {
		message, text := w.buf, w.view.media != typeProtobuf
		if !text {
			message = message[4:] // a message has its length
		}
		err := w.socket.Send(text, message, watchPatience)
		w.buf = w.buf[:0]
		return err
	}
	if len(w.buf) < maxWatchBuffer {
		return nil
	}
	return w.write()
}

func (w *watchWriter) write() error {
	w.stuck.Reset(watchPatience)
	_, err := w.w.Write(w.buf)
	w.stuck.Stop()
	w.buf, w.written = w.buf[:0], true
	return err
}

// pending tells whether there is something to flush.
func (w *watchWriter) pending() bool { return len(w.buf) > 0 || w.written }

func (w *watchWriter) flush() error {
	if w.socket != nil {
		return nil
	}
	if len(w.buf) > 0 {
		if err := w.write(); err != nil {
			return err
		}
		if cap(w.buf) > maxWatchBuffer {
			w.buf = nil
		}
	}
	w.written = false
	w.stuck.Reset(watchPatience)
	defer w.stuck.Stop()
	if err := w.control.Flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	return nil
}
