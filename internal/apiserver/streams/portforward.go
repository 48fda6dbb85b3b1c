package streams

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/gorilla/websocket"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	clientforward "k8s.io/client-go/tools/portforward"
	"k8s.io/streaming/pkg/httpstream"
	"k8s.io/streaming/pkg/httpstream/spdy"
	"k8s.io/streaming/pkg/httpstream/wsstream"
)

const (
	forwardProtocol = clientforward.PortForwardProtocolV1Name
	tunnelProtocol  = "SPDY/3.1+" + forwardProtocol
)

// PortForward serves pods/portforward. Over SPDY, plain or tunnelled, clients
// open a pair of streams for every connection they carry; over WebSocket
// channels the ports are those of opts, two channels each.
func PortForward(w http.ResponseWriter, req *http.Request, pod *corev1.Pod, opts *corev1.PodPortForwardOptions, backend Backend) {
	tunnel := wsstream.IsWebSocketRequestWithTunnelingProtocol(req)
	channels := !tunnel && wsstream.IsWebSocketRequest(req)
	err := upgradable(req, pod)
	if err == nil && channels && len(opts.Ports) == 0 {
		err = apierrors.NewBadRequest(`query parameter "ports" is required`)
	}
	if err == nil {
		err = check(req.Context(), pod, "", backend)
	}
	if err != nil {
		refuse(w, err)
		return
	}
	ctx, cancel := context.WithCancel(req.Context())
	defer cancel()
	f := &forwarder{pod: pod, backend: backend, cancel: cancel, pairs: map[string]*pair{}}
	switch {
	case tunnel:
		f.serveTunnel(ctx, w, req)
	case channels:
		f.serveChannels(ctx, w, req, opts.Ports)
	default:
		f.serveSPDY(ctx, w, req)
	}
}

// forwarder serves the port-forwards of one connection.
type forwarder struct {
	pod     *corev1.Pod
	backend Backend
	cancel  context.CancelFunc    // ends all that the connection carries
	conn    httpstream.Connection // set before the first stream is accepted
	running sync.WaitGroup

	mu     sync.Mutex
	closed bool             // no more streams
	pairs  map[string]*pair // waiting for their other stream, by request
	open   int              // streams
}

// pair is the two streams of one carried connection.
type pair struct {
	data, fault httpstream.Stream
	replies     []<-chan struct{}
	whole       chan struct{}
}

func (f *forwarder) serveSPDY(ctx context.Context, w http.ResponseWriter, req *http.Request) {
	if _, err := httpstream.Handshake(req, w, []string{forwardProtocol}); err != nil {
		return // answered
	}
	ready := make(chan struct{})
	conn := spdy.NewResponseUpgrader().UpgradeResponse(hijackable{w}, req, f.accept(ctx, ready))
	if conn != nil {
		f.run(ctx, conn, ready)
	}
}

// serveTunnel serves SPDY whose bytes travel in WebSocket messages.
func (f *forwarder) serveTunnel(ctx context.Context, w http.ResponseWriter, req *http.Request) {
	ws, err := upgradeTunnel(w, req)
	if err != nil {
		return // answered
	}
	ready := make(chan struct{})
	var carrier net.Conn = clientforward.NewTunnelingConnection("server", ws)
	conn, err := spdy.NewServerConnection(carrier, f.accept(ctx, ready))
	if err != nil {
		carrier.Close()
		return
	}
	f.run(ctx, conn, ready)
}

func upgradeTunnel(w http.ResponseWriter, req *http.Request) (*websocket.Conn, error) {
	for _, p := range websocket.Subprotocols(req) {
		if p == tunnelProtocol {
			return upgradeWebSocket(w, req, []string{tunnelProtocol})
		}
	}
	err := fmt.Errorf("unable to upgrade: no tunneling spdy protocols provided")
	http.Error(w, err.Error(), http.StatusForbidden)
	return nil, err
}

// run lets accepted streams go and waits for the client to hang up and for
// every carried connection to end.
func (f *forwarder) run(ctx context.Context, conn httpstream.Connection, ready chan struct{}) {
	f.conn = conn
	conn.SetIdleTimeout(idleTimeout)
	close(ready)
	select {
	case <-conn.CloseChan():
	case <-ctx.Done():
	}
	f.mu.Lock()
	f.closed = true
	f.mu.Unlock()
	f.cancel()
	conn.Close()
	f.running.Wait()
}

// accept takes the streams a client opens.
func (f *forwarder) accept(ctx context.Context, ready <-chan struct{}) httpstream.NewStreamHandler {
	return func(s httpstream.Stream, replied <-chan struct{}) error {
		<-ready
		port, err := streamPort(s)
		if err != nil {
			return err
		}
		kind := s.Headers().Get(corev1.StreamType)
		if kind != corev1.StreamTypeData && kind != corev1.StreamTypeError {
			if kind == "" {
				return fmt.Errorf("%q header is required", corev1.StreamType)
			}
			return fmt.Errorf("invalid stream type %q", kind)
		}
		return f.add(ctx, requestOf(s, kind), kind, port, s, replied)
	}
}

// streamPort is the port a stream is for.
func streamPort(s httpstream.Stream) (int32, error) {
	text := s.Headers().Get(corev1.PortHeader)
	if text == "" {
		return 0, fmt.Errorf("%q header is required", corev1.PortHeader)
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return 0, fmt.Errorf("unable to parse %q as a port: %w", text, err)
	}
	if port < 1 {
		return 0, fmt.Errorf("port %q must be > 0", text)
	}
	return int32(port), nil
}

// requestOf tells which pair a stream belongs to. Clients that send no request
// id open the error stream first and the data stream next after it.
func requestOf(s httpstream.Stream, kind string) string {
	if id := s.Headers().Get(corev1.PortForwardRequestIDHeader); id != "" {
		return id
	}
	n := s.Identifier()
	if kind == corev1.StreamTypeData {
		n -= 2
	}
	return strconv.FormatUint(uint64(n), 10)
}

func (f *forwarder) add(ctx context.Context, id, kind string, port int32, s httpstream.Stream, replied <-chan struct{}) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return errors.New("the connection is closing")
	}
	if f.open >= maxForwards {
		return fmt.Errorf("more than %d streams on one connection", maxForwards)
	}
	p := f.pairs[id]
	if p == nil {
		p = &pair{whole: make(chan struct{})}
		f.pairs[id] = p
		f.running.Add(1)
		go f.expire(ctx, id, p)
	}
	slot := &p.data
	if kind == corev1.StreamTypeError {
		slot = &p.fault
	}
	if *slot != nil {
		return fmt.Errorf("request %s has a %s stream already", id, kind)
	}
	*slot = s
	p.replies = append(p.replies, replied)
	f.open++
	if p.data == nil || p.fault == nil {
		return nil
	}
	delete(f.pairs, id)
	close(p.whole)
	f.running.Add(1)
	go f.carry(ctx, p, port)
	return nil
}

// expire drops a pair whose other stream does not come.
func (f *forwarder) expire(ctx context.Context, id string, p *pair) {
	defer f.running.Done()
	t := time.NewTimer(createTimeout)
	defer t.Stop()
	select {
	case <-p.whole:
		return
	case <-ctx.Done():
	case <-t.C:
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.pairs[id] != p {
		return
	}
	delete(f.pairs, id)
	f.open--
	if p.fault != nil {
		fmt.Fprintf(p.fault, "(request=%s) timed out waiting for streams", id)
		p.fault.Close()
		f.conn.RemoveStreams(p.fault)
		return
	}
	p.data.Reset()
	f.conn.RemoveStreams(p.data)
}

func (f *forwarder) carry(ctx context.Context, p *pair, port int32) {
	defer f.running.Done()
	for _, r := range p.replies {
		select {
		case <-r:
		case <-ctx.Done():
			return
		}
	}
	err := f.backend.PortForward(ctx, f.pod.Namespace, f.pod.Name, port, carried{p.data})
	if err != nil && !errors.Is(err, context.Canceled) {
		p.fault.Write(f.fault(port, err))
	}
	p.fault.Close()
	p.data.Close()
	f.mu.Lock()
	f.open -= 2
	f.mu.Unlock()
	f.conn.RemoveStreams(p.data, p.fault)
}

func (f *forwarder) fault(port int32, err error) []byte {
	return fmt.Appendf(nil, "error forwarding port %d to pod %s, uid %v: %v", port, f.pod.Name, f.pod.UID, err)
}

// carried is a data stream whose writes are split into frames.
type carried struct{ httpstream.Stream }

func (c carried) Write(p []byte) (int, error) { return chunked{c.Stream}.Write(p) }

// serveChannels serves the ports named in the query, each a data and an error
// channel that begin with the port in little endian.
func (f *forwarder) serveChannels(ctx context.Context, w http.ResponseWriter, req *http.Request, ports []int32) {
	reads := make([]bool, 2*len(ports))
	for i := range ports {
		reads[2*i] = true
	}
	c, _, err := openChannels(w, req, []string{v4Binary, v4Base64}, reads)
	if err != nil {
		return // answered
	}
	defer c.close()
	go func() {
		<-c.gone
		f.cancel()
	}()
	for i, port := range ports {
		data, fault := c.writer(byte(2*i)), c.writer(byte(2*i+1))
		head := binary.LittleEndian.AppendUint16(nil, uint16(port))
		data.Write(head)
		fault.Write(head)
		f.running.Go(func() {
			stream := duplex{Reader: c.in[2*i].r, Writer: data, Closer: c.in[2*i].r}
			err := f.backend.PortForward(ctx, f.pod.Namespace, f.pod.Name, port, stream)
			stream.Close()
			if err != nil && !errors.Is(err, context.Canceled) {
				fault.Write(f.fault(port, err))
			}
		})
	}
	f.running.Wait()
}

type duplex struct {
	io.Reader
	io.Writer
	io.Closer
}
