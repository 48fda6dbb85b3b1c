package criconfig

import (
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
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

// Env makes a container's environment in order; later ones win. Whatever key a
// ConfigMap or Secret may have is a variable's name too.
func Env(pod *corev1.Pod, c *corev1.Container, s Sources) (env []Variable, err error) {
	values := map[string]string{}
	var order []string
	set := func(name, value string) {
		if _, had := values[name]; !had {
			order = append(order, name)
		}
		values[name] = value
	}
	for _, from := range c.EnvFrom {
		data, err := envFrom(pod, from, s)
		if err != nil {
			return nil, err
		}
		for _, k := range slices.Sorted(maps.Keys(data)) {
			set(from.Prefix+k, data[k])
		}
	}
	services := ServiceEnv(pod, s.Services)
	// A reference may name a service's variable; one of the container hides it.
	lookup := maps.Clone(services)
	maps.Copy(lookup, values)
	for _, e := range c.Env {
		value, ok, err := envValue(pod, c, e, s, lookup)
		if err != nil {
			return nil, err
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
	return env, nil
}

func envFrom(pod *corev1.Pod, from corev1.EnvFromSource, s Sources) (map[string]string, error) {
	data := map[string]string{}
	switch {
	case from.ConfigMapRef != nil:
		name := from.ConfigMapRef.Name
		cm, err := s.configMap(pod.Namespace, name)
		if err != nil {
			if isMissing(err) && optional(from.ConfigMapRef.Optional) {
				return nil, nil
			}
			return nil, missing("configmap", name, err)
		}
		maps.Copy(data, cm.Data)
	case from.SecretRef != nil:
		name := from.SecretRef.Name
		sec, err := s.secret(pod.Namespace, name)
		if err != nil {
			if isMissing(err) && optional(from.SecretRef.Optional) {
				return nil, nil
			}
			return nil, missing("secret", name, err)
		}
		for k, v := range sec.Data {
			data[k] = string(v)
		}
	}
	return data, nil
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
