package apiserver

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const applyType = "application/apply-patch+yaml"

func TestServerSideApplyOverHTTP(t *testing.T) {
	r := newRig(t)
	maps := "/api/v1/namespaces/ns/configmaps"
	doc := "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: m}\ndata: {a: one}\n"
	var cm corev1.ConfigMap
	r.do("PATCH", maps+"/m?fieldManager=me", doc, "Content-Type", applyType).ok(201, &cm)
	if len(cm.ManagedFields) != 1 || cm.ManagedFields[0].Manager != "me" || cm.ManagedFields[0].Operation != metav1.ManagedFieldsOperationApply {
		t.Errorf("managed fields: %+v", cm.ManagedFields)
	}
	r.do("PATCH", maps+"/m?fieldManager=me&dryRun=All", doc, "Content-Type", applyType+"; charset=utf-8").ok(200, &cm)

	r.do("PATCH", maps+"/m", doc, "Content-Type", applyType).fails(422, metav1.StatusReasonInvalid, `PatchOptions.meta.k8s.io "" is invalid: fieldManager: Required value: is required for apply patch`)
	r.do("PATCH", maps+"/m?force=true", `{}`, "Content-Type", "application/merge-patch+json").fails(422, metav1.StatusReasonInvalid, `force: Forbidden: may not be specified for non-apply patch`)
	r.do("PATCH", maps+"/m?fieldManager=a%07", `{}`, "Content-Type", "application/merge-patch+json").fails(422, metav1.StatusReasonInvalid, `fieldManager: Invalid value: "a\a": invalid character U+0007 (at position 1)`)
	r.do("PATCH", maps+"/m?fieldManager=me", doc, "Content-Type", "application/apply-patch+cbor").fails(415, metav1.StatusReasonUnsupportedMediaType,
		"the body of the request was in an unknown format - accepted media types include: application/json-patch+json, application/merge-patch+json, application/strategic-merge-patch+json, application/apply-patch+yaml")

	r.do("PATCH", maps+"/m?fieldManager=you", "apiVersion: v1\nkind: ConfigMap\ndata: {a: two}\n", "Content-Type", applyType).fails(409, metav1.StatusReasonConflict, `conflict with "me": .data.a`)
	r.do("PATCH", maps+"/m?fieldManager=you&force=true", "apiVersion: v1\nkind: ConfigMap\ndata: {a: two}\n", "Content-Type", applyType).ok(200, &cm)
	if cm.Data["a"] != "two" {
		t.Errorf("data: %v", cm.Data)
	}

	twice := "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: m}\ndata:\n  b: one\n  b: two\n"
	r.do("PATCH", maps+"/m?fieldManager=me&fieldValidation=Strict", twice, "Content-Type", applyType).fails(400, metav1.StatusReasonBadRequest, `error strict decoding YAML: error converting YAML to JSON: yaml: unmarshal errors:`, `key "b" already set in map`)
	if w := r.do("PATCH", maps+"/m?fieldManager=me", twice, "Content-Type", applyType).ok(200, nil).head.Values("Warning"); len(w) != 1 {
		t.Errorf("warnings: %q", w)
	}
	if w := r.do("PATCH", maps+"/m?fieldManager=me&fieldValidation=Ignore", twice, "Content-Type", applyType).ok(200, nil).head.Values("Warning"); len(w) != 0 {
		t.Errorf("warnings: %q", w)
	}
}

func TestUserAgentsAreManagers(t *testing.T) {
	r := newRig(t)
	var cm corev1.ConfigMap
	r.do("POST", "/api/v1/namespaces/ns/configmaps", `{"metadata":{"name":"m"}}`, "User-Agent", "kubectl/v1.36.3 (linux/amd64)").ok(201, &cm)
	if cm.ManagedFields != nil {
		t.Errorf("nothing was said, and %+v owns it", cm.ManagedFields)
	}
	r.do("PATCH", "/api/v1/namespaces/ns/configmaps/m", `{"data":{"a":"b"}}`, "User-Agent", "curl/8", "Content-Type", "application/merge-patch+json").ok(200, &cm)
	if cm.ManagedFields != nil {
		t.Errorf("an object that nobody owned from the start is owned by %+v", cm.ManagedFields)
	}
	r.do("POST", "/api/v1/namespaces/ns/configmaps", `{"metadata":{"name":"n"},"data":{"a":"b"}}`, "User-Agent", "kubectl/v1.36.3 (linux/amd64)").ok(201, &cm)
	if len(cm.ManagedFields) != 1 || cm.ManagedFields[0].Manager != "kubectl" {
		t.Errorf("managed fields: %+v", cm.ManagedFields)
	}
}
