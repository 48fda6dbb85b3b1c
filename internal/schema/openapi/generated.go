package openapi

import (
	"slices"
	"strings"
	"sync"

	apiextensions "k8s.io/apiextensions-apiserver/pkg/generated/openapi"
	apiregistration "k8s.io/kube-aggregator/pkg/generated/openapi"
	"k8s.io/kube-openapi/pkg/common"
	"k8s.io/kube-openapi/pkg/validation/spec"
)

// comments are what documents generated from source say of types that carry no
// words of their own: those of apiextensions.k8s.io and apiregistration.k8s.io.
type comments struct {
	words map[string]map[string]string // by definition, then by field; "" is the type's
	marks map[string]mark              // as marks
}

// generated reads them on first use.
var generated = sync.OnceValue(func() comments {
	out := comments{words: map[string]map[string]string{}, marks: map[string]mark{}}
	for prefix, all := range map[string]func(common.ReferenceCallback) map[string]common.OpenAPIDefinition{
		"io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.": apiextensions.GetOpenAPIDefinitions,
		"io.k8s.kube-aggregator.pkg.apis.apiregistration.v1.":       apiregistration.GetOpenAPIDefinitions,
	} {
		for key, def := range all(func(string) spec.Ref { return spec.Ref{} }) {
			if strings.HasPrefix(key, prefix) {
				out.add(key, def.Schema)
			}
		}
	}
	return out
})

func (c comments) add(key string, s spec.Schema) {
	words := map[string]string{"": s.Description}
	c.marks[key] = mark{mapType: extension(s, "x-kubernetes-map-type")}
	for name, p := range s.Properties {
		words[name], _, _ = strings.Cut(p.Description, enumWords(nil)) // enums are told of for all alike
		required := slices.Contains(s.Required, name)
		m := mark{
			required: required, optional: !required, bare: p.Default == nil, value: p.Default,
			listType: none, mapType: extension(p, "x-kubernetes-map-type"),
		}
		if t := extension(p, "x-kubernetes-list-type"); t != "" {
			m.listType = t
			m.listKeys, _ = p.Extensions.GetStringSlice("x-kubernetes-list-map-keys")
		}
		c.marks[key+"."+name] = m
	}
	c.words[key] = words
}

func extension(s spec.Schema, name string) string {
	v, _ := s.Extensions.GetString(name)
	return v
}
