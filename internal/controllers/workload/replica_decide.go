package workload

import (
	"slices"
	"strconv"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/monohull/monohull/internal/controllers/podstate"
)

const (
	// burstReplicas is how many pods one turn creates or deletes at most.
	burstReplicas = 500
	// firstBatch is the size of the first batch of creations; each batch that
	// succeeds is followed by one of twice its size.
	firstBatch = 1
	// notCounted stands for the terminating replicas of a kind that has no such
	// field.
	notCounted = -2
)

// replicaSpec is what a ReplicaSet and a ReplicationController have in common.
type replicaSpec struct {
	replicas        int32
	minReadySeconds int32
	template        *corev1.PodTemplateSpec
}

// replicaStatus is theirs too.
type replicaStatus struct {
	replicas, fullyLabeled, ready, available int32
	terminating                              int32
	observedGeneration                       int64
	conditions                               []appsv1.ReplicaSetCondition
}

// countReplicas makes the status from the pods. failure is why the number of
// pods could not be brought to what is wanted, or nil. recheck is when a pod
// next becomes available by time alone, 0 for none.
func countReplicas(spec replicaSpec, generation int64, old []appsv1.ReplicaSetCondition, active []*corev1.Pod, terminating int, failure error, now time.Time) (s replicaStatus, recheck time.Duration) {
	s = replicaStatus{
		replicas: int32(len(active)), terminating: int32(terminating), observedGeneration: generation,
		conditions: slices.Clone(old),
	}
	var want labels.Set
	if spec.template != nil {
		want = spec.template.Labels
	}
	sel := want.AsSelectorPreValidated()
	for _, p := range active {
		if sel.Matches(labels.Set(p.Labels)) {
			s.fullyLabeled++
		}
		if !podstate.Ready(p) {
			continue
		}
		s.ready++
		ok, wait := podstate.Available(p, spec.minReadySeconds, now)
		if ok {
			s.available++
		} else if wait > 0 && (recheck == 0 || wait < recheck) {
			recheck = wait
		}
	}
	at := slices.IndexFunc(s.conditions, func(c appsv1.ReplicaSetCondition) bool { return c.Type == appsv1.ReplicaSetReplicaFailure })
	switch {
	case failure != nil && at < 0:
		c := appsv1.ReplicaSetCondition{
			Type: appsv1.ReplicaSetReplicaFailure, Status: corev1.ConditionTrue,
			LastTransitionTime: metav1.NewTime(now), Message: failure.Error(),
		}
		switch n := int32(len(active)); {
		case n < spec.replicas:
			c.Reason = "FailedCreate"
		case n > spec.replicas:
			c.Reason = "FailedDelete"
		}
		s.conditions = append(s.conditions, c)
	case failure == nil && at >= 0:
		s.conditions = slices.Delete(s.conditions, at, at+1)
	}
	return s, recheck
}

// same tells whether a status needs no write.
func (s replicaStatus) same(o replicaStatus) bool {
	return s.replicas == o.replicas && s.fullyLabeled == o.fullyLabeled && s.ready == o.ready && s.available == o.available &&
		(s.terminating == o.terminating || o.terminating == notCounted) && s.observedGeneration == o.observedGeneration &&
		equality.Semantic.DeepEqual(s.conditions, o.conditions)
}

// batches cuts n creations into batches that double.
func batches(n int) []int {
	var out []int
	for size := firstBatch; n > 0; size *= 2 {
		b := min(size, n)
		out = append(out, b)
		n -= b
	}
	return out
}

// podFromTemplate makes a pod of an owner. It shares nothing with the template.
func podFromTemplate(t *corev1.PodTemplateSpec, namespace, ownerName string, ref metav1.OwnerReference) *corev1.Pod {
	c := t.DeepCopy()
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, GenerateName: ownerName + "-",
			Labels: c.Labels, Annotations: c.Annotations, Finalizers: c.Finalizers,
			OwnerReferences: []metav1.OwnerReference{ref},
		},
		Spec: c.Spec,
	}
}

// deletionCost is the wish of a pod's annotation; a wrong one counts as none.
func deletionCost(p *corev1.Pod) int32 {
	v := p.Annotations[corev1.PodDeletionCost]
	if v == "" || v[0] == '+' || (len(v) > 1 && v[0] == '0') {
		return 0
	}
	n, err := strconv.ParseInt(v, 10, 32)
	if err != nil {
		return 0
	}
	return int32(n)
}
