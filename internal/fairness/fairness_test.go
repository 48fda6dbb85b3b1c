package fairness

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/user"

	"github.com/monohull/monohull/internal/api"
	tableOfAll "github.com/monohull/monohull/internal/api/all"
	"github.com/monohull/monohull/internal/api/flowcontrol"
	"github.com/monohull/monohull/internal/cache"
	"github.com/monohull/monohull/internal/store"
)

func person(name string, groups ...string) user.Info {
	return &user.DefaultInfo{Name: name, Groups: append(groups, user.AllAuthenticated)}
}

func get(u user.Info) *Request {
	return &Request{User: u, Verb: "get", Resource: true, Version: "v1", Plural: "pods", Namespace: "default", Name: "p"}
}

// bootstrapped is a Fairness with the objects every cluster begins with.
func bootstrapped(seats int) *Fairness {
	f := New(Config{Seats: seats, RequestTimeout: time.Minute, Logger: slog.New(slog.DiscardHandler)})
	var levels []*flowcontrolv1.PriorityLevelConfiguration
	var schemas []*flowcontrolv1.FlowSchema
	for _, o := range flowcontrol.Bootstrap() {
		switch o := o.(type) {
		case *flowcontrolv1.PriorityLevelConfiguration:
			levels = append(levels, o)
		case *flowcontrolv1.FlowSchema:
			schemas = append(schemas, o)
		}
	}
	f.digest(levels, schemas)
	return f
}

// queued is a Fairness whose requests all go to one level with queues.
func queued(seats, queues, hand, length int) *Fairness {
	f := New(Config{Seats: seats, RequestTimeout: time.Minute, Logger: slog.New(slog.DiscardHandler)})
	level, schema := custom("tenants", 1_000_000, queues, hand, length)
	f.digest([]*flowcontrolv1.PriorityLevelConfiguration{level}, []*flowcontrolv1.FlowSchema{schema})
	return f
}

func custom(name string, shares, queues, hand, length int) (*flowcontrolv1.PriorityLevelConfiguration, *flowcontrolv1.FlowSchema) {
	n := int32(shares)
	level := &flowcontrolv1.PriorityLevelConfiguration{ObjectMeta: metav1.ObjectMeta{Name: name, UID: "level-uid"}, Spec: flowcontrolv1.PriorityLevelConfigurationSpec{
		Type: flowcontrolv1.PriorityLevelEnablementLimited,
		Limited: &flowcontrolv1.LimitedPriorityLevelConfiguration{NominalConcurrencyShares: &n, LimitResponse: flowcontrolv1.LimitResponse{
			Type: flowcontrolv1.LimitResponseTypeQueue, Queuing: &flowcontrolv1.QueuingConfiguration{Queues: int32(queues), HandSize: int32(hand), QueueLengthLimit: int32(length)},
		}},
	}}
	schema := &flowcontrolv1.FlowSchema{ObjectMeta: metav1.ObjectMeta{Name: name, UID: "schema-uid"}, Spec: flowcontrolv1.FlowSchemaSpec{
		PriorityLevelConfiguration: flowcontrolv1.PriorityLevelConfigurationReference{Name: name}, MatchingPrecedence: 100,
		DistinguisherMethod: &flowcontrolv1.FlowDistinguisherMethod{Type: flowcontrolv1.FlowDistinguisherMethodByUserType},
		Rules: []flowcontrolv1.PolicyRulesWithSubjects{{
			Subjects:      []flowcontrolv1.Subject{{Kind: flowcontrolv1.SubjectKindGroup, Group: &flowcontrolv1.GroupSubject{Name: user.AllAuthenticated}}},
			ResourceRules: []flowcontrolv1.ResourcePolicyRule{{Verbs: []string{"*"}, APIGroups: []string{"*"}, Resources: []string{"*"}, Namespaces: []string{"*"}, ClusterScope: true}},
		}},
	}}
	return level, schema
}

func TestRequestsAreClassifiedAsUpstreamDoes(t *testing.T) {
	f := bootstrapped(600)
	node := person("system:node:a", user.NodesGroup)
	account := person("system:serviceaccount:kube-system:job-controller", "system:serviceaccounts", "system:serviceaccounts:kube-system")
	for _, c := range []struct {
		name, schema, level string
		r                   Request
	}{
		{"administrator", "exempt", "exempt", Request{User: person("admin", user.SystemPrivilegedGroup), Verb: "list", Resource: true, Plural: "pods"}},
		{"probe", "probes", "exempt", Request{User: person("x"), Verb: "get", Path: "/readyz"}},
		{"part of a probe", "probes", "exempt", Request{User: person("x"), Verb: "get", Path: "/readyz/etcd"}},
		{"no probe", "global-default", "global-default", Request{User: person("x"), Verb: "get", Path: "/readyzz"}},
		{"node status", "system-node-high", "node-high", Request{User: node, Verb: "patch", Resource: true, Plural: "nodes", Subresource: "status", Name: "a"}},
		{"node lease", "system-node-high", "node-high", Request{User: node, Verb: "update", Resource: true, Group: "coordination.k8s.io", Plural: "leases", Namespace: "kube-node-lease", Name: "a"}},
		{"node otherwise", "system-nodes", "system", Request{User: node, Verb: "get", Resource: true, Plural: "pods", Namespace: "default", Name: "p"}},
		{"leader", "system-leader-election", "leader-election", Request{User: account, Verb: "update", Resource: true, Group: "coordination.k8s.io", Plural: "leases", Namespace: "kube-system", Name: "a"}},
		{"controller", "kube-system-service-accounts", "workload-high", Request{User: account, Verb: "update", Resource: true, Plural: "pods", Namespace: "default", Name: "a"}},
		{"account", "service-accounts", "workload-low", Request{User: person("system:serviceaccount:a:b", "system:serviceaccounts"), Verb: "get", Resource: true, Plural: "pods", Namespace: "a", Name: "a"}},
		{"kube-systemic account", "service-accounts", "workload-low", Request{User: person("system:serviceaccount:kube-systemic:b", "system:serviceaccounts"), Verb: "get", Resource: true, Plural: "pods", Namespace: "a", Name: "a"}},
		{"scheduler", "kube-scheduler", "workload-high", Request{User: person("system:kube-scheduler"), Verb: "list", Resource: true, Plural: "pods"}},
		{"anyone", "global-default", "global-default", Request{User: person("jane"), Verb: "list", Resource: true, Plural: "pods"}},
		{"nobody", "catch-all", "catch-all", Request{User: &user.DefaultInfo{Name: "x"}, Verb: "list", Resource: true, Plural: "pods"}},
	} {
		s := f.current.Load().classify(&c.r)
		if s.name != c.schema || s.level.level.name != c.level {
			t.Errorf("%s: schema %s, level %s; want %s, %s", c.name, s.name, s.level.level.name, c.schema, c.level)
		}
	}
}

func TestSeatsAreDividedAsUpstreamDivides(t *testing.T) {
	f := bootstrapped(600)
	// shares 30+40+10+40+100+20+5+0 = 245 of 600 seats
	want := map[string]share{
		"system": {74, 50, 674}, "node-high": {98, 73, 698}, "leader-election": {25, 25, 625}, "workload-high": {98, 49, 698},
		"workload-low": {245, 24, 845}, "global-default": {49, 24, 649}, "catch-all": {13, 13, 613}, "exempt": {0, 0, 600},
	}
	for name, w := range want {
		if got := f.levels[name].share; got != w {
			t.Errorf("%s: %+v, want %+v", name, got, w)
		}
	}
}

func TestDealIsAHandOfDifferentQueues(t *testing.T) {
	seen := map[int]int{}
	for i := range 2000 {
		var cards [maxHand]int
		hand := deal(flowHash("schema", fmt.Sprint(i)), 64, 6, &cards)
		sorted := slices.Clone(hand)
		slices.Sort(sorted)
		if len(slices.Compact(sorted)) != 6 || sorted[0] < 0 || sorted[5] > 63 {
			t.Fatalf("hand %v", hand)
		}
		for _, c := range hand {
			seen[c]++
		}
	}
	for q := range 64 {
		if n := seen[q]; n < 100 || n > 300 {
			t.Errorf("queue %d was dealt %d times of about 187", q, n)
		}
	}
}

func TestApportionKeepsToTheBoundsAndTheSum(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 3000 {
		parts := make([]part, 1+rnd.IntN(8))
		var low, high float64
		for i := range parts {
			l := math.Floor(rnd.Float64() * 50)
			parts[i] = part{low: l, high: l + math.Floor(rnd.Float64()*100), target: l + rnd.Float64()*100*float64(rnd.IntN(2))}
			low, high = low+parts[i].low, high+parts[i].high
		}
		sum := low + rnd.Float64()*(high-low)
		got, fair, err := apportion(sum, slices.Clone(parts))
		if err != nil {
			t.Fatal(err)
		}
		var total float64
		for i, g := range got {
			total += g
			p := parts[i]
			p.target = max(p.target, minTarget)
			if g < p.low-1e-6 || g > p.high+1e-6 {
				t.Fatalf("%v got %v", p, g)
			}
			if d := g - fair*p.target; math.Abs(d) > 1e-6 && !(d > 0 && g <= p.low+1e-6) && !(d < 0 && g >= p.high-1e-6) {
				t.Fatalf("%v got %v, which is neither its fair part %v nor a bound", p, g, fair*p.target)
			}
		}
		if math.Abs(total-sum) > 1e-4*max(1, sum) {
			t.Fatalf("parts %v of %v add up to %v", got, sum, total)
		}
	}
	if _, _, err := apportion(10, []part{{0, 5, 1}}); err == nil {
		t.Error("a sum over the upper bounds was apportioned")
	}
}

func TestLevelsBorrowWhatOthersDoNotUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := bootstrapped(600)
		u := person("jane")
		var held []*Ticket
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		var mu sync.Mutex
		for i := range 300 {
			wg.Go(func() {
				r := get(u)
				r.User = person(fmt.Sprint("user", i%50))
				if tk, ok := f.Begin(ctx, r); ok {
					mu.Lock()
					held = append(held, tk)
					mu.Unlock()
				}
			})
		}
		synctest.Wait()
		before := f.levels["global-default"].limit
		mu.Lock()
		if len(held) != before {
			t.Errorf("%d are served at once, the limit is %d", len(held), before)
		}
		mu.Unlock()
		time.Sleep(5 * time.Second)
		f.adjust()
		synctest.Wait()
		after := f.levels["global-default"].limit
		if after <= before || after < 250 {
			t.Errorf("the level has %d seats after the others lent theirs, %d before", after, before)
		}
		mu.Lock()
		if len(held) < min(after, 300) {
			t.Errorf("%d are served with %d seats", len(held), after)
		}
		mu.Unlock()
		// the lender gets back what it asks for: it keeps its least at any time
		if got, least := f.levels["workload-low"].limit, f.levels["workload-low"].share.least; got < least {
			t.Errorf("workload-low was left %d seats, it lends down to %d", got, least)
		}
		cancel()
		wg.Wait()
		for _, tk := range held {
			f.End(tk)
		}
		for name, st := range f.levels {
			if st.level.inUse != 0 || st.level.seatsWait != 0 || st.level.live != 0 || !st.level.idle() {
				t.Errorf("%s is not empty at the end: %+v", name, st.level)
			}
		}
	})
}

// serve runs a user's closed loop of requests of 10 ms each and counts them.
func serve(ctx context.Context, f *Fairness, u user.Info, n *int, mu *sync.Mutex) {
	for ctx.Err() == nil {
		tk, ok := f.Begin(ctx, get(u))
		if !ok {
			time.Sleep(10 * time.Millisecond)
			continue
		}
		time.Sleep(10 * time.Millisecond)
		f.End(tk)
		mu.Lock()
		*n++
		mu.Unlock()
	}
}

func TestAHeavyUserDoesNotStarveALightOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := queued(4, 64, 6, 50)
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		var heavy, light int
		var mu sync.Mutex
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() { serve(ctx, f, person("heavy"), &heavy, &mu) })
		}
		for range 2 { // could use half of the seats
			wg.Go(func() { serve(ctx, f, person("light"), &light, &mu) })
		}
		wg.Wait()
		// 4 seats, 10 ms: 8000 requests; two loops of 10 ms could make 4000
		if heavy+light < 7500 {
			t.Errorf("%d requests were served with seats for 8000", heavy+light)
		}
		// the heavy one's six queues and the light one's share alike, queue by queue
		if light < 700 {
			t.Errorf("the light user got %d of %d requests through", light, heavy+light)
		}
	})
}

func TestFullQueuesRefuse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := queued(1, 1, 1, 3)
		ctx, cancel := context.WithCancel(t.Context())
		first, ok := f.Begin(ctx, get(person("a")))
		if !ok {
			t.Fatal("the first request was refused")
		}
		h := http.Header{}
		first.Mark(h)
		if h.Get("X-Kubernetes-PF-FlowSchema-UID") != "schema-uid" || h.Get("X-Kubernetes-PF-PriorityLevel-UID") != "level-uid" {
			t.Errorf("headers %v", h)
		}
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				if tk, ok := f.Begin(ctx, get(person("a"))); ok {
					f.End(tk)
				}
			})
		}
		synctest.Wait()
		over, ok := f.Begin(ctx, get(person("a")))
		if ok {
			t.Fatal("a request was let into a full queue")
		}
		if n := f.RetryAfter(over); n != 1 {
			t.Errorf("retry after %d", n)
		}
		var dump strings.Builder
		f.dumpRequests(&dump, true)
		if n := strings.Count(dump.String(), "tenants"); n != 8 { // level and schema of four
			t.Errorf("the dump has %d lines' worth:\n%s", n, dump.String())
		}
		// administrators do not wait
		if tk, ok := f.Begin(ctx, get(person("root", user.SystemPrivilegedGroup))); !ok {
			t.Error("an administrator was refused")
		} else {
			f.End(tk)
		}
		f.End(first)
		wg.Wait()
		cancel()
		if tk, ok := f.Begin(t.Context(), get(person("a"))); !ok {
			t.Error("refused though the level is empty")
		} else {
			f.End(tk)
		}
	})
}

func TestARequestWaitsAQuarterOfItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := queued(1, 8, 2, 10)
		first, _ := f.Begin(t.Context(), get(person("a")))
		began := time.Now()
		if _, ok := f.Begin(t.Context(), get(person("b"))); ok {
			t.Fatal("served beyond the limit")
		}
		if d := time.Since(began); d != 15*time.Second {
			t.Errorf("waited %v with the default timeout", d)
		}
		began = time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 8*time.Second)
		defer cancel()
		if _, ok := f.Begin(ctx, get(person("b"))); ok {
			t.Fatal("served beyond the limit")
		}
		if d := time.Since(began); d != 2*time.Second {
			t.Errorf("waited %v of a request of eight seconds", d)
		}
		f.End(first)
		f.End(first) // no harm
		if l := f.levels["tenants"].level; l.inUse != 0 || !l.idle() || l.cancelled != 2 {
			t.Errorf("the level afterwards: %+v", l)
		}
	})
}

func TestLevelsThatRefuseDoNotQueue(t *testing.T) {
	f := New(Config{Seats: 2, RequestTimeout: time.Minute, Logger: slog.New(slog.DiscardHandler)}) // catch-all alone
	var held []*Ticket
	for i := range 3 {
		tk, ok := f.Begin(t.Context(), get(person("a")))
		if ok != (i < 2) {
			t.Errorf("request %d: %t", i, ok)
		}
		held = append(held, tk)
	}
	f.End(held[0])
	if _, ok := f.Begin(t.Context(), get(person("a"))); !ok {
		t.Error("refused though a seat is free")
	}
}

func TestALevelThatIsGoneServesWhomItHas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := queued(1, 8, 2, 10)
		first, _ := f.Begin(t.Context(), get(person("a")))
		done := make(chan bool, 1)
		go func() {
			tk, ok := f.Begin(t.Context(), get(person("b")))
			if ok {
				f.End(tk)
			}
			done <- ok
		}()
		synctest.Wait()
		f.digest(nil, nil)
		if s := f.current.Load().classify(get(person("c"))); s.name != "catch-all" {
			t.Errorf("new requests go to %s", s.name)
		}
		if !f.levels["tenants"].quiescing {
			t.Error("the level is not being emptied")
		}
		f.End(first)
		if !<-done {
			t.Error("the request that waited was refused")
		}
		f.adjust()
		if f.levels["tenants"] != nil {
			t.Error("the level is still there")
		}
	})
}

func TestListsAndWritesAreEstimatedAsUpstreamDoes(t *testing.T) {
	list := func(verb, query string, name string) *Request {
		q, err := url.ParseQuery(query)
		if err != nil {
			t.Fatal(err)
		}
		return &Request{User: person("a"), Verb: verb, Resource: true, Plural: "pods", Query: q, Name: name}
	}
	for _, c := range []struct {
		r    *Request
		size Size
		most int
		want int
	}{
		{list("list", "", ""), Size{10, 2000}, 0, 1},
		{list("list", "", ""), Size{100, 2000}, 0, 2},
		{list("list", "", ""), Size{10000, 2000}, 0, 10}, // from the cache: streamed
		{list("list", "", ""), Size{10000, 2000}, 4, 4},
		{list("list", "limit=100", ""), Size{10000, 2000}, 0, 2},
		{list("list", "limit=x", ""), Size{10000, 2000}, 7, 7},
		{list("list", "resourceVersion=5&resourceVersionMatch=Exact", ""), Size{10000, 2000}, 0, 100},
		{list("list", "fieldSelector=metadata.name%3Dx", "x"), Size{10000, 2000}, 0, 1},
		{list("list", "", ""), Size{5, 0}, 0, 10}, // size not known: large
		{list("list", "", ""), Size{0, 0}, 0, 1},
		{list("watch", "resourceVersion=77", ""), Size{10000, 2000}, 0, 1},
		{list("watch", "resourceVersion=77&sendInitialEvents=true", ""), Size{10000, 2000}, 0, 10},
		{list("watch", "", ""), Size{10000, 2000}, 0, 10},
	} {
		if got := listWork(c.r, c.size, true, c.most); got.initial != c.want {
			t.Errorf("%s %v of %+v, at most %d: %d seats, want %d", c.r.Verb, c.r.Query, c.size, c.most, got.initial, c.want)
		}
	}
	if got := listWork(list("list", "", ""), Size{}, false, 0); got.initial != 1 {
		t.Errorf("a list of a kind served elsewhere: %+v", got)
	}
	for _, c := range []struct {
		watches, most int
		want          work
	}{
		{0, 0, work{initial: 1}},
		{9, 0, work{initial: 1}},
		{10, 0, work{initial: 1, final: 1, after: 5 * time.Millisecond}},
		{95, 0, work{initial: 1, final: 10, after: 5 * time.Millisecond}},
		{1000, 0, work{initial: 1, final: 10, after: 50 * time.Millisecond}},
		{1000, 4, work{initial: 1, final: 4, after: 125 * time.Millisecond}},
	} {
		if got := writeWork(c.watches, c.most); got != c.want {
			t.Errorf("%d watches, at most %d seats: %+v, want %+v", c.watches, c.most, got, c.want)
		}
	}
}

func TestWatchesAreCountedWhileTheyLast(t *testing.T) {
	f := bootstrapped(600)
	open := func(ns, name, fieldSelector string) *Ticket {
		r := &Request{User: person("a"), Verb: "watch", Resource: true, Plural: "pods", Namespace: ns, Name: name, Query: url.Values{}}
		if fieldSelector != "" {
			r.Query.Set("fieldSelector", fieldSelector)
		}
		tk, ok := f.Begin(t.Context(), r)
		if !ok {
			t.Fatal("refused")
		}
		f.End(tk)
		return tk
	}
	all := []*Ticket{open("", "", ""), open("default", "", ""), open("default", "p", ""), open("other", "", ""), open("", "", "spec.nodeName=n1")}
	r := get(person("b"))
	r.Verb = "patch"
	if n := f.watches.interested(r); n != 3 {
		t.Errorf("%d watches see the change, want 3", n)
	}
	for _, tk := range all {
		f.Forget(tk)
	}
	if len(f.watches.n) != 0 {
		t.Errorf("watches are left: %v", f.watches.n)
	}
}

func TestSeatsLingerForWhatFollowsAWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := queued(600, 8, 2, 10)
		for range 1000 {
			f.watches.add(&Request{Plural: "pods"}, 1)
		}
		r := get(person("a"))
		r.Verb = "patch"
		tk, ok := f.Begin(t.Context(), r)
		if !ok {
			t.Fatal("refused")
		}
		f.End(tk)
		l := f.levels["tenants"].level
		l.mu.Lock()
		if l.inUse != 10 || l.executing != 0 {
			t.Errorf("%d seats, %d requests right after the write", l.inUse, l.executing)
		}
		l.mu.Unlock()
		time.Sleep(50 * time.Millisecond)
		synctest.Wait()
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.inUse != 0 {
			t.Errorf("%d seats are held after their time", l.inUse)
		}
	})
}

func TestRetryAfterGrowsWhileManyAreRefused(t *testing.T) {
	d := newDropTracker()
	at := time.Unix(1000, 0)
	for range 60 {
		for range 200 {
			d.note("l", at)
		}
		at = at.Add(time.Second)
	}
	if n := d.after("l"); n != maxRetryAfterSeconds {
		t.Errorf("after a minute of refusals: %d", n)
	}
	for range 200 {
		d.note("l", at)
		at = at.Add(20 * time.Second)
	}
	if n := d.after("l"); n > 2 {
		t.Errorf("after a quiet hour: %d", n)
	}
}

func TestInflightLimits(t *testing.T) {
	i := NewInflight(1, 1)
	end, ok := i.Begin(get(person("a")))
	if !ok {
		t.Fatal("refused")
	}
	if _, ok := i.Begin(get(person("a"))); ok {
		t.Error("over the limit")
	}
	if _, ok := i.Begin(get(person("r", user.SystemPrivilegedGroup))); !ok {
		t.Error("an administrator was refused")
	}
	w := get(person("a"))
	w.Verb = "delete"
	if _, ok := i.Begin(w); !ok {
		t.Error("writes have a limit of their own")
	}
	end()
	if _, ok := i.Begin(get(person("a"))); !ok {
		t.Error("refused though there is room")
	}
}

func TestDumpsHaveUpstreamsColumns(t *testing.T) {
	f := bootstrapped(600)
	for path, want := range map[string]string{
		"dump_priority_levels": "PriorityLevelName,",
		"dump_queues":          "workload-low,",
		"dump_requests":        "FlowDistingsher,",
	} {
		w := httptest.NewRecorder()
		f.ServeHTTP(w, httptest.NewRequest("GET", DebugPath+path, nil))
		if w.Code != 200 || !strings.Contains(w.Body.String(), want) {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
	w := httptest.NewRecorder()
	f.ServeHTTP(w, httptest.NewRequest("GET", DebugPath+"x", nil))
	if w.Code != 404 {
		t.Errorf("an unknown dump: %d", w.Code)
	}
}

// The account of every level stays right under load, whoever gives up.
func TestManyRequestsAtOnce(t *testing.T) {
	f := queued(8, 16, 4, 4)
	var wg sync.WaitGroup
	for i := range 64 {
		wg.Go(func() {
			u := person(fmt.Sprint("u", i%9))
			for n := range 200 {
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(1+n%5)*time.Millisecond)
				r := get(u)
				if n%3 == 0 {
					r.Verb = "patch"
				}
				if tk, ok := f.Begin(ctx, r); ok {
					f.End(tk)
				}
				cancel()
			}
		})
	}
	wg.Wait()
	l := f.levels["tenants"].level
	if l.inUse != 0 || l.seatsWait != 0 || l.live != 0 || !l.idle() || l.free.n != 0 {
		t.Errorf("not empty: %+v", l)
	}
	for _, q := range l.queues {
		if q.lives() || q.inUse != 0 || q.waitSeats != 0 || q.waitWork != 0 {
			t.Errorf("a queue is not empty: %+v", q)
		}
	}
}

func BenchmarkBegin(b *testing.B) {
	f := bootstrapped(600)
	u, r := person("jane"), Request{}
	r = *get(u)
	b.ReportAllocs()
	for b.Loop() {
		tk, ok := f.Begin(b.Context(), &r)
		if !ok {
			b.Fatal("refused")
		}
		f.End(tk)
	}
}

func BenchmarkBeginParallel(b *testing.B) {
	f := bootstrapped(600)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		r := get(person("jane"))
		for pb.Next() {
			tk, ok := f.Begin(b.Context(), r)
			if !ok {
				b.Error("refused")
				return
			}
			f.End(tk)
		}
	})
}

func TestTheClustersConfigurationIsFollowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table := tableOfAll.Table()
		mem := store.NewMemory()
		caches := cache.NewSet(cache.Config{Store: mem, Table: table, Logger: slog.New(slog.DiscardHandler)})
		f := New(Config{Seats: 600, RequestTimeout: time.Minute, Logger: slog.New(slog.DiscardHandler)})
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { _ = caches.Run(ctx) })
		wg.Go(func() { _ = f.Run(ctx, table, caches) })
		defer wg.Wait()
		defer cancel()
		level, schema := custom("tenants", 5, 8, 2, 10)
		for _, o := range []api.Object{level, schema} {
			k := api.For[*flowcontrolv1.FlowSchema](table)
			if o == level {
				k = api.For[*flowcontrolv1.PriorityLevelConfiguration](table)
			}
			value, err := k.EncodeStored(o)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := mem.Create(ctx, k.StoreKey("", "tenants"), value); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		if s := f.current.Load().classify(get(person("a"))); s.name != "tenants" {
			t.Errorf("requests go to %s", s.name)
		}
		// the catch-all has the same number of shares, but lends nothing
		if n := f.levels["tenants"].share.nominal; n != 300 {
			t.Errorf("the level has %d seats", n)
		}
		time.Sleep(3 * adjustInterval)
	})
}
