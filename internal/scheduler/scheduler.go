package scheduler

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"

	"github.com/monohull/monohull/internal/api"
	"github.com/monohull/monohull/internal/client"
)

const (
	// DefaultName is the scheduler of pods that name none.
	DefaultName = "default-scheduler"
	// maxBinds is how many bindings are under way at once.
	maxBinds = 32
)

// Recorder tells users what was done to an object and why. It does not block.
type Recorder interface {
	Event(ctx context.Context, obj api.Object, eventType, reason, message string)
}

// Config describes a scheduler.
type Config struct {
	Name   string // of the pods it serves; "" for DefaultName
	Clock  clock.Clock
	Seed   uint64 // of what is left to chance
	Logger *slog.Logger
}

// Deps is what a scheduler works through.
type Deps struct {
	Client   *client.Client // as system:kube-scheduler
	Recorder Recorder       // for the component Config.Name
}

// Scheduler gives pods their nodes.
type Scheduler struct {
	name     string
	clock    clock.Clock
	log      *slog.Logger
	client   *client.Client
	pods     client.Kind[*corev1.Pod]
	nodes    client.Kind[*corev1.Node]
	recorder Recorder
	reports  *reports
	kick     chan struct{} // there may be something to do
	binds    chan struct{} // a token per binding under way

	mu      sync.Mutex
	rng     *rand.Rand
	snap    *snapshot
	queue   *queue
	assumed map[types.UID]bool // counted on a node and not yet seen there
	// what the first events brought: until then nothing is decided
	podsSeen, nodesSeen bool
}

// New makes a scheduler; Run runs it.
func New(cfg Config, deps Deps) *Scheduler {
	if cfg.Name == "" {
		cfg.Name = DefaultName
	}
	if cfg.Clock == nil {
		cfg.Clock = clock.RealClock{}
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Scheduler{
		name: cfg.Name, clock: cfg.Clock, log: cfg.Logger,
		client: deps.Client, recorder: deps.Recorder,
		pods: client.Of[*corev1.Pod](deps.Client), nodes: client.Of[*corev1.Node](deps.Client),
		reports: newReports(), kick: make(chan struct{}, 1), binds: make(chan struct{}, maxBinds),
		rng: rand.New(rand.NewPCG(cfg.Seed, cfg.Seed)), queue: newQueue(), assumed: map[types.UID]bool{},
	}
	s.snap = newSnapshot(newSelectors(deps.Client).of)
	return s
}

// Run schedules pods until ctx ends, and returns after all bindings under way.
func (s *Scheduler) Run(ctx context.Context) error {
	select {
	case <-s.client.Caches().Loaded():
	case <-ctx.Done():
		return nil
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var wg sync.WaitGroup
	inputs := s.follows()
	ended := make(chan error, len(inputs))
	for _, follow := range inputs {
		wg.Go(func() {
			if err := follow(ctx); err != nil {
				ended <- fmt.Errorf("scheduler: following the caches: %w", err)
				stop()
			}
		})
	}
	for range reportWorkers {
		wg.Go(func() { s.report(ctx) })
	}
	s.loop(ctx, &wg)
	stop()
	wg.Wait()
	select {
	case err := <-ended:
		return err
	default:
		return nil
	}
}

// loop decides for one pod after the other. It takes a token for a binding
// first: decisions do not run far ahead of what is bound.
func (s *Scheduler) loop(ctx context.Context, wg *sync.WaitGroup) {
	for {
		select {
		case s.binds <- struct{}{}:
		case <-ctx.Done():
			return
		}
		b, did, wake := s.turn(ctx)
		if b != nil {
			wg.Go(func() {
				defer func() { <-s.binds }()
				s.bind(ctx, b)
			})
			continue
		}
		<-s.binds
		if did {
			continue
		}
		if !s.sleep(ctx, wake) {
			return
		}
	}
}

// sleep waits for a kick or until wake, if set. It is false when ctx ended.
func (s *Scheduler) sleep(ctx context.Context, wake time.Time) bool {
	var after <-chan time.Time
	if !wake.IsZero() {
		t := s.clock.NewTimer(wake.Sub(s.clock.Now()))
		defer t.Stop()
		after = t.C()
	}
	select {
	case <-s.kick:
	case <-after:
	case <-ctx.Done():
		return false
	}
	return true
}

func (s *Scheduler) poke() {
	select {
	case s.kick <- struct{}{}:
	default:
	}
}

// turn decides for the next pod. It returns a binding to make; or that it did
// something else; or when to look again.
func (s *Scheduler) turn(ctx context.Context) (b *binding, did bool, wake time.Time) {
	if ctx.Err() != nil {
		return nil, false, time.Time{}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.readyLocked() {
		return nil, false, time.Time{} // the first events kick
	}
	now := s.clock.Now()
	it := s.queue.pop(now)
	if it == nil {
		wake, _ = s.queue.next()
		return nil, false, wake
	}
	d := decide(s.snap, it.info, s.rng)
	if d.fail != nil {
		s.failLocked(ctx, it, d.fail, now)
		return nil, true, time.Time{}
	}
	s.snap.addPod(it.info, d.node)
	s.assumed[it.uid()] = true
	return &binding{item: it, pod: it.info.pod, node: d.node}, false, time.Time{}
}

// readyLocked: with pods or nodes there that no event has told of yet, the
// snapshot is not whole.
func (s *Scheduler) readyLocked() bool {
	caches, t := s.client.Caches(), s.client.Table()
	if !s.podsSeen {
		s.podsSeen = caches.Of(api.For[*corev1.Pod](t)).Len() == 0
	}
	if !s.nodesSeen {
		s.nodesSeen = caches.Of(api.For[*corev1.Node](t)).Len() == 0
	}
	return s.podsSeen && s.nodesSeen
}

// failLocked makes a pod wait, and has its status, its event and its victims
// seen to.
func (s *Scheduler) failLocked(ctx context.Context, it *item, f *failure, now time.Time) {
	pod := it.info.pod
	s.queue.fail(it, f.by, now)
	switch {
	case f.nominated != "":
		s.snap.nominate(it.info, f.nominated)
	case !f.keepNomination:
		s.snap.nominate(it.info, "")
	}
	s.recorder.Event(ctx, pod, corev1.EventTypeWarning, "FailedScheduling", truncated(f.message))
	r := &report{pod: pod, reason: corev1.PodReasonUnschedulable, message: f.message, nominated: s.snap.nominated[pod.UID]}
	if f.nominated != "" {
		r.victims, r.node = f.victims, f.nominated
		for _, v := range f.victims {
			s.snap.leaving[v.pod.UID] = true
		}
		r.demoted = s.demoteLocked(it.info, f.nominated)
	}
	s.reports.put(r)
}

// demoteLocked takes the promise of a node from pods of lower priority: what
// they waited for will not be theirs.
func (s *Scheduler) demoteLocked(p *podInfo, nodeName string) []*corev1.Pod {
	n := s.snap.nodes[nodeName]
	var out []*podInfo
	for uid, other := range n.nominated {
		if uid != p.pod.UID && other.priority < p.priority {
			out = append(out, other)
		}
	}
	var pods []*corev1.Pod
	for _, other := range out {
		s.snap.nominate(other, "")
		s.queue.nudge(other.pod.UID, s.clock.Now())
		pods = append(pods, other.pod)
	}
	return pods
}
