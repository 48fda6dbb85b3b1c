package apiserver

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/monohull/monohull/internal/api"
)

// grown is how many bytes fn allocates at most.
func grown(fn func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	fn()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

func TestHostileBodiesAreRefusedInBoundedMemory(t *testing.T) {
	r := newRig(t)
	r.configMap("there", nil)
	r.get(maps) // what is made once is made
	deep := func(open, inner, end string, n int) string {
		return strings.Repeat(open, n) + inner + strings.Repeat(end, n)
	}
	var doubling strings.Builder
	doubling.WriteString("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\na0: &a0 [x,x,x,x,x,x,x,x,x]\n")
	for i := 1; i < 12; i++ {
		fmt.Fprintf(&doubling, "a%d: &a%d [%s]\n", i, i, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d,", i-1), 9), ","))
	}
	long := "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\nx: &x " + strings.Repeat("y", 1<<20) + "\nlist: [" + strings.TrimSuffix(strings.Repeat("*x,", 200_000), ",") + "]\n"
	var copies strings.Builder
	copies.WriteString(`[{"op":"add","path":"/data/a0","value":"` + strings.Repeat("z", 1000) + `"}`)
	for i := range 40 {
		fmt.Fprintf(&copies, `,{"op":"copy","from":"/data","path":"/data/a%d"}`, i+1)
	}
	copies.WriteString("]")
	const object = `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"},"data":`
	for _, c := range []struct {
		name, method, path, media, body string
		code                            int
		words                           string
	}{
		{"nested JSON", "POST", maps, typeJSON, object + deep(`{"a":`, "1", "}", 100_000) + "}", 400, "exceeded max depth"},
		{"nested JSON list", "POST", maps, typeJSON, deep("[", "", "]", 1_000_000), 400, "exceeded max depth"},
		{"nested YAML", "POST", maps, typeYAML, deep("[", "", "]", 100_000), 400, "depth"},
		{"nested YAML by indentation", "POST", maps, typeYAML, nestedYAML(1500), 422, "metadata.name"},
		{"aliases of aliases", "POST", maps, typeYAML, doubling.String(), 400, "aliases make more than"},
		{"aliases of a long text", "POST", maps, typeYAML, long, 400, "aliases make more than"},
		{"alias of itself", "POST", maps, typeYAML, "a: &a [*a]", 400, "contains itself"},
		{"half an object", "POST", maps, typeJSON, object, 400, "unexpected end of JSON input"},
		{"no object", "POST", maps, typeJSON, "\x00\xff\xfe", 400, ""},
		{"no message", "POST", maps, typeProtobuf, "k8s\x00\x0a\xff\xff\xff\xff\x0f", 400, ""},
		{"a message that says it is long", "POST", maps, typeProtobuf, "k8s\x00\x12\xff\xff\xff\x7f", 400, ""},
		{"nested messages", "POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", typeProtobuf, nestedSchema(600_000), 400, "more than 10000 deep"},
		{"nested merge patch", "PATCH", maps + "/there", "application/merge-patch+json", deep(`{"a":`, "1", "}", 100_000), 400, "exceeded max depth"},
		{"nested strategic patch", "PATCH", maps + "/there", "application/strategic-merge-patch+json", deep(`{"a":`, "1", "}", 100_000), 400, "invalid JSON document"},
		{"nested JSON patch", "PATCH", maps + "/there", "application/json-patch+json", `[{"op":"add","path":"/data","value":` + deep("[", "", "]", 100_000) + "}]", 400, "exceeded max depth"},
		{"copies of copies", "PATCH", maps + "/there", "application/json-patch+json", copies.String(), 422, "accumulated size"},
		{"many operations", "PATCH", maps + "/there", "application/json-patch+json", "[" + strings.TrimSuffix(strings.Repeat(`{"op":"test","path":"/data/k","value":"v"},`, 10_001), ",") + "]", 413, "allowed maximum operations in a JSON patch is 10000"},
		{"nested apply", "PATCH", maps + "/there?fieldManager=m", "application/apply-patch+yaml", deep("[", "", "]", 100_000), 400, ""},
		{"apply with aliases of a long text", "PATCH", maps + "/a?fieldManager=m", "application/apply-patch+yaml", long, 400, ""},
		{"too large", "POST", maps, typeJSON, object + `{"a":"` + strings.Repeat("x", 3<<20) + `"}}`, 413, "limit is 3145728"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var a answer
			began := time.Now()
			n := grown(func() { a = r.do(c.method, c.path, c.body, "Content-Type", c.media) })
			if a.code != c.code {
				t.Errorf("%d %.300s", a.code, a.body)
			}
			if !strings.Contains(string(a.body), c.words) {
				t.Errorf("the answer does not say %q: %.300s", c.words, a.body)
			}
			if n > 600<<20 {
				t.Errorf("%d MB were allocated for %d bytes", n>>20, len(c.body))
			}
			if d := time.Since(began); d > 20*time.Second {
				t.Errorf("it took %v", d)
			}
		})
	}
	r.get(maps+"/there").ok(200, nil)
}

// nestedSchema is a CustomResourceDefinition whose schema says not, not, not…
func nestedSchema(n int) string {
	wrapped := func(field, size int) []byte {
		return binary.AppendUvarint(binary.AppendUvarint(nil, uint64(field<<3|2)), uint64(size))
	}
	var heads [][]byte
	size := 0
	add := func(field int) {
		h := wrapped(field, size)
		heads, size = append(heads, h), size+len(h)
	}
	for range n {
		if size > maxBodyBytes-100 {
			break
		}
		add(28) // JSONSchemaProps.not
	}
	for _, field := range []int{1, 4, 7, 2} { // schema, in a version, in the spec, in the definition
		add(field)
	}
	var raw []byte
	for i := len(heads) - 1; i >= 0; i-- {
		raw = append(raw, heads[i]...)
	}
	return string(api.Envelope("apiextensions.k8s.io/v1", "CustomResourceDefinition", raw))
}

func TestOnlyDeepMessagesAreTooDeep(t *testing.T) {
	if nestsTooDeep(bytes.Repeat([]byte("text "), 100_000)) || nestsTooDeep(bytes.Repeat([]byte{0x0a}, 200_000)) || nestsTooDeep(make([]byte, 100_000)) {
		t.Error("a flat message is taken for a deep one")
	}
	for n, deep := range map[int]bool{9000: false, 11000: true} {
		var raw []byte
		for range n {
			raw = append(binary.AppendUvarint([]byte{0x0a}, uint64(len(raw))), raw...)
		}
		if got := nestsTooDeep(raw); got != deep {
			t.Errorf("%d levels: %t", n, got)
		}
	}
}

func nestedYAML(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(strings.Repeat(" ", i) + "a:\n")
	}
	return b.String()
}

func TestABodyGetsMemoryAsItComes(t *testing.T) {
	slow, w := io.Pipe()
	req := httptest.NewRequest("POST", maps, slow)
	req.ContentLength = maxBodyBytes
	go func() {
		_, _ = w.Write([]byte("x"))
		_ = w.CloseWithError(io.ErrUnexpectedEOF)
	}()
	var err error
	if n := grown(func() { _, err = readBody(req) }); err == nil || n > 1<<20 {
		t.Errorf("%v, %d bytes were allocated for one that came", err, n)
	}
	for _, size := range []int{0, 1, firstRead - 1, firstRead, firstRead + 1, 3*firstRead + 7, maxBodyBytes} {
		for _, known := range []bool{true, false} {
			req := httptest.NewRequest("POST", maps, strings.NewReader(strings.Repeat("x", size)))
			if !known {
				req.ContentLength = -1
			}
			if b, err := readBody(req); err != nil || len(b) != size {
				t.Errorf("%d bytes, length known %t: %d, %v", size, known, len(b), err)
			}
		}
	}
	req = httptest.NewRequest("POST", maps, strings.NewReader(strings.Repeat("x", maxBodyBytes+1)))
	req.ContentLength = -1
	if _, err := readBody(req); err == nil {
		t.Error("a body over the bound was read")
	}
	req = httptest.NewRequest("POST", maps, strings.NewReader("x"))
	req.ContentLength = 5
	if _, err := readBody(req); err == nil {
		t.Error("half a body was taken for a whole one")
	}
}

// dial opens a TLS connection that speaks HTTP/1.1.
func dial(t *testing.T, ts *httptest.Server) *tls.Conn {
	t.Helper()
	c, err := tls.Dial("tcp", ts.Listener.Addr().String(), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(30 * time.Second))
	return c
}

func TestASlowBodyIsCut(t *testing.T) {
	r := newRig(t)
	r.server.RequestTimeout = 200 * time.Millisecond
	ts := r.serve()
	for name, token := range map[string]string{"of a user": adminToken, "of nobody": "wrong"} {
		t.Run(name, func(t *testing.T) {
			c := dial(t, ts)
			fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{", maps, token)
			res, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err != nil {
				t.Fatal(err)
			}
			if want := map[string]int{adminToken: 504, "wrong": 401}[token]; res.StatusCode != want {
				t.Errorf("the answer is %s, want %d", res.Status, want)
			}
			// and the connection does not wait for the rest
			if _, err := io.Copy(io.Discard, c); err != nil && strings.Contains(err.Error(), "timeout") {
				t.Errorf("the connection is still open: %v", err)
			}
		})
	}
	// a body that comes in time leaves the connection as it was
	c := dial(t, ts)
	in := bufio.NewReader(c)
	for i := range 3 {
		body := named(fmt.Sprint("m", i))
		fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", maps, adminToken, len(body), body)
		res, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, res.Body)
		if res.StatusCode != 201 {
			t.Errorf("request %d: %s", i, res.Status)
		}
	}
}

func TestTheTimeoutOfARequest(t *testing.T) {
	r := newRig(t)
	r.get(maps+"?timeout=soon").fails(400, metav1.StatusReasonBadRequest, "invalid timeout specified in the request URL - time: invalid duration")
	r.get(maps+"?timeout=0s").ok(200, nil)
	// a revision that does not come: the list's own patience is three seconds
	began := time.Now()
	r.get(maps+"?resourceVersion=100000&timeout=50ms").fails(504, metav1.StatusReasonTimeout, "request did not complete within the allotted timeout")
	if d := time.Since(began); d > 2*time.Second {
		t.Errorf("it took %v", d)
	}
}
