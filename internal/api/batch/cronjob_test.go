package batch

import (
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

func TestCronJob(t *testing.T) {
	k := cronJobRow()
	for _, c := range []struct {
		name   string
		change func(*batchv1.CronJob)
		want   []string
	}{
		{"plain", nil, nil},
		{"every", func(c *batchv1.CronJob) { c.Spec.Schedule = "@every 5m" }, nil},
		{"four fields", func(c *batchv1.CronJob) { c.Spec.Schedule = "* * * *" }, []string{"spec.schedule: expected exactly 5 fields"}},
		{"the parser panics", func(c *batchv1.CronJob) { c.Spec.Schedule = "TZ=0" }, []string{"spec.schedule: invalid schedule format", "spec.schedule: cannot use TZ"}},
		{"zone", func(c *batchv1.CronJob) { c.Spec.TimeZone = ptr.To("America/New_York") }, nil},
		{"no such zone", func(c *batchv1.CronJob) { c.Spec.TimeZone = ptr.To("Europe/Atlantis") }, []string{"spec.timeZone: unknown time zone"}},
		{"zone that climbs", func(c *batchv1.CronJob) { c.Spec.TimeZone = ptr.To("../etc/passwd") }, []string{"spec.timeZone: unknown time zone"}},
		{"zone of the host", func(c *batchv1.CronJob) { c.Spec.TimeZone = ptr.To("local") }, []string{"spec.timeZone: explicit time zone", "spec.timeZone: unknown time zone"}},
		{"zone in the schedule", func(c *batchv1.CronJob) { c.Spec.Schedule = "TZ=UTC * * * * *" }, []string{"spec.schedule: use timeZone field instead"}},
		{"selector", func(c *batchv1.CronJob) { c.Spec.JobTemplate.Spec.Selector = &metav1.LabelSelector{} }, []string{"spec.jobTemplate.spec.selector: auto-generated"}},
		{"long name", func(c *batchv1.CronJob) { c.Name = "a2345678901234567890123456789012345678901234567890123" }, []string{"metadata.name: no more than 52"}},
	} {
		cj := &batchv1.CronJob{ObjectMeta: metav1.ObjectMeta{Name: "c", Namespace: "ns"}, Spec: batchv1.CronJobSpec{Schedule: "* * * * *"}}
		cj.Spec.JobTemplate.Spec.Template.Spec = corev1.PodSpec{RestartPolicy: corev1.RestartPolicyNever, Containers: []corev1.Container{{Name: "c", Image: "i"}}}
		if c.change != nil {
			c.change(cj)
		}
		k.Default(cj)
		check(t, c.name, k.Validate(cj), c.want...)
	}
}

func TestCronJobKeepsAZoneInItsSchedule(t *testing.T) {
	old := &batchv1.CronJobSpec{Schedule: "TZ=UTC * * * * *", ConcurrencyPolicy: batchv1.AllowConcurrent}
	old.JobTemplate.Spec.Template.Spec = corev1.PodSpec{RestartPolicy: corev1.RestartPolicyNever, Containers: []corev1.Container{{Name: "c", Image: "i"}}}
	defaultJobTemplate(&old.JobTemplate.Spec)
	check(t, "kept", validateCronJobSpec(old, old, specPath))
	both := old.DeepCopy()
	both.TimeZone = ptr.To("UTC")
	check(t, "and the field", validateCronJobSpec(both, old, specPath), "spec.schedule: cannot use both")
}
