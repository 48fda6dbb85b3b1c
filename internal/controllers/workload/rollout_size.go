package workload

import (
	"cmp"
	"math"
	"slices"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// Annotations of ReplicaSets and Deployments, upstream's.
const (
	revisionAnnotation        = "deployment.kubernetes.io/revision"
	revisionHistoryAnnotation = "deployment.kubernetes.io/revision-history"
	desiredAnnotation         = "deployment.kubernetes.io/desired-replicas"
	maxAnnotation             = "deployment.kubernetes.io/max-replicas"
)

// resize says which ReplicaSet gets which size. With force its annotations are
// brought up to date even where the size is right.
type resize struct {
	set   *appsv1.ReplicaSet
	to    int32
	force bool
}

// bounds are how far a rollout may go over and under the wanted number. A
// surge is rounded up, unavailability down; where both come to nothing one pod
// may be unavailable, or the rollout could never move.
func bounds(d *appsv1.Deployment) (surge, unavailable int32) {
	ru := d.Spec.Strategy.RollingUpdate
	if d.Spec.Strategy.Type != appsv1.RollingUpdateDeploymentStrategyType || ru == nil {
		return 0, 0
	}
	n := wanted(d)
	surge = scaled(ru.MaxSurge, n, true)
	unavailable = scaled(ru.MaxUnavailable, n, false)
	if surge == 0 && unavailable == 0 {
		unavailable = 1
	}
	return surge, min(unavailable, n)
}

func scaled(v *intstr.IntOrString, of int32, up bool) int32 {
	zero := intstr.FromInt32(0)
	n, err := intstr.GetScaledValueFromIntOrPercent(intstr.ValueOrDefault(v, zero), int(of), up)
	if err != nil {
		return 0
	}
	return int32(n)
}

func wanted(d *appsv1.Deployment) int32 { return value(d.Spec.Replicas, 1) }

func size(rs *appsv1.ReplicaSet) int32 { return value(rs.Spec.Replicas, 1) }

// total sums over sets, passing over nil ones.
func total(sets []*appsv1.ReplicaSet, of func(*appsv1.ReplicaSet) int32) int32 {
	var n int32
	for _, rs := range sets {
		if rs != nil {
			n += of(rs)
		}
	}
	return n
}

func available(rs *appsv1.ReplicaSet) int32 { return rs.Status.AvailableReplicas }

// serving are the available pods that a set is to keep: one that was told to
// shrink still counts pods which it is about to delete.
func serving(rs *appsv1.ReplicaSet) int32 { return min(available(rs), size(rs)) }

// sizable are the sets that are to have pods.
func sizable(sets []*appsv1.ReplicaSet) []*appsv1.ReplicaSet {
	return slices.DeleteFunc(slices.Clone(sets), func(rs *appsv1.ReplicaSet) bool { return rs == nil || size(rs) == 0 })
}

// newSetSize is how far the new set, which has cur, may grow now.
func newSetSize(d *appsv1.Deployment, all []*appsv1.ReplicaSet, cur int32) int32 {
	if d.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType {
		return wanted(d)
	}
	surge, _ := bounds(d)
	room := wanted(d) + surge - total(all, size)
	if room <= 0 {
		return cur
	}
	return cur + min(room, wanted(d)-cur)
}

// growStep sizes the new set of a rolling update; none where it is right.
func growStep(d *appsv1.Deployment, newSet *appsv1.ReplicaSet, old []*appsv1.ReplicaSet) []resize {
	to := wanted(d)
	if size(newSet) < to {
		to = newSetSize(d, append(slices.Clone(old), newSet), size(newSet))
	}
	if to == size(newSet) {
		return nil
	}
	return []resize{{set: newSet, to: to}}
}

// shrinkStep takes pods from the old sets as far as the Deployment stays
// available: first those that do not serve anyway, then serving ones for which
// there is a replacement, the oldest sets first.
func shrinkStep(d *appsv1.Deployment, newSet *appsv1.ReplicaSet, old []*appsv1.ReplicaSet) []resize {
	old = sizable(old)
	if len(old) == 0 {
		return nil
	}
	_, unavailable := bounds(d)
	minAvailable := wanted(d) - unavailable
	all := append(slices.Clone(old), newSet)
	newUnavailable := size(newSet) - serving(newSet)
	most := total(all, size) - minAvailable - newUnavailable
	if most <= 0 {
		return nil
	}
	slices.SortStableFunc(old, byCreation)
	to := make([]int32, len(old))
	cleaned := int32(0)
	for i, rs := range old {
		to[i] = size(rs)
		if cleaned < most {
			n := min(most-cleaned, size(rs)-serving(rs))
			to[i] -= n
			cleaned += n
		}
	}
	spare := total(all, serving) - minAvailable
	for i := range old {
		if spare <= 0 {
			break
		}
		n := min(to[i], spare)
		to[i] -= n
		spare -= n
	}
	var out []resize
	for i, rs := range old {
		if to[i] != size(rs) {
			out = append(out, resize{set: rs, to: to[i]})
		}
	}
	return out
}

func byCreation(a, b *appsv1.ReplicaSet) int {
	return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
}

// scaleStep answers a change of the wanted number while there is no rollout to
// take care of it, or while one is paused or in progress: one set takes all,
// or each takes its share, so that scaling does not speed a rollout up.
func scaleStep(d *appsv1.Deployment, newSet *appsv1.ReplicaSet, old []*appsv1.ReplicaSet) []resize {
	if rs := onlyOrLatest(newSet, old); rs != nil {
		// forced, for an annotation that stays behind would look like a
		// change of the wanted number for ever
		return []resize{{set: rs, to: wanted(d), force: true}}
	}
	if saturated(d, newSet) {
		var out []resize
		for _, rs := range sizable(old) {
			out = append(out, resize{set: rs, to: 0})
		}
		return out
	}
	if d.Spec.Strategy.Type != appsv1.RollingUpdateDeploymentStrategyType {
		return nil
	}
	return shares(d, sizable(append(slices.Clone(old), newSet)))
}

// onlyOrLatest is the one set with pods, or, where none has any, the newest;
// nil where several have.
func onlyOrLatest(newSet *appsv1.ReplicaSet, old []*appsv1.ReplicaSet) *appsv1.ReplicaSet {
	active := sizable(append(slices.Clone(old), newSet))
	switch len(active) {
	case 1:
		return active[0]
	case 0:
		if newSet != nil {
			return newSet
		}
		if len(old) == 0 {
			return nil
		}
		return slices.MaxFunc(old, byCreation)
	}
	return nil
}

// saturated: the new set has all it wants, by its own account and in fact.
func saturated(d *appsv1.Deployment, rs *appsv1.ReplicaSet) bool {
	if rs == nil {
		return false
	}
	desired, ok := annotated(rs, desiredAnnotation)
	return ok && size(rs) == wanted(d) && desired == wanted(d) && available(rs) == wanted(d)
}

// shares deals a change of the wanted number out among sets in proportion to
// their sizes. What rounding leaves goes to the largest.
func shares(d *appsv1.Deployment, sets []*appsv1.ReplicaSet) []resize {
	surge, _ := bounds(d)
	allowed := int32(0)
	if wanted(d) > 0 {
		allowed = wanted(d) + surge
	}
	toAdd := allowed - total(sets, size)
	slices.SortStableFunc(sets, func(a, b *appsv1.ReplicaSet) int {
		if c := cmp.Compare(size(b), size(a)); c != 0 {
			return c
		}
		if toAdd > 0 {
			return byCreation(b, a) // newer sets grow first
		}
		return byCreation(a, b) // older sets shrink first
	})
	out := make([]resize, len(sets))
	added := int32(0)
	for i, rs := range sets {
		out[i] = resize{set: rs, to: size(rs), force: true}
		if toAdd != 0 {
			n := share(d, rs, surge, toAdd, added)
			out[i].to += n
			added += n
		}
	}
	if len(out) > 0 && toAdd != 0 {
		out[0].to = max(0, out[0].to+toAdd-added)
	}
	return out
}

func share(d *appsv1.Deployment, rs *appsv1.ReplicaSet, surge, toAdd, added int32) int32 {
	if size(rs) == 0 || toAdd == added {
		return 0
	}
	left := toAdd - added
	n := fraction(d, rs, surge)
	if toAdd > 0 {
		return min(n, left)
	}
	return max(n, left)
}

// fraction is by how much a set changes where everything changes alike.
func fraction(d *appsv1.Deployment, rs *appsv1.ReplicaSet, surge int32) int32 {
	if wanted(d) == 0 {
		return -size(rs)
	}
	before, ok := annotated(rs, maxAnnotation)
	if !ok || before == 0 {
		// somebody took the annotation away: what there is now is close
		if before = d.Status.Replicas; before == 0 {
			return 0
		}
	}
	to := float64(size(rs)) * float64(wanted(d)+surge) / float64(before)
	return int32(math.Round(to)) - size(rs)
}

// annotated reads a number from an annotation.
func annotated(rs *appsv1.ReplicaSet, name string) (int32, bool) {
	n, err := strconv.ParseInt(rs.Annotations[name], 10, 32)
	return int32(n), err == nil
}

// annotateSize notes in a set what its Deployment wants, and tells whether
// that is news.
func annotateSize(rs *appsv1.ReplicaSet, d *appsv1.Deployment) bool {
	surge, _ := bounds(d)
	news := false
	for name, n := range map[string]int32{desiredAnnotation: wanted(d), maxAnnotation: wanted(d) + surge} {
		if v := strconv.Itoa(int(n)); rs.Annotations[name] != v {
			if rs.Annotations == nil {
				rs.Annotations = map[string]string{}
			}
			rs.Annotations[name] = v
			news = true
		}
	}
	return news
}

// wasScaled tells whether the wanted number changed since the sets were sized.
func wasScaled(d *appsv1.Deployment, sets []*appsv1.ReplicaSet) bool {
	for _, rs := range sizable(sets) {
		if desired, ok := annotated(rs, desiredAnnotation); ok && desired != wanted(d) {
			return true
		}
	}
	return false
}
