package auth

import (
	"context"
	"crypto"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4/jwt"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/serviceaccount"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/warning"
)

const (
	// InvalidSinceLabel on the Secret of a token says that it was not used for long and does not count any more.
	InvalidSinceLabel = "kubernetes.io/legacy-token-invalid-since"
	// LastUsedLabel is the date a token was last used on.
	LastUsedLabel = "kubernetes.io/legacy-token-last-used"
	// TrackingDate is how the two are written.
	TrackingDate = time.DateOnly

	// tokenCacheEntries bounds each of the two halves of the cache of verified tokens.
	tokenCacheEntries = 8192
)

// tokenVerifier knows service account tokens, the bound and the legacy kind.
type tokenVerifier struct {
	issuers   []string
	audiences authenticator.Audiences
	keys      []publicKey
	lookup    Lookup
	now       func() time.Time
	usedToken func(context.Context, *corev1.Secret)
	annotate  func(ctx context.Context, key, value string)
	verified  *bounded[[sha256.Size]byte, *verifiedToken]
}

// verifiedToken is a token whose signature and issuer are good, which never changes. Its dates and the objects
// it names are looked at each time.
type verifiedToken struct {
	claims tokenClaims
	legacy bool
	user   user.Info
}

// verify gives nil and no error for what is not a service account token of ours.
func (v *tokenVerifier) verify(ctx context.Context, token string) (*authenticator.Response, error) {
	key := sha256.Sum256([]byte(token))
	known, ok := v.verified.get(key)
	if !ok {
		var err error
		if known, err = v.checkSignature(token); known == nil {
			return nil, err
		}
		v.verified.put(key, known)
	}
	audiences, err := v.intersect(ctx, known.claims.Audience)
	if err != nil {
		return nil, err
	}
	if known.legacy {
		err = v.checkLegacy(ctx, token, &known.claims)
	} else {
		err = v.checkBound(ctx, &known.claims)
	}
	if err != nil {
		return nil, err
	}
	return &authenticator.Response{User: known.user, Audiences: audiences}, nil
}

func (v *tokenVerifier) checkSignature(token string) (*verifiedToken, error) {
	issuer, ok := unverifiedIssuer(token)
	if !ok || issuer != legacyIssuer && !has(v.issuers, issuer) {
		return nil, nil
	}
	parsed, err := jwt.ParseSigned(token, signingAlgorithms())
	if err != nil {
		return nil, nil
	}
	var kid string
	for _, header := range parsed.Headers {
		if header.KeyID != "" {
			kid = header.KeyID
			break
		}
	}
	var errs []error
	tried := false
	for _, key := range v.keys {
		if kid != "" && key.id != kid {
			continue
		}
		tried = true
		known := &verifiedToken{legacy: issuer == legacyIssuer}
		if err := parsed.Claims(crypto.PublicKey(key.key), &known.claims.Claims, &known.claims.privateClaims, &known.claims.legacyClaims); err != nil {
			errs = append(errs, err)
			continue
		}
		if known.claims.Issuer != issuer {
			return nil, fmt.Errorf("token issuer %q is invalid", known.claims.Issuer)
		}
		if known.legacy {
			if err := checkLegacyClaims(&known.claims); err != nil {
				return nil, err
			}
			c := &known.claims.legacyClaims
			known.user = authenticated(serviceaccount.UserInfo(c.Namespace, c.ServiceAccountName, c.ServiceAccountUID))
		} else {
			known.user = authenticated(known.claims.serviceAccountInfo().UserInfo())
		}
		return known, nil
	}
	if !tried {
		return nil, errors.New("invalid signature, no keys found")
	}
	return nil, utilerrors.NewAggregate(errs)
}

// unverifiedIssuer reads who a token claims to be from, to tell ours from those of other authenticators.
func unverifiedIssuer(token string) (string, bool) {
	_, rest, ok := strings.Cut(token, ".")
	payload, signature, ok2 := strings.Cut(rest, ".")
	if !ok || !ok2 || strings.Contains(signature, ".") {
		return "", false
	}
	raw, err := base64.RawURLEncoding.DecodeString(payload)
	if err != nil {
		return "", false
	}
	var claims struct {
		Issuer string `json:"iss"`
	}
	if err := json.Unmarshal(raw, &claims); err != nil {
		return "", false
	}
	return claims.Issuer, true
}

// intersect gives those audiences of the token that are asked for. Legacy tokens name none and are for the API server.
func (v *tokenVerifier) intersect(ctx context.Context, claimed jwt.Audience) (authenticator.Audiences, error) {
	audiences := authenticator.Audiences(claimed)
	if len(audiences) == 0 {
		audiences = v.audiences
	}
	wanted, ok := authenticator.AudiencesFrom(ctx)
	if !ok {
		wanted = v.audiences
	}
	both := audiences.Intersect(wanted)
	if len(both) == 0 && len(v.audiences) != 0 {
		return nil, fmt.Errorf("token audiences %q is invalid for the target audiences %q", audiences, wanted)
	}
	return both, nil
}

func (v *tokenVerifier) checkBound(ctx context.Context, c *tokenClaims) error {
	now := v.now()
	switch err := c.Validate(jwt.Expected{Time: now}); {
	case err == nil:
	case errors.Is(err, jwt.ErrExpired):
		return errors.New("service account token has expired")
	case errors.Is(err, jwt.ErrNotValidYet):
		return errors.New("service account token is not valid yet")
	case errors.Is(err, jwt.ErrIssuedInTheFuture):
		return errors.New("service account token is issued in the future")
	default:
		return fmt.Errorf("service account token claims could not be validated: %w", err)
	}
	// An object in deletion is good until its grace period is over, so that a pod can shut down properly.
	gone := func(deleted *metav1.Time) bool {
		return deleted != nil && deleted.Time.Before(now.Add(-jwt.DefaultLeeway))
	}
	invalidated := errors.New("service account token has been invalidated")
	k := &c.Kubernetes
	account := v.lookup.ServiceAccount(k.Namespace, k.ServiceAccount.Name)
	switch {
	case account == nil:
		return fmt.Errorf("serviceaccounts %q not found", k.ServiceAccount.Name)
	case string(account.UID) != k.ServiceAccount.UID:
		return fmt.Errorf("service account UID (%s) does not match claim (%s)", account.UID, k.ServiceAccount.UID)
	case gone(account.DeletionTimestamp):
		return fmt.Errorf("service account %s/%s has been deleted", k.Namespace, k.ServiceAccount.Name)
	}
	if ref := k.Secret; ref != nil {
		secret := v.lookup.Secret(k.Namespace, ref.Name)
		switch {
		case secret == nil:
			return invalidated
		case string(secret.UID) != ref.UID:
			return fmt.Errorf("secret UID (%s) does not match service account secret ref claim (%s)", secret.UID, ref.UID)
		case gone(secret.DeletionTimestamp):
			return invalidated
		}
	}
	if ref := k.Pod; ref != nil {
		pod := v.lookup.Pod(k.Namespace, ref.Name)
		switch {
		case pod == nil:
			return invalidated
		case string(pod.UID) != ref.UID:
			return fmt.Errorf("pod UID (%s) does not match service account pod ref claim (%s)", pod.UID, ref.UID)
		case gone(pod.DeletionTimestamp):
			return invalidated
		}
	} else if ref := k.Node; ref != nil { // the node of a pod's token only informs
		node := v.lookup.Node(ref.Name)
		switch {
		case node == nil:
			return invalidated
		case string(node.UID) != ref.UID:
			return fmt.Errorf("node UID (%s) does not match service account node ref claim (%s)", node.UID, ref.UID)
		case gone(node.DeletionTimestamp):
			return invalidated
		}
	}
	if k.WarnAfter != nil && *k.WarnAfter != 0 && now.After(k.WarnAfter.Time()) {
		v.annotate(ctx, "authentication.k8s.io/stale-token", fmt.Sprintf("subject: %s, seconds after warning threshold: %d",
			c.Subject, now.Unix()-k.WarnAfter.Time().Unix()))
	}
	return nil
}

func checkLegacyClaims(c *tokenClaims) error {
	l := &c.legacyClaims
	switch {
	case c.Subject == "":
		return errors.New("sub claim is missing")
	case l.Namespace == "":
		return errors.New("namespace claim is missing")
	case l.SecretName == "":
		return errors.New("secretName claim is missing")
	case l.ServiceAccountName == "":
		return errors.New("serviceAccountName claim is missing")
	case l.ServiceAccountUID == "":
		return errors.New("serviceAccountUID claim is missing")
	}
	namespace, name, err := serviceaccount.SplitUsername(c.Subject)
	if err != nil || namespace != l.Namespace || name != l.ServiceAccountName {
		return errors.New("sub claim is invalid")
	}
	return nil
}

func (v *tokenVerifier) checkLegacy(ctx context.Context, token string, c *tokenClaims) error {
	l := &c.legacyClaims
	secret := v.lookup.Secret(l.Namespace, l.SecretName)
	if secret == nil || secret.DeletionTimestamp != nil {
		return errors.New("Token has been invalidated")
	}
	if subtle.ConstantTimeCompare(secret.Data[corev1.ServiceAccountTokenKey], []byte(token)) == 0 {
		return errors.New("Token does not match server's copy")
	}
	account := v.lookup.ServiceAccount(l.Namespace, l.ServiceAccountName)
	switch {
	case account == nil:
		return fmt.Errorf("serviceaccounts %q not found", l.ServiceAccountName)
	case account.DeletionTimestamp != nil:
		return fmt.Errorf("ServiceAccount %s/%s has been deleted", l.Namespace, l.ServiceAccountName)
	case string(account.UID) != l.ServiceAccountUID:
		return fmt.Errorf("ServiceAccount UID (%s) does not match claim (%s)", account.UID, l.ServiceAccountUID)
	}
	if v.usedToken != nil {
		v.usedToken(ctx, secret)
	}
	if secret.Labels[InvalidSinceLabel] != "" {
		v.annotate(ctx, "authentication.k8s.io/legacy-token-invalidated", secret.Name+"/"+secret.Namespace)
		return fmt.Errorf("the token in secret %s/%s for service account %s/%s has been marked invalid. Use tokens from the TokenRequest API or manually created secret-based tokens, or remove the '%s' label from the secret to temporarily allow use of this token",
			l.Namespace, l.SecretName, l.Namespace, l.ServiceAccountName, InvalidSinceLabel)
	}
	// Of old, each account got such a token by itself and named it.
	for _, ref := range account.Secrets {
		if ref.Name == secret.Name {
			warning.AddWarning(ctx, "", "Use tokens from the TokenRequest API or manually created secret-based tokens instead of auto-generated secret-based tokens.")
			v.annotate(ctx, "authentication.k8s.io/legacy-token-autogenerated-secret", secret.Name)
			return nil
		}
	}
	v.annotate(ctx, "authentication.k8s.io/legacy-token-manual-secret", secret.Name)
	return nil
}

// UsedToday says whether the Secret's label should be brought to the date, and which: the server tells a tracker of
// each use, and one write a day is enough. Tomorrow's date is good too, for servers whose clocks differ.
func UsedToday(secret *corev1.Secret, now time.Time) (string, bool) {
	now = now.UTC()
	today, tomorrow := now.Format(TrackingDate), now.AddDate(0, 0, 1).Format(TrackingDate)
	used := secret.Labels[LastUsedLabel]
	return today, used != today && used != tomorrow
}
