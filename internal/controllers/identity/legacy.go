package identity

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/utils/clock"

	"github.com/monohull/monohull/internal/api"
	"github.com/monohull/monohull/internal/auth"
	"github.com/monohull/monohull/internal/client"
	"github.com/monohull/monohull/internal/controllers"
)

const (
	// DefaultCleanUpPeriod is how long a token may go unused: --legacy-service-account-token-clean-up-period.
	DefaultCleanUpPeriod = 365 * 24 * time.Hour
	// legacyInterval is how often each token is looked at.
	legacyInterval = 24 * time.Hour

	trackingName = "kube-apiserver-legacy-service-account-token-tracking"
	trackingKey  = "since"
	// trackingPause bounds how often the date is made anew, so that servers which disagree do not fight.
	trackingPause = 30 * time.Minute
)

// server acts as the API server itself, which keeps some objects of its own.
func server(deps controllers.Deps, component string) *client.Client {
	return deps.Client(component).AsUser(user.APIServerUser, user.SystemPrivilegedGroup)
}

// legacyCleaner marks, and later deletes, tokens in Secrets that nobody uses.
func legacyCleaner(deps controllers.Deps, unused time.Duration) *controllers.Controller {
	c := deps.Client("legacy-service-account-token-cleaner")
	secrets, accounts := client.Of[*corev1.Secret](c), client.Of[*corev1.ServiceAccount](c)
	infos, pods := client.Of[*corev1.ConfigMap](c), client.Of[*corev1.Pod](c)
	return &controllers.Controller{
		Name: "legacy-serviceaccount-token-cleaner-controller", Client: c, Workers: 1,
		Inputs: []controllers.Input{controllers.On(func(_, cur *corev1.Secret) []controllers.Key {
			if cur.Type != corev1.SecretTypeServiceAccountToken {
				return nil
			}
			return []controllers.Key{controllers.KeyOf(cur)}
		})},
		Outputs: []controllers.Output{{Kind: api.For[*corev1.Secret], Field: "metadata.labels"}},
		Reconcile: func(ctx context.Context, key controllers.Key) (time.Duration, error) {
			s, ok := secrets.Get(key.Namespace, key.Name)
			if !ok {
				return 0, nil
			}
			var since string
			if info, ok := infos.Get(metav1.NamespaceSystem, trackingName); ok {
				since = info.Data[trackingKey]
			}
			tracked, ok := trackedFrom(since)
			if !ok {
				return legacyInterval, nil // uses are not noted: nothing is known
			}
			var account *corev1.ServiceAccount
			if name, uid, ok := ownerOf(s); ok {
				if found, ok := accounts.Get(s.Namespace, name); ok && (uid == "" || uid == found.UID) {
					account = found
				}
			}
			mounted := func() bool {
				for _, pod := range pods.List(s.Namespace, nil) {
					if auth.PodNamesSecret(pod, s.Name) {
						return true
					}
				}
				return false
			}
			now := deps.Clock.Now()
			switch legacyNext(s, account, mounted, now, tracked, unused) {
			case legacyMark:
				deps.Log.Info("identity: a service account token in a secret was not used for long and is marked as invalid", "namespace", s.Namespace, "name", s.Name)
				if err := label(ctx, secrets, s, auth.InvalidSinceLabel, now.UTC().Format(auth.TrackingDate)); err != nil {
					return 0, fmt.Errorf("marking an unused token: %w", err)
				}
			case legacyDelete:
				deps.Log.Info("identity: a service account token in a secret that was marked as invalid is deleted", "namespace", s.Namespace, "name", s.Name)
				err := secrets.Delete(ctx, s.Namespace, s.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{ResourceVersion: &s.ResourceVersion}})
				if err != nil && !apierrors.IsConflict(err) {
					return 0, fmt.Errorf("deleting an unused token: %w", err)
				}
				return 0, nil
			}
			return legacyInterval, nil
		},
	}
}

func label(ctx context.Context, secrets client.Kind[*corev1.Secret], s *corev1.Secret, key, value string) error {
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"uid": s.UID, "labels": map[string]string{key: value}}})
	if err != nil {
		return err
	}
	_, err = secrets.Patch(ctx, s.Namespace, s.Name, "", types.MergePatchType, patch)
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil
	}
	return err
}

// TrackUse notes the date on Secrets whose token is used; it is auth.Config.UsedToken. as gives the client of the API
// server itself, which is made after the authenticator.
func TrackUse(as func() *client.Client, c clock.PassiveClock, log *slog.Logger) func(context.Context, *corev1.Secret) {
	return func(ctx context.Context, s *corev1.Secret) {
		today, write := auth.UsedToday(s, c.Now())
		if !write {
			return
		}
		if err := label(ctx, client.Of[*corev1.Secret](as()), s, auth.LastUsedLabel, today); err != nil {
			log.Error("identity: the use of a service account token in a secret could not be noted", "namespace", s.Namespace, "name", s.Name, "error", err)
		}
	}
}

// tracking keeps the date since when uses are noted. There is one key.
func tracking(deps controllers.Deps) *controllers.Controller {
	c := server(deps, "legacy-token-tracking-controller")
	infos := client.Of[*corev1.ConfigMap](c)
	the := controllers.Key{Namespace: metav1.NamespaceSystem, Name: trackingName}
	var made time.Time // there is one worker
	return &controllers.Controller{
		Name: "legacy-token-tracking-controller", Client: c, Workers: 1,
		Inputs:     []controllers.Input{onConfigMap(the)},
		Outputs:    []controllers.Output{{Kind: api.For[*corev1.ConfigMap], Field: "data"}},
		Background: once(the),
		Reconcile: func(ctx context.Context, _ controllers.Key) (time.Duration, error) {
			now := deps.Clock.Now()
			data := map[string]string{trackingKey: now.UTC().Format(auth.TrackingDate)}
			info, ok := infos.Get(the.Namespace, the.Name)
			if ok {
				if _, good := trackedFrom(info.Data[trackingKey]); good {
					return 0, nil
				}
				_, err := infos.Modify(ctx, the.Namespace, the.Name, "", func(m *corev1.ConfigMap) error {
					if m.Data == nil {
						m.Data = map[string]string{}
					}
					m.Data[trackingKey] = data[trackingKey]
					return nil
				})
				if err != nil && !apierrors.IsNotFound(err) {
					return 0, fmt.Errorf("noting since when tokens are tracked: %w", err)
				}
				return 0, nil
			}
			if wait := trackingPause - now.Sub(made); !made.IsZero() && wait > 0 {
				return wait, nil
			}
			_, err := infos.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: the.Namespace, Name: the.Name}, Data: data})
			if err != nil && !apierrors.IsAlreadyExists(err) {
				return 0, fmt.Errorf("noting since when tokens are tracked: %w", err)
			}
			made = now
			return 0, nil
		},
	}
}

// onConfigMap reacts to one ConfigMap.
func onConfigMap(the controllers.Key) controllers.Input {
	return controllers.On(func(_, cur *corev1.ConfigMap) []controllers.Key {
		if controllers.KeyOf(cur) != the {
			return nil
		}
		return []controllers.Key{the}
	})
}

// once adds a key at the start: for what must exist, which no event announces.
func once(the controllers.Key) func(context.Context, func(controllers.Key)) error {
	return func(ctx context.Context, add func(controllers.Key)) error {
		add(the)
		<-ctx.Done()
		return nil
	}
}
