package apiserver

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"mime"
	"net/http"

	"github.com/klauspost/compress/gzip"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/yaml"

	"github.com/monohull/monohull/internal/audit"
)

// maxAuditBody bounds the answers that are written down; larger ones are left out.
const maxAuditBody = 16 << 20

// noting writes down what an authorizer says.
type noting struct {
	authorizer.Authorizer
	record *audit.Record
}

// Authorize implements authorizer.Authorizer.
func (n noting) Authorize(ctx context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
	decision, reason, err := n.Authorizer.Authorize(ctx, a)
	switch {
	case decision == authorizer.DecisionAllow:
		n.record.Annotate("authorization.k8s.io/decision", "allow")
	case err != nil:
		reason = "internal error"
	default:
		n.record.Annotate("authorization.k8s.io/decision", "forbid")
	}
	n.record.Annotate("authorization.k8s.io/reason", reason)
	return decision, reason, err
}

// heard is a body that is kept as it is read.
type heard struct {
	io.ReadCloser
	kept bytes.Buffer
}

func (h *heard) Read(p []byte) (int, error) {
	n, err := h.ReadCloser.Read(p)
	if h.kept.Len()+n <= maxBodyBytes {
		h.kept.Write(p[:n])
	}
	return n, err
}

// listen keeps what a record may need: the body that is sent and, by the
// policy's level, what is answered.
func (w *recorder) listen(req *http.Request, info *requestInfo) {
	w.long = info.longRunning()
	if w.record.Level() == audit.None || w.long || !info.resource {
		return
	}
	w.keepAll = w.record.Level() >= audit.RequestResponse
	switch info.verb {
	case "create", "update", "patch", "delete", "deletecollection":
		if req.Body != nil && req.Body != http.NoBody {
			w.sent = &heard{ReadCloser: req.Body}
			req.Body = w.sent
		}
	}
}

// keep notes the status code, and keeps the answer if it is to be written down.
func (w *recorder) keep(code int) {
	if w.record == nil {
		return
	}
	w.record.Status(code, w.long)
	if w.record.Level() > audit.None && !w.long && (w.keepAll || code >= http.StatusBadRequest) {
		w.answer = &bytes.Buffer{}
	}
}

// complete ends the request's event.
func (w *recorder) complete(req *http.Request, info *requestInfo) {
	if w.record == nil {
		return
	}
	if w.sent != nil {
		patch := info.verb == "patch"
		w.record.Sent(auditObject(req.Header.Get("Content-Type"), "", w.sent.kept.Bytes()), patch)
	}
	if w.answer != nil && w.answer.Len() <= maxAuditBody {
		w.record.Answered(auditObject(w.Header().Get("Content-Type"), w.Header().Get("Content-Encoding"), w.answer.Bytes()))
	}
	w.record.Complete(w.long)
}

// auditObject is a body as JSON; nil if it is none.
func auditObject(contentType, encoding string, body []byte) []byte {
	if encoding == "gzip" {
		r, err := gzip.NewReader(bytes.NewReader(body))
		if err != nil {
			return nil
		}
		if body, err = io.ReadAll(io.LimitReader(r, maxAuditBody)); err != nil {
			return nil
		}
	}
	media, _, err := mime.ParseMediaType(contentType)
	if err != nil {
		media = typeJSON
	}
	switch media {
	case typeProtobuf:
		obj, _, err := scheme.Codecs.UniversalDeserializer().Decode(body, nil, nil)
		if err != nil {
			return nil
		}
		if body, err = json.Marshal(obj); err != nil {
			return nil
		}
	case typeYAML, "application/apply-patch+yaml":
		if expandsTooFar(body) != nil {
			return nil
		}
		if body, err = yaml.YAMLToJSON(body); err != nil {
			return nil
		}
	}
	if !json.Valid(body) {
		return nil
	}
	return body
}
