package image

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/monohull/monohull/internal/runtime/spec"
)

// ErrInUse says that another process has the store open.
var ErrInUse = errors.New("the image store is in use by another process")

// ErrNotFound says that no image has that name, digest or id.
var ErrNotFound = errors.New("image not found")

// Image is one image. It is shared and never changed: an update makes a new one.
type Image struct {
	ID        string           `json:"id"`                // digest of the configuration
	Tags      []string         `json:"tags,omitempty"`    // normalised names
	Digests   []string         `json:"digests,omitempty"` // repository@digest
	Size      int64            `json:"size"`              // bytes, compressed, as the registry tells it
	Layers    []string         `json:"layers"`            // diff ids, lowest first
	Config    spec.ImageConfig `json:"config"`
	Created   time.Time        `json:"created"`   // by its maker
	StoredAt  time.Time        `json:"storedAt"`  // here
	RawConfig json.RawMessage  `json:"rawConfig"` // the configuration as it came
}

// Ref is how a pod's status names the image: by its digest where one is known.
func (i *Image) Ref() string {
	if len(i.Digests) > 0 {
		return i.Digests[0]
	}
	return i.ID
}

// Name is the image's name: the one it was asked for by if it has that, else its
// first tag, else nothing.
func (i *Image) Name(asked string) string {
	if full, err := Normalise(asked); err == nil && slices.Contains(i.Tags, full) {
		return full
	}
	if len(i.Tags) > 0 {
		return i.Tags[0]
	}
	return ""
}

// Config is what a Store needs to know.
type Config struct {
	Dir    string
	Logger *slog.Logger // nil: none
	// LayersInUse names the layers that containers stand on; nil: none.
	LayersInUse func() map[string]bool
	// InsecureRegistries are hosts spoken to by plain HTTP when HTTPS fails. Those on
	// loopback always are.
	InsecureRegistries []string
	Now                func() time.Time // nil: the wall clock
}

// Store is the images of one node.
type Store struct {
	cfg    Config
	lock   *os.File
	layers keyed

	mu     sync.Mutex        // guards what follows
	images map[string]*Image // by id
	busy   map[string]int    // layers that a pull or import under way needs
}

// New opens the store, for this process alone, and forgets what a crash left half
// done. Close lets another process have it.
func New(cfg Config) (_ *Store, err error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.LayersInUse == nil {
		cfg.LayersInUse = func() map[string]bool { return nil }
	}
	s := &Store{cfg: cfg, images: map[string]*Image{}, busy: map[string]int{}}
	if s.lock, err = lockDir(cfg.Dir); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = s.Close()
		}
	}()
	if err := os.RemoveAll(filepath.Join(cfg.Dir, "tmp")); err != nil {
		return nil, fmt.Errorf("clear image work directory: %w", err)
	}
	for _, dir := range []string{"layers", "tmp"} {
		if err := os.MkdirAll(filepath.Join(cfg.Dir, dir), 0o711); err != nil {
			return nil, fmt.Errorf("open image store: %w", err)
		}
	}
	body, err := os.ReadFile(filepath.Join(cfg.Dir, "index.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	} else if err != nil {
		return nil, fmt.Errorf("read image index: %w", err)
	}
	var list []*Image
	if err := json.Unmarshal(body, &list); err != nil {
		return nil, fmt.Errorf("decode image index: %w", err)
	}
	for _, img := range list {
		if slices.ContainsFunc(img.Layers, func(id string) bool { return !s.hasLayer(id) }) {
			cfg.Logger.Warn("image has lost layers and is forgotten", "image", img.ID, "names", img.Tags)
			continue
		}
		s.images[img.ID] = img
	}
	return s, nil
}

// Close gives the store up.
func (s *Store) Close() error {
	if err := s.lock.Close(); err != nil {
		return fmt.Errorf("close image store: %w", err)
	}
	return nil
}

// lockDir takes the directory for this process. The kernel gives it back when the
// process ends, however it does.
func lockDir(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return nil, fmt.Errorf("open image store: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open image store: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("%w: %s", ErrInUse, dir)
		}
		return nil, fmt.Errorf("lock image store: %w", err)
	}
	return f, nil
}

// List returns every image, by id.
func (s *Store) List() []*Image {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]*Image, 0, len(s.images))
	for _, img := range s.images {
		list = append(list, img)
	}
	slices.SortFunc(list, func(a, b *Image) int { return strings.Compare(a.ID, b.ID) })
	return list
}

// Find returns the image of a name, a digest reference or an id (whole, or
// abbreviated if that is unambiguous).
func (s *Store) Find(ref string) (*Image, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.findLocked(ref)
}

func (s *Store) findLocked(ref string) (*Image, error) {
	if isID(ref) {
		full := "sha256:" + strings.TrimPrefix(ref, "sha256:")
		if img, ok := s.images[full]; ok {
			return img, nil
		}
		var found *Image
		for id, img := range s.images {
			if strings.HasPrefix(id, full) {
				if found != nil {
					return nil, fmt.Errorf("image id %q is ambiguous", ref)
				}
				found = img
			}
		}
		if found != nil {
			return found, nil
		}
	}
	name, err := Normalise(ref)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotFound, err)
	}
	for _, img := range s.images {
		if slices.Contains(img.Tags, name) || slices.Contains(img.Digests, name) {
			return img, nil
		}
	}
	return nil, fmt.Errorf("%w: %q", ErrNotFound, ref)
}

// Remove forgets the image and all its names, and the layers nobody needs. An image
// that is not there is no error.
func (s *Store) Remove(ctx context.Context, ref string) error {
	s.mu.Lock()
	img, err := s.findLocked(ref)
	if errors.Is(err, ErrNotFound) {
		s.mu.Unlock()
		return nil
	} else if err != nil {
		s.mu.Unlock()
		return err
	}
	delete(s.images, img.ID)
	if err := s.saveLocked(); err != nil {
		s.images[img.ID] = img
		s.mu.Unlock()
		return err
	}
	s.mu.Unlock()
	s.cfg.Logger.Info("image removed", "image", img.ID, "names", img.Tags)
	return s.Collect(ctx)
}

// Untag takes one name from an image, and removes the image when that was its
// last. An id, or a name by digest, stands for all of the image's names.
func (s *Store) Untag(ctx context.Context, ref string) error {
	s.mu.Lock()
	img, err := s.findLocked(ref)
	if err != nil {
		s.mu.Unlock()
		return err
	}
	name, err := Normalise(ref)
	if err != nil || len(img.Tags) < 2 || !slices.Contains(img.Tags, name) {
		s.mu.Unlock()
		return s.Remove(ctx, ref)
	}
	defer s.mu.Unlock()
	changed := *img
	changed.Tags = slices.DeleteFunc(slices.Clone(img.Tags), func(t string) bool { return t == name })
	if !slices.ContainsFunc(changed.Tags, func(t string) bool { return repository(t) == repository(name) }) {
		changed.Digests = slices.DeleteFunc(slices.Clone(img.Digests), func(d string) bool { return repository(d) == repository(name) })
	}
	s.images[img.ID] = &changed
	if err := s.saveLocked(); err != nil {
		s.images[img.ID] = img
		return err
	}
	s.cfg.Logger.Info("image lost a name", "image", img.ID, "name", name)
	return nil
}

// Collect removes every layer that neither an image nor a container nor a pull
// under way needs.
func (s *Store) Collect(ctx context.Context) error {
	entries, err := os.ReadDir(filepath.Join(s.cfg.Dir, "layers"))
	if err != nil {
		return fmt.Errorf("list layers: %w", err)
	}
	var errs []error
	for _, e := range entries {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		id := "sha256:" + e.Name()
		trash := filepath.Join(s.cfg.Dir, "tmp", "removed-"+e.Name())
		s.mu.Lock()
		needed := s.busy[id] > 0 || s.cfg.LayersInUse()[id]
		for _, img := range s.images {
			needed = needed || slices.Contains(img.Layers, id)
		}
		if !needed {
			err = os.Rename(s.layerDir(id), trash)
		}
		s.mu.Unlock()
		if needed || errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			err = os.RemoveAll(trash)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("remove layer %s: %w", id, err))
		}
	}
	return errors.Join(errs...)
}

// Lower returns the unpacked layers of an image, lowest first.
func (s *Store) Lower(img *Image) []string {
	dirs := make([]string, len(img.Layers))
	for i, id := range img.Layers {
		dirs[i] = filepath.Join(s.layerDir(id), "fs")
	}
	return dirs
}

// Usage sums up what the unpacked layers occupy.
func (s *Store) Usage() (bytes, inodes uint64, err error) {
	entries, err := os.ReadDir(filepath.Join(s.cfg.Dir, "layers"))
	if err != nil {
		return 0, 0, fmt.Errorf("list layers: %w", err)
	}
	for _, e := range entries {
		if meta, err := s.readLayer("sha256:" + e.Name()); err == nil {
			bytes += uint64(meta.Size)
			inodes += uint64(meta.Inodes)
		}
	}
	return bytes, inodes, nil
}

// Dir is where the store lies.
func (s *Store) Dir() string { return s.cfg.Dir }

// put records an image whose layers are there, under its names: a name belongs to
// one image only.
func (s *Store) put(img *Image) (*Image, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := map[string]*Image{}
	for id, other := range s.images {
		before[id] = other
		if id == img.ID {
			continue
		}
		kept := slices.DeleteFunc(slices.Clone(other.Tags), func(t string) bool { return slices.Contains(img.Tags, t) })
		if len(kept) != len(other.Tags) {
			changed := *other
			changed.Tags = kept
			s.images[id] = &changed
		}
	}
	if old, ok := s.images[img.ID]; ok {
		img.Tags, img.Digests = union(img.Tags, old.Tags), union(img.Digests, old.Digests)
		img.StoredAt = old.StoredAt
	}
	s.images[img.ID] = img
	if err := s.saveLocked(); err != nil {
		s.images = before
		return nil, err
	}
	return img, nil
}

func union(a, b []string) []string {
	out := slices.Clone(a)
	for _, v := range b {
		if !slices.Contains(out, v) {
			out = append(out, v)
		}
	}
	return out
}

func (s *Store) saveLocked() error {
	list := make([]*Image, 0, len(s.images))
	for _, img := range s.images {
		list = append(list, img)
	}
	slices.SortFunc(list, func(a, b *Image) int { return strings.Compare(a.ID, b.ID) })
	body, err := json.Marshal(list)
	if err != nil {
		return fmt.Errorf("encode image index: %w", err)
	}
	if err := writeWhole(filepath.Join(s.cfg.Dir, "index.json"), body); err != nil {
		return fmt.Errorf("write image index: %w", err)
	}
	return nil
}

// writeWhole replaces a file by one that has reached the disk.
func writeWhole(path string, body []byte) error {
	f, err := os.OpenFile(path+".tmp", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(body)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(path+".tmp", path)
}

// keyed is a lock per key, kept only while it is held or waited for.
type keyed struct {
	mu    sync.Mutex
	locks map[string]*keyedLock
}

type keyedLock struct {
	mu   sync.Mutex
	refs int
}

func (k *keyed) lock(key string) (unlock func()) {
	k.mu.Lock()
	if k.locks == nil {
		k.locks = map[string]*keyedLock{}
	}
	l := k.locks[key]
	if l == nil {
		l = &keyedLock{}
		k.locks[key] = l
	}
	l.refs++
	k.mu.Unlock()
	l.mu.Lock()
	return func() {
		l.mu.Unlock()
		k.mu.Lock()
		if l.refs--; l.refs == 0 {
			delete(k.locks, key)
		}
		k.mu.Unlock()
	}
}
