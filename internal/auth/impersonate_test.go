package auth

import (
	"net/http"
	"reflect"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apiserver/pkg/authentication/user"
)

func TestImpersonationHeaders(t *testing.T) {
	tests := []struct {
		name    string
		headers http.Header
		want    *user.DefaultInfo
		bad     bool
	}{
		{"none", http.Header{"Accept": {"x"}}, nil, false},
		{"user", http.Header{"Impersonate-User": {"ann"}}, &user.DefaultInfo{Name: "ann"}, false},
		{"all", http.Header{"Impersonate-User": {"ann"}, "Impersonate-Uid": {"7"}, "Impersonate-Group": {"a", "b"}, "Impersonate-Extra-Example.org%2fscopes": {"x", "y"}},
			&user.DefaultInfo{Name: "ann", UID: "7", Groups: []string{"a", "b"}, Extra: map[string][]string{"example.org/scopes": {"x", "y"}}}, false},
		{"group alone", http.Header{"Impersonate-Group": {"a"}}, nil, true},
		{"uid alone", http.Header{"Impersonate-Uid": {"a"}}, nil, true},
		{"extra alone", http.Header{"Impersonate-Extra-X": {"a"}}, nil, true},
	}
	for _, test := range tests {
		got, err := Impersonation(test.headers)
		if test.bad != apierrors.IsBadRequest(err) || !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s: %+v %v", test.name, got, err)
		}
		test.headers.Set("Accept", "x")
		ClearImpersonation(test.headers)
		if len(test.headers) != 1 {
			t.Errorf("%s: left %v", test.name, test.headers)
		}
	}
}

func TestImpersonate(t *testing.T) {
	p := newPolicy(
		clusterRole("old", may("impersonate", "core", "users groups serviceaccounts"), may("impersonate", "authentication.k8s.io", "uids userextras/scopes")),
		clusterRole("ann-only", may("impersonate", "core", "users", "ann")),
		clusterRole("info", may("impersonate:user-info", "authentication.k8s.io", "users groups"), may("impersonate-on:user-info:list", "core", "pods")),
		clusterRole("own-node", may("impersonate:associated-node", "authentication.k8s.io", "nodes"), may("impersonate-on:associated-node:get", "core", "pods")),
		clusterRole("as-account", may("impersonate:serviceaccount", "authentication.k8s.io", "serviceaccounts", "app"), may("impersonate-on:serviceaccount:get", "core", "pods")),
		bindCluster("1", "old", userSubject("boss")), bindCluster("2", "ann-only", userSubject("some")), bindCluster("3", "info", userSubject("info")),
		bindCluster("4", "own-node", accountSubject("kube-system", "agent")), bindCluster("5", "as-account", userSubject("info")),
	)
	agent := &user.DefaultInfo{Name: "system:serviceaccount:kube-system:agent", Groups: []string{user.AllAuthenticated}, Extra: map[string][]string{"authentication.kubernetes.io/node-name": {"one"}}}
	tests := []struct {
		name       string
		sender     user.Info
		wanted     user.DefaultInfo
		question   string
		groups     []string
		constraint string
		refused    string
	}{
		{"old way", person("boss"), user.DefaultInfo{Name: "ann", UID: "7", Groups: []string{"g"}, Extra: map[string][]string{"scopes": {"a"}}}, "delete nodes /x", []string{"g", "system:authenticated"}, "", ""},
		{"old way, extra not allowed", person("boss"), user.DefaultInfo{Name: "ann", Extra: map[string][]string{"other": {"a"}}}, "delete nodes /x", nil, "", "forbidden"},
		{"old way, one name", person("some"), user.DefaultInfo{Name: "ann"}, "get pods n/x", []string{"system:authenticated"}, "", ""},
		{"old way, another name", person("some"), user.DefaultInfo{Name: "ben"}, "get pods n/x", nil, "", `pods "x" is forbidden: User "some" cannot impersonate-on:user-info:get resource "pods" in API group "" in the namespace "n"`},
		{"old way, a group", person("some"), user.DefaultInfo{Name: "ann", Groups: []string{"g"}}, "get pods n/x", nil, "", "forbidden"},
		{"service account", person("boss"), user.DefaultInfo{Name: "system:serviceaccount:n:app"}, "get pods n/x", []string{"system:serviceaccounts", "system:serviceaccounts:n", "system:authenticated"}, "", ""},
		{"anonymous", person("boss"), user.DefaultInfo{Name: "system:anonymous"}, "get pods n/x", []string{"system:unauthenticated"}, "", ""},
		{"explicitly unauthenticated", person("boss"), user.DefaultInfo{Name: "ann", Groups: []string{"system:unauthenticated"}}, "get pods n/x", []string{"system:unauthenticated"}, "", ""},
		{"constrained", person("info"), user.DefaultInfo{Name: "ann", Groups: []string{"g"}}, "list pods n", []string{"g", "system:authenticated"}, "impersonate:user-info", ""},
		{"constrained, other request", person("info"), user.DefaultInfo{Name: "ann"}, "get pods n/x", nil, "", "cannot impersonate-on:user-info:get"},
		{"constrained, masters", person("info"), user.DefaultInfo{Name: "ann", Groups: []string{"system:masters"}}, "list pods n", nil, "", "impersonating the system:masters group is not allowed"},
		{"constrained, empty group", person("info"), user.DefaultInfo{Name: "ann", Groups: []string{""}}, "list pods n", nil, "", "impersonating the empty string group is not allowed"},
		{"constrained, account", person("info"), user.DefaultInfo{Name: "system:serviceaccount:n:app"}, "get pods n/x", []string{"system:serviceaccounts", "system:serviceaccounts:n", "system:authenticated"}, "impersonate:serviceaccount", ""},
		{"constrained, account with groups", person("info"), user.DefaultInfo{Name: "system:serviceaccount:n:app", Groups: []string{"g"}}, "get pods n/x", nil, "", "forbidden"},
		{"own node", agent, user.DefaultInfo{Name: "system:node:one"}, "get pods n/x", []string{"system:nodes", "system:authenticated"}, "impersonate:associated-node", ""},
		{"another node", agent, user.DefaultInfo{Name: "system:node:two"}, "get pods n/x", nil, "", "cannot impersonate-on:arbitrary-node:get"},
	}
	i := Impersonator{Authorizer: Union{Masters, NewRBAC(p)}}
	for _, test := range tests {
		wanted := test.wanted
		got, constraint, err := i.Impersonate(t.Context(), &wanted, ask(test.sender, test.question))
		if test.refused != "" {
			if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), test.refused) {
				t.Errorf("%s: %v", test.name, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
			continue
		}
		if got.GetName() != test.wanted.Name || got.GetUID() != test.wanted.UID || !reflect.DeepEqual(got.GetGroups(), test.groups) || constraint != test.constraint {
			t.Errorf("%s: %+v by %q", test.name, got, constraint)
		}
		if !reflect.DeepEqual(wanted, test.wanted) {
			t.Errorf("%s: what was wanted is now %+v", test.name, wanted)
		}
	}
}
