package encrypt

import (
	"crypto/sha256"
	"fmt"
	"os"
	"sync"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apiserver/pkg/apis/apiserver"
	apiserverv1 "k8s.io/apiserver/pkg/apis/apiserver/v1"
	"k8s.io/apiserver/pkg/apis/apiserver/validation"
)

// decoder reads configurations of every version; it is made when there is one.
var decoder = sync.OnceValues(func() (runtime.Decoder, error) {
	s := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{apiserver.AddToScheme, apiserverv1.AddToScheme} {
		if err := add(s); err != nil {
			return nil, err
		}
	}
	return serializer.NewCodecFactory(s, serializer.EnableStrict).UniversalDecoder(), nil
})

// readFile gives the file's content and what it is known by, which is not the
// content: that has keys in it.
func readFile(path string) (content []byte, hash string, err error) {
	content, err = os.ReadFile(path)
	if err != nil {
		return nil, "", fmt.Errorf("error reading encryption provider configuration file %q: %w", path, err)
	}
	if len(content) == 0 {
		return nil, "", fmt.Errorf("encryption provider configuration file %q is empty", path)
	}
	return content, fmt.Sprintf("sha256:%x", sha256.Sum256(content)), nil
}

// parse reads and judges a configuration.
func parse(path string, content []byte, reload bool) (*apiserver.EncryptionConfiguration, error) {
	d, err := decoder()
	if err != nil {
		return nil, err
	}
	obj, gvk, err := d.Decode(content, nil, nil)
	if err != nil {
		return nil, fmt.Errorf("error decoding encryption provider configuration file %q: %w", path, err)
	}
	c, ok := obj.(*apiserver.EncryptionConfiguration)
	if !ok {
		return nil, fmt.Errorf("the encryption provider configuration file %q holds a %s", path, gvk.Kind)
	}
	if errs := validation.ValidateEncryptionConfiguration(c, reload); len(errs) > 0 {
		return nil, fmt.Errorf("the encryption provider configuration file %q: %w", path, errs.ToAggregate())
	}
	return c, nil
}
