package admission

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	psa "k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
)

// Bounds of what a change of a namespace's level looks at, upstream's.
const (
	maxPodsToCheck  = 3000
	maxPodCheckTime = time.Second
)

// warnPods tells the user which pods a new level would refuse.
func (s *security) warnPods(a *Attributes, namespace string, enforce psa.LevelVersion) error {
	evaluator, err := s.evaluator()
	if err != nil {
		return apierrors.NewInternalError(err)
	}
	pods := s.inOrder(s.pods.List(namespace, nil))
	total := len(pods)
	pods = pods[:min(total, maxPodsToCheck)]
	checked := len(pods)
	type found struct {
		what, pod string
		n         int
	}
	var all []*found
	start := s.d.Clock.Now()
	for i, pod := range pods {
		if r := policy.AggregateCheckResults(evaluator.EvaluatePod(enforce, &pod.ObjectMeta, &pod.Spec)); !r.Allowed {
			what := r.ForbiddenReason()
			j := slices.IndexFunc(all, func(f *found) bool { return f.what == what })
			if j < 0 {
				all, j = append(all, &found{what: what, pod: pod.Name}), len(all)
			}
			all[j].n++
			all[j].pod = min(all[j].pod, pod.Name)
		}
		if s.d.Clock.Since(start) > maxPodCheckTime {
			checked = i + 1
			break
		}
	}
	if checked < total {
		a.warn(fmt.Sprintf("new PodSecurity enforce level only checked against the first %d of %d existing pods", checked, total))
	}
	if len(all) > 0 {
		a.warn(fmt.Sprintf("existing pods in namespace %q violate the new PodSecurity enforce level %q", namespace, enforce.String()))
	}
	lines := make([]string, 0, len(all))
	for _, f := range all {
		switch f.n {
		case 1:
			lines = append(lines, fmt.Sprintf("%s: %s", f.pod, f.what))
		case 2:
			lines = append(lines, fmt.Sprintf("%s (and 1 other pod): %s", f.pod, f.what))
		default:
			lines = append(lines, fmt.Sprintf("%s (and %d other pods): %s", f.pod, f.n-1, f.what))
		}
	}
	slices.SortFunc(lines, cmp.Compare[string])
	for _, l := range lines {
		a.warn(l)
	}
	return nil
}

// inOrder puts one pod of each controller before its replicas, which are alike.
func (s *security) inOrder(pods []*corev1.Pod) []*corev1.Pod {
	var first, replicas []*corev1.Pod
	seen := map[types.UID]bool{}
	for _, p := range pods {
		if s.exemptRuntime(p.Spec.RuntimeClassName) {
			continue
		}
		owner := metav1.GetControllerOfNoCopy(p)
		if owner != nil && seen[owner.UID] {
			replicas = append(replicas, p)
			continue
		}
		if owner != nil {
			seen[owner.UID] = true
		}
		first = append(first, p)
	}
	return append(first, replicas...)
}

// warnExempt tells the user that the labels of an exempt namespace mean
// nothing.
func (s *security) warnExempt(a *Attributes, ns *corev1.Namespace, p psa.Policy) {
	if p.FullyPrivileged() || p.Equivalent(&s.defaults) {
		return
	}
	var parts []string
	say := func(mode string, lv psa.LevelVersion, labels ...string) {
		if lv.Level != psa.LevelPrivileged && slices.ContainsFunc(labels, func(l string) bool { return metav1.HasLabel(ns.ObjectMeta, l) }) {
			parts = append(parts, mode+"="+lv.String())
		}
	}
	say("enforce", p.Enforce, psa.EnforceLevelLabel, psa.EnforceVersionLabel)
	say("audit", p.Audit, psa.AuditLevelLabel, psa.AuditVersionLabel)
	say("warn", p.Warn, psa.WarnLevelLabel, psa.WarnVersionLabel)
	a.warn(fmt.Sprintf("namespace %q is exempt from Pod Security, and the policy (%s) will be ignored", ns.Name, strings.Join(parts, ", ")))
}
