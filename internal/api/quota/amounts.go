package quota

import (
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// The functions of this file leave their arguments as they are.

func whole(n int64) resource.Quantity { return *resource.NewQuantity(n, resource.DecimalSI) }

// Add is the sum of two lists.
func Add(a, b corev1.ResourceList) corev1.ResourceList {
	out := make(corev1.ResourceList, len(a)+len(b))
	for n, q := range a {
		out[n] = q.DeepCopy()
	}
	for n, q := range b {
		if sum, ok := out[n]; ok {
			sum.Add(q)
			out[n] = sum
		} else {
			out[n] = q.DeepCopy()
		}
	}
	return out
}

// Equal tells whether two lists name the same resources in the same amounts.
func Equal(a, b corev1.ResourceList) bool {
	return maps.EqualFunc(a, b, func(x, y resource.Quantity) bool { return x.Cmp(y) == 0 })
}

// Mask is what a list says of some resources.
func Mask(l corev1.ResourceList, names []corev1.ResourceName) corev1.ResourceList {
	out := corev1.ResourceList{}
	for _, n := range names {
		if q, ok := l[n]; ok {
			out[n] = q.DeepCopy()
		}
	}
	return out
}

// Names lists the resources of a list in order.
func Names(l corev1.ResourceList) []corev1.ResourceName { return slices.Sorted(maps.Keys(l)) }

// growth is by how much a list exceeds another, never less than nothing.
func growth(now, before corev1.ResourceList) corev1.ResourceList {
	out := corev1.ResourceList{}
	for n, q := range now {
		d := q.DeepCopy()
		if was, ok := before[n]; ok {
			d.Sub(was)
		}
		if d.Sign() > 0 {
			out[n] = d
		}
	}
	return out
}

func withoutZeros(l corev1.ResourceList) corev1.ResourceList {
	out := corev1.ResourceList{}
	for n, q := range l {
		if !q.IsZero() {
			out[n] = q
		}
	}
	return out
}

// over lists the resources of which l has more than limit allows.
func over(l, limit corev1.ResourceList) []corev1.ResourceName {
	var out []corev1.ResourceName
	for n, most := range limit {
		if q, ok := l[n]; ok && q.Cmp(most) > 0 {
			out = append(out, n)
		}
	}
	return out
}

func negative(l corev1.ResourceList) []corev1.ResourceName {
	var out []corev1.ResourceName
	for n, q := range l {
		if q.Sign() < 0 {
			out = append(out, n)
		}
	}
	return out
}

// both lists what is in two lists, in order and once.
func both(a, b []corev1.ResourceName) []corev1.ResourceName {
	var out []corev1.ResourceName
	for _, n := range a {
		if slices.Contains(b, n) && !slices.Contains(out, n) {
			out = append(out, n)
		}
	}
	slices.Sort(out)
	return out
}

// print shows a list as a message to users does: cpu=1,memory=2Gi.
func print(l corev1.ResourceList) string {
	parts := make([]string, 0, len(l))
	for _, n := range Names(l) {
		q := l[n]
		parts = append(parts, string(n)+"="+q.String())
	}
	return strings.Join(parts, ",")
}

func printNames(list []corev1.ResourceName) string {
	parts := make([]string, 0, len(list))
	for _, n := range list {
		parts = append(parts, string(n))
	}
	slices.Sort(parts)
	return strings.Join(parts, ",")
}
