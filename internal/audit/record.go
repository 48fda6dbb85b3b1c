package audit

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	auditinternal "k8s.io/apiserver/pkg/apis/audit"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
)

// Header is where a request's ID stands: in the request, if the sender chose
// one, and in the answer.
const Header = "Audit-Id"

const (
	maxUserAgent = 1024
	// maxAnnotations bounds what may be added to an event.
	maxAnnotations = 64
)

// NewID makes a request's ID. It need not be a secret.
func NewID() string {
	var raw [16]byte
	a, b := rand.Uint64(), rand.Uint64()
	for i := range 8 {
		raw[i], raw[8+i] = byte(a>>(8*i)), byte(b>>(8*i))
	}
	raw[6], raw[8] = raw[6]&0x0f|0x40, raw[8]&0x3f|0x80
	const digits = "0123456789abcdef"
	var out [36]byte
	n := 0
	for i, c := range raw {
		if i == 4 || i == 6 || i == 8 || i == 10 {
			out[n] = '-'
			n++
		}
		out[n], out[n+1] = digits[c>>4], digits[c&15]
		n += 2
	}
	return string(out[:])
}

// Record is one request's event in the making. A nil Record is of a request
// that is not written down: its methods do nothing.
//
// received → [response started →] complete, or → panic. Before the policy has
// been asked it gathers annotations alone.
type Record struct {
	log *Log

	mu      sync.Mutex
	verdict verdict
	asked   bool
	event   auditv1.Event
}

type recordKey struct{}

// Begin makes a request's record, and the context that leads to it.
func (l *Log) Begin(ctx context.Context, id string, received time.Time) (context.Context, *Record) {
	r := &Record{log: l}
	r.event.AuditID = types.UID(id)
	r.event.RequestReceivedTimestamp = metav1.NewMicroTime(received)
	return context.WithValue(ctx, recordKey{}, r), r
}

// From is the record of the request that a context belongs to, or nil.
func From(ctx context.Context) *Record {
	r, _ := ctx.Value(recordKey{}).(*Record)
	return r
}

// Annotate adds to the event of the request that ctx belongs to. The first
// value of a key stays.
func Annotate(ctx context.Context, key, value string) { From(ctx).Annotate(key, value) }

// Annotate adds to the event. The first value of a key stays.
func (r *Record) Annotate(key, value string) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.asked && r.verdict.level == None || len(r.event.Annotations) >= maxAnnotations {
		return
	}
	if _, ok := r.event.Annotations[key]; ok {
		return
	}
	if r.event.Annotations == nil {
		r.event.Annotations = map[string]string{}
	}
	r.event.Annotations[key] = value
}

// ErrNotStored: the policy wants the request written down, and that failed.
var ErrNotStored = errors.New("failed to store audit event")

// Receive asks the policy about a request and begins its event.
func (r *Record) Receive(req *http.Request, a authorizer.Attributes) error {
	if err := r.describe(req, a); err != nil {
		return err
	}
	if !r.emit(auditv1.StageRequestReceived) {
		r.log.meters.rejected.Inc()
		return ErrNotStored
	}
	return nil
}

// Refuse is Receive for a request whose sender is not who he says. It has no
// first stage.
func (r *Record) Refuse(req *http.Request, a authorizer.Attributes) {
	if r.describe(req, a) != nil || r.Level() == None {
		return
	}
	r.mu.Lock()
	r.event.ResponseStatus = &metav1.Status{Message: attempted(req)}
	r.mu.Unlock()
}

func (r *Record) describe(req *http.Request, a authorizer.Attributes) error {
	if r == nil {
		return nil
	}
	v := r.log.policy.judge(a)
	r.log.meters.levels.WithLabelValues(string(levelNames[v.level])).Inc()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.verdict, r.asked = v, true
	if v.level == None {
		return nil
	}
	e := &r.event
	e.TypeMeta = metav1.TypeMeta{Kind: "Event", APIVersion: auditv1.SchemeGroupVersion.String()}
	e.Level = auditv1.Level(levelNames[v.level])
	e.Verb, e.RequestURI, e.UserAgent = a.GetVerb(), req.URL.RequestURI(), req.UserAgent()
	if len(e.UserAgent) > maxUserAgent {
		e.UserAgent = e.UserAgent[:maxUserAgent] + "...TRUNCATED"
	}
	for _, ip := range utilnet.SourceIPs(req) {
		e.SourceIPs = append(e.SourceIPs, ip.String())
	}
	if u := a.GetUser(); u != nil {
		e.User = userInfo(u)
	}
	if a.IsResourceRequest() {
		e.ObjectRef = &auditv1.ObjectReference{
			Namespace: a.GetNamespace(), Name: a.GetName(), Resource: a.GetResource(), Subresource: a.GetSubresource(),
			APIGroup: a.GetAPIGroup(), APIVersion: a.GetAPIVersion(),
		}
	}
	return nil
}

func userInfo(u user.Info) authenticationv1.UserInfo {
	out := authenticationv1.UserInfo{Username: u.GetName(), UID: u.GetUID(), Groups: u.GetGroups()}
	for k, v := range u.GetExtra() {
		if out.Extra == nil {
			out.Extra = map[string]authenticationv1.ExtraValue{}
		}
		out.Extra[k] = v
	}
	return out
}

// attempted names the credentials of a request, upstream's words.
func attempted(req *http.Request) string {
	var ways []string
	if _, _, ok := req.BasicAuth(); ok {
		ways = append(ways, "basic")
	}
	if scheme, _, ok := strings.Cut(strings.TrimSpace(req.Header.Get("Authorization")), " "); ok && strings.EqualFold(scheme, "bearer") {
		ways = append(ways, "bearer")
	}
	if strings.TrimSpace(req.URL.Query().Get("access_token")) != "" {
		ways = append(ways, "access_token")
	}
	if req.TLS != nil && len(req.TLS.PeerCertificates) > 0 {
		ways = append(ways, "x509")
	}
	if len(ways) == 0 {
		return "Authentication failed, no credentials provided"
	}
	return "Authentication failed, attempted: " + strings.Join(ways, ", ")
}

// Level is how much of the request is written down.
func (r *Record) Level() Level {
	if r == nil {
		return None
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.verdict.level
}

// Impersonate notes as whom the request is treated, and by which constrained
// way that was allowed, if it was one.
func (r *Record) Impersonate(u user.Info, constraint string) {
	if r.Level() == None {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	as := userInfo(u)
	r.event.ImpersonatedUser = &as
	if constraint != "" {
		r.event.AuthenticationMetadata = &auditv1.AuthenticationMetadata{ImpersonationConstraint: constraint}
	}
}

// Sent takes the request's object as JSON. Of a patch it is the patch.
func (r *Record) Sent(object []byte, patch bool) {
	if r.Level() == None || len(object) == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if !patch {
		r.referLocked(object)
	}
	if r.verdict.level < Request {
		return
	}
	if !patch && r.verdict.omitManaged {
		object = withoutManagedFields(object)
	}
	r.event.RequestObject = &runtime.Unknown{Raw: bytes.Clone(object), ContentType: runtime.ContentTypeJSON}
}

// referLocked completes the reference by what the object says of itself.
func (r *Record) referLocked(object []byte) {
	var head metav1.PartialObjectMetadata
	ref := r.event.ObjectRef
	if ref == nil || json.Unmarshal(object, &head) != nil {
		return
	}
	fill := func(to *string, v string) {
		if *to == "" {
			*to = v
		}
	}
	fill(&ref.Namespace, head.Namespace)
	fill(&ref.Name, head.Name)
	fill((*string)(&ref.UID), string(head.UID))
	fill(&ref.ResourceVersion, head.ResourceVersion)
}

// Answered takes the answer's object as JSON; a Status is also the event's.
func (r *Record) Answered(object []byte) {
	if r.Level() == None || len(object) == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	var st metav1.Status
	if json.Unmarshal(object, &st) == nil && st.Kind == "Status" && st.APIVersion == "v1" {
		r.event.ResponseStatus = &metav1.Status{Status: st.Status, Message: st.Message, Reason: st.Reason, Details: st.Details, Code: st.Code}
	}
	if r.verdict.level < RequestResponse {
		return
	}
	if r.verdict.omitManaged {
		object = withoutManagedFields(object)
	}
	r.event.ResponseObject = &runtime.Unknown{Raw: bytes.Clone(object), ContentType: runtime.ContentTypeJSON}
}

// Status notes the status code; of a long-running request that is a stage.
func (r *Record) Status(code int, longRunning bool) {
	if r.Level() == None {
		return
	}
	r.mu.Lock()
	if r.event.ResponseStatus == nil {
		r.event.ResponseStatus = &metav1.Status{}
	}
	r.event.ResponseStatus.Code = int32(code)
	r.mu.Unlock()
	if longRunning {
		r.emit(auditv1.StageResponseStarted)
	}
}

// Complete ends the event.
func (r *Record) Complete(longRunning bool) {
	if r.Level() == None {
		return
	}
	r.mu.Lock()
	silent := r.event.ResponseStatus == nil
	if silent {
		r.event.ResponseStatus = &metav1.Status{Code: http.StatusOK, Status: metav1.StatusSuccess, Message: "Connection closed early"}
	}
	r.mu.Unlock()
	if silent && longRunning {
		r.emit(auditv1.StageResponseStarted)
	}
	r.emit(auditv1.StageResponseComplete)
}

// Panic ends the event of a request that made the server panic.
func (r *Record) Panic(v any) {
	if r.Level() == None {
		return
	}
	r.mu.Lock()
	r.event.ResponseStatus = &metav1.Status{
		Code: http.StatusInternalServerError, Status: metav1.StatusFailure, Reason: metav1.StatusReasonInternalError,
		Message: fmt.Sprintf("APIServer panic'd: %v", v),
	}
	r.mu.Unlock()
	r.emit(auditv1.StagePanic)
}

// emit hands the event to the sinks as of a stage; false where it is lost and
// should not be.
func (r *Record) emit(stage auditv1.Stage) bool {
	if r == nil {
		return true
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.verdict.level == None || slices.Contains(r.verdict.omitStages, auditinternal.Stage(stage)) {
		return true
	}
	r.event.Stage = stage
	r.event.StageTimestamp = metav1.NowMicro()
	if stage == auditv1.StageRequestReceived {
		r.event.StageTimestamp = r.event.RequestReceivedTimestamp
	}
	return r.log.process(&r.event)
}

// withoutManagedFields takes the managed fields from an object, a list's items
// or a table's rows.
func withoutManagedFields(object []byte) []byte {
	if !bytes.Contains(object, []byte(`"managedFields"`)) {
		return object
	}
	var doc map[string]json.RawMessage
	if json.Unmarshal(object, &doc) != nil {
		return object
	}
	var meta map[string]json.RawMessage
	if json.Unmarshal(doc["metadata"], &meta) == nil && meta["managedFields"] != nil {
		delete(meta, "managedFields")
		doc["metadata"], _ = json.Marshal(meta)
	}
	for list, inner := range map[string]string{"items": "", "rows": "object"} {
		var items []json.RawMessage
		if json.Unmarshal(doc[list], &items) != nil {
			continue
		}
		for i := range items {
			if inner == "" {
				items[i] = withoutManagedFields(items[i])
				continue
			}
			var row map[string]json.RawMessage
			if json.Unmarshal(items[i], &row) == nil && row[inner] != nil {
				row[inner] = withoutManagedFields(row[inner])
				items[i], _ = json.Marshal(row)
			}
		}
		doc[list], _ = json.Marshal(items)
	}
	out, err := json.Marshal(doc)
	if err != nil {
		return object
	}
	return out
}
