package admission

import (
	"context"
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apiserver/pkg/authorization/authorizer"
)

// ownerReferences lets a user name owners only of what it may delete, and hold
// back the deletion only of owners it may put finalizers on.
func ownerReferences(d Deps) Plugin {
	table := d.Client.Table()
	return Plugin{Validate: func(ctx context.Context, a *Attributes) error {
		if a.Object == nil || !a.does(Create, Update) || a.is("", "pods") && a.Subresource == "status" {
			return nil
		}
		now := a.Object.GetOwnerReferences()
		var before []metav1.OwnerReference
		if a.Old != nil {
			before = a.Old.GetOwnerReferences()
		}
		if slices.EqualFunc(now, before, func(x, y metav1.OwnerReference) bool { return equality.Semantic.DeepEqual(x, y) }) {
			return nil
		}
		may := func(r authorizer.AttributesRecord) (bool, string, error) {
			r.User, r.ResourceRequest = a.User, true
			decision, reason, err := d.Authorizer.Authorize(ctx, r)
			return decision == authorizer.DecisionAllow, reason, err
		}
		if a.Operation != Create {
			ok, reason, err := may(authorizer.AttributesRecord{
				Verb: "delete", Namespace: a.namespace(), APIGroup: a.Kind.GVK.Group, APIVersion: a.Kind.GVK.Version,
				Resource: a.Kind.Plural, Subresource: a.Subresource, Name: a.Name,
			})
			if !ok {
				return forbidden(a, fmt.Errorf("cannot set an ownerRef on a resource you can't delete: %v, %v", reason, err))
			}
		}
		blocking := newlyBlocking(now, before)
		if len(blocking) == 0 {
			return nil
		}
		if ok, _, _ := may(authorizer.AttributesRecord{Verb: "update", APIGroup: "*", APIVersion: "*", Resource: "*", Subresource: "finalizers", Name: "*"}); ok {
			return nil
		}
		for _, ref := range blocking {
			gv, err := schema.ParseGroupVersion(ref.APIVersion)
			gvk := gv.WithKind(ref.Kind)
			k := table.ByGVK(gvk)
			if err == nil && k == nil {
				err = &meta.NoKindMatchError{GroupKind: gvk.GroupKind(), SearchedVersions: []string{gvk.Version}}
			}
			if err != nil {
				return forbidden(a, fmt.Errorf("cannot set blockOwnerDeletion in this case because cannot find RESTMapping for APIVersion %s Kind %s: %v", ref.APIVersion, ref.Kind, err))
			}
			r := authorizer.AttributesRecord{Verb: "update", APIGroup: gv.Group, APIVersion: gv.Version, Resource: k.Plural, Subresource: "finalizers", Name: ref.Name}
			if k.Namespaced {
				r.Namespace = a.namespace()
			}
			if ok, reason, err := may(r); !ok {
				return forbidden(a, fmt.Errorf("cannot set blockOwnerDeletion if an ownerReference refers to a resource you can't set finalizers on: %v, %v", reason, err))
			}
		}
		return nil
	}}
}

// newlyBlocking are the references that hold back their owner's deletion and
// did not before.
func newlyBlocking(now, before []metav1.OwnerReference) []metav1.OwnerReference {
	blocks := func(r metav1.OwnerReference) bool { return r.BlockOwnerDeletion != nil && *r.BlockOwnerDeletion }
	did := map[types.UID]bool{}
	for _, r := range before {
		did[r.UID] = blocks(r)
	}
	var out []metav1.OwnerReference
	for _, r := range now {
		if blocks(r) && !did[r.UID] {
			out = append(out, r)
		}
	}
	return out
}
