package service

import (
	"net/netip"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/monohull/monohull/internal/controllers/podstate"
)

// listed tells whether a pod is behind a Service at all. Terminating ones are,
// where asked for.
func listed(p *corev1.Pod, terminating bool) bool {
	return !podstate.Terminal(p) && len(p.Status.PodIPs) > 0 && (terminating || p.DeletionTimestamp == nil)
}

// addressesOf are a pod's addresses of one family, in their usual form.
func addressesOf(p *corev1.Pod, v6 bool) []string {
	var out []string
	for _, ip := range p.Status.PodIPs {
		if a, err := netip.ParseAddr(ip.IP); err == nil && a.Unmap().Is6() == v6 {
			out = append(out, a.Unmap().String())
		}
	}
	return out
}

// firstFamilyIsV6 is the family that a Service's Endpoints object has.
func firstFamilyIsV6(s *corev1.Service) bool {
	if len(s.Spec.IPFamilies) > 0 {
		return s.Spec.IPFamilies[0] == corev1.IPv6Protocol
	}
	a, err := netip.ParseAddr(s.Spec.ClusterIP)
	return err == nil && a.Unmap().Is6()
}

// headless: the Service has no address of its own.
func headless(s *corev1.Service) bool {
	return s.Spec.ClusterIP == corev1.ClusterIPNone || s.Spec.ClusterIP == ""
}

// namedByHost: DNS names the pod by its host name below the Service's name.
func namedByHost(p *corev1.Pod, s *corev1.Service) bool {
	return p.Spec.Hostname != "" && p.Spec.Subdomain == s.Name && p.Namespace == s.Namespace
}

func podReference(p *corev1.Pod) *corev1.ObjectReference {
	return &corev1.ObjectReference{Kind: "Pod", Namespace: p.Namespace, Name: p.Name, UID: p.UID}
}

// triggers remembers, per Service, what was seen last, to tell when the change
// happened that a write is about: latency is measured from there.
type triggers struct {
	mu   sync.Mutex
	seen map[string]trigger
}

type trigger struct {
	service time.Time
	pods    map[string]time.Time
}

func newTriggers() *triggers { return &triggers{seen: map[string]trigger{}} }

// at is when the earliest change since the last call happened; zero where it
// cannot be told.
func (t *triggers) at(s *corev1.Service, pods []*corev1.Pod) time.Time {
	t.mu.Lock()
	defer t.mu.Unlock()
	key := s.Namespace + "/" + s.Name
	old, known := t.seen[key]
	now := trigger{service: s.CreationTimestamp.Time, pods: map[string]time.Time{}}
	var first time.Time
	earliest := func(at time.Time) {
		if first.IsZero() || at.Before(first) {
			first = at
		}
	}
	for _, p := range pods {
		c := podstate.Condition(&p.Status, corev1.PodReady)
		if c == nil || c.LastTransitionTime.IsZero() {
			continue
		}
		now.pods[p.Name] = c.LastTransitionTime.Time
		if known && c.LastTransitionTime.Time.After(old.pods[p.Name]) {
			earliest(c.LastTransitionTime.Time)
		}
	}
	if now.service.After(old.service) {
		earliest(now.service)
	}
	t.seen[key] = now
	return first
}

func (t *triggers) forget(namespace, name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.seen, namespace+"/"+name)
}
