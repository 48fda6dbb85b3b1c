package apiserver

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"

	"github.com/monohull/monohull/internal/api"
	"github.com/monohull/monohull/internal/cache"
)

// The media types of objects.
const (
	typeJSON     = "application/json"
	typeYAML     = "application/yaml"
	typeProtobuf = "application/vnd.kubernetes.protobuf"
)

// view is the form in which a client wants what it asked for.
type view struct {
	media string // typeJSON, typeYAML or typeProtobuf
	as    string // "", "Table" or "PartialObjectMetadata" (also of lists)
	asGV  string // the version of as
	// include is how much of each object a Table carries.
	include metav1.IncludeObjectPolicy
	pretty  bool
	gzip    bool // large answers are compressed
	// version is the one that stored objects are shown in; nil for their own.
	version *api.Version
}

// own tells whether stored objects are shown as they are.
func (v view) own() bool { return v.version == nil || v.version.IsOwn() }

// negotiate reads the Accept header: the first form served wins, in the order
// the client gave, a higher q first.
func negotiate(req *http.Request, q queryGetter, tables bool) (view, bool) {
	v := view{media: typeJSON, include: metav1.IncludeMetadata, gzip: wantsGzip(req)}
	v.pretty = wantsPretty(req, q)
	if p := metav1.IncludeObjectPolicy(q("includeObject")); p != "" {
		v.include = p
	}
	accept := req.Header.Get("Accept")
	if accept == "" || accept == "*/*" || accept == typeJSON {
		return v, true
	}
	if accept == typeProtobuf || strings.HasPrefix(accept, typeProtobuf+",") {
		v.media = typeProtobuf
		return v, true
	}
	for _, clause := range acceptClauses(accept) {
		media, ok := mediaOf(clause.media)
		if !ok {
			continue
		}
		as := clause.params["as"]
		switch {
		case as == "":
		case !tables:
			continue
		case as != "Table" && as != "PartialObjectMetadata" && as != "PartialObjectMetadataList":
			continue
		case clause.params["g"] != "meta.k8s.io" || (clause.params["v"] != "v1" && clause.params["v"] != "v1beta1"):
			continue
		case media == typeProtobuf && as == "Table":
			continue
		}
		v.media, v.as, v.asGV = media, strings.TrimSuffix(as, "List"), "meta.k8s.io/"+clause.params["v"]
		return v, true
	}
	return v, false
}

type queryGetter func(string) string

func mediaOf(m string) (string, bool) {
	switch m {
	case "*/*", "application/*", typeJSON:
		return typeJSON, true
	case typeYAML:
		return typeYAML, true
	case typeProtobuf:
		return typeProtobuf, true
	}
	return "", false
}

type acceptClause struct {
	media  string
	params map[string]string
	q      float64
}

// maxAcceptClauses bounds what is read of an Accept header.
const maxAcceptClauses = 32

func acceptClauses(header string) []acceptClause {
	var out []acceptClause
	for i, part := range strings.Split(header, ",") {
		if i == maxAcceptClauses {
			break
		}
		fields := strings.Split(part, ";")
		c := acceptClause{media: strings.ToLower(strings.TrimSpace(fields[0])), params: map[string]string{}, q: 1}
		for _, f := range fields[1:] {
			k, v, _ := strings.Cut(strings.TrimSpace(f), "=")
			if k == "q" {
				c.q, _ = strconv.ParseFloat(v, 64)
			} else {
				c.params[k] = v
			}
		}
		at := len(out)
		for at > 0 && out[at-1].q < c.q {
			at--
		}
		out = append(out[:at], append([]acceptClause{c}, out[at:]...)...)
	}
	return out
}

func wantsPretty(req *http.Request, q queryGetter) bool {
	switch q("pretty") {
	case "":
	case "0", "false":
		return false
	default:
		return true
	}
	ua := req.Header.Get("User-Agent")
	return strings.HasPrefix(ua, "curl") || strings.HasPrefix(ua, "Wget") || strings.HasPrefix(ua, "Mozilla/5.0")
}

func notAcceptable(accepted ...string) error {
	if len(accepted) == 0 {
		accepted = []string{typeJSON, typeYAML, typeProtobuf}
	}
	return &apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: http.StatusNotAcceptable, Reason: metav1.StatusReasonNotAcceptable,
		Message: "only the following media types are accepted: " + strings.Join(accepted, ", "),
	}}
}

// typeHeader begins the JSON of an object that lacks its type: the result ends
// with a comma and wants the rest of an object without its brace.
func typeHeader(gvk schema.GroupVersionKind) string {
	return `{"kind":"` + gvk.Kind + `","apiVersion":"` + gvk.GroupVersion().String() + `",`
}

// withType puts kind and apiVersion in front of an object's JSON.
func withType(gvk schema.GroupVersionKind, body []byte) []byte {
	h := typeHeader(gvk)
	out := make([]byte, 0, len(h)+len(body))
	out = append(out, h...)
	if len(body) == 2 { // {}
		out = out[:len(out)-1]
	}
	return append(out, body[1:]...)
}

// itemBytes encodes one object. Items that were not stored (answers, dry runs)
// are encoded from their object.
func itemBytes(it *cache.Item, v view) ([]byte, error) {
	media := v.media
	if it.Kind != nil && !v.own() {
		obj, err := v.version.Show(it.Obj)
		if err != nil {
			return nil, err
		}
		return objectBytes(obj, v.version.GVK, media)
	}
	if it.Kind == nil || it.Rev == 0 {
		return objectBytes(it.Obj, gvkOf(it), media)
	}
	if media == typeProtobuf {
		if msg, rev := it.Proto(); msg != nil {
			return api.Envelope(it.Kind.GVK.GroupVersion().String(), it.Kind.GVK.Kind, msg, rev), nil
		}
	}
	body, err := it.JSON()
	if err != nil {
		return nil, err
	}
	return inMedia(withType(it.Kind.GVK, body), media)
}

func gvkOf(it *cache.Item) schema.GroupVersionKind {
	if it.Kind != nil {
		return it.Kind.GVK
	}
	return kindOfAnswer(it.Obj)
}

// objectBytes encodes an object that is in no cache. gvk is its type.
func objectBytes(obj runtime.Object, gvk schema.GroupVersionKind, media string) ([]byte, error) {
	if media == typeProtobuf {
		if m, ok := obj.(interface{ Marshal() ([]byte, error) }); ok {
			raw, err := m.Marshal()
			if err != nil {
				return nil, err
			}
			return api.Envelope(gvk.GroupVersion().String(), gvk.Kind, raw), nil
		}
	}
	body, err := json.Marshal(obj)
	if err != nil {
		return nil, err
	}
	if !bytes.HasPrefix(body, []byte(`{"kind":`)) {
		body = withType(gvk, body)
	}
	return inMedia(body, media)
}

func inMedia(body []byte, media string) ([]byte, error) {
	if media == typeYAML {
		return yaml.JSONToYAML(body)
	}
	return body, nil
}

// respond writes an encoded body.
func respond(w http.ResponseWriter, v view, code int, body []byte) {
	h := w.Header()
	h.Set("Content-Type", v.media)
	if v.pretty && v.media == typeJSON {
		var b bytes.Buffer
		if json.Indent(&b, body, "", "  ") == nil {
			body = append(b.Bytes(), '\n')
		}
	} else if v.media == typeJSON {
		body = append(body[:len(body):len(body)], '\n')
	}
	if v.gzip && len(body) >= minGzip {
		h.Set("Content-Encoding", "gzip")
		h.Add("Vary", "Accept-Encoding")
		body = compressed(body)
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(code)
	_, _ = w.Write(body)
}

// listMeta is the metadata of a list.
type listMeta struct {
	rev       int64
	cont      string
	remaining *int64
}

// listBytes joins the encodings of items to a list.
func listBytes(k *api.Kind, items []*cache.Item, m listMeta, v view) ([]byte, error) {
	gvk := k.GVK.GroupVersion().WithKind(k.GVK.Kind + "List")
	if !v.own() {
		gvk = v.version.GVK.GroupVersion().WithKind(v.version.GVK.Kind + "List")
		var err error
		if items, err = shownIn(v.version, items); err != nil {
			return nil, err
		}
	}
	if v.media == typeProtobuf {
		return protoList(gvk, items, m)
	}
	meta, err := json.Marshal(metav1.ListMeta{ResourceVersion: strconv.FormatInt(m.rev, 10), Continue: m.cont, RemainingItemCount: m.remaining})
	if err != nil {
		return nil, err
	}
	bodies := make([][]byte, len(items))
	n := 256 + len(meta)
	for i, it := range items {
		if bodies[i], err = it.JSON(); err != nil {
			return nil, err
		}
		n += len(bodies[i]) + 1
	}
	out := make([]byte, 0, n)
	out = append(out, typeHeader(gvk)...)
	out = append(out, `"metadata":`...)
	out = append(out, meta...)
	out = append(out, `,"items":[`...)
	for i, b := range bodies {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(out, b...)
	}
	out = append(out, `]}`...)
	return inMedia(out, v.media)
}

// shownIn converts items to another version, for this one answer.
func shownIn(v *api.Version, items []*cache.Item) ([]*cache.Item, error) {
	out := make([]*cache.Item, len(items))
	for i, it := range items {
		obj, err := v.Show(it.Obj)
		if err != nil {
			return nil, err
		}
		var raw []byte
		if m, ok := obj.(interface{ Marshal() ([]byte, error) }); ok {
			if raw, err = m.Marshal(); err != nil {
				return nil, err
			}
		}
		out[i] = cache.NewItem(it.Kind, obj, it.Rev, raw)
	}
	return out, nil
}

func protoList(gvk schema.GroupVersionKind, items []*cache.Item, m listMeta) ([]byte, error) {
	meta, err := (&metav1.ListMeta{ResourceVersion: strconv.FormatInt(m.rev, 10), Continue: m.cont, RemainingItemCount: m.remaining}).Marshal()
	if err != nil {
		return nil, err
	}
	n := len(meta) + 16
	for _, it := range items {
		msg, rev := it.Proto()
		n += len(msg) + len(rev) + 8
	}
	out := make([]byte, 0, n)
	out = append(out, 0x0a)
	out = binary.AppendUvarint(out, uint64(len(meta)))
	out = append(out, meta...)
	for _, it := range items {
		msg, rev := it.Proto()
		out = append(out, 0x12)
		out = binary.AppendUvarint(out, uint64(len(msg)+len(rev)))
		out = append(append(out, msg...), rev...)
	}
	return api.Envelope(gvk.GroupVersion().String(), gvk.Kind, out), nil
}
