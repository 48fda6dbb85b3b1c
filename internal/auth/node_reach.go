package auth

import corev1 "k8s.io/api/core/v1"

// anyPod says whether some pod of the namespace that runs on the node is such. A mirror pod leads nowhere: the
// kubelet made it itself, and could otherwise give itself any secret by naming it there.
func (n *NodeAuthorizer) anyPod(node, namespace string, is func(*corev1.Pod) bool) bool {
	for _, pod := range n.view.PodsOnNode(node) {
		if pod.Namespace != namespace {
			continue
		}
		if _, mirror := pod.Annotations[corev1.MirrorPodAnnotationKey]; !mirror && is(pod) {
			return true
		}
	}
	return false
}

// reachesSecret follows pods to the secrets they name and to those of the volumes they claim, which may lie in
// other namespaces.
func (n *NodeAuthorizer) reachesSecret(node, namespace, name string) bool {
	if n.anyPod(node, namespace, func(p *corev1.Pod) bool { return podNamesSecret(p, name) }) {
		return true
	}
	for _, pod := range n.view.PodsOnNode(node) {
		if _, mirror := pod.Annotations[corev1.MirrorPodAnnotationKey]; mirror {
			continue
		}
		for i := range pod.Spec.Volumes {
			claimName := claimOf(pod, &pod.Spec.Volumes[i])
			if claimName == "" {
				continue
			}
			claim := n.view.PersistentVolumeClaim(pod.Namespace, claimName)
			if claim == nil || claim.Spec.VolumeName == "" {
				continue
			}
			volume := n.view.PersistentVolume(claim.Spec.VolumeName)
			if volume != nil && isClaimedBy(volume, pod.Namespace, claimName) && volumeNamesSecret(volume, namespace, name) {
				return true
			}
		}
	}
	return false
}

// reachesVolume says whether a pod on the node uses the claim that the volume is bound to.
func (n *NodeAuthorizer) reachesVolume(node string, volume *corev1.PersistentVolume) bool {
	if volume == nil || volume.Spec.ClaimRef == nil {
		return false
	}
	ref := volume.Spec.ClaimRef
	return n.anyPod(node, ref.Namespace, func(p *corev1.Pod) bool { return podNamesClaim(p, ref.Name) })
}

func isClaimedBy(volume *corev1.PersistentVolume, namespace, name string) bool {
	ref := volume.Spec.ClaimRef
	return ref != nil && ref.Namespace == namespace && ref.Name == name
}

// claimOf is the claim behind a volume of a pod, if any. That of an ephemeral volume is named after pod and volume.
func claimOf(pod *corev1.Pod, volume *corev1.Volume) string {
	switch {
	case volume.PersistentVolumeClaim != nil:
		return volume.PersistentVolumeClaim.ClaimName
	case volume.Ephemeral != nil:
		return pod.Name + "-" + volume.Name
	}
	return ""
}

func podNamesClaim(pod *corev1.Pod, name string) bool {
	for i := range pod.Spec.Volumes {
		if name != "" && claimOf(pod, &pod.Spec.Volumes[i]) == name {
			return true
		}
	}
	return false
}

func podNamesResourceClaim(pod *corev1.Pod, name string) bool {
	for i := range pod.Spec.ResourceClaims {
		claim := &pod.Spec.ResourceClaims[i]
		if claim.ResourceClaimName != nil {
			if *claim.ResourceClaimName == name {
				return true
			}
			continue
		}
		// From a template: the name is generated, and recorded in the status.
		for _, status := range pod.Status.ResourceClaimStatuses {
			if status.Name == claim.Name && status.ResourceClaimName != nil && *status.ResourceClaimName == name {
				return true
			}
		}
	}
	extended := pod.Status.ExtendedResourceClaimStatus
	return extended != nil && name != "" && extended.ResourceClaimName == name
}

// environment calls visit for each container of any kind until it returns true.
func environment(pod *corev1.Pod, visit func([]corev1.EnvVar, []corev1.EnvFromSource) bool) bool {
	for i := range pod.Spec.InitContainers {
		if c := &pod.Spec.InitContainers[i]; visit(c.Env, c.EnvFrom) {
			return true
		}
	}
	for i := range pod.Spec.Containers {
		if c := &pod.Spec.Containers[i]; visit(c.Env, c.EnvFrom) {
			return true
		}
	}
	for i := range pod.Spec.EphemeralContainers {
		if c := &pod.Spec.EphemeralContainers[i]; visit(c.Env, c.EnvFrom) {
			return true
		}
	}
	return false
}

func podNamesConfigMap(pod *corev1.Pod, name string) bool {
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		if v.ConfigMap != nil && v.ConfigMap.Name == name {
			return true
		}
		if v.Projected != nil {
			for _, source := range v.Projected.Sources {
				if source.ConfigMap != nil && source.ConfigMap.Name == name {
					return true
				}
			}
		}
	}
	return environment(pod, func(env []corev1.EnvVar, from []corev1.EnvFromSource) bool {
		for i := range from {
			if ref := from[i].ConfigMapRef; ref != nil && ref.Name == name {
				return true
			}
		}
		for i := range env {
			if source := env[i].ValueFrom; source != nil && source.ConfigMapKeyRef != nil && source.ConfigMapKeyRef.Name == name {
				return true
			}
		}
		return false
	})
}

// PodNamesSecret says whether a pod names the secret of its namespace: to pull images, as a volume, or in the environment
// of a container.
func PodNamesSecret(pod *corev1.Pod, name string) bool {
	return name != "" && podNamesSecret(pod, name)
}

func podNamesSecret(pod *corev1.Pod, name string) bool {
	for _, ref := range pod.Spec.ImagePullSecrets {
		if ref.Name == name {
			return true
		}
	}
	for i := range pod.Spec.Volumes {
		if sourceNamesSecret(&pod.Spec.Volumes[i].VolumeSource, name) {
			return true
		}
	}
	return environment(pod, func(env []corev1.EnvVar, from []corev1.EnvFromSource) bool {
		for i := range from {
			if ref := from[i].SecretRef; ref != nil && ref.Name == name {
				return true
			}
		}
		for i := range env {
			if source := env[i].ValueFrom; source != nil && source.SecretKeyRef != nil && source.SecretKeyRef.Name == name {
				return true
			}
		}
		return false
	})
}

func sourceNamesSecret(v *corev1.VolumeSource, name string) bool {
	var ref *corev1.LocalObjectReference
	switch {
	case v.Secret != nil:
		return v.Secret.SecretName == name
	case v.AzureFile != nil:
		return v.AzureFile.SecretName == name
	case v.Projected != nil:
		for _, source := range v.Projected.Sources {
			if source.Secret != nil && source.Secret.Name == name {
				return true
			}
		}
	case v.CephFS != nil:
		ref = v.CephFS.SecretRef
	case v.Cinder != nil:
		ref = v.Cinder.SecretRef
	case v.FlexVolume != nil:
		ref = v.FlexVolume.SecretRef
	case v.RBD != nil:
		ref = v.RBD.SecretRef
	case v.ScaleIO != nil:
		ref = v.ScaleIO.SecretRef
	case v.ISCSI != nil:
		ref = v.ISCSI.SecretRef
	case v.StorageOS != nil:
		ref = v.StorageOS.SecretRef
	case v.CSI != nil:
		ref = v.CSI.NodePublishSecretRef
	}
	return ref != nil && ref.Name == name
}

// volumeNamesSecret says whether a node needs the secret to use the volume. Those for the controllers of a CSI
// driver it does not. Some sources may leave out the namespace and then mean the claim's.
func volumeNamesSecret(volume *corev1.PersistentVolume, namespace, name string) bool {
	if name == "" {
		return false
	}
	home := volume.Spec.ClaimRef.Namespace
	is := func(ref *corev1.SecretReference, orHome bool) bool {
		if ref == nil || ref.Name != name {
			return false
		}
		if ref.Namespace == "" && orHome {
			return namespace == home
		}
		return ref.Namespace == namespace
	}
	switch v := &volume.Spec.PersistentVolumeSource; {
	case v.AzureFile != nil:
		in := home
		if v.AzureFile.SecretNamespace != nil && *v.AzureFile.SecretNamespace != "" {
			in = *v.AzureFile.SecretNamespace
		}
		return v.AzureFile.SecretName == name && in == namespace
	case v.CephFS != nil:
		return is(v.CephFS.SecretRef, true)
	case v.Cinder != nil:
		return is(v.Cinder.SecretRef, false)
	case v.FlexVolume != nil:
		return is(v.FlexVolume.SecretRef, true)
	case v.RBD != nil:
		return is(v.RBD.SecretRef, true)
	case v.ScaleIO != nil:
		return is(v.ScaleIO.SecretRef, true)
	case v.ISCSI != nil:
		return is(v.ISCSI.SecretRef, true)
	case v.StorageOS != nil:
		ref := v.StorageOS.SecretRef
		return ref != nil && ref.Name == name && ref.Namespace == namespace
	case v.CSI != nil:
		return is(v.CSI.NodePublishSecretRef, false) || is(v.CSI.NodeStageSecretRef, false) || is(v.CSI.NodeExpandSecretRef, false)
	}
	return false
}
