package apiextensions

import (
	"slices"
	"strings"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/monohull/monohull/internal/api"
	"github.com/monohull/monohull/internal/api/meta"
)

// Rows lists the kinds of the group in the order discovery shows them.
func Rows() []*api.Kind { return []*api.Kind{definitionRow()} }

const defaultServicePort = int32(443)

func definitionRow() *api.Kind {
	type kind = apiextensionsv1.CustomResourceDefinition
	return api.Define(api.Spec[*kind]{
		GVK: apiextensionsv1.SchemeGroupVersion.WithKind("CustomResourceDefinition"), Plural: "customresourcedefinitions", Singular: "customresourcedefinition",
		ShortNames: []string{"crd", "crds"}, Categories: []string{"api-extensions"}, Generation: true,
		Prefix:  "apiextensions.k8s.io/customresourcedefinitions",
		List:    &apiextensionsv1.CustomResourceDefinitionList{},
		Default: defaultDefinition,
		PrepareCreate: func(d *kind) {
			d.Generation = 1
			storeVersion(d)
		},
		PrepareUpdate: func(d, _ *kind) { storeVersion(d) },
		PrepareStatus: func(d, _ *kind) {
			if len(d.Status.StoredVersions) == 0 {
				storeVersion(d)
			}
		},
		// The status subresource lets metadata change, but for what a status write
		// never may: https://github.com/kubernetes/kubernetes/issues/137681
		Fields:         map[string]func(*kind) string{"metadata.namespace": func(*kind) string { return "" }},
		Validate:       validate,
		ValidateUpdate: validateUpdate,
		ValidateStatus: validateStatus,
		Warnings:       warnings,
		// formats that it had before are known to its writer
		UpdateWarnings: func(d, old *kind) []string {
			had := warnings(old)
			return slices.DeleteFunc(warnings(d), func(w string) bool { return slices.Contains(had, w) })
		},
		Columns: []metav1.TableColumnDefinition{
			meta.NameColumn,
			{Name: "Created At", Type: "date", Description: meta.AgeColumn.Description},
		},
		Row: func(d *kind, _ time.Time) []any {
			return []any{d.Name, d.CreationTimestamp.UTC().Format(time.RFC3339)}
		},
	})
}

func defaultDefinition(d *apiextensionsv1.CustomResourceDefinition) {
	names := &d.Spec.Names
	if names.Singular == "" {
		names.Singular = strings.ToLower(names.Kind)
	}
	if names.ListKind == "" && names.Kind != "" {
		names.ListKind = names.Kind + "List"
	}
	if len(d.Status.StoredVersions) == 0 {
		storeVersion(d)
	}
	if c := d.Spec.Conversion; c == nil {
		d.Spec.Conversion = &apiextensionsv1.CustomResourceConversion{Strategy: apiextensionsv1.NoneConverter}
	} else if c.Webhook != nil && c.Webhook.ClientConfig != nil {
		if s := c.Webhook.ClientConfig.Service; s != nil && s.Port == nil {
			port := defaultServicePort
			s.Port = &port
		}
	}
	normalize(d)
}

// storeVersion notes that objects of the storage version may exist. A version
// leaves the list only when someone has seen to it that none do.
func storeVersion(d *apiextensionsv1.CustomResourceDefinition) {
	i := slices.IndexFunc(d.Spec.Versions, func(v apiextensionsv1.CustomResourceDefinitionVersion) bool { return v.Storage })
	if i < 0 {
		return
	}
	if name := d.Spec.Versions[i].Name; !slices.Contains(d.Status.StoredVersions, name) {
		d.Status.StoredVersions = append(d.Status.StoredVersions, name)
	}
}

// Cleanup is the finalizer that holds a definition until its objects are gone.
const Cleanup = apiextensionsv1.CustomResourceCleanupFinalizer

// Terminate readies a definition for its deletion: its objects go first. now is
// the time of the change.
func Terminate(d *apiextensionsv1.CustomResourceDefinition, now metav1.Time) {
	if !slices.Contains(d.Finalizers, Cleanup) {
		d.Finalizers = append(d.Finalizers, Cleanup)
	}
	SetCondition(d, apiextensionsv1.CustomResourceDefinitionCondition{
		Type: apiextensionsv1.Terminating, Status: apiextensionsv1.ConditionTrue, LastTransitionTime: now, Reason: "InstanceDeletionPending",
		Message: "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon",
	})
}

// SetCondition adds a condition or replaces that of the same type; the time of
// transition changes only with the status.
func SetCondition(d *apiextensionsv1.CustomResourceDefinition, c apiextensionsv1.CustomResourceDefinitionCondition) {
	for i := range d.Status.Conditions {
		old := &d.Status.Conditions[i]
		if old.Type != c.Type {
			continue
		}
		if old.Status == c.Status {
			c.LastTransitionTime = old.LastTransitionTime
		}
		*old = c
		return
	}
	d.Status.Conditions = append(d.Status.Conditions, c)
}
