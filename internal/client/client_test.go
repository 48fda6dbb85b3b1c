package client_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apiserver/pkg/authentication/user"

	"github.com/monohull/monohull/internal/api"
	"github.com/monohull/monohull/internal/api/all"
	"github.com/monohull/monohull/internal/cache"
	"github.com/monohull/monohull/internal/client"
	"github.com/monohull/monohull/internal/store"
)

// filled is a client over caches that hold what put has stored.
type filled struct {
	t     *testing.T
	c     *client.Client
	store *store.Memory
	set   *cache.Set
}

func newFilled(t *testing.T) *filled {
	t.Helper()
	table := all.Table()
	f := &filled{t: t, store: store.NewMemory()}
	f.set = cache.NewSet(cache.Config{Store: f.store, Table: table, Indexes: client.Indexes(table), Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	f.c = client.New(table, f.set, nil, &user.DefaultInfo{Name: "me"})
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = f.set.Run(ctx) })
	t.Cleanup(func() { cancel(); wg.Wait() })
	<-f.set.Loaded()
	return f
}

func put[T api.Object](f *filled, obj T) {
	f.t.Helper()
	k := api.For[T](f.c.Table())
	value, err := k.EncodeStored(obj)
	if err != nil {
		f.t.Fatal(err)
	}
	rev, err := f.store.Create(f.t.Context(), k.StoreKey(obj.GetNamespace(), obj.GetName()), value)
	if err == nil {
		err = f.set.WaitFor(f.t.Context(), rev)
	}
	if err != nil {
		f.t.Fatal(err)
	}
}

func names[T api.Object](list []T) string {
	var out []string
	for _, o := range list {
		out = append(out, o.GetNamespace()+"/"+o.GetName())
	}
	return strings.Join(out, " ")
}

func pod(ns, name, node, ip string) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name, Labels: map[string]string{"app": name}}, Spec: corev1.PodSpec{NodeName: node}}
	if ip != "" {
		p.Status.PodIPs = []corev1.PodIP{{IP: ip}, {IP: "fd00::" + ip[len(ip)-1:]}}
	}
	return p
}

func TestReadsAreOfOneNamespaceOrAllAndSelected(t *testing.T) {
	f := newFilled(t)
	put(f, pod("b", "x", "n1", ""))
	put(f, pod("a", "x", "", ""))
	put(f, pod("a", "y", "n1", ""))
	pods := client.Of[*corev1.Pod](f.c)
	if got := names(pods.List("", nil)); got != "a/x a/y b/x" {
		t.Errorf("all are %s", got)
	}
	if got := names(pods.List("a", nil)); got != "a/x a/y" {
		t.Errorf("those of a are %s", got)
	}
	if got := names(pods.List("", labels.SelectorFromSet(labels.Set{"app": "x"}))); got != "a/x b/x" {
		t.Errorf("the selected are %s", got)
	}
	if p, ok := pods.Get("a", "y"); !ok || p.Spec.NodeName != "n1" {
		t.Error("a/y is not there")
	}
	if p, ok := pods.Get("a", "z"); ok || p != nil {
		t.Error("what is not there is there")
	}
	if got := names(pods.ByIndex(client.ByNode, "")); got != "a/x" {
		t.Errorf("the unbound are %s", got)
	}
	if got := names(pods.ByIndex(client.ByNode, "n1")); got != "a/y b/x" {
		t.Errorf("those on n1 are %s", got)
	}
}

func TestIndexesFileObjectsUnderWhatTheySay(t *testing.T) {
	f := newFilled(t)
	owned := pod("ns", "p", "n", "10.0.0.7")
	owned.OwnerReferences = []metav1.OwnerReference{{UID: "rs-1"}, {UID: "rs-2"}}
	put(f, owned)
	put(f, &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "s"}, Spec: corev1.ServiceSpec{ClusterIPs: []string{"10.1.0.1"}}})
	put(f, &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "s-1", Labels: map[string]string{discoveryv1.LabelServiceName: "s"}},
		Endpoints:  []discoveryv1.Endpoint{{Addresses: []string{"10.0.0.7"}}, {Addresses: []string{"10.0.0.7", "10.0.0.8"}}},
	})
	put(f, &corev1.Event{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "e"}, InvolvedObject: corev1.ObjectReference{UID: types.UID("u")}})
	for what, got := range map[string]string{
		"ns/p by an owner":           names(client.Of[*corev1.Pod](f.c).ByIndex(client.ByOwner, "rs-2")),
		"ns/p by an address":         names(client.Of[*corev1.Pod](f.c).ByIndex(client.ByPodIP, "fd00::7")),
		"ns/s by its cluster IP":     names(client.Of[*corev1.Service](f.c).ByIndex(client.ByClusterIP, "10.1.0.1")),
		"ns/s-1 by its service":      names(client.Of[*discoveryv1.EndpointSlice](f.c).ByIndex(client.ByService, "ns/s")),
		"ns/s-1 by an endpoint once": names(client.Of[*discoveryv1.EndpointSlice](f.c).ByIndex(client.ByEndpointIP, "10.0.0.7")),
		"ns/e by what it is about":   names(client.Of[*corev1.Event](f.c).ByIndex(client.ByInvolved, "u")),
	} {
		if want, _, _ := strings.Cut(what, " "); got != want {
			t.Errorf("%s: got %q", what, got)
		}
	}
}

func TestFollowGivesOldAndNew(t *testing.T) {
	f := newFilled(t)
	put(f, pod("ns", "a", "n1", ""))
	ctx, cancel := context.WithCancel(t.Context())
	got := make(chan string)
	var wg sync.WaitGroup
	wg.Go(func() {
		_ = client.Of[*corev1.Pod](f.c).Follow(ctx, func(changes []client.Change[*corev1.Pod]) {
			for _, c := range changes {
				old := "nothing"
				if c.Old != nil {
					old = c.Old.Spec.NodeName
				}
				got <- fmt.Sprint(old, " ", c.New.Spec.NodeName, " ", c.Deleted)
			}
		})
	})
	want := func(w string) {
		t.Helper()
		if g := <-got; g != w {
			t.Errorf("got %q, want %q", g, w)
		}
	}
	want("nothing n1 false")
	k := api.For[*corev1.Pod](f.c.Table())
	it := f.set.Of(k).Get("ns/a")
	value, err := k.EncodeStored(pod("ns", "a", "n2", ""))
	if err != nil {
		t.Fatal(err)
	}
	rev, err := f.store.Update(t.Context(), k.StoreKey("ns", "a"), value, it.Rev)
	if err != nil {
		t.Fatal(err)
	}
	want("n1 n2 false")
	if _, err := f.store.Delete(t.Context(), k.StoreKey("ns", "a"), rev); err != nil {
		t.Fatal(err)
	}
	want("n2 n2 true")
	cancel()
	wg.Wait()
}

func TestClientSpeaksForItsUser(t *testing.T) {
	f := newFilled(t)
	r := f.c.AsUser("other", "group").Request(api.For[*corev1.Pod](f.c.Table()), "ns", "p", "status")
	if r.User.GetName() != "other" || strings.Join(r.User.GetGroups(), " ") != "group system:authenticated" || r.Manager != "other" || r.Subresource != "status" {
		t.Errorf("the request is %+v", r)
	}
	if f.c.User().GetName() != "me" {
		t.Error("the first client changed")
	}
}
