package legacy

import (
	"fmt"
	"sync"

	apiextensionsinternal "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsinstall "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/install"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensionsv1beta1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1beta1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/monohull/monohull/internal/api"
)

// extensionTypes knows the definitions of custom resources in every version;
// the rules between them are those of the library that judges their schemas.
var extensionTypes = sync.OnceValue(func() *runtime.Scheme {
	s := runtime.NewScheme()
	apiextensionsinstall.Install(s)
	return s
})

func definitions() []old {
	gvk, of := apiextensionsv1beta1.SchemeGroupVersion.WithKind("CustomResourceDefinition"), apiextensionsv1.SchemeGroupVersion.WithKind("CustomResourceDefinition")
	return []old{{of: of, ver: api.Also(api.VersionSpec[*apiextensionsv1beta1.CustomResourceDefinition, *apiextensionsv1.CustomResourceDefinition]{
		GVK: gvk, List: &apiextensionsv1beta1.CustomResourceDefinitionList{}, Old: true,
		Deprecated: deprecation(gvk, of, 16, 22, nil),
		Default:    func(d *apiextensionsv1beta1.CustomResourceDefinition) { extensionTypes().Default(d) },
		ToKind: func(from *apiextensionsv1beta1.CustomResourceDefinition) (*apiextensionsv1.CustomResourceDefinition, error) {
			to := &apiextensionsv1.CustomResourceDefinition{}
			return to, throughInternal(from.DeepCopy(), to)
		},
		FromKind: func(from *apiextensionsv1.CustomResourceDefinition) (*apiextensionsv1beta1.CustomResourceDefinition, error) {
			to := &apiextensionsv1beta1.CustomResourceDefinition{}
			return to, throughInternal(from.DeepCopy(), to)
		},
		Warnings: func(d *apiextensionsv1beta1.CustomResourceDefinition) (out []string) {
			if d.Spec.Validation == nil {
				schemas := false
				for _, v := range d.Spec.Versions {
					schemas = schemas || v.Schema != nil
				}
				if !schemas {
					out = append(out, "spec.versions[].schema.openAPIV3Schema: is required in apiextensions.k8s.io/v1")
				}
			} else {
				out = append(out, "spec.validation: is spec.versions[].schema in apiextensions.k8s.io/v1")
			}
			return out
		},
	})}}
}

func throughInternal(from, to runtime.Object) error {
	between := &apiextensionsinternal.CustomResourceDefinition{}
	for _, step := range [][2]runtime.Object{{from, between}, {between, to}} {
		if err := extensionTypes().Convert(step[0], step[1], nil); err != nil {
			return fmt.Errorf("legacy: converting %T to %T: %w", step[0], step[1], err)
		}
	}
	to.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{})
	return nil
}
