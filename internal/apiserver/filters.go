package apiserver

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"runtime/debug"
	"slices"
	"strconv"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"github.com/monohull/monohull/internal/audit"
	"github.com/monohull/monohull/internal/auth"
)

// authenticate finds the sender.
func (s *Server) authenticate(req *http.Request) (user.Info, error) {
	res, err := s.Authenticator.Authenticate(req)
	if err != nil {
		return nil, apierrors.NewUnauthorized("Unauthorized")
	}
	return res.User, nil
}

// impersonate finds whom the sender speaks for: itself, if it says nothing else.
func (s *Server) impersonate(w *recorder, req *http.Request, info *requestInfo, sender user.Info) (user.Info, error) {
	wanted, err := auth.Impersonation(req.Header)
	if err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	if wanted == nil {
		return sender, nil
	}
	u, constraint, err := s.impersonator.Impersonate(req.Context(), wanted, info.attributes(sender))
	if err != nil {
		return nil, err
	}
	w.record.Impersonate(u, constraint)
	auth.ClearImpersonation(req.Header)
	return u, nil
}

// attributes describe the request to the authorizer.
func (r *requestInfo) attributes(u user.Info) authorizer.AttributesRecord {
	a := authorizer.AttributesRecord{
		User: u, Verb: r.verb, Namespace: r.namespace, APIGroup: r.gv.Group, APIVersion: r.gv.Version, Resource: r.plural,
		Subresource: r.subresource, Name: r.name, ResourceRequest: r.resource, Path: r.path,
	}
	if r.query != nil && (r.verb == "list" || r.verb == "watch" || r.verb == "deletecollection") {
		if v := r.query.Get("fieldSelector"); v != "" {
			if sel, err := fields.ParseSelector(v); err == nil {
				a.FieldSelectorRequirements = sel.Requirements()
			} else {
				a.FieldSelectorParsingErr = err
			}
		}
		if v := r.query.Get("labelSelector"); v != "" {
			if sel, err := labels.Parse(v); err == nil {
				a.LabelSelectorRequirements, _ = sel.Requirements()
			} else {
				a.LabelSelectorParsingErr = err
			}
		}
	}
	return a
}

// statusOf is the Status of any error.
func statusOf(err error) metav1.Status {
	var st apierrors.APIStatus
	if errors.As(err, &st) {
		s := st.Status()
		s.TypeMeta = metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}
		return s
	}
	return metav1.Status{
		TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"},
		Status:   metav1.StatusFailure, Code: http.StatusInternalServerError, Reason: metav1.StatusReasonInternalError,
		Message: "Internal error occurred: " + err.Error(),
		Details: &metav1.StatusDetails{Causes: []metav1.StatusCause{{Message: err.Error()}}},
	}
}

// fail answers with an error.
func (s *Server) fail(w http.ResponseWriter, req *http.Request, err error) {
	st := statusOf(err)
	v, ok := negotiate(req, req.URL.Query().Get, false)
	if !ok {
		v = view{media: typeJSON}
	}
	if d := st.Details; d != nil && d.RetryAfterSeconds > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(d.RetryAfterSeconds)))
	}
	if st.Code == http.StatusUnauthorized && req.Header.Get("Authorization") != "" {
		w.Header().Set("WWW-Authenticate", `Bearer realm="kubernetes"`)
	}
	body, encErr := objectBytes(&st, st.GroupVersionKind(), v.media)
	if encErr != nil {
		http.Error(w, encErr.Error(), http.StatusInternalServerError)
		return
	}
	respond(w, v, int(st.Code), body)
}

// Bounds on the warnings of one answer, in characters: from the first on they are
// cut, from the second on left out.
const (
	fullWarnings = 4 << 10
	allWarnings  = 8 << 10
	cutWarning   = 256
)

// warn sends a message for the user in a Warning header, once.
func warn(w http.ResponseWriter, msg string) {
	header := w.Header()
	total := 0
	for _, h := range header["Warning"] {
		total += len(h)
	}
	if total > allWarnings {
		return
	}
	if r := []rune(msg); total+len(msg) > fullWarnings && len(r) > cutWarning {
		msg = string(r[:cutWarning])
	}
	line := "299 - " + strconv.Quote(msg)
	if !slices.Contains(header["Warning"], line) {
		header.Add("Warning", line)
	}
}

func (s *Server) respondJSON(w http.ResponseWriter, req *http.Request, code int, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		s.fail(w, req, err)
		return
	}
	respond(w, view{media: typeJSON, pretty: wantsPretty(req, req.URL.Query().Get)}, code, body)
}

func stack() string { return string(debug.Stack()) }

// recorder remembers the status code that was sent, and what the audit log
// wants to know.
type recorder struct {
	http.ResponseWriter
	code  int
	begun func() // of a watch that has sent what there was at its beginning

	record  *audit.Record // nil where nothing is written down
	long    bool          // a long-running request
	keepAll bool
	sent    *heard
	answer  *bytes.Buffer
}

func (r *recorder) status(code int) {
	if r.code == 0 {
		r.code = code
		r.keep(code)
	}
}

func (r *recorder) start() {
	if r.begun != nil {
		r.begun()
		r.begun = nil
	}
}

func (r *recorder) WriteHeader(code int) {
	r.status(code)
	r.ResponseWriter.WriteHeader(code)
}

func (r *recorder) Write(b []byte) (int, error) {
	r.status(http.StatusOK)
	if r.answer != nil && r.answer.Len() <= maxAuditBody {
		r.answer.Write(b)
	}
	return r.ResponseWriter.Write(b)
}

// Flush implements http.Flusher.
func (r *recorder) Flush() {
	r.start()
	r.ResponseWriter.(http.Flusher).Flush()
}

// Hijack implements http.Hijacker, for the protocols that exec switches to.
func (r *recorder) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	h, ok := r.ResponseWriter.(http.Hijacker)
	if !ok {
		return nil, nil, errors.New("apiserver: the connection cannot switch protocols")
	}
	r.start()
	r.status(http.StatusSwitchingProtocols)
	return h.Hijack()
}

// Unwrap serves http.ResponseController.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }
