package eviction

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// Signal is something a node can run out of.
type Signal string

// The signals.
const (
	MemoryAvailable            Signal = "memory.available"
	AllocatableMemoryAvailable Signal = "allocatableMemory.available"
	NodeFsAvailable            Signal = "nodefs.available"
	NodeFsInodesFree           Signal = "nodefs.inodesFree"
	ImageFsAvailable           Signal = "imagefs.available"
	ImageFsInodesFree          Signal = "imagefs.inodesFree"
	ContainerFsAvailable       Signal = "containerfs.available"
	ContainerFsInodesFree      Signal = "containerfs.inodesFree"
	PIDAvailable               Signal = "pid.available"
)

// Resources that pods do not ask for by these names.
const (
	inodes corev1.ResourceName = "inodes"
	pids   corev1.ResourceName = "pids"
)

// describe gives a signal's resource and the node condition it stands for.
func (s Signal) describe() (corev1.ResourceName, corev1.NodeConditionType, bool) {
	switch s {
	case MemoryAvailable, AllocatableMemoryAvailable:
		return corev1.ResourceMemory, corev1.NodeMemoryPressure, true
	case NodeFsAvailable, ImageFsAvailable, ContainerFsAvailable:
		return corev1.ResourceEphemeralStorage, corev1.NodeDiskPressure, true
	case NodeFsInodesFree, ImageFsInodesFree, ContainerFsInodesFree:
		return inodes, corev1.NodeDiskPressure, true
	case PIDAvailable:
		return pids, corev1.NodePIDPressure, true
	}
	return "", "", false
}

// Value is an amount, or a share of the capacity.
type Value struct {
	Quantity *resource.Quantity
	Fraction float64
}

// Of is the amount of a capacity.
func (v Value) Of(capacity *resource.Quantity) *resource.Quantity {
	if v.Quantity != nil {
		q := v.Quantity.DeepCopy()
		return &q
	}
	return resource.NewQuantity(int64(float64(capacity.Value())*v.Fraction), resource.BinarySI)
}

func (v Value) String() string {
	if v.Quantity != nil {
		return v.Quantity.String()
	}
	return strconv.FormatFloat(v.Fraction*100, 'g', -1, 64) + "%"
}

// Threshold is how little of a signal is too little.
type Threshold struct {
	Signal  Signal
	Value   Value
	Grace   time.Duration // 0: hard
	Reclaim *Value        // how much more than the threshold is to be free again
}

// Hard tells whether it acts at once.
func (t Threshold) Hard() bool { return t.Grace == 0 }

// key tells thresholds apart.
func (t Threshold) key() string {
	return string(t.Signal) + "<" + t.Value.String() + "/" + t.Grace.String()
}

// Config is what to watch for.
type Config struct {
	Thresholds []Threshold
	// Transition is how long a pressure is told after it was last seen.
	Transition time.Duration
	// MaxGrace bounds what pods have to end at a soft threshold.
	MaxGrace time.Duration
	// LocalStorage: limits of local storage are kept.
	LocalStorage bool
	// Allocatable: pods together are held to what the node gives them, and its
	// memory is watched like the node's.
	Allocatable bool
}

// Parse reads thresholds as a configuration writes them.
func Parse(hard, soft, softGrace, minReclaim map[string]string) ([]Threshold, error) {
	out, err := statements(hard)
	if err != nil {
		return nil, err
	}
	softs, err := statements(soft)
	if err != nil {
		return nil, err
	}
	grace := map[Signal]time.Duration{}
	for _, name := range slices.Sorted(maps.Keys(softGrace)) {
		s := Signal(name)
		if _, _, ok := s.describe(); !ok {
			return nil, fmt.Errorf("unsupported eviction signal %v", s)
		}
		d, err := time.ParseDuration(softGrace[name])
		if err != nil {
			return nil, err
		}
		if d < 0 {
			return nil, fmt.Errorf("invalid eviction grace period specified: %v, must be a positive value", softGrace[name])
		}
		grace[s] = d
	}
	for _, t := range softs {
		d, ok := grace[t.Signal]
		if !ok {
			return nil, fmt.Errorf("grace period must be specified for the soft eviction threshold %v", t.Signal)
		}
		t.Grace = d
		out = append(out, t)
	}
	for _, name := range slices.Sorted(maps.Keys(minReclaim)) {
		v, err := reclaim(Signal(name), minReclaim[name])
		if err != nil {
			return nil, err
		}
		for i := range out {
			if out[i].Signal == Signal(name) {
				out[i].Reclaim = v
			}
		}
	}
	return out, nil
}

func statements(l map[string]string) ([]Threshold, error) {
	var out []Threshold
	for _, name := range slices.Sorted(maps.Keys(l)) {
		s, text := Signal(name), l[name]
		if _, _, ok := s.describe(); !ok {
			return nil, fmt.Errorf("unsupported eviction signal %v", s)
		}
		if text == "0%" || text == "100%" {
			continue // none
		}
		if number, ok := strings.CutSuffix(text, "%"); ok {
			f, err := strconv.ParseFloat(number, 32)
			switch {
			case err != nil:
				return nil, err
			case f < 0:
				return nil, fmt.Errorf("eviction percentage threshold %v must be >= 0%%: %s", s, text)
			case f > 100:
				return nil, fmt.Errorf("eviction percentage threshold %v must be <= 100%%: %s", s, text)
			}
			out = append(out, Threshold{Signal: s, Value: Value{Fraction: f / 100}})
			continue
		}
		q, err := resource.ParseQuantity(text)
		if err != nil {
			return nil, err
		}
		if q.Sign() <= 0 {
			return nil, fmt.Errorf("eviction threshold %v must be positive: %s", s, &q)
		}
		out = append(out, Threshold{Signal: s, Value: Value{Quantity: &q}})
	}
	return out, nil
}

func reclaim(s Signal, text string) (*Value, error) {
	if _, _, ok := s.describe(); !ok {
		return nil, fmt.Errorf("unsupported eviction signal %v", s)
	}
	if number, ok := strings.CutSuffix(text, "%"); ok {
		f, err := strconv.ParseFloat(number, 32)
		if err != nil {
			return nil, err
		}
		if f <= 0 {
			return nil, fmt.Errorf("eviction percentage minimum reclaim %v must be positive: %s", s, text)
		}
		return &Value{Fraction: f / 100}, nil
	}
	q, err := resource.ParseQuantity(text)
	if err != nil {
		return nil, err
	}
	if q.Sign() < 0 {
		return nil, fmt.Errorf("negative eviction minimum reclaim specified for %v", s)
	}
	return &Value{Quantity: &q}, nil
}

// HardAmounts are what hard thresholds hold back of a capacity, which is not for pods.
func HardAmounts(l []Threshold, capacity corev1.ResourceList) corev1.ResourceList {
	out := corev1.ResourceList{}
	for _, t := range l {
		name := corev1.ResourceName("")
		switch t.Signal {
		case MemoryAvailable:
			name = corev1.ResourceMemory
		case NodeFsAvailable:
			name = corev1.ResourceEphemeralStorage
		}
		if c, ok := capacity[name]; ok && t.Hard() {
			out[name] = *t.Value.Of(&c)
		}
	}
	return out
}
