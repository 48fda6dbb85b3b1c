package apiserver

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/monohull/monohull/internal/client"
)

// echoed is a server that says what it was asked, reached at any address.
func echoed(t *testing.T, r *rig) (dialed *string) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.URL.Path == "/page" {
			w.Header().Set("Content-Type", "text/html")
			fmt.Fprint(w, `<a href="/other">x</a>`)
			return
		}
		body, _ := io.ReadAll(req.Body)
		w.WriteHeader(http.StatusAccepted)
		fmt.Fprintf(w, "%s %s %s auth=%q", req.Method, req.URL.RequestURI(), body, req.Header.Get("Authorization"))
	}))
	t.Cleanup(srv.Close)
	dialed = new(string)
	r.server.proxied = &http.Transport{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		*dialed = addr
		return (&net.Dialer{}).DialContext(ctx, network, srv.Listener.Addr().String())
	}}
	return dialed
}

func (r *rig) ask(method, path, body string) *httptest.ResponseRecorder {
	req := httptest.NewRequest(method, path, strings.NewReader(body))
	req.Header.Set("Authorization", "Bearer "+adminToken)
	rec := httptest.NewRecorder()
	r.server.ServeHTTP(rec, req)
	return rec
}

func TestRequestsPassThroughToPodsAndServices(t *testing.T) {
	r := newRig(t)
	dialed := echoed(t, r)
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "web"}, Spec: corev1.PodSpec{Containers: []corev1.Container{
		{Name: "c", Image: "i", Ports: []corev1.ContainerPort{{ContainerPort: 8080}}},
	}}}
	pods := client.Of[*corev1.Pod](r.client)
	if _, err := pods.Create(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
	r.ask("GET", "/api/v1/namespaces/ns/pods/web/proxy/", "")
	if got := r.ask("GET", "/api/v1/namespaces/ns/pods/web/proxy/", ""); got.Code != 400 || !strings.Contains(got.Body.String(), "address not allowed") {
		t.Errorf("a pod without an address: %d %s", got.Code, got.Body)
	}
	if _, err := pods.Modify(t.Context(), "ns", "web", "status", func(p *corev1.Pod) error {
		p.Status.PodIP, p.Status.PodIPs = "10.1.2.3", []corev1.PodIP{{IP: "10.1.2.3"}}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	svc := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "front"}, Spec: corev1.ServiceSpec{
		ClusterIP: "None", Ports: []corev1.ServicePort{{Name: "http", Port: 80, TargetPort: intstr.FromInt32(8080)}},
	}}
	if _, err := client.Of[*corev1.Service](r.client).Create(t.Context(), svc); err != nil {
		t.Fatal(err)
	}
	if got := r.ask("GET", "/api/v1/namespaces/ns/services/front:http/proxy/", ""); got.Code != 404 {
		t.Errorf("a service without endpoints: %d %s", got.Code, got.Body)
	}
	eps := &corev1.Endpoints{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "front"}, Subsets: []corev1.EndpointSubset{{
		Addresses: []corev1.EndpointAddress{{IP: "10.1.2.3", TargetRef: &corev1.ObjectReference{Kind: "Pod", Name: "web", Namespace: "ns"}}, {IP: "10.9.9.9"}},
		Ports:     []corev1.EndpointPort{{Name: "http", Port: 8080}},
	}}}
	if _, err := client.Of[*corev1.Endpoints](r.client).Create(t.Context(), eps); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ method, path, body, dials, says string }{
		{"GET", "pods/web/proxy/a/b?q=1", "", "10.1.2.3:8080", `GET /a/b?q=1  auth=""`},
		{"GET", "pods/web/proxy", "", "10.1.2.3:8080", ""},
		{"POST", "pods/web:9090/proxy/x/", "hello", "10.1.2.3:9090", `POST /x/ hello auth=""`},
		{"OPTIONS", "pods/http:web:80/proxy/", "", "10.1.2.3:80", `OPTIONS /  auth=""`},
		{"DELETE", "services/front:http/proxy/it", "", "10.1.2.3:8080", `DELETE /it  auth=""`},
		{"PUT", "services/front:80/proxy/it", "v", "10.1.2.3:8080", `PUT /it v auth=""`},
		{"GET", "pods/web/proxy/page", "", "10.1.2.3:8080", `<a href="/api/v1/namespaces/ns/pods/web/proxy/other">x</a>`},
	} {
		*dialed = ""
		r.server.proxied.CloseIdleConnections()
		got := r.ask(c.method, "/api/v1/namespaces/ns/"+c.path, c.body)
		if c.says == "" {
			if got.Code != http.StatusMovedPermanently || !strings.HasSuffix(got.Header().Get("Location"), "/proxy/") {
				t.Errorf("%s: %d, %v", c.path, got.Code, got.Header())
			}
			continue
		}
		if got.Body.String() != c.says || *dialed != c.dials {
			t.Errorf("%s %s: %q from %s, want %q from %s", c.method, c.path, got.Body, *dialed, c.says, c.dials)
		}
	}
	if got := r.ask("GET", "/api/v1/namespaces/ns/services/front:81/proxy/", ""); got.Code != 503 || !strings.Contains(got.Body.String(), `no service port 81 found for service \"front\"`) {
		t.Errorf("a port the service lacks: %d %s", got.Code, got.Body)
	}
	if got := r.ask("GET", "/api/v1/namespaces/ns/services/front:other/proxy/", ""); got.Code != 503 {
		t.Errorf("a port name the service lacks: %d %s", got.Code, got.Body)
	}
	if got := r.ask("GET", "/api/v1/namespaces/ns/pods/a:b:c:d/proxy/", ""); got.Code != 400 {
		t.Errorf("a name of four parts: %d %s", got.Code, got.Body)
	}
}
