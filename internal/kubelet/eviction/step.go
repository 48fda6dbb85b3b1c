package eviction

import (
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	statsapi "k8s.io/kubelet/pkg/apis/stats/v1alpha1"
)

// Observation is one signal as it was seen.
type Observation struct {
	Available, Capacity *resource.Quantity
	At                  time.Time
}

// Observe reads the signals off a summary.
func Observe(s *statsapi.Summary) map[Signal]Observation {
	out := map[Signal]Observation{}
	note := func(sig Signal, format resource.Format, available, capacity *uint64, at time.Time) {
		if available != nil && capacity != nil {
			out[sig] = Observation{resource.NewQuantity(int64(*available), format), resource.NewQuantity(int64(*capacity), format), at}
		}
	}
	memory := func(sig Signal, m *statsapi.MemoryStats) {
		if m != nil && m.AvailableBytes != nil && m.WorkingSetBytes != nil {
			total := *m.AvailableBytes + *m.WorkingSetBytes
			note(sig, resource.BinarySI, m.AvailableBytes, &total, m.Time.Time)
		}
	}
	disk := func(space, nodes Signal, fs *statsapi.FsStats) {
		if fs != nil {
			note(space, resource.BinarySI, fs.AvailableBytes, fs.CapacityBytes, fs.Time.Time)
			note(nodes, resource.DecimalSI, fs.InodesFree, fs.Inodes, fs.Time.Time)
		}
	}
	memory(MemoryAvailable, s.Node.Memory)
	for i := range s.Node.SystemContainers {
		if c := &s.Node.SystemContainers[i]; c.Name == statsapi.SystemContainerPods {
			memory(AllocatableMemoryAvailable, c.Memory)
		}
	}
	disk(NodeFsAvailable, NodeFsInodesFree, s.Node.Fs)
	if r := s.Node.Runtime; r != nil {
		disk(ImageFsAvailable, ImageFsInodesFree, r.ImageFs)
		disk(ContainerFsAvailable, ContainerFsInodesFree, r.ContainerFs)
	}
	if l := s.Node.Rlimit; l != nil && l.MaxPID != nil && l.NumOfRunningProcesses != nil {
		free, most := uint64(max(0, *l.MaxPID-*l.NumOfRunningProcesses)), uint64(*l.MaxPID)
		note(PIDAvailable, resource.DecimalSI, &free, &most, l.Time.Time)
	}
	return out
}

// State is what Step remembers.
type State struct {
	first map[string]time.Time                   // by threshold: since when it is met
	seen  map[corev1.NodeConditionType]time.Time // last
	met   []Threshold                            // whose grace had passed
	last  map[Signal]Observation
	// Conditions are the pressures the node has.
	Conditions []corev1.NodeConditionType
}

// Has tells whether the node has a pressure.
func (s *State) Has(c corev1.NodeConditionType) bool { return slices.Contains(s.Conditions, c) }

// Need is what has to be reclaimed.
type Need struct {
	Threshold Threshold
	Resource  corev1.ResourceName
	// Met are all thresholds that act now.
	Met []Threshold
}

// all are the thresholds with those that follow from others.
func (c *Config) all() []Threshold {
	out := slices.Clone(c.Thresholds)
	for _, t := range c.Thresholds {
		switch {
		case t.Signal == MemoryAvailable && t.Hard() && c.Allocatable:
			t.Signal = AllocatableMemoryAvailable
			out = append(out, t)
		}
	}
	return out
}

// Met are the thresholds that an observation falls below, with what is to be
// reclaimed on top where that is asked for.
func Met(l []Threshold, seen map[Signal]Observation, withReclaim bool) []Threshold {
	var out []Threshold
	for _, t := range l {
		o, ok := seen[t.Signal]
		if !ok {
			continue
		}
		q := t.Value.Of(o.Capacity)
		if withReclaim && t.Reclaim != nil {
			q.Add(*t.Reclaim.Of(o.Capacity))
		}
		if q.Cmp(*o.Available) > 0 {
			out = append(out, t)
		}
	}
	return out
}

// Relieved tells whether an observation satisfies every threshold, with what is to
// be reclaimed on top.
func (c *Config) Relieved(seen map[Signal]Observation) bool {
	return len(Met(c.all(), seen, true)) == 0
}

// Step takes an observation, and says what the state is after it and whether
// something has to be reclaimed.
func (c *Config) Step(was State, seen map[Signal]Observation, now time.Time) (State, *Need) {
	met := Met(c.all(), seen, false)
	for _, t := range Met(was.met, seen, true) {
		if !slices.ContainsFunc(met, func(m Threshold) bool { return m.key() == t.key() }) {
			met = append(met, t)
		}
	}
	next := State{first: map[string]time.Time{}, seen: maps.Clone(was.seen), last: seen}
	if next.seen == nil {
		next.seen = map[corev1.NodeConditionType]time.Time{}
	}
	for _, t := range met {
		since, ok := was.first[t.key()]
		if !ok {
			since = now
		}
		next.first[t.key()] = since
		_, condition, _ := t.Signal.describe()
		next.seen[condition] = now
		if now.Sub(since) >= t.Grace {
			next.met = append(next.met, t)
		}
	}
	for _, condition := range []corev1.NodeConditionType{corev1.NodeMemoryPressure, corev1.NodeDiskPressure, corev1.NodePIDPressure} {
		if at, ok := next.seen[condition]; ok && now.Sub(at) < c.Transition {
			next.Conditions = append(next.Conditions, condition)
		} else if ok && !at.Equal(now) {
			delete(next.seen, condition)
		}
	}
	// What was looked at before says nothing new.
	var acting []Threshold
	for _, t := range next.met {
		if before, ok := was.last[t.Signal]; !ok || seen[t.Signal].At.IsZero() || seen[t.Signal].At.After(before.At) {
			acting = append(acting, t)
		}
	}
	if len(acting) == 0 {
		return next, nil
	}
	// Memory first: it is what a machine dies of soonest.
	slices.SortStableFunc(acting, func(a, b Threshold) int {
		return boolean(a.Signal == MemoryAvailable || a.Signal == AllocatableMemoryAvailable, b.Signal == MemoryAvailable || b.Signal == AllocatableMemoryAvailable)
	})
	r, _, _ := acting[0].Signal.describe()
	return next, &Need{Threshold: acting[0], Resource: r, Met: acting}
}

// boolean orders true before false.
func boolean(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	}
	return 1
}
