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

// image is what becomes an archive: names, configuration, one layer of files.
type image struct {
	names  []string
	config map[string]any
	files  map[string]entry
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

// layer packs the files, sorted, without owners or times.
func (i *image) layer() ([]byte, error) {
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

func descriptorOf(mediaType string, body []byte) map[string]any {
	return map[string]any{"mediaType": mediaType, "digest": "sha256:" + digest(body), "size": len(body)}
}

// write makes the archive, whole or not at all.
func (i *image) write(file string) error {
	layer, err := i.layer()
	if err != nil {
		return fmt.Errorf("pack layer: %w", err)
	}
	var packed bytes.Buffer
	z, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
	if err != nil {
		return err
	}
	if _, err := z.Write(layer); err != nil {
		return err
	}
	if err := z.Close(); err != nil {
		return err
	}
	config, err := json.Marshal(map[string]any{
		"architecture": runtime.GOARCH, "os": "linux", "created": epoch.Format(time.RFC3339), "config": i.config,
		"rootfs":  map[string]any{"type": "layers", "diff_ids": []string{"sha256:" + digest(layer)}},
		"history": []map[string]any{{"created": epoch.Format(time.RFC3339), "created_by": "monohull test/images"}},
	})
	if err != nil {
		return err
	}
	manifest, err := json.Marshal(map[string]any{
		"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
		"config": descriptorOf("application/vnd.oci.image.config.v1+json", config),
		"layers": []any{descriptorOf("application/vnd.oci.image.layer.v1.tar+gzip", packed.Bytes())},
	})
	if err != nil {
		return err
	}
	var manifests []any
	for _, name := range i.names {
		d := descriptorOf("application/vnd.oci.image.manifest.v1+json", manifest)
		_, tag, _ := strings.Cut(path.Base(name), ":")
		d["annotations"] = map[string]string{"io.containerd.image.name": name, "org.opencontainers.image.ref.name": tag}
		manifests = append(manifests, d)
	}
	index, err := json.Marshal(map[string]any{"schemaVersion": 2, "manifests": manifests})
	if err != nil {
		return err
	}
	docker, err := json.Marshal([]any{map[string]any{
		"Config": "blobs/sha256/" + digest(config), "RepoTags": i.names, "Layers": []string{"blobs/sha256/" + digest(packed.Bytes())},
	}})
	if err != nil {
		return err
	}
	files := map[string][]byte{
		"oci-layout": []byte(`{"imageLayoutVersion":"1.0.0"}`), "index.json": index, "manifest.json": docker,
		"blobs/sha256/" + digest(config): config, "blobs/sha256/" + digest(manifest): manifest,
		"blobs/sha256/" + digest(packed.Bytes()): packed.Bytes(),
	}
	var names []string
	for name := range files {
		names = append(names, name)
	}
	slices.Sort(names)
	var buf bytes.Buffer
	tw := tar.NewWriter(&buf)
	for _, name := range names {
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
