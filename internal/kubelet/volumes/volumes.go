package volumes

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/monohull/monohull/internal/kubelet/criconfig"
)

// Mounter mounts.
type Mounter interface {
	// Mount mounts source on target; options are mount(8)'s, "bind" among them.
	Mount(source, target, fstype string, options []string) error
	Unmount(target string) error
	// MountsBelow lists mount points at or below a directory.
	MountsBelow(dir string) ([]string, error)
}

// Config is what volumes are made from.
type Config struct {
	Dir       string // the kubelet's directory
	Mounter   Mounter
	ConfigMap func(namespace, name string) (*corev1.ConfigMap, bool)
	Secret    func(namespace, name string) (*corev1.Secret, bool)
	// Token issues a service account's token bound to the pod.
	Token       func(ctx context.Context, pod *corev1.Pod, audience string, ttl time.Duration) (string, time.Time, error)
	Allocatable func() corev1.ResourceList
	Now         func() time.Time
}

// Set is a pod's volumes on disk.
type Set struct {
	Paths map[string]string
	// Expire is when a token among them is to be renewed; zero for never.
	Expire time.Time
}

// Volumes makes volumes.
type Volumes struct {
	cfg Config

	mu     sync.Mutex
	tokens map[tokenKey]issued // guarded by mu
}

type tokenKey struct {
	uid, volume string
	source      int
}

type issued struct {
	value    string
	rotateAt time.Time
}

// New makes a maker of volumes.
func New(cfg Config) *Volumes { return &Volumes{cfg: cfg, tokens: map[tokenKey]issued{}} }

// PodDir is a pod's directory.
func (v *Volumes) PodDir(uid string) string { return filepath.Join(v.cfg.Dir, "pods", uid) }

// Mount makes all volumes of a pod, or brings them up to date.
func (v *Volumes) Mount(ctx context.Context, pod *corev1.Pod) (Set, error) {
	set := Set{Paths: map[string]string{}}
	dir := v.PodDir(string(pod.UID))
	for _, sub := range []string{"volumes", "containers"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o750); err != nil {
			return set, fmt.Errorf("make the pod's directory: %w", err)
		}
	}
	mounts, err := v.cfg.Mounter.MountsBelow(dir)
	if err != nil {
		return set, fmt.Errorf("list the pod's mounts: %w", err)
	}
	for i := range pod.Spec.Volumes {
		vol := &pod.Spec.Volumes[i]
		path, expire, err := v.one(ctx, pod, vol, mounts)
		if err != nil {
			return set, fmt.Errorf("MountVolume.SetUp failed for volume %q : %w", vol.Name, err)
		}
		set.Paths[vol.Name] = path
		if !expire.IsZero() && (set.Expire.IsZero() || expire.Before(set.Expire)) {
			set.Expire = expire
		}
	}
	return set, nil
}

func (v *Volumes) one(ctx context.Context, pod *corev1.Pod, vol *corev1.Volume, mounts []string) (string, time.Time, error) {
	if vol.HostPath != nil {
		return vol.HostPath.Path, time.Time{}, hostPath(vol.HostPath)
	}
	if vol.Image != nil {
		return "", time.Time{}, nil // the runtime mounts it into each container
	}
	kind := kindOf(vol)
	if kind == "" {
		return "", time.Time{}, errors.New("no volume plugin matched")
	}
	path := filepath.Join(v.PodDir(string(pod.UID)), "volumes", "kubernetes.io~"+kind, vol.Name)
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return "", time.Time{}, err
	}
	fresh := false
	if err := os.Mkdir(path, 0o777); err == nil {
		fresh = true
		if err := os.Chmod(path, 0o777); err != nil {
			return "", time.Time{}, err
		}
	} else if !errors.Is(err, fs.ErrExist) {
		return "", time.Time{}, err
	}
	if fstype, options := v.filesystem(pod, vol); fstype != "" && !slices.Contains(mounts, path) {
		fresh = true
		if err := v.cfg.Mounter.Mount(fstype, path, fstype, options); err != nil {
			return "", time.Time{}, fmt.Errorf("mount %s: %w", fstype, err)
		}
		if err := os.Chmod(path, 0o777); err != nil {
			return "", time.Time{}, err
		}
	}
	if vol.EmptyDir != nil {
		if fresh {
			return path, time.Time{}, ownTree(path, fsGroup(pod))
		}
		return path, time.Time{}, nil
	}
	expire, err := v.write(ctx, pod, vol, path)
	return path, expire, err
}

func kindOf(vol *corev1.Volume) string {
	switch {
	case vol.EmptyDir != nil:
		return "empty-dir"
	case vol.ConfigMap != nil:
		return "configmap"
	case vol.Secret != nil:
		return "secret"
	case vol.Projected != nil:
		return "projected"
	case vol.DownwardAPI != nil:
		return "downward-api"
	}
	return ""
}

// filesystem is what is mounted for a volume, "" for a plain directory.
func (v *Volumes) filesystem(pod *corev1.Pod, vol *corev1.Volume) (string, []string) {
	switch {
	case vol.Secret != nil, vol.Projected != nil, vol.DownwardAPI != nil:
		return "tmpfs", v.tmpfsOptions(pod, nil)
	case vol.EmptyDir == nil || vol.EmptyDir.Medium == corev1.StorageMediumDefault:
		return "", nil
	case vol.EmptyDir.Medium == corev1.StorageMediumMemory:
		return "tmpfs", v.tmpfsOptions(pod, vol.EmptyDir)
	}
	size := strings.TrimPrefix(string(vol.EmptyDir.Medium), string(corev1.StorageMediumHugePagesPrefix))
	if size == string(corev1.StorageMediumHugePages) {
		return "hugetlbfs", nil
	}
	return "hugetlbfs", []string{"pagesize=" + strings.TrimSuffix(size, "i")}
}

func (v *Volumes) tmpfsOptions(pod *corev1.Pod, e *corev1.EmptyDirVolumeSource) []string {
	memory := v.cfg.Allocatable()[corev1.ResourceMemory]
	limit := memory.Value()
	if g := criconfig.PodCgroup("", pod); g.MemoryLimit > 0 && (limit == 0 || g.MemoryLimit < limit) {
		limit = g.MemoryLimit
	}
	if e != nil && e.SizeLimit != nil && e.SizeLimit.Value() > 0 && (limit == 0 || e.SizeLimit.Value() < limit) {
		limit = e.SizeLimit.Value()
	}
	if limit == 0 {
		return nil
	}
	return []string{"size=" + strconv.FormatInt(limit, 10)}
}

func (v *Volumes) write(ctx context.Context, pod *corev1.Pod, vol *corev1.Volume, path string) (time.Time, error) {
	s := sources{configMap: v.cfg.ConfigMap, secret: v.cfg.Secret, tokens: map[int]token{}, field: criconfig.Sources{Allocatable: v.cfg.Allocatable()}}
	var expire time.Time
	if vol.Projected != nil {
		for i, p := range vol.Projected.Sources {
			if p.ServiceAccountToken == nil {
				continue
			}
			t, err := v.token(ctx, pod, tokenKey{string(pod.UID), vol.Name, i}, p.ServiceAccountToken)
			if err != nil {
				return expire, err
			}
			s.tokens[i] = token{t.value}
			if expire.IsZero() || t.rotateAt.Before(expire) {
				expire = t.rotateAt
			}
		}
	}
	files, err := payload(pod, vol, s)
	if err != nil {
		return expire, err
	}
	group := fsGroup(pod)
	err = writeAtomically(path, files, v.cfg.Now(), func(path string, f *file) error {
		if f != nil && f.uid != nil {
			if err := os.Lchown(path, int(*f.uid), -1); err != nil {
				return fmt.Errorf("give a volume's file to its user: %w", err)
			}
		}
		return own(path, group, 0o440)
	})
	if err == nil && group != nil {
		err = own(path, group, 0o440)
	}
	return expire, err
}

func (v *Volumes) token(ctx context.Context, pod *corev1.Pod, key tokenKey, p *corev1.ServiceAccountTokenProjection) (issued, error) {
	now := v.cfg.Now()
	v.mu.Lock()
	t, ok := v.tokens[key]
	v.mu.Unlock()
	if ok && now.Before(t.rotateAt) {
		return t, nil
	}
	ttl := time.Hour
	if p.ExpirationSeconds != nil {
		ttl = time.Duration(*p.ExpirationSeconds) * time.Second
	}
	value, expiry, err := v.cfg.Token(ctx, pod, p.Audience, ttl)
	if err != nil {
		if ok { // the one there is still lives for a while
			return t, nil
		}
		return t, fmt.Errorf("failed to fetch token: %w", err)
	}
	t = issued{value: value, rotateAt: rotateAt(now, expiry)}
	v.mu.Lock()
	v.tokens[key] = t
	v.mu.Unlock()
	return t, nil
}

// Unmount removes all volumes of a pod, of this process or an earlier one.
func (v *Volumes) Unmount(uid string) error {
	v.mu.Lock()
	for k := range v.tokens {
		if k.uid == uid {
			delete(v.tokens, k)
		}
	}
	v.mu.Unlock()
	dir := v.PodDir(uid)
	mounts, err := v.cfg.Mounter.MountsBelow(dir)
	if err != nil {
		return fmt.Errorf("list the pod's mounts: %w", err)
	}
	slices.SortFunc(mounts, func(a, b string) int { return len(b) - len(a) })
	for _, m := range mounts {
		if err := v.cfg.Mounter.Unmount(m); err != nil {
			return fmt.Errorf("unmount %s: %w", m, err)
		}
	}
	// Removing through a mount would remove what users keep on the host.
	if mounts, err = v.cfg.Mounter.MountsBelow(dir); err != nil || len(mounts) > 0 {
		return errors.Join(err, fmt.Errorf("the pod's directory still holds %d mounts", len(mounts)))
	}
	for _, sub := range []string{"volume-subpaths", "volumes"} {
		if err := os.RemoveAll(filepath.Join(dir, sub)); err != nil {
			return fmt.Errorf("remove the pod's %s: %w", sub, err)
		}
	}
	return nil
}

// Remove removes a pod's directory. Its volumes must be unmounted.
func (v *Volumes) Remove(uid string) error {
	if err := v.Unmount(uid); err != nil {
		return err
	}
	return os.RemoveAll(v.PodDir(uid))
}

// Exists tells whether a pod has a directory with volumes, of whatever age.
func (v *Volumes) Exists(uid string) bool {
	_, err := os.Stat(filepath.Join(v.PodDir(uid), "volumes"))
	return err == nil
}

// References tells whether a pod's volumes show an object of a kind.
func References(pod *corev1.Pod, kind, name string) bool {
	for i := range pod.Spec.Volumes {
		vol := &pod.Spec.Volumes[i]
		switch {
		case kind == "ConfigMap" && vol.ConfigMap != nil && vol.ConfigMap.Name == name,
			kind == "Secret" && vol.Secret != nil && vol.Secret.SecretName == name:
			return true
		}
		if vol.Projected == nil {
			continue
		}
		for _, p := range vol.Projected.Sources {
			switch {
			case kind == "ConfigMap" && p.ConfigMap != nil && p.ConfigMap.Name == name, kind == "Secret" && p.Secret != nil && p.Secret.Name == name:
				return true
			}
		}
	}
	return false
}
