package resource

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	resourcev1 "k8s.io/api/resource/v1"

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
	o.SetResourceVersion("1")
	return o
}

func claim(devices, status string) string {
	return `{"metadata":{"name":"c","namespace":"n"},"spec":{"devices":{` + devices + `}},"status":{` + status + `}}`
}

func slice(rest string) string {
	return `{"metadata":{"name":"s"},"spec":{"driver":"d.example.com","pool":{"name":"p","resourceSliceCount":1},` + rest + `}}`
}

func class(expression string) string {
	return `{"metadata":{"name":"c"},"spec":{"selectors":[{"cel":{"expression":` + expression + `}}]}}`
}

const one = `"requests":[{"name":"r","exactly":{"deviceClassName":"c"}}]`

func TestNewObjectsAreJudged(t *testing.T) {
	for _, c := range []struct{ kind, in, want string }{
		{"DeviceClass", class(`"device.driver == 'x'"`), ""},
		{"DeviceClass", class(`"device.driver"`), "spec.selectors[0].cel.expression: Invalid value: \"device.driver\": must evaluate to bool"},
		{"DeviceClass", class(`"device.nope"`), "undefined field 'nope'"},
		{"DeviceClass", class(`"` + strings.Repeat("a", 10241) + `"`), "spec.selectors[0].cel.expression: Too long: may not be more than 10240 bytes"},
		{"DeviceClass", class(`"device.driver == '` + strings.Repeat("x", 10221) + `' || ['a','b','c','d'].all(x, ['a','b','c','d'].all(y, x == y))"`), "Too long"},
		{"DeviceClass", class(`"` + strings.Repeat("[1,2,3,4,5,6,7,8,9,10].all(x, ", 7) + "int('1'.find('[0-9]*')) < 100" + strings.Repeat(")", 7) + `"`), "spec.selectors[0].cel.expression: Forbidden: too complex, exceeds cost limit"},
		{"DeviceClass", `{"metadata":{"name":"c"},"spec":{"config":[{"opaque":{"driver":"d","parameters":[1]}}]}}`, "spec.config[0].opaque.parameters: Invalid value: \"<value omitted>\": must be a valid JSON object"},
		{"DeviceClass", `{"metadata":{"name":"c"},"spec":{"extendedResourceName":"cpu"}}`, "spec.extendedResourceName: Invalid value: \"cpu\": must be a valid extended resource name"},
		{"ResourceClaim", claim(one, ""), ""},
		{"ResourceClaim", claim(`"requests":[{"name":"r"}]`, ""), "spec.devices.requests[0]: Required value: exactly one of `exactly` or `firstAvailable` is required"},
		{"ResourceClaim", claim(`"requests":[{"name":"r","exactly":{"deviceClassName":"c","allocationMode":"All","count":1}}]`, ""), "spec.devices.requests[0].exactly.count: Invalid value: 1: must not be specified when allocationMode is 'All'"},
		{"ResourceClaim", claim(one+`,"constraints":[{"requests":["x"],"matchAttribute":"a/b"}]`, ""), "spec.devices.constraints[0].requests[0]: Invalid value: \"x\": must be the name of a request in the claim"},
		{"ResourceClaim", claim(one+`,"constraints":[{"matchAttribute":"b"}]`, ""), "a fully qualified name must be a domain and a name separated by a slash"},
		{"ResourceClaim", claim(`"requests":[`+strings.Repeat(`{"name":"r"},`, 32)+`{"name":"r"}]`, ""), "spec.devices.requests: Too many: 33: must have at most 32 items"},
		{"ResourceClaimTemplate", `{"metadata":{"name":"t","namespace":"n"},"spec":{"metadata":{"name":"x"},"spec":{}}}`, "spec.metadata.name: Forbidden: cannot be set"},
		{"ResourceSlice", slice(`"nodeName":"n","devices":[{"name":"a","attributes":{"v":{"version":"1.2.3"}}}]`), ""},
		{"ResourceSlice", slice(`"devices":[]`), "spec: Required value: exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required"},
		{"ResourceSlice", slice(`"nodeName":"n","allNodes":true`), "spec: Invalid value: \"{`nodeName`, `allNodes`}\": exactly one of"},
		{"ResourceSlice", slice(`"allNodes":true,"devices":[{"name":"a","attributes":{"v":{}}}]`), "spec.devices[0].attributes[v]: Invalid value: \"\": exactly one value must be specified"},
		{"ResourceSlice", slice(`"allNodes":true,"devices":[{"name":"a","capacity":{"m":{"value":"1","requestPolicy":{"default":"1"}}}}]`), "spec.devices[0].capacity[m].requestPolicy: Forbidden: allowMultipleAllocations must be true"},
		{"ResourceSlice", slice(`"allNodes":true,"devices":[{"name":"a","allowMultipleAllocations":true,"capacity":{"m":{"value":"8","requestPolicy":{"default":"3","validRange":{"min":"2","step":"2"}}}}}]`), "value is not a multiple of a given step (2) from (2)"},
		{"ResourceSlice", slice(`"allNodes":true,"devices":[{"name":"a","allowMultipleAllocations":true,"capacity":{"m":{"value":"8","requestPolicy":{"default":"3","validRange":{"min":"2","step":"0"}}}}}]`), "value is not a multiple of a given step (0) from (2)"},
		{"ResourceSlice", slice(`"allNodes":true,"devices":[{"name":"a","taints":[{"key":"k","effect":"Odd"}]}]`), `spec.devices[0].taints[0].effect: Unsupported value: "Odd": supported values: "NoExecute", "NoSchedule", "None"`},
		{"ResourceSlice", slice(`"allNodes":true,"devices":[` + strings.TrimSuffix(strings.Repeat(`{"name":"a","taints":[{"key":"k","effect":"None"}]},`, 65), ",") + `]`), "spec.devices: Too many: 65: must have at most 64 items"},
	} {
		k := kind(t, c.kind)
		check(t, c.kind+" "+c.in[:min(len(c.in), 200)], k.Validate(read(t, k, c.in)).ToAggregate(), c.want)
	}
}

func TestClaimsDoNotChange(t *testing.T) {
	k := kind(t, "ResourceClaim")
	old, o := read(t, k, claim(one, "")), read(t, k, claim(strings.Replace(one, `"c"`, `"d"`, 1), ""))
	check(t, "spec", k.ValidateUpdate(o, old).ToAggregate(), "spec: Invalid value")
	check(t, "same", k.ValidateUpdate(old.DeepCopyObject().(api.Object), old).ToAggregate(), "")
}

const given = `"allocation":{"devices":{"results":[{"request":"r","driver":"d","pool":"p","device":"x"}]}}`

func TestStatusIsJudged(t *testing.T) {
	k := kind(t, "ResourceClaim")
	for _, c := range []struct{ status, old, want string }{
		{given, "", ""},
		{`"reservedFor":[{"resource":"pods","name":"p","uid":"u"}]`, "", "status.reservedFor: Forbidden: may not be specified when `allocated` is not set"},
		{given + `,"reservedFor":[{"resource":"pods","name":"p","uid":"u"},{"resource":"pods","name":"q","uid":"u"}]`, given, `status.reservedFor[1]: Duplicate value: "u"`},
		{strings.Replace(given, `"x"`, `"y"`, 1), given, "status.allocation: Invalid value"},
		{given + `,"devices":[{"driver":"d","pool":"p","device":"y"}]`, given, `status.devices[0]: Invalid value: {"Driver":"d","Pool":"p","Device":"y","ShareID":""}: must be an allocated device in the claim`},
		{given + `,"devices":[{"driver":"d","pool":"p","device":"x","networkData":{"ips":["10.0.0.1"]}}]`, given, "status.devices[0].networkData.ips[0]: Invalid value"},
		{strings.Replace(given, `"r"`, `"q"`, 1), "", "status.allocation.devices.results[0].request: Invalid value"},
	} {
		o, old := read(t, k, claim(one, c.status)), read(t, k, claim(one, c.old))
		check(t, c.status, k.ValidateStatus(o, old).ToAggregate(), c.want)
	}
}

func TestReportsOnFreedDevicesAreForgotten(t *testing.T) {
	k := kind(t, "ResourceClaim")
	reports := `"devices":[{"driver":"d","pool":"p","device":"x"}]`
	old, o := read(t, k, claim(one, given+","+reports)), read(t, k, claim(one, reports))
	k.PrepareStatus(o, old)
	if d := o.(*resourcev1.ResourceClaim).Status.Devices; d != nil {
		t.Errorf("got %v", d)
	}
}

func TestDriversOfChangedReports(t *testing.T) {
	k := kind(t, "ResourceClaim")
	status := func(text string) *resourcev1.ResourceClaimStatus {
		return &read(t, k, claim(one, text)).(*resourcev1.ResourceClaim).Status
	}
	old := status(given + `,"devices":[{"driver":"a","pool":"p","device":"x"},{"driver":"b","pool":"p","device":"x"},{"driver":"c","pool":"p","device":"x"}]`)
	now := status(given + `,"devices":[{"driver":"a","pool":"p","device":"x"},{"driver":"b","pool":"p","device":"x","data":{}},{"driver":"e","pool":"p","device":"x"}]`)
	if got := DriversChanged(now, old); !slices.Equal(got, []string{"b", "c", "e"}) {
		t.Errorf("got %v", got)
	}
	if BindingChanged(now, old) {
		t.Error("reports are no binding")
	}
}

func TestUnservedFieldsAreDropped(t *testing.T) {
	k := kind(t, "ResourceSlice")
	o := read(t, k, slice(`"allNodes":true,"devices":[{"name":"a","attributes":{"l":{"ints":[1]}},"nodeAllocatableResourceMappings":{"cpu":{}}}]`))
	old := o.DeepCopyObject().(api.Object)
	k.PrepareUpdate(o, old)
	if d := o.(*resourcev1.ResourceSlice).Spec.Devices[0]; d.Attributes["l"].IntValues == nil || d.NodeAllocatableResourceMappings == nil {
		t.Error("fields in use were dropped")
	}
	k.PrepareCreate(o)
	if d := o.(*resourcev1.ResourceSlice).Spec.Devices[0]; d.Attributes["l"].IntValues != nil || d.NodeAllocatableResourceMappings != nil {
		t.Errorf("got %+v", d)
	}
}

func TestVersionsAreSemantic(t *testing.T) {
	for v, want := range map[string]bool{
		"1.2.3": true, "0.0.0": true, "1.2.3-a.1+b.01": true, "1.0.0--": true, "1.2.3+a": true, "1.0.0-0a": true,
		"1.2": false, "01.2.3": false, "1.2.3-": false, "1.2.3-01": false, "1.2.3+": false, "v1.2.3": false, "1.2.3-a..b": false, "": false,
	} {
		if isSemver(v) != want {
			t.Errorf("isSemver(%q) is %v", v, !want)
		}
	}
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
		if err != nil || raw == nil || back.GetName() != "x" {
			t.Errorf("%v came back as %v, %v", k.GVK, back, err)
		}
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
