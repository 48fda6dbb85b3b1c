package kubectl

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/client-go/kubernetes/scheme"
)

const manifest = `apiVersion: v1
kind: ConfigMap
metadata:
  name: a
---
# a comment
apiVersion: v1
kind: Service
metadata:
  name: web
spec:
  clusterip: None
  ports:
  - port: 80
  - port: http
    nodeport: 3
---
apiVersion: v1
kind: List
items:
- apiVersion: v1
  kind: Pod
  metadata:
    name: p
  spec:
    containers:
    - image: x
`

func TestFieldsAreFoundInTheirFiles(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "web.yaml")
	if err := os.WriteFile(file, []byte(manifest), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, message string
		args          []string
		want          string
	}{
		{"unknown fields", `Error from server (BadRequest): error when creating "web.yaml": Service in version "v1" cannot be handled as a Service: strict decoding error: unknown field "spec.clusterip", unknown field "spec.ports[1].nodeport"; spec.clusterip: did you mean "clusterIP"?`,
			[]string{"create", "-f", file}, "12: spec.clusterip 16: spec.ports[1].nodeport"},
		{"a value", `Service in version "v1" cannot be handled as a Service: json: cannot unmarshal; spec.ports[1].port: expected an integer, found the string "http"`,
			[]string{"apply", "--filename=" + file}, "15: spec.ports[1].port"},
		{"an invalid field of a named object", `The Service "web" is invalid: spec.ports[0].port: Invalid value: 80: no`, []string{"apply", "-f" + file}, "14: spec.ports[0].port"},
		{"another object's", `The Service "other" is invalid: spec.ports[0].port: Invalid value: 80: no`, []string{"apply", "-f", file}, ""},
		{"what is missing, in a list, in a directory", `The Pod "p" is invalid: spec.containers[0].name: Required value`, []string{"apply", "-f", dir}, "27: spec.containers[0].name"},
		{"several", "The Service \"web\" is invalid: \n* spec.ports[0].port: Invalid value: 1: no\n* spec.ports: Forbidden: no", []string{"apply", "-f", file}, "14: spec.ports[0].port 13: spec.ports"},
		{"no file", `The Service "web" is invalid: spec.ports[0].port: Invalid value: 80: no`, []string{"apply", "-f", "-"}, ""},
		{"another error", `Error from server (NotFound): pods "p" not found`, []string{"get", "-f", file}, ""},
	} {
		got := strings.Join(locate(c.message, c.args), " ")
		if got = strings.ReplaceAll(got, file+":", ""); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

func TestKindsThatWereMeant(t *testing.T) {
	for message, want := range map[string]string{
		`no matches for kind "Deploymnet" in version "apps/v1"`:     `did you mean kind "Deployment" in version "apps/v1"?`,
		`no matches for kind "Deployment" in version "v1"`:          `did you mean kind "Deployment" in version "apps/v1"?`,
		`no matches for kind "CronJob" in version "batch/v2alpha1"`: `did you mean kind "CronJob" in version "batch/v1"?`,
		`no matches for kind "Frobnicator" in version "v1"`:         "",
		`something else`: "",
	} {
		if got := strings.Join(meantKinds(message, scheme.Scheme.AllKnownTypes()), " "); got != want {
			t.Errorf("%s: %q", message, got)
		}
	}
}
