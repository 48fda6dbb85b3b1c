package identity

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/monohull/monohull/internal/api"
	"github.com/monohull/monohull/internal/auth"
	"github.com/monohull/monohull/internal/client"
	"github.com/monohull/monohull/internal/controllers"
)

const (
	accountName = "default"

	rootCAName            = "kube-root-ca.crt"
	rootCAKey             = "ca.crt"
	descriptionAnnotation = "kubernetes.io/description"
	rootCADescription     = "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the internal service IP or kubernetes.default.svc. " +
		"No other usage is guaranteed across distributions of Kubernetes clusters."
)

// Config says what the loops need beyond what all of them do.
type Config struct {
	Tokens        LegacyTokens  // nil: Secrets of service account tokens are not filled
	CleanUpPeriod time.Duration // --legacy-service-account-token-clean-up-period; zero: DefaultCleanUpPeriod
	// Trust gives what extension API servers are told; nil: nothing. TrustChanges is whether it may change.
	Trust        func() Trust
	TrustChanges bool
}

// Controllers are the control loops of this area that need nothing more.
func Controllers(deps controllers.Deps) []*controllers.Controller {
	return []*controllers.Controller{serviceAccounts(deps), rootCA(deps), aggregation(deps), bootstrapCleaner(deps), bootstrapSigner(deps)}
}

// TokenControllers are the rest: service account tokens in Secrets, and what the API server publishes of itself.
func TokenControllers(deps controllers.Deps, config Config) []*controllers.Controller {
	if config.CleanUpPeriod == 0 {
		config.CleanUpPeriod = DefaultCleanUpPeriod
	}
	list := []*controllers.Controller{tracking(deps), legacyCleaner(deps, config.CleanUpPeriod)}
	if config.Tokens != nil {
		list = append(list, accountTokens(deps, config.Tokens))
	}
	if config.Trust != nil {
		list = append(list, trust(deps, config.Trust, config.TrustChanges))
	}
	return list
}

// open tells whether things may still be made in a namespace.
func open(namespaces client.Kind[*corev1.Namespace], name string) bool {
	ns, ok := namespaces.Get("", name)
	return ok && ns.DeletionTimestamp == nil && ns.Status.Phase != corev1.NamespaceTerminating
}

// serviceAccounts keeps a service account default in each namespace. The key
// is the namespace's.
func serviceAccounts(deps controllers.Deps) *controllers.Controller {
	c := deps.Client("service-account-controller")
	namespaces, accounts := client.Of[*corev1.Namespace](c), client.Of[*corev1.ServiceAccount](c)
	return &controllers.Controller{
		Name: "service-account-controller", Client: c,
		Inputs: []controllers.Input{
			controllers.On[*corev1.Namespace](nil),
			controllers.On(func(_, cur *corev1.ServiceAccount) []controllers.Key {
				if cur.Name != accountName {
					return nil
				}
				return []controllers.Key{{Name: cur.Namespace}}
			}),
		},
		Outputs: []controllers.Output{{Kind: api.For[*corev1.ServiceAccount]}},
		Reconcile: func(ctx context.Context, key controllers.Key) (time.Duration, error) {
			if !open(namespaces, key.Name) {
				return 0, nil
			}
			if _, ok := accounts.Get(key.Name, accountName); ok {
				return 0, nil
			}
			_, err := accounts.Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: key.Name, Name: accountName}})
			if err == nil || apierrors.IsAlreadyExists(err) || controllers.NamespaceEnds(err) {
				return 0, nil
			}
			return 0, fmt.Errorf("creating the default service account: %w", err)
		},
	}
}

// rootCA keeps the cluster's certificate authority in each namespace. The key
// is the namespace's.
func rootCA(deps controllers.Deps) *controllers.Controller {
	c := deps.Client("root-ca-cert-publisher")
	namespaces, maps := client.Of[*corev1.Namespace](c), client.Of[*corev1.ConfigMap](c)
	data := map[string]string{rootCAKey: string(deps.RootCA)}
	return &controllers.Controller{
		Name: "root-ca-certificate-publisher-controller", Client: c,
		Inputs: []controllers.Input{
			controllers.On[*corev1.Namespace](nil),
			controllers.On(func(_, cur *corev1.ConfigMap) []controllers.Key {
				if cur.Name != rootCAName {
					return nil
				}
				return []controllers.Key{{Name: cur.Namespace}}
			}),
		},
		Outputs: []controllers.Output{{Kind: api.For[*corev1.ConfigMap], Field: "data"}},
		Reconcile: func(ctx context.Context, key controllers.Key) (time.Duration, error) {
			if !open(namespaces, key.Name) {
				return 0, nil
			}
			cur, ok := maps.Get(key.Name, rootCAName)
			if !ok {
				_, err := maps.Create(ctx, &corev1.ConfigMap{
					ObjectMeta: metav1.ObjectMeta{
						Namespace: key.Name, Name: rootCAName,
						Annotations: map[string]string{descriptionAnnotation: rootCADescription},
					},
					Data: map[string]string{rootCAKey: string(deps.RootCA)},
				})
				if err == nil || apierrors.IsAlreadyExists(err) || controllers.NamespaceEnds(err) {
					return 0, nil
				}
				return 0, fmt.Errorf("publishing the certificate authority: %w", err)
			}
			if equality.Semantic.DeepEqual(cur.Data, data) && cur.Annotations[descriptionAnnotation] != "" {
				return 0, nil
			}
			_, err := maps.Modify(ctx, key.Name, rootCAName, "", func(m *corev1.ConfigMap) error {
				m.Data = map[string]string{rootCAKey: string(deps.RootCA)}
				if m.Annotations == nil {
					m.Annotations = map[string]string{}
				}
				m.Annotations[descriptionAnnotation] = rootCADescription
				return nil
			})
			if err != nil && !apierrors.IsNotFound(err) {
				return 0, fmt.Errorf("publishing the certificate authority: %w", err)
			}
			return 0, nil
		},
	}
}

// aggregation keeps the rules of ClusterRoles that are made of others.
func aggregation(deps controllers.Deps) *controllers.Controller {
	c := deps.Client("clusterrole-aggregation-controller")
	roles := client.Of[*rbacv1.ClusterRole](c)
	return &controllers.Controller{
		Name: "clusterrole-aggregation-controller", Client: c,
		Inputs: []controllers.Input{controllers.On(func(_, _ *rbacv1.ClusterRole) []controllers.Key {
			var keys []controllers.Key
			for _, r := range roles.List("", nil) {
				if r.AggregationRule != nil {
					keys = append(keys, controllers.KeyOf(r))
				}
			}
			return keys
		})},
		Outputs: []controllers.Output{{Kind: api.For[*rbacv1.ClusterRole], Field: "rules"}},
		Reconcile: func(ctx context.Context, key controllers.Key) (time.Duration, error) {
			r, ok := roles.Get("", key.Name)
			if !ok || r.AggregationRule == nil || r.DeletionTimestamp != nil {
				return 0, nil
			}
			rules := auth.Aggregate(r, roles.List("", nil))
			if equality.Semantic.DeepEqual(r.Rules, rules) {
				return 0, nil
			}
			_, err := roles.Modify(ctx, "", key.Name, "", func(m *rbacv1.ClusterRole) error {
				if m.AggregationRule == nil {
					return nil // changed meanwhile: its own rules are its own again
				}
				m.Rules = (&rbacv1.ClusterRole{Rules: rules}).DeepCopy().Rules
				return nil
			})
			if err != nil && !apierrors.IsNotFound(err) {
				return 0, fmt.Errorf("aggregating the rules: %w", err)
			}
			return 0, nil
		},
	}
}
