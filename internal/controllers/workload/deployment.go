package workload

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/monohull/monohull/internal/api"
	"github.com/monohull/monohull/internal/cache"
	"github.com/monohull/monohull/internal/client"
	"github.com/monohull/monohull/internal/controllers"
)

var deploymentKind = appsv1.SchemeGroupVersion.WithKind("Deployment")

// deployer rolls Deployments out.
type deployer struct {
	deps        controllers.Deps
	deployments client.Kind[*appsv1.Deployment]
	sets        client.Kind[*appsv1.ReplicaSet]
	pods        client.Kind[*corev1.Pod]
	strays      *strays[*appsv1.ReplicaSet]
	recorder    controllers.Recorder
}

func deployments(deps controllers.Deps) *controllers.Controller {
	c := deps.Client("deployment-controller")
	sets := client.Of[*appsv1.ReplicaSet](c)
	r := &deployer{
		deps: deps, deployments: client.Of[*appsv1.Deployment](c), sets: sets, pods: client.Of[*corev1.Pod](c),
		strays: newStrays(sets), recorder: deps.Recorder("deployment-controller", c),
	}
	return &controllers.Controller{
		Name: "deployment-controller", Client: c, Workers: replicaWorkers, Reconcile: r.reconcile,
		Inputs: []controllers.Input{
			controllers.On[*appsv1.Deployment](nil),
			controllers.OnKind(api.For[*appsv1.ReplicaSet](c.Table()), r.setKeys),
			controllers.OnKind(api.For[*corev1.Pod](c.Table()), r.podKeys),
			r.strays.endOfNamespaces(c),
		},
		Outputs: []controllers.Output{
			{Kind: api.For[*appsv1.Deployment], Field: "status", Exclusive: true},
			{Kind: api.For[*appsv1.Deployment], Field: "metadata.annotations"},
			{Kind: api.For[*appsv1.ReplicaSet]},
			{Kind: api.For[*appsv1.ReplicaSet], Field: "spec.replicas"},
			{Kind: api.For[*appsv1.ReplicaSet], Field: "metadata.annotations"},
			{Kind: api.For[*appsv1.ReplicaSet], Field: "metadata.ownerReferences"},
		},
	}
}

func (r *deployer) setKeys(e cache.Event) []controllers.Key {
	rs := e.Item.Obj.(*appsv1.ReplicaSet)
	r.strays.note(rs, e.Deleted)
	var keys []controllers.Key
	if k, ok := deploymentKey(rs); ok {
		keys = append(keys, k)
	}
	var old *appsv1.ReplicaSet
	if e.Prev != nil {
		old = e.Prev.Obj.(*appsv1.ReplicaSet)
		if k, ok := deploymentKey(old); ok && (len(keys) == 0 || keys[0] != k) {
			keys = append(keys, k)
		}
	}
	if metav1.GetControllerOfNoCopy(rs) == nil && !e.Deleted && rs.DeletionTimestamp == nil {
		if old != nil && sameController(old, rs) && labels.Equals(old.Labels, rs.Labels) {
			return keys
		}
		for _, d := range r.deployments.List(rs.Namespace, nil) {
			if sel, err := metav1.LabelSelectorAsSelector(d.Spec.Selector); err == nil && !sel.Empty() && sel.Matches(labels.Set(rs.Labels)) {
				keys = append(keys, controllers.KeyOf(d))
			}
		}
	}
	return keys
}

func deploymentKey(o api.Object) (controllers.Key, bool) {
	ref := metav1.GetControllerOfNoCopy(o)
	if ref == nil || ref.Kind != deploymentKind.Kind {
		return controllers.Key{}, false
	}
	if gv, err := schema.ParseGroupVersion(ref.APIVersion); err != nil || gv.Group != deploymentKind.Group {
		return controllers.Key{}, false
	}
	return controllers.Key{Namespace: o.GetNamespace(), Name: ref.Name}, true
}

// podKeys wakes a Deployment that recreates when a pod of it is gone: the new
// pods wait for that.
func (r *deployer) podKeys(e cache.Event) []controllers.Key {
	pod := e.Item.Obj.(*corev1.Pod)
	if !e.Deleted && (e.Prev == nil || e.Prev.Obj.(*corev1.Pod).Status.Phase == pod.Status.Phase) {
		return nil
	}
	ref := metav1.GetControllerOfNoCopy(pod)
	if ref == nil || ref.Kind != "ReplicaSet" {
		return nil
	}
	rs, ok := r.sets.Get(pod.Namespace, ref.Name)
	if !ok {
		return nil
	}
	k, ok := deploymentKey(rs)
	if !ok {
		return nil
	}
	if d, ok := r.deployments.Get(k.Namespace, k.Name); !ok || d.Spec.Strategy.Type != appsv1.RecreateDeploymentStrategyType {
		return nil
	}
	return []controllers.Key{k}
}

func (r *deployer) reconcile(ctx context.Context, key controllers.Key) (time.Duration, error) {
	d, ok := r.deployments.Get(key.Namespace, key.Name)
	if !ok {
		return 0, nil
	}
	sel, err := metav1.LabelSelectorAsSelector(d.Spec.Selector)
	if err != nil {
		return 0, nil // refused by validation
	}
	if d.Spec.Selector != nil && len(d.Spec.Selector.MatchLabels) == 0 && len(d.Spec.Selector.MatchExpressions) == 0 {
		r.recorder.Event(ctx, d, corev1.EventTypeWarning, "SelectingAll", "This deployment is selecting all pods. A non-empty selector is required.")
		s := *d.Status.DeepCopy()
		s.ObservedGeneration = max(s.ObservedGeneration, d.Generation)
		_, err := r.writeStatus(ctx, d, s)
		return 0, err
	}
	sets, err := r.strays.settle(ctx, d, deploymentKind, sel, r.strays.candidates(d))
	if err != nil {
		return 0, err
	}
	t := &turn{deployer: r, d: d, now: r.deps.Clock.Now()}
	t.newSet, t.old = divide(d, sets)
	if d.DeletionTimestamp != nil {
		return 0, t.finish(ctx, false)
	}
	if s := *d.Status.DeepCopy(); judgePause(d, &s, t.now) {
		if t.d, err = r.writeStatus(ctx, d, s); err != nil {
			return 0, err
		}
	}
	err = t.roll(ctx)
	if err != nil {
		return 0, err
	}
	return nextCheck(t.d, &t.d.Status, t.now), nil
}

// turn is one reconciliation of one Deployment. Its objects are the newest:
// each write puts the answer in place of what was written.
type turn struct {
	*deployer
	d      *appsv1.Deployment
	newSet *appsv1.ReplicaSet
	old    []*appsv1.ReplicaSet
	now    time.Time
}

func (t *turn) roll(ctx context.Context) error {
	if err := t.syncNewSet(ctx); err != nil {
		return err
	}
	all := append(slices.Clone(t.old), t.newSet)
	if t.d.Spec.Paused || wasScaled(t.d, all) {
		if _, err := t.apply(ctx, scaleStep(t.d, t.newSet, t.old)); err != nil {
			return err
		}
		if t.d.Spec.Paused {
			if err := t.clean(ctx); err != nil {
				return err
			}
		}
		return t.finish(ctx, false)
	}
	if t.d.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType {
		return t.recreate(ctx)
	}
	if t.newSet == nil {
		if err := t.createNewSet(ctx); err != nil {
			return err
		}
	}
	moved, err := t.apply(ctx, growStep(t.d, t.newSet, t.old))
	if err == nil && !moved {
		moved, err = t.apply(ctx, shrinkStep(t.d, t.newSet, t.old))
	}
	if err != nil {
		return err
	}
	return t.settled(ctx, moved)
}

// recreate stops all old pods before it starts new ones.
func (t *turn) recreate(ctx context.Context) error {
	var down []resize
	for _, rs := range sizable(t.old) {
		down = append(down, resize{set: rs, to: 0})
	}
	moved, err := t.apply(ctx, down)
	if err != nil {
		return err
	}
	if moved || t.oldPodsRun() {
		return t.finish(ctx, true)
	}
	if t.newSet == nil {
		if err := t.createNewSet(ctx); err != nil {
			return err
		}
	}
	if size(t.newSet) != wanted(t.d) {
		if _, err := t.apply(ctx, []resize{{set: t.newSet, to: wanted(t.d)}}); err != nil {
			return err
		}
	}
	return t.settled(ctx, false)
}

// oldPodsRun: a pod of an old set, or of none of the sets, may still do work.
func (t *turn) oldPodsRun() bool {
	if total(t.old, func(rs *appsv1.ReplicaSet) int32 { return rs.Status.Replicas }) > 0 {
		return true
	}
	for _, rs := range t.old {
		for _, p := range t.pods.ByIndex(client.ByOwner, string(rs.UID)) {
			if p.Status.Phase != corev1.PodFailed && p.Status.Phase != corev1.PodSucceeded {
				return true
			}
		}
	}
	return false
}

func (t *turn) settled(ctx context.Context, moved bool) error {
	if !moved && complete(t.d, &t.d.Status) {
		if err := t.clean(ctx); err != nil {
			return err
		}
	}
	return t.finish(ctx, true)
}

// syncNewSet brings annotations of an existing new set and of the Deployment
// up to date.
func (t *turn) syncNewSet(ctx context.Context) error {
	if t.newSet == nil {
		return nil
	}
	rev := nextRevision(t.old)
	probe := &appsv1.ReplicaSet{ObjectMeta: *t.newSet.ObjectMeta.DeepCopy()}
	if annotateNew(probe, t.d, rev) || t.newSet.Spec.MinReadySeconds != t.d.Spec.MinReadySeconds {
		rs, err := t.sets.Modify(ctx, t.newSet.Namespace, t.newSet.Name, "", func(rs *appsv1.ReplicaSet) error {
			if rs.UID != t.newSet.UID {
				return errGone
			}
			annotateNew(rs, t.d, rev)
			rs.Spec.MinReadySeconds = t.d.Spec.MinReadySeconds
			return nil
		})
		if err != nil {
			return fmt.Errorf("updating ReplicaSet %s: %w", t.newSet.Name, err)
		}
		t.newSet = rs
	}
	s := *t.d.Status.DeepCopy()
	if hasDeadline(t.d) && conditionOf(&s, appsv1.DeploymentProgressing) == nil {
		setCondition(&s, appsv1.DeploymentProgressing, corev1.ConditionTrue, reasonFoundSet, fmt.Sprintf("Found new replica set %q", t.newSet.Name), t.now)
	}
	return t.noteRevision(ctx, s)
}

// createNewSet makes the set for the present template. A namesake with another
// template is a collision of hashes: the Deployment counts it, and the next
// turn takes another name.
func (t *turn) createNewSet(ctx context.Context) error {
	rs, err := newReplicaSet(t.d)
	if err != nil {
		return err
	}
	n := newSetSize(t.d, t.old, 0)
	*rs.Spec.Replicas = n
	annotateNew(rs, t.d, nextRevision(t.old))
	annotateSize(rs, t.d)
	name := rs.Name
	made, err := t.sets.Create(ctx, rs)
	s := *t.d.Status.DeepCopy()
	const progress = appsv1.DeploymentProgressing
	switch {
	case apierrors.IsAlreadyExists(err):
		cur, ok := t.sets.Get(t.d.Namespace, name)
		if ok && metav1.IsControlledBy(cur, t.d) && sameTemplate(&cur.Spec.Template, &t.d.Spec.Template) {
			t.newSet = cur
			return t.noteRevision(ctx, s)
		}
		n := value(s.CollisionCount, 0) + 1
		s.CollisionCount = &n
		_, werr := t.writeStatus(ctx, t.d, s)
		return errors.Join(err, werr)
	case controllers.NamespaceEnds(err):
		return err
	case err != nil:
		msg := fmt.Sprintf("Failed to create new replica set %q: %v", name, err)
		if hasDeadline(t.d) {
			setCondition(&s, progress, corev1.ConditionFalse, reasonSetCreateFailed, msg, t.now)
			if _, werr := t.writeStatus(ctx, t.d, s); werr != nil {
				err = errors.Join(err, werr)
			}
		}
		t.recorder.Event(ctx, t.d, corev1.EventTypeWarning, reasonSetCreateFailed, msg)
		return err
	}
	t.newSet = made
	if n > 0 {
		t.recorder.Event(ctx, t.d, corev1.EventTypeNormal, "ScalingReplicaSet", fmt.Sprintf("Scaled up replica set %s from 0 to %d", name, n))
	}
	if hasDeadline(t.d) {
		setCondition(&s, progress, corev1.ConditionTrue, reasonNewSet, fmt.Sprintf("Created new replica set %q", name), t.now)
	}
	return t.noteRevision(ctx, s)
}

// noteRevision writes a status together with the new set's revision, which
// the Deployment has as an annotation. A write of the status may set
// annotations, and does not count as a change of what is wanted.
func (t *turn) noteRevision(ctx context.Context, s appsv1.DeploymentStatus) error {
	rev := t.newSet.Annotations[revisionAnnotation]
	if rev == "" || t.d.Annotations[revisionAnnotation] == rev {
		rev = ""
		if equality.Semantic.DeepEqual(t.d.Status, s) {
			return nil
		}
	}
	d, err := t.writeState(ctx, t.d, s, rev)
	if err == nil {
		t.d = d
	}
	return err
}

// apply resizes sets, and tells whether any changed its size.
func (t *turn) apply(ctx context.Context, steps []resize) (bool, error) {
	moved := false
	for _, s := range steps {
		probe := &appsv1.ReplicaSet{ObjectMeta: *s.set.ObjectMeta.DeepCopy()}
		from := size(s.set)
		if from == s.to && !(s.force && annotateSize(probe, t.d)) {
			continue
		}
		rs, err := t.sets.Modify(ctx, s.set.Namespace, s.set.Name, "", func(rs *appsv1.ReplicaSet) error {
			if rs.UID != s.set.UID {
				return errGone
			}
			rs.Spec.Replicas = &s.to
			annotateSize(rs, t.d)
			return nil
		})
		if err != nil {
			return moved, fmt.Errorf("scaling ReplicaSet %s to %d: %w", s.set.Name, s.to, err)
		}
		t.replace(rs)
		if from == s.to {
			continue
		}
		moved = true
		dir := "up"
		if s.to < from {
			dir = "down"
		}
		t.recorder.Event(ctx, t.d, corev1.EventTypeNormal, "ScalingReplicaSet",
			"Scaled "+dir+" replica set "+rs.Name+" from "+strconv.Itoa(int(from))+" to "+strconv.Itoa(int(s.to)))
	}
	return moved, nil
}

func (t *turn) replace(rs *appsv1.ReplicaSet) {
	if t.newSet != nil && t.newSet.UID == rs.UID {
		t.newSet = rs
	}
	for i := range t.old {
		if t.old[i].UID == rs.UID {
			t.old[i] = rs
		}
	}
}

// clean deletes old sets beyond the history limit.
func (t *turn) clean(ctx context.Context) error {
	for _, rs := range expendable(t.d, t.old) {
		if err := t.sets.Delete(ctx, rs.Namespace, rs.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &rs.UID}}); err != nil && !apierrors.IsConflict(err) {
			return fmt.Errorf("deleting old ReplicaSet %s: %w", rs.Name, err)
		}
	}
	return nil
}

// finish writes the status, with or without a judgement of the progress.
func (t *turn) finish(ctx context.Context, progress bool) error {
	s := countSets(t.d, t.newSet, t.old, t.now)
	if progress {
		judgeProgress(t.d, &s, t.newSet, t.old, t.now)
	}
	d, err := t.writeStatus(ctx, t.d, s)
	if err == nil {
		t.d = d
	}
	return err
}

// writeStatus writes a status where it differs, and returns the Deployment as
// it is then.
func (r *deployer) writeStatus(ctx context.Context, d *appsv1.Deployment, s appsv1.DeploymentStatus) (*appsv1.Deployment, error) {
	if equality.Semantic.DeepEqual(d.Status, s) {
		return d, nil
	}
	return r.writeState(ctx, d, s, "")
}

// writeState writes a status, and a revision where one is given.
func (r *deployer) writeState(ctx context.Context, d *appsv1.Deployment, s appsv1.DeploymentStatus, rev string) (*appsv1.Deployment, error) {
	got, err := r.deployments.Modify(ctx, d.Namespace, d.Name, "status", func(cur *appsv1.Deployment) error {
		if cur.UID != d.UID {
			return errGone
		}
		cur.Status = *s.DeepCopy()
		if rev != "" {
			if cur.Annotations == nil {
				cur.Annotations = map[string]string{}
			}
			cur.Annotations[revisionAnnotation] = rev
		}
		return nil
	})
	switch {
	case errors.Is(err, errGone) || apierrors.IsNotFound(err):
		return d, nil
	case err != nil:
		return d, fmt.Errorf("writing the status: %w", err)
	}
	if got.Generation != d.Generation {
		// someone changed the spec meanwhile: this turn goes on with its own
		c := *d
		c.Status, c.ResourceVersion, c.Annotations = got.Status, got.ResourceVersion, got.Annotations
		return &c, nil
	}
	return got, nil
}
