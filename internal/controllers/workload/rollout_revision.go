package workload

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/rand"
)

// maxHistoryChars bounds the list of revisions a ReplicaSet has had.
const maxHistoryChars = 2000

const rollbackAnnotation = "deprecated.deployment.rollback.to"

// templateHash names a pod template in ten characters at most that are safe in
// names and spell no words. collisions makes another name for the same one.
func templateHash(t *corev1.PodTemplateSpec, collisions *int32) (string, error) {
	b, err := t.Marshal()
	if err != nil {
		return "", fmt.Errorf("encoding the pod template: %w", err)
	}
	h := fnv.New32a()
	h.Write(b)
	if collisions != nil {
		h.Write(binary.LittleEndian.AppendUint64(nil, uint64(*collisions)))
	}
	return rand.SafeEncodeString(strconv.FormatUint(uint64(h.Sum32()), 10)), nil
}

// setName is the name of the ReplicaSet of a Deployment's template.
func setName(deployment, hash string) string {
	const most = 253
	return deployment[:min(len(deployment), most-1-len(hash))] + "-" + hash
}

// sameTemplate compares templates but for the hash label.
func sameTemplate(a, b *corev1.PodTemplateSpec) bool {
	ca, cb := *a, *b
	ca.Labels, cb.Labels = withoutHash(a.Labels), withoutHash(b.Labels)
	return equality.Semantic.DeepEqual(&ca, &cb)
}

func withoutHash(m map[string]string) map[string]string {
	if _, ok := m[appsv1.DefaultDeploymentUniqueLabelKey]; !ok {
		return m
	}
	m = maps.Clone(m)
	delete(m, appsv1.DefaultDeploymentUniqueLabelKey)
	return m
}

// divide tells the set that has the Deployment's template, nil where there is
// none, from the old ones. Of several that have it the oldest is taken, so that
// the choice does not change.
func divide(d *appsv1.Deployment, sets []*appsv1.ReplicaSet) (newSet *appsv1.ReplicaSet, old []*appsv1.ReplicaSet) {
	sets = slices.SortedStableFunc(slices.Values(sets), byCreation)
	for _, rs := range sets {
		if newSet == nil && sameTemplate(&rs.Spec.Template, &d.Spec.Template) {
			newSet = rs
			continue
		}
		old = append(old, rs)
	}
	return newSet, old
}

func revision(rs *appsv1.ReplicaSet) int64 {
	n, err := strconv.ParseInt(rs.Annotations[revisionAnnotation], 10, 64)
	if err != nil {
		return 0
	}
	return n
}

func nextRevision(old []*appsv1.ReplicaSet) int64 {
	n := int64(0)
	for _, rs := range old {
		n = max(n, revision(rs))
	}
	return n + 1
}

// annotateNew gives the new set its Deployment's annotations (among them the
// cause of the change) and its revision, and tells whether anything changed. A
// set that comes back under a new revision remembers those it had.
func annotateNew(rs *appsv1.ReplicaSet, d *appsv1.Deployment, rev int64) bool {
	changed := false
	set := func(k, v string) {
		if cur, ok := rs.Annotations[k]; ok && cur == v {
			return
		}
		if rs.Annotations == nil {
			rs.Annotations = map[string]string{}
		}
		rs.Annotations[k] = v
		changed = true
	}
	for k, v := range d.Annotations {
		switch k {
		case corev1.LastAppliedConfigAnnotation, revisionAnnotation, revisionHistoryAnnotation, desiredAnnotation, maxAnnotation, rollbackAnnotation:
		default:
			set(k, v)
		}
	}
	had, ok := rs.Annotations[revisionAnnotation]
	was, err := strconv.ParseInt(had, 10, 64)
	if had != "" && err != nil {
		return changed // not ours to overwrite
	}
	if was >= rev {
		return changed
	}
	set(revisionAnnotation, strconv.FormatInt(rev, 10))
	if ok {
		if h, fits := appendHistory(rs.Annotations[revisionHistoryAnnotation], had); fits {
			set(revisionHistoryAnnotation, h)
		}
	}
	return changed
}

// appendHistory drops the oldest revisions where the list gets too long.
func appendHistory(history, rev string) (string, bool) {
	if history == "" {
		return rev, true
	}
	for len(history)+1+len(rev) > maxHistoryChars {
		_, rest, more := strings.Cut(history, ",")
		if !more {
			return rev, len(rev) <= maxHistoryChars
		}
		history = rest
	}
	return history + "," + rev, true
}

// newReplicaSet makes the set for the Deployment's template, yet without size
// and annotations.
func newReplicaSet(d *appsv1.Deployment) (*appsv1.ReplicaSet, error) {
	hash, err := templateHash(&d.Spec.Template, d.Status.CollisionCount)
	if err != nil {
		return nil, err
	}
	t := *d.Spec.Template.DeepCopy()
	if t.Labels == nil {
		t.Labels = map[string]string{}
	}
	t.Labels[appsv1.DefaultDeploymentUniqueLabelKey] = hash
	sel := d.Spec.Selector.DeepCopy()
	if sel.MatchLabels == nil {
		sel.MatchLabels = map[string]string{}
	}
	sel.MatchLabels[appsv1.DefaultDeploymentUniqueLabelKey] = hash
	return &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{
			Name: setName(d.Name, hash), Namespace: d.Namespace, Labels: maps.Clone(t.Labels),
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(d, deploymentKind)},
		},
		Spec: appsv1.ReplicaSetSpec{Replicas: new(int32), MinReadySeconds: d.Spec.MinReadySeconds, Selector: sel, Template: t},
	}, nil
}

// expendable are the old sets beyond the history limit, oldest revision first,
// but for those that still have or want pods.
func expendable(d *appsv1.Deployment, old []*appsv1.ReplicaSet) []*appsv1.ReplicaSet {
	limit := d.Spec.RevisionHistoryLimit
	if limit == nil || *limit == math.MaxInt32 {
		return nil
	}
	alive := slices.DeleteFunc(slices.Clone(old), func(rs *appsv1.ReplicaSet) bool { return rs.DeletionTimestamp != nil })
	over := len(alive) - int(*limit)
	if over <= 0 {
		return nil
	}
	slices.SortStableFunc(alive, func(a, b *appsv1.ReplicaSet) int {
		return cmp.Or(cmp.Compare(revision(a), revision(b)), byCreation(a, b))
	})
	return slices.DeleteFunc(alive[:over], func(rs *appsv1.ReplicaSet) bool {
		return rs.Status.Replicas != 0 || size(rs) != 0 || rs.Generation > rs.Status.ObservedGeneration
	})
}
