package protection

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// wanted tells what is to be done with an object's finalizer: nothing, or it is
// to be there or not.
func wanted(o metav1.Object, finalizer string, used func() bool) (change, there bool) {
	has := slices.Contains(o.GetFinalizers(), finalizer)
	switch {
	case o.GetDeletionTimestamp() == nil:
		return !has, true
	case has:
		return !used(), false
	}
	return false, false
}

// interesting tells whether an object's finalizer may have to change.
func interesting(o metav1.Object, finalizer string) bool {
	return (o.GetDeletionTimestamp() == nil) != slices.Contains(o.GetFinalizers(), finalizer)
}

// claimsOf names the claims of a pod's volumes.
func claimsOf(p *corev1.Pod) []string {
	var out []string
	for _, v := range p.Spec.Volumes {
		switch {
		case v.PersistentVolumeClaim != nil:
			out = append(out, v.PersistentVolumeClaim.ClaimName)
		case v.Ephemeral != nil:
			out = append(out, p.Name+"-"+v.Name)
		}
	}
	return out
}

// uses tells whether a pod on a node uses a claim. A pod that was shut down
// frees the claims made for it, so that they can go before it does.
func uses(p *corev1.Pod, c *corev1.PersistentVolumeClaim) bool {
	if p.Spec.NodeName == "" {
		return false
	}
	g := p.DeletionGracePeriodSeconds
	shut := p.DeletionTimestamp != nil && g != nil && *g == 0
	for _, v := range p.Spec.Volumes {
		if v.PersistentVolumeClaim != nil && v.PersistentVolumeClaim.ClaimName == c.Name {
			return true
		}
		if v.Ephemeral != nil && !shut && p.Name+"-"+v.Name == c.Name && p.Namespace == c.Namespace && metav1.IsControlledBy(c, p) {
			return true
		}
	}
	return false
}

// lets tells whether a pod's change may free a claim: it is gone, has ended, or
// is on no node.
func lets(p *corev1.Pod, deleted bool) bool {
	return deleted || p.Spec.NodeName == "" || terminated(p)
}

func terminated(p *corev1.Pod) bool {
	if p.Status.Phase == corev1.PodFailed || p.Status.Phase == corev1.PodSucceeded {
		return true
	}
	if p.DeletionTimestamp == nil {
		return false
	}
	for _, list := range [][]corev1.ContainerStatus{p.Status.InitContainerStatuses, p.Status.ContainerStatuses, p.Status.EphemeralContainerStatuses} {
		if slices.ContainsFunc(list, func(s corev1.ContainerStatus) bool { return s.State.Terminated == nil && s.State.Waiting == nil }) {
			return false
		}
	}
	return true
}

// claimClasses are the volume attributes classes a claim has, wants or is on
// its way to.
func claimClasses(c *corev1.PersistentVolumeClaim) []string {
	var out []string
	for _, n := range []*string{c.Spec.VolumeAttributesClassName, c.Status.CurrentVolumeAttributesClassName} {
		if n != nil && *n != "" {
			out = append(out, *n)
		}
	}
	if m := c.Status.ModifyVolumeStatus; m != nil && m.TargetVolumeAttributesClassName != "" {
		out = append(out, m.TargetVolumeAttributesClassName)
	}
	return out
}

func volumeClasses(v *corev1.PersistentVolume) []string {
	if n := v.Spec.VolumeAttributesClassName; n != nil && *n != "" {
		return []string{*n}
	}
	return nil
}

// dropped are the names in old that are not in cur.
func dropped(old, cur []string) []string {
	return slices.DeleteFunc(old, func(n string) bool { return slices.Contains(cur, n) })
}
