package openapi

import (
	"crypto/sha512"
	"fmt"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	jsonType      = "application/json"
	protoTypeV2   = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
	protoTypeV3   = "application/com.github.proto-openapi.spec.v3.v1.0+protobuf"
	oldProtoStart = "application/com.github.proto-openapi.spec."
)

// ServeHTTP serves /openapi/v2, /openapi/v3 and what is below it.
func (d *Documents) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if req.Method != http.MethodGet && req.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "405 method not allowed", http.StatusMethodNotAllowed)
		return
	}
	path := strings.TrimSuffix(req.URL.Path, "/")
	name, below := strings.CutPrefix(path, "/openapi/v3/")
	switch {
	case path == "/openapi/v2":
		d.serve(w, req, "", protoTypeV2)
	case path == "/openapi/v3":
		d.serveIndex(w, req)
	case below && slices.Contains(d.Paths(), name):
		d.serve(w, req, name, protoTypeV3)
	default:
		http.NotFound(w, req)
	}
}

func (d *Documents) serveIndex(w http.ResponseWriter, req *http.Request) {
	body, err := d.Index()
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	etag := strconv.Quote(fmt.Sprintf("%X", sha512.Sum512(body)))
	w.Header().Set("Etag", etag)
	w.Header().Set("Content-Type", jsonType)
	if matches(req, etag) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	send(w, req, body)
}

func (d *Documents) serve(w http.ResponseWriter, req *http.Request, path, protoType string) {
	w.Header().Add("Vary", "Accept")
	w.Header().Add("Vary", "Accept-Encoding")
	contentType := negotiate(req.Header.Values("Accept"), protoType)
	if contentType == "" {
		w.WriteHeader(http.StatusNotAcceptable)
		return
	}
	doc, err := d.get(path, contentType != jsonType)
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	if hash := req.URL.Query().Get("hash"); hash != "" && path != "" {
		if hash != doc.etag {
			http.Redirect(w, req, address(path, doc.etag), http.StatusMovedPermanently)
			return
		}
		// What has this hash never changes.
		w.Header().Set("Cache-Control", "public, immutable")
		w.Header().Set("Expires", time.Now().AddDate(1, 0, 0).UTC().Format(http.TimeFormat))
	}
	etag := strconv.Quote(doc.etag)
	w.Header().Set("Etag", etag)
	w.Header().Set("Content-Type", contentType)
	if matches(req, etag) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	if acceptsGzip(req) {
		w.Header().Set("Content-Encoding", "gzip")
		send(w, req, doc.packed)
		return
	}
	send(w, req, doc.body())
}

func send(w http.ResponseWriter, req *http.Request, body []byte) {
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	if req.Method != http.MethodHead {
		w.Write(body)
	}
}

func matches(req *http.Request, etag string) bool {
	for value := range strings.SplitSeq(req.Header.Get("If-None-Match"), ",") {
		value = strings.TrimPrefix(strings.TrimSpace(value), "W/")
		if value == etag || value == "*" {
			return true
		}
	}
	return false
}

func acceptsGzip(req *http.Request) bool {
	for value := range strings.SplitSeq(req.Header.Get("Accept-Encoding"), ",") {
		name, params, err := mime.ParseMediaType(strings.TrimSpace(value))
		if err == nil && (name == "gzip" || name == "*") {
			return params["q"] != "0"
		}
	}
	return false
}

// negotiate chooses JSON or protobuf, the best of what the client accepts and
// the first where it likes several as much; "" where it accepts neither.
// Clients also ask by a spelling of the protobuf type with an @ in it, which is
// no media type and has to be compared as text.
func negotiate(accept []string, protoType string) string {
	best, bestQuality := "", 0.0
	any := true
	for _, line := range accept {
		for clause := range strings.SplitSeq(line, ",") {
			name, quality := clauseOf(clause)
			if name == "" {
				continue
			}
			any = false
			var offer string
			switch {
			case name == jsonType || name == "application/*" || name == "*/*":
				offer = jsonType
			case strings.HasPrefix(name, oldProtoStart) && strings.ReplaceAll(name, "@", ".") == protoType:
				offer = protoType
			}
			if offer != "" && quality > bestQuality {
				best, bestQuality = offer, quality
			}
		}
	}
	if any {
		return jsonType
	}
	return best
}

func clauseOf(clause string) (name string, quality float64) {
	name, params, _ := strings.Cut(clause, ";")
	quality = 1
	for p := range strings.SplitSeq(params, ";") {
		if q, ok := strings.CutPrefix(strings.TrimSpace(p), "q="); ok {
			if v, err := strconv.ParseFloat(q, 64); err == nil {
				quality = v
			}
		}
	}
	return strings.TrimSpace(name), quality
}
