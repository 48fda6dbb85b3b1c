package auth

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apiserver/pkg/authentication/serviceaccount"

	"github.com/go-jose/go-jose/v4/jwt"
)

// legacyIssuer signs the tokens that live in Secrets.
const legacyIssuer = "kubernetes/serviceaccount"

// privateClaims is what a service account token says beyond the registered claims.
type privateClaims struct {
	Kubernetes kubernetesClaims `json:"kubernetes.io,omitempty"`
}

type kubernetesClaims struct {
	Namespace      string           `json:"namespace,omitempty"`
	ServiceAccount reference        `json:"serviceaccount,omitempty"`
	Pod            *reference       `json:"pod,omitempty"`
	Secret         *reference       `json:"secret,omitempty"`
	Node           *reference       `json:"node,omitempty"`
	WarnAfter      *jwt.NumericDate `json:"warnafter,omitempty"`
}

// reference is an object as it was when the token was made; an object of the same name with another uid is not it.
type reference struct {
	Name string `json:"name,omitempty"`
	UID  string `json:"uid,omitempty"`
}

// legacyClaims is what a token in a Secret says.
type legacyClaims struct {
	ServiceAccountName string `json:"kubernetes.io/serviceaccount/service-account.name"`
	ServiceAccountUID  string `json:"kubernetes.io/serviceaccount/service-account.uid"`
	SecretName         string `json:"kubernetes.io/serviceaccount/secret.name"`
	Namespace          string `json:"kubernetes.io/serviceaccount/namespace"`
}

// tokenClaims is all a token of either kind may say.
type tokenClaims struct {
	jwt.Claims
	privateClaims
	legacyClaims
}

// serviceAccountInfo is the identity that a bound token stands for.
func (c *tokenClaims) serviceAccountInfo() *serviceaccount.ServiceAccountInfo {
	k := &c.Kubernetes
	info := &serviceaccount.ServiceAccountInfo{
		Namespace: k.Namespace, Name: k.ServiceAccount.Name, UID: k.ServiceAccount.UID,
	}
	if k.Pod != nil {
		info.PodName, info.PodUID = k.Pod.Name, k.Pod.UID
	}
	if k.Node != nil {
		info.NodeName, info.NodeUID = k.Node.Name, k.Node.UID
	}
	if c.ID != "" {
		info.CredentialID = "JTI=" + c.ID
	}
	return info
}

// Lookup is where tokens are checked against the objects they are bound to. Each method returns nil when there is no
// such object. A token may be presented right after its account was created, so an implementation over a cache that can lag
// should look past it before it says nil.
type Lookup interface {
	ServiceAccount(namespace, name string) *corev1.ServiceAccount
	Pod(namespace, name string) *corev1.Pod
	Secret(namespace, name string) *corev1.Secret
	Node(name string) *corev1.Node
}
