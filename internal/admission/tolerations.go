package admission

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/monohull/monohull/internal/api/core"
	"github.com/monohull/monohull/internal/client"
)

// notReadySeconds is how long a pod stays on a node that is not ready or not
// reachable when the pod says nothing about it.
const notReadySeconds = 300

// defaultTolerationSeconds lets each pod tolerate a lost node for a while.
func defaultTolerationSeconds(Deps) Plugin {
	return Plugin{Mutate: func(_ context.Context, a *Attributes) error {
		pod := writtenPod(a)
		if pod == nil {
			return nil
		}
		for _, key := range []string{corev1.TaintNodeNotReady, corev1.TaintNodeUnreachable} {
			if tolerates(pod.Spec.Tolerations, key) {
				continue
			}
			seconds := int64(notReadySeconds)
			pod.Spec.Tolerations = append(pod.Spec.Tolerations, corev1.Toleration{
				Key: key, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: &seconds,
			})
		}
		return nil
	}}
}

func tolerates(list []corev1.Toleration, key string) bool {
	return slices.ContainsFunc(list, func(t corev1.Toleration) bool {
		return (t.Key == key || t.Key == "") && (t.Effect == corev1.TaintEffectNoExecute || t.Effect == "")
	})
}

// extendedResourceToleration lets pods that ask for an extended resource onto
// the nodes that are kept for it.
func extendedResourceToleration(Deps) Plugin {
	return Plugin{Mutate: func(_ context.Context, a *Attributes) error {
		pod := writtenPod(a)
		if pod == nil {
			return nil
		}
		var names []string
		for _, list := range [][]corev1.Container{pod.Spec.Containers, pod.Spec.InitContainers} {
			for i := range list {
				for n := range list[i].Resources.Requests {
					if isExtended(n) {
						names = append(names, string(n))
					}
				}
			}
		}
		slices.Sort(names)
		for _, n := range slices.Compact(names) {
			want := corev1.Toleration{Key: n, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoSchedule}
			same := func(t corev1.Toleration) bool { return want.MatchToleration(&t) }
			if i := slices.IndexFunc(pod.Spec.Tolerations, same); i >= 0 {
				pod.Spec.Tolerations[i] = want
			} else {
				pod.Spec.Tolerations = append(pod.Spec.Tolerations, want)
			}
		}
		return nil
	}}
}

func isExtended(n corev1.ResourceName) bool {
	if !strings.Contains(string(n), "/") || strings.Contains(string(n), corev1.ResourceDefaultNamespacePrefix) || strings.HasPrefix(string(n), corev1.DefaultResourceRequestsPrefix) {
		return false
	}
	return len(validation.IsQualifiedName(corev1.DefaultResourceRequestsPrefix+string(n))) == 0
}

// Annotations of namespaces that PodTolerationRestriction reads.
const (
	defaultTolerationsAnnotation = "scheduler.alpha.kubernetes.io/defaultTolerations"
	allowedTolerationsAnnotation = "scheduler.alpha.kubernetes.io/tolerationsWhitelist"
)

// tolerationConfig is podtolerationrestriction.admission.k8s.io/v1alpha1
// Configuration.
type tolerationConfig struct {
	typed
	Default   []corev1.Toleration `json:"default,omitempty"`
	Whitelist []corev1.Toleration `json:"whitelist,omitempty"`
}

// podTolerationRestriction adds the tolerations that a namespace gives its
// pods, and holds them to those it allows.
func podTolerationRestriction(d Deps, config []byte) (Plugin, error) {
	var cfg tolerationConfig
	if len(config) > 0 {
		if err := cfg.decode(config, "Configuration", []string{"podtolerationrestriction.admission.k8s.io/v1alpha1"}, &cfg); err != nil {
			return Plugin{}, err
		}
	}
	namespaces := client.Of[*corev1.Namespace](d.Client)
	validate := func(_ context.Context, a *Attributes) error {
		pod := writtenPod(a)
		if pod == nil || len(pod.Spec.Tolerations) == 0 {
			return nil
		}
		allowed, set, err := namespaceTolerations(namespaces, a.Namespace, allowedTolerationsAnnotation)
		if err != nil {
			return err
		}
		scope := "namespace"
		if !set {
			allowed, scope = cfg.Whitelist, "cluster"
		}
		if len(allowed) == 0 {
			return nil
		}
		for _, t := range pod.Spec.Tolerations {
			if !slices.ContainsFunc(allowed, func(w corev1.Toleration) bool { return includes(w, t) }) {
				return failed(fmt.Errorf("pod tolerations (possibly merged with namespace default tolerations) conflict with its %s whitelist", scope))
			}
		}
		return nil
	}
	return Plugin{Validate: validate, Mutate: func(ctx context.Context, a *Attributes) error {
		pod := writtenPod(a)
		if pod == nil {
			return nil
		}
		var more []corev1.Toleration
		if a.Operation == Create {
			list, set, err := namespaceTolerations(namespaces, a.Namespace, defaultTolerationsAnnotation)
			if err != nil {
				return err
			}
			if !set {
				list = cfg.Default
			}
			more = slices.Clone(list)
		}
		class := pod.Status.QOSClass
		if class == "" {
			class = core.ComputeQOS(pod)
		}
		if class != corev1.PodQOSBestEffort {
			more = append(more, corev1.Toleration{Key: corev1.TaintNodeMemoryPressure, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoSchedule})
		}
		if len(more) > 0 {
			pod.Spec.Tolerations = mergeTolerations(pod.Spec.Tolerations, more)
		}
		return validate(ctx, a)
	}}, nil
}

// namespaceTolerations reads an annotation of a namespace; set tells whether
// it is there.
func namespaceTolerations(namespaces client.Kind[*corev1.Namespace], name, annotation string) (list []corev1.Toleration, set bool, err error) {
	ns, ok := namespaces.Get("", name)
	if !ok {
		return nil, false, apierrors.NewNotFound(corev1.Resource("namespaces"), name)
	}
	text, set := ns.Annotations[annotation]
	if text == "" {
		return nil, set, nil
	}
	if err := json.Unmarshal([]byte(text), &list); err != nil {
		return nil, true, failed(err)
	}
	return list, true, nil
}

// mergeTolerations joins two lists and leaves out what others include.
func mergeTolerations(first, second []corev1.Toleration) []corev1.Toleration {
	all := slices.Concat(first, second)
	var merged []corev1.Toleration
	for i, t := range all {
		if slices.ContainsFunc(merged, func(m corev1.Toleration) bool { return includes(m, t) }) {
			continue
		}
		if slices.ContainsFunc(all[i+1:], func(later corev1.Toleration) bool {
			return !equality.Semantic.DeepEqual(t, later) && includes(later, t)
		}) {
			continue
		}
		merged = append(merged, t)
	}
	return merged
}

// includes tells whether all that t tolerates wide tolerates too.
func includes(wide, t corev1.Toleration) bool {
	if equality.Semantic.DeepEqual(wide, t) {
		return true
	}
	if t.Key != wide.Key && (wide.Key != "" || wide.Operator != corev1.TolerationOpExists) {
		return false
	}
	if t.Effect != wide.Effect && wide.Effect != "" {
		return false
	}
	if wide.Effect == corev1.TaintEffectNoExecute && wide.TolerationSeconds != nil &&
		(t.TolerationSeconds == nil || *t.TolerationSeconds > *wide.TolerationSeconds) {
		return false
	}
	switch wide.Operator {
	case corev1.TolerationOpEqual, "":
		return t.Operator == corev1.TolerationOpEqual && t.Value == wide.Value
	case corev1.TolerationOpExists:
		return true
	}
	return false
}

// limitAntiAffinity refuses pods that keep others out of more than a node.
func limitAntiAffinity(Deps) Plugin {
	return Plugin{Validate: func(_ context.Context, a *Attributes) error {
		pod := writtenPod(a)
		if pod == nil || pod.Spec.Affinity == nil || pod.Spec.Affinity.PodAntiAffinity == nil {
			return nil
		}
		for _, t := range pod.Spec.Affinity.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution {
			if t.TopologyKey != corev1.LabelHostname {
				return apierrors.NewForbidden(corev1.Resource("pods"), pod.Name, fmt.Errorf("affinity.PodAntiAffinity.RequiredDuringScheduling has TopologyKey %v but only key %v is allowed", t.TopologyKey, corev1.LabelHostname))
			}
		}
		return nil
	}}
}
