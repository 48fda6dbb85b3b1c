package volumes

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
)

// hostPath checks that a path of the host is what the pod takes it for, and makes
// it where asked to.
func hostPath(h *corev1.HostPathVolumeSource) error {
	kind := corev1.HostPathUnset
	if h.Type != nil {
		kind = *h.Type
	}
	info, err := os.Stat(h.Path)
	switch kind {
	case corev1.HostPathDirectoryOrCreate:
		if errors.Is(err, fs.ErrNotExist) {
			return os.MkdirAll(h.Path, 0o755)
		}
		kind = corev1.HostPathDirectory
	case corev1.HostPathFileOrCreate:
		if errors.Is(err, fs.ErrNotExist) {
			f, err := os.OpenFile(h.Path, os.O_CREATE|os.O_WRONLY, 0o644)
			if err != nil {
				return err
			}
			return f.Close()
		}
		kind = corev1.HostPathFile
	case corev1.HostPathUnset:
		return nil
	}
	checks := map[corev1.HostPathType]struct {
		words string
		is    func(fs.FileMode) bool
	}{
		corev1.HostPathDirectory: {"directory", fs.FileMode.IsDir},
		corev1.HostPathFile:      {"file", fs.FileMode.IsRegular},
		corev1.HostPathSocket:    {"socket file", func(m fs.FileMode) bool { return m&fs.ModeSocket != 0 }},
		corev1.HostPathCharDev:   {"character device", func(m fs.FileMode) bool { return m&fs.ModeCharDevice != 0 }},
		corev1.HostPathBlockDev:  {"block device", func(m fs.FileMode) bool { return m&fs.ModeDevice != 0 && m&fs.ModeCharDevice == 0 }},
	}
	c, ok := checks[kind]
	if !ok {
		return fmt.Errorf("%s is an invalid volume type", kind)
	}
	if err != nil || !c.is(info.Mode()) {
		return fmt.Errorf("hostPath type check failed: %s is not a %s", h.Path, c.words)
	}
	return nil
}

// own gives a path to the pod's group. mask is what the group may do.
func own(path string, group *int64, mask fs.FileMode) error {
	if group == nil {
		return nil
	}
	info, err := os.Lstat(path)
	if err != nil {
		return fmt.Errorf("give a volume to the pod's group: %w", err)
	}
	if err := os.Lchown(path, -1, int(*group)); err != nil {
		return fmt.Errorf("give a volume to the pod's group: %w", err)
	}
	if info.Mode()&fs.ModeSymlink != 0 {
		return nil
	}
	mode := info.Mode() | mask
	if info.IsDir() {
		mode |= fs.ModeSetgid | 0o110
	}
	if err := os.Chmod(path, mode); err != nil {
		return fmt.Errorf("give a volume to the pod's group: %w", err)
	}
	return nil
}

func ownTree(root string, group *int64) error {
	if group == nil {
		return nil
	}
	return filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return own(path, group, 0o660)
	})
}

// Subpath makes a part of a volume mountable: it is resolved within the volume
// only, made if it is not there, and bound at a place no container can change.
func (v *Volumes) Subpath(uid, volume, volumePath, container string, index int, subpath string) (string, error) {
	if filepath.IsAbs(subpath) {
		return "", fmt.Errorf("error SubPath `%s` must not be an absolute path", subpath)
	}
	if !filepath.IsLocal(subpath) {
		return "", fmt.Errorf("unable to provision SubPath `%s`: must not contain '..'", subpath)
	}
	info, err := os.Stat(volumePath)
	if err != nil {
		return "", fmt.Errorf("prepare subPath %q of volume %q: %w", subpath, volume, err)
	}
	if !info.IsDir() {
		return "", fmt.Errorf("prepare subPath %q of volume %q: the volume is not a directory", subpath, volume)
	}
	root, err := os.OpenRoot(volumePath)
	if err != nil {
		return "", fmt.Errorf("prepare subPath %q of volume %q: %w", subpath, volume, err)
	}
	defer root.Close()
	if _, err := root.Stat(subpath); errors.Is(err, fs.ErrNotExist) {
		if err := makeDirs(root, subpath, info.Mode()&(fs.ModePerm|fs.ModeSetgid)); err != nil {
			return "", fmt.Errorf("failed to create subPath directory for volumeMount %q of container %q", volume, container)
		}
	}
	f, err := root.OpenFile(subpath, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return "", fmt.Errorf("failed to prepare subPath for volumeMount %q of container %q", volume, container)
	}
	defer f.Close()
	target := filepath.Join(v.PodDir(uid), "volume-subpaths", volume, container, strconv.Itoa(index))
	mounts, err := v.cfg.Mounter.MountsBelow(target)
	if err != nil {
		return "", fmt.Errorf("prepare subPath %q of volume %q: %w", subpath, volume, err)
	}
	for range mounts { // a former attempt's may show a directory that was replaced
		if err := v.cfg.Mounter.Unmount(target); err != nil {
			return "", fmt.Errorf("prepare subPath %q of volume %q: %w", subpath, volume, err)
		}
	}
	if err := placeholder(f, target); err != nil {
		return "", fmt.Errorf("prepare subPath %q of volume %q: %w", subpath, volume, err)
	}
	if err := v.cfg.Mounter.Mount(fmt.Sprintf("/proc/self/fd/%d", f.Fd()), target, "", []string{"bind"}); err != nil {
		return "", fmt.Errorf("prepare subPath %q of volume %q: %w", subpath, volume, err)
	}
	return target, nil
}

func makeDirs(root *os.Root, path string, perm fs.FileMode) error {
	at := ""
	for part := range strings.SplitSeq(filepath.Clean(path), "/") {
		at = filepath.Join(at, part)
		if err := root.Mkdir(at, perm); err != nil {
			if errors.Is(err, fs.ErrExist) {
				continue
			}
			return err
		}
		if err := root.Chmod(at, perm); err != nil {
			return err
		}
	}
	return nil
}

func placeholder(f *os.File, target string) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if info.IsDir() {
		return os.MkdirAll(target, 0o750)
	}
	if err := os.MkdirAll(filepath.Dir(target), 0o750); err != nil {
		return err
	}
	p, err := os.OpenFile(target, os.O_CREATE, 0o640)
	if err != nil {
		return err
	}
	return p.Close()
}
