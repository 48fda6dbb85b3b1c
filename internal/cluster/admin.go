package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/monohull/monohull/internal/runtime"
	"github.com/monohull/monohull/internal/runtime/image"
)

// SocketPath is where a running server takes the commands of `monohull image`.
// Only root may open it.
func SocketPath(dataDir string) string { return filepath.Join(dataDir, "monohull.sock") }

// ImageProgress is one line of the answer to a pull or an import: how far it
// is, or, last, the images' names or an error.
type ImageProgress struct {
	Done   int64    `json:"done,omitempty"`  // bytes
	Total  int64    `json:"total,omitempty"` // bytes; 0 while it is not known
	Images []string `json:"images,omitempty"`
	Error  string   `json:"error,omitempty"`
}

// ImageInfo is one image of the list.
type ImageInfo struct {
	Names []string `json:"names"` // tags, or digests where there are none
	ID    string   `json:"id"`
	Size  int64    `json:"size"` // bytes, compressed
}

// serveAdmin serves the socket until ctx ends.
func (c *cluster) serveAdmin(ctx context.Context, rt *runtime.Runtime) error {
	path := SocketPath(c.cfg.DataDir)
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("cluster: removing the old command socket: %w", err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return fmt.Errorf("cluster: opening the command socket: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		l.Close()
		return fmt.Errorf("cluster: opening the command socket: %w", err)
	}
	srv := &http.Server{Handler: ImageHandler(rt.Images()), ReadHeaderTimeout: 10 * time.Second, BaseContext: func(net.Listener) context.Context { return ctx }}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(l) }()
	select {
	case <-ctx.Done():
		srv.Close()
		<-done
		return nil
	case err := <-done:
		return fmt.Errorf("cluster: serving commands: %w", err)
	}
}

// ImageHandler serves the image commands over a store.
func ImageHandler(s *image.Store) http.Handler {
	m := http.NewServeMux()
	m.HandleFunc("POST /images/import", func(w http.ResponseWriter, r *http.Request) {
		list, err := s.Import(r.Context(), r.Body)
		var names []string
		for _, i := range list {
			names = append(names, nameOf(i, ""))
		}
		finish(w, names, err)
	})
	m.HandleFunc("POST /images/pull", func(w http.ResponseWriter, r *http.Request) {
		var auth *runtimeapi.AuthConfig
		if u, p, ok := r.BasicAuth(); ok {
			auth = &runtimeapi.AuthConfig{Username: u, Password: p}
		}
		control := http.NewResponseController(w)
		ref := r.URL.Query().Get("ref")
		var mu sync.Mutex // layers come in side by side
		img, err := s.Pull(r.Context(), ref, auth, func(p image.Progress) {
			mu.Lock()
			defer mu.Unlock()
			_ = json.NewEncoder(w).Encode(ImageProgress{Done: p.Done, Total: p.Total})
			_ = control.Flush()
		})
		if err != nil {
			finish(w, nil, err)
			return
		}
		finish(w, []string{nameOf(img, ref)}, nil)
	})
	m.HandleFunc("DELETE /images", func(w http.ResponseWriter, r *http.Request) {
		finish(w, nil, s.Untag(r.Context(), r.URL.Query().Get("ref")))
	})
	m.HandleFunc("GET /images", func(w http.ResponseWriter, _ *http.Request) {
		out := []ImageInfo{}
		for _, i := range s.List() {
			names := i.Tags
			if len(names) == 0 {
				names = i.Digests
			}
			out = append(out, ImageInfo{Names: names, ID: i.ID, Size: i.Size})
		}
		_ = json.NewEncoder(w).Encode(out)
	})
	return m
}

// nameOf is what a user calls an image: as it was asked for where it can be.
func nameOf(i *image.Image, asked string) string {
	if n := i.Name(asked); n != "" {
		return n
	}
	return i.Ref()
}

func finish(w http.ResponseWriter, names []string, err error) {
	p := ImageProgress{Images: names}
	if err != nil {
		p.Images, p.Error = nil, err.Error()
	}
	_ = json.NewEncoder(w).Encode(p)
}
