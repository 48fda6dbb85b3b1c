package admission

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/monohull/monohull/internal/api/quota"
	"github.com/monohull/monohull/internal/client"
)

// quotaTimeout is how long a write waits for its quota to be judged.
const quotaTimeout = 10 * time.Second

// maxQuotaBatch is how many writes of a namespace are judged at once.
const maxQuotaBatch = 1000

// quotaConfig is apiserver.config.k8s.io/v1 ResourceQuotaConfiguration.
type quotaConfig struct {
	typed
	Limited []quota.Limited `json:"limitedResources"`
}

// quotas is the plugin ResourceQuota. What a write adds is reserved in the
// status of the quotas before the object is stored, so that of many writes at
// once no more go through than there is room for.
//
// The writes of a namespace that come while one is judged are judged together
// after it: one write of each quota's status reserves for all. Whoever comes
// first judges, and hands the lead to one of those that came meanwhile.
type quotas struct {
	d       Deps
	kind    reader[*corev1.ResourceQuota]
	look    quota.Lookup
	limited []quota.Limited

	mu     sync.Mutex
	queues map[string]*quotaQueue // by namespace, those in use
}

type quotaQueue struct {
	waiting []*quotaWaiter
}

// quotaWaiter is one write on its way through its quotas.
type quotaWaiter struct {
	a         *Attributes
	evaluator quota.Evaluator
	change    quota.Change

	woken chan struct{} // closed once it has an answer or the lead
	lead  bool          // under mu
	done  bool          // under mu
	err   error
	held  *reservation
}

func resourceQuota(d Deps, config []byte) (Plugin, error) {
	var cfg quotaConfig
	if len(config) > 0 {
		var head typed
		kind, versions := "ResourceQuotaConfiguration", []string{"apiserver.config.k8s.io/v1"}
		if err := head.decode(config, kind, versions, &cfg); err != nil {
			// the form it had before
			kind, versions = "Configuration", []string{"resourcequota.admission.k8s.io/v1beta1", "resourcequota.admission.k8s.io/v1alpha1"}
			if head.Kind != kind {
				return Plugin{}, err
			}
			if err := head.decode(config, kind, versions, &cfg); err != nil {
				return Plugin{}, err
			}
		}
		for i, l := range cfg.Limited {
			if l.Resource == "" {
				return Plugin{}, fmt.Errorf("limitedResources[%d].resource: Required value", i)
			}
		}
	}
	q := &quotas{d: d, kind: read[*corev1.ResourceQuota](d.Client), look: QuotaLookup(d.Client), limited: cfg.Limited, queues: map[string]*quotaQueue{}}
	return Plugin{Validate: q.validate}, nil
}

// QuotaLookup shows the caches to the evaluators of quota.
func QuotaLookup(c *client.Client) quota.Lookup {
	classes, claims, pods := read[*resourcev1.DeviceClass](c), read[*resourcev1.ResourceClaim](c), client.Of[*corev1.Pod](c)
	return quota.Lookup{
		DeviceClasses: func() []*resourcev1.DeviceClass { return classes.List("") },
		Claims:        claims.List,
		Pod: func(namespace, name string) *corev1.Pod {
			p, _ := pods.Get(namespace, name)
			return p
		},
	}
}

func (q *quotas) validate(ctx context.Context, a *Attributes) error {
	if !a.Kind.Namespaced || a.Namespace == "" || !a.does(Create, Update) || a.Object == nil {
		return nil
	}
	if len(q.limited) == 0 && len(q.kind.List(a.Namespace)) == 0 {
		return nil
	}
	w := &quotaWaiter{
		a: a, woken: make(chan struct{}), evaluator: quota.EvaluatorOf(a.Kind.GroupResource(), q.look),
		change: quota.Change{Subresource: a.Subresource, Create: a.Operation == Create, Object: a.Object, Old: a.Old},
	}
	if w.evaluator == nil || !w.evaluator.Handles(w.change) {
		return nil
	}
	if err := q.wait(ctx, w); err != nil {
		return err
	}
	if a.Outcome != nil {
		a.Outcome.Then(w.held.end)
	} else {
		w.held.end(true)
	}
	return nil
}

// wait returns once the write is judged, by itself or by another.
func (q *quotas) wait(ctx context.Context, w *quotaWaiter) error {
	if !q.join(w) {
		timer := time.NewTimer(quotaTimeout)
		defer timer.Stop()
		select {
		case <-w.woken:
		case <-timer.C:
		case <-ctx.Done():
		}
	}
	q.mu.Lock()
	lead, done := w.lead, w.done
	if !lead && !done {
		q.leaveLocked(w)
	}
	q.mu.Unlock()
	switch {
	case lead:
		q.judgeAll(ctx, w)
	case !done:
		return apierrors.NewInternalError(errors.New("resource quota evaluation timed out"))
	}
	return w.err
}

// join queues a write; true gives it the lead.
func (q *quotas) join(w *quotaWaiter) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	ns := w.a.Namespace
	if queue := q.queues[ns]; queue != nil {
		queue.waiting = append(queue.waiting, w)
		return false
	}
	q.queues[ns] = &quotaQueue{waiting: []*quotaWaiter{w}}
	w.lead = true
	return true
}

// leaveLocked takes a write that waits no longer out of the queue. One that is
// being judged stays: what it reserves is given back by the judge.
func (q *quotas) leaveLocked(w *quotaWaiter) {
	queue := q.queues[w.a.Namespace]
	for i := range queue.waiting {
		if queue.waiting[i] == w {
			queue.waiting = append(queue.waiting[:i:i], queue.waiting[i+1:]...)
			return
		}
	}
	w.done = true // nobody reads its answer
}

// judgeAll judges what waits in w's namespace, itself among it, and hands on
// the lead.
func (q *quotas) judgeAll(ctx context.Context, w *quotaWaiter) {
	ns := w.a.Namespace
	q.mu.Lock()
	queue := q.queues[ns]
	n := min(len(queue.waiting), maxQuotaBatch)
	batch := queue.waiting[:n:n]
	queue.waiting = queue.waiting[n:]
	q.mu.Unlock()

	// others' answers do not hang on this client's patience
	work, cancel := context.WithTimeout(context.WithoutCancel(ctx), quotaTimeout)
	q.judge(work, ns, batch)
	cancel()

	q.mu.Lock()
	defer q.mu.Unlock()
	for _, b := range batch {
		if b.done && b.held != nil {
			b.held.end(false) // it gave up
		}
		b.done = true
		if b != w {
			close(b.woken)
		}
	}
	if len(queue.waiting) == 0 {
		delete(q.queues, ns)
		return
	}
	next := queue.waiting[0]
	next.lead = true
	close(next.woken)
}

// judge answers a batch of writes of one namespace: first by what the caches
// say, then, for those that find room, by writing it down.
func (q *quotas) judge(ctx context.Context, ns string, batch []*quotaWaiter) {
	list := append([]*corev1.ResourceQuota(nil), q.kind.List(ns)...)
	if len(list) == 0 && len(q.limited) == 0 {
		return
	}
	asked := make([][]*quotaWaiter, len(list)) // by quota, who takes of it
	for _, w := range batch {
		deltas, err := q.check(w, list, q.limited)
		if err != nil {
			w.err = err
			continue
		}
		if w.a.DryRun {
			continue
		}
		for i, d := range deltas {
			if d == nil {
				continue
			}
			// the next one finds what this one takes taken
			taken := list[i].DeepCopy()
			taken.Status.Used = quota.Add(taken.Status.Used, d)
			list[i] = taken
			asked[i] = append(asked[i], w)
		}
	}
	for i, who := range asked {
		if len(who) > 0 {
			q.reserve(ctx, list[i], who)
		}
	}
	for _, w := range batch {
		if w.err != nil && w.held != nil {
			w.held.end(false)
			w.held = nil
		}
	}
}

func (q *quotas) check(w *quotaWaiter, list []*corev1.ResourceQuota, limited []quota.Limited) ([]corev1.ResourceList, error) {
	deltas, err := quota.Check(list, w.evaluator, w.change, limited, q.d.Clock.Now())
	var why quota.Refusal
	switch {
	case errors.As(err, &why):
		return nil, forbidden(w.a, why)
	case err != nil:
		return nil, failed(err)
	}
	return deltas, nil
}

// reserve writes into a quota's status what the writes take of it. Where the
// quota has changed meanwhile each is judged anew.
func (q *quotas) reserve(ctx context.Context, counted *corev1.ResourceQuota, who []*quotaWaiter) {
	fail := func(err error) {
		for _, w := range who {
			if w.err == nil {
				w.err = err
			}
		}
	}
	c, err := q.d.writer()
	if err != nil {
		fail(apierrors.NewInternalError(fmt.Errorf("reserving quota: %w", err)))
		return
	}
	_, err = client.Of[*corev1.ResourceQuota](c).Modify(ctx, counted.Namespace, counted.Name, "status", func(now *corev1.ResourceQuota) error {
		for _, w := range who {
			if w.err != nil {
				continue // another quota refused it
			}
			deltas, err := q.check(w, []*corev1.ResourceQuota{now}, nil)
			if err != nil {
				w.err = err
				continue
			}
			if w.held == nil {
				w.held = q.d.Reservations.begin(w.a.Namespace)
			}
			if len(deltas) == 0 || deltas[0] == nil {
				w.held.hold(now.Name, nil)
				continue
			}
			w.held.hold(now.Name, deltas[0])
			now.Status.Used = quota.Add(now.Status.Used, deltas[0])
		}
		return nil
	})
	if err != nil && !apierrors.IsNotFound(err) {
		fail(err)
	}
}
