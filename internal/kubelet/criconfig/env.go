package criconfig

import (
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation"
)

// Sources is what an environment is read from.
type Sources struct {
	ConfigMap func(namespace, name string) (*corev1.ConfigMap, bool)
	Secret    func(namespace, name string) (*corev1.Secret, bool)
	Services  []*corev1.Service
	// PodIPs and HostIPs of the pod's sandbox.
	PodIPs, HostIPs []string
	// Allocatable stands for limits that are not set.
	Allocatable corev1.ResourceList
	// EnvFile reads a variable from a file of a volume.
	EnvFile func(volume, path, key string) (string, bool, error)
}

// Variable is one variable of an environment.
type Variable struct{ Name, Value string }

func (s Sources) configMap(ns, name string) (*corev1.ConfigMap, error) {
	if cm, ok := s.ConfigMap(ns, name); ok {
		return cm, nil
	}
	return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "configmaps"}, name)
}

func (s Sources) secret(ns, name string) (*corev1.Secret, error) {
	if sec, ok := s.Secret(ns, name); ok {
		return sec, nil
	}
	return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "secrets"}, name)
}

// notFound words a missing object as the API does, with the short singular name
// that users see in a container's waiting message.
func isMissing(err error) bool { return apierrors.IsNotFound(err) }

// Env makes a container's environment in order; later ones win. skipped holds keys
// of envFrom sources that are no variable names, for an event each.
func Env(pod *corev1.Pod, c *corev1.Container, s Sources) (env []Variable, skipped []string, err error) {
	values := map[string]string{}
	var order []string
	set := func(name, value string) {
		if _, had := values[name]; !had {
			order = append(order, name)
		}
		values[name] = value
	}
	for _, from := range c.EnvFrom {
		data, bad, what, err := envFrom(pod, from, s)
		if err != nil {
			return nil, nil, err
		}
		for _, k := range slices.Sorted(maps.Keys(data)) {
			set(from.Prefix+k, data[k])
		}
		if len(bad) > 0 {
			slices.Sort(bad)
			skipped = append(skipped, fmt.Sprintf("Keys %v from the EnvFrom %s were skipped since they are considered invalid environment variable names.", bad, what))
		}
	}
	services := ServiceEnv(pod, s.Services)
	// A reference may name a service's variable; one of the container hides it.
	lookup := maps.Clone(services)
	maps.Copy(lookup, values)
	for _, e := range c.Env {
		value, ok, err := envValue(pod, c, e, s, lookup)
		if err != nil {
			return nil, nil, err
		}
		if !ok {
			continue
		}
		set(e.Name, value)
		lookup[e.Name] = value
	}
	for _, name := range slices.Sorted(maps.Keys(services)) {
		if _, own := values[name]; !own {
			set(name, services[name])
		}
	}
	for _, name := range order {
		env = append(env, Variable{name, values[name]})
	}
	return env, skipped, nil
}

func envFrom(pod *corev1.Pod, from corev1.EnvFromSource, s Sources) (data map[string]string, bad []string, what string, err error) {
	data = map[string]string{}
	put := func(k, v string) {
		if len(validation.IsEnvVarName(from.Prefix+k)) > 0 {
			bad = append(bad, from.Prefix+k)
			return
		}
		data[k] = v
	}
	switch {
	case from.ConfigMapRef != nil:
		name := from.ConfigMapRef.Name
		cm, err := s.configMap(pod.Namespace, name)
		if err != nil {
			if isMissing(err) && optional(from.ConfigMapRef.Optional) {
				return nil, nil, "", nil
			}
			return nil, nil, "", missing("configmap", name, err)
		}
		for k, v := range cm.Data {
			put(k, v)
		}
		what = fmt.Sprintf("configMap %s/%s", pod.Namespace, name)
	case from.SecretRef != nil:
		name := from.SecretRef.Name
		sec, err := s.secret(pod.Namespace, name)
		if err != nil {
			if isMissing(err) && optional(from.SecretRef.Optional) {
				return nil, nil, "", nil
			}
			return nil, nil, "", missing("secret", name, err)
		}
		for k, v := range sec.Data {
			put(k, string(v))
		}
		what = fmt.Sprintf("secret %s/%s", pod.Namespace, name)
	}
	return data, bad, what, nil
}

// missing is the message users know: configmap "x" not found.
func missing(kind, name string, err error) error {
	if isMissing(err) {
		return fmt.Errorf("%s %q not found", kind, name)
	}
	return err
}

func optional(b *bool) bool { return b != nil && *b }

func envValue(pod *corev1.Pod, c *corev1.Container, e corev1.EnvVar, s Sources, lookup map[string]string) (string, bool, error) {
	from := e.ValueFrom
	if e.Value != "" || from == nil {
		return Expand(e.Value, lookup), true, nil
	}
	switch {
	case from.FieldRef != nil:
		v, err := Field(pod, from.FieldRef.FieldPath, s)
		return v, true, err
	case from.ResourceFieldRef != nil:
		v, err := ResourceField(pod, c, from.ResourceFieldRef, s.Allocatable)
		return v, true, err
	case from.ConfigMapKeyRef != nil:
		r := from.ConfigMapKeyRef
		cm, err := s.configMap(pod.Namespace, r.Name)
		if err != nil {
			if isMissing(err) && optional(r.Optional) {
				return "", false, nil
			}
			return "", false, missing("configmap", r.Name, err)
		}
		if v, ok := cm.Data[r.Key]; ok {
			return v, true, nil
		}
		if optional(r.Optional) {
			return "", false, nil
		}
		return "", false, fmt.Errorf("couldn't find key %v in ConfigMap %v/%v", r.Key, pod.Namespace, r.Name)
	case from.SecretKeyRef != nil:
		r := from.SecretKeyRef
		sec, err := s.secret(pod.Namespace, r.Name)
		if err != nil {
			if isMissing(err) && optional(r.Optional) {
				return "", false, nil
			}
			return "", false, missing("secret", r.Name, err)
		}
		if v, ok := sec.Data[r.Key]; ok {
			return string(v), true, nil
		}
		if optional(r.Optional) {
			return "", false, nil
		}
		return "", false, fmt.Errorf("couldn't find key %v in Secret %v/%v", r.Key, pod.Namespace, r.Name)
	case from.FileKeyRef != nil:
		r := from.FileKeyRef
		if s.EnvFile == nil {
			return "", false, fmt.Errorf("couldn't parse env file")
		}
		v, ok, err := s.EnvFile(r.VolumeName, r.Path, r.Key)
		if err != nil || ok {
			return v, ok, err
		}
		if optional(r.Optional) {
			return "", false, nil
		}
		return "", false, fmt.Errorf("environment variable key %q not found in file %q", r.Key, r.Path)
	}
	return "", true, nil
}
