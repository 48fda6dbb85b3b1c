package streams

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/remotecommand"
	"k8s.io/streaming/pkg/httpstream"
	"k8s.io/streaming/pkg/httpstream/spdy"
)

var spdyProtocols = []string{
	remotecommand.StreamProtocolV4Name, remotecommand.StreamProtocolV3Name,
	remotecommand.StreamProtocolV2Name, remotecommand.StreamProtocolV1Name,
}

// spdyStream is a stream the client has opened; replied is closed when it
// knows that we have it, and nothing may be written before.
type spdyStream struct {
	httpstream.Stream
	replied <-chan struct{}
}

// openSPDY upgrades the connection and waits for the streams the client said it
// wants. On error the client has been answered.
func openSPDY(w http.ResponseWriter, req *http.Request, want wanted) (*session, error) {
	protocol, err := httpstream.Handshake(req, w, spdyProtocols)
	if err != nil {
		return nil, err
	}
	opened := make(chan spdyStream)
	stop := make(chan struct{})
	defer close(stop)
	conn := spdy.NewResponseUpgrader().UpgradeResponse(hijackable{w}, req, func(s httpstream.Stream, replied <-chan struct{}) error {
		select {
		case opened <- spdyStream{s, replied}:
			return nil
		case <-stop:
			return fmt.Errorf("unexpected stream of type %q", s.Headers().Get(corev1.StreamType))
		}
	})
	if conn == nil {
		return nil, fmt.Errorf("upgrading to SPDY")
	}
	conn.SetIdleTimeout(idleTimeout)

	gone := hangup(conn)
	streams, err := collect(opened, expected(protocol, want), gone)
	if err != nil {
		conn.Close()
		return nil, err
	}
	s := &session{gone: gone}
	stdin, stdout, stderr := streams[corev1.StreamTypeStdin], streams[corev1.StreamTypeStdout], streams[corev1.StreamTypeStderr]
	if stdin != nil {
		s.stdin = stdin
	}
	if stdout != nil {
		s.stdout = chunked{stdout}
	}
	if stderr != nil {
		s.stderr = chunked{stderr}
	}
	if r := streams[corev1.StreamTypeResize]; r != nil {
		s.resize = r
	}
	s.end = func(status metav1.Status) {
		defer conn.Close()
		if stdout != nil {
			stdout.Close()
		}
		if stderr != nil {
			stderr.Close()
		}
		verdict := streams[corev1.StreamTypeError]
		if body := encodeStatus(status, protocol == remotecommand.StreamProtocolV4Name); len(body) > 0 {
			verdict.Write(body)
		}
		verdict.Close()
		if stdin != nil {
			stdin.Close()
			go io.Copy(io.Discard, stdin)
		}
		linger(gone)
	}
	return s, nil
}

// expected lists the types of streams a client opens.
func expected(protocol string, want wanted) map[string]bool {
	types := map[string]bool{corev1.StreamTypeError: true}
	if want.stdin {
		types[corev1.StreamTypeStdin] = true
	}
	if want.stdout {
		types[corev1.StreamTypeStdout] = true
	}
	if want.stderr {
		types[corev1.StreamTypeStderr] = true
	}
	if want.tty && (protocol == remotecommand.StreamProtocolV4Name || protocol == remotecommand.StreamProtocolV3Name) {
		types[corev1.StreamTypeResize] = true
	}
	return types
}

func collect(opened <-chan spdyStream, types map[string]bool, gone <-chan struct{}) (map[string]httpstream.Stream, error) {
	expired := time.NewTimer(createTimeout)
	defer expired.Stop()
	streams := map[string]httpstream.Stream{}
	var replies []<-chan struct{}
	for len(streams) < len(types) {
		select {
		case s := <-opened:
			kind := s.Headers().Get(corev1.StreamType)
			if !types[kind] || streams[kind] != nil {
				s.Reset()
				continue
			}
			streams[kind] = s.Stream
			replies = append(replies, s.replied)
		case <-gone:
			return nil, fmt.Errorf("waiting for the client's streams: it hung up")
		case <-expired.C:
			return nil, fmt.Errorf("timed out waiting for client to create streams")
		}
	}
	for _, r := range replies {
		select {
		case <-r:
		case <-gone:
			return nil, fmt.Errorf("accepting the client's streams: it hung up")
		}
	}
	return streams, nil
}

// hangup is conn's close channel in the form contexts have.
func hangup(conn httpstream.Connection) <-chan struct{} {
	gone := make(chan struct{})
	go func() {
		<-conn.CloseChan()
		close(gone)
	}()
	return gone
}

// linger gives the client its time to hang up first.
func linger(gone <-chan struct{}) {
	t := time.NewTimer(lingerTimeout)
	defer t.Stop()
	select {
	case <-gone:
	case <-t.C:
	}
}

// hijackable lets the SPDY upgrader reach the connection through a chain of
// wrapped response writers.
type hijackable struct{ http.ResponseWriter }

func (h hijackable) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return http.NewResponseController(h.ResponseWriter).Hijack()
}
