package batch

import (
	"slices"
	"strings"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"
)

var now = time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)

// made is a job as it is after its creation.
func made(change func(*batchv1.Job)) *batchv1.Job {
	j := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: "j", Namespace: "ns", UID: "u", ResourceVersion: "1"}}
	j.Spec.Template.Spec = corev1.PodSpec{RestartPolicy: corev1.RestartPolicyNever, Containers: []corev1.Container{{Name: "c", Image: "i"}}}
	if change != nil {
		change(j)
	}
	k := jobRow()
	k.Default(j)
	k.PrepareCreate(j)
	return j
}

func indexedJob(j *batchv1.Job) {
	j.Spec.CompletionMode = ptr.To(batchv1.IndexedCompletion)
	j.Spec.Completions, j.Spec.Parallelism = ptr.To[int32](5), ptr.To[int32](5)
}

// check wants exactly the paths given; a text after a colon is part of the detail.
func check(t *testing.T, name string, errs field.ErrorList, want ...string) {
	t.Helper()
	var got []string
	for _, e := range errs {
		got = append(got, e.Field+": "+e.Detail)
	}
	slices.Sort(got)
	got = slices.Compact(got)
	ok := len(got) == len(want)
	for _, w := range want {
		path, text, _ := strings.Cut(w, ": ")
		ok = ok && slices.ContainsFunc(got, func(g string) bool { return strings.HasPrefix(g, path+": ") && strings.Contains(g, text) })
	}
	if !ok {
		t.Errorf("%s: got %q, want %q", name, got, want)
	}
}

func TestJobSelectsItsOwnPods(t *testing.T) {
	j := made(nil)
	for k, v := range map[string]string{"job-name": "j", "controller-uid": "u", "batch.kubernetes.io/job-name": "j", "batch.kubernetes.io/controller-uid": "u"} {
		if j.Spec.Template.Labels[k] != v {
			t.Errorf("template label %s is %q, want %q", k, j.Spec.Template.Labels[k], v)
		}
	}
	if got := metav1.FormatLabelSelector(j.Spec.Selector); got != "batch.kubernetes.io/controller-uid=u" {
		t.Errorf("selector is %s", got)
	}
	if len(j.Labels) != 4 {
		t.Errorf("a job without labels has %v, want those of its pods", j.Labels)
	}
	if j := made(func(j *batchv1.Job) { j.Spec.Template.Labels = map[string]string{"a": "b"} }); len(j.Labels) != 5 {
		t.Errorf("a job of labelled pods has %v, want their labels", j.Labels)
	}
	if j := made(func(j *batchv1.Job) { j.Labels = map[string]string{"a": "b"} }); len(j.Labels) != 1 {
		t.Errorf("a job with a label has %v", j.Labels)
	}
	check(t, "generated", validateJob(j, true))
	check(t, "a label of another job", validateJob(made(func(j *batchv1.Job) {
		j.Spec.Template.Labels = map[string]string{"batch.kubernetes.io/controller-uid": "v"}
	}), true), "spec.template.metadata.labels[batch.kubernetes.io/controller-uid]: must be 'u'", "spec.template.metadata.labels: `selector` does not match")
	check(t, "a selector without manualSelector", validateJob(made(func(j *batchv1.Job) {
		j.Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"a": "b"}}
	}), true), "spec.selector: not auto-generated", "spec.template.metadata.labels: `selector` does not match")
	manual := made(func(j *batchv1.Job) {
		j.Spec.ManualSelector = ptr.To(true)
		j.Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"a": "b"}}
		j.Spec.Template.Labels = map[string]string{"a": "b"}
	})
	check(t, "manual", validateJob(manual, true))
	if len(manual.Spec.Template.Labels) != 1 {
		t.Errorf("a manual selector got labels %v", manual.Spec.Template.Labels)
	}
}

func TestNewJob(t *testing.T) {
	rule := func(r batchv1.PodFailurePolicyRule) func(*batchv1.Job) {
		return func(j *batchv1.Job) {
			j.Spec.PodFailurePolicy = &batchv1.PodFailurePolicy{Rules: []batchv1.PodFailurePolicyRule{r}}
		}
	}
	codes := func(op batchv1.PodFailurePolicyOnExitCodesOperator, v ...int32) *batchv1.PodFailurePolicyOnExitCodesRequirement {
		return &batchv1.PodFailurePolicyOnExitCodesRequirement{Operator: op, Values: v}
	}
	for _, c := range []struct {
		name   string
		change func(*batchv1.Job)
		want   []string
	}{
		{"plain", nil, nil},
		{"always restarts", func(j *batchv1.Job) { j.Spec.Template.Spec.RestartPolicy = corev1.RestartPolicyAlways }, []string{`spec.template.spec.restartPolicy: valid values: "OnFailure", "Never"`}},
		{"indexed without completions", func(j *batchv1.Job) {
			indexedJob(j)
			j.Spec.Completions = nil
		}, []string{"spec.completions: when completion mode is Indexed"}},
		{"limit per index, not indexed", func(j *batchv1.Job) { j.Spec.BackoffLimitPerIndex = ptr.To[int32](1) }, []string{"spec.backoffLimitPerIndex: requires indexed"}},
		{"exit codes out of order", rule(batchv1.PodFailurePolicyRule{Action: "Count", OnExitCodes: codes("In", 3, 1, 1, 0)}), []string{
			"spec.podFailurePolicy.rules[0].onExitCodes.values: must be ordered", "spec.podFailurePolicy.rules[0].onExitCodes.values[2]",
			"spec.podFailurePolicy.rules[0].onExitCodes.values[3]: must not be 0"}},
		{"a rule of nothing", rule(batchv1.PodFailurePolicyRule{Action: "FailIndex"}), []string{"spec.podFailurePolicy.rules[0].action: requires the backoffLimitPerIndex",
			"spec.podFailurePolicy.rules[0]: specifying one of"}},
		{"failure policy with OnFailure", func(j *batchv1.Job) {
			rule(batchv1.PodFailurePolicyRule{Action: "Ignore", OnExitCodes: codes("NotIn", 1)})(j)
			j.Spec.Template.Spec.RestartPolicy = corev1.RestartPolicyOnFailure
		}, []string{`spec.template.spec.restartPolicy: only "Never" is supported`}},
		{"success of indexes there are not", func(j *batchv1.Job) {
			indexedJob(j)
			j.Spec.SuccessPolicy = &batchv1.SuccessPolicy{Rules: []batchv1.SuccessPolicyRule{{SucceededIndexes: ptr.To("0,7")}, {SucceededCount: ptr.To[int32](6)}, {}}}
		}, []string{"spec.successPolicy.rules[0].succeededIndexes: too large index", "spec.successPolicy.rules[1].succeededCount", "spec.successPolicy.rules[2]"}},
		{"success policy, not indexed", func(j *batchv1.Job) { j.Spec.SuccessPolicy = &batchv1.SuccessPolicy{} }, []string{"spec.successPolicy: requires indexed"}},
		{"managed by nobody", func(j *batchv1.Job) { j.Spec.ManagedBy = ptr.To("me") }, []string{"spec.managedBy: "}},
		{"a name its pods cannot have", func(j *batchv1.Job) {
			indexedJob(j)
			j.Name = strings.Repeat("a", 63)
		}, []string{"metadata.name: will not able to create pod"}},
	} {
		check(t, c.name, validateJob(made(c.change), true), c.want...)
	}
}

func TestJobUpdate(t *testing.T) {
	suspended := func(j *batchv1.Job) { j.Spec.Suspend = ptr.To(true) }
	cpu := func(j *batchv1.Job) {
		j.Spec.Template.Spec.Containers[0].Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1")}
	}
	where := func(j *batchv1.Job) { j.Spec.Template.Spec.NodeSelector = map[string]string{"a": "b"} }
	for _, c := range []struct {
		name        string
		old, change func(*batchv1.Job)
		want        []string
	}{
		{"nothing", nil, func(*batchv1.Job) {}, nil},
		{"suspend", nil, suspended, nil},
		{"parallelism", nil, func(j *batchv1.Job) { j.Spec.Parallelism = ptr.To[int32](9) }, nil},
		{"completions", nil, func(j *batchv1.Job) { j.Spec.Completions = ptr.To[int32](9) }, []string{"spec.completions: field is immutable"}},
		{"completions of an indexed job", indexedJob, func(j *batchv1.Job) { j.Spec.Completions = ptr.To[int32](9) }, []string{"spec.completions: in tandem"}},
		{"both of an indexed job", indexedJob, func(j *batchv1.Job) {
			j.Spec.Completions, j.Spec.Parallelism = ptr.To[int32](9), ptr.To[int32](9)
		}, nil},
		{"resources while it runs", nil, cpu, []string{"spec.template: field is immutable"}},
		{"resources while suspended", suspended, cpu, nil},
		{"node selector while suspended", suspended, where, nil},
		{"node selector of a suspended job that has pods yet", func(j *batchv1.Job) {
			suspended(j)
			j.Status.Active = 1
		}, where, []string{"spec.template: field is immutable"}},
		{"node selector of a job suspended again", func(j *batchv1.Job) {
			suspended(j)
			j.Status.StartTime = &metav1.Time{Time: now}
			j.Status.Conditions = []batchv1.JobCondition{{Type: batchv1.JobSuspended, Status: corev1.ConditionTrue}}
		}, where, nil},
		{"image while suspended", suspended, func(j *batchv1.Job) { j.Spec.Template.Spec.Containers[0].Image = "x" }, []string{"spec.template.spec: field is immutable"}},
		{"manager", nil, func(j *batchv1.Job) { j.Spec.ManagedBy = ptr.To("example.com/x") }, []string{"spec.managedBy: field is immutable"}},
	} {
		old := made(c.old)
		if c.old != nil {
			c.old(old) // its status, which creation cleared
		}
		j := old.DeepCopy()
		c.change(j)
		check(t, c.name, validateJobUpdate(j, old), c.want...)
	}
}

func TestJobStatusTransitions(t *testing.T) {
	cond := func(types ...batchv1.JobConditionType) (out []batchv1.JobCondition) {
		for _, ty := range types {
			out = append(out, batchv1.JobCondition{Type: ty, Status: corev1.ConditionTrue})
		}
		return out
	}
	at := func(s int) *metav1.Time { return &metav1.Time{Time: now.Add(time.Duration(s) * time.Second)} }
	complete := batchv1.JobStatus{StartTime: at(0), CompletionTime: at(5), Conditions: cond(batchv1.JobSuccessCriteriaMet, batchv1.JobComplete)}
	failed := batchv1.JobStatus{StartTime: at(0), Conditions: cond(batchv1.JobFailureTarget, batchv1.JobFailed)}
	running := batchv1.JobStatus{StartTime: at(0), Active: 1, Succeeded: 1, Failed: 1}
	for _, c := range []struct {
		name     string
		job      func(*batchv1.Job)
		old, new batchv1.JobStatus
		want     []string
	}{
		{"completes", nil, batchv1.JobStatus{StartTime: at(0)}, complete, nil},
		{"fails", nil, batchv1.JobStatus{StartTime: at(0)}, failed, nil},
		{"completes at once", nil, batchv1.JobStatus{StartTime: at(0)}, batchv1.JobStatus{StartTime: at(0), Conditions: cond(batchv1.JobComplete)},
			[]string{"status.conditions: without the SuccessCriteriaMet", "status.completionTime: completionTime is required"}},
		{"fails at once", nil, batchv1.JobStatus{StartTime: at(0)}, batchv1.JobStatus{StartTime: at(0), Conditions: cond(batchv1.JobFailed)}, []string{"status.conditions: without the FailureTarget"}},
		{"lives again", nil, complete, batchv1.JobStatus{StartTime: at(0), CompletionTime: at(5), Conditions: cond(batchv1.JobSuccessCriteriaMet)},
			[]string{"status.conditions: cannot disable the terminal Complete=True", "status.completionTime: no Complete=True"}},
		{"ends with pods", nil, running, func() batchv1.JobStatus { s := failed; s.Active, s.Succeeded, s.Failed = 1, 1, 1; return s }(), []string{"status.active: active>0"}},
		{"counts down", nil, running, batchv1.JobStatus{StartTime: at(0)}, []string{"status.failed: cannot decrease", "status.succeeded: cannot decrease"}},
		{"starts again", nil, running, func() batchv1.JobStatus { s := running; s.StartTime = at(9); return s }(), []string{"status.startTime: immutable for unsuspended"}},
		{"starts again, resumed", nil, func() batchv1.JobStatus { s := running; s.Conditions = cond(batchv1.JobSuspended); return s }(), func() batchv1.JobStatus {
			s := running
			s.StartTime, s.Conditions = at(9), []batchv1.JobCondition{{Type: batchv1.JobSuspended, Status: corev1.ConditionFalse}}
			return s
		}(), nil},
		{"ends before it starts", nil, batchv1.JobStatus{StartTime: at(9)}, func() batchv1.JobStatus { s := complete; s.StartTime = at(9); return s }(), []string{"status.completionTime: must be equal to or after"}},
		{"indexes of a job without", nil, running, func() batchv1.JobStatus { s := running; s.CompletedIndexes = "0"; return s }(), []string{"status.completedIndexes: non-indexed"}},
		{"indexes", indexedJob, running, func() batchv1.JobStatus { s := running; s.CompletedIndexes = "0,2-4"; return s }(), nil},
		{"indexes in both lists", func(j *batchv1.Job) { indexedJob(j); j.Spec.BackoffLimitPerIndex = ptr.To[int32](1) }, running, func() batchv1.JobStatus {
			s := running
			s.CompletedIndexes, s.FailedIndexes = "0,2-4", ptr.To("3")
			return s
		}(), []string{"status.failedIndexes: overlap at index: 3"}},
		{"more ready than there are", nil, running, func() batchv1.JobStatus { s := running; s.Ready = ptr.To[int32](2); return s }(), []string{"status.ready: more ready pods"}},
	} {
		old := made(c.job)
		j := old.DeepCopy()
		old.Status, j.Status = c.old, c.new
		check(t, c.name, validateJobStatusUpdate(j, old), c.want...)
	}
}

func TestIndexes(t *testing.T) {
	for _, c := range []struct {
		list string
		n    int32
		err  string
	}{
		{"", 0, ""}, {"0", 1, ""}, {"0,2-4,9", 5, ""}, {"10", 0, "too large"}, {"3-1", 0, "non-increasing"}, {"4,2", 0, "non-increasing"},
		{"1-2-3", 0, "at most two parts"}, {"a", 0, "cannot convert"}, {"1,", 0, "cannot convert"},
	} {
		n, err := countIndexes(c.list, 10)
		if n != c.n || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%q names %d indexes, %v; want %d, %s", c.list, n, err, c.n, c.err)
		}
	}
}

func TestJobColumns(t *testing.T) {
	j := made(func(j *batchv1.Job) { j.Spec.Parallelism = ptr.To[int32](3) })
	j.Status.StartTime = &metav1.Time{Time: now.Add(-90 * time.Second)}
	if got := jobCells(j, now)[1:4]; got[0] != "Running" || got[1] != "0/1 of 3" || got[2] != "90s" {
		t.Errorf("cells are %v", got)
	}
	j.DeletionTimestamp = &metav1.Time{Time: now}
	j.Status.Conditions = []batchv1.JobCondition{{Type: batchv1.JobSuspended, Status: corev1.ConditionTrue}}
	if got := jobState(j); got != "Terminating" {
		t.Errorf("a deleted job is %s", got)
	}
}
