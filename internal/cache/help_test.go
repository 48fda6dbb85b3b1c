package cache

import (
	"testing"

	"k8s.io/apimachinery/pkg/api/equality"

	"github.com/monohull/monohull/internal/api"
)

func sameObject(t *testing.T, what string, got, wanted api.Object) {
	t.Helper()
	if !equality.Semantic.DeepEqual(got, wanted) {
		t.Errorf("%s: the encoding decodes to another object:\n%v\n%v", what, got, wanted)
	}
}

func decodeJSON(t *testing.T, body []byte, into any) {
	t.Helper()
	if err := api.DecodeJSON(body, into); err != nil {
		t.Fatal(err)
	}
}
