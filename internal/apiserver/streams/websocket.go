package streams

import (
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/gorilla/websocket"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/remotecommand"
	"k8s.io/streaming/pkg/httpstream/wsstream"
)

const (
	plainBinary = wsstream.ChannelWebSocketProtocol
	plainBase64 = wsstream.Base64ChannelWebSocketProtocol
	v4Binary    = "v4." + wsstream.ChannelWebSocketProtocol
	v4Base64    = "v4." + wsstream.Base64ChannelWebSocketProtocol
	v5Binary    = remotecommand.StreamProtocolV5Name
)

// channels is a WebSocket connection that carries numbered channels: the first
// byte of a message is its channel, a digit where the rest is base64.
type channels struct {
	conn   *websocket.Conn
	base64 bool
	closes bool // the client can end a channel: v5

	in   []*inbound // by channel; nil where the client has nothing to say
	gone chan struct{}

	mu  sync.Mutex // orders writes
	buf []byte
}

// inbound is a channel from the client: a bounded queue in front of a pipe.
type inbound struct {
	queue chan []byte
	r     *io.PipeReader
	ended bool // by the client; touched by the receiving goroutine alone
}

// openChannels upgrades the connection. reads tells which of the channels a
// client may write to. On error the client has been answered.
func openChannels(w http.ResponseWriter, req *http.Request, protocols []string, reads []bool) (*channels, string, error) {
	asked := websocket.Subprotocols(req)
	if len(asked) > 0 && !slices.ContainsFunc(asked, func(p string) bool { return slices.Contains(protocols, p) }) {
		err := fmt.Errorf("unable to upgrade: requested protocol(s) are not supported: %v; supports %v", asked, protocols)
		http.Error(w, err.Error(), http.StatusForbidden)
		return nil, "", err
	}
	conn, err := upgradeWebSocket(w, req, protocols)
	if err != nil {
		return nil, "", err
	}
	protocol := conn.Subprotocol()
	c := &channels{
		conn:   conn,
		base64: protocol == plainBase64 || protocol == v4Base64,
		closes: protocol == v5Binary,
		in:     make([]*inbound, len(reads)),
		gone:   make(chan struct{}),
	}
	for i, yes := range reads {
		if yes {
			c.in[i] = newInbound()
		}
	}
	c.touch()
	go c.receive()
	return c, protocol, nil
}

// WantsWebSocket tells whether a request asks to become a WebSocket.
func WantsWebSocket(req *http.Request) bool { return websocket.IsWebSocketUpgrade(req) }

// Messages is a WebSocket connection that the server alone speaks on.
type Messages struct{ conn *websocket.Conn }

// OpenMessages upgrades the connection, to the first of the subprotocols that
// the client knows, and calls gone once the client has hung up. On error the
// client has been answered.
func OpenMessages(w http.ResponseWriter, req *http.Request, protocols []string, gone func()) (*Messages, error) {
	conn, err := upgradeWebSocket(w, req, protocols)
	if err != nil {
		return nil, err
	}
	go func() {
		defer gone()
		for {
			if _, _, err := conn.ReadMessage(); err != nil {
				return
			}
		}
	}()
	return &Messages{conn}, nil
}

// Protocol is the subprotocol agreed on, or "".
func (m *Messages) Protocol() string { return m.conn.Subprotocol() }

// Send sends one message; it fails where the client takes none in time.
func (m *Messages) Send(text bool, body []byte, timeout time.Duration) error {
	kind := websocket.BinaryMessage
	if text {
		kind = websocket.TextMessage
	}
	_ = m.conn.SetWriteDeadline(time.Now().Add(timeout))
	return m.conn.WriteMessage(kind, body)
}

// Close says goodbye and hangs up.
func (m *Messages) Close() {
	bye := websocket.FormatCloseMessage(websocket.CloseNormalClosure, "")
	_ = m.conn.WriteControl(websocket.CloseMessage, bye, time.Now().Add(time.Second))
	m.conn.Close()
}

func upgradeWebSocket(w http.ResponseWriter, req *http.Request, protocols []string) (*websocket.Conn, error) {
	upgrader := websocket.Upgrader{
		Subprotocols: protocols,
		// Who may call was settled by authentication, which uses no cookies.
		CheckOrigin: func(*http.Request) bool { return true },
	}
	conn, err := upgrader.Upgrade(w, req, nil)
	if err != nil {
		return nil, fmt.Errorf("upgrading to WebSocket: %w", err)
	}
	conn.SetReadLimit(maxMessageBytes)
	return conn, nil
}

func newInbound() *inbound {
	r, w := io.Pipe()
	in := &inbound{queue: make(chan []byte, maxPendingInput), r: r}
	go func() {
		defer w.Close()
		for data := range in.queue {
			// After the reader is closed, writes fail at once: the queue drains.
			w.Write(data)
		}
	}()
	return in
}

func (in *inbound) end() {
	if !in.ended {
		in.ended = true
		close(in.queue)
	}
}

// touch puts off the idle timeout.
func (c *channels) touch() { c.conn.NetConn().SetReadDeadline(time.Now().Add(idleTimeout)) }

// receive hands messages to their channels until the client hangs up.
func (c *channels) receive() {
	defer close(c.gone)
	defer c.conn.Close() // frees a writer that the client no longer reads
	defer func() {
		for _, in := range c.in {
			if in != nil {
				in.end()
			}
		}
	}()
	for {
		_, data, err := c.conn.ReadMessage()
		if err != nil {
			return
		}
		c.touch()
		if len(data) == 0 {
			continue
		}
		channel, data := data[0], data[1:]
		if c.closes && channel == remotecommand.StreamClose {
			if len(data) != 1 || int(data[0]) >= len(c.in) {
				return
			}
			if in := c.in[data[0]]; in != nil {
				in.end()
			}
			continue
		}
		if c.base64 {
			channel -= '0'
			n, err := base64.StdEncoding.Decode(data, data)
			if err != nil {
				continue
			}
			data = data[:n]
		}
		if int(channel) >= len(c.in) || c.in[channel] == nil || c.in[channel].ended {
			continue
		}
		c.in[channel].queue <- data
	}
}

func (c *channels) write(channel byte, p []byte, within time.Duration) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	kind := websocket.BinaryMessage
	if c.base64 {
		kind = websocket.TextMessage
		c.buf = append(c.buf[:0], '0'+channel)
		c.buf = base64.StdEncoding.AppendEncode(c.buf, p)
	} else {
		c.buf = append(c.buf[:0], channel)
		c.buf = append(c.buf, p...)
	}
	c.touch()
	c.conn.SetWriteDeadline(time.Now().Add(within))
	if err := c.conn.WriteMessage(kind, c.buf); err != nil {
		return 0, fmt.Errorf("writing to channel %d: %w", channel, err)
	}
	return len(p), nil
}

// writer is the outgoing side of a channel.
func (c *channels) writer(channel byte) io.Writer {
	return chunked{writerFunc(func(p []byte) (int, error) { return c.write(channel, p, idleTimeout) })}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// close says goodbye, lets the client answer, and drops the connection.
func (c *channels) close() {
	for _, in := range c.in {
		if in != nil {
			in.r.Close()
		}
	}
	bye := websocket.FormatCloseMessage(websocket.CloseNormalClosure, "")
	c.conn.WriteControl(websocket.CloseMessage, bye, time.Now().Add(statusTimeout))
	linger(c.gone)
	c.conn.Close()
	<-c.gone
}

// openWebSocket upgrades the connection for exec and attach.
func openWebSocket(w http.ResponseWriter, req *http.Request, want wanted) (*session, error) {
	protocols := []string{v5Binary, v4Binary, v4Base64, plainBinary, plainBase64}
	reads := make([]bool, remotecommand.StreamResize+1)
	reads[remotecommand.StreamStdIn] = want.stdin
	reads[remotecommand.StreamResize] = true
	c, protocol, err := openChannels(w, req, protocols, reads)
	if err != nil {
		return nil, err
	}
	s := &session{gone: c.gone, resize: c.in[remotecommand.StreamResize].r}
	greet := byte(remotecommand.StreamErr)
	if want.stdin {
		s.stdin = c.in[remotecommand.StreamStdIn].r
	}
	if want.stderr {
		s.stderr = c.writer(remotecommand.StreamStdErr)
		greet = remotecommand.StreamStdErr
	}
	if want.stdout {
		s.stdout = c.writer(remotecommand.StreamStdOut)
		greet = remotecommand.StreamStdOut
	}
	// An empty message tells a client that the session stands.
	c.write(greet, nil, statusTimeout)
	s.end = func(status metav1.Status) {
		structured := protocol == v5Binary || protocol == v4Binary || protocol == v4Base64
		if body := encodeStatus(status, structured); len(body) > 0 {
			c.write(remotecommand.StreamErr, body, statusTimeout)
		}
		c.close()
	}
	return s, nil
}
