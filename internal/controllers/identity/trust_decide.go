package identity

import (
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"slices"
	"time"
)

// trustGrace is how long after its end a certificate is still published, for clocks that are behind.
const trustGrace = 5 * time.Minute

// Trust is how extension API servers know whom the API server vouches for.
type Trust struct {
	ClientCA []byte // PEM: of ordinary clients
	// ProxyCA signs the API server's own certificate towards them; the rest is how it says for whom it asks. Without it
	// nothing of it is published.
	ProxyCA                         []byte
	ProxyNames                      []string
	User, UID, Group, ExtraPrefixes []string
}

// trustData joins what is published with what this server knows, so that servers with different authorities do not
// undo each other's work.
func trustData(have map[string]string, trust Trust, now time.Time) (map[string]string, error) {
	out := map[string]string{}
	var err error
	bundle := func(key string, own []byte) bool {
		var text string
		if text, err = joinBundles(now, []byte(have[key]), own); err == nil && text != "" {
			out[key] = text
		}
		return err == nil && text != ""
	}
	if bundle("client-ca-file", trust.ClientCA); err != nil {
		return nil, fmt.Errorf("join the client authorities: %w", err)
	}
	if !bundle("requestheader-client-ca-file", trust.ProxyCA) {
		if err != nil {
			return nil, fmt.Errorf("join the authorities of front proxies: %w", err)
		}
		return out, nil
	}
	for _, list := range []struct {
		key      string
		own      []string
		optional bool
	}{
		{"requestheader-username-headers", trust.User, false},
		{"requestheader-uid-headers", trust.UID, true},
		{"requestheader-group-headers", trust.Group, false},
		{"requestheader-extra-headers-prefix", trust.ExtraPrefixes, false},
		{"requestheader-allowed-names", trust.ProxyNames, false},
	} {
		var all []string
		if text := have[list.key]; text != "" {
			if err := json.Unmarshal([]byte(text), &all); err != nil {
				return nil, fmt.Errorf("read %s: %w", list.key, err)
			}
		}
		joined := []string{}
		for _, item := range append(all, list.own...) {
			if !slices.Contains(joined, item) {
				joined = append(joined, item)
			}
		}
		if len(joined) == 0 && list.optional {
			continue
		}
		text, err := json.Marshal(joined)
		if err != nil {
			return nil, fmt.Errorf("write %s: %w", list.key, err)
		}
		out[list.key] = string(text)
	}
	return out, nil
}

// joinBundles gives each certificate once, without those that have expired.
func joinBundles(now time.Time, bundles ...[]byte) (string, error) {
	var out []byte
	seen := map[string]bool{}
	for _, rest := range bundles {
		for {
			var block *pem.Block
			if block, rest = pem.Decode(rest); block == nil {
				break
			}
			if block.Type != "CERTIFICATE" || seen[string(block.Bytes)] {
				continue
			}
			seen[string(block.Bytes)] = true
			cert, err := x509.ParseCertificate(block.Bytes)
			if err != nil {
				return "", err
			}
			if cert.NotAfter.After(now.Add(-trustGrace)) {
				out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: block.Bytes})...)
			}
		}
	}
	return string(out), nil
}
