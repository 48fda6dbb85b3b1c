package apiserver

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apiserver/pkg/authentication/user"

	"github.com/monohull/monohull/internal/fairness"
)

// drainTimeout is how long the rest of a body that nobody wants may take, so
// that the connection can be used again.
const drainTimeout = 2 * time.Second

// longRunning tells whether a request lasts as long as its client likes: it has
// no deadline and is not counted among those that are served.
func (r *requestInfo) longRunning() bool {
	if !r.resource {
		return strings.HasPrefix(r.path, "/debug/pprof/")
	}
	switch r.subresource {
	case "attach", "exec", "proxy", "log", "portforward":
		return true
	}
	return r.verb == "watch" || r.verb == "proxy"
}

// deadline bounds a request by the server's timeout, or by its own where that
// is shorter.
func (s *Server) deadline(ctx context.Context, info *requestInfo) (context.Context, context.CancelFunc, error) {
	if info.longRunning() {
		return ctx, func() {}, nil
	}
	limit := s.RequestTimeout
	if v := info.query.Get("timeout"); v != "" {
		d, err := time.ParseDuration(v)
		if err != nil {
			return ctx, func() {}, apierrors.NewBadRequest(fmt.Sprintf("invalid timeout specified in the request URL - %v", err))
		}
		if d > 0 && d < limit {
			limit = d
		}
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	return ctx, cancel, nil
}

// timely is the error that a client is told: where its time is up, that.
func timely(ctx context.Context, err error) error {
	if ctx.Err() == context.DeadlineExceeded {
		return timedOut()
	}
	return err
}

func timedOut() error {
	return apierrors.NewTimeoutError("request did not complete within the allotted timeout", 0)
}

// boundedBody is a body that has to come within a time: a client that sends it
// a byte at a time cannot hold what it has been given.
type boundedBody struct {
	io.ReadCloser
	control *http.ResponseController
	ended   bool
}

// boundBody gives a request's body until the deadline to come. The function it
// returns ends that.
func boundBody(w http.ResponseWriter, req *http.Request, info *requestInfo, limit time.Duration) func() {
	if req.Body == nil || req.Body == http.NoBody || info.longRunning() {
		return func() {}
	}
	b := &boundedBody{ReadCloser: req.Body, control: http.NewResponseController(w)}
	if b.control.SetReadDeadline(time.Now().Add(limit)) != nil {
		return func() {} // a connection that has no deadlines
	}
	req.Body = b
	return func() {
		if !b.ended {
			_ = b.control.SetReadDeadline(time.Now().Add(drainTimeout))
		}
	}
}

// Read ends the deadline with the body: what comes after it on the connection
// is none of its business.
func (b *boundedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err == io.EOF && !b.ended {
		b.ended = true
		_ = b.control.SetReadDeadline(time.Time{})
	}
	return n, err
}

// admitted waits until the request may be served. What it returns ends that;
// false if it was refused, and answered.
func (s *Server) admitted(w *recorder, req *http.Request, info *requestInfo, u user.Info) (end func(), ok bool) {
	if s.Fairness == nil && s.Inflight == nil || info.longRunning() && info.verb != "watch" {
		return func() {}, true
	}
	r := fairness.Request{
		User: u, Verb: info.verb, Path: info.path, Resource: info.resource, Group: info.gv.Group, Version: info.gv.Version,
		Plural: info.plural, Subresource: info.subresource, Namespace: info.namespace, Name: info.name, Query: info.query,
	}
	if s.Fairness == nil {
		if info.verb == "watch" {
			return func() {}, true
		}
		if end, ok = s.Inflight.Begin(&r); !ok {
			tooMany(w, 1)
		}
		return end, ok
	}
	t, ok := s.Fairness.Begin(req.Context(), &r)
	t.Mark(w.Header())
	if !ok {
		tooMany(w, s.Fairness.RetryAfter(t))
		return func() {}, false
	}
	if info.verb == "watch" {
		// its seats are for its beginning, up to the first flush
		w.begun = func() { s.Fairness.End(t) }
	}
	return func() {
		s.Fairness.End(t)
		s.Fairness.Forget(t)
	}, true
}

// tooMany refuses a request in upstream's words.
func tooMany(w http.ResponseWriter, after int) {
	w.Header().Set("Retry-After", strconv.Itoa(after))
	http.Error(w, "Too many requests, please try again later.", http.StatusTooManyRequests)
}

// farewell asks some HTTP/2 clients to connect anew, so that connections spread
// over the servers behind a load balancer.
func (s *Server) farewell(w http.ResponseWriter, req *http.Request) {
	if s.GoawayChance > 0 && req.ProtoMajor == 2 && rand.Float64() < s.GoawayChance {
		w.Header().Set("Connection", "close")
	}
}
