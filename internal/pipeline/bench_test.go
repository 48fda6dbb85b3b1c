package pipeline

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/monohull/monohull/internal/admission"
)

// BenchmarkWrite measures the pipeline with admission and a store in memory.
func BenchmarkWrite(b *testing.B) {
	r := newRig(b).withAdmission()
	r.pipe.Admission = admission.Chain(r.client)
	pods := kind[*corev1.Pod](r)
	n := 0
	b.Run("create", func(b *testing.B) {
		b.ReportAllocs()
		defer cpu(b)()
		for b.Loop() {
			n++
			pod := newPod(fmt.Sprintf("p%d", n))
			pod.Labels = map[string]string{"app": "web"}
			if _, err := pods.Create(r.ctx, pod); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("patch", func(b *testing.B) {
		b.ReportAllocs()
		defer cpu(b)()
		for b.Loop() {
			n++
			patch := fmt.Appendf(nil, `{"metadata":{"labels":{"n":"%d"}}}`, n)
			if _, err := pods.Patch(r.ctx, "ns", "p1", "", types.MergePatchType, patch); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("status", func(b *testing.B) {
		b.ReportAllocs()
		defer cpu(b)()
		for b.Loop() {
			n++
			_, err := pods.Modify(r.ctx, "ns", "p1", "status", func(pod *corev1.Pod) error {
				pod.Status.Message = fmt.Sprint(n)
				pod.Status.Conditions = []corev1.PodCondition{{Type: "Ready", Status: "True"}}
				return nil
			})
			if err != nil {
				b.Fatal(err)
			}
		}
	})
}

// cpu reports the processor time of an operation, which other work on the
// machine disturbs less than its length.
func cpu(b *testing.B) func() {
	b.Helper()
	used := func() time.Duration {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			b.Fatal(err)
		}
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	from := used()
	return func() { b.ReportMetric(float64(used()-from)/float64(b.N), "cpu-ns/op") }
}
