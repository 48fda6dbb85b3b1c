package auth

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/selection"
	"k8s.io/apiserver/pkg/authorization/authorizer"
)

// question is what a kubelet asks to do.
type question struct {
	authorizer.Attributes
	node string
}

func (q question) is(verbs string) bool {
	for verb := range strings.SplitSeq(verbs, " ") {
		if verb == q.GetVerb() {
			return true
		}
	}
	return false
}

// on says that the question is about that subresource, and of these verbs.
func (q question) on(subresource, verbs string) bool {
	return q.GetSubresource() == subresource && q.is(verbs)
}

// selects says that it is limited to objects whose field is the node's name.
func (q question) selects(field string) bool {
	requirements, _ := q.GetFieldSelector()
	for _, r := range requirements {
		if r.Field == field && r.Operator == selection.Equals && r.Value == q.node {
			return true
		}
	}
	return false
}

// term is a condition that a kubelet's question must keep to. Terms are looked at in order: one may grant at once, one
// that is broken gives the reason of the refusal, and what breaks none is granted.
type term struct {
	grants func(question) bool // nil: never
	breaks func(question) bool // nil: never
	reason func(question) string
}

func keeps(terms []term, q question) (reason string, kept bool) {
	for _, t := range terms {
		if t.grants != nil && t.grants(q) {
			return "", true
		}
		if t.breaks != nil && t.breaks(q) {
			return t.reason(q), false
		}
	}
	return "", true
}

// because is a fixed reason.
func because(reason string) func(question) string { return func(question) string { return reason } }

func granted(when func(question) bool) term { return term{grants: when} }

func grantedOn(subresource, verbs string) term {
	return granted(func(q question) bool { return q.on(subresource, verbs) })
}

func refusedWhen(breaks func(question) bool, reason string) term {
	return term{breaks: breaks, reason: because(reason)}
}

func onlyVerbs(verbs, reason string) term {
	return refusedWhen(func(q question) bool { return !q.is(verbs) }, reason)
}

func onlyWhole(reason string) term {
	return refusedWhen(func(q question) bool { return q.GetSubresource() != "" }, reason)
}

// refused ends a list of grants.
func refused(reason string) term {
	return refusedWhen(func(question) bool { return true }, reason)
}

// ownName lets a kubelet touch the object of its node's name. On create the name is in the object, where admission
// looks at it.
func ownName(reason string) term {
	return refusedWhen(func(q question) bool { return q.GetVerb() != "create" && q.GetName() != q.node }, reason)
}

// related are the last terms where a kubelet may touch only what its node has to do with.
func related(reaches func(question) bool) []term {
	return []term{
		refusedWhen(func(q question) bool { return q.GetName() == "" }, "No Object name found"),
		{
			breaks: func(q question) bool { return !reaches(q) },
			reason: func(q question) string {
				return fmt.Sprintf("no relationship found between node '%s' and this object", q.node)
			},
		},
	}
}

// reading are the terms of what pods name by namespace and name.
func reading(reaches func(question) bool) []term {
	return append([]term{
		onlyVerbs("get list watch", "can only read resources of this type"),
		onlyWhole("cannot read subresource"),
		refusedWhen(func(q question) bool { return q.GetNamespace() == "" }, "can only read namespaced object of this type"),
	}, related(reaches)...)
}

// getting are the terms of what is looked at one by one.
func getting(reaches func(question) bool) []term {
	return append([]term{
		onlyVerbs("get", "can only get individual resources of this type"),
		onlyWhole("cannot get subresource"),
	}, related(reaches)...)
}

// either chooses between two lists of terms.
func either(first func(question) bool, then, otherwise []term) []term {
	return []term{{
		grants: func(q question) bool {
			_, kept := keeps(chosen(first(q), then, otherwise), q)
			return kept
		},
		breaks: func(question) bool { return true },
		reason: func(q question) string {
			reason, _ := keeps(chosen(first(q), then, otherwise), q)
			return reason
		},
	}}
}

func chosen(first bool, then, otherwise []term) []term {
	if first {
		return then
	}
	return otherwise
}

// terms is what kubelets may do, by kind.
func (n *NodeAuthorizer) terms() map[schema.GroupResource][]term {
	const ownVerbs = "get create update patch delete"
	// podThat reaches an object from the pods of the node in its namespace.
	podThat := func(names func(*corev1.Pod, string) bool) func(question) bool {
		return func(q question) bool {
			return n.anyPod(q.node, q.GetNamespace(), func(p *corev1.Pod) bool { return names(p, q.GetName()) })
		}
	}
	onNode := func(q question) bool {
		pod := n.view.Pod(q.GetNamespace(), q.GetName())
		return pod != nil && pod.Spec.NodeName == q.node
	}
	usesAccount := podThat(func(p *corev1.Pod, name string) bool { return name != "" && p.Spec.ServiceAccountName == name })

	return map[schema.GroupResource][]term{
		{Resource: "secrets"}: reading(func(q question) bool {
			return n.reachesSecret(q.node, q.GetNamespace(), q.GetName())
		}),
		{Resource: "configmaps"}: reading(podThat(podNamesConfigMap)),
		{Resource: "persistentvolumeclaims"}: either(func(q question) bool { return q.GetSubresource() == "status" },
			append([]term{onlyVerbs("update patch", "can only get/update/patch this type")}, related(podThat(podNamesClaim))...),
			getting(podThat(podNamesClaim))),
		{Resource: "persistentvolumes"}: getting(func(q question) bool {
			return n.reachesVolume(q.node, n.view.PersistentVolume(q.GetName()))
		}),
		{Group: "resource.k8s.io", Resource: "resourceclaims"}: getting(podThat(podNamesResourceClaim)),
		{Group: "storage.k8s.io", Resource: "volumeattachments"}: getting(func(q question) bool {
			attachment := n.view.VolumeAttachment(q.GetName())
			return attachment != nil && attachment.Spec.NodeName == q.node
		}),
		{Resource: "serviceaccounts"}: either(func(q question) bool { return q.on("", "get") },
			reading(usesAccount),
			append([]term{
				refusedWhen(func(q question) bool { return !q.is("create") || q.GetName() == "" }, "can only create tokens for individual service accounts"),
				refusedWhen(func(q question) bool { return q.GetSubresource() != "token" }, "can only create token subresource of serviceaccount"),
			}, related(usesAccount)...)),
		{Group: "coordination.k8s.io", Resource: "leases"}: {
			onlyVerbs(ownVerbs, "can only get, create, update, patch, or delete a node lease"),
			refusedWhen(func(q question) bool { return q.GetNamespace() != corev1.NamespaceNodeLease },
				fmt.Sprintf("can only access leases in the %q system namespace", corev1.NamespaceNodeLease)),
			ownName("can only access node lease with the same name as the requesting node"),
		},
		{Group: "storage.k8s.io", Resource: "csinodes"}: {
			onlyVerbs(ownVerbs, "can only get, create, update, patch, or delete a CSINode"),
			onlyWhole("cannot authorize CSINode subresources"),
			ownName("can only access CSINode with the same name as the requesting node"),
		},
		{Group: "resource.k8s.io", Resource: "resourceslices"}: append([]term{
			onlyWhole("cannot authorize ResourceSlice subresources"),
			grantedOn("", "create"), // admission looks at the node it names
			onlyVerbs("get update patch delete watch list deletecollection",
				"only the following verbs are allowed for a ResourceSlice: get, watch, list, create, update, patch, delete, deletecollection"),
			granted(func(q question) bool {
				return q.is("watch list deletecollection") && q.selects(resourcev1.ResourceSliceSelectorNodeName)
			}),
			refusedWhen(func(q question) bool { return q.is("watch list deletecollection") },
				"can only list/watch/deletecollection resourceslices with nodeName field selector"),
		}, related(func(q question) bool {
			slice := n.view.ResourceSlice(q.GetName())
			return slice != nil && slice.Spec.NodeName != nil && *slice.Spec.NodeName == q.node
		})...),
		{Resource: "nodes"}: {
			grantedOn("", "create update patch"), // admission lets a kubelet write its own node only
			grantedOn("status", "update patch"),
			granted(func(q question) bool { return q.on("", "get list watch") && q.GetName() == q.node }),
			{
				breaks: func(q question) bool { return q.on("", "get list watch") },
				reason: func(q question) string {
					if q.GetName() == "" {
						return fmt.Sprintf("node '%s' cannot read all nodes, only its own Node object", q.node)
					}
					return fmt.Sprintf("node '%s' cannot read '%s', only its own Node object", q.node, q.GetName())
				},
			},
			refused(""),
		},
		// Admission looks at the pods that kubelets write: mirror pods of their own making, and pods of their node.
		{Resource: "pods"}: append([]term{
			grantedOn("", "create delete"),
			grantedOn("status", "update patch"),
			grantedOn("eviction", "create"),
			refusedWhen(func(q question) bool { return !q.on("", "get list watch") }, ""),
			granted(func(q question) bool { return q.is("list watch") && q.selects("spec.nodeName") }),
			refusedWhen(func(q question) bool { return q.is("list watch") && q.GetName() == "" },
				"can only list/watch pods with spec.nodeName field selector"),
		}, related(onNode)...),
		// The API that kubelets ask for certificates of pods by is not served.
		{Group: "certificates.k8s.io", Resource: "podcertificaterequests"}: {refused("")},
	}
}
