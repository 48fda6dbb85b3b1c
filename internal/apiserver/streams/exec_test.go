package streams

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/gorilla/websocket"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/util/exec"
)

type dialer = func(u *url.URL) (remotecommand.Executor, error)

func TestExecCarriesInputOutputAndCommand(t *testing.T) {
	overEach(t, func(t *testing.T, dial dialer, half bool) {
		node := &fakeNode{exec: func(_ context.Context, container string, cmd []string, tty bool, stdin io.Reader, stdout, stderr io.Writer, _ <-chan Size) (int, error) {
			fmt.Fprintf(stderr, "%s %q %v", container, cmd, tty)
			if !half {
				line := make([]byte, 5)
				_, err := io.ReadFull(stdin, line)
				stdout.Write(line)
				return 0, err
			}
			in, err := io.ReadAll(stdin) // returns because the client ends its input
			stdout.Write(bytes.ToUpper(in))
			return 0, err
		}}
		s := serve(t, testPod("main"), node)
		e, err := dial(address(t, s, "/exec", url.Values{"command": {"cat", "-"}, "stdin": {"true"}, "stdout": {"true"}, "stderr": {"true"}}))
		if err != nil {
			t.Fatal(err)
		}
		var out, errs bytes.Buffer
		if err := e.StreamWithContext(t.Context(), remotecommand.StreamOptions{Stdin: strings.NewReader("hello"), Stdout: &out, Stderr: &errs}); err != nil {
			t.Fatal(err)
		}
		if want := map[bool]string{true: "HELLO", false: "hello"}[half]; out.String() != want {
			t.Errorf("stdout is %q, want %q", out.String(), want)
		}
		if want := `main ["cat" "-"] false`; errs.String() != want {
			t.Errorf("stderr is %q, want %q", errs.String(), want)
		}
	})
}

func TestExecTellsExitCodes(t *testing.T) {
	overEach(t, func(t *testing.T, dial dialer, _ bool) {
		node := &fakeNode{exec: func(context.Context, string, []string, bool, io.Reader, io.Writer, io.Writer, <-chan Size) (int, error) {
			return 42, nil
		}}
		s := serve(t, testPod("main"), node)
		e, err := dial(address(t, s, "/exec", url.Values{"command": {"false"}, "stdout": {"1"}}))
		if err != nil {
			t.Fatal(err)
		}
		err = e.StreamWithContext(t.Context(), remotecommand.StreamOptions{Stdout: io.Discard})
		var exit exec.CodeExitError
		if !errors.As(err, &exit) || exit.Code != 42 {
			t.Errorf("error is %v, want exit code 42", err)
		}
	})
}

func TestExecTellsFailures(t *testing.T) {
	overEach(t, func(t *testing.T, dial dialer, _ bool) {
		node := &fakeNode{exec: func(context.Context, string, []string, bool, io.Reader, io.Writer, io.Writer, <-chan Size) (int, error) {
			return 0, errors.New("no such file")
		}}
		s := serve(t, testPod("main"), node)
		e, err := dial(address(t, s, "/exec", url.Values{"command": {"x"}, "stdout": {"1"}}))
		if err != nil {
			t.Fatal(err)
		}
		err = e.StreamWithContext(t.Context(), remotecommand.StreamOptions{Stdout: io.Discard})
		if want := "Internal error occurred: error executing command in container: no such file"; err == nil || err.Error() != want {
			t.Errorf("error is %v, want %s", err, want)
		}
	})
}

type sizes []remotecommand.TerminalSize

func (s *sizes) Next() *remotecommand.TerminalSize {
	if len(*s) == 0 {
		return nil
	}
	next := (*s)[0]
	*s = (*s)[1:]
	return &next
}

func TestTerminalSizesReachTheProcess(t *testing.T) {
	overEach(t, func(t *testing.T, dial dialer, _ bool) {
		node := &fakeNode{exec: func(_ context.Context, _ string, _ []string, tty bool, _ io.Reader, stdout, stderr io.Writer, resize <-chan Size) (int, error) {
			if !tty || stderr != nil {
				return 0, fmt.Errorf("tty is %v, stderr %v", tty, stderr)
			}
			for size := range resize { // sizes that nobody took are replaced by later ones
				if size == (Size{132, 43}) {
					fmt.Fprint(stdout, "seen")
					return 0, nil
				}
			}
			return 0, errors.New("no size")
		}}
		s := serve(t, testPod("main"), node)
		e, err := dial(address(t, s, "/exec", url.Values{"command": {"sh"}, "stdout": {"true"}, "tty": {"true"}, "stdin": {"true"}}))
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		queue := sizes{{Width: 80, Height: 24}, {Width: 132, Height: 43}}
		stdin, hold := io.Pipe()
		defer hold.Close()
		err = e.StreamWithContext(t.Context(), remotecommand.StreamOptions{Stdin: stdin, Stdout: &out, Tty: true, TerminalSizeQueue: &queue})
		if err != nil || out.String() != "seen" {
			t.Errorf("output is %q, error %v", out.String(), err)
		}
	})
}

type counter struct {
	n   int
	sum hash.Hash
}

func (c *counter) Write(p []byte) (int, error) {
	c.n += len(p)
	return c.sum.Write(p)
}

func TestLargeOutputArrivesWhole(t *testing.T) {
	const total = 64 << 20
	piece := make([]byte, 1<<20)
	for i := range piece {
		piece[i] = byte(i * 7)
	}
	want := sha256.New()
	for n := 0; n < total; n += len(piece) {
		want.Write(piece)
	}
	overEach(t, func(t *testing.T, dial dialer, _ bool) {
		node := &fakeNode{exec: func(_ context.Context, _ string, _ []string, _ bool, _ io.Reader, stdout, _ io.Writer, _ <-chan Size) (int, error) {
			for n := 0; n < total; n += len(piece) {
				if _, err := stdout.Write(piece); err != nil {
					return 0, err
				}
			}
			return 3, nil
		}}
		s := serve(t, testPod("main"), node)
		// The client keeps sending what nobody reads, up to the end.
		e, err := dial(address(t, s, "/exec", url.Values{"command": {"cat"}, "stdout": {"true"}, "stdin": {"true"}}))
		if err != nil {
			t.Fatal(err)
		}
		got := &counter{sum: sha256.New()}
		err = e.StreamWithContext(t.Context(), remotecommand.StreamOptions{Stdout: got, Stdin: strings.NewReader(strings.Repeat("x", 200<<10))})
		var exit exec.CodeExitError
		if !errors.As(err, &exit) || exit.Code != 3 {
			t.Errorf("error is %v, want exit code 3", err)
		}
		if got.n != total || !bytes.Equal(got.sum.Sum(nil), want.Sum(nil)) {
			t.Errorf("%d bytes arrived, want %d and the same", got.n, total)
		}
	})
}

func TestClientThatHangsUpEndsTheBackendsContext(t *testing.T) {
	overEach(t, func(t *testing.T, dial dialer, _ bool) {
		started, ended := make(chan struct{}), make(chan struct{})
		node := &fakeNode{exec: func(ctx context.Context, _ string, _ []string, _ bool, _ io.Reader, _, _ io.Writer, _ <-chan Size) (int, error) {
			close(started)
			<-ctx.Done() // without reading its input
			close(ended)
			return 0, ctx.Err()
		}}
		s := serve(t, testPod("main"), node)
		e, err := dial(address(t, s, "/exec", url.Values{"command": {"sleep"}, "stdout": {"true"}, "stdin": {"true"}}))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		stdin, typed := io.Pipe()
		defer typed.Close()
		go func() {
			typed.Write([]byte("typed"))
			<-started
			cancel()
		}()
		e.StreamWithContext(ctx, remotecommand.StreamOptions{Stdout: io.Discard, Stdin: stdin})
		<-ended
	})
}

func TestAttachTakesTheTerminalOfTheContainer(t *testing.T) {
	pod := testPod("main")
	pod.Spec.Containers[0].TTY = true
	node := &fakeNode{exec: func(_ context.Context, _ string, _ []string, tty bool, _ io.Reader, stdout, _ io.Writer, _ <-chan Size) (int, error) {
		fmt.Fprint(stdout, tty)
		return 0, nil
	}}
	overEach(t, func(t *testing.T, dial dialer, _ bool) {
		s := serve(t, pod, node)
		e, err := dial(address(t, s, "/attach", url.Values{"stdout": {"true"}}))
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		if err := e.StreamWithContext(t.Context(), remotecommand.StreamOptions{Stdout: &out}); err != nil || out.String() != "true" {
			t.Errorf("output is %q, error %v", out.String(), err)
		}
	})
}

func TestBase64ChannelsForOldBrowsers(t *testing.T) {
	node := &fakeNode{exec: func(_ context.Context, _ string, _ []string, _ bool, stdin io.Reader, stdout, _ io.Writer, _ <-chan Size) (int, error) {
		in := make([]byte, 4)
		_, err := io.ReadFull(stdin, in)
		stdout.Write(in)
		return 7, err
	}}
	for protocol, structured := range map[string]bool{"v4.base64.channel.k8s.io": true, "base64.channel.k8s.io": false} {
		s := serve(t, testPod("main"), node)
		u := address(t, s, "/exec", url.Values{"command": {"x"}, "stdout": {"true"}, "stdin": {"true"}})
		u.Scheme = "ws"
		d := websocket.Dialer{Subprotocols: []string{protocol}}
		conn, _, err := d.Dial(u.String(), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conn.WriteMessage(websocket.TextMessage, []byte("0"+base64.StdEncoding.EncodeToString([]byte("ping"))))
		var out []string
		for {
			kind, data, err := conn.ReadMessage()
			if err != nil {
				if !websocket.IsCloseError(err, websocket.CloseNormalClosure) {
					t.Errorf("%s: closed with %v", protocol, err)
				}
				break
			}
			text, err := base64.StdEncoding.DecodeString(string(data[1:]))
			if err != nil || kind != websocket.TextMessage {
				t.Fatalf("%s: message %q of kind %d: %v", protocol, data, kind, err)
			}
			out = append(out, string(data[:1])+string(text))
		}
		if len(out) != 3 || out[0] != "1" || out[1] != "1ping" {
			t.Fatalf("%s: messages are %q", protocol, out)
		}
		var status metav1.Status
		if err := json.Unmarshal([]byte(out[2][1:]), &status); (err == nil) != structured {
			t.Errorf("%s: verdict is %q", protocol, out[2])
		}
	}
}

func TestRefusalsBeforeTheUpgrade(t *testing.T) {
	two := testPod("a", "b")
	defaulted := testPod("a", "b")
	defaulted.Annotations = map[string]string{"kubectl.kubernetes.io/default-container": "b"}
	unbound := testPod("a")
	unbound.Spec.NodeName = ""
	for _, c := range []struct {
		pod   *corev1.Pod
		query string
		plain bool
		want  string
	}{
		{two, "stdout=true", false, "a container name must be specified for pod web, choose one of: [a b]"},
		{two, "stdout=true&container=c", false, "container c is not valid for pod web"},
		{defaulted, "stdin=false", false, "you must specify at least 1 of stdin, stdout, stderr"},
		{two, "container=a&tty=true&stderr=true", false, "you must specify at least 1 of stdin, stdout, stderr"},
		{unbound, "stdout=true", false, "pod web does not have a host assigned"},
		{testPod("a"), "stdout=true", true, "Upgrade request required"},
	} {
		s := serve(t, c.pod, &fakeNode{})
		req, _ := http.NewRequest("POST", s.URL+"/exec?"+c.query, nil)
		if !c.plain {
			req.Header.Set("Connection", "Upgrade")
			req.Header.Set("Upgrade", "SPDY/3.1")
			req.Header.Set("X-Stream-Protocol-Version", "v4.channel.k8s.io")
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		var status metav1.Status
		if err := json.NewDecoder(resp.Body).Decode(&status); err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != 400 || status.Message != c.want || status.Reason != metav1.StatusReasonBadRequest {
			t.Errorf("%s: %d %q, want %q", c.query, resp.StatusCode, status.Message, c.want)
		}
	}
}
