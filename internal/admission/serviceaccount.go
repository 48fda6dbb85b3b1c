package admission

import (
	"context"
	"fmt"
	"math/rand/v2"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/monohull/monohull/internal/client"
)

const (
	tokenVolumePrefix  = "kube-api-access-"
	tokenMountPath     = "/var/run/secrets/kubernetes.io/serviceaccount"
	tokenExpirySeconds = 3607 // an hour, and seven seconds that mark it as this plugin's
	suffixAlphabet     = "bcdfghjklmnpqrstvwxz2456789"
)

// serviceAccount gives each pod an account, its token's volume and its image
// pull secrets.
func serviceAccount(accounts client.Kind[*corev1.ServiceAccount]) Plugin {
	return Plugin{
		Name: "ServiceAccount",
		Mutate: func(_ context.Context, a *Attributes) error {
			pod := newPod(a)
			if pod == nil || pod.Annotations[corev1.MirrorPodAnnotationKey] != "" {
				return nil
			}
			if pod.Spec.ServiceAccountName == "" {
				pod.Spec.ServiceAccountName = "default"
			}
			pod.Spec.DeprecatedServiceAccount = pod.Spec.ServiceAccountName
			sa, ok := accounts.Get(a.Namespace, pod.Spec.ServiceAccountName)
			if !ok {
				return apierrors.NewForbidden(a.Kind.GroupResource(), a.Name, fmt.Errorf("error looking up service account %s/%s: serviceaccount %q not found", a.Namespace, pod.Spec.ServiceAccountName, pod.Spec.ServiceAccountName))
			}
			if automounts(sa, pod) {
				mountToken(pod)
			}
			if len(pod.Spec.ImagePullSecrets) == 0 {
				pod.Spec.ImagePullSecrets = append(pod.Spec.ImagePullSecrets, sa.ImagePullSecrets...)
			}
			return nil
		},
		Validate: func(_ context.Context, a *Attributes) error {
			pod := newPod(a)
			if pod == nil || pod.Annotations[corev1.MirrorPodAnnotationKey] == "" {
				return nil
			}
			if pod.Spec.ServiceAccountName != "" {
				return apierrors.NewForbidden(a.Kind.GroupResource(), a.Name, fmt.Errorf("a mirror pod may not reference service accounts"))
			}
			return nil
		},
	}
}

func automounts(sa *corev1.ServiceAccount, pod *corev1.Pod) bool {
	switch {
	case pod.Spec.AutomountServiceAccountToken != nil:
		return *pod.Spec.AutomountServiceAccountToken
	case sa.AutomountServiceAccountToken != nil:
		return *sa.AutomountServiceAccountToken
	}
	return true
}

func mountToken(pod *corev1.Pod) {
	name := ""
	for _, v := range pod.Spec.Volumes {
		if len(v.Name) > len(tokenVolumePrefix) && v.Name[:len(tokenVolumePrefix)] == tokenVolumePrefix {
			name = v.Name
		}
	}
	needed := false
	if name == "" {
		b := []byte(tokenVolumePrefix)
		for range 5 {
			b = append(b, suffixAlphabet[rand.IntN(len(suffixAlphabet))])
		}
		name, needed = string(b), true
	}
	mounted := false
	mount := func(list []corev1.Container) {
		for i := range list {
			c := &list[i]
			has := false
			for _, m := range c.VolumeMounts {
				has = has || m.MountPath == tokenMountPath
			}
			if !has {
				c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: name, ReadOnly: true, MountPath: tokenMountPath})
				mounted = true
			}
		}
	}
	mount(pod.Spec.InitContainers)
	mount(pod.Spec.Containers)
	if needed && mounted {
		pod.Spec.Volumes = append(pod.Spec.Volumes, corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{Projected: tokenSources()}})
	}
}

func tokenSources() *corev1.ProjectedVolumeSource {
	expiry, mode := int64(tokenExpirySeconds), corev1.ProjectedVolumeSourceDefaultMode
	return &corev1.ProjectedVolumeSource{
		DefaultMode: &mode,
		Sources: []corev1.VolumeProjection{
			{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Path: "token", ExpirationSeconds: &expiry}},
			{ConfigMap: &corev1.ConfigMapProjection{
				LocalObjectReference: corev1.LocalObjectReference{Name: "kube-root-ca.crt"},
				Items:                []corev1.KeyToPath{{Key: "ca.crt", Path: "ca.crt"}},
			}},
			{DownwardAPI: &corev1.DownwardAPIProjection{Items: []corev1.DownwardAPIVolumeFile{{
				Path: "namespace", FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: "metadata.namespace"},
			}}}},
		},
	}
}
