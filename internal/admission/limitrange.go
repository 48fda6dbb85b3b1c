package admission

import (
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"

	"github.com/monohull/monohull/internal/api/quota"
)

const limitRangerAnnotation = "kubernetes.io/limit-ranger"

// limitRanger gives containers the namespace's default requests and limits, and
// holds pods and claims to its minima, maxima and ratios.
func limitRanger(d Deps) Plugin {
	ranges := read[*corev1.LimitRange](d.Client)
	// of returns the limits that the request is held to.
	of := func(a *Attributes) []*corev1.LimitRange {
		switch a.Object.(type) {
		case *corev1.Pod:
			if !a.writes(Create) && !(a.Subresource == "resize" && a.Operation == Update) {
				return nil
			}
		case *corev1.PersistentVolumeClaim:
			if !a.writes(Create, Update) {
				return nil
			}
		default:
			return nil
		}
		if a.Old != nil && a.Old.GetDeletionTimestamp() != nil {
			return nil
		}
		return ranges.List(a.Namespace)
	}
	return Plugin{
		Mutate: func(_ context.Context, a *Attributes) error {
			for _, l := range of(a) {
				if pod := podOf(a); pod != nil {
					defaultResources(pod, l)
				}
			}
			return nil
		},
		Validate: func(_ context.Context, a *Attributes) error {
			for _, l := range of(a) {
				var errs []error
				switch o := a.Object.(type) {
				case *corev1.Pod:
					errs = podLimits(o, l)
				case *corev1.PersistentVolumeClaim:
					errs = claimLimits(o, l)
				}
				if err := utilerrors.NewAggregate(errs); err != nil {
					return forbidden(a, err)
				}
			}
			return nil
		},
	}
}

// defaultResources fills in what containers leave out, and notes it in an
// annotation.
func defaultResources(pod *corev1.Pod, l *corev1.LimitRange) {
	requests, limits := corev1.ResourceList{}, corev1.ResourceList{}
	for _, item := range l.Spec.Limits {
		if item.Type != corev1.LimitTypeContainer {
			continue
		}
		for n, q := range item.DefaultRequest {
			requests[n] = q.DeepCopy()
		}
		for n, q := range item.Default {
			limits[n] = q.DeepCopy()
		}
	}
	var notes []string
	fill := func(list []corev1.Container, what string) {
		for i := range list {
			c := &list[i]
			limited := fillIn(&c.Resources.Limits, limits)
			if n := fillIn(&c.Resources.Requests, requests); len(n) > 0 {
				notes = append(notes, fmt.Sprintf("%s request for %s %s", strings.Join(n, ", "), what, c.Name))
			}
			if len(limited) > 0 {
				notes = append(notes, fmt.Sprintf("%s limit for %s %s", strings.Join(limited, ", "), what, c.Name))
			}
		}
	}
	fill(pod.Spec.Containers, "container")
	fill(pod.Spec.InitContainers, "init container")
	if len(notes) > 0 {
		if pod.Annotations == nil {
			pod.Annotations = map[string]string{}
		}
		pod.Annotations[limitRangerAnnotation] = "LimitRanger plugin set: " + strings.Join(notes, "; ")
	}
}

// fillIn adds what have lacks of defaults and tells what that was.
func fillIn(have *corev1.ResourceList, defaults corev1.ResourceList) []string {
	var set []string
	for n, q := range defaults {
		if _, ok := (*have)[n]; ok {
			continue
		}
		if *have == nil {
			*have = corev1.ResourceList{}
		}
		(*have)[n] = q.DeepCopy()
		set = append(set, string(n))
	}
	slices.Sort(set)
	return set
}

func podLimits(pod *corev1.Pod, l *corev1.LimitRange) []error {
	var errs []error
	for _, item := range l.Spec.Limits {
		switch item.Type {
		case corev1.LimitTypeContainer:
			for _, list := range [][]corev1.Container{pod.Spec.Containers, pod.Spec.InitContainers} {
				for i := range list {
					errs = append(errs, hold(item, list[i].Resources.Requests, list[i].Resources.Limits)...)
				}
			}
		case corev1.LimitTypePod:
			requests := total(&pod.Spec, func(r *corev1.ResourceRequirements) corev1.ResourceList { return r.Requests })
			limits := total(&pod.Spec, func(r *corev1.ResourceRequirements) corev1.ResourceList { return r.Limits })
			errs = append(errs, hold(item, requests, limits)...)
		}
	}
	return errs
}

func hold(item corev1.LimitRangeItem, requests, limits corev1.ResourceList) []error {
	var errs []error
	add := func(err error) {
		if err != nil {
			errs = append(errs, err)
		}
	}
	for _, n := range quota.Names(item.Min) {
		add(minimum(item.Type, n, item.Min[n], requests, limits))
	}
	for _, n := range quota.Names(item.Max) {
		add(maximum(item.Type, n, item.Max[n], requests, limits))
	}
	for _, n := range quota.Names(item.MaxLimitRequestRatio) {
		add(ratio(item.Type, n, item.MaxLimitRequestRatio[n], requests, limits))
	}
	return errs
}

func claimLimits(c *corev1.PersistentVolumeClaim, l *corev1.LimitRange) []error {
	var errs []error
	add := func(err error) {
		if err != nil {
			errs = append(errs, err)
		}
	}
	requests := c.Spec.Resources.Requests
	for _, item := range l.Spec.Limits {
		if item.Type != corev1.LimitTypePersistentVolumeClaim {
			continue
		}
		for _, n := range quota.Names(item.Min) {
			add(minimum(item.Type, n, item.Min[n], requests, nil))
		}
		for _, n := range quota.Names(item.Max) {
			most, what := item.Max[n], fmt.Sprintf("maximum %s usage per %s is", n, item.Type)
			req, ok := requests[n]
			if !ok {
				add(fmt.Errorf("%s %s.  No request is specified", what, most.String()))
			} else if r, _, m := scale(req, resource.Quantity{}, most); r > m {
				add(fmt.Errorf("%s %s, but request is %s", what, most.String(), req.String()))
			}
		}
	}
	return errs
}

// scale gives three amounts in thousandths, or, where one is too large for
// that, in wholes.
func scale(req, lim, bound resource.Quantity) (r, l, b int64) {
	r, l, b = req.Value(), lim.Value(), bound.Value()
	if r <= resource.MaxMilliValue && l <= resource.MaxMilliValue && b <= resource.MaxMilliValue {
		return req.MilliValue(), lim.MilliValue(), bound.MilliValue()
	}
	return r, l, b
}

func minimum(t corev1.LimitType, n corev1.ResourceName, least resource.Quantity, requests, limits corev1.ResourceList) error {
	req, requested := requests[n]
	lim, limited := limits[n]
	r, l, b := scale(req, lim, least)
	what := fmt.Sprintf("minimum %s usage per %s is %s", n, t, least.String())
	switch {
	case !requested:
		return fmt.Errorf("%s.  No request is specified", what)
	case r < b:
		return fmt.Errorf("%s, but request is %s", what, req.String())
	case limited && l < b:
		return fmt.Errorf("%s, but limit is %s", what, lim.String())
	}
	return nil
}

func maximum(t corev1.LimitType, n corev1.ResourceName, most resource.Quantity, requests, limits corev1.ResourceList) error {
	req, requested := requests[n]
	lim, limited := limits[n]
	r, l, b := scale(req, lim, most)
	what := fmt.Sprintf("maximum %s usage per %s is %s", n, t, most.String())
	switch {
	case !limited:
		return fmt.Errorf("%s.  No limit is specified", what)
	case l > b:
		return fmt.Errorf("%s, but limit is %s", what, lim.String())
	case requested && r > b:
		return fmt.Errorf("%s, but request is %s", what, req.String())
	}
	return nil
}

func ratio(t corev1.LimitType, n corev1.ResourceName, most resource.Quantity, requests, limits corev1.ResourceList) error {
	req, requested := requests[n]
	lim, limited := limits[n]
	r, l, _ := scale(req, lim, most)
	what := fmt.Sprintf("%s max limit to request ratio per %s is %s", n, t, most.String())
	switch {
	case !requested || r == 0:
		return fmt.Errorf("%s, but no request is specified or request is 0", what)
	case !limited || l == 0:
		return fmt.Errorf("%s, but no limit is specified or limit is 0", what)
	}
	is, allowed := float64(l)/float64(r), float64(most.Value())
	shown := is
	if most.Value() <= resource.MaxMilliValue {
		is, allowed = is*1000, float64(most.MilliValue())
	}
	if is > allowed {
		return fmt.Errorf("%s, but provided ratio is %f", what, shown)
	}
	return nil
}

// total is what a pod asks for as a whole, by one of its lists: the sum of its
// containers and sidecars or, if more, what its start needs; or what it says
// itself of CPU and memory.
func total(s *corev1.PodSpec, list func(*corev1.ResourceRequirements) corev1.ResourceList) corev1.ResourceList {
	sum, sidecars, start := corev1.ResourceList{}, corev1.ResourceList{}, corev1.ResourceList{}
	for i := range s.Containers {
		sum = quota.Add(sum, list(&s.Containers[i].Resources))
	}
	atLeast := func(into, other corev1.ResourceList) {
		for n, q := range other {
			if have, ok := into[n]; !ok || q.Cmp(have) > 0 {
				into[n] = q.DeepCopy()
			}
		}
	}
	for i := range s.InitContainers {
		c := &s.InitContainers[i]
		if p := c.RestartPolicy; p != nil && *p == corev1.ContainerRestartPolicyAlways {
			sum, sidecars = quota.Add(sum, list(&c.Resources)), quota.Add(sidecars, list(&c.Resources))
			atLeast(start, sidecars)
			continue
		}
		atLeast(start, quota.Add(list(&c.Resources), sidecars))
	}
	atLeast(sum, start)
	if s.Resources != nil {
		for _, n := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
			if q, ok := list(s.Resources)[n]; ok {
				sum[n] = q
			}
		}
	}
	return sum
}
