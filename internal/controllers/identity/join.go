package identity

import (
	"encoding/base64"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/user"

	"github.com/monohull/monohull/internal/api"
)

// joinGroup is that of bootstrap tokens for nodes.
const joinGroup = "system:bootstrappers:kubeadm:default-node-token"

// JoinObjects are what a machine needs to join with a bootstrap token, as kubeadm makes them: cluster-info, which it may
// read before it trusts anybody and check by its token, and the rights to ask for a kubelet's certificate and to have it
// approved.
func JoinObjects(server string, ca []byte) []api.Object {
	const reader = "kubeadm:bootstrap-signer-clusterinfo"
	meta := metav1.ObjectMeta{Namespace: clusterInfoNS, Name: reader}
	group := func(name string) []rbacv1.Subject {
		return []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.GroupKind, Name: name}}
	}
	bind := func(name, role, holders string) api.Object {
		return &rbacv1.ClusterRoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: name}, Subjects: group(holders),
			RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
		}
	}
	return []api.Object{
		&corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{Namespace: clusterInfoNS, Name: clusterInfoName},
			Data:       map[string]string{clusterInfoKey: clusterInfo(server, ca)},
		},
		&rbacv1.Role{ObjectMeta: meta, Rules: []rbacv1.PolicyRule{{
			Verbs: []string{"get"}, APIGroups: []string{""}, Resources: []string{"configmaps"}, ResourceNames: []string{clusterInfoName},
		}}},
		&rbacv1.RoleBinding{
			ObjectMeta: meta,
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: reader},
			Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: user.Anonymous}},
		},
		bind("kubeadm:kubelet-bootstrap", "system:node-bootstrapper", joinGroup),
		bind("kubeadm:node-autoapprove-bootstrap", "system:certificates.k8s.io:certificatesigningrequests:nodeclient", joinGroup),
		bind("kubeadm:node-autoapprove-certificate-rotation", "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient", user.NodesGroup),
	}
}

// clusterInfo is a kubeconfig that names the cluster and nobody.
func clusterInfo(server string, ca []byte) string {
	return fmt.Sprintf(`apiVersion: v1
clusters:
- cluster:
    certificate-authority-data: %s
    server: %s
  name: ""
contexts: null
current-context: ""
kind: Config
users: null
`, base64.StdEncoding.EncodeToString(ca), server)
}
