package config

import (
	"fmt"
	"io"
	"os"

	"k8s.io/apimachinery/pkg/util/yaml"
	v1beta1 "k8s.io/kubelet/config/v1beta1"
	sigsjson "sigs.k8s.io/json"
)

// maxFile bounds a configuration file.
const maxFile = 1 << 20

// Load reads a file; "" is none, which gives the defaults.
func Load(path string) (Options, error) {
	if path == "" {
		return Default(), nil
	}
	f, err := os.Open(path)
	if err != nil {
		return Options{}, fmt.Errorf("failed to load kubelet config file, path: %s, error: %w", path, err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(data) > maxFile {
		err = fmt.Errorf("it is larger than %d bytes", maxFile)
	}
	if err != nil {
		return Options{}, fmt.Errorf("failed to load kubelet config file, path: %s, error: %w", path, err)
	}
	c, err := Decode(data)
	if err != nil {
		return Options{}, fmt.Errorf("failed to load kubelet config file, path: %s, error: %w", path, err)
	}
	o, err := New(c)
	if err != nil {
		return o, fmt.Errorf("failed to validate kubelet configuration, path: %s, error: %w", path, err)
	}
	return o, nil
}

// Decode reads YAML or JSON; a field it does not know is an error.
func Decode(data []byte) (*v1beta1.KubeletConfiguration, error) {
	js, err := yaml.ToJSON(data)
	if err != nil {
		return nil, fmt.Errorf("failed to decode: %w", err)
	}
	c := &v1beta1.KubeletConfiguration{}
	strict, err := sigsjson.UnmarshalStrict(js, c)
	if err != nil {
		return nil, fmt.Errorf("failed to decode: %w", err)
	}
	if c.APIVersion != v1beta1.SchemeGroupVersion.String() || c.Kind != "KubeletConfiguration" {
		return nil, fmt.Errorf("failed to decode: no kind %q is registered for version %q; it is a KubeletConfiguration of %s", c.Kind, c.APIVersion, v1beta1.SchemeGroupVersion)
	}
	if len(strict) > 0 {
		return nil, fmt.Errorf("strict decoding error: %w", strict[0])
	}
	return c, nil
}
