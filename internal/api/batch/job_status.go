package batch

import (
	"fmt"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/monohull/monohull/internal/api/meta"
)

// jobFacts are what the rules of a job's status speak of.
type jobFacts struct {
	*batchv1.JobStatus
	complete, failed, finished, failureTarget, successMet bool
}

func factsOf(j *batchv1.Job) jobFacts {
	is := func(t batchv1.JobConditionType) bool { return conditionIs(j, t, corev1.ConditionTrue) }
	f := jobFacts{JobStatus: &j.Status, complete: is(batchv1.JobComplete), failed: is(batchv1.JobFailed),
		failureTarget: is(batchv1.JobFailureTarget), successMet: is(batchv1.JobSuccessCriteriaMet)}
	f.finished = f.complete || f.failed
	return f
}

// validateJobStatusUpdate judges a change of a job's status, by whatever
// controller manages the job. A rule is checked only where what it speaks of
// has changed: an older status, or a specification changed just now, must not
// stop the controller from going on.
func validateJobStatusUpdate(j, old *batchv1.Job) field.ErrorList {
	r := &meta.Report{Errs: meta.ValidateObjectMetaUpdate(&j.ObjectMeta, &old.ObjectMeta)}
	now, was := factsOf(j), factsOf(old)
	jobCounts(r, now.JobStatus)
	jobConditions(r, j, now, was)
	jobTimes(r, j, old, now, was)
	jobPods(r, j, now, was)
	jobIndexes(r, j, now, was)
	return r.Errs
}

func jobCounts(r *meta.Report, s *batchv1.JobStatus) {
	r.NonNegative(statusPath.Child("active"), int64(s.Active))
	r.NonNegative(statusPath.Child("succeeded"), int64(s.Succeeded))
	r.NonNegative(statusPath.Child("failed"), int64(s.Failed))
	r.NonNegative(statusPath.Child("ready"), int64(value(s.Ready)))
	r.NonNegative(statusPath.Child("terminating"), int64(value(s.Terminating)))
	u := s.UncountedTerminatedPods
	if u == nil {
		return
	}
	at, seen := statusPath.Child("uncountedTerminatedPods"), sets.Set[types.UID]{}
	for _, list := range []struct {
		name string
		uids []types.UID
	}{{"succeeded", u.Succeeded}, {"failed", u.Failed}} {
		for i, uid := range list.uids {
			switch at := at.Child(list.name).Index(i); {
			case uid == "":
				r.Invalid(at, uid, "must not be empty")
			case seen.Has(uid):
				r.Duplicate(at, uid)
			default:
				seen.Insert(uid)
			}
		}
	}
}

func jobConditions(r *meta.Report, j *batchv1.Job, now, was jobFacts) {
	refuse := func(bad bool, msg string) {
		if bad {
			r.Invalid(statusPath.Child("conditions"), field.OmitValueType{}, msg)
		}
	}
	completeChanged, failedChanged := now.complete != was.complete, now.failed != was.failed
	targetChanged, metChanged := now.failureTarget != was.failureTarget, now.successMet != was.successMet
	if completeChanged || failedChanged {
		refuse(now.complete && now.failed, "cannot set Complete=True and Failed=true conditions")
	}
	if completeChanged || targetChanged {
		refuse(now.complete && now.failureTarget, "cannot set Complete=True and FailureTarget=true conditions")
	}
	if failedChanged || !same(now.FailedIndexes, was.FailedIndexes) {
		refuse(now.failed && !now.failureTarget, "cannot set Failed=True condition without the FailureTarget=true condition")
	}
	if completeChanged || metChanged {
		refuse(now.complete && !now.successMet, "cannot set Complete=True condition without the SuccessCriteriaMet=true condition")
	}
	refuse(now.successMet && now.failed, "cannot set SuccessCriteriaMet=True and Failed=true conditions")
	refuse(now.successMet && now.failureTarget, "cannot set SuccessCriteriaMet=True and FailureTarget=true conditions")
	refuse(j.Spec.SuccessPolicy != nil && !now.successMet && now.complete, "cannot set Complete=True for Job with SuccessPolicy unless SuccessCriteriaMet=True")
	refuse(was.failed && !now.failed, "cannot disable the terminal Failed=True condition")
	refuse(was.complete && !now.complete, "cannot disable the terminal Complete=True condition")
	refuse(was.failureTarget && !now.failureTarget, "cannot disable the terminal FailureTarget=True condition")
	refuse(was.successMet && !now.successMet, "cannot disable the SuccessCriteriaMet=True condition")
	refuse(was.complete && !was.successMet && now.successMet, "cannot set SuccessCriteriaMet=True for Job already has Complete=true conditions")
}

func sameTime(a, b *metav1.Time) bool {
	return a == nil && b == nil || a != nil && b != nil && *a == *b
}

func jobTimes(r *meta.Report, j, old *batchv1.Job, now, was jobFacts) {
	start, end := statusPath.Child("startTime"), statusPath.Child("completionTime")
	startChanged, endChanged := !sameTime(now.StartTime, was.StartTime), !sameTime(now.CompletionTime, was.CompletionTime)
	if now.complete != was.complete || endChanged {
		if now.CompletionTime != nil && !now.complete {
			r.Invalid(end, now.CompletionTime, "cannot set completionTime when there is no Complete=True condition")
		}
		if now.CompletionTime == nil && now.complete {
			r.Required(end, "completionTime is required for Complete jobs")
		}
	}
	if (startChanged || endChanged) && now.StartTime != nil && now.CompletionTime != nil && now.CompletionTime.Before(now.StartTime) {
		r.Invalid(end, now.CompletionTime, "must be equal to or after `startTime`")
	}
	if now.CompletionTime != nil && was.CompletionTime != nil && endChanged {
		r.Invalid(end, now.CompletionTime, "field is immutable")
	}
	// a job suspended before it began has nothing to start
	neverStarts := value(j.Spec.Suspend) && j.Spec.Completions != nil && *j.Spec.Completions == 0
	if (now.finished != was.finished || startChanged) && !neverStarts && now.finished && now.StartTime == nil {
		r.Required(start, "startTime is required for finished job")
	}
	resuming := conditionIs(old, batchv1.JobSuspended, corev1.ConditionTrue) && conditionIs(j, batchv1.JobSuspended, corev1.ConditionFalse)
	if startChanged && was.StartTime != nil && !resuming && !value(j.Spec.Suspend) {
		r.Invalid(start, now.StartTime, "field is immutable for unsuspended job once set")
	}
}

func jobPods(r *meta.Report, j *batchv1.Job, now, was jobFacts) {
	finishedChanged, activeChanged := now.finished != was.finished, now.Active != was.Active
	if (finishedChanged || activeChanged) && now.finished && now.Active > 0 {
		r.Invalid(statusPath.Child("active"), now.Active, "active>0 is invalid for finished job")
	}
	u := now.UncountedTerminatedPods
	if (finishedChanged || !equality.Semantic.DeepEqual(u, was.UncountedTerminatedPods)) && now.finished && u != nil && len(u.Failed)+len(u.Succeeded) > 0 {
		r.Invalid(statusPath.Child("uncountedTerminatedPods"), u, "must be empty for finished job")
	}
	if (finishedChanged || !same(now.Terminating, was.Terminating)) && now.finished && value(now.Terminating) > 0 {
		r.Invalid(statusPath.Child("terminating"), now.Terminating, "terminating>0 is invalid for finished job")
	}
	if (activeChanged || !same(now.Ready, was.Ready)) && now.Ready != nil && *now.Ready > now.Active {
		r.Invalid(statusPath.Child("ready"), *now.Ready, "cannot set more ready pods than active")
	}
	if now.Failed < was.Failed {
		r.Invalid(statusPath.Child("failed"), now.Failed, "cannot decrease the failed counter")
	}
	// a job of one pod for each index may be made smaller
	resizable := indexed(&j.Spec) && same(j.Spec.Completions, j.Spec.Parallelism)
	if now.Succeeded < was.Succeeded && !resizable {
		r.Invalid(statusPath.Child("succeeded"), now.Succeeded, "cannot decrease the succeeded counter")
	}
}

func jobIndexes(r *meta.Report, j *batchv1.Job, now, was jobFacts) {
	s := &j.Spec
	done, failed := statusPath.Child("completedIndexes"), statusPath.Child("failedIndexes")
	doneChanged, failedChanged := now.CompletedIndexes != was.CompletedIndexes, !same(now.FailedIndexes, was.FailedIndexes)
	if doneChanged {
		if s.Completions != nil {
			if _, err := countIndexes(now.CompletedIndexes, *s.Completions); err != nil {
				r.Invalid(done, now.CompletedIndexes, fmt.Sprintf("error parsing completedIndexes: %s", err))
			}
		}
		if now.CompletedIndexes != "" && !indexed(s) {
			r.Invalid(done, now.CompletedIndexes, "cannot set non-empty completedIndexes when non-indexed completion mode")
		}
	}
	if now.FailedIndexes == nil {
		return
	}
	if failedChanged {
		if s.BackoffLimitPerIndex == nil {
			r.Invalid(failed, *now.FailedIndexes, "cannot set non-null failedIndexes when backoffLimitPerIndex is null")
		} else if s.Completions != nil {
			if _, err := countIndexes(*now.FailedIndexes, *s.Completions); err != nil {
				r.Invalid(failed, now.FailedIndexes, fmt.Sprintf("error parsing failedIndexes: %s", err))
			}
		}
	}
	if (doneChanged || failedChanged) && s.Completions != nil {
		if err := overlap(now.CompletedIndexes, *now.FailedIndexes, *s.Completions); err != nil {
			r.Invalid(failed, *now.FailedIndexes, err.Error())
		}
	}
}
