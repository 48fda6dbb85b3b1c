package logs

import (
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

const (
	// rotatedStamp is how a rotated file's name ends, in local time.
	rotatedStamp     = "20060102-150405"
	compressedSuffix = ".gz"
	unfinishedSuffix = ".tmp"
)

// Policy is when logs are rotated, and how many files are kept.
type Policy struct {
	MaxBytes int64
	MaxFiles int
	Interval time.Duration // between looks
}

// Due tells whether a log is to be rotated. One that is not there is not.
func (p Policy) Due(path string) (bool, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	} else if err != nil {
		return false, fmt.Errorf("failed to stat container log %q: %w", path, err)
	}
	return info.Size() >= p.MaxBytes, nil
}

// Rotate renames a log away and has whoever writes it open a new one. Older files
// are compressed, but for the one just renamed, which readers may still be at; the
// oldest go. What an attempt before left half done is cleared.
func (p Policy) Rotate(path string, now time.Time, reopen func() error) error {
	files, err := rotated(path)
	if err != nil {
		return err
	}
	var keep []string
	for _, f := range files {
		if strings.HasSuffix(f, unfinishedSuffix) || slices.Contains(files, f+compressedSuffix) {
			if err := os.Remove(f); err != nil {
				return fmt.Errorf("failed to remove unused log %q: %w", f, err)
			}
			continue
		}
		keep = append(keep, f)
	}
	// The new one and the one renamed now count.
	for len(keep) > max(0, p.MaxFiles-2) {
		if err := os.Remove(keep[0]); err != nil {
			return fmt.Errorf("failed to remove old log %q: %w", keep[0], err)
		}
		keep = keep[1:]
	}
	for _, f := range keep {
		if strings.HasSuffix(f, compressedSuffix) {
			continue
		}
		if err := compress(f); err != nil {
			return fmt.Errorf("failed to compress log %q: %w", f, err)
		}
	}
	to := path + "." + now.Format(rotatedStamp)
	if err := os.Rename(path, to); err != nil {
		return fmt.Errorf("failed to rotate log %q to %q: %w", path, to, err)
	}
	if err := reopen(); err != nil {
		// As it was: the writer goes on in the file it has.
		return errors.Join(fmt.Errorf("failed to reopen container log %q: %w", path, err), os.Rename(to, path))
	}
	return nil
}

// rotated lists the files a log was rotated to, oldest first.
func rotated(path string) ([]string, error) {
	files, err := filepath.Glob(path + ".*")
	if err != nil {
		return nil, fmt.Errorf("failed to list all log files with pattern %q: %w", path+".*", err)
	}
	slices.Sort(files)
	return files, nil
}

func compress(path string) (err error) {
	in, err := os.Open(path)
	if err != nil {
		return err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	half := path + unfinishedSuffix
	out, err := os.OpenFile(half, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, info.Mode())
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			out.Close()
			os.Remove(half) // cleared at the next attempt, too
		}
	}()
	z := gzip.NewWriter(out)
	if _, err = io.Copy(z, in); err != nil {
		return err
	}
	if err = z.Close(); err != nil {
		return err
	}
	if err = out.Close(); err != nil {
		return err
	}
	if err = os.Rename(half, path+compressedSuffix); err != nil {
		return err
	}
	return os.Remove(path)
}

// after is the file that follows one which is open and was rotated: the log itself,
// or, where it was rotated once more meanwhile, the file between.
func after(f *os.File, path string) string {
	mine, err := f.Stat()
	files, listErr := rotated(path)
	if err != nil || listErr != nil {
		return path
	}
	last := ""
	for _, r := range files {
		info, err := os.Stat(r)
		if err != nil || strings.HasSuffix(r, compressedSuffix) || strings.HasSuffix(r, unfinishedSuffix) {
			continue
		}
		if os.SameFile(mine, info) {
			return path // nothing between
		}
		last = r
	}
	if last != "" {
		return last
	}
	return path
}
