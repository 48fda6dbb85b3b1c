package admissionregistration

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/monohull/monohull/internal/api"
)

func kind(t *testing.T, name string) *api.Kind {
	t.Helper()
	for _, k := range Rows() {
		if k.GVK.Kind == name {
			return k
		}
	}
	t.Fatalf("no kind %s", name)
	return nil
}

func read(t *testing.T, k *api.Kind, text string) api.Object {
	t.Helper()
	o := k.New()
	if err := json.Unmarshal([]byte(text), o); err != nil {
		t.Fatal(err)
	}
	if k.Default != nil {
		k.Default(o)
	}
	return o
}

const (
	rule     = `"rules":[{"operations":["CREATE"],"apiGroups":[""],"apiVersions":["v1"],"resources":["pods"]}]`
	hookHead = `{"metadata":{"name":"w"},"webhooks":[{"name":"a.example.com","sideEffects":"None","admissionReviewVersions":["v1"],`
	hookTail = `,"clientConfig":{"url":"https://h/x"}}]}`
	match    = `"matchConstraints":{"resourceRules":[{"operations":["CREATE"],"apiGroups":[""],"apiVersions":["v1"],"resources":["pods"]}]}`
)

func policy(rest string) string {
	return `{"metadata":{"name":"p"},"spec":{` + match + `,` + rest + `}}`
}

func TestNewObjectsAreJudged(t *testing.T) {
	for _, c := range []struct{ kind, in, want string }{
		{"ValidatingWebhookConfiguration", hookHead + rule + hookTail, ""},
		{"ValidatingWebhookConfiguration", `{"metadata":{"name":"w"},"webhooks":[{"name":"a.b"}]}`, "webhooks[0].name: Invalid value: \"a.b\": should be a domain with at least three segments"},
		{"ValidatingWebhookConfiguration", `{"metadata":{"name":"w"},"webhooks":[{"name":"a.b.c"}]}`, "webhooks[0].sideEffects: Required value: must specify one of None, NoneOnDryRun"},
		{"ValidatingWebhookConfiguration", hookHead + strings.Replace(rule, `"pods"`, `"*","pods"`, 1) + hookTail, "if '*' is present, must not specify other resources without subresources"},
		{"ValidatingWebhookConfiguration", hookHead + strings.Replace(rule, `"pods"`, `"pods/*","pods/log"`, 1) + hookTail, "if 'pods/*' is present, must not specify pods/log"},
		{"ValidatingWebhookConfiguration", hookHead + `"timeoutSeconds":31,` + rule + hookTail, "webhooks[0].timeoutSeconds: Invalid value: 31: the timeout value must be between 1 and 30 seconds"},
		{"ValidatingWebhookConfiguration", hookHead + rule + strings.Replace(hookTail, "https", "http", 1), "'https' is the only allowed URL scheme"},
		{"ValidatingWebhookConfiguration", hookHead + rule + strings.Replace(hookTail, `"url":"https://h/x"`, `"service":{"name":"s","namespace":"n","path":"/a//b"}`, 1), "segment[1] may not be empty"},
		{"ValidatingWebhookConfiguration", hookHead + `"matchConditions":[{"name":"c","expression":"object.x =="}],` + rule + hookTail, "webhooks[0].matchConditions[0].expression: Invalid value: \"object.x ==\": compilation failed"},
		{"ValidatingWebhookConfiguration", hookHead + `"matchConditions":[{"name":"c","expression":"1"}],` + rule + hookTail, "must evaluate to bool but got int"},
		{"ValidatingWebhookConfiguration", hookHead + `"matchConditions":[{"name":"c","expression":"params.x == 1"}],` + rule + hookTail, "undeclared reference to 'params'"},
		{"MutatingWebhookConfiguration", hookHead + `"reinvocationPolicy":"Often",` + rule + hookTail, `webhooks[0].reinvocationPolicy: Unsupported value: "Often": supported values: "IfNeeded", "Never"`},
		{"ValidatingAdmissionPolicy", policy(`"validations":[{"expression":"object.spec.x == 1"}]`), ""},
		{"ValidatingAdmissionPolicy", policy(`"validations":[]`), "spec.auditAnnotations: Required value: validations or auditAnnotations must contain at least one item"},
		{"ValidatingAdmissionPolicy", policy(`"variables":[{"name":"n","expression":"object.spec.n"}],"validations":[{"expression":"variables.n > 1"}]`), ""},
		{"ValidatingAdmissionPolicy", policy(`"variables":[{"name":"n","expression":"object.spec.n"}],"validations":[{"expression":"variables.m > 1"}]`), "undefined field 'm'"},
		{"ValidatingAdmissionPolicy", policy(`"variables":[{"name":"in","expression":"1"}],"validations":[{"expression":"true"}]`), "spec.variables[0].name: Invalid value: \"in\": must be a valid CEL identifier"},
		{"ValidatingAdmissionPolicy", policy(`"validations":[{"expression":"true","messageExpression":"1"}]`), "spec.validations[0].messageExpression: Invalid value"},
		{"ValidatingAdmissionPolicy", policy(`"validations":[{"expression":"true","messageExpression":"string(authorizer)"}]`), "undeclared reference to 'authorizer'"},
		{"ValidatingAdmissionPolicy", policy(`"validations":[{"expression":"true","message":"a\nb"}]`), "spec.validations[0].message: Invalid value: \"a\\nb\": must not contain line breaks"},
		{"ValidatingAdmissionPolicy", policy(`"auditAnnotations":[{"key":"a","valueExpression":"1"}]`), "must evaluate to one of [string null_type] but got int"},
		{"ValidatingAdmissionPolicy", policy(`"paramKind":{"apiVersion":"a/b/c","kind":"X"},"validations":[{"expression":"params.x"}]`), "spec.paramKind.apiVersion: Invalid value: \"a/b/c\": unexpected GroupVersion string: a/b/c"},
		{"MutatingAdmissionPolicy", policy(`"reinvocationPolicy":"Never","mutations":[{"patchType":"JSONPatch","jsonPatch":{"expression":"[JSONPatch{op: 'remove', path: '/x'}]"}}]`), ""},
		{"MutatingAdmissionPolicy", policy(`"reinvocationPolicy":"Never","mutations":[{"patchType":"JSONPatch","applyConfiguration":{"expression":"Object{}"}}]`), "spec.mutations[0].jsonPatch: Required value: must be specified when patchType is JSONPatch"},
		{"MutatingAdmissionPolicy", policy(`"reinvocationPolicy":"Never","mutations":[{"patchType":"ApplyConfiguration","applyConfiguration":{"expression":"1"}}]`), "must evaluate to Object but got int"},
		{"MutatingAdmissionPolicy", strings.Replace(policy(`"mutations":[]`), "CREATE", "DELETE", 1), "spec.matchConstraints.resourceRules.operations: Unsupported value: \"DELETE\""},
		{"ValidatingAdmissionPolicyBinding", `{"metadata":{"name":"b"},"spec":{"policyName":"p","validationActions":["Deny"]}}`, ""},
		{"ValidatingAdmissionPolicyBinding", `{"metadata":{"name":"b"},"spec":{"policyName":"p","validationActions":["Deny","Warn"]}}`, "must not contain both Deny and Warn"},
		{"ValidatingAdmissionPolicyBinding", `{"metadata":{"name":"b"},"spec":{"policyName":"p","validationActions":["Deny"],"paramRef":{}}}`, "spec.paramRef: Required value: one of name or selector must be specified"},
		{"MutatingAdmissionPolicyBinding", `{"metadata":{"name":"b"},"spec":{"policyName":"p","paramRef":{"name":"a","selector":{},"parameterNotFoundAction":"Deny"}}}`, "spec.paramRef.selector: Forbidden: name and selector are mutually exclusive"},
	} {
		k := kind(t, c.kind)
		judged(t, c.kind+" "+c.in, k.Validate(read(t, k, c.in)).ToAggregate(), c.want)
	}
}

// What was stored under looser rules may be changed without meeting newer ones.
func TestUpdatesKeepWhatWasAllowed(t *testing.T) {
	loose := strings.NewReplacer(`"None"`, `"Some"`, `["v1"],"clientConfig`, `["v9"],"clientConfig`).Replace(hookHead + rule + hookTail)
	k := kind(t, "ValidatingWebhookConfiguration")
	judged(t, "new", k.Validate(read(t, k, loose)).ToAggregate(), "webhooks[0].sideEffects: Unsupported value")
	for _, c := range []struct{ in, old, want string }{
		{loose, loose, ""},
		{loose, hookHead + rule + hookTail, "webhooks[0].sideEffects: Unsupported value"},
		{strings.Replace(loose, `"Some"`, `"Odd"`, 1), loose, `supported values: "None", "NoneOnDryRun", "Some", "Unknown"`},
	} {
		o, old := read(t, k, c.in), read(t, k, c.old)
		o.SetResourceVersion("1")
		old.SetResourceVersion("1")
		judged(t, c.in, k.ValidateUpdate(o, old).ToAggregate(), c.want)
	}
}

func TestUnchangedConditionsAreNotJudged(t *testing.T) {
	k := kind(t, "ValidatingAdmissionPolicy")
	bad := policy(`"matchConditions":[{"name":"c","expression":"nope"}],"validations":[{"expression":"true"}]`)
	o, old := read(t, k, bad), read(t, k, bad)
	o.SetResourceVersion("1")
	old.SetResourceVersion("1")
	judged(t, "unchanged", k.ValidateUpdate(o, old).ToAggregate(), "")
	o = read(t, k, strings.Replace(bad, "nope", "nope2", 1))
	o.SetResourceVersion("1")
	judged(t, "changed", k.ValidateUpdate(o, old).ToAggregate(), "undeclared reference to 'nope2'")
}

func TestEveryKindIsStored(t *testing.T) {
	for _, k := range Rows() {
		o := k.New()
		o.SetName("x")
		value, err := k.EncodeStored(o)
		if err != nil {
			t.Fatal(err)
		}
		back, raw, err := k.DecodeStored(value, 7)
		if err != nil || raw == nil || back.GetName() != "x" || back.GetResourceVersion() != "7" {
			t.Errorf("%v came back as %v, %v", k.GVK, back, err)
		}
	}
}

func judged(t *testing.T, what string, err error, want string) {
	t.Helper()
	switch {
	case want == "" && err != nil:
		t.Errorf("%s\nwas refused: %v", what, err)
	case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
		t.Errorf("%s\ngot  %v\nwant %s", what, err, want)
	}
}
