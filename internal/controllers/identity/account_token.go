package identity

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apiserver/pkg/authentication/user"

	"github.com/monohull/monohull/internal/api"
	"github.com/monohull/monohull/internal/client"
	"github.com/monohull/monohull/internal/controllers"
)

// LegacyTokens makes the tokens that live in Secrets.
type LegacyTokens interface {
	LegacyToken(account *corev1.ServiceAccount, secret *corev1.Secret) (string, error)
}

// lacks says which parts of a token's Secret are to be filled in.
func lacks(s *corev1.Secret, rootCA []byte) (ca, namespace, token bool) {
	return len(rootCA) > 0 && !bytes.Equal(s.Data[corev1.ServiceAccountRootCAKey], rootCA),
		len(s.Data[corev1.ServiceAccountNamespaceKey]) == 0,
		len(s.Data[corev1.ServiceAccountTokenKey]) == 0
}

// ownerOf is the account a token's Secret names: any of that name if it gives no uid.
func ownerOf(s *corev1.Secret) (name string, uid types.UID, ok bool) {
	if s.Type != corev1.SecretTypeServiceAccountToken {
		return "", "", false
	}
	name = s.Annotations[corev1.ServiceAccountNameKey]
	return name, types.UID(s.Annotations[corev1.ServiceAccountUIDKey]), name != ""
}

// unreference begins the key of a Secret that an account may have to forget: what follows is the Secret's name, the
// account's, and its uid.
const unreference = "unreference/"

// accountTokens fills the Secrets of type kubernetes.io/service-account-token, and deletes them with their accounts. The
// key is the Secret's, or one of unreference.
func accountTokens(deps controllers.Deps, tokens LegacyTokens) *controllers.Controller {
	c := deps.Client("tokens-controller").AsUser(user.KubeControllerManager)
	secrets, accounts := client.Of[*corev1.Secret](c), client.Of[*corev1.ServiceAccount](c)
	a := accountTokenLoop{deps: deps, tokens: tokens, c: c, secrets: secrets, accounts: accounts}
	return &controllers.Controller{
		Name: "serviceaccount-token-controller", Client: c,
		Inputs: []controllers.Input{
			controllers.On(func(_, cur *corev1.Secret) []controllers.Key {
				name, uid, ok := ownerOf(cur)
				if !ok {
					return nil
				}
				return []controllers.Key{
					controllers.KeyOf(cur),
					{Namespace: cur.Namespace, Name: unreference + cur.Name + "/" + name + "/" + string(uid)},
				}
			}),
			controllers.On(func(old, cur *corev1.ServiceAccount) []controllers.Key {
				if live, ok := accounts.Get(cur.Namespace, cur.Name); ok && live.UID == cur.UID && old != nil {
					return nil // neither new nor gone: nothing of its tokens depends on it
				}
				var keys []controllers.Key
				for _, s := range secrets.List(cur.Namespace, nil) {
					if name, _, ok := ownerOf(s); ok && name == cur.Name {
						keys = append(keys, controllers.KeyOf(s))
					}
				}
				return keys
			}),
		},
		Outputs: []controllers.Output{{Kind: api.For[*corev1.Secret], Field: "data"}, {Kind: api.For[*corev1.ServiceAccount], Field: "secrets"}},
		Reconcile: func(ctx context.Context, key controllers.Key) (time.Duration, error) {
			if rest, ok := strings.CutPrefix(key.Name, unreference); ok {
				parts := strings.SplitN(rest, "/", 3)
				return 0, a.unreference(ctx, key.Namespace, parts[0], parts[1], types.UID(parts[2]))
			}
			return 0, a.fill(ctx, key)
		},
	}
}

type accountTokenLoop struct {
	deps     controllers.Deps
	tokens   LegacyTokens
	c        *client.Client
	secrets  client.Kind[*corev1.Secret]
	accounts client.Kind[*corev1.ServiceAccount]
}

func (a *accountTokenLoop) account(namespace, name string, uid types.UID) *corev1.ServiceAccount {
	account, ok := a.accounts.Get(namespace, name)
	if !ok || uid != "" && account.UID != uid {
		return nil
	}
	return account
}

func (a *accountTokenLoop) fill(ctx context.Context, key controllers.Key) error {
	s, ok := a.secrets.Get(key.Namespace, key.Name)
	if !ok {
		return nil
	}
	name, uid, ok := ownerOf(s)
	if !ok {
		return nil
	}
	account := a.account(key.Namespace, name, uid)
	if account == nil {
		// The account may be younger than what this server has seen.
		if err := a.c.Caches().Fresh(ctx); err != nil {
			return fmt.Errorf("looking for the service account: %w", err)
		}
		account = a.account(key.Namespace, name, uid)
	}
	if account == nil {
		err := a.secrets.Delete(ctx, key.Namespace, key.Name, metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(string(s.UID))})
		if err != nil && !apierrors.IsConflict(err) {
			return fmt.Errorf("deleting the token of a service account that is gone: %w", err)
		}
		return nil
	}
	if ca, namespace, token := lacks(s, a.deps.RootCA); !ca && !namespace && !token {
		return nil
	}
	_, err := a.secrets.Modify(ctx, key.Namespace, key.Name, "", func(m *corev1.Secret) error {
		if m.UID != s.UID {
			return nil // another of the same name: its own turn comes
		}
		ca, namespace, token := lacks(m, a.deps.RootCA)
		if m.Data == nil {
			m.Data = map[string][]byte{}
		}
		if ca {
			m.Data[corev1.ServiceAccountRootCAKey] = a.deps.RootCA
		}
		if namespace {
			m.Data[corev1.ServiceAccountNamespaceKey] = []byte(m.Namespace)
		}
		if token {
			text, err := a.tokens.LegacyToken(account, m)
			if err != nil {
				return err
			}
			m.Data[corev1.ServiceAccountTokenKey] = []byte(text)
		}
		if m.Annotations == nil {
			m.Annotations = map[string]string{}
		}
		m.Annotations[corev1.ServiceAccountNameKey] = account.Name
		m.Annotations[corev1.ServiceAccountUIDKey] = string(account.UID)
		return nil
	})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("filling the token: %w", err)
	}
	return nil
}

// unreference takes a Secret that is gone from the account that lists it.
func (a *accountTokenLoop) unreference(ctx context.Context, namespace, secret, name string, uid types.UID) error {
	lists := func(account *corev1.ServiceAccount) bool {
		for _, ref := range account.Secrets {
			if ref.Name == secret {
				return true
			}
		}
		return false
	}
	if _, ok := a.secrets.Get(namespace, secret); ok {
		return nil
	}
	if account := a.account(namespace, name, uid); account == nil || !lists(account) {
		return nil
	}
	_, err := a.accounts.Modify(ctx, namespace, name, "", func(m *corev1.ServiceAccount) error {
		if uid != "" && m.UID != uid {
			return nil
		}
		kept := m.Secrets[:0]
		for _, ref := range m.Secrets {
			if ref.Name != secret {
				kept = append(kept, ref)
			}
		}
		m.Secrets = kept
		return nil
	})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("taking the token's secret from its service account: %w", err)
	}
	return nil
}
