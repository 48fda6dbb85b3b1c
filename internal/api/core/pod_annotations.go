package core

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/monohull/monohull/internal/api/meta"
)

// The annotations that came before the fields of the same meaning.
const (
	tolerationsKey     = "scheduler.alpha.kubernetes.io/tolerations"
	taintsKey          = "scheduler.alpha.kubernetes.io/taints"
	avoidPodsKey       = "scheduler.alpha.kubernetes.io/preferAvoidPods"
	appArmorKeyPrefix  = corev1.DeprecatedAppArmorBetaContainerAnnotationKeyPrefix
	seccompContainerNS = corev1.SeccompContainerAnnotationKeyPrefix
)

// podAnnotations judges the annotations that mean something on a pod.
func podAnnotations(r *meta.Report, a map[string]string, s *corev1.PodSpec, p *field.Path) {
	if len(a) == 0 {
		return
	}
	if v, mirror := a[corev1.MirrorPodAnnotationKey]; mirror && s.NodeName == "" {
		r.Invalid(p.Key(corev1.MirrorPodAnnotationKey), v, "must set spec.nodeName if mirror pod annotation is set")
	}
	if v := a[tolerationsKey]; v != "" {
		var list []corev1.Toleration
		if err := json.Unmarshal([]byte(v), &list); err != nil {
			r.Invalid(p, tolerationsKey, err.Error())
		} else {
			r.Add(ValidateTolerations(list, p.Child(tolerationsKey)))
		}
	}
	if v, ok := a[corev1.PodDeletionCost]; ok {
		n, err := strconv.ParseInt(v, 10, 32)
		// The canonical form only: no plus sign, no leading zeros.
		if err != nil || strings.HasPrefix(v, "+") || (strings.HasPrefix(v, "0") && n != 0) || (n == 0 && len(v) > 1 && v[0] == '0') {
			r.Invalid(p.Key(corev1.PodDeletionCost), v, "must be a 32bit integer")
		}
	}
	c := &podCheck{spec: s}
	seccomp := func(key, v string) {
		if file, ok := strings.CutPrefix(v, corev1.SeccompLocalhostProfileNamePrefix); ok {
			c.checkDescending(file, p.Child(key))
		} else if v != corev1.SeccompProfileRuntimeDefault && v != corev1.DeprecatedSeccompProfileDockerDefault && v != corev1.SeccompProfileNameUnconfined {
			c.Invalid(p.Child(key), v, "must be a valid seccomp profile")
		}
	}
	for k, v := range a {
		if k == corev1.SeccompPodAnnotationKey || strings.HasPrefix(k, seccompContainerNS) {
			seccomp(k, v)
		}
		if name, ok := strings.CutPrefix(k, appArmorKeyPrefix); ok {
			found := false
			eachContainer(s, nil, func(ctr *corev1.Container, _ *field.Path) { found = found || ctr.Name == name })
			if !found {
				c.Invalid(p.Key(k), name, "container not found")
			}
			if v != "" && v != corev1.DeprecatedAppArmorBetaProfileRuntimeDefault && v != corev1.DeprecatedAppArmorBetaProfileNameUnconfined &&
				!strings.HasPrefix(v, corev1.DeprecatedAppArmorBetaProfileNamePrefix) {
				c.Invalid(p.Key(k), v, fmt.Sprintf("invalid AppArmor profile name: %q", v))
			}
		}
	}
	r.Add(c.Errs)
}

// podAnnotationsUpdate refuses changes of annotations that a running pod
// depends on.
func podAnnotationsUpdate(r *meta.Report, pod, old *corev1.Pod) {
	p := metaPath.Child("annotations")
	frozen := func(verb, k string) {
		r.ForbiddenIf(strings.HasPrefix(k, appArmorKeyPrefix), p.Key(k), "may not "+verb+" AppArmor annotations")
		r.ForbiddenIf(k == corev1.MirrorPodAnnotationKey, p.Key(k), "may not "+verb+" mirror pod annotation")
	}
	for k, v := range old.Annotations {
		if now, ok := pod.Annotations[k]; !ok || now != v {
			frozen("remove or update", k)
		}
	}
	for k := range pod.Annotations {
		if _, ok := old.Annotations[k]; !ok {
			frozen("add", k)
		}
	}
	podAnnotations(r, pod.Annotations, &pod.Spec, p)
}

// profilesMatchAnnotations wants seccomp and AppArmor profiles given both ways
// to be the same.
func profilesMatchAnnotations(r *meta.Report, a map[string]string, s *corev1.PodSpec, p *field.Path) {
	if len(a) == 0 {
		return
	}
	seccomp := func(key string, f *corev1.SeccompProfile, at *field.Path) {
		v, ok := a[key]
		if !ok || f == nil {
			return
		}
		match := true
		switch f.Type {
		case corev1.SeccompProfileTypeUnconfined:
			match = v == corev1.SeccompProfileNameUnconfined
		case corev1.SeccompProfileTypeRuntimeDefault:
			match = v == corev1.SeccompProfileRuntimeDefault || v == corev1.DeprecatedSeccompProfileDockerDefault
		case corev1.SeccompProfileTypeLocalhost:
			var file string
			if file, match = strings.CutPrefix(v, corev1.SeccompLocalhostProfileNamePrefix); match {
				r.ForbiddenIf(f.LocalhostProfile == nil || *f.LocalhostProfile != file, at.Child("localhostProfile"), "seccomp profile in annotation and field must match")
			}
		}
		r.ForbiddenIf(!match, at.Child("type"), "seccomp type in annotation and field must match")
	}
	if s.SecurityContext != nil {
		seccomp(corev1.SeccompPodAnnotationKey, s.SecurityContext.SeccompProfile, p.Child("securityContext", "seccompProfile"))
	}
	eachContainer(s, p, func(c *corev1.Container, p *field.Path) {
		if c.SecurityContext != nil {
			seccomp(seccompContainerNS+c.Name, c.SecurityContext.SeccompProfile, p.Child("securityContext", "seccompProfile"))
		}
	})
	if s.OS != nil && s.OS.Name == corev1.Windows {
		return
	}
	eachContainer(s, p, func(c *corev1.Container, p *field.Path) {
		v, ok := a[appArmorKeyPrefix+c.Name]
		f := appArmorProfileOf(s, c)
		if !ok || f == nil {
			return
		}
		at := p.Child("securityContext", "appArmorProfile")
		match := true
		switch f.Type {
		case corev1.AppArmorProfileTypeUnconfined:
			match = v == corev1.DeprecatedAppArmorBetaProfileNameUnconfined
		case corev1.AppArmorProfileTypeRuntimeDefault:
			match = v == corev1.DeprecatedAppArmorBetaProfileRuntimeDefault
		case corev1.AppArmorProfileTypeLocalhost:
			var name string
			if name, match = strings.CutPrefix(v, corev1.DeprecatedAppArmorBetaProfileNamePrefix); match {
				r.ForbiddenIf(f.LocalhostProfile == nil || *f.LocalhostProfile != name, at.Child("localhostProfile"), "apparmor profile in annotation and field must match")
			}
		}
		r.ForbiddenIf(!match, at.Child("type"), "apparmor type in annotation and field must match")
	})
}

func appArmorProfileOf(s *corev1.PodSpec, c *corev1.Container) *corev1.AppArmorProfile {
	if c.SecurityContext != nil && c.SecurityContext.AppArmorProfile != nil {
		return c.SecurityContext.AppArmorProfile
	}
	if s.SecurityContext != nil {
		return s.SecurityContext.AppArmorProfile
	}
	return nil
}

// appArmorFromAnnotation reads the old form of a profile, nil if it is none.
func appArmorFromAnnotation(v string) *corev1.AppArmorProfile {
	switch v {
	case corev1.DeprecatedAppArmorBetaProfileNameUnconfined:
		return &corev1.AppArmorProfile{Type: corev1.AppArmorProfileTypeUnconfined}
	case corev1.DeprecatedAppArmorBetaProfileRuntimeDefault:
		return &corev1.AppArmorProfile{Type: corev1.AppArmorProfileTypeRuntimeDefault}
	}
	if name, ok := strings.CutPrefix(v, corev1.DeprecatedAppArmorBetaProfileNamePrefix); ok && name != "" {
		return &corev1.AppArmorProfile{Type: corev1.AppArmorProfileTypeLocalhost, LocalhostProfile: &name}
	}
	return nil
}

// appArmorFieldsFromAnnotations gives a new pod the fields that its annotations
// ask for, since the kubelet reads the fields alone.
func appArmorFieldsFromAnnotations(pod *corev1.Pod) {
	if len(pod.Annotations) == 0 || (pod.Spec.OS != nil && pod.Spec.OS.Name == corev1.Windows) {
		return
	}
	var ofPod *corev1.AppArmorProfile
	if pod.Spec.SecurityContext != nil {
		ofPod = pod.Spec.SecurityContext.AppArmorProfile
	}
	eachContainer(&pod.Spec, nil, func(c *corev1.Container, _ *field.Path) {
		v, ok := pod.Annotations[appArmorKeyPrefix+c.Name]
		if !ok || (c.SecurityContext != nil && c.SecurityContext.AppArmorProfile != nil) {
			return
		}
		f := appArmorFromAnnotation(v)
		check := podCheck{spec: &pod.Spec}
		check.checkAppArmor(f, field.NewPath("x"))
		if f == nil || len(check.Errs) > 0 || equality.Semantic.DeepEqual(f, ofPod) {
			return
		}
		if c.SecurityContext == nil {
			c.SecurityContext = &corev1.SecurityContext{}
		}
		c.SecurityContext.AppArmorProfile = f
	})
}
