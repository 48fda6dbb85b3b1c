package issuers

import (
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/token/cache"
	webhookutil "k8s.io/apiserver/pkg/util/webhook"
	"k8s.io/apiserver/plugin/pkg/authenticator/token/webhook"
)

// Webhook says whom to ask about tokens that nobody here knows.
type Webhook struct {
	File     string        // --authentication-token-webhook-config-file: a kubeconfig
	Version  string        // --authentication-token-webhook-version; empty: v1beta1
	CacheTTL time.Duration // --authentication-token-webhook-cache-ttl; how long answers count
	// Audiences are the API server's own, for webhooks that know nothing of audiences.
	Audiences []string
}

// DefaultWebhookTTL is the flag's default.
const DefaultWebhookTTL = 2 * time.Minute

// webhookTries bounds how often a webhook that fails is asked about one token.
const webhookTries = 5

// WebhookTokens asks the webhook by TokenReview, and remembers what it says.
func WebhookTokens(w Webhook) (authenticator.Token, error) {
	if w.Version == "" {
		w.Version = "v1beta1"
	}
	conf, err := webhookutil.LoadKubeconfig(w.File, nil)
	if err != nil {
		return nil, fmt.Errorf("read --authentication-token-webhook-config-file: %w", err)
	}
	backoff := wait.Backoff{Duration: 500 * time.Millisecond, Factor: 1.5, Jitter: 0.2, Steps: webhookTries}
	tokens, err := webhook.New(conf, w.Version, w.Audiences, backoff)
	if err != nil {
		return nil, fmt.Errorf("make webhook token authenticator: %w", err)
	}
	return cache.New(tokens, false, w.CacheTTL, w.CacheTTL), nil
}
