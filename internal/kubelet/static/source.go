package static

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"time"

	corev1 "k8s.io/api/core/v1"
)

const (
	// maxManifest bounds what is read of one file or answer, as upstream.
	maxManifest = 10 << 20
	// settle is the wait after a change before a directory is read: files are seldom
	// written at once.
	settle = 100 * time.Millisecond
)

// Config is where pods are.
type Config struct {
	Path       string // a directory, or a file; "" for none
	FileEvery  time.Duration
	URL        string // "" for none
	URLHeader  http.Header
	HTTPEvery  time.Duration
	HTTPClient *http.Client
	Decoder    Decoder
	Logger     *slog.Logger
	Now        func() time.Time
}

// Source gives the pods there are.
type Source struct {
	cfg Config
	// set takes all pods of one origin, whenever they change.
	set  func(source string, pods []*corev1.Pod)
	told map[string]string // by origin: the trouble told already
	seen map[string]*file
	// answer is what the URL said last.
	answer *file
}

// file is one that was read.
type file struct {
	data []byte
	pods []*corev1.Pod
}

// New makes a source.
func New(cfg Config, set func(source string, pods []*corev1.Pod)) *Source {
	if cfg.HTTPClient == nil {
		cfg.HTTPClient = &http.Client{Timeout: 10 * time.Second}
	}
	return &Source{cfg: cfg, set: set, told: map[string]string{}, seen: map[string]*file{}}
}

// Run follows what is configured until ctx ends.
func (s *Source) Run(ctx context.Context) error {
	var changes <-chan struct{}
	var files, answers <-chan time.Time
	if s.cfg.Path != "" {
		t := time.NewTicker(s.cfg.FileEvery)
		defer t.Stop()
		files = t.C
		w, err := watch(s.cfg.Path)
		if err != nil { // the ticker is enough
			s.tell(s.cfg.Path, err)
		} else {
			defer w.close()
			changes = w.events
		}
		s.readPath()
	}
	if s.cfg.URL != "" {
		t := time.NewTicker(s.cfg.HTTPEvery)
		defer t.Stop()
		answers = t.C
		s.readURL(ctx)
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-files:
			s.readPath()
		case <-answers:
			s.readURL(ctx)
		case <-changes:
			t := time.NewTimer(settle)
			select {
			case <-ctx.Done():
			case <-t.C:
				s.readPath()
			}
			t.Stop()
		}
	}
}

// tell says what is wrong with an origin, once; nil is that nothing is.
func (s *Source) tell(origin string, err error) {
	if err == nil {
		delete(s.told, origin)
		return
	}
	if s.told[origin] != err.Error() {
		s.told[origin] = err.Error()
		s.cfg.Logger.Error("kubelet: a static pod's source could not be used", "source", origin, "error", err)
	}
}

func (s *Source) readPath() {
	pods, err := s.list()
	s.tell(s.cfg.Path, err)
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		s.set(FromFile, pods)
	}
}

func (s *Source) list() ([]*corev1.Pod, error) {
	info, err := os.Stat(s.cfg.Path)
	if err != nil {
		return nil, fmt.Errorf("read static pods: %w", err)
	}
	paths := []string{s.cfg.Path}
	if info.IsDir() {
		if paths, err = filepath.Glob(filepath.Join(s.cfg.Path, "[^.]*")); err != nil {
			return nil, fmt.Errorf("read static pods: %w", err)
		}
	}
	var out []*corev1.Pod
	names, next := map[string]string{}, map[string]*file{}
	for _, p := range paths {
		f, err := s.read(p)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		s.tell(p, err)
		if err != nil {
			// What is wrong now is not what ran before: the pod ends, as with upstream.
			continue
		}
		next[p] = f
		for _, pod := range f.pods {
			key := pod.Namespace + "/" + pod.Name
			if other := names[key]; other != "" {
				s.tell(p, fmt.Errorf("pod %s is in %s already", key, other))
				continue
			}
			names[key] = p
			out = append(out, pod)
		}
	}
	s.seen = next
	return out, nil
}

// read reads one file. One that did not change keeps its pods, and when they were seen.
func (s *Source) read(path string) (*file, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		if info.IsDir() {
			return nil, errors.New("provided manifest path is a directory, not recursing into manifest path")
		}
		return nil, errors.New("manifest path is not a directory or file")
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := readAll(f)
	if err != nil {
		return nil, err
	}
	if old := s.seen[path]; old != nil && bytes.Equal(old.data, data) {
		return old, nil
	}
	pods, err := s.cfg.Decoder.Decode(data, FromFile, path, false, s.cfg.Now())
	if err != nil {
		return nil, err
	}
	return &file{data, pods}, nil
}

func readAll(r io.Reader) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxManifest+1))
	if err == nil && len(data) > maxManifest {
		err = fmt.Errorf("it is larger than %d bytes", maxManifest)
	}
	return data, err
}

func (s *Source) readURL(ctx context.Context) {
	pods, err := s.get(ctx)
	if ctx.Err() != nil {
		return
	}
	s.tell(s.cfg.URL, err)
	if err == nil {
		s.set(FromHTTP, pods)
	}
}

func (s *Source) get(ctx context.Context) ([]*corev1.Pod, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.cfg.URL, nil)
	if err != nil {
		return nil, fmt.Errorf("read static pods: %w", err)
	}
	if s.cfg.URLHeader != nil {
		req.Header = s.cfg.URLHeader.Clone()
	}
	res, err := s.cfg.HTTPClient.Do(req)
	if err != nil {
		return nil, fmt.Errorf("read static pods: %w", err)
	}
	defer res.Body.Close()
	data, err := readAll(res.Body)
	switch {
	case err != nil:
		return nil, fmt.Errorf("read static pods: %w", err)
	case res.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("%v: %v", s.cfg.URL, res.Status)
	case len(data) == 0:
		s.tell(s.cfg.URL, fmt.Errorf("zero-length data received from %v", s.cfg.URL))
		return nil, nil
	}
	if s.answer != nil && bytes.Equal(s.answer.data, data) {
		return s.answer.pods, nil
	}
	pods, err := s.cfg.Decoder.Decode(data, FromHTTP, s.cfg.URL, true, s.cfg.Now())
	if err != nil {
		return nil, err
	}
	s.answer = &file{data, pods}
	return pods, nil
}
