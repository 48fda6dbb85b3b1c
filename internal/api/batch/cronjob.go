package batch

import (
	"fmt"
	"strings"
	"time"
	_ "time/tzdata" // so that time zones need nothing of the host

	"github.com/robfig/cron/v3"
	batchv1 "k8s.io/api/batch/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/monohull/monohull/internal/api"
	"github.com/monohull/monohull/internal/api/core"
	"github.com/monohull/monohull/internal/api/meta"
)

// maxCronJobName leaves room for the time that the names of its jobs end in.
const maxCronJobName = validation.DNS1035LabelMaxLength - 11

func cronJobRow() *api.Kind {
	return api.Define(api.Spec[*batchv1.CronJob]{
		GVK: gvk("CronJob"), Plural: "cronjobs", Singular: "cronjob", ShortNames: []string{"cj"}, Categories: []string{"all"},
		Namespaced: true, Generation: true, UnconditionalUpdate: true,
		List:    &batchv1.CronJobList{},
		Default: defaultCronJob,
		PrepareCreate: func(c *batchv1.CronJob) {
			c.Generation = 1
			core.DropUnservedFields(&c.Spec.JobTemplate.Spec.Template.Spec)
		},
		PrepareUpdate: func(c, _ *batchv1.CronJob) { core.DropUnservedFields(&c.Spec.JobTemplate.Spec.Template.Spec) },
		Validate: func(c *batchv1.CronJob) field.ErrorList {
			r := meta.Report{Errs: meta.ValidateObjectMeta(&c.ObjectMeta, true, meta.DNSSubdomain)}
			r.Add(validateCronJobSpec(&c.Spec, nil, specPath))
			if len(c.Name) > maxCronJobName {
				r.Invalid(field.NewPath("metadata", "name"), c.Name, fmt.Sprintf("must be no more than %d characters", maxCronJobName))
			}
			return r.Errs
		},
		ValidateUpdate: func(c, old *batchv1.CronJob) field.ErrorList {
			return append(meta.ValidateObjectMetaUpdate(&c.ObjectMeta, &old.ObjectMeta), validateCronJobSpec(&c.Spec, &old.Spec, specPath)...)
		},
		ValidateStatus: func(c, old *batchv1.CronJob) field.ErrorList {
			return apivalidation.ValidateObjectMetaUpdate(&c.ObjectMeta, &old.ObjectMeta, field.NewPath("metadata"))
		},
		Warnings: func(c *batchv1.CronJob) []string {
			return append(core.NameInPodsWarning(c.Name), jobSpecWarnings(&c.Spec.JobTemplate.Spec, specPath.Child("jobTemplate", "spec"))...)
		},
		UpdateWarnings: func(c, old *batchv1.CronJob) (w []string) {
			if c.Generation != old.Generation {
				w = jobSpecWarnings(&c.Spec.JobTemplate.Spec, specPath.Child("jobTemplate", "spec"))
			}
			if strings.Contains(c.Spec.Schedule, "TZ") { // only of an old object, new ones are refused
				w = append(w, fmt.Sprintf("cannot use TZ or CRON_TZ in %s, use timeZone instead, see https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details",
					specPath.Child("spec", "schedule")))
			}
			return w
		},
		Columns: []metav1.TableColumnDefinition{
			meta.NameColumn,
			meta.Text("Schedule", "The schedule in Cron format, see https://en.wikipedia.org/wiki/Cron."),
			meta.Text("Timezone", "The time zone name for the given schedule."),
			{Name: "Suspend", Type: "boolean", Description: "Whether subsequent executions are suspended."},
			meta.Number("Active", "The number of currently running jobs."),
			meta.Text("Last Schedule", "When the job was last successfully scheduled."),
			meta.AgeColumn,
			meta.Wide("Containers", "Names of each container in the template."),
			meta.Wide("Images", "Images referenced by each container in the template."),
			meta.Wide("Selector", "The label query over its pods."),
		},
		Row: cronJobCells,
	})
}

func defaultCronJob(c *batchv1.CronJob) {
	s := &c.Spec
	if s.ConcurrencyPolicy == "" {
		s.ConcurrencyPolicy = batchv1.AllowConcurrent
	}
	setDefault(&s.Suspend, false)
	setDefault(&s.SuccessfulJobsHistoryLimit, 3)
	setDefault(&s.FailedJobsHistoryLimit, 1)
	defaultJobTemplate(&s.JobTemplate.Spec)
}

func cronJobCells(c *batchv1.CronJob, now time.Time) []any {
	last, zone, suspend := "<none>", "<none>", "<unset>"
	if t := c.Status.LastScheduleTime; t != nil {
		last = meta.Age(*t, now)
	}
	if z := c.Spec.TimeZone; z != nil {
		zone = *z
	}
	if s := c.Spec.Suspend; s != nil {
		suspend = "False"
		if *s {
			suspend = "True"
		}
	}
	names, images := meta.ContainersAndImages(c.Spec.JobTemplate.Spec.Template.Spec.Containers)
	return []any{c.Name, c.Spec.Schedule, zone, suspend, int64(len(c.Status.Active)), last, meta.Age(c.CreationTimestamp, now),
		names, images, metav1.FormatLabelSelector(c.Spec.JobTemplate.Spec.Selector)}
}

// validateCronJobSpec judges a specification; old is nil for a new object.
func validateCronJobSpec(s, old *batchv1.CronJobSpec, p *field.Path) field.ErrorList {
	var r meta.Report
	if s.Schedule == "" {
		r.Required(p.Child("schedule"), "")
	} else {
		schedule(&r, s, old != nil && strings.Contains(old.Schedule, "TZ"), p.Child("schedule"))
	}
	r.NonNegative(p.Child("startingDeadlineSeconds"), value(s.StartingDeadlineSeconds))
	if s.TimeZone != nil && (old == nil || !same(old.TimeZone, s.TimeZone)) {
		timeZone(&r, *s.TimeZone, p.Child("timeZone"))
	}
	meta.OneOf(&r, p.Child("concurrencyPolicy"), s.ConcurrencyPolicy, batchv1.AllowConcurrent, batchv1.ForbidConcurrent, batchv1.ReplaceConcurrent)
	job, at := &s.JobTemplate.Spec, p.Child("jobTemplate", "spec")
	r.Add(validateJobSpec(job, at))
	if job.Selector != nil {
		r.Invalid(at.Child("selector"), job.Selector, "`selector` will be auto-generated")
	}
	if m := job.ManualSelector; m != nil && *m {
		r.Errs = append(r.Errs, field.NotSupported(at.Child("manualSelector"), m, []string{"nil", "false"}))
	}
	r.NonNegative(p.Child("successfulJobsHistoryLimit"), int64(value(s.SuccessfulJobsHistoryLimit)))
	r.NonNegative(p.Child("failedJobsHistoryLimit"), int64(value(s.FailedJobsHistoryLimit)))
	return r.Errs
}

// schedule judges a schedule. A zone within it is left alone where it was
// there before.
func schedule(r *meta.Report, s *batchv1.CronJobSpec, zoned bool, p *field.Path) {
	if _, err := ParseSchedule(s.Schedule); err != nil {
		r.Invalid(p, s.Schedule, err.Error())
	}
	switch zone := strings.Contains(s.Schedule, "TZ"); {
	case zone && !zoned:
		r.Invalid(p, s.Schedule, "cannot use TZ or CRON_TZ in schedule, use timeZone field instead")
	case zone && s.TimeZone != nil:
		r.Invalid(p, s.Schedule, "cannot use both timeZone field and TZ or CRON_TZ in schedule")
	}
}

// ParseSchedule reads a schedule in Cron format. The parser is known to panic
// on some input; that is an error like any other.
func ParseSchedule(s string) (sched cron.Schedule, err error) {
	defer func() {
		if r := recover(); r != nil {
			sched, err = nil, fmt.Errorf("invalid schedule format: %v", r)
		}
	}()
	return cron.ParseStandard(s)
}

// maxZonePart bounds a component of the name of a time zone.
const maxZonePart = 14

// isZonePart tells whether s may be a component of the name of a time zone by
// IANA's rules, with the digits and + of names that are older.
func isZonePart(s string) bool {
	if s == "" || len(s) > maxZonePart || s == "." || s == ".." || s[0] == '-' {
		return false
	}
	for _, c := range []byte(s) {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if !letter && (c < '0' || c > '9') && !strings.ContainsRune(".-_+", rune(c)) {
			return false
		}
	}
	return true
}

func timeZone(r *meta.Report, name string, p *field.Path) {
	if name == "" {
		r.Invalid(p, name, "timeZone must be nil or non-empty string")
		return
	}
	for _, part := range strings.Split(name, "/") {
		if !isZonePart(part) {
			r.Invalid(p, name, "unknown time zone "+name)
			return
		}
	}
	if strings.EqualFold(name, "Local") {
		r.Invalid(p, name, "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones")
	}
	if _, err := time.LoadLocation(name); err != nil {
		r.Invalid(p, name, err.Error())
	}
}
