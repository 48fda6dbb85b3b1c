package volumes

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

const (
	dataLink    = "..data"
	dataLinkNew = "..data_tmp"
)

// file is one file of a volume.
type file struct {
	data []byte
	mode fs.FileMode
	uid  *int64
}

// writeAtomically makes dir hold exactly the files, all at once for readers that
// look through ..data. own is applied to each path made.
func writeAtomically(dir string, files map[string]file, now time.Time, own func(path string, f *file) error) error {
	old, err := os.Readlink(filepath.Join(dir, dataLink))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read the link to a volume's data: %w", err)
	}
	if old != "" && same(filepath.Join(dir, old), files) {
		return link(dir, files)
	}
	fresh, err := os.MkdirTemp(dir, now.UTC().Format("..2006_01_02_15_04_05.*"))
	if err != nil {
		return fmt.Errorf("make a volume's data directory: %w", err)
	}
	if err := fill(fresh, files, own); err != nil {
		return errors.Join(err, os.RemoveAll(fresh))
	}
	tmp := filepath.Join(dir, dataLinkNew)
	_ = os.Remove(tmp) // left by a crash
	if err := os.Symlink(filepath.Base(fresh), tmp); err != nil {
		return fmt.Errorf("link a volume's data: %w", err)
	}
	if err := os.Rename(tmp, filepath.Join(dir, dataLink)); err != nil {
		return fmt.Errorf("link a volume's data: %w", err)
	}
	if err := link(dir, files); err != nil {
		return err
	}
	return sweep(dir, filepath.Base(fresh), files)
}

func fill(dir string, files map[string]file, own func(string, *file) error) error {
	if err := os.Chmod(dir, 0o755); err != nil {
		return fmt.Errorf("make a volume's data directory: %w", err)
	}
	if err := own(dir, nil); err != nil {
		return err
	}
	for name, f := range files {
		path := filepath.Join(dir, name)
		if sub := filepath.Dir(name); sub != "." {
			at := dir
			for part := range strings.SplitSeq(sub, "/") {
				at = filepath.Join(at, part)
				if err := os.Mkdir(at, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
					return fmt.Errorf("make a volume's directory: %w", err)
				}
				if err := own(at, nil); err != nil {
					return err
				}
			}
		}
		if err := os.WriteFile(path, f.data, f.mode.Perm()); err != nil {
			return fmt.Errorf("write a volume's file: %w", err)
		}
		// The process's mask does not apply to volumes.
		if err := os.Chmod(path, f.mode.Perm()); err != nil {
			return fmt.Errorf("write a volume's file: %w", err)
		}
		if err := own(path, &f); err != nil {
			return err
		}
	}
	return nil
}

// link makes the names users see, through ..data.
func link(dir string, files map[string]file) error {
	for name := range tops(files) {
		target := filepath.Join(dataLink, name)
		path := filepath.Join(dir, name)
		if have, err := os.Readlink(path); err == nil && have == target {
			continue
		}
		if err := os.Symlink(target, path); err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("link a volume's file: %w", err)
		}
	}
	return nil
}

// sweep removes former data and names that are no more.
func sweep(dir, current string, files map[string]file) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("list a volume: %w", err)
	}
	keep := tops(files)
	var errs []error
	for _, e := range entries {
		name := e.Name()
		switch {
		case name == dataLink || name == current || keep[name]:
		case strings.HasPrefix(name, "..") && e.IsDir():
			errs = append(errs, os.RemoveAll(filepath.Join(dir, name)))
		case e.Type()&fs.ModeSymlink != 0:
			errs = append(errs, os.Remove(filepath.Join(dir, name)))
		}
	}
	return errors.Join(errs...)
}

func tops(files map[string]file) map[string]bool {
	out := map[string]bool{}
	for name := range files {
		top, _, _ := strings.Cut(name, "/")
		out[top] = true
	}
	return out
}

// same tells whether dir holds exactly the files.
func same(dir string, files map[string]file) bool {
	n := 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, _ := filepath.Rel(dir, path) // path is below dir
		f, ok := files[rel]
		if !ok {
			return fs.ErrInvalid
		}
		have, err := os.ReadFile(path)
		if err != nil || !bytes.Equal(have, f.data) {
			return fs.ErrInvalid
		}
		info, err := d.Info()
		if err != nil || info.Mode().Perm()&f.mode.Perm() != f.mode.Perm() {
			return fs.ErrInvalid
		}
		n++
		return nil
	})
	return err == nil && n == len(files)
}
