package spec

import (
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

const defaultPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// ImageConfig is what an image says about how it runs.
type ImageConfig struct {
	User       string
	Env        []string
	Entrypoint []string
	Cmd        []string
	WorkingDir string
	StopSignal string
}

// Host is what the machine can do and has.
type Host struct {
	Hostname     string
	Capabilities []string // of this machine's root
	Unified      bool     // cgroup v2 only
	Swap         bool     // the memory controller accounts swap
	HugePages    []string // page sizes the hugetlb controller knows; nil: no controller
	CgroupMount  []string // cgroup2 superblock options to keep when sharing it
}

// Namespaces are the paths of what a container joins; an empty path means a new
// one, unless the namespace mode says the host's.
type Namespaces struct {
	Net, IPC, UTS, PID string
}

// Mount is a CRI mount whose source was resolved and made to exist.
type Mount struct {
	*runtimeapi.Mount
	Source string
}

// Device is a CRI device found on the host.
type Device struct {
	specs.LinuxDevice
	Permissions string
}

// Input is all that a spec is made of.
type Input struct {
	Container   *runtimeapi.ContainerConfig
	Sandbox     *runtimeapi.PodSandboxConfig
	Image       ImageConfig
	User        User
	Rootfs      string
	CgroupsPath string
	Namespaces  Namespaces
	Mounts      []Mount  // the container's, in any order
	PodFiles    []Mount  // the sandbox's own: hosts, hostname, resolv.conf, shm
	Devices     []Device // the container's
	HostDevices []specs.LinuxDevice
	Seccomp     []byte // a Localhost profile's content
	Host        Host
}

// Build makes the spec. Warnings are what was left out that a container can do
// without.
func Build(in Input) (*specs.Spec, []string, error) {
	sc := in.Container.GetLinux().GetSecurityContext()
	podSC := in.Sandbox.GetLinux().GetSecurityContext()
	if sc.GetPrivileged() && !podSC.GetPrivileged() {
		return nil, nil, errors.New("no privileged container allowed in sandbox")
	}
	args, err := command(in.Container, in.Image)
	if err != nil {
		return nil, nil, err
	}
	caps, warnings, err := capabilities(sc, in.Host.Capabilities)
	if err != nil {
		return nil, nil, err
	}
	s := &specs.Spec{
		Version: specs.Version,
		Root:    &specs.Root{Path: in.Rootfs, Readonly: sc.GetReadonlyRootfs()},
		Process: &specs.Process{
			Terminal:        in.Container.GetTty(),
			User:            specs.User{UID: in.User.UID, GID: in.User.GID, AdditionalGids: in.User.Groups},
			Args:            args,
			Env:             environment(in),
			Cwd:             workingDir(in.Container, in.Image),
			Capabilities:    caps,
			NoNewPrivileges: sc.GetNoNewPrivs(),
		},
		Linux: &specs.Linux{
			CgroupsPath: in.CgroupsPath,
			Namespaces:  namespaces(in),
			Resources:   Resources(in.Container.GetLinux().GetResources(), in.Host),
		},
	}
	// Always set: a container must not inherit its parent's.
	adj := int(in.Container.GetLinux().GetResources().GetOomScoreAdj())
	s.Process.OOMScoreAdj = &adj
	if !sc.GetPrivileged() {
		s.Linux.MaskedPaths, s.Linux.ReadonlyPaths = sc.GetMaskedPaths(), sc.GetReadonlyPaths()
	}
	if err := mounts(s, in); err != nil {
		return nil, nil, err
	}
	devices(s, in)
	if s.Linux.Seccomp, err = seccomp(in, caps.Bounding); err != nil {
		return nil, nil, err
	}
	return s, warnings, nil
}

// command follows Docker's rule: a command given replaces entrypoint and cmd, args
// alone replace the cmd.
func command(c *runtimeapi.ContainerConfig, image ImageConfig) ([]string, error) {
	cmd, args := c.GetCommand(), c.GetArgs()
	if len(cmd) == 0 {
		if len(args) == 0 {
			args = image.Cmd
		}
		cmd = image.Entrypoint
	}
	all := append(slices.Clone(cmd), args...)
	if len(all) == 0 {
		return nil, errors.New("no command specified")
	}
	return all, nil
}

func workingDir(c *runtimeapi.ContainerConfig, image ImageConfig) string {
	for _, dir := range []string{c.GetWorkingDir(), image.WorkingDir} {
		if dir != "" {
			return path.Join("/", dir)
		}
	}
	return "/"
}

func environment(in Input) []string {
	env := []string{defaultPath}
	if in.Container.GetTty() {
		env = append(env, "TERM=xterm")
	}
	hostname := in.Sandbox.GetHostname()
	if hostname == "" {
		hostname = in.Host.Hostname
	}
	env = append(env, "HOSTNAME="+hostname)
	set := func(kv string) {
		key, _, _ := strings.Cut(kv, "=")
		for i, old := range env {
			if k, _, _ := strings.Cut(old, "="); k == key {
				env[i] = kv
				return
			}
		}
		env = append(env, kv)
	}
	for _, kv := range in.Image.Env {
		set(kv)
	}
	for _, kv := range in.Container.GetEnvs() {
		set(kv.GetKey() + "=" + string(kv.GetValue()))
	}
	return env
}

func namespaces(in Input) []specs.LinuxNamespace {
	sc := in.Container.GetLinux().GetSecurityContext()
	opts := sc.GetNamespaceOptions()
	out := []specs.LinuxNamespace{{Type: specs.MountNamespace}}
	if opts.GetNetwork() != runtimeapi.NamespaceMode_NODE {
		out = append(out, specs.LinuxNamespace{Type: specs.NetworkNamespace, Path: in.Namespaces.Net},
			specs.LinuxNamespace{Type: specs.UTSNamespace, Path: in.Namespaces.UTS})
	}
	if opts.GetIpc() != runtimeapi.NamespaceMode_NODE {
		out = append(out, specs.LinuxNamespace{Type: specs.IPCNamespace, Path: in.Namespaces.IPC})
	}
	switch opts.GetPid() {
	case runtimeapi.NamespaceMode_NODE:
	case runtimeapi.NamespaceMode_CONTAINER:
		out = append(out, specs.LinuxNamespace{Type: specs.PIDNamespace})
	default: // POD, TARGET
		out = append(out, specs.LinuxNamespace{Type: specs.PIDNamespace, Path: in.Namespaces.PID})
	}
	if in.Host.Unified && !sc.GetPrivileged() {
		out = append(out, specs.LinuxNamespace{Type: specs.CgroupNamespace})
	}
	return out
}

// mounts lays out the root filesystem: the kernel's file systems, the pod's files,
// then the container's own mounts, shallow ones first so that none hides another.
func mounts(s *specs.Spec, in Input) error {
	privileged := in.Container.GetLinux().GetSecurityContext().GetPrivileged()
	ro := "ro"
	if privileged {
		ro = "rw"
	}
	cgroupOptions := []string{"nosuid", "noexec", "nodev", "relatime", ro}
	if !in.Host.Unified || privileged {
		cgroupOptions = append(cgroupOptions, in.Host.CgroupMount...)
	}
	defaults := []specs.Mount{
		{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "strictatime", "mode=755", "size=65536k"}},
		{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}},
		{Destination: "/dev/mqueue", Type: "mqueue", Source: "mqueue", Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"nosuid", "noexec", "nodev", ro}},
		{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup", Options: cgroupOptions},
	}
	own := slices.Clone(in.Mounts)
	taken := map[string]bool{}
	for _, m := range own {
		taken[filepath.Clean(m.GetContainerPath())] = true
	}
	for _, m := range in.PodFiles {
		if !taken[filepath.Clean(m.GetContainerPath())] {
			own = append(own, m)
			taken[filepath.Clean(m.GetContainerPath())] = true
		}
	}
	for _, m := range defaults {
		if taken[m.Destination] || (taken["/dev"] && strings.HasPrefix(m.Destination, "/dev/")) {
			continue
		}
		s.Mounts = append(s.Mounts, m)
	}
	depth := func(m Mount) int { return strings.Count(filepath.Clean(m.GetContainerPath()), "/") }
	slices.SortStableFunc(own, func(a, b Mount) int { return depth(a) - depth(b) })
	for _, m := range own {
		options := []string{"rbind"}
		switch m.GetPropagation() {
		case runtimeapi.MountPropagation_PROPAGATION_BIDIRECTIONAL:
			options = append(options, "rshared")
			s.Linux.RootfsPropagation = "rshared"
		case runtimeapi.MountPropagation_PROPAGATION_HOST_TO_CONTAINER:
			options = append(options, "rslave")
			if s.Linux.RootfsPropagation == "" {
				s.Linux.RootfsPropagation = "rslave"
			}
		default:
			options = append(options, "rprivate")
		}
		switch {
		case m.GetRecursiveReadOnly() && !m.GetReadonly():
			return fmt.Errorf("recursive read-only mount conflicts with RW mount (hostPath=%q)", m.GetHostPath())
		case m.GetRecursiveReadOnly() && m.GetPropagation() != runtimeapi.MountPropagation_PROPAGATION_PRIVATE:
			return fmt.Errorf("recursive read-only mount needs private propagation, got %q (hostPath=%q)", m.GetPropagation().String(), m.GetHostPath())
		case m.GetRecursiveReadOnly():
			options = append(options, "rro")
		case m.GetReadonly():
			options = append(options, "ro")
		default:
			options = append(options, "rw")
		}
		s.Mounts = append(s.Mounts, specs.Mount{
			Destination: m.GetContainerPath(), Type: "bind", Source: m.Source, Options: options,
			UIDMappings: idMappings(m.GetUidMappings()), GIDMappings: idMappings(m.GetGidMappings()),
		})
	}
	return nil
}

func idMappings(in []*runtimeapi.IDMapping) []specs.LinuxIDMapping {
	var out []specs.LinuxIDMapping
	for _, m := range in {
		out = append(out, specs.LinuxIDMapping{ContainerID: m.GetContainerId(), HostID: m.GetHostId(), Size: m.GetLength()})
	}
	return out
}

func devices(s *specs.Spec, in Input) {
	if in.Container.GetLinux().GetSecurityContext().GetPrivileged() {
		s.Linux.Devices = in.HostDevices
		s.Linux.Resources.Devices = []specs.LinuxDeviceCgroup{{Allow: true, Access: "rwm"}}
		return
	}
	s.Linux.Resources.Devices = []specs.LinuxDeviceCgroup{{Allow: false, Access: "rwm"}}
	for _, d := range in.Devices {
		s.Linux.Devices = append(s.Linux.Devices, d.LinuxDevice)
		major, minor := d.Major, d.Minor
		s.Linux.Resources.Devices = append(s.Linux.Resources.Devices, specs.LinuxDeviceCgroup{
			Allow: true, Type: d.Type, Major: &major, Minor: &minor, Access: d.Permissions,
		})
	}
}

func seccomp(in Input, bounding []string) (*specs.LinuxSeccomp, error) {
	sc := in.Container.GetLinux().GetSecurityContext()
	profile := sc.GetSeccomp()
	if sc.GetPrivileged() || profile == nil {
		return nil, nil
	}
	switch profile.GetProfileType() {
	case runtimeapi.SecurityProfile_RuntimeDefault:
		return DefaultSeccomp(bounding), nil
	case runtimeapi.SecurityProfile_Localhost:
		var s specs.LinuxSeccomp
		if err := json.Unmarshal(in.Seccomp, &s); err != nil {
			return nil, fmt.Errorf("decode seccomp profile %q: %w", profile.GetLocalhostRef(), err)
		}
		return &s, nil
	}
	return nil, nil
}

// Resources turns CRI limits into the spec's, leaving out what the machine has no
// controller for.
func Resources(r *runtimeapi.LinuxContainerResources, host Host) *specs.LinuxResources {
	out := &specs.LinuxResources{}
	if r == nil {
		return out
	}
	cpu := &specs.LinuxCPU{Cpus: r.GetCpusetCpus(), Mems: r.GetCpusetMems()}
	if v := uint64(r.GetCpuShares()); v != 0 {
		cpu.Shares = &v
	}
	if v := r.GetCpuQuota(); v != 0 {
		cpu.Quota = &v
	}
	if v := uint64(r.GetCpuPeriod()); v != 0 {
		cpu.Period = &v
	}
	out.CPU = cpu
	mem := &specs.LinuxMemory{}
	if v := r.GetMemoryLimitInBytes(); v != 0 {
		mem.Limit = &v
		if host.Swap {
			swap := v // no swap beyond memory, unless said otherwise
			if s := r.GetMemorySwapLimitInBytes(); s != 0 {
				swap = s
			}
			mem.Swap = &swap
		}
	}
	out.Memory = mem
	for _, h := range r.GetHugepageLimits() {
		if slices.Contains(host.HugePages, h.GetPageSize()) {
			out.HugepageLimits = append(out.HugepageLimits, specs.LinuxHugepageLimit{Pagesize: h.GetPageSize(), Limit: h.GetLimit()})
		}
	}
	if host.Unified {
		out.Unified = r.GetUnified()
	}
	return out
}

// Pause is the spec of a sandbox's init: an empty root with the helper in it, the
// sandbox's namespaces, no capability.
func Pause(rootfs, helper, cgroupsPath string, ns Namespaces, hostNetwork, hostIPC bool) *specs.Spec {
	s := &specs.Spec{
		Version: specs.Version,
		Root:    &specs.Root{Path: rootfs, Readonly: true},
		Process: &specs.Process{
			Args: []string{"/pause"}, Env: []string{defaultPath}, Cwd: "/", NoNewPrivileges: true,
			User:         specs.User{UID: 65535, GID: 65535},
			Capabilities: &specs.LinuxCapabilities{},
		},
		Mounts: []specs.Mount{
			{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "noexec", "nodev"}},
			{Destination: "/pause", Type: "bind", Source: helper, Options: []string{"bind", "ro", "rprivate"}},
		},
		Linux: &specs.Linux{
			CgroupsPath: cgroupsPath,
			Namespaces:  []specs.LinuxNamespace{{Type: specs.MountNamespace}, {Type: specs.PIDNamespace}},
			Resources:   &specs.LinuxResources{Devices: []specs.LinuxDeviceCgroup{{Allow: false, Access: "rwm"}}},
			MaskedPaths: []string{"/proc/kcore", "/proc/keys", "/proc/timer_list"},
		},
	}
	shares := uint64(2)
	s.Linux.Resources.CPU = &specs.LinuxCPU{Shares: &shares}
	if !hostNetwork {
		s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.NetworkNamespace, Path: ns.Net},
			specs.LinuxNamespace{Type: specs.UTSNamespace, Path: ns.UTS})
	}
	if !hostIPC {
		s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.IPCNamespace, Path: ns.IPC})
	}
	return s
}
