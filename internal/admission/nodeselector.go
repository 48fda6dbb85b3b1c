package admission

import (
	"context"
	"errors"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/yaml"

	"github.com/monohull/monohull/internal/client"
)

const (
	nodeSelectorAnnotation = "scheduler.alpha.kubernetes.io/node-selector"
	// clusterSelector is the entry of the configuration for namespaces without
	// the annotation; the others are the labels a namespace allows.
	clusterSelector = "clusterDefaultNodeSelector"
)

// podNodeSelector adds a namespace's node selector to its pods.
func podNodeSelector(d Deps, config []byte) (Plugin, error) {
	var cfg struct {
		Selectors map[string]string `json:"podNodeSelectorPluginConfig"`
	}
	if err := yaml.Unmarshal(config, &cfg); err != nil {
		return Plugin{}, err
	}
	namespaces := client.Of[*corev1.Namespace](d.Client)
	of := func(name string) (labels.Set, error) {
		ns, ok := namespaces.Get("", name)
		if !ok {
			return nil, apierrors.NewNotFound(corev1.Resource("namespaces"), name)
		}
		text, ok := ns.Annotations[nodeSelectorAnnotation]
		if !ok {
			text = cfg.Selectors[clusterSelector]
		}
		set, err := labels.ConvertSelectorToLabelsMap(text)
		if err != nil {
			return nil, failed(err)
		}
		return set, nil
	}
	refuse := func(pod *corev1.Pod, why string) error {
		return apierrors.NewForbidden(corev1.Resource("pods"), pod.Name, errors.New(why))
	}
	const conflicts = "pod node label selector conflicts with its namespace node label selector"
	validate := func(_ context.Context, a *Attributes) error {
		pod := newPod(a)
		if pod == nil {
			return nil
		}
		want, err := of(a.Namespace)
		if err != nil {
			return err
		}
		if labels.Conflicts(want, pod.Spec.NodeSelector) {
			return refuse(pod, conflicts)
		}
		allowed, err := labels.ConvertSelectorToLabelsMap(cfg.Selectors[a.Namespace])
		if err != nil {
			return failed(err)
		}
		for k, v := range pod.Spec.NodeSelector {
			if has, ok := allowed[k]; len(allowed) > 0 && (!ok || has != v) {
				return refuse(pod, "pod node label selector labels conflict with its namespace whitelist")
			}
		}
		return nil
	}
	return Plugin{Validate: validate, Mutate: func(ctx context.Context, a *Attributes) error {
		pod := newPod(a)
		if pod == nil {
			return nil
		}
		want, err := of(a.Namespace)
		if err != nil {
			return err
		}
		if labels.Conflicts(want, pod.Spec.NodeSelector) {
			return refuse(pod, conflicts)
		}
		pod.Spec.NodeSelector = labels.Merge(want, pod.Spec.NodeSelector)
		return validate(ctx, a)
	}}, nil
}
