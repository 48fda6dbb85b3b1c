package identity

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	bootstrapType   = corev1.SecretTypeBootstrapToken
	bootstrapPrefix = "bootstrap-token-"
	bootstrapIDLen  = 6

	clusterInfoName     = "cluster-info"
	clusterInfoKey      = "kubeconfig"
	signaturePrefix     = "jws-kubeconfig-"
	clusterInfoNS       = metav1.NamespacePublic
	bootstrapTokensHome = metav1.NamespaceSystem
)

// remaining is how long a bootstrap token is good for; zero means for ever. What cannot be read as a time has passed.
func remaining(secret *corev1.Secret, now time.Time) (left time.Duration, expired bool) {
	text := string(secret.Data["expiration"])
	if text == "" {
		return 0, false
	}
	until, err := time.Parse(time.RFC3339, text)
	if err != nil || !now.Before(until) {
		return 0, true
	}
	return until.Sub(now), false
}

// signingToken is the id and the secret part of a token that cluster-info may be signed with.
func signingToken(secret *corev1.Secret, now time.Time) (id, key string, ok bool) {
	name, isToken := strings.CutPrefix(secret.Name, bootstrapPrefix)
	if !isToken || len(name) != bootstrapIDLen || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789") != "" {
		return "", "", false
	}
	id, key = string(secret.Data["token-id"]), string(secret.Data["token-secret"])
	_, expired := remaining(secret, now)
	return id, key, id == name && key != "" && !expired && string(secret.Data["usage-bootstrap-signing"]) == "true"
}

// signed is what cluster-info should hold: what it says, and for each token a signature that whoever knows the token can
// check before trusting it. Without anything to sign there is nothing to do.
func signed(data map[string]string, tokens []*corev1.Secret, now time.Time) (map[string]string, error) {
	content, ok := data[clusterInfoKey]
	if !ok {
		return data, nil
	}
	out := map[string]string{}
	for key, value := range data {
		if !strings.HasPrefix(key, signaturePrefix) {
			out[key] = value
		}
	}
	for _, token := range tokens {
		id, key, ok := signingToken(token, now)
		if !ok {
			continue
		}
		signature, err := sign(content, id, key)
		if err != nil {
			return nil, err
		}
		out[signaturePrefix+id] = signature
	}
	if maps.Equal(out, data) {
		return data, nil
	}
	return out, nil
}

// sign makes a JWS (RFC 7515, HS256) without its content, which is beside it.
func sign(content, id, key string) (string, error) {
	header, err := json.Marshal(struct {
		Algorithm string `json:"alg"`
		KeyID     string `json:"kid"`
	}{"HS256", id})
	if err != nil {
		return "", fmt.Errorf("signing with bootstrap token %s: %w", id, err)
	}
	encode := base64.RawURLEncoding.EncodeToString
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write([]byte(encode(header) + "." + encode([]byte(content))))
	return encode(header) + ".." + encode(mac.Sum(nil)), nil
}
