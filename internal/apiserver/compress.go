package apiserver

import (
	"bytes"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"

	"github.com/klauspost/compress/gzip"
)

// minGzip is the size from which an answer is compressed, upstream's.
const minGzip = 128 << 10

// wantsGzip tells whether a large answer should be compressed: the client takes
// it so, and there is a network between to save. On the loopback it would only
// cost both sides.
func wantsGzip(req *http.Request) bool {
	if req.Method != http.MethodGet || !acceptsGzip(req.Header.Get("Accept-Encoding")) {
		return false
	}
	host, _, err := net.SplitHostPort(req.RemoteAddr)
	if err != nil {
		return false
	}
	peer, err := netip.ParseAddr(host)
	return err == nil && !peer.Unmap().IsLoopback()
}

func acceptsGzip(header string) bool {
	for part := range strings.SplitSeq(header, ",") {
		name, q, _ := strings.Cut(strings.TrimSpace(part), ";")
		if name == "gzip" && strings.ReplaceAll(q, " ", "") != "q=0" {
			return true
		}
	}
	return false
}

var gzips = sync.Pool{New: func() any {
	w, err := gzip.NewWriterLevel(nil, gzip.BestSpeed)
	if err != nil {
		panic(err) // the level exists
	}
	return w
}}

func compressed(body []byte) []byte {
	var out bytes.Buffer
	w := gzips.Get().(*gzip.Writer)
	defer gzips.Put(w)
	w.Reset(&out)
	_, _ = w.Write(body) // a buffer does not fail
	_ = w.Close()
	return out.Bytes()
}
