package auth

import (
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/selection"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
)

const nodeUserPrefix = "system:node:"

// NodeView is what the node authorizer reads: what runs on a node, and what that leads to. Single objects are nil when
// there are none.
type NodeView interface {
	// PodsOnNode are the pods with that spec.nodeName, in any phase, from an index.
	PodsOnNode(node string) []*corev1.Pod
	Pod(namespace, name string) *corev1.Pod
	PersistentVolumeClaim(namespace, name string) *corev1.PersistentVolumeClaim
	PersistentVolume(name string) *corev1.PersistentVolume
	VolumeAttachment(name string) *storagev1.VolumeAttachment
	ResourceSlice(name string) *resourcev1.ResourceSlice
}

// NodeAuthorizer lets a kubelet do what its node needs: read itself and its pods, and the secrets, config maps, claims
// and volumes that those pods name. It keeps nothing: each question is answered by walking from the object
// to the pods of the node, which are few.
type NodeAuthorizer struct {
	view  NodeView
	rules []compiledRule
}

var (
	_ authorizer.Authorizer   = (*NodeAuthorizer)(nil)
	_ authorizer.RuleResolver = (*NodeAuthorizer)(nil)
)

// NewNodeAuthorizer makes one over the view.
func NewNodeAuthorizer(view NodeView) *NodeAuthorizer {
	return &NodeAuthorizer{view: view, rules: compileRules(nodeRules())}
}

// NodeName is the node that a user is the kubelet of.
func NodeName(u user.Info) (string, bool) {
	if u == nil || !strings.HasPrefix(u.GetName(), nodeUserPrefix) || !has(u.GetGroups(), user.NodesGroup) {
		return "", false
	}
	return u.GetName()[len(nodeUserPrefix):], true
}

// RulesFor cannot list what a node may do: it depends on the pods of the moment.
func (n *NodeAuthorizer) RulesFor(_ context.Context, u user.Info, _ string) ([]authorizer.ResourceRuleInfo, []authorizer.NonResourceRuleInfo, bool, error) {
	if _, ok := NodeName(u); ok {
		return nil, nil, true, fmt.Errorf("node authorizer does not support user rule resolution")
	}
	return nil, nil, false, nil
}

// Authorize has an opinion on kubelets only, and only ever a good one.
func (n *NodeAuthorizer) Authorize(_ context.Context, attrs authorizer.Attributes) (authorizer.Decision, string, error) {
	node, ok := NodeName(attrs.GetUser())
	if !ok {
		return authorizer.DecisionNoOpinion, "", nil
	}
	if node == "" {
		return authorizer.DecisionNoOpinion, fmt.Sprintf("unknown node for user %q", attrs.GetUser().GetName()), nil
	}
	allowed, reason := n.decide(node, attrs)
	if allowed {
		return authorizer.DecisionAllow, "", nil
	}
	return authorizer.DecisionNoOpinion, reason, nil
}

func (n *NodeAuthorizer) decide(node string, attrs authorizer.Attributes) (bool, string) {
	if attrs.IsResourceRequest() {
		namespace, name := attrs.GetNamespace(), attrs.GetName()
		switch (schema.GroupResource{Group: attrs.GetAPIGroup(), Resource: attrs.GetResource()}) {
		case schema.GroupResource{Resource: "secrets"}:
			return n.readNamespaced(node, attrs, func() bool { return n.reachesSecret(node, namespace, name) })
		case schema.GroupResource{Resource: "configmaps"}:
			return n.readNamespaced(node, attrs, func() bool {
				return n.anyPod(node, namespace, func(p *corev1.Pod) bool { return podNamesConfigMap(p, name) })
			})
		case schema.GroupResource{Resource: "persistentvolumeclaims"}:
			return n.claim(node, attrs)
		case schema.GroupResource{Resource: "persistentvolumes"}:
			return n.getOnly(node, attrs, func() bool { return n.reachesVolume(node, n.view.PersistentVolume(name)) })
		case schema.GroupResource{Group: "resource.k8s.io", Resource: "resourceclaims"}:
			return n.getOnly(node, attrs, func() bool {
				return n.anyPod(node, namespace, func(p *corev1.Pod) bool { return podNamesResourceClaim(p, name) })
			})
		case schema.GroupResource{Group: "storage.k8s.io", Resource: "volumeattachments"}:
			return n.getOnly(node, attrs, func() bool {
				va := n.view.VolumeAttachment(name)
				return va != nil && va.Spec.NodeName == node
			})
		case schema.GroupResource{Resource: "serviceaccounts"}:
			return n.serviceAccount(node, attrs)
		case schema.GroupResource{Group: "coordination.k8s.io", Resource: "leases"}:
			return lease(node, attrs)
		case schema.GroupResource{Group: "storage.k8s.io", Resource: "csinodes"}:
			return csiNode(node, attrs)
		case schema.GroupResource{Group: "resource.k8s.io", Resource: "resourceslices"}:
			return n.resourceSlice(node, attrs)
		case schema.GroupResource{Resource: "nodes"}:
			return nodeItself(node, attrs)
		case schema.GroupResource{Resource: "pods"}:
			return n.pod(node, attrs)
		case schema.GroupResource{Group: "certificates.k8s.io", Resource: "podcertificaterequests"}:
			return false, ""
		}
	}
	req := requestOf(attrs)
	return anyAllows(n.rules, &req), ""
}

// related words the refusal of an object that nothing on the node leads to.
func related(node string, attrs authorizer.Attributes, reaches func() bool) (bool, string) {
	if attrs.GetName() == "" {
		return false, "No Object name found"
	}
	if !reaches() {
		return false, fmt.Sprintf("no relationship found between node '%s' and this object", node)
	}
	return true, ""
}

func (n *NodeAuthorizer) readNamespaced(node string, attrs authorizer.Attributes, reaches func() bool) (bool, string) {
	switch {
	case !slices.Contains([]string{"get", "list", "watch"}, attrs.GetVerb()):
		return false, "can only read resources of this type"
	case attrs.GetSubresource() != "":
		return false, "cannot read subresource"
	case attrs.GetNamespace() == "":
		return false, "can only read namespaced object of this type"
	}
	return related(node, attrs, reaches)
}

func (n *NodeAuthorizer) getOnly(node string, attrs authorizer.Attributes, reaches func() bool) (bool, string) {
	if attrs.GetVerb() != "get" {
		return false, "can only get individual resources of this type"
	}
	if attrs.GetSubresource() != "" {
		return false, "cannot get subresource"
	}
	return related(node, attrs, reaches)
}

func (n *NodeAuthorizer) claim(node string, attrs authorizer.Attributes) (bool, string) {
	reaches := func() bool {
		return n.anyPod(node, attrs.GetNamespace(), func(p *corev1.Pod) bool { return podNamesClaim(p, attrs.GetName()) })
	}
	if attrs.GetSubresource() == "status" {
		if verb := attrs.GetVerb(); verb != "update" && verb != "patch" {
			return false, "can only get/update/patch this type"
		}
		return related(node, attrs, reaches)
	}
	return n.getOnly(node, attrs, reaches)
}

func (n *NodeAuthorizer) serviceAccount(node string, attrs authorizer.Attributes) (bool, string) {
	reaches := func() bool {
		return n.anyPod(node, attrs.GetNamespace(), func(p *corev1.Pod) bool {
			return p.Spec.ServiceAccountName == attrs.GetName() && attrs.GetName() != ""
		})
	}
	if attrs.GetVerb() == "get" && attrs.GetSubresource() == "" {
		return n.readNamespaced(node, attrs, reaches)
	}
	if attrs.GetVerb() != "create" || attrs.GetName() == "" {
		return false, "can only create tokens for individual service accounts"
	}
	if attrs.GetSubresource() != "token" {
		return false, "can only create token subresource of serviceaccount"
	}
	return related(node, attrs, reaches)
}

func lease(node string, attrs authorizer.Attributes) (bool, string) {
	switch verb := attrs.GetVerb(); {
	case !isOwnObjectVerb(verb):
		return false, "can only get, create, update, patch, or delete a node lease"
	case attrs.GetNamespace() != corev1.NamespaceNodeLease:
		return false, fmt.Sprintf("can only access leases in the %q system namespace", corev1.NamespaceNodeLease)
	// On create the name is in the object; admission looks at it.
	case verb != "create" && attrs.GetName() != node:
		return false, "can only access node lease with the same name as the requesting node"
	}
	return true, ""
}

func csiNode(node string, attrs authorizer.Attributes) (bool, string) {
	switch verb := attrs.GetVerb(); {
	case !isOwnObjectVerb(verb):
		return false, "can only get, create, update, patch, or delete a CSINode"
	case attrs.GetSubresource() != "":
		return false, "cannot authorize CSINode subresources"
	case verb != "create" && attrs.GetName() != node:
		return false, "can only access CSINode with the same name as the requesting node"
	}
	return true, ""
}

func isOwnObjectVerb(verb string) bool {
	switch verb {
	case "get", "create", "update", "patch", "delete":
		return true
	}
	return false
}

func (n *NodeAuthorizer) resourceSlice(node string, attrs authorizer.Attributes) (bool, string) {
	if attrs.GetSubresource() != "" {
		return false, "cannot authorize ResourceSlice subresources"
	}
	switch attrs.GetVerb() {
	case "create":
		return true, ""
	case "get", "update", "patch", "delete":
		return related(node, attrs, func() bool {
			slice := n.view.ResourceSlice(attrs.GetName())
			return slice != nil && slice.Spec.NodeName != nil && *slice.Spec.NodeName == node
		})
	case "watch", "list", "deletecollection":
		if selects(attrs, resourcev1.ResourceSliceSelectorNodeName, node) {
			return true, ""
		}
		return false, "can only list/watch/deletecollection resourceslices with nodeName field selector"
	}
	return false, "only the following verbs are allowed for a ResourceSlice: get, watch, list, create, update, patch, delete, deletecollection"
}

func nodeItself(node string, attrs authorizer.Attributes) (bool, string) {
	switch attrs.GetSubresource() {
	case "":
		switch attrs.GetVerb() {
		case "create", "update", "patch":
			return true, "" // admission lets a kubelet write its own node only
		case "get", "list", "watch":
			switch name := attrs.GetName(); name {
			case node:
				return true, ""
			case "":
				return false, fmt.Sprintf("node '%s' cannot read all nodes, only its own Node object", node)
			default:
				return false, fmt.Sprintf("node '%s' cannot read '%s', only its own Node object", node, name)
			}
		}
	case "status":
		verb := attrs.GetVerb()
		return verb == "update" || verb == "patch", ""
	}
	return false, ""
}

func (n *NodeAuthorizer) pod(node string, attrs authorizer.Attributes) (bool, string) {
	verb := attrs.GetVerb()
	onNode := func() bool {
		pod := n.view.Pod(attrs.GetNamespace(), attrs.GetName())
		return pod != nil && pod.Spec.NodeName == node
	}
	switch attrs.GetSubresource() {
	case "":
		switch verb {
		case "get":
			return n.getOnly(node, attrs, onNode)
		case "list", "watch":
			if selects(attrs, "spec.nodeName", node) {
				return true, ""
			}
			if attrs.GetName() != "" {
				return related(node, attrs, onNode)
			}
			return false, "can only list/watch pods with spec.nodeName field selector"
		case "create", "delete":
			return true, "" // admission looks at the pod: mirror pods, and pods of this node
		}
	case "status":
		return verb == "update" || verb == "patch", ""
	case "eviction":
		return verb == "create", ""
	}
	return false, ""
}

// selects says that the request is limited to objects whose field is the node's name.
func selects(attrs authorizer.Attributes, field, node string) bool {
	requirements, _ := attrs.GetFieldSelector()
	for _, r := range requirements {
		if r.Field == field && r.Operator == selection.Equals && r.Value == node {
			return true
		}
	}
	return false
}
