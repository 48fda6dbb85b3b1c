package oracle

import (
	"context"
	"fmt"
	"slices"
	"sort"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"
	utilfeature "k8s.io/apiserver/pkg/util/feature"

	"github.com/monohull/monohull/internal/api"
	"github.com/monohull/monohull/internal/api/all"
)

// TestFeatures holds the gates at what a default server of the compared version
// has: all else rests on it.
func TestFeatures(t *testing.T) {
	g := utilfeature.DefaultMutableFeatureGate
	if v := g.EmulationVersion(); v == nil || v.Major() != 1 || v.Minor() != 36 {
		t.Fatalf("upstream emulates %v", v)
	}
	for name, spec := range g.GetAll() {
		if spec.LockToDefault && g.Enabled(name) != spec.Default {
			t.Errorf("feature gate %s is not at its default", name)
		}
	}
}

// TestFacts compares what does not depend on an object: names, scope, verbs,
// keys, columns, subresources, field selectors.
func TestFacts(t *testing.T) {
	up, err := upstream()
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range all.Table().Kinds() {
		name := nameOf(k.GVK.Group, k.GVK.Kind)
		t.Run(name, func(t *testing.T) {
			r := up.Resources[k.GVR()]
			if r == nil {
				t.Fatalf("upstream serves no %v", k.GVR())
			}
			theirs, ours := theirFacts(r, k.FieldNames), ourFacts(k)
			if r.Store == nil { // reviews and the like: what can be asked of a storage alone
				for _, f := range keys(theirs, ours) {
					if !strings.HasPrefix(f, "name") && f != "verbs" && f != "namespaced" {
						delete(theirs, f)
						delete(ours, f)
					}
				}
			}
			for _, f := range keys(theirs, ours) {
				if theirs[f] != ours[f] && !acceptedFact(name, f) {
					t.Errorf("%s: upstream %s, ours %s", f, theirs[f], ours[f])
				}
			}
		})
	}
}

func keys(maps ...map[string]string) (out []string) {
	for _, m := range maps {
		for k := range m {
			out = append(out, k)
		}
	}
	sort.Strings(out)
	return slices.Compact(out)
}

// theirFacts reads them off the storage.
func theirFacts(r *Resource, names []string) map[string]string {
	f := map[string]string{"verbs": fmt.Sprint(verbsOf(r.Storage))}
	if s, ok := r.Storage.(rest.SingularNameProvider); ok {
		f["name, singular"] = s.GetSingularName()
	}
	f["name, short"], f["name, categories"] = "[]", "[]"
	if s, ok := r.Storage.(rest.ShortNamesProvider); ok {
		f["name, short"] = fmt.Sprint(sorted(s.ShortNames()))
	}
	if s, ok := r.Storage.(rest.CategoriesProvider); ok {
		f["name, categories"] = fmt.Sprint(sorted(s.Categories()))
	}
	if s, ok := r.Storage.(rest.Scoper); ok {
		f["namespaced"] = fmt.Sprint(s.NamespaceScoped())
	}
	for name, s := range r.Subs {
		f["subresource "+name] = fmt.Sprint(verbsOf(s))
	}
	if r.Store == nil {
		return f
	}
	if u := r.Store.UpdateStrategy; u != nil {
		f["create on update"], f["unconditional update"] = fmt.Sprint(u.AllowCreateOnUpdate()), fmt.Sprint(u.AllowUnconditionalUpdate())
	}
	f["key"] = r.Store.KeyRootFunc(request.NewContext())
	gvk := kindOf(r)
	if t, ok := r.Storage.(rest.TableConvertor); ok {
		if table, err := t.ConvertToTable(context.Background(), r.Storage.New(), &metav1.TableOptions{}); err == nil {
			for i, c := range table.ColumnDefinitions {
				f[fmt.Sprintf("column %02d", i)] = fmt.Sprintf("%s %s %q %d", c.Name, c.Type, c.Format, c.Priority)
			}
		}
	}
	set, err := attributes(r)
	if err != nil {
		return f
	}
	var selectors []string
	for _, name := range names {
		set[name] = ""
	}
	for name := range set {
		if _, _, err := r.Scheme.ConvertFieldLabel(gvk, name, "x"); err == nil {
			selectors = append(selectors, name)
		}
	}
	f["field selectors"] = fmt.Sprint(sorted(selectors))
	return f
}

func ourFacts(k *api.Kind) map[string]string {
	f := map[string]string{
		"name, singular": k.Singular, "name, short": fmt.Sprint(sorted(k.ShortNames)), "name, categories": fmt.Sprint(sorted(k.Categories)),
		"namespaced": fmt.Sprint(k.Namespaced), "create on update": fmt.Sprint(k.CreateOnUpdate), "unconditional update": fmt.Sprint(k.UnconditionalUpdate),
		"key": "/" + k.Prefix, "verbs": fmt.Sprint(sorted(k.Verbs)),
	}
	if k.Verbs == nil {
		f["verbs"] = fmt.Sprint([]string{"create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"})
	}
	const written = "[get patch update]"
	if k.HasStatus {
		f["subresource status"] = written
	}
	if k.Scale != nil {
		f["subresource scale"] = written
	}
	for name, p := range k.Parts {
		f["subresource "+name] = fmt.Sprint(sorted(p.Verbs))
	}
	for name, verbs := range servedByHand[k.Plural] {
		f["subresource "+name] = verbs
	}
	columns := k.Columns
	if k.Row == nil {
		columns = []metav1.TableColumnDefinition{{Name: "Name", Type: "string", Format: "name"}, {Name: "Created At", Type: "date"}}
	}
	for i, c := range columns {
		f[fmt.Sprintf("column %02d", i)] = fmt.Sprintf("%s %s %q %d", c.Name, c.Type, c.Format, c.Priority)
	}
	selectors := append([]string{"metadata.name"}, k.FieldNames...)
	if k.Namespaced {
		selectors = append(selectors, "metadata.namespace")
	}
	f["field selectors"] = fmt.Sprint(sorted(selectors))
	return f
}

// servedByHand are subresources that are no part of a row, by resource.
var servedByHand = map[string]map[string]string{
	"pods": {
		"log": "[get]", "exec": "[create get]", "attach": "[create get]", "portforward": "[create get]",
		"proxy": "[create delete get patch update]", "binding": "[create]", "eviction": "[create]",
	},
	"nodes":           {"proxy": "[create delete get patch update]"},
	"services":        {"proxy": "[create delete get patch update]"},
	"serviceaccounts": {"token": "[create]"},
}

// verbsOf names the verbs of a storage as discovery lists them.
func verbsOf(s rest.Storage) []string {
	var v []string
	has := func(ok bool, verb string) {
		if ok {
			v = append(v, verb)
		}
	}
	_, creater := s.(rest.Creater)
	_, named := s.(rest.NamedCreater)
	has(creater || named, "create")
	_, ok := s.(rest.GracefulDeleter)
	has(ok, "delete")
	_, ok = s.(rest.CollectionDeleter)
	has(ok, "deletecollection")
	_, getter := s.(rest.Getter)
	_, options := s.(rest.GetterWithOptions)
	has(getter || options, "get")
	_, lister := s.(rest.Lister)
	has(lister, "list")
	_, ok = s.(rest.Patcher)
	has(ok, "patch")
	_, ok = s.(rest.Updater)
	has(ok, "update")
	_, ok = s.(rest.Watcher)
	has(ok && lister, "watch")
	if c, ok := s.(rest.Connecter); ok {
		for _, m := range c.ConnectMethods() {
			if verb := map[string]string{"GET": "get", "POST": "create", "PUT": "update", "DELETE": "delete", "PATCH": "patch"}[m]; verb != "" {
				v = append(v, verb)
			}
		}
	}
	sort.Strings(v)
	return slices.Compact(v)
}

var _ runtime.Object

func acceptedFact(kind, fact string) bool {
	_, ok := acceptedFacts[kind+" "+fact]
	return ok
}
