package apiextensions

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

type definition = apiextensionsv1.CustomResourceDefinition

func read(t *testing.T, text string) *definition {
	t.Helper()
	d := &definition{}
	if err := json.Unmarshal([]byte(text), d); err != nil {
		t.Fatal(err)
	}
	Rows()[0].Default(d)
	return d
}

// made is a definition as one is created: prepared too.
func made(t *testing.T, schema string) *definition {
	t.Helper()
	d := read(t, `{"metadata":{"name":"foos.example.com"},"spec":{"group":"example.com","scope":"Namespaced","names":{"plural":"foos","kind":"Foo"},
		"versions":[{"name":"v1","served":true,"storage":true,"schema":{"openAPIV3Schema":`+schema+`}}]}}`)
	Rows()[0].PrepareCreate(d)
	return d
}

func TestNamesAndVersionsAreDefaulted(t *testing.T) {
	d := made(t, `{"type":"object"}`)
	if n := d.Spec.Names; n.Singular != "foo" || n.ListKind != "FooList" {
		t.Errorf("got names %+v", n)
	}
	if d.Spec.Conversion == nil || d.Spec.Conversion.Strategy != apiextensionsv1.NoneConverter {
		t.Errorf("got conversion %+v", d.Spec.Conversion)
	}
	if !slices.Equal(d.Status.StoredVersions, []string{"v1"}) || d.Generation != 1 {
		t.Errorf("got stored versions %v, generation %d", d.Status.StoredVersions, d.Generation)
	}
}

func TestStorageVersionsAreRemembered(t *testing.T) {
	old := made(t, `{"type":"object"}`)
	d := old.DeepCopy()
	d.Spec.Versions[0].Storage = false
	d.Spec.Versions = append(d.Spec.Versions, apiextensionsv1.CustomResourceDefinitionVersion{Name: "v2", Served: true, Storage: true, Schema: d.Spec.Versions[0].Schema})
	Rows()[0].PrepareUpdate(d, old)
	if !slices.Equal(d.Status.StoredVersions, []string{"v1", "v2"}) {
		t.Fatalf("got %v", d.Status.StoredVersions)
	}
	d.Spec.Versions = d.Spec.Versions[1:]
	check(t, "v1 removed", Rows()[0].Validate(d).ToAggregate(), "status.storedVersions[0]: Invalid value: \"v1\": missing from spec.versions")
}

func TestDefinitionsAreJudged(t *testing.T) {
	for _, c := range []struct{ schema, want string }{
		{`{"type":"object","properties":{"spec":{"type":"object","properties":{"a":{"type":"integer","default":1}}}}}`, ""},
		{`{"type":"object","properties":{"spec":{}}}`, "spec.validation.openAPIV3Schema.properties[spec].type: Required value: must not be empty for specified object fields"},
		{`{"type":"string"}`, "spec.validation.openAPIV3Schema.type: Invalid value: \"string\": must be object at the root"},
		{`{"type":"object","properties":{"a":{"type":"array","items":{"type":"object"},"x-kubernetes-list-type":"map"}}}`, "x-kubernetes-list-map-keys: Required value: must not be empty if x-kubernetes-list-type is map"},
		{`{"type":"object","properties":{"a":{"type":"integer","default":"x"}}}`, "spec.validation.openAPIV3Schema.properties[a].default: Invalid value"},
		{`{"type":"object","properties":{"a":{"type":"integer"}},"x-kubernetes-validations":[{"rule":"self.b > 1"}]}`, "undefined field 'b'"},
	} {
		check(t, c.schema, Rows()[0].Validate(made(t, c.schema)).ToAggregate(), c.want)
	}
	d := made(t, `{"type":"object"}`)
	d.Name = "bars.example.com"
	check(t, "name", Rows()[0].Validate(d).ToAggregate(), `must be spec.names.plural+"."+spec.group`)
}

func TestEstablishedNamesDoNotChange(t *testing.T) {
	old := made(t, `{"type":"object"}`)
	SetCondition(old, apiextensionsv1.CustomResourceDefinitionCondition{Type: apiextensionsv1.Established, Status: apiextensionsv1.ConditionTrue})
	old.ResourceVersion = "1"
	d := old.DeepCopy()
	d.Spec.Scope = apiextensionsv1.ClusterScoped
	check(t, "scope", Rows()[0].ValidateUpdate(d, old).ToAggregate(), "spec.scope: Invalid value: \"Cluster\": field is immutable")
}

func TestUnknownFormatsAreWarnedOf(t *testing.T) {
	d := made(t, `{"type":"object","properties":{"a":{"type":"string","format":"zip"},"b":{"type":"string","format":"date-time"},"c":{"type":"integer","format":"date"}}}`)
	if got := Rows()[0].Warnings(d); !slices.Equal(got, []string{`unrecognized format "date"`, `unrecognized format "zip"`}) {
		t.Errorf("got %q", got)
	}
}

func TestDeletionWaitsForTheObjects(t *testing.T) {
	d := made(t, `{"type":"object"}`)
	first := metav1.NewTime(time.Unix(1, 0))
	Terminate(d, first)
	Terminate(d, metav1.NewTime(time.Unix(2, 0)))
	if !slices.Equal(d.Finalizers, []string{Cleanup}) {
		t.Errorf("got finalizers %v", d.Finalizers)
	}
	if c := d.Status.Conditions; len(c) != 1 || !c[0].LastTransitionTime.Equal(&first) {
		t.Errorf("got %+v", c)
	}
}

func TestDefinitionsAreStored(t *testing.T) {
	k := Rows()[0]
	d := made(t, `{"type":"object","properties":{"a":{"type":"string","default":"x","enum":["x","y"]}}}`)
	value, err := k.EncodeStored(d)
	if err != nil {
		t.Fatal(err)
	}
	back, _, err := k.DecodeStored(value, 1)
	if err != nil {
		t.Fatal(err)
	}
	got := back.(*definition).Spec.Versions[0].Schema.OpenAPIV3Schema.Properties["a"]
	if string(got.Default.Raw) != `"x"` || len(got.Enum) != 2 {
		t.Errorf("got %+v", got)
	}
}

func check(t *testing.T, what string, err error, want string) {
	t.Helper()
	switch {
	case want == "" && err != nil:
		t.Errorf("%s\nwas refused: %v", what, err)
	case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
		t.Errorf("%s\ngot  %v\nwant %s", what, err, want)
	}
}
