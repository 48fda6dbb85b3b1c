package runtime

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/monohull/monohull/internal/runtime/protocol"
)

// settings are what Reset must know about a data directory.
type settings struct {
	CgroupParent string `json:"cgroupParent"`
}

// sandboxRecord is a sandbox on disk.
type sandboxRecord struct {
	ID        string    `json:"id"`
	Config    []byte    `json:"config"` // runtimeapi.PodSandboxConfig
	Handler   string    `json:"handler,omitempty"`
	CreatedAt time.Time `json:"createdAt"`
	Cgroup    string    `json:"cgroup"` // parent of the sandbox's groups
	Netns     string    `json:"netns,omitempty"`
	IPs       []string  `json:"ips,omitempty"`
	ShimPid   int       `json:"shimPid,omitempty"`
	Ready     bool      `json:"ready"`   // RunPodSandbox succeeded
	Stopped   bool      `json:"stopped"` // StopPodSandbox succeeded, or found dead and cleaned up
}

// containerRecord is a container on disk. It does not say how the container is:
// the shim and the exit file do.
type containerRecord struct {
	ID         string    `json:"id"`
	SandboxID  string    `json:"sandboxID"`
	Config     []byte    `json:"config"` // runtimeapi.ContainerConfig
	CreatedAt  time.Time `json:"createdAt"`
	ImageID    string    `json:"imageID"`
	ImageRef   string    `json:"imageRef"`
	ImageName  string    `json:"imageName,omitempty"` // the tag it was asked for by, else any
	Layers     []string  `json:"layers"`
	LogPath    string    `json:"logPath,omitempty"`
	StopSignal string    `json:"stopSignal,omitempty"` // the image's
	UID        uint32    `json:"uid"`
	GID        uint32    `json:"gid"`
	Groups     []uint32  `json:"groups,omitempty"`
	Cgroup     string    `json:"cgroup"`
	// Started says that a start was asked for: no exit file then means that the end
	// was not seen.
	Started bool `json:"started"`
	// Resources is a runtimeapi.LinuxContainerResources, once they were updated.
	Resources []byte `json:"resources,omitempty"`
}

func (r *Runtime) sandboxDir(id string) string { return filepath.Join(r.cfg.DataDir, "sandboxes", id) }
func (r *Runtime) containerDir(id string) string {
	return filepath.Join(r.cfg.DataDir, "containers", id)
}

// writeJSON replaces a file whole. It is not forced to disk: after a power cut
// nothing of what these files tell is running any more.
func writeJSON(path string, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if err := os.WriteFile(path+".tmp", body, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".tmp", path)
}

func readJSON(path string, v any) error {
	body, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(body, v); err != nil {
		return fmt.Errorf("decode %s: %w", path, err)
	}
	return nil
}

func saveSettings(dataDir string, s settings) error {
	if err := writeJSON(filepath.Join(dataDir, "runtime.json"), s); err != nil {
		return fmt.Errorf("write settings: %w", err)
	}
	return nil
}

// load reads every record. One that is damaged is removed with what belongs to it:
// without it nothing can be said about the object, and the kubelet makes a new one.
func (r *Runtime) load() error {
	for _, id := range list(filepath.Join(r.cfg.DataDir, "sandboxes")) {
		var rec sandboxRecord
		config := &runtimeapi.PodSandboxConfig{}
		err := readJSON(filepath.Join(r.sandboxDir(id), "sandbox.json"), &rec)
		if err == nil {
			err = proto.Unmarshal(rec.Config, config)
		}
		if err != nil {
			r.log.Warn("sandbox record is unreadable, the sandbox is removed", "sandbox", id, "error", err)
			r.discard(r.sandboxDir(id), filepath.Join(r.cfg.DataDir, "netns", id))
			continue
		}
		sb := newSandbox(rec, config, r.sandboxDir(id))
		r.sandboxes[id] = sb
		r.names[sandboxName(config.GetMetadata())] = id
	}
	for _, id := range list(filepath.Join(r.cfg.DataDir, "containers")) {
		var rec containerRecord
		config := &runtimeapi.ContainerConfig{}
		err := readJSON(filepath.Join(r.containerDir(id), "container.json"), &rec)
		if err == nil {
			err = proto.Unmarshal(rec.Config, config)
		}
		sb := r.sandboxes[rec.SandboxID]
		if err == nil && sb == nil {
			err = errors.New("its sandbox is gone")
		}
		if err != nil {
			r.log.Warn("container record is unreadable, the container is removed", "container", id, "error", err)
			r.discard(r.containerDir(id), "")
			continue
		}
		c := newContainer(rec, config, sb, r.containerDir(id))
		var exit protocol.Exit
		if err := readJSON(filepath.Join(c.dir, protocol.ExitFile), &exit); err == nil {
			c.becomeExited(&exit)
		} else if !errors.Is(err, fs.ErrNotExist) {
			r.log.Warn("exit file is unreadable", "container", id, "error", err)
		}
		c.created = true
		r.containers[id] = c
		r.names[containerName(config.GetMetadata(), sb.config.GetMetadata())] = id
	}
	return nil
}

func list(dir string) []string {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	slices.Sort(names)
	return names
}
