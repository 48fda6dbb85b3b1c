package quota

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/selection"

	"github.com/monohull/monohull/internal/api"
)

// Change is a write as quota sees it.
type Change struct {
	Subresource string
	Create      bool // else an update
	Object      api.Object
	Old         api.Object // nil for a creation
}

// Evaluator measures the objects of one kind.
type Evaluator interface {
	// Resource is the kind it measures.
	Resource() schema.GroupResource
	// Handles tells whether the change may use more than before.
	Handles(Change) bool
	// Matching picks the resource names that objects of the kind count for.
	Matching([]corev1.ResourceName) []corev1.ResourceName
	// InScope tells whether an object is within a scope of a quota.
	InScope(corev1.ScopedResourceSelectorRequirement, api.Object) (bool, error)
	// Scoped tells whether scopes mean anything for the kind.
	Scoped() bool
	// Usage is what an object counts for.
	Usage(api.Object, time.Time) corev1.ResourceList
	// Constraints refuses an object that does not say what the quota needs to
	// know.
	Constraints(required []corev1.ResourceName, o api.Object) error
	// Frees tells whether a change of a stored object may have made room.
	Frees(old, cur api.Object, now time.Time) bool
}

// Lookup is what evaluators read beside the object; nil functions find nothing.
type Lookup struct {
	DeviceClasses func() []*resourcev1.DeviceClass
	Pod           func(namespace, name string) *corev1.Pod
	Claims        func(namespace string) []*resourcev1.ResourceClaim
}

// ignored are the kinds that no quota counts: some are not stored, and events
// never were.
var ignored = map[schema.GroupResource]bool{
	{Resource: "bindings"}: true, {Resource: "componentstatuses"}: true, {Resource: "events"}: true,
	{Group: "events.k8s.io", Resource: "events"}:                           true,
	{Group: "authentication.k8s.io", Resource: "tokenreviews"}:             true,
	{Group: "authentication.k8s.io", Resource: "selfsubjectreviews"}:       true,
	{Group: "authorization.k8s.io", Resource: "subjectaccessreviews"}:      true,
	{Group: "authorization.k8s.io", Resource: "selfsubjectaccessreviews"}:  true,
	{Group: "authorization.k8s.io", Resource: "localsubjectaccessreviews"}: true,
	{Group: "authorization.k8s.io", Resource: "selfsubjectrulesreviews"}:   true,
}

// shortNames are the names of counts that are older than count/….
var shortNames = map[string]corev1.ResourceName{
	"configmaps": corev1.ResourceConfigMaps, "resourcequotas": corev1.ResourceQuotas,
	"replicationcontrollers": corev1.ResourceReplicationControllers, "secrets": corev1.ResourceSecrets,
}

// EvaluatorOf gives the evaluator of a kind, or nil where quota ignores it.
func EvaluatorOf(r schema.GroupResource, look Lookup) Evaluator {
	switch r {
	case schema.GroupResource{Resource: "pods"}:
		return pods{}
	case schema.GroupResource{Resource: "services"}:
		return services{}
	case schema.GroupResource{Resource: "persistentvolumeclaims"}:
		return volumes{}
	case schema.GroupResource{Group: resourcev1.GroupName, Resource: "resourceclaims"}:
		return devices{look}
	}
	if ignored[r] {
		return nil
	}
	e := count{resource: r, names: []corev1.ResourceName{CountOf(r)}}
	if n := shortNames[r.Resource]; n != "" && r.Group == "" {
		e.names = append(e.names, n)
	}
	return e
}

// CountOf is the resource that counts the objects of a kind.
func CountOf(r schema.GroupResource) corev1.ResourceName {
	return corev1.ResourceName("count/" + r.String())
}

// count is the evaluator of kinds of which only the number counts.
type count struct {
	resource schema.GroupResource
	names    []corev1.ResourceName
	unscoped
}

func (e count) Resource() schema.GroupResource { return e.resource }
func (e count) Handles(c Change) bool          { return c.Create && c.Subresource == "" }
func (e count) Matching(names []corev1.ResourceName) []corev1.ResourceName {
	return both(names, e.names)
}
func (e count) Frees(_, _ api.Object, _ time.Time) bool { return false }
func (e count) Usage(api.Object, time.Time) corev1.ResourceList {
	out := corev1.ResourceList{}
	for _, n := range e.names {
		out[n] = whole(1)
	}
	return out
}

// unscoped is the part of evaluators for which there are no scopes and no
// constraints.
type unscoped struct{}

func (unscoped) Scoped() bool                                        { return false }
func (unscoped) Constraints([]corev1.ResourceName, api.Object) error { return nil }
func (unscoped) InScope(corev1.ScopedResourceSelectorRequirement, api.Object) (bool, error) {
	return false, nil
}

// scopesOf are both ways of a quota to say what it is about, as one.
func scopesOf(scopes []corev1.ResourceQuotaScope, sel *corev1.ScopeSelector) []corev1.ScopedResourceSelectorRequirement {
	var out []corev1.ScopedResourceSelectorRequirement
	for _, s := range scopes {
		out = append(out, corev1.ScopedResourceSelectorRequirement{ScopeName: s, Operator: corev1.ScopeSelectorOpExists})
	}
	if sel != nil {
		out = append(out, sel.MatchExpressions...)
	}
	return out
}

// scopeSelector reads a requirement as a selector of labels that are named as
// the scope is.
func scopeSelector(s corev1.ScopedResourceSelectorRequirement) (labels.Selector, error) {
	ops := map[corev1.ScopeSelectorOperator]selection.Operator{
		corev1.ScopeSelectorOpIn: selection.In, corev1.ScopeSelectorOpNotIn: selection.NotIn,
		corev1.ScopeSelectorOpExists: selection.Exists, corev1.ScopeSelectorOpDoesNotExist: selection.DoesNotExist,
	}
	op, ok := ops[s.Operator]
	if !ok {
		return nil, fmt.Errorf("failed to parse and convert selector: %q is not a valid scope selector operator", s.Operator)
	}
	r, err := labels.NewRequirement(string(s.ScopeName), op, s.Values)
	if err != nil {
		return nil, fmt.Errorf("failed to parse and convert selector: %w", err)
	}
	return labels.NewSelector().Add(*r), nil
}

// matches tells whether a quota counts an object.
func matches(e Evaluator, q *corev1.ResourceQuota, o api.Object) (bool, error) {
	if len(e.Matching(Names(q.Status.Hard))) == 0 {
		return false, nil
	}
	return inAll(e, scopesOf(q.Spec.Scopes, q.Spec.ScopeSelector), o)
}

func inAll(e Evaluator, scopes []corev1.ScopedResourceSelectorRequirement, o api.Object) (bool, error) {
	for _, s := range scopes {
		if ok, err := e.InScope(s, o); err != nil || !ok {
			return false, err
		}
	}
	return true, nil
}
