package streams

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/gorilla/websocket"
	"k8s.io/apimachinery/pkg/util/httpstream"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/transport/spdy"
)

func overEachDialer(t *testing.T, test func(t *testing.T, dial func(u *url.URL) httpstream.Dialer)) {
	t.Run("SPDY", func(t *testing.T) {
		test(t, func(u *url.URL) httpstream.Dialer {
			tripper, upgrader, err := spdy.RoundTripperFor(&rest.Config{Host: u.Host})
			if err != nil {
				t.Fatal(err)
			}
			return spdy.NewDialer(upgrader, &http.Client{Transport: tripper}, "POST", u)
		})
	})
	t.Run("Tunnel", func(t *testing.T) {
		test(t, func(u *url.URL) httpstream.Dialer {
			d, err := portforward.NewSPDYOverWebsocketDialer(u, &rest.Config{Host: u.Host})
			if err != nil {
				t.Fatal(err)
			}
			return d
		})
	})
}

// forwardPort runs client-go's forwarder and gives the local address.
func forwardPort(t *testing.T, d httpstream.Dialer, port int) string {
	t.Helper()
	stop, ready := make(chan struct{}), make(chan struct{})
	var errs safeBuffer
	f, err := portforward.NewOnAddresses(d, []string{"127.0.0.1"}, []string{fmt.Sprintf("0:%d", port)}, stop, ready, io.Discard, &errs)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- f.ForwardPorts() }()
	t.Cleanup(func() { close(stop); <-done })
	select {
	case <-ready:
	case err := <-done:
		done <- err
		t.Fatalf("forwarding ended: %v", err)
	}
	ports, err := f.GetPorts()
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("127.0.0.1:%d", ports[0].Local)
}

type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func TestPortForwardCarriesManyConnections(t *testing.T) {
	node := &fakeNode{forward: func(_ context.Context, port int32, stream io.ReadWriteCloser) error {
		in, err := io.ReadAll(stream) // the client half closes
		if err != nil {
			return err
		}
		fmt.Fprintf(stream, "%d:", port)
		_, err = stream.Write(in)
		return err
	}}
	overEachDialer(t, func(t *testing.T, dial func(u *url.URL) httpstream.Dialer) {
		s := serve(t, testPod("main"), node)
		local := forwardPort(t, dial(address(t, s, "/portforward", nil)), 8080)
		var clients sync.WaitGroup
		for i := range 16 {
			clients.Go(func() {
				body := strings.Repeat(string(rune('a'+i)), 300<<10)
				conn, err := net.Dial("tcp", local)
				if err != nil {
					t.Error(err)
					return
				}
				defer conn.Close()
				go func() {
					io.WriteString(conn, body)
					conn.(*net.TCPConn).CloseWrite()
				}()
				out, err := io.ReadAll(conn)
				if err != nil || string(out) != "8080:"+body {
					t.Errorf("connection %d: %d bytes, error %v", i, len(out), err)
				}
			})
		}
		clients.Wait()
	})
}

func TestPortForwardTellsFailures(t *testing.T) {
	node := &fakeNode{forward: func(context.Context, int32, io.ReadWriteCloser) error { return errors.New("connection refused") }}
	overEachDialer(t, func(t *testing.T, dial func(u *url.URL) httpstream.Dialer) {
		s := serve(t, testPod("main"), node)
		conn, _, err := dial(address(t, s, "/portforward", nil)).Dial(portforward.PortForwardProtocolV1Name)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		head := http.Header{"Port": {"81"}, "Requestid": {"0"}, "Streamtype": {"error"}}
		fault, err := conn.CreateStream(head)
		if err != nil {
			t.Fatal(err)
		}
		head.Set("Streamtype", "data")
		if _, err := conn.CreateStream(head); err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(fault)
		if want := "error forwarding port 81 to pod web, uid u1: connection refused"; string(text) != want {
			t.Errorf("error stream says %q, want %q", text, want)
		}
	})
}

func TestPortForwardEndsWithItsClient(t *testing.T) {
	overEachDialer(t, func(t *testing.T, dial func(u *url.URL) httpstream.Dialer) {
		started, ended := make(chan struct{}), make(chan struct{})
		node := &fakeNode{forward: func(ctx context.Context, _ int32, _ io.ReadWriteCloser) error {
			close(started)
			<-ctx.Done()
			close(ended)
			return ctx.Err()
		}}
		s := serve(t, testPod("main"), node)
		conn, _, err := dial(address(t, s, "/portforward", nil)).Dial(portforward.PortForwardProtocolV1Name)
		if err != nil {
			t.Fatal(err)
		}
		for _, kind := range []string{"error", "data"} {
			if _, err := conn.CreateStream(http.Header{"Port": {"81"}, "Requestid": {"0"}, "Streamtype": {kind}}); err != nil {
				t.Fatal(err)
			}
		}
		<-started
		conn.Close()
		<-ended
	})
}

func TestPortForwardOverChannels(t *testing.T) {
	node := &fakeNode{forward: func(_ context.Context, port int32, stream io.ReadWriteCloser) error {
		in := make([]byte, 4)
		if _, err := io.ReadFull(stream, in); err != nil {
			return err
		}
		stream.Write(in)
		return fmt.Errorf("broken")
	}}
	s := serve(t, testPod("main"), node)
	u := address(t, s, "/portforward", url.Values{"ports": {"80"}})
	u.Scheme = "ws"
	conn, _, err := (&websocket.Dialer{Subprotocols: []string{"v4.channel.k8s.io"}}).Dial(u.String(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.WriteMessage(websocket.BinaryMessage, append([]byte{0}, "ping"...))
	head := string(binary.LittleEndian.AppendUint16(nil, 80))
	for _, want := range []string{"\x00" + head, "\x01" + head, "\x00ping", "\x01error forwarding port 80 to pod web, uid u1: broken"} {
		_, data, err := conn.ReadMessage()
		if err != nil || string(data) != want {
			t.Fatalf("message is %q, error %v, want %q", data, err, want)
		}
	}
}
