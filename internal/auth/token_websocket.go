package auth

import (
	"encoding/base64"
	"errors"
	"net/http"
	"strings"
	"unicode/utf8"

	"k8s.io/apiserver/pkg/authentication/authenticator"
)

// A browser cannot set headers on a WebSocket, so the token may come as a subprotocol of this form.
const (
	websocketProtocols   = "Sec-Websocket-Protocol"
	websocketTokenPrefix = "base64url.bearer.authorization.k8s.io."
)

// websocketToken authenticates by such a subprotocol and takes it from the request.
func (a *Authenticator) websocketToken(req *http.Request) (*authenticator.Response, bool, error) {
	if len(req.Header[websocketProtocols]) == 0 || !isWebSocket(req) {
		return nil, false, nil
	}
	var token string
	var others []string
	seen := false
	for _, line := range req.Header[websocketProtocols] {
		for protocol := range strings.SplitSeq(line, ",") {
			protocol = strings.TrimSpace(protocol)
			encoded, found := strings.CutPrefix(protocol, websocketTokenPrefix)
			if !found {
				others = append(others, protocol)
				continue
			}
			if seen {
				return nil, false, errors.New("multiple base64.bearer.authorization tokens specified")
			}
			seen = true
			decoded, err := base64.RawURLEncoding.DecodeString(encoded)
			if err != nil {
				return nil, false, errors.New("invalid base64.bearer.authorization token encoding")
			}
			if !utf8.Valid(decoded) {
				return nil, false, errors.New("invalid base64.bearer.authorization token")
			}
			token = string(decoded)
		}
	}
	if token == "" {
		return nil, false, nil
	}
	// One must remain for the answer to name.
	if len(others) == 0 {
		return nil, false, errors.New("missing additional subprotocol")
	}
	resp, ok, err := a.AuthenticateToken(req.Context(), token)
	if ok {
		req.Header.Set(websocketProtocols, strings.Join(others, ","))
	} else if err == nil {
		err = errors.New("invalid bearer token")
	}
	return resp, ok, err
}

func isWebSocket(req *http.Request) bool {
	if !strings.EqualFold(req.Header.Get("Upgrade"), "websocket") {
		return false
	}
	for _, line := range req.Header["Connection"] {
		for option := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(strings.TrimSpace(option), "upgrade") {
				return true
			}
		}
	}
	return false
}
