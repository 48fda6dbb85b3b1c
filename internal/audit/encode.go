package audit

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
)

// The formats of the log.
const (
	FormatJSON   = "json"
	FormatLegacy = "legacy"
)

// truncatedKey marks an event that was too large with its objects.
const truncatedKey = "audit.k8s.io/truncated"

// encoded is an event as a sink takes it.
type encoded []byte

func encoderOf(format string) func(*auditv1.Event) ([]byte, error) {
	if format == FormatLegacy {
		return func(e *auditv1.Event) ([]byte, error) { return []byte(legacy(e)), nil }
	}
	return encodeJSON
}

func encodeJSON(e *auditv1.Event) ([]byte, error) { return json.Marshal(e) }

// pack encodes an event within the bound.
func (o *output) pack(e *auditv1.Event) (encoded, error) {
	out, err := o.encode(e)
	t := o.config.Truncate
	if err != nil || !t.Enabled || int64(len(out)) <= t.MaxEventBytes {
		return out, err
	}
	short := e.DeepCopy()
	short.RequestObject, short.ResponseObject = nil, nil
	if short.Annotations == nil {
		short.Annotations = map[string]string{}
	}
	short.Annotations[truncatedKey] = "true"
	if out, err = o.encode(short); err == nil && int64(len(out)) > t.MaxEventBytes {
		return nil, errors.New("event is too large even after truncating")
	}
	return out, err
}

// split keeps batches within the bound.
func split(events []encoded, t TruncateConfig) (out [][]encoded) {
	if !t.Enabled {
		return [][]encoded{events}
	}
	var size int64
	begin := 0
	for i, e := range events {
		if size+int64(len(e)) > t.MaxBatchBytes && i > begin {
			out = append(out, events[begin:i])
			begin, size = i, 0
		}
		size += int64(len(e))
	}
	return append(out, events[begin:])
}

// legacy is the format of one line of words.
func legacy(e *auditv1.Event) string {
	list := func(v []string) string {
		q := make([]string, len(v))
		for i := range v {
			q[i] = strconv.Quote(v[i])
		}
		return strings.Join(q, ",")
	}
	username, groups := "<none>", "<none>"
	if e.User.Username != "" {
		username = e.User.Username
		if len(e.User.Groups) > 0 {
			groups = list(e.User.Groups)
		}
	}
	as, asGroups := "<self>", "<lookup>"
	if e.ImpersonatedUser != nil {
		as = e.ImpersonatedUser.Username
		if e.ImpersonatedUser.Groups != nil {
			asGroups = list(e.ImpersonatedUser.Groups)
		}
	}
	namespace := "<none>"
	if e.ObjectRef != nil && e.ObjectRef.Namespace != "" {
		namespace = e.ObjectRef.Namespace
	}
	response := "<deferred>"
	if e.ResponseStatus != nil {
		response = strconv.Itoa(int(e.ResponseStatus.Code))
	}
	ip := "<unknown>"
	if len(e.SourceIPs) > 0 {
		ip = e.SourceIPs[0]
	}
	return fmt.Sprintf("%s AUDIT: id=%q stage=%q ip=%q method=%q user=%q groups=%q as=%q asgroups=%q user-agent=%q namespace=%q uri=%q response=\"%s\"",
		e.RequestReceivedTimestamp.Format(time.RFC3339Nano), e.AuditID, e.Stage, ip, e.Verb, username, groups, as, asGroups, e.UserAgent, namespace, e.RequestURI, response)
}
