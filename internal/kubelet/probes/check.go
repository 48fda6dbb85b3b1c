package probes

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// maxOutput bounds what is kept of a command's output or a response's body.
const maxOutput = 10 << 10

const userAgent = "kube-probe/1.36"

// Target is what is asked.
type Target struct {
	Container *corev1.Container
	PodIP     string
	// Exec runs a command in the container. A timeout is an error.
	Exec func(ctx context.Context, command []string, timeout time.Duration) (code int, output string, err error)
}

// Check asks once. output is for users.
func Check(ctx context.Context, p *corev1.Probe, t Target) (Outcome, string) {
	timeout := Timeout(p)
	switch {
	case p.Exec != nil:
		code, output, err := t.Exec(ctx, p.Exec.Command, timeout)
		switch {
		case err != nil:
			return Failure, err.Error()
		case code != 0:
			return Failure, clip(output)
		}
		return Success, clip(output)
	case p.HTTPGet != nil:
		req, err := Request(ctx, p.HTTPGet, t.Container, t.PodIP, userAgent)
		if err != nil {
			return Failure, err.Error()
		}
		return checkHTTP(req, timeout)
	case p.TCPSocket != nil:
		port, err := Port(p.TCPSocket.Port, t.Container)
		if err != nil {
			return Failure, err.Error()
		}
		host := p.TCPSocket.Host
		if host == "" {
			host = t.PodIP
		}
		conn, err := (&net.Dialer{Timeout: timeout}).DialContext(ctx, "tcp", net.JoinHostPort(host, strconv.Itoa(port)))
		if err != nil {
			return Failure, err.Error()
		}
		_ = conn.Close() // that it opened is the answer
		return Success, ""
	case p.GRPC != nil:
		service := ""
		if p.GRPC.Service != nil {
			service = *p.GRPC.Service
		}
		return checkGRPC(ctx, net.JoinHostPort(t.PodIP, strconv.Itoa(int(p.GRPC.Port))), service, timeout)
	}
	return Failure, "the probe has no handler"
}

func clip(s string) string {
	if len(s) > maxOutput {
		return s[:maxOutput]
	}
	return s
}

// Port finds a port's number, by its name in the container where it has one.
func Port(p intstr.IntOrString, c *corev1.Container) (int, error) {
	n := p.IntValue()
	if p.Type == intstr.String {
		for _, cp := range c.Ports {
			if cp.Name == p.StrVal {
				n = int(cp.ContainerPort)
			}
		}
	}
	if n <= 0 || n > 65535 {
		return 0, fmt.Errorf("invalid port number: %v", p.String())
	}
	return n, nil
}

// Request makes the request of an HTTP probe or hook.
func Request(ctx context.Context, h *corev1.HTTPGetAction, c *corev1.Container, podIP, agent string) (*http.Request, error) {
	port, err := Port(h.Port, c)
	if err != nil {
		return nil, err
	}
	host := h.Host
	if host == "" {
		host = podIP
	}
	u, err := url.Parse(h.Path)
	if err != nil {
		u = &url.URL{Path: h.Path}
	}
	u.Scheme, u.Host = strings.ToLower(string(h.Scheme)), net.JoinHostPort(host, strconv.Itoa(port))
	if u.Scheme == "" {
		u.Scheme = "http"
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, err
	}
	seen := map[string]bool{}
	for _, kv := range h.HTTPHeaders {
		name := http.CanonicalHeaderKey(kv.Name)
		if name == "Host" {
			req.Host = kv.Value
			continue
		}
		seen[name] = true
		req.Header.Add(name, kv.Value)
	}
	if !seen["User-Agent"] {
		req.Header.Set("User-Agent", agent)
	}
	switch {
	case !seen["Accept"]:
		req.Header.Set("Accept", "*/*")
	case req.Header.Get("Accept") == "": // an empty one means: do not send it
		req.Header.Del("Accept")
	}
	return req, nil
}

func checkHTTP(req *http.Request, timeout time.Duration) (Outcome, string) {
	client := &http.Client{
		Timeout: timeout,
		Transport: &http.Transport{
			// A probe asks whether something answers, not who it is.
			TLSClientConfig:    &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // as said
			DisableKeepAlives:  true,
			DisableCompression: true,
			DialContext:        (&net.Dialer{Timeout: timeout}).DialContext,
		},
		CheckRedirect: func(next *http.Request, via []*http.Request) error {
			if next.URL.Hostname() != via[0].URL.Hostname() {
				return http.ErrUseLastResponse
			}
			if len(via) >= 10 {
				return errors.New("stopped after 10 redirects")
			}
			if host := via[0].Host; host != "" && host != via[0].URL.Host {
				next.Host = host
			}
			return nil
		},
	}
	res, err := client.Do(req)
	if err != nil {
		return Failure, err.Error()
	}
	defer res.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(res.Body, maxOutput)) // what there is serves
	switch {
	case res.StatusCode >= 300 && res.StatusCode < 400:
		return Warning, fmt.Sprintf("Probe terminated redirects, Response body: %v", string(body))
	case res.StatusCode >= 200 && res.StatusCode < 300:
		return Success, string(body)
	}
	return Failure, fmt.Sprintf("HTTP probe failed with statuscode: %d", res.StatusCode)
}

func checkGRPC(ctx context.Context, addr, service string, timeout time.Duration) (Outcome, string) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	conn, err := grpc.NewClient("passthrough:///"+addr, grpc.WithUserAgent(userAgent), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return Failure, fmt.Sprintf("error: failed to connect service at %q: %+v", addr, err)
	}
	defer conn.Close()
	res, err := healthpb.NewHealthClient(conn).Check(ctx, &healthpb.HealthCheckRequest{Service: service}, grpc.WaitForReady(true))
	if err != nil {
		s, _ := status.FromError(err)
		switch s.Code() {
		case codes.Unimplemented:
			return Failure, fmt.Sprintf("error: this server does not implement the grpc health protocol (grpc.health.v1.Health): %s", s.Message())
		case codes.DeadlineExceeded:
			return Failure, fmt.Sprintf("timeout: failed to connect service %q within %v: %+v", addr, timeout, err)
		}
		return Failure, fmt.Sprintf("error: health rpc probe failed: %+v", err)
	}
	if res.GetStatus() != healthpb.HealthCheckResponse_SERVING {
		return Failure, fmt.Sprintf("service unhealthy (responded with %q)", res.GetStatus().String())
	}
	return Success, "service healthy"
}
