package auth

import (
	"context"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
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
	bound map[schema.GroupResource][]term // what a kubelet may do with some objects of a kind only
	rules []compiledRule                  // what it may do with all of the other kinds
}

var (
	_ authorizer.Authorizer   = (*NodeAuthorizer)(nil)
	_ authorizer.RuleResolver = (*NodeAuthorizer)(nil)
)

// NewNodeAuthorizer makes one over the view.
func NewNodeAuthorizer(view NodeView) *NodeAuthorizer {
	n := &NodeAuthorizer{view: view, rules: compileRules(nodeRules())}
	n.bound = n.terms()
	return n
}

// NodeName is the node that a user is the kubelet of.
func NodeName(u user.Info) (string, bool) {
	if u == nil || !has(u.GetGroups(), user.NodesGroup) {
		return "", false
	}
	return strings.CutPrefix(u.GetName(), nodeUserPrefix)
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
	node, isKubelet := NodeName(attrs.GetUser())
	switch {
	case !isKubelet:
		return authorizer.DecisionNoOpinion, "", nil
	case node == "":
		return authorizer.DecisionNoOpinion, fmt.Sprintf("unknown node for user %q", attrs.GetUser().GetName()), nil
	}
	if attrs.IsResourceRequest() {
		if terms, ok := n.bound[schema.GroupResource{Group: attrs.GetAPIGroup(), Resource: attrs.GetResource()}]; ok {
			if reason, kept := keeps(terms, question{Attributes: attrs, node: node}); !kept {
				return authorizer.DecisionNoOpinion, reason, nil
			}
			return authorizer.DecisionAllow, "", nil
		}
	}
	if req := requestOf(attrs); anyAllows(n.rules, &req) {
		return authorizer.DecisionAllow, "", nil
	}
	return authorizer.DecisionNoOpinion, "", nil
}
