package streams

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/gorilla/websocket"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestFollowedLogComesAsItIsWritten(t *testing.T) {
	next, ended := make(chan struct{}), make(chan struct{})
	node := &fakeNode{logs: func(ctx context.Context, container string, opts *corev1.PodLogOptions, w io.Writer) error {
		fmt.Fprintf(w, "%s %v %d %s\n", container, opts.Follow, *opts.LimitBytes, *opts.Stream)
		<-next
		fmt.Fprintln(w, "more")
		<-ctx.Done()
		close(ended)
		return ctx.Err()
	}}
	s := serve(t, testPod("main"), node)
	ctx, cancel := context.WithCancel(t.Context())
	req, _ := http.NewRequestWithContext(ctx, "GET", s.URL+"/log?follow=true&limitBytes=100", nil)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if got := resp.Header.Get("Content-Type"); got != "text/plain" {
		t.Errorf("content type is %q", got)
	}
	lines := bufio.NewScanner(resp.Body)
	for _, want := range []string{"main true 100 All", "more"} {
		if !lines.Scan() || lines.Text() != want {
			t.Fatalf("line is %q, want %q", lines.Text(), want)
		}
		if want != "more" {
			close(next)
		}
	}
	cancel()
	<-ended
}

func TestLogRefusals(t *testing.T) {
	waiting := apierrors.NewBadRequest(`container "main" in pod "web" is waiting to start: ContainerCreating`)
	for _, c := range []struct {
		query, want string
		code        int
		err         error
	}{
		{"tailLines=-1", `PodLogOptions "web" is invalid: tailLines: Invalid value: -1: must be greater than or equal to 0`, 422, nil},
		{"limitBytes=0", `PodLogOptions "web" is invalid: limitBytes: Invalid value: 0: must be greater than 0`, 422, nil},
		{"sinceSeconds=0", `PodLogOptions "web" is invalid: sinceSeconds: Invalid value: 0: must be greater than 0`, 422, nil},
		{"sinceSeconds=1&sinceTime=2020-01-01T00:00:00Z", "PodLogOptions \"web\" is invalid: []: Forbidden: at most one of `sinceTime` or `sinceSeconds` may be specified", 422, nil},
		{"stream=both", `PodLogOptions "web" is invalid: stream: Unsupported value: "both": supported values: "All", "Stdout", "Stderr"`, 422, nil},
		{"stream=Stdout&tailLines=1", "PodLogOptions \"web\" is invalid: []: Forbidden: `tailLines` and specific `stream` are mutually exclusive for now", 422, nil},
		{"tailLines=x", `strconv.ParseInt: parsing "x": invalid syntax`, 400, nil},
		{"container=no", "container no is not valid for pod web", 400, nil},
		{"", waiting.Error(), 400, waiting},
		{"", "previous terminated container not found", 400, errors.New("previous terminated container not found")},
	} {
		node := &fakeNode{logs: func(context.Context, string, *corev1.PodLogOptions, io.Writer) error { return c.err }}
		s := serve(t, testPod("main"), node)
		resp, err := http.Get(s.URL + "/log?" + c.query)
		if err != nil {
			t.Fatal(err)
		}
		var status metav1.Status
		if err := json.NewDecoder(resp.Body).Decode(&status); err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != c.code || status.Message != c.want {
			t.Errorf("%s: %d %q, want %d %q", c.query, resp.StatusCode, status.Message, c.code, c.want)
		}
	}
}

func TestLogOfAnUnboundPodIsEmpty(t *testing.T) {
	pod := testPod("main")
	pod.Spec.NodeName = ""
	s := serve(t, pod, &fakeNode{})
	resp, err := http.Get(s.URL + "/log")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, _ := io.ReadAll(resp.Body); resp.StatusCode != 200 || len(body) != 0 {
		t.Errorf("answer is %d %q", resp.StatusCode, body)
	}
}

func TestLogOverAWebSocketComesInMessages(t *testing.T) {
	node := &fakeNode{logs: func(_ context.Context, _ string, _ *corev1.PodLogOptions, w io.Writer) error {
		fmt.Fprint(w, "one\n")
		fmt.Fprint(w, "two\n")
		return nil
	}}
	s := serve(t, testPod("main"), node)
	for protocol, want := range map[string]string{"": "2:one\n 2:two\n ", "binary.k8s.io": "2:one\n 2:two\n ", "base64.binary.k8s.io": "1:b25lCg== 1:dHdvCg== "} {
		d := websocket.Dialer{}
		if protocol != "" {
			d.Subprotocols = []string{protocol}
		}
		conn, _, err := d.Dial("ws"+strings.TrimPrefix(s.URL, "http")+"/log", nil)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		for {
			kind, body, err := conn.ReadMessage()
			if err != nil {
				if !websocket.IsCloseError(err, websocket.CloseNormalClosure) {
					t.Errorf("%q: it ends with %v", protocol, err)
				}
				break
			}
			got += fmt.Sprintf("%d:%s ", kind, body)
		}
		conn.Close()
		if conn.Subprotocol() != protocol || got != want {
			t.Errorf("%q: %q over %q, want %q", protocol, got, conn.Subprotocol(), want)
		}
	}
}
