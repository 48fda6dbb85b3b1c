package image

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// parallelDownloads bounds how many layers of one image come in at once.
const parallelDownloads = 3

// Progress tells how much of an image is here.
type Progress struct {
	Done, Total int64 // bytes, compressed
}

// Pull fetches an image by name from its registry. progress may be nil; it is
// called from several goroutines, with figures that only grow.
func (s *Store) Pull(ctx context.Context, ref string, auth *runtimeapi.AuthConfig, progress func(Progress)) (*Image, error) {
	full, err := Normalise(ref)
	if err != nil {
		return nil, err
	}
	img, err := s.pull(ctx, full, auth, progress)
	if err != nil {
		return nil, explain(full, err)
	}
	s.cfg.Logger.Info("image pulled", "name", full, "image", img.ID, "bytes", img.Size)
	return img, nil
}

func (s *Store) pull(ctx context.Context, full string, auth *runtimeapi.AuthConfig, progress func(Progress)) (*Image, error) {
	var nameOpts []name.Option
	host, _, _ := strings.Cut(full, "/")
	if slices.Contains(s.cfg.InsecureRegistries, host) {
		nameOpts = append(nameOpts, name.Insecure)
	}
	ref, err := name.ParseReference(full, nameOpts...)
	if err != nil {
		return nil, err
	}
	credentials, err := authenticator(auth, host)
	if err != nil {
		return nil, err
	}
	desc, err := remote.Get(ref, remote.WithContext(ctx), remote.WithAuth(credentials),
		remote.WithUserAgent("monohull"),
		remote.WithPlatform(v1.Platform{OS: "linux", Architecture: runtime.GOARCH}))
	if err != nil {
		return nil, fmt.Errorf("failed to resolve reference %q: %w", full, err)
	}
	img, err := desc.Image()
	if err != nil {
		return nil, fmt.Errorf("no image for linux/%s: %w", runtime.GOARCH, err)
	}
	manifest, err := img.Manifest()
	if err != nil {
		return nil, fmt.Errorf("read manifest: %w", err)
	}
	f := &fetched{id: manifest.Config.Digest.String(), size: manifest.Config.Size, count: len(manifest.Layers)}
	for _, l := range manifest.Layers {
		f.size += l.Size
	}
	f.digests = []string{repository(full) + "@" + desc.Digest.String()}
	if !strings.Contains(full, "@") {
		f.tags = []string{full}
	}
	if f.config, err = img.RawConfigFile(); err != nil {
		return nil, fmt.Errorf("read image configuration: %w", err)
	}
	layers, err := img.Layers()
	if err != nil {
		return nil, fmt.Errorf("read manifest: %w", err)
	}
	downloads := s.download(ctx, layers, f.size, progress)
	defer downloads.close()
	f.layer = downloads.open
	return s.add(ctx, f)
}

// downloads are the layers of one pull, on their way to files. Layers come in
// side by side but are unpacked in order; a file each is cheaper than holding
// connections open.
type downloads struct {
	cancel context.CancelFunc
	slots  []chan downloaded
	open_  []*os.File
}

type downloaded struct {
	file *os.File
	err  error
}

func (s *Store) download(ctx context.Context, layers []v1.Layer, total int64, progress func(Progress)) *downloads {
	ctx, cancel := context.WithCancel(ctx)
	d := &downloads{cancel: cancel}
	var done atomic.Int64
	count := func(n int64) {
		if now := done.Add(n); progress != nil {
			progress(Progress{Done: now, Total: total})
		}
	}
	tokens := make(chan struct{}, parallelDownloads)
	for _, layer := range layers {
		slot := make(chan downloaded, 1)
		d.slots = append(d.slots, slot)
		go func() {
			select {
			case tokens <- struct{}{}:
				defer func() { <-tokens }()
			case <-ctx.Done():
				slot <- downloaded{err: ctx.Err()}
				return
			}
			file, err := s.downloadLayer(ctx, layer, count)
			slot <- downloaded{file, err}
		}()
	}
	return d
}

// downloadLayer fetches a layer into an unlinked file; nil if its content is
// unpacked already.
func (s *Store) downloadLayer(ctx context.Context, layer v1.Layer, count func(int64)) (*os.File, error) {
	size, _ := layer.Size()
	if id, err := layer.DiffID(); err == nil && s.hasLayer(id.String()) {
		count(size)
		return nil, nil
	}
	blob, err := layer.Compressed() // verifies its digest
	if err != nil {
		return nil, fmt.Errorf("fetch layer: %w", err)
	}
	defer blob.Close()
	stop := context.AfterFunc(ctx, func() { _ = blob.Close() })
	defer stop()
	file, err := os.CreateTemp(filepath.Join(s.cfg.Dir, "tmp"), "blob-")
	if err != nil {
		return nil, fmt.Errorf("fetch layer: %w", err)
	}
	_ = os.Remove(file.Name())
	if _, err := io.Copy(file, &counter{blob, count}); err != nil {
		_ = file.Close()
		return nil, fmt.Errorf("fetch layer: %w", err)
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		_ = file.Close()
		return nil, fmt.Errorf("fetch layer: %w", err)
	}
	return file, nil
}

func (d *downloads) open(ctx context.Context, i int) (io.ReadCloser, error) {
	select {
	case got := <-d.slots[i]:
		d.slots[i] <- downloaded{err: errors.New("layer was used up")}
		if got.err == nil && got.file == nil {
			return nil, errors.New("layer was removed while it was being pulled")
		}
		return got.file, got.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// close ends what is still coming in and frees what was not used.
func (d *downloads) close() {
	d.cancel()
	for _, slot := range d.slots {
		if got := <-slot; got.file != nil {
			_ = got.file.Close()
		}
	}
}

type counter struct {
	r     io.Reader
	count func(int64)
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	if n > 0 {
		c.count(int64(n))
	}
	return n, err
}

// authenticator turns the kubelet's credentials into the registry client's.
func authenticator(auth *runtimeapi.AuthConfig, host string) (authn.Authenticator, error) {
	if auth == nil {
		return authn.Anonymous, nil
	}
	if server := auth.GetServerAddress(); server != "" {
		// Credentials of another registry are not shown to this one.
		server = strings.TrimPrefix(strings.TrimPrefix(server, "https://"), "http://")
		server, _, _ = strings.Cut(server, "/")
		docker := map[string]bool{"docker.io": true, "index.docker.io": true, "registry-1.docker.io": true}
		if server != host && !(docker[server] && docker[host]) {
			return authn.Anonymous, nil
		}
	}
	switch {
	case auth.GetUsername() != "":
		return authn.FromConfig(authn.AuthConfig{Username: auth.GetUsername(), Password: auth.GetPassword()}), nil
	case auth.GetIdentityToken() != "":
		return authn.FromConfig(authn.AuthConfig{IdentityToken: auth.GetIdentityToken()}), nil
	case auth.GetRegistryToken() != "":
		return authn.FromConfig(authn.AuthConfig{RegistryToken: auth.GetRegistryToken()}), nil
	case auth.GetAuth() != "":
		plain, err := base64.StdEncoding.DecodeString(auth.GetAuth())
		if err != nil {
			return nil, fmt.Errorf("decode registry credentials: %w", err)
		}
		user, password, ok := strings.Cut(string(plain), ":")
		if !ok {
			return nil, errors.New("decode registry credentials: no colon in auth")
		}
		return authn.FromConfig(authn.AuthConfig{Username: user, Password: strings.TrimRight(password, "\x00")}), nil
	}
	return authn.Anonymous, nil
}

// explain words a failed pull as users know it from the runtimes they come from.
func explain(ref string, err error) error {
	var te *transport.Error
	if errors.As(err, &te) {
		switch te.StatusCode {
		case http.StatusNotFound:
			return fmt.Errorf("failed to pull and unpack image %q: %w: %s: not found", ref, ErrNotFound, ref)
		case http.StatusUnauthorized:
			return fmt.Errorf("failed to pull and unpack image %q: failed to authorize: %w", ref, err)
		case http.StatusForbidden:
			return fmt.Errorf("failed to pull and unpack image %q: pull access denied, repository does not exist or may require authorization: %w", ref, err)
		}
	}
	return fmt.Errorf("failed to pull and unpack image %q: %w", ref, err)
}
