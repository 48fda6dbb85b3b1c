package encrypt

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"encoding/base64"
	"errors"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/apis/apiserver"
	"k8s.io/apiserver/pkg/storage/value"
	aestransformer "k8s.io/apiserver/pkg/storage/value/encrypt/aes"
	"k8s.io/apiserver/pkg/storage/value/encrypt/identity"
	"k8s.io/apiserver/pkg/storage/value/encrypt/secretbox"
)

// What encrypted values begin with, before the name of the key.
const (
	prefixAny       = "k8s:enc:"
	prefixCBC       = "k8s:enc:aescbc:v1:"
	prefixGCM       = "k8s:enc:aesgcm:v1:"
	prefixSecretbox = "k8s:enc:secretbox:v1:"
	prefixKMS       = "k8s:enc:kms:"
	prefixKMSv2     = "k8s:enc:kms:v2:"
)

// keyring is the keys of one configuration. It does not change, but for what
// its key management services say.
type keyring struct {
	rules map[schema.GroupResource]value.Transformer
	kms   []*service
	hash  string
	// grace is how long requests to the services may last.
	grace time.Duration
	close context.CancelFunc
}

// of finds the rule about a resource: its own, its group's, everyone's; nil for none.
func (k *keyring) of(gr schema.GroupResource) value.Transformer {
	if t := k.rules[gr]; t != nil {
		return t
	}
	if t := k.rules[schema.GroupResource{Group: gr.Group, Resource: "*"}]; t != nil {
		return t
	}
	return k.rules[schema.GroupResource{Group: "*", Resource: "*"}]
}

// newKeyring makes the transformers. Connections to services last until ctx
// ends or the keyring is closed.
func newKeyring(ctx context.Context, c *apiserver.EncryptionConfiguration, hash, serverID string, rotated func()) (_ *keyring, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer func() {
		if err != nil {
			cancel()
		}
	}()
	k := &keyring{rules: map[schema.GroupResource]value.Transformer{}, hash: hash, close: cancel}
	lists := map[schema.GroupResource][]value.PrefixTransformer{}
	for _, rc := range c.Resources {
		var list []value.PrefixTransformer
		for i := range rc.Providers {
			t, err := k.provider(ctx, &rc.Providers[i], serverID, rotated)
			if err != nil {
				return nil, err
			}
			list = append(list, t)
		}
		for _, name := range rc.Resources {
			gr := schema.ParseGroupResource(name)
			for _, mask := range []schema.GroupResource{{Group: gr.Group, Resource: "*"}, {Group: "*", Resource: "*"}} {
				if _, ok := lists[mask]; ok {
					return nil, fmt.Errorf("resource %q is masked by earlier rule %q", ruleName(gr), ruleName(mask))
				}
			}
			lists[gr] = append(lists[gr], list...)
		}
	}
	for gr, list := range lists {
		k.rules[gr] = value.NewPrefixTransformers(errors.New("no matching prefix found"), list...)
	}
	return k, nil
}

func ruleName(gr schema.GroupResource) string {
	if gr.Group == "" && gr.Resource == "*" {
		return "*."
	}
	return gr.String()
}

func (k *keyring) provider(ctx context.Context, p *apiserver.ProviderConfiguration, serverID string, rotated func()) (value.PrefixTransformer, error) {
	switch {
	case p.AESGCM != nil:
		return keyed(prefixGCM, "AES", p.AESGCM.Keys, func(key []byte) (value.Transformer, error) {
			return blockCipher(key, aestransformer.NewGCMTransformer)
		})
	case p.AESCBC != nil:
		return keyed(prefixCBC, "AES", p.AESCBC.Keys, func(key []byte) (value.Transformer, error) {
			return blockCipher(key, func(b cipher.Block) (value.Transformer, error) { return aestransformer.NewCBCTransformer(b), nil })
		})
	case p.Secretbox != nil:
		return keyed(prefixSecretbox, "Secretbox", p.Secretbox.Keys, func(key []byte) (value.Transformer, error) {
			if len(key) != 32 {
				return nil, fmt.Errorf("expected key size 32 for secretbox provider, got %d", len(key))
			}
			return secretbox.NewSecretboxTransformer([32]byte(key)), nil
		})
	case p.KMS != nil:
		if p.KMS.APIVersion == "v1" {
			return value.PrefixTransformer{}, errors.New("KMSv1 is deprecated and is not served; use KMSv2 instead: apiVersion: v2")
		}
		s, err := newService(ctx, p.KMS.Name, p.KMS.Endpoint, p.KMS.Timeout.Duration, rotated)
		if err != nil {
			return value.PrefixTransformer{}, fmt.Errorf("could not configure KMSv2-Plugin's probe %q, error: %w", p.KMS.Name, err)
		}
		k.kms = append(k.kms, s)
		k.grace += 2 * p.KMS.Timeout.Duration
		return value.PrefixTransformer{Transformer: s.transformer(serverID), Prefix: []byte(prefixKMSv2 + p.KMS.Name + ":")}, nil
	case p.Identity != nil:
		return value.PrefixTransformer{Transformer: identity.NewEncryptCheckTransformer(), Prefix: []byte{}}, nil
	}
	return value.PrefixTransformer{}, errors.New("provider does not contain any of the expected providers: KMS, AESGCM, AESCBC, Secretbox, Identity")
}

func blockCipher(key []byte, mode func(cipher.Block) (value.Transformer, error)) (value.Transformer, error) {
	b, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return mode(b)
}

// keyed is a provider with named keys, of which the first writes.
func keyed(prefix, what string, keys []apiserver.Key, cipherOf func([]byte) (value.Transformer, error)) (value.PrefixTransformer, error) {
	var list []value.PrefixTransformer
	for _, key := range keys {
		secret, err := base64.StdEncoding.DecodeString(key.Secret)
		if err != nil {
			return value.PrefixTransformer{}, fmt.Errorf("could not obtain secret for named key %s: %w", key.Name, err)
		}
		t, err := cipherOf(secret)
		if err != nil {
			return value.PrefixTransformer{}, fmt.Errorf("error while creating cipher for named key %s: %w", key.Name, err)
		}
		list = append(list, value.PrefixTransformer{Transformer: t, Prefix: []byte(key.Name + ":")})
	}
	if len(list) == 0 {
		return value.PrefixTransformer{}, fmt.Errorf("the %s provider has no keys", what)
	}
	return value.PrefixTransformer{
		Transformer: value.NewPrefixTransformers(fmt.Errorf("no matching key was found for the provided %s transformer", what), list...),
		Prefix:      []byte(prefix),
	}, nil
}
