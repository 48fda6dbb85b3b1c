package openapi

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/monohull/monohull/internal/api/all"
)

// testDocuments describe the real table and the kinds that are never stored.
func testDocuments() *Documents {
	authn, authz := authenticationv1.SchemeGroupVersion, authorizationv1.SchemeGroupVersion
	return New(all.Table(), []Virtual{
		{corev1.SchemeGroupVersion.WithKind("Binding"), "bindings", true, &corev1.Binding{}},
		{authn.WithKind("TokenReview"), "tokenreviews", false, &authenticationv1.TokenReview{}},
		{authn.WithKind("SelfSubjectReview"), "selfsubjectreviews", false, &authenticationv1.SelfSubjectReview{}},
		{authz.WithKind("SubjectAccessReview"), "subjectaccessreviews", false, &authorizationv1.SubjectAccessReview{}},
		{authz.WithKind("SelfSubjectAccessReview"), "selfsubjectaccessreviews", false, &authorizationv1.SelfSubjectAccessReview{}},
		{authz.WithKind("SelfSubjectRulesReview"), "selfsubjectrulesreviews", false, &authorizationv1.SelfSubjectRulesReview{}},
		{authz.WithKind("LocalSubjectAccessReview"), "localsubjectaccessreviews", true, &authorizationv1.LocalSubjectAccessReview{}},
	}, "v1.36.3")
}

// references finds what a document refers to.
func references(v any, found map[string]bool) {
	switch v := v.(type) {
	case map[string]any:
		if ref, ok := v["$ref"].(string); ok {
			found[ref] = true
		}
		for _, inner := range v {
			references(inner, found)
		}
	case []any:
		for _, inner := range v {
			references(inner, found)
		}
	}
}

func TestEveryReferenceResolves(t *testing.T) {
	d := testDocuments()
	check := func(path string, body []byte) {
		var doc map[string]any
		if err := json.Unmarshal(body, &doc); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		found := map[string]bool{}
		references(doc, found)
		for ref := range found {
			at := any(doc)
			for part := range strings.SplitSeq(strings.TrimPrefix(ref, "#/"), "/") {
				inner, _ := at.(map[string]any)
				at = inner[part]
			}
			if at == nil {
				t.Errorf("%s: nothing at %s", path, ref)
			}
		}
	}
	for _, path := range d.Paths() {
		body, etag, ok, err := d.V3(path)
		if err != nil || !ok || etag == "" {
			t.Fatalf("%s: ok is %v, error %v", path, ok, err)
		}
		check(path, body)
	}
	body, _, err := d.V2()
	if err != nil {
		t.Fatal(err)
	}
	check("v2", body)
	if _, _, ok, _ := d.V3("apis/nothing/v1"); ok {
		t.Error("there is a document of a group that is not served")
	}
}

func TestOperationIDsAreUnique(t *testing.T) {
	d := testDocuments()
	seen := map[string]string{}
	for _, path := range d.Paths() {
		for _, op := range d.operations(path) {
			if other, ok := seen[op.id]; ok {
				t.Errorf("%s names both %s and %s %s", op.id, other, op.method, op.path)
			}
			seen[op.id] = op.method + " " + op.path
		}
	}
}

func TestDocumentsAreTheSameEachTime(t *testing.T) {
	a, b := testDocuments(), testDocuments()
	for _, path := range []string{"api/v1", "apis/apps/v1"} {
		_, first, _, err := a.V3(path)
		if err != nil {
			t.Fatal(err)
		}
		if _, second, _, _ := b.V3(path); first != second {
			t.Errorf("%s differs between servers of one build", path)
		}
	}
}

func TestMarksAndEnumsNameWhatExists(t *testing.T) {
	d := testDocuments()
	defs := newDefinitions(v3, nil)
	for _, path := range d.Paths() {
		defs.paths(d.operations(path), nil)
	}
	for key := range marks() {
		name := key
		if _, ok := defs.byKey[name]; ok {
			continue
		}
		name, field := key[:strings.LastIndex(key, ".")], key[strings.LastIndex(key, ".")+1:]
		def, ok := defs.byKey[name].(object)
		if !ok {
			continue // of a kind that is not in the table yet
		}
		if props, _ := def["properties"].(object); props[field] == nil {
			t.Errorf("%s has no field %s", name, field)
		}
	}
	if len(enums()["api/core/v1.PullPolicy"]) != 3 || len(enums()["api/core/v1.IPFamily"]) != 3 {
		t.Error("the values of pull policies or IP families are not as written")
	}
}

func TestDefinitionsWithoutWordsOfTheirOwnAreDescribed(t *testing.T) {
	d := New(all.Table(), nil, "v1.36.3")
	for _, path := range []string{"apis/apiextensions.k8s.io/v1", "apis/apiregistration.k8s.io/v1"} {
		body, _, ok, err := d.V3(path)
		if err != nil || !ok {
			t.Fatal(path, ok, err)
		}
		var doc struct {
			Components struct {
				Schemas map[string]struct {
					Description string
					Required    []string
					Properties  map[string]map[string]any
				}
			}
		}
		if err := json.Unmarshal(body, &doc); err != nil {
			t.Fatal(err)
		}
		for key, s := range doc.Components.Schemas {
			words := generated().words[key]
			if words == nil {
				continue // its own
			}
			if s.Description != words[""] {
				t.Errorf("%s is described as %q", key, s.Description)
			}
			for name, p := range s.Properties {
				m := generated().marks[key+"."+name]
				if p["description"] == nil && words[name] != "" {
					t.Errorf("%s.%s has no description", key, name)
				}
				if slices.Contains(s.Required, name) != m.required {
					t.Errorf("%s.%s: required %v, want %v", key, name, !m.required, m.required)
				}
				if list, _ := p["x-kubernetes-list-type"].(string); list != strings.TrimPrefix(m.listType, none) {
					t.Errorf("%s.%s: list type %q, want %q", key, name, list, m.listType)
				}
			}
			if len(s.Properties) != len(words)-1 {
				t.Errorf("%s has %d properties, want %d", key, len(s.Properties), len(words)-1)
			}
		}
	}
}
