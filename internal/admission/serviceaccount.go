package admission

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/monohull/monohull/internal/client"
)

const (
	defaultAccount     = "default"
	tokenVolumePrefix  = "kube-api-access-"
	tokenMountPath     = "/var/run/secrets/kubernetes.io/serviceaccount"
	tokenExpirySeconds = 3607 // an hour, and seven seconds that mark it as this plugin's
	suffixAlphabet     = "bcdfghjklmnpqrstvwxz2456789"
	// limitSecretsAnnotation holds pods to the secrets their account names.
	limitSecretsAnnotation = "kubernetes.io/enforce-mountable-secrets"
	// accountWait is how long a pod waits for the default account of a new
	// namespace.
	accountWait = 1500 * time.Millisecond
)

// accounts is the plugin ServiceAccount.
type accounts struct {
	c    *client.Client
	kind client.Kind[*corev1.ServiceAccount]
}

// serviceAccount gives each pod an account, its token's volume and its image
// pull secrets.
func serviceAccount(d Deps) Plugin {
	s := accounts{d.Client, client.Of[*corev1.ServiceAccount](d.Client)}
	return Plugin{Mutate: s.mutate, Validate: s.validate}
}

func (s accounts) mutate(ctx context.Context, a *Attributes) error {
	pod := newPod(a)
	if pod == nil {
		return nil
	}
	if _, mirror := pod.Annotations[corev1.MirrorPodAnnotationKey]; mirror {
		return s.validate(ctx, a)
	}
	if pod.Spec.ServiceAccountName == "" {
		pod.Spec.ServiceAccountName = defaultAccount
	}
	pod.Spec.DeprecatedServiceAccount = pod.Spec.ServiceAccountName
	sa, err := s.find(ctx, a, pod.Spec.ServiceAccountName)
	if err != nil {
		return err
	}
	if automounts(sa, pod) {
		mountToken(pod)
	}
	if len(pod.Spec.ImagePullSecrets) == 0 {
		pod.Spec.ImagePullSecrets = append(pod.Spec.ImagePullSecrets, sa.ImagePullSecrets...)
	}
	return s.validate(ctx, a)
}

func (s accounts) validate(ctx context.Context, a *Attributes) error {
	pod := podOf(a)
	ephemeral := a.Subresource == "ephemeralcontainers" && a.Operation == Update
	if pod == nil || !a.writes(Create) && !ephemeral {
		return nil
	}
	if _, mirror := pod.Annotations[corev1.MirrorPodAnnotationKey]; mirror && !ephemeral {
		return mirrorAccount(a, pod)
	}
	if pod.Spec.ServiceAccountName == "" {
		return forbidden(a, fmt.Errorf("no service account specified for pod %s/%s", a.Namespace, pod.Name))
	}
	sa, err := s.find(ctx, a, pod.Spec.ServiceAccountName)
	if err != nil {
		return err
	}
	if only, err := strconv.ParseBool(sa.Annotations[limitSecretsAnnotation]); err != nil || !only {
		return nil
	}
	if ephemeral {
		if err := limitEphemeralSecrets(sa, pod); err != nil {
			return failed(err)
		}
		return nil
	}
	if err := limitSecrets(sa, pod); err != nil {
		return forbidden(a, err)
	}
	return nil
}

// find returns the account. The default one of a namespace that was only just
// made is waited for: its controller is about to make it.
func (s accounts) find(ctx context.Context, a *Attributes, name string) (*corev1.ServiceAccount, error) {
	wait, cancel := context.WithTimeout(ctx, accountWait)
	defer cancel()
	for {
		rev := s.c.Caches().Rev()
		if sa, ok := s.kind.Get(a.Namespace, name); ok {
			return sa, nil
		}
		if name != defaultAccount || s.c.Caches().WaitFor(wait, rev+1) != nil {
			return nil, forbidden(a, fmt.Errorf("error looking up service account %s/%s: serviceaccount %q not found", a.Namespace, name, name))
		}
	}
}

// mirrorAccount judges a pod that only shows what a kubelet runs by itself: it
// may need nothing of the API.
func mirrorAccount(a *Attributes, pod *corev1.Pod) error {
	if pod.Spec.ServiceAccountName != "" {
		return forbidden(a, errors.New("a mirror pod may not reference service accounts"))
	}
	if namesSecret(pod) {
		return forbidden(a, errors.New("a mirror pod may not reference secrets"))
	}
	for _, v := range pod.Spec.Volumes {
		if v.Projected == nil {
			continue
		}
		for _, src := range v.Projected.Sources {
			if src.ServiceAccountToken != nil {
				return forbidden(a, errors.New("a mirror pod may not use ServiceAccountToken volume projections"))
			}
		}
	}
	return nil
}

// limitSecrets holds a pod to the secrets its account names.
func limitSecrets(sa *corev1.ServiceAccount, pod *corev1.Pod) error {
	mountable := map[string]bool{}
	for _, s := range sa.Secrets {
		mountable[s.Name] = true
	}
	for _, v := range pod.Spec.Volumes {
		if v.Secret != nil && !mountable[v.Secret.SecretName] {
			return fmt.Errorf("volume with secret.secretName=%q is not allowed because service account %s does not reference that secret", v.Secret.SecretName, sa.Name)
		}
	}
	for _, c := range pod.Spec.InitContainers {
		if err := limitEnv("init container", c.Name, c.Env, c.EnvFrom, mountable, sa.Name); err != nil {
			return err
		}
	}
	for _, c := range pod.Spec.Containers {
		if err := limitEnv("container", c.Name, c.Env, c.EnvFrom, mountable, sa.Name); err != nil {
			return err
		}
	}
	pull := map[string]bool{}
	for _, s := range sa.ImagePullSecrets {
		pull[s.Name] = true
	}
	for i, s := range pod.Spec.ImagePullSecrets {
		if !pull[s.Name] {
			return fmt.Errorf("imagePullSecrets[%d].name=%q is not allowed because service account %s does not reference that imagePullSecret", i, s.Name, sa.Name)
		}
	}
	return nil
}

func limitEphemeralSecrets(sa *corev1.ServiceAccount, pod *corev1.Pod) error {
	mountable := map[string]bool{}
	for _, s := range sa.Secrets {
		mountable[s.Name] = true
	}
	for _, c := range pod.Spec.EphemeralContainers {
		if err := limitEnv("ephemeral container", c.Name, c.Env, c.EnvFrom, mountable, sa.Name); err != nil {
			return err
		}
	}
	return nil
}

func limitEnv(what, name string, env []corev1.EnvVar, from []corev1.EnvFromSource, mountable map[string]bool, account string) error {
	const because = "is not allowed because service account %s does not reference that secret"
	for _, e := range env {
		if e.ValueFrom != nil && e.ValueFrom.SecretKeyRef != nil && !mountable[e.ValueFrom.SecretKeyRef.Name] {
			return fmt.Errorf("%s %s with envVar %s referencing secret.secretName=%q "+because, what, name, e.Name, e.ValueFrom.SecretKeyRef.Name, account)
		}
	}
	for _, e := range from {
		if e.SecretRef != nil && !mountable[e.SecretRef.Name] {
			return fmt.Errorf("%s %s with envFrom referencing secret.secretName=%q "+because, what, name, e.SecretRef.Name, account)
		}
	}
	return nil
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
		if strings.HasPrefix(v.Name, tokenVolumePrefix) {
			name = v.Name
			break
		}
	}
	needed := name == ""
	if needed {
		b := []byte(tokenVolumePrefix)
		for range 5 {
			b = append(b, suffixAlphabet[rand.IntN(len(suffixAlphabet))])
		}
		name = string(b)
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
