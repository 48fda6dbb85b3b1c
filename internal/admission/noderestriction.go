package admission

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	resourcev1 "k8s.io/api/resource/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/diff"
	"k8s.io/apiserver/pkg/authentication/user"

	"github.com/monohull/monohull/internal/client"
)

const nodeUserPrefix = "system:node:"

// kubelets is the plugin NodeRestriction: each kubelet keeps to its own node
// and to the pods that are bound to it.
type kubelets struct {
	pods    client.Kind[*corev1.Pod]
	nodes   client.Kind[*corev1.Node]
	claims  reader[*corev1.PersistentVolumeClaim]
	volumes reader[*corev1.PersistentVolume]
	drivers reader[*storagev1.CSIDriver]
	d       Deps
}

func nodeRestriction(d Deps) Plugin {
	k := &kubelets{
		pods: client.Of[*corev1.Pod](d.Client), nodes: client.Of[*corev1.Node](d.Client), d: d,
		claims: read[*corev1.PersistentVolumeClaim](d.Client), volumes: read[*corev1.PersistentVolume](d.Client), drivers: read[*storagev1.CSIDriver](d.Client),
	}
	return Plugin{Mutate: k.judge}
}

// nodeOf tells whether a user is a kubelet, and of which node.
func nodeOf(u user.Info) (name string, is bool) {
	if u == nil {
		return "", false
	}
	name, ok := strings.CutPrefix(u.GetName(), nodeUserPrefix)
	return name, ok && slices.Contains(u.GetGroups(), user.NodesGroup)
}

func (k *kubelets) judge(ctx context.Context, a *Attributes) error {
	node, is := nodeOf(a.User)
	if !is || !a.does(Create, Update, Delete) {
		return nil
	}
	if node == "" {
		return forbidden(a, fmt.Errorf("could not determine node from user %q", a.User.GetName()))
	}
	switch a.Kind.GroupResource().String() {
	case "pods":
		switch a.Subresource {
		case "":
			return k.pod(node, a)
		case "status":
			return podStatus(node, a)
		case "eviction":
			return k.eviction(node, a)
		}
		return forbidden(a, fmt.Errorf("unexpected pod subresource %q, only 'status' and 'eviction' are allowed", a.Subresource))
	case "nodes":
		return ownNode(node, a)
	case "persistentvolumeclaims":
		if a.Subresource != "status" {
			return forbidden(a, errors.New("may only update PVC status"))
		}
		return claimStatus(node, a)
	case "serviceaccounts":
		return k.token(ctx, node, a)
	case "podcertificaterequests.certificates.k8s.io":
		return forbidden(a, errors.New("PodCertificateRequest feature gate is disabled"))
	case "leases.coordination.k8s.io":
		if a.Namespace != corev1.NamespaceNodeLease {
			return forbidden(a, fmt.Errorf("can only access leases in the %q system namespace", corev1.NamespaceNodeLease))
		}
		return named(node, a, "can only access node lease with the same name as the requesting node")
	case "csinodes.storage.k8s.io":
		return named(node, a, "can only access CSINode with the same name as the requesting node")
	case "resourceslices.resource.k8s.io":
		return ownSlice(node, a)
	case "certificatesigningrequests.certificates.k8s.io":
		return ownRequest(node, a)
	}
	return nil
}

func named(node string, a *Attributes, why string) error {
	name := a.Name
	if a.Operation == Create && a.Object != nil {
		name = a.Object.GetName()
	}
	if name != node {
		return forbidden(a, errors.New(why))
	}
	return nil
}

func (k *kubelets) pod(node string, a *Attributes) error {
	switch a.Operation {
	case Create:
		return k.mirror(node, a)
	case Delete:
		return k.ownPod(a, a.Name, node, fmt.Sprintf("node %q can only delete pods with spec.nodeName set to itself", node))
	}
	return forbidden(a, fmt.Errorf("unexpected operation %q, node %q can only create and delete mirror pods", a.Operation, node))
}

// ownPod refuses what is about a pod of another node.
func (k *kubelets) ownPod(a *Attributes, name, node, why string) error {
	pod, ok := k.pods.Get(a.Namespace, name)
	if !ok {
		return apierrors.NewNotFound(corev1.Resource("pods"), name)
	}
	if pod.Spec.NodeName != node {
		return forbidden(a, errors.New(why))
	}
	return nil
}

// mirror judges the pods that kubelets create: those that show what they run
// by themselves.
func (k *kubelets) mirror(node string, a *Attributes) error {
	pod := podOf(a)
	if pod == nil {
		return forbidden(a, fmt.Errorf("unexpected type %T", a.Object))
	}
	if _, ok := pod.Annotations[corev1.MirrorPodAnnotationKey]; !ok {
		return forbidden(a, fmt.Errorf("pod does not have %q annotation, node %q can only create mirror pods", corev1.MirrorPodAnnotationKey, node))
	}
	if pod.Spec.NodeName != node {
		return forbidden(a, fmt.Errorf("node %q can only create pods with spec.nodeName set to itself", node))
	}
	if len(pod.OwnerReferences) > 1 {
		return forbidden(a, fmt.Errorf("node %q can only create pods with a single owner reference set to itself", node))
	}
	if len(pod.OwnerReferences) == 0 {
		return forbidden(a, fmt.Errorf("node %q can only create pods with an owner reference set to itself", node))
	}
	owner := pod.OwnerReferences[0]
	switch {
	case owner.APIVersion != "v1" || owner.Kind != "Node" || owner.Name != node:
		return forbidden(a, fmt.Errorf("node %q can only create pods with an owner reference set to itself", node))
	case owner.Controller == nil || !*owner.Controller:
		return forbidden(a, fmt.Errorf("node %q can only create pods with a controller owner reference set to itself", node))
	case owner.BlockOwnerDeletion != nil && *owner.BlockOwnerDeletion:
		return forbidden(a, fmt.Errorf("node %q must not set blockOwnerDeletion on an owner reference", node))
	}
	n, ok := k.nodes.Get("", node)
	if !ok {
		return apierrors.NewNotFound(corev1.Resource("nodes"), node)
	}
	if owner.UID != n.UID {
		return forbidden(a, fmt.Errorf("node %s UID mismatch: expected %s got %s", node, owner.UID, n.UID))
	}
	what, err := needsAPI(pod)
	if err != nil {
		return forbidden(a, fmt.Errorf("error checking mirror pod for API references: %w", err))
	}
	if what != "" {
		return forbidden(a, fmt.Errorf("node %q can not create pods that reference %s", node, what))
	}
	return nil
}

func podStatus(node string, a *Attributes) error {
	if a.Operation != Update {
		return forbidden(a, fmt.Errorf("unexpected operation %q", a.Operation))
	}
	old, ok := a.Old.(*corev1.Pod)
	if !ok {
		return forbidden(a, fmt.Errorf("unexpected type %T", a.Old))
	}
	if old.Spec.NodeName != node {
		return forbidden(a, fmt.Errorf("node %q can only update pod status for pods with spec.nodeName set to itself", node))
	}
	pod := podOf(a)
	if pod == nil {
		return forbidden(a, fmt.Errorf("unexpected type %T", a.Object))
	}
	if !maps.Equal(old.Labels, pod.Labels) {
		return forbidden(a, fmt.Errorf("node %q cannot update labels through pod status", node))
	}
	if !slices.EqualFunc(old.Status.ResourceClaimStatuses, pod.Status.ResourceClaimStatuses, func(x, y corev1.PodResourceClaimStatus) bool {
		return x.Name == y.Name && equality.Semantic.DeepEqual(x.ResourceClaimName, y.ResourceClaimName)
	}) {
		return forbidden(a, fmt.Errorf("node %q cannot update resource claim statues", node))
	}
	if !equality.Semantic.DeepEqual(old.Status.ExtendedResourceClaimStatus, pod.Status.ExtendedResourceClaimStatus) {
		return forbidden(a, fmt.Errorf("node %q cannot update extended resource claim status", node))
	}
	return nil
}

func (k *kubelets) eviction(node string, a *Attributes) error {
	if a.Operation != Create {
		return forbidden(a, fmt.Errorf("unexpected operation %s", a.Operation))
	}
	e, ok := a.Object.(*policyv1.Eviction)
	if !ok {
		return forbidden(a, fmt.Errorf("unexpected type %T", a.Object))
	}
	name := a.Name
	if name == "" {
		name = e.Name
	}
	if name == "" {
		return forbidden(a, errors.New("could not determine pod from request data"))
	}
	return k.ownPod(a, name, node, fmt.Sprintf("node %s can only evict pods with spec.nodeName set to itself", node))
}

func claimStatus(node string, a *Attributes) error {
	if a.Operation != Update {
		return forbidden(a, fmt.Errorf("unexpected operation %q", a.Operation))
	}
	old, ok := a.Old.(*corev1.PersistentVolumeClaim)
	if !ok {
		return forbidden(a, fmt.Errorf("unexpected type %T", a.Old))
	}
	claim, ok := a.Object.(*corev1.PersistentVolumeClaim)
	if !ok {
		return forbidden(a, fmt.Errorf("unexpected type %T", a.Object))
	}
	old, claim = old.DeepCopy(), claim.DeepCopy()
	for _, c := range []*corev1.PersistentVolumeClaim{old, claim} {
		c.ResourceVersion, c.ManagedFields = "", nil
		c.Status.Capacity, c.Status.Conditions = nil, nil
		c.Status.AllocatedResourceStatuses, c.Status.AllocatedResources = nil, nil
	}
	if !equality.Semantic.DeepEqual(old, claim) {
		return forbidden(a, fmt.Errorf("node %q is not allowed to update fields other than status.quantity and status.conditions: %v", node, diff.Diff(old, claim)))
	}
	return nil
}

func ownNode(node string, a *Attributes) error {
	name := a.Name
	if name == "" && a.Object != nil {
		name = a.Object.GetName()
	}
	if name != node {
		return forbidden(a, fmt.Errorf("node %q is not allowed to modify node %q", node, name))
	}
	n, ok := a.Object.(*corev1.Node)
	if a.Operation != Delete && !ok {
		return forbidden(a, fmt.Errorf("unexpected type %T", a.Object))
	}
	switch a.Operation {
	case Create:
		if n.Spec.ConfigSource != nil {
			return forbidden(a, fmt.Errorf("node %q is not allowed to create pods with a non-nil configSource", node))
		}
		if bad := forbiddenLabels(n.Labels, nil); len(bad) > 0 {
			return forbidden(a, fmt.Errorf("node %q is not allowed to set the following labels: %s", node, strings.Join(bad, ", ")))
		}
	case Update:
		old, ok := a.Old.(*corev1.Node)
		switch {
		case !ok:
			return forbidden(a, fmt.Errorf("unexpected type %T", a.Old))
		case n.Spec.ConfigSource != nil && !equality.Semantic.DeepEqual(n.Spec.ConfigSource, old.Spec.ConfigSource):
			return forbidden(a, fmt.Errorf("node %q is not allowed to update configSource to a new non-nil configSource", node))
		case !equality.Semantic.DeepEqual(n.Spec.Taints, old.Spec.Taints):
			return forbidden(a, fmt.Errorf("node %q is not allowed to modify taints", node))
		case !equality.Semantic.DeepEqual(n.OwnerReferences, old.OwnerReferences):
			return forbidden(a, fmt.Errorf("node %q is not allowed to modify ownerReferences", node))
		}
		if bad := forbiddenLabels(n.Labels, old.Labels); len(bad) > 0 {
			return forbidden(a, fmt.Errorf("is not allowed to modify labels: %s", strings.Join(bad, ", ")))
		}
	}
	return nil
}

// forbiddenLabels lists the labels that differ and that a kubelet may not set.
func forbiddenLabels(a, b map[string]string) []string {
	var out []string
	look := func(from, to map[string]string) {
		for k, v := range from {
			if w, ok := to[k]; (!ok || v != w) && !kubeletMaySet(k) {
				out = append(out, k)
			}
		}
	}
	look(a, b)
	look(b, a)
	slices.Sort(out)
	return slices.Compact(out)
}

func kubeletMaySet(label string) bool {
	domain, _, ok := strings.Cut(label, "/")
	if !ok {
		domain = ""
	}
	under := func(d string) bool { return domain == d || strings.HasSuffix(domain, "."+d) }
	if under(corev1.LabelNamespaceNodeRestriction) {
		return false
	}
	if !under("kubernetes.io") && !under("k8s.io") {
		return true
	}
	switch label {
	case corev1.LabelHostname, corev1.LabelTopologyZone, corev1.LabelTopologyRegion, corev1.LabelFailureDomainBetaZone, corev1.LabelFailureDomainBetaRegion,
		corev1.LabelInstanceType, corev1.LabelInstanceTypeStable, corev1.LabelOSStable, corev1.LabelArchStable, "beta.kubernetes.io/os", "beta.kubernetes.io/arch":
		return true
	}
	return under(corev1.LabelNamespaceSuffixKubelet) || under(corev1.LabelNamespaceSuffixNode)
}

func (k *kubelets) token(ctx context.Context, node string, a *Attributes) error {
	if a.Operation != Create || a.Subresource != "token" {
		return nil
	}
	req, ok := a.Object.(*authenticationv1.TokenRequest)
	if !ok {
		return forbidden(a, fmt.Errorf("unexpected type %T", a.Object))
	}
	ref := req.Spec.BoundObjectRef
	if ref == nil || ref.APIVersion != "v1" || ref.Kind != "Pod" || ref.Name == "" {
		return forbidden(a, errors.New("node requested token not bound to a pod"))
	}
	if ref.UID == "" {
		return forbidden(a, errors.New("node requested token with a pod binding without a uid"))
	}
	pod, ok := k.pods.Get(a.Namespace, ref.Name)
	if !ok {
		return apierrors.NewNotFound(corev1.Resource("pods"), ref.Name)
	}
	if ref.UID != pod.UID {
		return forbidden(a, fmt.Errorf("the UID in the bound object reference (%s) does not match the UID in record. The object might have been deleted and then recreated", ref.UID))
	}
	if pod.Spec.NodeName != node {
		return forbidden(a, errors.New("node requested token bound to a pod scheduled on a different node"))
	}
	if err := k.audience(ctx, a, req, pod); err != nil {
		return forbidden(a, err)
	}
	return nil
}

func ownSlice(node string, a *Attributes) error {
	o, verb := a.Object, "create"
	switch a.Operation {
	case Update:
		return nil // the authorizer sees to it
	case Delete:
		o, verb = a.Old, "delete"
	}
	s, ok := o.(*resourcev1.ResourceSlice)
	if !ok {
		return forbidden(a, fmt.Errorf("unexpected type %T", o))
	}
	if s.Spec.NodeName == nil || *s.Spec.NodeName != node {
		return forbidden(a, fmt.Errorf("can only %s ResourceSlice with the same NodeName as the requesting node", verb))
	}
	return nil
}

func ownRequest(node string, a *Attributes) error {
	if a.Operation != Create {
		return nil
	}
	csr, ok := a.Object.(*certificatesv1.CertificateSigningRequest)
	if !ok {
		return forbidden(a, fmt.Errorf("unexpected type %T", a.Object))
	}
	if s := csr.Spec.SignerName; s != certificatesv1.KubeletServingSignerName && s != certificatesv1.KubeAPIServerClientKubeletSignerName {
		return nil
	}
	req, err := parseRequest(csr.Spec.Request)
	if err != nil {
		return forbidden(a, fmt.Errorf("unable to parse csr: %w", err))
	}
	if req.Subject.CommonName != nodeUserPrefix+node {
		return forbidden(a, fmt.Errorf("can only create a node CSR with CN=system:node:%s", node))
	}
	return nil
}
