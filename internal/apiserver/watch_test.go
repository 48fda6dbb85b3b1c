package apiserver

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/informers"
	clientcache "k8s.io/client-go/tools/cache"

	"github.com/monohull/monohull/internal/client"
)

// stream is a watch's answer as it comes.
type stream struct {
	t      testing.TB
	lines  chan string
	cancel context.CancelFunc
}

// streamWriter hands each line of a watch on as it is written.
type streamWriter struct {
	http.ResponseWriter
	lines chan string
	part  string
	ctx   context.Context
}

func (w *streamWriter) Write(b []byte) (int, error) {
	w.part += string(b)
	for {
		line, rest, ok := strings.Cut(w.part, "\n")
		if !ok {
			return len(b), nil
		}
		w.part = rest
		select {
		case w.lines <- line:
		case <-w.ctx.Done():
		}
	}
}

func (w *streamWriter) Flush() {}

// watch begins a watch and ends it with the test.
func (r *rig) watch(path string, headers ...string) *stream {
	r.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	s := &stream{t: r.t, lines: make(chan string, 100), cancel: cancel}
	req := httptest.NewRequest("GET", path, nil).WithContext(ctx)
	req.Header.Set("Authorization", "Bearer "+adminToken)
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		defer close(s.lines)
		r.server.ServeHTTP(&streamWriter{ResponseWriter: httptest.NewRecorder(), lines: s.lines, ctx: ctx}, req)
	})
	r.t.Cleanup(func() { cancel(); wg.Wait() })
	return s
}

type seenEvent struct {
	Type   string
	Object struct {
		metav1.TypeMeta
		Metadata metav1.ObjectMeta
		Code     int
		Reason   metav1.StatusReason
		Rows     []metav1.TableRow
		Columns  []metav1.TableColumnDefinition `json:"columnDefinitions"`
	}
}

func (s *stream) next() seenEvent {
	s.t.Helper()
	var e seenEvent
	line, ok := <-s.lines
	if !ok {
		s.t.Fatal("the watch ended")
	}
	if err := json.Unmarshal([]byte(line), &e); err != nil {
		s.t.Fatalf("%v: %s", err, line)
	}
	return e
}

func (s *stream) want(typ, name, rev string) seenEvent {
	s.t.Helper()
	e := s.next()
	if e.Type != typ || e.Object.Metadata.Name != name || e.Object.Metadata.ResourceVersion != rev || e.Object.Kind != "ConfigMap" || e.Object.APIVersion != "v1" {
		s.t.Fatalf("want %s %s@%s, got %s %s %s@%s", typ, name, rev, e.Type, e.Object.Kind, e.Object.Metadata.Name, e.Object.Metadata.ResourceVersion)
	}
	return e
}

func (s *stream) ended() {
	s.t.Helper()
	if line, ok := <-s.lines; ok {
		s.t.Fatalf("the watch goes on with %s", line)
	}
}

func TestWatchTellsOfEachChange(t *testing.T) {
	r := newRig(t)
	a := r.configMap("a", nil)
	s := r.watch(maps + "?watch=true")
	s.want("ADDED", "a", a.ResourceVersion)
	b := r.configMap("b", nil)
	s.want("ADDED", "b", b.ResourceVersion)
	b2 := r.label("b", "x", "y")
	s.want("MODIFIED", "b", b2.ResourceVersion)
	r.delete("b")
	gone := s.next()
	if gone.Type != "DELETED" || gone.Object.Metadata.Name != "b" || gone.Object.Metadata.ResourceVersion <= b2.ResourceVersion || gone.Object.Metadata.Labels["x"] != "y" {
		t.Errorf("the deletion is %+v", gone)
	}
	from := r.watch(maps + "?watch=true&resourceVersion=" + b.ResourceVersion)
	from.want("MODIFIED", "b", b2.ResourceVersion)
	from.want("DELETED", "b", gone.Object.Metadata.ResourceVersion)
	one := r.watch("/api/v1/watch/namespaces/ns/configmaps/a")
	one.want("ADDED", "a", a.ResourceVersion)
	other := r.watch("/api/v1/namespaces/other/configmaps?watch=1&resourceVersion=0")
	c := r.configMap("c", nil)
	s.want("ADDED", "c", c.ResourceVersion)
	other.cancel()
	other.ended()
}

func TestSelectorTurnsChangesIntoAdditionsAndDeletions(t *testing.T) {
	r := newRig(t)
	a := r.configMap("a", nil)
	s := r.watch(maps + "?watch=1&labelSelector=on&resourceVersion=" + a.ResourceVersion)
	up := r.label("a", "on", "1")
	s.want("ADDED", "a", up.ResourceVersion)
	up = r.label("a", "on", "2")
	s.want("MODIFIED", "a", up.ResourceVersion)
	off, err := client.Of[*corev1.ConfigMap](r.client).Modify(t.Context(), "ns", "a", "", func(c *corev1.ConfigMap) error {
		c.Labels = nil
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	// the state that matched last, at the revision at which it ceased to
	if e := s.want("DELETED", "a", off.ResourceVersion); e.Object.Metadata.Labels["on"] != "2" {
		t.Errorf("the deletion shows %v", e.Object.Metadata.Labels)
	}
	r.delete("a") // not selected: no event
	b := r.configMap("b", map[string]string{"on": "1"})
	s.want("ADDED", "b", b.ResourceVersion)
}

func TestInitialEventsEndWithAMarkedBookmark(t *testing.T) {
	r := newRig(t)
	a := r.configMap("a", nil)
	b := r.configMap("b", nil)
	s := r.watch(maps + "?watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true")
	s.want("ADDED", "a", a.ResourceVersion)
	s.want("ADDED", "b", b.ResourceVersion)
	if e := s.want("BOOKMARK", "", b.ResourceVersion); e.Object.Metadata.Annotations[metav1.InitialEventsAnnotationKey] != "true" {
		t.Errorf("the mark is %v", e.Object.Metadata.Annotations)
	}
	c := r.configMap("c", nil)
	s.want("ADDED", "c", c.ResourceVersion)
	quiet := r.watch(maps + "?watch=1&sendInitialEvents=false&resourceVersionMatch=NotOlderThan&resourceVersion=" + c.ResourceVersion)
	d := r.configMap("d", nil)
	quiet.want("ADDED", "d", d.ResourceVersion)
	r.get(maps+"?watch=1&sendInitialEvents=true").fails(422, metav1.StatusReasonInvalid, "sendInitialEvents")
	r.get(maps+"?watch=1&resourceVersionMatch=NotOlderThan").fails(422, metav1.StatusReasonInvalid, "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided")
	r.get(maps+"?watch=1&resourceVersion=x").fails(400, metav1.StatusReasonBadRequest)
	r.get(maps+"?sendInitialEvents=true").fails(422, metav1.StatusReasonInvalid, "sendInitialEvents")
}

func TestBookmarksComeWithTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		a := r.configMap("a", nil)
		s := r.watch(maps + "?watch=1&allowWatchBookmarks=true&timeoutSeconds=150&resourceVersion=" + a.ResourceVersion)
		began := time.Now()
		s.want("BOOKMARK", "", a.ResourceVersion)
		if d := time.Since(began); d > bookmarkInterval || d < bookmarkInterval*9/10 {
			t.Errorf("the first bookmark came after %v", d)
		}
		// changes of other kinds move it
		ns, err := client.Of[*corev1.Namespace](r.client).Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "x"}})
		if err != nil {
			t.Fatal(err)
		}
		s.want("BOOKMARK", "", ns.ResourceVersion)
		s.ended()
		if d := time.Since(began); d != 150*time.Second {
			t.Errorf("the watch lasted %v", d)
		}
		plain := r.watch(maps + "?watch=1&timeoutSeconds=300&resourceVersion=" + a.ResourceVersion)
		plain.ended()
	})
}

func TestWatchFromTooLongAgoIsAnErrorEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		a := r.configMap("a", nil)
		r.configMap("b", nil)
		time.Sleep(5 * time.Minute)
		r.configMap("c", nil)
		s := r.watch(maps + "?watch=1&resourceVersion=" + a.ResourceVersion)
		if e := s.next(); e.Type != "ERROR" || e.Object.Kind != "Status" || e.Object.Code != 410 || e.Object.Reason != metav1.StatusReasonExpired {
			t.Errorf("it begins with %+v", e)
		}
		s.ended()
	})
}

func TestWatchAsTableSendsItsColumnsOnce(t *testing.T) {
	r := newRig(t)
	r.configMap("a", nil)
	s := r.watch(maps+"?watch=1", "Accept", "application/json;as=Table;v=v1;g=meta.k8s.io")
	if e := s.next(); e.Object.Kind != "Table" || len(e.Object.Columns) == 0 || len(e.Object.Rows) != 1 {
		t.Errorf("the first table is %+v", e)
	}
	r.configMap("b", nil)
	if e := s.next(); len(e.Object.Columns) != 0 || fmt.Sprint(e.Object.Rows[0].Cells[0]) != "b" {
		t.Errorf("the second table is %+v", e)
	}
	meta := r.watch(maps+"?watch=1", "Accept", "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io")
	if e := meta.next(); e.Object.Kind != "PartialObjectMetadata" || e.Object.Metadata.Name != "a" {
		t.Errorf("the metadata alone is %+v", e)
	}
}

func TestWatchEndsWithTheServer(t *testing.T) {
	r := newRig(t)
	s := r.watch(maps + "?watch=1")
	r.server.drain()
	s.ended()
}

func TestWatchOverTheWireIsWrittenAtOnce(t *testing.T) {
	r := newRig(t)
	ts := r.serve()
	req, _ := http.NewRequest("GET", ts.URL+maps+"?watch=1", nil)
	req.Header.Set("Authorization", "Bearer "+adminToken)
	res, err := ts.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != 200 || res.ProtoMajor != 2 {
		t.Fatalf("it begins with %d over HTTP/%d", res.StatusCode, res.ProtoMajor)
	}
	r.configMap("a", nil)
	if line, err := bufio.NewReader(res.Body).ReadString('\n'); err != nil || !strings.HasPrefix(line, `{"type":"ADDED"`) {
		t.Fatalf("it goes on with %q, %v", line, err)
	}
}

func TestClientGoWatchesAndWritesInBothForms(t *testing.T) {
	for _, media := range []string{"application/json", typeProtobuf} {
		t.Run(strings.ReplaceAll(media, "/", "_"), func(t *testing.T) {
			r := newRig(t)
			cs, _ := r.clientset(media)
			api := cs.CoreV1().ConfigMaps("ns")
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			w, err := api.Watch(ctx, metav1.ListOptions{LabelSelector: "on"})
			if err != nil {
				t.Fatal(err)
			}
			defer w.Stop()
			want := func(typ watch.EventType, data string) {
				t.Helper()
				e, ok := <-w.ResultChan()
				if !ok {
					t.Fatal("the watch ended")
				}
				cm, ok := e.Object.(*corev1.ConfigMap)
				if !ok || e.Type != typ || cm.Data["k"] != data || cm.ResourceVersion == "" || cm.Namespace != "ns" {
					t.Fatalf("want %s with %q, got %s %+v", typ, data, e.Type, e.Object)
				}
			}
			cm, err := api.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "a", Labels: map[string]string{"on": "1"}}, Data: map[string]string{"k": "1"}}, metav1.CreateOptions{})
			if err != nil {
				t.Fatal(err)
			}
			want(watch.Added, "1")
			cm.Data["k"] = "2"
			if cm, err = api.Update(ctx, cm, metav1.UpdateOptions{}); err != nil {
				t.Fatal(err)
			}
			want(watch.Modified, "2")
			if _, err = api.Patch(ctx, "a", types.StrategicMergePatchType, []byte(`{"metadata":{"labels":null}}`), metav1.PatchOptions{}); err != nil {
				t.Fatal(err)
			}
			want(watch.Deleted, "2")
			if _, err = api.Update(ctx, cm, metav1.UpdateOptions{}); !apierrors.IsConflict(err) {
				t.Errorf("an old version is %v", err)
			}
			if err = api.Delete(ctx, "a", metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &cm.UID}}); err != nil {
				t.Error(err)
			}
			if _, err = api.Get(ctx, "a", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
				t.Errorf("what is deleted is %v", err)
			}
			if _, err = cs.CoreV1().Pods("ns").Create(ctx, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "BAD"}}, metav1.CreateOptions{}); !apierrors.IsInvalid(err) {
				t.Errorf("what is invalid is %v", err)
			}
			late, err := api.Watch(ctx, metav1.ListOptions{ResourceVersion: "1"})
			if err != nil {
				t.Fatal(err)
			}
			defer late.Stop()
			if e := <-late.ResultChan(); e.Type != watch.Added {
				t.Errorf("from the beginning comes %+v", e)
			}
		})
	}
}

func TestClientGoInformerKeepsUp(t *testing.T) {
	r := newRig(t)
	for i := range 20 {
		r.configMap(fmt.Sprint("m", i), nil)
	}
	cs, _ := r.clientset(typeProtobuf)
	factory := informers.NewSharedInformerFactory(cs, 0)
	inf := factory.Core().V1().ConfigMaps().Informer()
	events := make(chan string, 100)
	if _, err := inf.AddEventHandler(clientcache.ResourceEventHandlerFuncs{
		AddFunc:    func(o any) { events <- "+" + o.(*corev1.ConfigMap).Name },
		UpdateFunc: func(_, o any) { events <- "~" + o.(*corev1.ConfigMap).Name },
		DeleteFunc: func(o any) { events <- "-" + o.(*corev1.ConfigMap).Name },
	}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	factory.Start(ctx.Done())
	defer func() { cancel(); factory.Shutdown() }()
	if !clientcache.WaitForCacheSync(ctx.Done(), inf.HasSynced) {
		t.Fatal("it does not sync")
	}
	for range 20 {
		<-events
	}
	r.configMap("new", nil)
	r.label("m3", "a", "b")
	r.delete("m4")
	for _, want := range []string{"+new", "~m3", "-m4"} {
		select {
		case got := <-events:
			if got != want {
				t.Errorf("want %s, got %s", want, got)
			}
		case <-ctx.Done():
			t.Fatalf("%s never came", want)
		}
	}
	if n := len(inf.GetStore().List()); n != 20 {
		t.Errorf("the informer holds %d", n)
	}
	watchList := false
	collect(t, r.server, func(l map[string]string) { watchList = watchList || l["verb"] == "LIST" })
	if watchList {
		t.Error("the informer had to list: it could not begin with a watch")
	}
}

func TestWatchOverAWebSocketIsAMessageAnEvent(t *testing.T) {
	r := newRig(t)
	r.configMap("a", nil)
	srv := httptest.NewServer(r.server)
	defer srv.Close()
	for accept, want := range map[string]int{typeJSON: websocket.TextMessage, typeProtobuf: websocket.BinaryMessage} {
		h := http.Header{"Authorization": {"Bearer " + adminToken}, "Accept": {accept}}
		conn, _, err := websocket.DefaultDialer.Dial("ws"+strings.TrimPrefix(srv.URL, "http")+maps+"?watch=1&fieldSelector=metadata.name%3Da", h)
		if err != nil {
			t.Fatal(err)
		}
		kind, body, err := conn.ReadMessage()
		if err != nil || kind != want {
			t.Fatalf("%s: a message of type %d: %v", accept, kind, err)
		}
		var e metav1.WatchEvent
		if accept == typeProtobuf {
			err = e.Unmarshal(body)
		} else {
			err = json.Unmarshal(body, &e)
		}
		if err != nil || e.Type != "ADDED" {
			t.Errorf("%s: %q, %v", accept, e.Type, err)
		}
		conn.Close()
	}
}

func TestWatchesOfManyGatherEventsThatFollowEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		s := r.watch(maps + "?watch=1")
		r.server.crowd(r.server.Table.ByResource(corev1.SchemeGroupVersion.WithResource("configmaps"))).Add(1_000_000)
		time.Sleep(time.Second)
		began := time.Now()
		for i := range 3 {
			r.configMap(fmt.Sprint("m", i), nil)
			synctest.Wait()
		}
		s.next()
		if d := time.Since(began); d != 0 {
			t.Errorf("the first event was held back for %v", d)
		}
		s.next()
		s.next()
		if d := time.Since(began); d != maxPace {
			t.Errorf("the others came after %v", d)
		}
	})
}
