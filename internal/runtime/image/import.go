package image

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"strings"
)

// maxDocument bounds manifests and configurations, which are read whole.
const maxDocument = 8 << 20

// ImportFile imports an archive, or a directory that holds what an archive would.
func (s *Store) ImportFile(ctx context.Context, file string) ([]*Image, error) {
	info, err := os.Stat(file)
	if err != nil {
		return nil, fmt.Errorf("import images: %w", err)
	}
	if info.IsDir() {
		return s.importDir(ctx, file)
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("import images: %w", err)
	}
	defer f.Close()
	return s.Import(ctx, f)
}

// Import takes the images of an archive: an OCI image layout or what "docker save"
// writes, compressed or not. All of them or none.
func (s *Store) Import(ctx context.Context, r io.Reader) ([]*Image, error) {
	dir, err := os.MkdirTemp(filepath.Join(s.cfg.Dir, "tmp"), "import-")
	if err != nil {
		return nil, fmt.Errorf("import images: %w", err)
	}
	defer os.RemoveAll(dir)
	plain, err := decompress(r)
	if err != nil {
		return nil, fmt.Errorf("import images: %w", err)
	}
	defer plain.Close()
	if err := extract(ctx, dir, plain); err != nil {
		return nil, fmt.Errorf("import images: read archive: %w", err)
	}
	return s.importDir(ctx, dir)
}

// extract lays the archive's files out below dir, and never elsewhere.
func extract(ctx context.Context, dir string, r io.Reader) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	for t := tar.NewReader(r); ctx.Err() == nil; {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		name := strings.TrimPrefix(path.Clean("/"+h.Name), "/")
		if name == "" {
			continue
		}
		switch h.Typeflag {
		case tar.TypeDir:
			err = root.MkdirAll(name, 0o700)
		case tar.TypeReg:
			if err = root.MkdirAll(path.Dir(name), 0o700); err == nil {
				err = extractFile(root, name, t)
			}
		case tar.TypeSymlink, tar.TypeLink:
			// "docker save" of old shared layers this way.
			target := h.Linkname
			if h.Typeflag == tar.TypeSymlink {
				target = path.Join(path.Dir(name), target)
			}
			if err = root.MkdirAll(path.Dir(name), 0o700); err == nil {
				err = root.Link(path.Clean(target), name)
			}
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return ctx.Err()
}

func extractFile(root *os.Root, name string, r io.Reader) error {
	f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	return errors.Join(err, f.Close())
}

// importDir reads the directory of a layout; a mixed one, as newer Docker writes
// it, is read as OCI, and its manifest.json for names only.
func (s *Store) importDir(ctx context.Context, dir string) ([]*Image, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("import images: %w", err)
	}
	defer root.Close()
	var list []*fetched
	if _, statErr := root.Stat("index.json"); statErr == nil {
		list, err = readLayout(root)
	} else if _, statErr := root.Stat("manifest.json"); statErr == nil {
		list, err = readDockerSave(root)
	} else {
		err = errors.New("neither index.json nor manifest.json is there: not an image archive")
	}
	if err != nil {
		return nil, fmt.Errorf("import images: %w", err)
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("import images: no image for linux/%s in the archive", runtime.GOARCH)
	}
	var images []*Image
	for _, f := range list {
		img, err := s.add(ctx, f)
		if err != nil {
			return nil, fmt.Errorf("import images: %w", err)
		}
		s.cfg.Logger.Info("image imported", "names", img.Tags, "image", img.ID)
		images = append(images, img)
	}
	return images, nil
}

func readDocument(root *os.Root, name string, v any) ([]byte, error) {
	f, err := root.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	body, err := io.ReadAll(io.LimitReader(f, maxDocument+1))
	if err != nil {
		return nil, err
	}
	if len(body) > maxDocument {
		return nil, fmt.Errorf("%s is larger than %d bytes", name, maxDocument)
	}
	if v != nil {
		if err := json.Unmarshal(body, v); err != nil {
			return nil, fmt.Errorf("decode %s: %w", name, err)
		}
	}
	return body, nil
}

func readDockerSave(root *os.Root) ([]*fetched, error) {
	var manifest []struct {
		Config   string
		RepoTags []string
		Layers   []string
	}
	if _, err := readDocument(root, "manifest.json", &manifest); err != nil {
		return nil, err
	}
	var list []*fetched
	for _, m := range manifest {
		config, err := readDocument(root, m.Config, nil)
		if err != nil {
			return nil, err
		}
		f := &fetched{id: digestOf(config), config: config, count: len(m.Layers)}
		if f.tags, err = normaliseAll(m.RepoTags); err != nil {
			return nil, err
		}
		f.size = int64(len(config))
		for _, name := range m.Layers {
			info, err := root.Stat(name)
			if err != nil {
				return nil, err
			}
			f.size += info.Size()
		}
		f.layer = func(_ context.Context, i int) (io.ReadCloser, error) { return root.Open(m.Layers[i]) }
		list = append(list, f)
	}
	return list, nil
}

func normaliseAll(names []string) ([]string, error) {
	var out []string
	for _, n := range names {
		full, err := Normalise(n)
		if err != nil {
			return nil, err
		}
		out = append(out, full)
	}
	return out, nil
}

type descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int64             `json:"size"`
	Annotations map[string]string `json:"annotations"`
	Platform    *struct {
		OS           string `json:"os"`
		Architecture string `json:"architecture"`
	} `json:"platform"`
}

type manifestOrIndex struct {
	Manifests []descriptor `json:"manifests"`
	Config    descriptor   `json:"config"`
	Layers    []descriptor `json:"layers"`
}

func readLayout(root *os.Root) ([]*fetched, error) {
	var index manifestOrIndex
	if _, err := readDocument(root, "index.json", &index); err != nil {
		return nil, err
	}
	docker := dockerNames(root)
	var list []*fetched
	for _, d := range index.Manifests {
		f, err := readManifest(root, d, 0)
		if errors.Is(err, errOtherPlatform) {
			continue
		} else if err != nil {
			return nil, err
		}
		name := d.Annotations["io.containerd.image.name"]
		if name == "" {
			// A bare tag names nothing by itself.
			if n := d.Annotations["org.opencontainers.image.ref.name"]; strings.ContainsAny(n, "/:") {
				name = n
			}
		}
		names := docker[f.id]
		if name != "" {
			names = []string{name}
		}
		if f.tags, err = normaliseAll(names); err != nil {
			return nil, err
		}
		for _, full := range f.tags {
			f.digests = union(f.digests, []string{repository(full) + "@" + d.Digest})
		}
		list = append(list, f)
	}
	return list, nil
}

// dockerNames reads the names in a mixed archive's manifest.json, by image id.
func dockerNames(root *os.Root) map[string][]string {
	list, err := readDockerSave(root)
	if err != nil {
		return nil // there is none, or it is not needed
	}
	names := map[string][]string{}
	for _, f := range list {
		names[f.id] = f.tags
	}
	return names
}

var errOtherPlatform = errors.New("image is for another platform")

// readManifest follows a descriptor to the image for this machine, through at most
// two levels of index.
func readManifest(root *os.Root, d descriptor, depth int) (*fetched, error) {
	if p := d.Platform; p != nil && p.OS != "" && (p.OS != "linux" || p.Architecture != runtime.GOARCH) {
		return nil, errOtherPlatform
	}
	var m manifestOrIndex
	if err := readBlob(root, d.Digest, &m); err != nil {
		return nil, err
	}
	if len(m.Manifests) > 0 {
		if depth > 1 {
			return nil, errors.New("indexes are nested too deep")
		}
		for _, inner := range m.Manifests {
			f, err := readManifest(root, inner, depth+1)
			if errors.Is(err, errOtherPlatform) || errors.Is(err, fs.ErrNotExist) {
				continue
			}
			return f, err
		}
		return nil, errOtherPlatform
	}
	f := &fetched{id: m.Config.Digest, count: len(m.Layers), size: m.Config.Size}
	var raw json.RawMessage
	if err := readBlob(root, m.Config.Digest, &raw); err != nil {
		return nil, err
	}
	f.config = raw
	for _, l := range m.Layers {
		f.size += l.Size
	}
	f.layer = func(_ context.Context, i int) (io.ReadCloser, error) {
		name, err := blobPath(m.Layers[i].Digest)
		if err != nil {
			return nil, err
		}
		file, err := root.Open(name)
		if err != nil {
			return nil, err
		}
		return verify(file, m.Layers[i].Digest), nil
	}
	return f, nil
}

func blobPath(digest string) (string, error) {
	if !isID(digest) || !strings.HasPrefix(digest, "sha256:") {
		return "", fmt.Errorf("unsupported digest %q", digest)
	}
	return "blobs/sha256/" + strings.TrimPrefix(digest, "sha256:"), nil
}

func readBlob(root *os.Root, digest string, v any) error {
	name, err := blobPath(digest)
	if err != nil {
		return err
	}
	body, err := readDocument(root, name, v)
	if err != nil {
		return err
	}
	if got := digestOf(body); got != digest {
		return fmt.Errorf("blob %s has digest %s", digest, got)
	}
	return nil
}
