package volumes

import (
	"fmt"
	"io/fs"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/monohull/monohull/internal/kubelet/criconfig"
)

// token is an issued token; made outside, as issuing is an effect.
type token struct{ value string }

// sources is what payloads are made of.
type sources struct {
	configMap func(namespace, name string) (*corev1.ConfigMap, bool)
	secret    func(namespace, name string) (*corev1.Secret, bool)
	field     criconfig.Sources
	tokens    map[int]token // by index in the projected sources
}

// payload decides a volume's files.
func payload(pod *corev1.Pod, v *corev1.Volume, s sources) (map[string]file, error) {
	out := map[string]file{}
	switch {
	case v.ConfigMap != nil:
		return out, configMapFiles(pod.Namespace, v.ConfigMap.Name, v.ConfigMap.Items, modeOf(v.ConfigMap.DefaultMode), isTrue(v.ConfigMap.Optional), s, out)
	case v.Secret != nil:
		return out, secretFiles(pod.Namespace, v.Secret.SecretName, v.Secret.Items, modeOf(v.Secret.DefaultMode), isTrue(v.Secret.Optional), s, out)
	case v.DownwardAPI != nil:
		return out, downwardFiles(pod, v.DownwardAPI.Items, modeOf(v.DownwardAPI.DefaultMode), s, out)
	case v.Projected != nil:
		mode := modeOf(v.Projected.DefaultMode)
		for i, p := range v.Projected.Sources {
			var err error
			switch {
			case p.ConfigMap != nil:
				err = configMapFiles(pod.Namespace, p.ConfigMap.Name, p.ConfigMap.Items, mode, isTrue(p.ConfigMap.Optional), s, out)
			case p.Secret != nil:
				err = secretFiles(pod.Namespace, p.Secret.Name, p.Secret.Items, mode, isTrue(p.Secret.Optional), s, out)
			case p.DownwardAPI != nil:
				err = downwardFiles(pod, p.DownwardAPI.Items, mode, s, out)
			case p.ServiceAccountToken != nil:
				f := file{data: []byte(s.tokens[i].value), mode: mode}
				if f.uid = commonUser(pod); f.uid != nil || fsGroup(pod) != nil {
					f.mode = 0o600
				}
				out[p.ServiceAccountToken.Path] = f
			default:
				err = fmt.Errorf("projected volume source %d is of a kind this node does not know", i)
			}
			if err != nil {
				return nil, err
			}
		}
	}
	return out, nil
}

func isTrue(b *bool) bool { return b != nil && *b }

func modeOf(m *int32) fs.FileMode {
	if m == nil {
		return 0o644
	}
	return fs.FileMode(*m)
}

func configMapFiles(ns, name string, items []corev1.KeyToPath, mode fs.FileMode, opt bool, s sources, out map[string]file) error {
	cm, ok := s.configMap(ns, name)
	if !ok {
		if opt {
			return nil
		}
		return fmt.Errorf("configmap %q not found", name)
	}
	all := map[string][]byte{}
	for k, v := range cm.Data {
		all[k] = []byte(v)
	}
	for k, v := range cm.BinaryData {
		all[k] = v
	}
	return choose(all, items, mode, opt, "configmap", out)
}

func secretFiles(ns, name string, items []corev1.KeyToPath, mode fs.FileMode, opt bool, s sources, out map[string]file) error {
	sec, ok := s.secret(ns, name)
	if !ok {
		if opt {
			return nil
		}
		return fmt.Errorf("secret %q not found", name)
	}
	return choose(sec.Data, items, mode, opt, "secret", out)
}

func choose(all map[string][]byte, items []corev1.KeyToPath, mode fs.FileMode, opt bool, kind string, out map[string]file) error {
	if len(items) == 0 {
		for k, v := range all {
			out[k] = file{data: v, mode: mode}
		}
		return nil
	}
	for _, it := range items {
		v, ok := all[it.Key]
		if !ok {
			if opt {
				continue
			}
			if kind == "configmap" {
				return fmt.Errorf("configmap references non-existent config key: %s", it.Key)
			}
			return fmt.Errorf("references non-existent secret key: %s", it.Key)
		}
		m := mode
		if it.Mode != nil {
			m = fs.FileMode(*it.Mode)
		}
		out[it.Path] = file{data: v, mode: m}
	}
	return nil
}

func downwardFiles(pod *corev1.Pod, items []corev1.DownwardAPIVolumeFile, mode fs.FileMode, s sources, out map[string]file) error {
	for _, it := range items {
		m := mode
		if it.Mode != nil {
			m = fs.FileMode(*it.Mode)
		}
		var text string
		var err error
		switch {
		case it.FieldRef != nil:
			text, err = criconfig.Field(pod, it.FieldRef.FieldPath, s.field)
		case it.ResourceFieldRef != nil:
			c := criconfig.FindContainer(pod, it.ResourceFieldRef.ContainerName)
			if c == nil {
				return fmt.Errorf("container %s not found", it.ResourceFieldRef.ContainerName)
			}
			text, err = criconfig.ResourceField(pod, c, it.ResourceFieldRef, s.field.Allocatable)
		}
		if err != nil {
			return err
		}
		out[it.Path] = file{data: []byte(text), mode: m}
	}
	return nil
}

// commonUser is the user all containers run as, if their specification says so.
func commonUser(pod *corev1.Pod) *int64 {
	var common *int64
	same := true
	look := func(c *corev1.Container) {
		var uid *int64
		if s := pod.Spec.SecurityContext; s != nil {
			uid = s.RunAsUser
		}
		if c.SecurityContext != nil && c.SecurityContext.RunAsUser != nil {
			uid = c.SecurityContext.RunAsUser
		}
		if uid == nil || common != nil && *common != *uid {
			same = false
			return
		}
		common = uid
	}
	for i := range pod.Spec.InitContainers {
		look(&pod.Spec.InitContainers[i])
	}
	for i := range pod.Spec.Containers {
		look(&pod.Spec.Containers[i])
	}
	if !same {
		return nil
	}
	return common
}

func fsGroup(pod *corev1.Pod) *int64 {
	if pod.Spec.SecurityContext == nil {
		return nil
	}
	return pod.Spec.SecurityContext.FSGroup
}

// rotateAt is when a token is renewed: at 80 % of its life, or after a day.
func rotateAt(issued, expiry time.Time) time.Time {
	return issued.Add(min(expiry.Sub(issued)*8/10, 24*time.Hour))
}
