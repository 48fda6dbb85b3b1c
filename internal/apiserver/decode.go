package apiserver

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"os"
	"reflect"
	"strconv"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"

	"github.com/monohull/monohull/internal/api"
	"github.com/monohull/monohull/internal/schema/hint"
)

// maxStrictWarnings bounds the warnings of one request.
const maxStrictWarnings = 10

// firstRead is what a body gets of memory before any of it has come; a sender
// has to send half of what more it says it will.
const firstRead = 64 << 10

// readBody reads a request's body up to the bound. It refuses one that others
// would read as YAML and that would grow over it.
func readBody(req *http.Request) ([]byte, error) {
	body, err := readAll(req)
	if err != nil {
		return nil, err
	}
	if media, _, _ := strings.Cut(req.Header.Get("Content-Type"), ";"); media == string(types.ApplyYAMLPatchType) {
		if err := expandsTooFar(body); err != nil {
			return nil, apierrors.NewBadRequest(fmt.Sprintf("error decoding YAML: %v", err))
		}
	}
	return body, nil
}

func readAll(req *http.Request) ([]byte, error) {
	if req.ContentLength > maxBodyBytes {
		return nil, tooLarge()
	}
	size := firstRead
	if n := req.ContentLength; n >= 0 && n < firstRead {
		size = int(n) + 1 // one more, to see the end
	}
	body := make([]byte, 0, size)
	for {
		n, err := req.Body.Read(body[len(body):cap(body)])
		body = body[:len(body)+n]
		if err == io.EOF {
			if req.ContentLength >= 0 && int64(len(body)) < req.ContentLength {
				err = io.ErrUnexpectedEOF
			} else {
				return body, nil
			}
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil, timedOut()
		}
		if err != nil {
			return nil, timely(req.Context(), apierrors.NewBadRequest(fmt.Sprintf("the request's body could not be read: %v", err)))
		}
		if len(body) > maxBodyBytes {
			return nil, tooLarge()
		}
		if len(body) == cap(body) {
			more := 2 * cap(body)
			if left := int(req.ContentLength) + 1; left > len(body) && left < more {
				more = left
			}
			body = append(make([]byte, 0, min(more, maxBodyBytes+1)), body...)
		}
	}
}

func tooLarge() error {
	return apierrors.NewRequestEntityTooLargeError(fmt.Sprintf("limit is %d", maxBodyBytes))
}

// fieldValidation says what becomes of fields nobody knows.
type fieldValidation struct {
	mode string
	warn func(string)
}

func fieldValidationOf(q queryGetter, warn func(string)) (fieldValidation, error) {
	f := fieldValidation{mode: q("fieldValidation"), warn: warn}
	switch f.mode {
	case "":
		f.mode = metav1.FieldValidationWarn
	case metav1.FieldValidationWarn, metav1.FieldValidationStrict, metav1.FieldValidationIgnore:
	default:
		return f, apierrors.NewBadRequest(fmt.Sprintf(`invalid query parameter "fieldValidation": Unsupported value: %q: supported values: "Ignore", "Strict", "Warn"`, f.mode))
	}
	return f, nil
}

// judge acts on the strict errors of one document of the type of like.
func (f fieldValidation) judge(gvk schema.GroupVersionKind, like any, strict []error) error {
	if len(strict) == 0 || f.mode == metav1.FieldValidationIgnore {
		return nil
	}
	if f.mode == metav1.FieldValidationStrict {
		err := runtime.NewStrictDecodingError(strict)
		var advice []string
		for i, e := range strict {
			if i == maxStrictWarnings {
				break
			}
			if field, h := advise(like, e); h != "" {
				advice = append(advice, field+": "+h)
			}
		}
		if len(advice) > 0 { // behind the words that programs look for
			err = fmt.Errorf("%w; %s", err, strings.Join(advice, "; "))
		}
		return badObject(gvk, err)
	}
	for i, e := range strict {
		if i == maxStrictWarnings {
			break
		}
		msg := e.Error()
		if _, h := advise(like, e); h != "" {
			msg += "; " + h
		}
		f.warn(msg)
	}
	return nil
}

// advise guesses what was meant by a field that the type of like does not have.
func advise(like any, err error) (field, words string) {
	quoted, ok := strings.CutPrefix(err.Error(), "unknown field ")
	if !ok {
		return "", ""
	}
	field, unquoteErr := strconv.Unquote(quoted)
	if unquoteErr != nil {
		return "", ""
	}
	return field, hint.Unknown(reflect.TypeOf(like), field)
}

// badValue is badObject for a document whose JSON does not fit the type of like.
func badValue(gvk schema.GroupVersionKind, like any, doc []byte, err error) error {
	if h := hint.Misfit(reflect.TypeOf(like), doc); h != "" {
		err = fmt.Errorf("%w; %s", err, h)
	}
	return badObject(gvk, err)
}

func badObject(gvk schema.GroupVersionKind, err error) error {
	return apierrors.NewBadRequest(fmt.Sprintf("%s in version %q cannot be handled as a %s: %v", gvk.Kind, gvk.Version, gvk.Kind, err))
}

// decode reads an object of the given kind from a body.
func decode(body []byte, contentType string, gvk schema.GroupVersionKind, into runtime.Object, f fieldValidation) error {
	media := typeJSON
	if contentType != "" {
		var err error
		if media, _, err = mime.ParseMediaType(contentType); err != nil {
			return unsupportedMedia()
		}
	}
	switch media {
	case typeProtobuf:
		return decodeProto(body, gvk, into)
	case typeYAML, "text/yaml", "application/x-yaml":
		return decodeYAML(body, gvk, into, f)
	case typeJSON, "text/plain", "application/x-www-form-urlencoded":
		return decodeJSON(body, gvk, into, f)
	}
	return unsupportedMedia()
}

func unsupportedMedia() error {
	return &apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: http.StatusUnsupportedMediaType, Reason: metav1.StatusReasonUnsupportedMediaType,
		Message: "the body of the request was in an unknown format - accepted media types include: " + strings.Join([]string{typeJSON, typeYAML, typeProtobuf}, ", "),
	}}
}

func decodeProto(body []byte, gvk schema.GroupVersionKind, into runtime.Object) error {
	m, ok := into.(interface{ Unmarshal([]byte) error })
	if !ok {
		return unsupportedMedia()
	}
	var env runtime.Unknown
	if len(body) < len(api.Magic) || string(body[:len(api.Magic)]) != string(api.Magic) {
		return apierrors.NewBadRequest("the provided data does not appear to be a protobuf message, expected prefix \"k8s\\x00\"")
	}
	if err := env.Unmarshal(body[len(api.Magic):]); err != nil {
		return badObject(gvk, err)
	}
	if err := sameKind(gvk, env.APIVersion, env.Kind); err != nil {
		return err
	}
	if nestsTooDeep(env.Raw) {
		return badObject(gvk, fmt.Errorf("messages lie in each other more than %d deep", maxNesting))
	}
	if err := m.Unmarshal(env.Raw); err != nil {
		return badObject(gvk, err)
	}
	return nil
}

func decodeJSON(body []byte, gvk schema.GroupVersionKind, into runtime.Object, f fieldValidation) error {
	var head metav1.TypeMeta
	if err := json.Unmarshal(body, &head); err != nil {
		var typeErr *json.UnmarshalTypeError
		if errors.As(err, &typeErr) {
			return apierrors.NewBadRequest(fmt.Sprintf("couldn't get version/kind; json parse error: %v", err))
		}
		return badObject(gvk, fmt.Errorf("couldn't get version/kind; json parse error: %w", err))
	}
	if err := sameKind(gvk, head.APIVersion, head.Kind); err != nil {
		return err
	}
	if f.mode == metav1.FieldValidationIgnore {
		if err := api.DecodeJSON(body, into); err != nil {
			return badValue(gvk, into, body, err)
		}
		return nil
	}
	strict, err := api.DecodeJSONStrict(body, into)
	if err != nil {
		return badValue(gvk, into, body, err)
	}
	return f.judge(gvk, into, strict)
}

func decodeYAML(body []byte, gvk schema.GroupVersionKind, into runtime.Object, f fieldValidation) error {
	if err := expandsTooFar(body); err != nil {
		return badObject(gvk, err)
	}
	doc, err := yaml.YAMLToJSON(body)
	if err != nil {
		return badObject(gvk, err)
	}
	if _, err := yaml.YAMLToJSONStrict(body); err != nil {
		if err := f.judge(gvk, into, []error{err}); err != nil {
			return err
		}
	}
	return decodeJSON(doc, gvk, into, f)
}

// sameKind refuses a body of another kind than the path's. Both may be left
// out.
func sameKind(want schema.GroupVersionKind, apiVersion, kind string) error {
	if kind != "" && kind != want.Kind || apiVersion != "" && apiVersion != want.GroupVersion().String() {
		if apiVersion == "" || apiVersion == want.GroupVersion().String() || kind == want.Kind {
			return apierrors.NewBadRequest(fmt.Sprintf("the API version in the data (%s, Kind=%s) does not match the expected API version (%s, Kind=%s)", orVersion(apiVersion, want), orKind(kind, want), want.GroupVersion(), want.Kind))
		}
		return apierrors.NewBadRequest(fmt.Sprintf("no kind %q is registered for version %q at %s, Kind=%s", kind, apiVersion, want.GroupVersion(), want.Kind))
	}
	return nil
}

func orVersion(v string, want schema.GroupVersionKind) string {
	if v == "" {
		return want.GroupVersion().String()
	}
	return v
}

func orKind(k string, want schema.GroupVersionKind) string {
	if k == "" {
		return want.Kind
	}
	return k
}
