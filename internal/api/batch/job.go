package batch

import (
	"fmt"
	"maps"
	"math"
	"strconv"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/monohull/monohull/internal/api"
	"github.com/monohull/monohull/internal/api/core"
	"github.com/monohull/monohull/internal/api/meta"
)

// The labels of a job's pods from before labels of Kubernetes had a prefix.
const (
	legacyControllerUIDLabel = "controller-uid"
	legacyJobNameLabel       = "job-name"
)

const (
	defaultBackoffLimit = 6
	orphanWarning       = "child pods are preserved by default when jobs are deleted; " +
		"set propagationPolicy=Background to remove them or set propagationPolicy=Orphan to suppress this warning"
)

func jobRow() *api.Kind {
	return api.Define(api.Spec[*batchv1.Job]{
		GVK: gvk("Job"), Plural: "jobs", Singular: "job", Categories: []string{"all"},
		Namespaced: true, Generation: true, UnconditionalUpdate: true, OrphanByDefault: &api.Orphaning{Warning: orphanWarning},
		List:    &batchv1.JobList{},
		Default: defaultJob,
		PrepareCreate: func(j *batchv1.Job) {
			j.Generation = 1
			if !value(j.Spec.ManualSelector) {
				generateSelector(j)
			}
			labelAsTemplate(j)
			core.DropUnservedFields(&j.Spec.Template.Spec)
		},
		PrepareUpdate:  func(j, _ *batchv1.Job) { core.DropUnservedFields(&j.Spec.Template.Spec) },
		PrepareStatus:  func(j, _ *batchv1.Job) { labelAsTemplate(j) },
		Validate:       func(j *batchv1.Job) field.ErrorList { return validateJob(j, true) },
		ValidateUpdate: validateJobUpdate,
		ValidateStatus: validateJobStatusUpdate,
		Warnings: func(j *batchv1.Job) []string {
			return append(core.NameInPodsWarning(j.Name), jobSpecWarnings(&j.Spec, specPath)...)
		},
		UpdateWarnings: func(j, old *batchv1.Job) []string {
			if j.Generation == old.Generation {
				return nil
			}
			return jobSpecWarnings(&j.Spec, specPath)
		},
		Fields: map[string]func(*batchv1.Job) string{
			"status.successful": func(j *batchv1.Job) string { return strconv.Itoa(int(j.Status.Succeeded)) },
		},
		Columns: []metav1.TableColumnDefinition{
			meta.NameColumn,
			meta.Text("Status", "Status of the job."),
			meta.Text("Completions", "The number of pods which reached phase Succeeded, of those wanted."),
			meta.Text("Duration", "Time required to complete the job."),
			meta.AgeColumn,
			meta.Wide("Containers", "Names of each container in the template."),
			meta.Wide("Images", "Images referenced by each container in the template."),
			meta.Wide("Selector", "The label query over its pods."),
		},
		Row: jobCells,
	})
}

func defaultJob(j *batchv1.Job) {
	s := &j.Spec
	if s.Completions == nil && s.Parallelism == nil {
		setDefault(&s.Completions, 1)
	}
	setDefault(&s.Parallelism, 1)
	if s.BackoffLimitPerIndex != nil {
		setDefault(&s.BackoffLimit, math.MaxInt32)
	}
	setDefault(&s.BackoffLimit, defaultBackoffLimit)
	if len(j.Labels) == 0 && s.Template.Labels != nil {
		j.Labels = s.Template.Labels // one map: what creation adds to the one, the other gets too
	}
	setDefault(&s.CompletionMode, batchv1.NonIndexedCompletion)
	setDefault(&s.Suspend, false)
	if s.PodFailurePolicy != nil {
		setDefault(&s.PodReplacementPolicy, batchv1.Failed)
	}
	setDefault(&s.PodReplacementPolicy, batchv1.TerminatingOrFailed)
	setDefault(&s.ManualSelector, false)
	defaultJobTemplate(s)
}

// labelAsTemplate gives a job without labels those of its pods.
func labelAsTemplate(j *batchv1.Job) {
	if len(j.Labels) == 0 {
		j.Labels = maps.Clone(j.Spec.Template.Labels)
	}
}

// defaultJobTemplate fills what the jobs of a cron job have as well before
// they are made.
func defaultJobTemplate(s *batchv1.JobSpec) {
	if p := s.PodFailurePolicy; p != nil {
		for i := range p.Rules {
			for j := range p.Rules[i].OnPodConditions {
				if c := &p.Rules[i].OnPodConditions[j]; c.Status == "" {
					c.Status = corev1.ConditionTrue
				}
			}
		}
	}
	core.DefaultPodTemplateSpec(&s.Template)
}

// generateSelector makes the job select its own pods by its UID, and labels
// them so. A label that the user has set otherwise is left for validation to
// refuse.
func generateSelector(j *batchv1.Job) {
	put := func(m map[string]string, k, v string) {
		if _, ok := m[k]; !ok {
			m[k] = v
		}
	}
	s := &j.Spec
	if s.Template.Labels == nil {
		s.Template.Labels = map[string]string{}
	}
	for k, v := range ownLabels(j) {
		put(s.Template.Labels, k, v)
	}
	if s.Selector == nil {
		s.Selector = &metav1.LabelSelector{}
	}
	if s.Selector.MatchLabels == nil {
		s.Selector.MatchLabels = map[string]string{}
	}
	put(s.Selector.MatchLabels, batchv1.ControllerUidLabel, string(j.UID))
}

func ownLabels(j *batchv1.Job) map[string]string {
	return map[string]string{
		legacyJobNameLabel: j.Name, batchv1.JobNameLabel: j.Name,
		legacyControllerUIDLabel: string(j.UID), batchv1.ControllerUidLabel: string(j.UID),
	}
}

func jobSpecWarnings(s *batchv1.JobSpec, p *field.Path) []string {
	var w []string
	if indexed(s) && value(s.Completions) > manyCompletions && value(s.Parallelism) > highParallelism {
		w = append(w, fmt.Sprintf("%s: In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than 10^4, "+
			"Kubernetes might not be able to track completedIndexes when a big number of indexes fail", p))
	}
	return append(w, core.PodTemplateWarnings(p.Child("template"), &s.Template)...)
}

func jobCells(j *batchv1.Job, now time.Time) []any {
	done := fmt.Sprintf("%d/1", j.Status.Succeeded)
	if c := j.Spec.Completions; c != nil {
		done = fmt.Sprintf("%d/%d", j.Status.Succeeded, *c)
	} else if n := value(j.Spec.Parallelism); n > 1 {
		done = fmt.Sprintf("%d/1 of %d", j.Status.Succeeded, n)
	}
	took := ""
	if start := j.Status.StartTime; start != nil {
		end := now
		if j.Status.CompletionTime != nil {
			end = j.Status.CompletionTime.Time
		}
		took = duration.HumanDuration(end.Sub(start.Time))
	}
	names, images := meta.ContainersAndImages(j.Spec.Template.Spec.Containers)
	return []any{j.Name, jobState(j), done, took, meta.Age(j.CreationTimestamp, now), names, images, metav1.FormatLabelSelector(j.Spec.Selector)}
}

func jobState(j *batchv1.Job) string {
	for _, t := range []batchv1.JobConditionType{batchv1.JobComplete, batchv1.JobFailed} {
		if conditionIs(j, t, corev1.ConditionTrue) {
			return string(t)
		}
	}
	if j.DeletionTimestamp != nil {
		return "Terminating"
	}
	for _, t := range []batchv1.JobConditionType{batchv1.JobSuspended, batchv1.JobFailureTarget, batchv1.JobSuccessCriteriaMet} {
		if conditionIs(j, t, corev1.ConditionTrue) {
			return string(t)
		}
	}
	return "Running"
}

func conditionIs(j *batchv1.Job, t batchv1.JobConditionType, s corev1.ConditionStatus) bool {
	for _, c := range j.Status.Conditions {
		if c.Type == t && c.Status == s {
			return true
		}
	}
	return false
}
