package admission

import (
	"context"
	"errors"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/version"
	"k8s.io/component-helpers/nodedeclaredfeatures"
	resourcehelper "k8s.io/component-helpers/resource"

	"github.com/monohull/monohull/internal/client"
)

// taintNodes keeps pods off a new node until its conditions are known.
func taintNodes(Deps) Plugin {
	return Plugin{Mutate: func(_ context.Context, a *Attributes) error {
		node, ok := a.Object.(*corev1.Node)
		if !ok || !a.writes(Create) {
			return nil
		}
		want := corev1.Taint{Key: corev1.TaintNodeNotReady, Effect: corev1.TaintEffectNoSchedule}
		for i := range node.Spec.Taints {
			if node.Spec.Taints[i].MatchTaint(&want) {
				return nil
			}
		}
		node.Spec.Taints = append(node.Spec.Taints, want)
		return nil
	}}
}

// podTopologyLabels gives pods the zone and region of their node as labels: at
// binding, or at creation where the node is named.
func podTopologyLabels(d Deps) Plugin {
	nodes := client.Of[*corev1.Node](d.Client)
	label := func(m *metav1.ObjectMeta, node string) {
		n, ok := nodes.Get("", node)
		if !ok {
			return
		}
		for _, k := range []string{corev1.LabelTopologyZone, corev1.LabelTopologyRegion} {
			if v, ok := n.Labels[k]; ok {
				metav1.SetMetaDataLabel(m, k, v)
			}
		}
	}
	return Plugin{Mutate: func(_ context.Context, a *Attributes) error {
		if a.Operation != Create || !a.is("", "pods") {
			return nil
		}
		switch o := a.Object.(type) {
		case *corev1.Pod:
			if a.Subresource == "" && o.Spec.NodeName != "" {
				label(&o.ObjectMeta, o.Spec.NodeName)
			}
		case *corev1.Binding:
			if a.Subresource == "binding" && o.Target.Kind == "Node" {
				label(&o.ObjectMeta, o.Target.Name)
			}
		}
		return nil
	}}
}

// changedPod returns a bound pod whose desired state changes, and what it was.
func changedPod(a *Attributes) (pod, old *corev1.Pod) {
	if a.Operation != Update || a.Subresource != "" && a.Subresource != "resize" {
		return nil, nil
	}
	pod, ok := a.Object.(*corev1.Pod)
	old, ok2 := a.Old.(*corev1.Pod)
	if !ok || !ok2 || pod.Spec.NodeName == "" || pod.Generation == old.Generation {
		return nil, nil
	}
	return pod, old
}

// nodeFeatures refuses changes of a pod that need of its node what that does
// not declare.
func nodeFeatures(d Deps) Plugin {
	nodes := client.Of[*corev1.Node](d.Client)
	return Plugin{Validate: func(_ context.Context, a *Attributes) error {
		pod, old := changedPod(a)
		if pod == nil {
			return nil
		}
		known := nodedeclaredfeatures.DefaultFramework
		need, err := known.InferForPodUpdate(
			&nodedeclaredfeatures.PodInfo{Spec: &old.Spec, Status: &old.Status}, &nodedeclaredfeatures.PodInfo{Spec: &pod.Spec, Status: &pod.Status},
			version.MajorMinor(1, 36))
		if err != nil {
			return forbidden(a, fmt.Errorf("failed to infer pod capability requirements: %w", err))
		}
		if need.IsEmpty() {
			return nil
		}
		node, ok := nodes.Get("", pod.Spec.NodeName)
		if !ok {
			return forbidden(a, fmt.Errorf("node %q not found", pod.Spec.NodeName))
		}
		has, err := known.MatchNode(need, node)
		if err != nil {
			return forbidden(a, fmt.Errorf("failed to match pod requirements against node %q: %w", node.Name, err))
		}
		if !has.IsMatch {
			return forbidden(a, fmt.Errorf("pod update requires features %s which are not available on node %q", strings.Join(has.UnsatisfiedRequirements, ", "), node.Name))
		}
		return nil
	}}
}

// podResize refuses to resize a pod beyond what its node could ever give.
func podResize(d Deps) Plugin {
	nodes := client.Of[*corev1.Node](d.Client)
	refuse := func(a *Attributes, why error, cause metav1.CauseType) error {
		err := forbidden(a, why)
		var st *apierrors.StatusError
		if errors.As(err, &st) {
			st.ErrStatus.Details.Causes = append(st.ErrStatus.Details.Causes, metav1.StatusCause{Type: cause})
		}
		return err
	}
	return Plugin{Validate: func(_ context.Context, a *Attributes) error {
		pod, _ := changedPod(a)
		if pod == nil || a.Subresource != "resize" {
			return nil
		}
		node, ok := nodes.Get("", pod.Spec.NodeName)
		if !ok {
			return forbidden(a, fmt.Errorf("node %q not found", pod.Spec.NodeName))
		}
		if system, ok := node.Labels[corev1.LabelOSStable]; ok && system != string(corev1.Linux) {
			return refuse(a, fmt.Errorf("pod resize is only supported on linux nodes, node %q is %q", node.Name, system), "UnsupportedPlatform")
		}
		want := resourcehelper.PodRequests(pod, resourcehelper.PodResourcesOptions{})
		cpu, memory := want[corev1.ResourceCPU], want[corev1.ResourceMemory]
		have := node.Status.Allocatable
		var lacks []string
		if cpu.Cmp(*have.Cpu()) > 0 {
			lacks = append(lacks, fmt.Sprintf("cpu, requested: %d, allocatable: %d", cpu.MilliValue(), have.Cpu().MilliValue()))
		}
		if memory.Cmp(*have.Memory()) > 0 {
			lacks = append(lacks, fmt.Sprintf("memory, requested: %d, allocatable: %d", memory.Value(), have.Memory().Value()))
		}
		if len(lacks) > 0 {
			return refuse(a, fmt.Errorf("node didn't have enough allocatable resources: %s", strings.Join(lacks, "; ")), "NodeCapacity")
		}
		return nil
	}}
}
