package admission

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"k8s.io/apiserver/pkg/authorization/authorizer"
	"sigs.k8s.io/yaml"
)

// Config says which plugins are in the chain, and how they are set.
type Config struct {
	// Enable and Disable change the default set, by plugins' names.
	Enable, Disable []string
	// Plugins are the configurations of plugins, by name, as JSON or YAML.
	// ReadFile fills it from an AdmissionConfiguration.
	Plugins map[string][]byte
}

// maxConfigBytes bounds a configuration file.
const maxConfigBytes = 4 << 20

// admissionConfiguration is apiserver.config.k8s.io/v1 AdmissionConfiguration.
type admissionConfiguration struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Plugins    []struct {
		Name          string          `json:"name"`
		Path          string          `json:"path"`
		Configuration json.RawMessage `json:"configuration"`
	} `json:"plugins"`
}

// ReadFile reads an AdmissionConfiguration file. Paths in it are relative to
// it. A file of the old form, of PodNodeSelector alone, is read as such.
func (c *Config) ReadFile(path string) error {
	data, err := readLimited(path)
	if err != nil {
		return fmt.Errorf("admission: unable to read admission control configuration from %q [%v]", path, err)
	}
	c.Plugins = map[string][]byte{}
	var head struct {
		APIVersion string          `json:"apiVersion"`
		Kind       string          `json:"kind"`
		Selectors  json.RawMessage `json:"podNodeSelectorPluginConfig"`
	}
	if err := yaml.Unmarshal(data, &head); err != nil {
		return fmt.Errorf("admission: reading the admission configuration %s: %w", path, err)
	}
	if head.APIVersion == "" && head.Kind == "" && head.Selectors != nil {
		c.Plugins["PodNodeSelector"] = data
		return nil
	}
	switch head.APIVersion {
	case "apiserver.config.k8s.io/v1", "apiserver.k8s.io/v1alpha1":
	default:
		return fmt.Errorf("admission: %s: no kind %q is registered for version %q; AdmissionConfiguration is of apiserver.config.k8s.io/v1", path, head.Kind, head.APIVersion)
	}
	if head.Kind != "AdmissionConfiguration" {
		return fmt.Errorf("admission: %s is a %s, not an AdmissionConfiguration", path, head.Kind)
	}
	var file admissionConfiguration
	if err := yaml.UnmarshalStrict(data, &file); err != nil {
		return fmt.Errorf("admission: reading the admission configuration %s: %w", path, err)
	}
	for _, p := range file.Plugins {
		if _, ok := c.Plugins[p.Name]; ok {
			continue // the first counts
		}
		switch {
		case len(p.Configuration) > 0 && string(p.Configuration) != "null":
			c.Plugins[p.Name] = p.Configuration
		case p.Path != "":
			at := p.Path
			if !filepath.IsAbs(at) {
				at = filepath.Join(filepath.Dir(path), at)
			}
			if c.Plugins[p.Name], err = readLimited(at); err != nil {
				return fmt.Errorf("admission: reading the configuration of plugin %s: %w", p.Name, err)
			}
		}
	}
	return nil
}

func readLimited(path string) ([]byte, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if st.Size() > maxConfigBytes {
		return nil, fmt.Errorf("%s has %d bytes; a configuration has at most %d", path, st.Size(), maxConfigBytes)
	}
	return os.ReadFile(path)
}

// typed is the head of plugins' configurations.
type typed struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
}

// decode reads the configuration of a plugin. versions are those it may be in,
// of which every field is alike.
func (t *typed) decode(data []byte, kind string, versions []string, into any) error {
	if err := yaml.Unmarshal(data, t); err != nil {
		return err
	}
	if t.Kind != kind {
		return fmt.Errorf("expected %s, got %q", kind, t.Kind)
	}
	for _, v := range versions {
		if t.APIVersion == v {
			return yaml.UnmarshalStrict(data, into)
		}
	}
	return fmt.Errorf("no kind %q is registered for version %q", kind, t.APIVersion)
}

type authorizerFunc func(context.Context, authorizer.Attributes) (authorizer.Decision, string, error)

func (f authorizerFunc) Authorize(ctx context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
	return f(ctx, a)
}

var denyAll = authorizerFunc(func(context.Context, authorizer.Attributes) (authorizer.Decision, string, error) {
	return authorizer.DecisionNoOpinion, "", nil
})
