package identity

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/monohull/monohull/internal/api"
	"github.com/monohull/monohull/internal/client"
	"github.com/monohull/monohull/internal/controllers"
)

const (
	trustName = "extension-apiserver-authentication"
	// trustInterval is how often it is looked whether the authorities changed.
	trustInterval = time.Minute
)

// trust publishes how extension API servers are to authenticate requests. There is one key. changing says that the
// authorities may change while the server runs.
func trust(deps controllers.Deps, read func() Trust, changing bool) *controllers.Controller {
	c := server(deps, "cluster-authentication-trust-controller")
	infos := client.Of[*corev1.ConfigMap](c)
	the := controllers.Key{Namespace: metav1.NamespaceSystem, Name: trustName}
	again := time.Duration(0)
	if changing {
		again = trustInterval
	}
	return &controllers.Controller{
		Name: "cluster-authentication-trust-controller", Client: c, Workers: 1,
		Inputs:     []controllers.Input{onConfigMap(the)},
		Outputs:    []controllers.Output{{Kind: api.For[*corev1.ConfigMap], Field: "data"}},
		Background: once(the),
		Reconcile: func(ctx context.Context, _ controllers.Key) (time.Duration, error) {
			var have map[string]string
			info, exists := infos.Get(the.Namespace, the.Name)
			if exists {
				have = info.Data
			}
			want := func(have map[string]string) (map[string]string, error) {
				return trustData(have, read(), deps.Clock.Now())
			}
			data, err := want(have)
			if err != nil {
				return 0, err
			}
			if exists && maps.Equal(have, data) {
				return again, nil
			}
			if !exists {
				_, err = infos.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: the.Namespace, Name: the.Name}, Data: data})
				if apierrors.IsAlreadyExists(err) {
					err = nil
				}
			} else {
				_, err = infos.Modify(ctx, the.Namespace, the.Name, "", func(m *corev1.ConfigMap) error {
					m.Data, err = want(m.Data)
					return err
				})
				if tooLarge(err) {
					// Authorities of long ago fill it: begin anew.
					if err := infos.Delete(ctx, the.Namespace, the.Name, metav1.DeleteOptions{}); err != nil {
						return 0, fmt.Errorf("deleting the authentication settings of extension servers, which grew too large: %w", err)
					}
				}
			}
			if err != nil && !apierrors.IsNotFound(err) {
				return 0, fmt.Errorf("publishing the authentication settings of extension servers: %w", err)
			}
			return again, nil
		},
	}
}

func tooLarge(err error) bool {
	return apierrors.IsRequestEntityTooLargeError(err) || apierrors.IsInvalid(err) && strings.Contains(err.Error(), "Too long")
}
