package identity

import (
	"context"
	"fmt"
	"maps"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/monohull/monohull/internal/api"
	"github.com/monohull/monohull/internal/client"
	"github.com/monohull/monohull/internal/controllers"
)

func isBootstrapToken(s *corev1.Secret) bool {
	return s.Type == bootstrapType && s.Namespace == bootstrapTokensHome
}

// bootstrapCleaner deletes tokens for joining that have expired.
func bootstrapCleaner(deps controllers.Deps) *controllers.Controller {
	c := deps.Client("token-cleaner")
	secrets := client.Of[*corev1.Secret](c)
	return &controllers.Controller{
		Name: "token-cleaner-controller", Client: c, Workers: 1,
		Inputs: []controllers.Input{controllers.On(func(_, cur *corev1.Secret) []controllers.Key {
			if !isBootstrapToken(cur) {
				return nil
			}
			return []controllers.Key{controllers.KeyOf(cur)}
		})},
		Outputs: []controllers.Output{{Kind: api.For[*corev1.Secret]}},
		Reconcile: func(ctx context.Context, key controllers.Key) (time.Duration, error) {
			s, ok := secrets.Get(key.Namespace, key.Name)
			if !ok || !isBootstrapToken(s) {
				return 0, nil
			}
			left, expired := remaining(s, deps.Clock.Now())
			if !expired {
				return left, nil
			}
			err := secrets.Delete(ctx, key.Namespace, key.Name, metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(string(s.UID))})
			if err != nil && !apierrors.IsConflict(err) {
				return 0, fmt.Errorf("deleting the expired bootstrap token: %w", err)
			}
			return 0, nil
		},
	}
}

// bootstrapSigner signs cluster-info with every token for joining. There is one key.
func bootstrapSigner(deps controllers.Deps) *controllers.Controller {
	c := deps.Client("bootstrap-signer")
	secrets, infos := client.Of[*corev1.Secret](c), client.Of[*corev1.ConfigMap](c)
	the := []controllers.Key{{Namespace: clusterInfoNS, Name: clusterInfoName}}
	return &controllers.Controller{
		Name: "bootstrap-signer-controller", Client: c, Workers: 1,
		Inputs: []controllers.Input{
			controllers.On(func(_, cur *corev1.Secret) []controllers.Key {
				if !isBootstrapToken(cur) {
					return nil
				}
				return the
			}),
			controllers.On(func(_, cur *corev1.ConfigMap) []controllers.Key {
				if cur.Namespace != clusterInfoNS || cur.Name != clusterInfoName {
					return nil
				}
				return the
			}),
		},
		Outputs: []controllers.Output{{Kind: api.For[*corev1.ConfigMap], Field: "data"}},
		Reconcile: func(ctx context.Context, key controllers.Key) (time.Duration, error) {
			info, ok := infos.Get(key.Namespace, key.Name)
			if !ok {
				return 0, nil
			}
			now := deps.Clock.Now()
			var tokens []*corev1.Secret
			var next time.Duration // until the first signature is worth nothing
			for _, s := range secrets.List(bootstrapTokensHome, nil) {
				if !isBootstrapToken(s) {
					continue
				}
				tokens = append(tokens, s)
				if left, _ := remaining(s, now); left > 0 && (next == 0 || left < next) {
					next = left
				}
			}
			data, err := signed(info.Data, tokens, now)
			if err != nil {
				return 0, err
			}
			if maps.Equal(data, info.Data) {
				return next, nil
			}
			_, err = infos.Modify(ctx, key.Namespace, key.Name, "", func(m *corev1.ConfigMap) error {
				m.Data, err = signed(m.Data, tokens, now)
				return err
			})
			if err != nil && !apierrors.IsNotFound(err) {
				return 0, fmt.Errorf("signing cluster-info: %w", err)
			}
			return next, nil
		},
	}
}
