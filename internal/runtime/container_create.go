package runtime

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/monohull/monohull/internal/runtime/protocol"
	"github.com/monohull/monohull/internal/runtime/rootfs"
	"github.com/monohull/monohull/internal/runtime/spec"
)

// maxAccountFile bounds an image's /etc/passwd and /etc/group.
const maxAccountFile = 1 << 20

func containerName(m *runtimeapi.ContainerMetadata, pod *runtimeapi.PodSandboxMetadata) string {
	return fmt.Sprintf("%s_%s_%d", m.GetName(), sandboxName(pod), m.GetAttempt())
}

// CreateContainer lays out a container's root and its spec; nothing runs yet.
func (r *Runtime) CreateContainer(ctx context.Context, req *runtimeapi.CreateContainerRequest) (*runtimeapi.CreateContainerResponse, error) {
	if err := r.await(ctx); err != nil {
		return nil, err
	}
	sb, err := r.sandbox(req.GetPodSandboxId())
	if err != nil {
		return nil, fmt.Errorf("failed to find sandbox id %q: %w", req.GetPodSandboxId(), err)
	}
	if req.GetConfig().GetMetadata() == nil {
		return nil, errors.New("container config must include metadata")
	}
	config := proto.Clone(req.GetConfig()).(*runtimeapi.ContainerConfig)
	img, err := r.images.Find(config.GetImage().GetImage())
	if err != nil {
		return nil, fmt.Errorf("failed to resolve image %q: %w", config.GetImage().GetImage(), err)
	}
	raw, err := proto.Marshal(config)
	if err != nil {
		return nil, fmt.Errorf("encode container config: %w", err)
	}
	id := newID()
	name := containerName(config.GetMetadata(), sb.config.GetMetadata())
	if err := r.reserve(name, id); err != nil {
		return nil, fmt.Errorf("failed to reserve container name %q: %w", name, err)
	}
	rec := containerRecord{
		ID: id, SandboxID: sb.id, Config: raw, CreatedAt: time.Now(),
		ImageID: img.ID, ImageRef: img.Ref(), ImageName: img.Name(config.GetImage().GetUserSpecifiedImage()), Layers: img.Layers, StopSignal: img.Config.StopSignal,
		Cgroup: filepath.Join(sb.record().Cgroup, id),
	}
	if config.GetLogPath() != "" && sb.config.GetLogDirectory() != "" {
		rec.LogPath = filepath.Join(sb.config.GetLogDirectory(), config.GetLogPath())
	}
	c := newContainer(rec, config, sb, r.containerDir(id))
	// Known before its root is mounted, so that no layer vanishes from under it, and
	// only as long as the sandbox's removal will see it.
	r.mu.Lock()
	ready := sb.ready()
	if ready {
		r.containers[id] = c
	}
	r.mu.Unlock()
	if !ready {
		r.release(name, id)
		return nil, fmt.Errorf("sandbox container %q is not running", sb.id)
	}
	c.op.Lock()
	defer c.op.Unlock()
	if err := r.createContainer(c, img.Config, r.images.Lower(img)); err != nil {
		if cleanErr := r.clearContainer(c); cleanErr != nil {
			r.log.Warn("cannot clean up after a failed container", "container", id, "error", cleanErr)
		}
		r.mu.Lock()
		delete(r.containers, id)
		r.mu.Unlock()
		r.release(name, id)
		return nil, err
	}
	r.mu.Lock()
	c.created = true
	r.mu.Unlock()
	r.emit(ContainerCreated, sb.id, id)
	return &runtimeapi.CreateContainerResponse{ContainerId: id}, nil
}

func (r *Runtime) createContainer(c *container, image spec.ImageConfig, layers []string) error {
	if err := os.MkdirAll(c.dir, 0o711); err != nil {
		return fmt.Errorf("create container directory: %w", err)
	}
	if err := writeJSON(filepath.Join(c.dir, "container.json"), &c.rec); err != nil {
		return fmt.Errorf("write container record: %w", err)
	}
	root := filepath.Join(c.dir, "rootfs")
	if err := rootfs.Mount(root, layers, filepath.Join(c.dir, "upper"), filepath.Join(c.dir, "work")); err != nil {
		return err
	}
	passwd, group, err := accounts(root)
	if err != nil {
		return fmt.Errorf("read the image's accounts: %w", err)
	}
	sc := c.config.GetLinux().GetSecurityContext()
	user, err := spec.ResolveUser(sc, image.User, passwd, group)
	if err != nil {
		return fmt.Errorf("failed to generate container %q spec: %w", c.id, err)
	}
	c.rec.UID, c.rec.GID, c.rec.Groups = user.UID, user.GID, user.Groups
	in := spec.Input{
		Container: c.config, Sandbox: c.sandbox.config, Image: image, User: user,
		Rootfs: root, CgroupsPath: c.rec.Cgroup, Namespaces: c.sandbox.namespaces(), Host: r.host,
		PodFiles: podFiles(c),
	}
	if in.Mounts, err = r.resolveMounts(c); err != nil {
		return err
	}
	if in.Devices, err = resolveDevices(c.config.GetDevices()); err != nil {
		return err
	}
	if sc.GetPrivileged() {
		in.HostDevices = hostDevices()
	}
	if p := sc.GetSeccomp(); p.GetProfileType() == runtimeapi.SecurityProfile_Localhost && p != nil && !sc.GetPrivileged() {
		if in.Seccomp, err = os.ReadFile(strings.TrimPrefix(p.GetLocalhostRef(), "localhost/")); err != nil {
			return fmt.Errorf("failed to generate seccomp spec opts: %w", err)
		}
	}
	s, warnings, err := spec.Build(in)
	if err != nil {
		return fmt.Errorf("failed to generate container %q spec: %w", c.id, err)
	}
	for _, w := range warnings {
		r.warnOnce(w, c.id)
	}
	if err := writeJSON(filepath.Join(c.dir, protocol.SpecFile), s); err != nil {
		return fmt.Errorf("write container spec: %w", err)
	}
	if err := writeJSON(filepath.Join(c.dir, "container.json"), &c.rec); err != nil {
		return fmt.Errorf("write container record: %w", err)
	}
	return nil
}

// accounts reads the root's user database without following a link out of it.
func accounts(dir string) (passwd, group string, err error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return "", "", err
	}
	defer root.Close()
	read := func(name string) string {
		f, err := root.Open(name)
		if err != nil {
			return "" // many images have none
		}
		defer f.Close()
		body, _ := io.ReadAll(io.LimitReader(f, maxAccountFile))
		return string(body)
	}
	return read("etc/passwd"), read("etc/group"), nil
}

// podFiles are the sandbox's files that every container sees, unless it brings its own.
func podFiles(c *container) []spec.Mount {
	ro := c.config.GetLinux().GetSecurityContext().GetReadonlyRootfs()
	mount := func(target, source string, readonly bool) spec.Mount {
		return spec.Mount{Mount: &runtimeapi.Mount{ContainerPath: target, HostPath: source, Readonly: readonly}, Source: source}
	}
	dir := c.sandbox.dir
	shm := filepath.Join(dir, "shm")
	if c.sandbox.hostIPC() {
		shm = "/dev/shm"
	}
	return []spec.Mount{
		mount("/etc/hostname", filepath.Join(dir, "hostname"), ro),
		mount("/etc/hosts", filepath.Join(dir, "hosts"), ro),
		mount("/etc/resolv.conf", filepath.Join(dir, "resolv.conf"), ro),
		mount("/dev/shm", shm, false),
	}
}

// resolveMounts makes the sources of a container's mounts exist and follows their links.
func (r *Runtime) resolveMounts(c *container) ([]spec.Mount, error) {
	var out []spec.Mount
	for i, m := range c.config.GetMounts() {
		source := m.GetHostPath()
		if m.GetImage().GetImage() != "" {
			var err error
			if source, err = r.mountImage(c, i, m); err != nil {
				return nil, err
			}
			m = proto.Clone(m).(*runtimeapi.Mount)
			m.Readonly = true
		} else {
			if _, err := os.Stat(source); errors.Is(err, os.ErrNotExist) {
				if err := os.MkdirAll(source, 0o755); err != nil {
					return nil, fmt.Errorf("failed to mkdir %q: %w", source, err)
				}
			} else if err != nil {
				return nil, fmt.Errorf("failed to stat %q: %w", source, err)
			}
			resolved, err := filepath.EvalSymlinks(source)
			if err != nil {
				return nil, fmt.Errorf("failed to resolve symlink %q: %w", source, err)
			}
			source = resolved
		}
		out = append(out, spec.Mount{Mount: m, Source: source})
	}
	return out, nil
}

// mountImage mounts an image read-only, to be bound into the container.
func (r *Runtime) mountImage(c *container, i int, m *runtimeapi.Mount) (string, error) {
	img, err := r.images.Find(m.GetImage().GetImage())
	if err != nil {
		return "", fmt.Errorf("failed to resolve image volume %q: %w", m.GetImage().GetImage(), err)
	}
	target := filepath.Join(c.dir, "image-volumes", fmt.Sprint(i))
	r.mu.Lock()
	c.rec.Layers = append(append([]string(nil), c.rec.Layers...), img.Layers...)
	r.mu.Unlock()
	if err := rootfs.Mount(target, r.images.Lower(img), "", ""); err != nil {
		return "", fmt.Errorf("mount image volume %q: %w", m.GetImage().GetImage(), err)
	}
	if m.GetImageSubPath() == "" {
		return target, nil
	}
	root, err := os.OpenRoot(target)
	if err != nil {
		return "", fmt.Errorf("open image volume: %w", err)
	}
	defer root.Close()
	if _, err := root.Stat(m.GetImageSubPath()); err != nil {
		return "", fmt.Errorf("image volume %q has no sub path %q: %w", m.GetImage().GetImage(), m.GetImageSubPath(), err)
	}
	return filepath.Join(target, m.GetImageSubPath()), nil
}

// resolveDevices finds the device nodes a container asks for; a directory stands for
// all below it.
func resolveDevices(want []*runtimeapi.Device) ([]spec.Device, error) {
	var out []spec.Device
	for _, d := range want {
		source, err := filepath.EvalSymlinks(d.GetHostPath())
		if err != nil {
			return nil, fmt.Errorf("failed to resolve device %q: %w", d.GetHostPath(), err)
		}
		found := 0
		err = filepath.WalkDir(source, func(path string, e os.DirEntry, err error) error {
			if err != nil || e.IsDir() {
				return err
			}
			dev, ok := deviceAt(path)
			if !ok {
				return nil
			}
			rel, err := filepath.Rel(source, path)
			if err != nil {
				return err
			}
			dev.Path = filepath.Join(d.GetContainerPath(), rel)
			out = append(out, spec.Device{LinuxDevice: dev, Permissions: d.GetPermissions()})
			found++
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("failed to read device %q: %w", d.GetHostPath(), err)
		}
		if found == 0 {
			return nil, fmt.Errorf("failed to read device %q: not a device node", d.GetHostPath())
		}
	}
	return out, nil
}

func deviceAt(path string) (specs.LinuxDevice, bool) {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return specs.LinuxDevice{}, false
	}
	kind := ""
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFCHR:
		kind = "c"
	case unix.S_IFBLK:
		kind = "b"
	default:
		return specs.LinuxDevice{}, false
	}
	mode := os.FileMode(st.Mode & 0o777)
	uid, gid := st.Uid, st.Gid
	return specs.LinuxDevice{
		Path: path, Type: kind, Major: int64(unix.Major(st.Rdev)), Minor: int64(unix.Minor(st.Rdev)),
		FileMode: &mode, UID: &uid, GID: &gid,
	}, true
}

// hostDevices are the nodes a privileged container gets: all but those that every
// container has of its own.
func hostDevices() []specs.LinuxDevice {
	var out []specs.LinuxDevice
	_ = filepath.WalkDir("/dev", func(path string, e os.DirEntry, err error) error {
		if err != nil {
			return nil
		}
		if e.IsDir() {
			switch e.Name() {
			case "pts", "shm", "fd", "mqueue", ".lxc", ".lxd-mounts", ".udev":
				return filepath.SkipDir
			}
			return nil
		}
		if e.Name() == "console" {
			return nil
		}
		if dev, ok := deviceAt(path); ok {
			out = append(out, dev)
		}
		return nil
	})
	return out
}
