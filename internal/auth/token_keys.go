package auth

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"

	jose "github.com/go-jose/go-jose/v4"
)

// Paths of the documents that let others verify our service account tokens.
const (
	DiscoveryPath = "/.well-known/openid-configuration"
	KeysPath      = "/openid/v1/jwks"
	// DiscoveryMaxAgeSeconds is how long clients may keep either document.
	DiscoveryMaxAgeSeconds = 3600
)

// signingAlgorithms are those a service account token may be signed with.
func signingAlgorithms() []jose.SignatureAlgorithm {
	return []jose.SignatureAlgorithm{jose.RS256, jose.ES256, jose.ES384, jose.ES512}
}

// publicKey is a key that verifies tokens, under the name tokens give it in their header.
type publicKey struct {
	id  string
	key crypto.PublicKey
}

// KeyID names a public key by a hash of it, from which the key cannot be had.
func KeyID(key crypto.PublicKey) (string, error) {
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return "", fmt.Errorf("encode public key to name it: %w", err)
	}
	sum := sha256.Sum256(der)
	return base64.RawURLEncoding.EncodeToString(sum[:]), nil
}

func namedKeys(keys []crypto.PublicKey) ([]publicKey, error) {
	out := make([]publicKey, 0, len(keys))
	for _, key := range keys {
		id, err := KeyID(key)
		if err != nil {
			return nil, err
		}
		out = append(out, publicKey{id, key})
	}
	return out, nil
}

func algorithmOf(key crypto.PublicKey) (jose.SignatureAlgorithm, error) {
	switch key := key.(type) {
	case *rsa.PublicKey:
		return jose.RS256, nil
	case *ecdsa.PublicKey:
		switch key.Curve {
		case elliptic.P256():
			return jose.ES256, nil
		case elliptic.P384():
			return jose.ES384, nil
		case elliptic.P521():
			return jose.ES512, nil
		}
		return "", fmt.Errorf("sign tokens with curve %s: only P-256, P-384 and P-521 are known", key.Curve.Params().Name)
	}
	return "", fmt.Errorf("sign tokens with a %T: only RSA and ECDSA keys are known", key)
}

func publicJWKs(keys []crypto.PublicKey) (*jose.JSONWebKeySet, error) {
	if len(keys) == 0 {
		return nil, errors.New("no keys provided for validating keyset")
	}
	named, err := namedKeys(keys)
	if err != nil {
		return nil, err
	}
	var set jose.JSONWebKeySet
	for _, key := range named {
		algorithm, err := algorithmOf(key.key)
		if err != nil {
			return nil, err
		}
		set.Keys = append(set.Keys, jose.JSONWebKey{Algorithm: string(algorithm), Key: key.key, KeyID: key.id, Use: "sig"})
	}
	return &set, nil
}

// KeySetJSON is the document at KeysPath.
func KeySetJSON(keys []crypto.PublicKey) ([]byte, error) {
	set, err := publicJWKs(keys)
	if err != nil {
		return nil, err
	}
	return json.Marshal(set)
}

// DiscoveryJSON is the document at DiscoveryPath. keysURL may be empty; then it is KeysPath at the external
// address (host:port).
func DiscoveryJSON(issuer, keysURL, externalAddress string, keys []crypto.PublicKey) ([]byte, error) {
	u, err := url.Parse(issuer)
	switch {
	case err != nil:
		return nil, fmt.Errorf("read issuer URL: %w", err)
	case u.Scheme != "https":
		return nil, fmt.Errorf("issuer URL must use https scheme, got: %s", issuer)
	case u.RawQuery != "":
		return nil, fmt.Errorf("issuer URL may not include a query, got: %s", issuer)
	case u.Fragment != "":
		return nil, fmt.Errorf("issuer URL may not include a fragment, got: %s", issuer)
	}
	if keysURL == "" {
		if externalAddress == "" {
			return nil, errors.New("either the JWKS URI or the default external address, or both, must be set")
		}
		keysURL = (&url.URL{Scheme: "https", Host: externalAddress, Path: KeysPath}).String()
	}
	if k, err := url.Parse(keysURL); err != nil {
		return nil, fmt.Errorf("read JWKS URI: %w", err)
	} else if k.Scheme != "https" {
		return nil, fmt.Errorf("jwksURI requires https scheme, parsed as: %v", k)
	}
	set, err := publicJWKs(keys)
	if err != nil {
		return nil, err
	}
	var algorithms []string
	for _, key := range set.Keys {
		algorithms = append(algorithms, key.Algorithm)
	}
	slices.Sort(algorithms)
	return json.Marshal(struct {
		Issuer        string   `json:"issuer"`
		JWKSURI       string   `json:"jwks_uri"`
		ResponseTypes []string `json:"response_types_supported"`
		SubjectTypes  []string `json:"subject_types_supported"`
		SigningAlgs   []string `json:"id_token_signing_alg_values_supported"`
	}{issuer, keysURL, []string{"id_token"}, []string{"public"}, slices.Compact(algorithms)})
}
