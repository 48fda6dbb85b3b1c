package oracle

import (
	"sort"
	"testing"

	"github.com/monohull/monohull/internal/api/all"
)

// TestDiscovery tells which resources upstream serves by default and the table
// has not.
func TestDiscovery(t *testing.T) {
	up, err := upstream()
	if err != nil {
		t.Fatal(err)
	}
	var missing []string
	for gvr := range up.Resources {
		name := gvr.GroupVersion().String() + "/" + gvr.Resource
		if all.Table().Served(gvr) == nil && !serves[name] {
			missing = append(missing, name)
		}
	}
	sort.Strings(missing)
	for _, name := range missing {
		t.Errorf("%s is not served", name)
	}
	for name := range serves {
		found := false
		for gvr := range up.Resources {
			found = found || gvr.GroupVersion().String()+"/"+gvr.Resource == name && all.Table().Served(gvr) == nil
		}
		if !found {
			t.Errorf("%s needs no exception any more", name)
		}
	}
}

// serves are resources that are served, but are no kinds of the table: nothing
// of them is stored.
var serves = map[string]bool{
	"v1/bindings": true,
	"authentication.k8s.io/v1/selfsubjectreviews":       true,
	"authentication.k8s.io/v1/tokenreviews":             true,
	"authorization.k8s.io/v1/localsubjectaccessreviews": true,
	"authorization.k8s.io/v1/selfsubjectaccessreviews":  true,
	"authorization.k8s.io/v1/selfsubjectrulesreviews":   true,
	"authorization.k8s.io/v1/subjectaccessreviews":      true,
}
