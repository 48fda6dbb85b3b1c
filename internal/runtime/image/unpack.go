package image

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/containerd/containerd/v2/pkg/archive"
	"github.com/klauspost/compress/zstd"
)

// layerMeta is what is known of an unpacked layer.
type layerMeta struct {
	Size   int64 `json:"size"`
	Inodes int64 `json:"inodes"`
}

// fetched is an image's configuration and a way to each of its layers, from
// wherever it comes.
type fetched struct {
	id      string // digest of config
	config  []byte
	size    int64
	tags    []string
	digests []string
	// layer opens the i-th layer, lowest first; its own digest is verified by the
	// reader, at its end.
	layer func(ctx context.Context, i int) (io.ReadCloser, error)
	count int
}

// imageFile is the part of an image's configuration that is read here.
type imageFile struct {
	Architecture string `json:"architecture"`
	OS           string `json:"os"`
	Config       struct {
		User       string
		Env        []string
		Entrypoint []string
		Cmd        []string
		WorkingDir string
		StopSignal string
	} `json:"config"`
	RootFS struct {
		DiffIDs []string `json:"diff_ids"`
	} `json:"rootfs"`
}

// add unpacks the layers that are not here yet and records the image.
func (s *Store) add(ctx context.Context, f *fetched) (*Image, error) {
	if sum := digestOf(f.config); sum != f.id {
		return nil, fmt.Errorf("image configuration has digest %s, want %s", sum, f.id)
	}
	var file imageFile
	if err := json.Unmarshal(f.config, &file); err != nil {
		return nil, fmt.Errorf("decode image configuration %s: %w", f.id, err)
	}
	ids := file.RootFS.DiffIDs
	if len(ids) != f.count {
		return nil, fmt.Errorf("image %s names %d diff ids for %d layers", f.id, len(ids), f.count)
	}
	for _, id := range ids {
		if !isID(id) || len(id) != len("sha256:")+64 {
			return nil, fmt.Errorf("image %s has an invalid diff id %q", f.id, id)
		}
	}
	s.reserve(ids, 1)
	defer s.reserve(ids, -1)
	for i, id := range ids {
		if err := s.unpack(ctx, id, ids[:i], func() (io.ReadCloser, error) { return f.layer(ctx, i) }); err != nil {
			return nil, err
		}
	}
	img := &Image{
		ID: f.id, Tags: f.tags, Digests: f.digests, Size: f.size, Layers: ids,
		StoredAt: s.cfg.Now(), RawConfig: f.config,
	}
	c := file.Config
	img.Config.User, img.Config.Env, img.Config.Entrypoint = c.User, c.Env, c.Entrypoint
	img.Config.Cmd, img.Config.WorkingDir, img.Config.StopSignal = c.Cmd, c.WorkingDir, c.StopSignal
	return s.put(img)
}

func (s *Store) reserve(ids []string, by int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range ids {
		if s.busy[id] += by; s.busy[id] == 0 {
			delete(s.busy, id)
		}
	}
}

func (s *Store) layerDir(id string) string {
	return filepath.Join(s.cfg.Dir, "layers", strings.TrimPrefix(id, "sha256:"))
}

func (s *Store) hasLayer(id string) bool {
	_, err := os.Stat(filepath.Join(s.layerDir(id), "layer.json"))
	return err == nil
}

func (s *Store) readLayer(id string) (layerMeta, error) {
	var meta layerMeta
	body, err := os.ReadFile(filepath.Join(s.layerDir(id), "layer.json"))
	if err != nil {
		return meta, err
	}
	return meta, json.Unmarshal(body, &meta)
}

// unpack lays out one layer over its parents, unless it is there.
func (s *Store) unpack(ctx context.Context, id string, parents []string, open func() (io.ReadCloser, error)) error {
	unlock := s.layers.lock(id)
	defer unlock()
	if s.hasLayer(id) {
		return nil
	}
	blob, err := open()
	if err != nil {
		return err
	}
	defer blob.Close()
	work, err := os.MkdirTemp(filepath.Join(s.cfg.Dir, "tmp"), "layer-")
	if err != nil {
		return fmt.Errorf("unpack layer: %w", err)
	}
	defer os.RemoveAll(work)
	root := filepath.Join(work, "fs")
	if err := os.Mkdir(root, 0o755); err != nil {
		return fmt.Errorf("unpack layer: %w", err)
	}
	if err := os.Chmod(work, 0o711); err != nil {
		return fmt.Errorf("unpack layer: %w", err)
	}
	plain, err := decompress(blob)
	if err != nil {
		return fmt.Errorf("unpack layer %s: %w", id, err)
	}
	defer plain.Close()
	sum := sha256.New()
	var meta layerMeta
	lower := make([]string, 0, len(parents)) // nearest first, as the archive package looks them up
	for i := len(parents) - 1; i >= 0; i-- {
		lower = append(lower, filepath.Join(s.layerDir(parents[i]), "fs"))
	}
	tee := io.TeeReader(plain, sum)
	meta.Size, err = archive.Apply(ctx, root, tee,
		archive.WithConvertWhiteout(archive.OverlayConvertWhiteout),
		archive.WithParents(lower),
		archive.WithFilter(func(*tar.Header) (bool, error) { meta.Inodes++; return true, nil }))
	if err != nil {
		return fmt.Errorf("unpack layer %s: %w", id, err)
	}
	// Padding after the archive belongs to the digests.
	if _, err := io.Copy(io.Discard, tee); err != nil {
		return fmt.Errorf("unpack layer %s: %w", id, err)
	}
	if _, err := io.Copy(io.Discard, blob); err != nil {
		return fmt.Errorf("unpack layer %s: %w", id, err)
	}
	if got := sumOf(sum); got != id {
		return fmt.Errorf("unpack layer: content has diff id %s, want %s", got, id)
	}
	body, err := json.Marshal(meta)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(work, "layer.json"), body, 0o600); err != nil {
		return fmt.Errorf("unpack layer %s: %w", id, err)
	}
	// A directory without layer.json is what a crash of an earlier time left.
	if err := os.RemoveAll(s.layerDir(id)); err != nil {
		return fmt.Errorf("unpack layer %s: %w", id, err)
	}
	if err := os.Rename(work, s.layerDir(id)); err != nil {
		return fmt.Errorf("unpack layer %s: %w", id, err)
	}
	return nil
}

// decompress recognises gzip, zstd and plain archives by their first bytes.
func decompress(r io.Reader) (io.ReadCloser, error) {
	br := bufio.NewReaderSize(r, 64<<10)
	head, err := br.Peek(4)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	switch {
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		return gzip.NewReader(br)
	case bytes.Equal(head, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		z, err := zstd.NewReader(br, zstd.WithDecoderConcurrency(1))
		if err != nil {
			return nil, err
		}
		return z.IOReadCloser(), nil
	}
	return io.NopCloser(br), nil
}

func digestOf(body []byte) string {
	sum := sha256.Sum256(body)
	return "sha256:" + hex.EncodeToString(sum[:])
}

func sumOf(h hash.Hash) string { return "sha256:" + hex.EncodeToString(h.Sum(nil)) }

// verified passes a blob on and fails at its end if it was another one.
type verified struct {
	r    io.ReadCloser
	sum  hash.Hash
	want string
	done bool
}

func verify(r io.ReadCloser, want string) io.ReadCloser {
	return &verified{r: r, sum: sha256.New(), want: want}
}

func (v *verified) Read(p []byte) (int, error) {
	n, err := v.r.Read(p)
	v.sum.Write(p[:n])
	if errors.Is(err, io.EOF) && !v.done {
		v.done = true
		if got := sumOf(v.sum); got != v.want {
			return n, fmt.Errorf("content has digest %s, want %s", got, v.want)
		}
	}
	return n, err
}

func (v *verified) Close() error { return v.r.Close() }
