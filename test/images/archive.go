package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

// epoch is every file's time.
var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// image is what becomes part of an archive: names, configuration, one layer of
// files, above those of the image it is made from.
type image struct {
	names  []string
	config map[string]any
	files  map[string]entry
	from   *image

	own *layer // once packed
}

// layer is one of files, as it is and as it is shipped.
type layer struct {
	diff   string // digest of what is packed
	packed []byte
}

// entry is a file, a directory (mode) or a symbolic link.
type entry struct {
	mode fs.FileMode
	body []byte
	link string
}

func newImage(names ...string) *image {
	return &image{names: names, config: map[string]any{}, files: map[string]entry{}}
}

// derive begins an image that adds files to another one.
func (i *image) derive(names ...string) *image {
	d := newImage(names...)
	d.from, d.config = i, maps.Clone(i.config)
	return d
}

// add puts an entry at a path, making the directories above it.
func (i *image) add(name string, e entry) {
	name = strings.Trim(path.Clean("/"+name), "/")
	for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
		if _, ok := i.files[dir]; !ok {
			i.files[dir] = entry{mode: fs.ModeDir | 0o755}
		}
	}
	i.files[name] = e
}

func (i *image) dir(name string, mode fs.FileMode) { i.add(name, entry{mode: fs.ModeDir | mode}) }

func (i *image) text(name, body string) { i.add(name, entry{mode: 0o644, body: []byte(body)}) }

func (i *image) link(name, target string) {
	i.add(name, entry{mode: fs.ModeSymlink | 0o777, link: target})
}

// copy takes a file from disk with its permissions.
func (i *image) copy(name, from string) error {
	info, err := os.Stat(from)
	if err != nil {
		return err
	}
	body, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	i.add(name, entry{mode: info.Mode().Perm(), body: body})
	return nil
}

// tree takes a directory from disk.
func (i *image) tree(name, from string) error {
	return filepath.WalkDir(from, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, p)
		if err != nil {
			return err
		}
		target := path.Join(name, rel)
		switch {
		case d.IsDir():
			i.dir(target, 0o755)
			return nil
		case d.Type()&fs.ModeSymlink != 0:
			link, err := os.Readlink(p)
			if err != nil {
				return err
			}
			i.link(target, link)
			return nil
		}
		return i.copy(target, p)
	})
}

// pack makes the layer of the image's own files, sorted, without owners or times.
func (i *image) pack() ([]byte, error) {
	var names []string
	for name := range i.files {
		names = append(names, name)
	}
	slices.Sort(names)
	var buf bytes.Buffer
	tw := tar.NewWriter(&buf)
	for _, name := range names {
		e := i.files[name]
		mode := int64(e.mode.Perm())
		if e.mode&fs.ModeSticky != 0 {
			mode |= 0o1000
		}
		if e.mode&fs.ModeSetuid != 0 {
			mode |= 0o4000
		}
		h := &tar.Header{Name: name, Mode: mode, ModTime: epoch, Format: tar.FormatPAX}
		switch {
		case e.mode.IsDir():
			h.Typeflag, h.Name = tar.TypeDir, name+"/"
		case e.mode&fs.ModeSymlink != 0:
			h.Typeflag, h.Linkname = tar.TypeSymlink, e.link
		default:
			h.Typeflag, h.Size = tar.TypeReg, int64(len(e.body))
		}
		if err := tw.WriteHeader(h); err != nil {
			return nil, err
		}
		if _, err := tw.Write(e.body); err != nil {
			return nil, err
		}
	}
	return buf.Bytes(), tw.Close()
}

func digest(body []byte) string {
	sum := sha256.Sum256(body)
	return hex.EncodeToString(sum[:])
}

// layers are the image's, the lowest first.
func (i *image) layers() ([]*layer, error) {
	var below []*layer
	if i.from != nil {
		var err error
		if below, err = i.from.layers(); err != nil {
			return nil, err
		}
	}
	if i.own == nil && len(i.files) > 0 {
		body, err := i.pack()
		if err != nil {
			return nil, fmt.Errorf("pack layer: %w", err)
		}
		var packed bytes.Buffer
		z, err := gzip.NewWriterLevel(&packed, compression(len(body)))
		if err != nil {
			return nil, err
		}
		if _, err := z.Write(body); err != nil {
			return nil, err
		}
		if err := z.Close(); err != nil {
			return nil, err
		}
		i.own = &layer{diff: digest(body), packed: packed.Bytes()}
	}
	if i.own == nil {
		return below, nil
	}
	return append(slices.Clone(below), i.own), nil
}

// compression is the best for what is shipped, and fast for what is only tested with.
func compression(size int) int {
	if size > 16<<20 {
		return gzip.BestSpeed
	}
	return gzip.BestCompression
}

// archive is a layout in the making.
type archive struct {
	blobs     map[string][]byte
	manifests []any // of index.json
	docker    []any // of manifest.json
}

func (a *archive) blob(mediaType string, body []byte) map[string]any {
	a.blobs["blobs/sha256/"+digest(body)] = body
	return map[string]any{"mediaType": mediaType, "digest": "sha256:" + digest(body), "size": len(body)}
}

func (a *archive) add(i *image) error {
	layers, err := i.layers()
	if err != nil {
		return err
	}
	var diffs, files []string
	var descriptors []any
	var history []map[string]any
	for _, l := range layers {
		diffs = append(diffs, "sha256:"+l.diff)
		files = append(files, "blobs/sha256/"+digest(l.packed))
		descriptors = append(descriptors, a.blob("application/vnd.oci.image.layer.v1.tar+gzip", l.packed))
		history = append(history, map[string]any{"created": epoch.Format(time.RFC3339), "created_by": "monohull test/images"})
	}
	config, err := json.Marshal(map[string]any{
		"architecture": runtime.GOARCH, "os": "linux", "created": epoch.Format(time.RFC3339), "config": i.config,
		"rootfs": map[string]any{"type": "layers", "diff_ids": diffs}, "history": history,
	})
	if err != nil {
		return err
	}
	manifest, err := json.Marshal(map[string]any{
		"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
		"config": a.blob("application/vnd.oci.image.config.v1+json", config), "layers": descriptors,
	})
	if err != nil {
		return err
	}
	for _, name := range i.names {
		d := a.blob("application/vnd.oci.image.manifest.v1+json", manifest)
		_, tag, _ := strings.Cut(path.Base(name), ":")
		d["annotations"] = map[string]string{"io.containerd.image.name": name, "org.opencontainers.image.ref.name": tag}
		a.manifests = append(a.manifests, d)
	}
	a.docker = append(a.docker, map[string]any{"Config": "blobs/sha256/" + digest(config), "RepoTags": i.names, "Layers": files})
	return nil
}

// write makes an archive of images, whole or not at all. Layers they share are in
// it once.
func write(file string, images ...*image) error {
	a := &archive{blobs: map[string][]byte{}}
	for _, i := range images {
		if err := a.add(i); err != nil {
			return err
		}
	}
	index, err := json.Marshal(map[string]any{"schemaVersion": 2, "manifests": a.manifests})
	if err != nil {
		return err
	}
	docker, err := json.Marshal(a.docker)
	if err != nil {
		return err
	}
	files := maps.Clone(a.blobs)
	files["oci-layout"], files["index.json"], files["manifest.json"] = []byte(`{"imageLayoutVersion":"1.0.0"}`), index, docker
	var buf bytes.Buffer
	tw := tar.NewWriter(&buf)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if err := tw.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(files[name])), ModTime: epoch}); err != nil {
			return err
		}
		if _, err := tw.Write(files[name]); err != nil {
			return err
		}
	}
	if err := tw.Close(); err != nil {
		return err
	}
	if err := os.WriteFile(file+".tmp", buf.Bytes(), 0o644); err != nil {
		return err
	}
	return os.Rename(file+".tmp", file)
}
