package audit

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// How a webhook is called, upstream's figures.
const (
	webhookTimeout  = 30 * time.Second
	webhookAttempts = 5
	webhookFactor   = 1.5
	webhookJitter   = 0.2
)

// WebhookConfig is what the webhook is told.
type WebhookConfig struct {
	SinkConfig
	ConfigFile     string // a kubeconfig whose server is the webhook
	InitialBackoff time.Duration
}

// webhook posts lists of events.
type webhook struct {
	url     string
	client  *http.Client
	backoff time.Duration
}

func openWebhook(c WebhookConfig) (sink, error) {
	rules := &clientcmd.ClientConfigLoadingRules{ExplicitPath: c.ConfigFile}
	conf, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{}).ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("initializing audit webhook: %w", err)
	}
	conf.Timeout = webhookTimeout
	client, err := rest.HTTPClientFor(conf)
	if err != nil {
		return nil, fmt.Errorf("initializing audit webhook: %w", err)
	}
	url, _, err := rest.DefaultServerUrlFor(conf)
	if err != nil {
		return nil, fmt.Errorf("initializing audit webhook: %w", err)
	}
	return &webhook{url: url.String(), client: client, backoff: c.InitialBackoff}, nil
}

func (w *webhook) write(ctx context.Context, events []encoded) error {
	var body bytes.Buffer
	body.WriteString(`{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{},"items":[`)
	for i, e := range events {
		if i > 0 {
			body.WriteByte(',')
		}
		body.Write(e)
	}
	body.WriteString("]}\n")
	wait := w.backoff
	for try := 1; ; try++ {
		err := w.post(ctx, body.Bytes())
		if err == nil || try == webhookAttempts {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(wait + time.Duration(rand.Float64()*webhookJitter*float64(wait))):
		}
		wait = time.Duration(float64(wait) * webhookFactor)
	}
}

func (w *webhook) post(ctx context.Context, body []byte) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.url, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("calling the audit webhook: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json, */*")
	res, err := w.client.Do(req)
	if err != nil {
		return fmt.Errorf("calling the audit webhook: %w", err)
	}
	defer res.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, 64<<10)) // so that the connection can be used again
	if res.StatusCode/100 != 2 {
		return fmt.Errorf("calling the audit webhook: it answers %s", res.Status)
	}
	return nil
}

func (w *webhook) close() error {
	w.client.CloseIdleConnections()
	return nil
}
