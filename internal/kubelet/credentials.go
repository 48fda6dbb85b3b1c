package kubelet

import (
	"encoding/base64"
	"encoding/json"
	"path"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	corev1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// credentials are what a pod's pull secrets say for an image, the most exact
// first; none at all is one without any.
func (k *Kubelet) credentials(pod *corev1.Pod, ref name.Reference) []*runtimeapi.AuthConfig {
	var found []credential
	for _, r := range pod.Spec.ImagePullSecrets {
		if s, ok := k.secrets.Get(pod.Namespace, r.Name); ok {
			found = append(found, parseSecret(s)...)
		}
	}
	out := matching(found, ref.Context().RegistryStr(), ref.Context().RepositoryStr())
	if len(out) == 0 {
		return []*runtimeapi.AuthConfig{nil}
	}
	return out
}

// missingSecrets are the pull secrets that a pod names and that are not there.
func (k *Kubelet) missingSecrets(pod *corev1.Pod) []string {
	var out []string
	for _, r := range pod.Spec.ImagePullSecrets {
		if _, ok := k.secrets.Get(pod.Namespace, r.Name); !ok {
			out = append(out, r.Name)
		}
	}
	return out
}

// credential is one entry of a docker configuration.
type credential struct {
	key  string
	auth *runtimeapi.AuthConfig
}

type dockerEntry struct {
	Username      string `json:"username"`
	Password      string `json:"password"`
	Auth          string `json:"auth"`
	IdentityToken string `json:"identitytoken"`
	RegistryToken string `json:"registrytoken"`
}

// parseSecret reads a pull secret of either type. What cannot be read counts as
// empty, as upstream has it: the pull then fails for want of credentials.
func parseSecret(s *corev1.Secret) []credential {
	entries := map[string]dockerEntry{}
	switch s.Type {
	case corev1.SecretTypeDockerConfigJson:
		var file struct {
			Auths map[string]dockerEntry `json:"auths"`
		}
		if json.Unmarshal(s.Data[corev1.DockerConfigJsonKey], &file) != nil {
			return nil
		}
		entries = file.Auths
	case corev1.SecretTypeDockercfg:
		if json.Unmarshal(s.Data[corev1.DockerConfigKey], &entries) != nil {
			return nil
		}
	}
	var out []credential
	for key, e := range entries {
		a := &runtimeapi.AuthConfig{Username: e.Username, Password: e.Password, IdentityToken: e.IdentityToken, RegistryToken: e.RegistryToken}
		if e.Auth != "" {
			if raw, err := base64.StdEncoding.DecodeString(e.Auth); err == nil {
				a.Username, a.Password, _ = strings.Cut(string(raw), ":")
			}
		}
		out = append(out, credential{key, a})
	}
	slices.SortFunc(out, func(a, b credential) int { return strings.Compare(a.key, b.key) })
	return out
}

// matching chooses the entries for a repository, longest path first.
func matching(all []credential, registry, repository string) []*runtimeapi.AuthConfig {
	type hit struct {
		length int
		auth   *runtimeapi.AuthConfig
	}
	var hits []hit
	for _, c := range all {
		key := strings.TrimPrefix(strings.TrimPrefix(c.key, "https://"), "http://")
		host, prefix, _ := strings.Cut(key, "/")
		prefix = strings.Trim(prefix, "/")
		if prefix == "v1" || prefix == "v2" {
			prefix = ""
		}
		if host == "docker.io" || host == "registry-1.docker.io" {
			host = "index.docker.io"
		}
		ok := host == registry
		if !ok && strings.Contains(host, "*") && strings.Count(host, ".") == strings.Count(registry, ".") {
			if m, err := path.Match(host, registry); err == nil {
				ok = m
			}
		}
		if ok && (prefix == "" || repository == prefix || strings.HasPrefix(repository, prefix+"/")) {
			hits = append(hits, hit{len(prefix), c.auth})
		}
	}
	slices.SortStableFunc(hits, func(a, b hit) int { return b.length - a.length })
	var out []*runtimeapi.AuthConfig
	for _, h := range hits {
		out = append(out, h.auth)
	}
	return out
}
