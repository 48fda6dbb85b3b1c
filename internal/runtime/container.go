package runtime

import (
	"sync"
	"time"

	"google.golang.org/protobuf/proto"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/monohull/monohull/internal/runtime/protocol"
)

// Exit codes and reasons as kubectl users know them.
const (
	unknownExitCode    = 255
	startErrorExitCode = 128

	reasonCompleted  = "Completed"
	reasonError      = "Error"
	reasonOOMKilled  = "OOMKilled"
	reasonStartError = "StartError"
	reasonUnknown    = "Unknown"
)

type containerState int

// A container's life:
//
//	created ──► running ──► exited
//	    └───────────────────►┘ (start failed, or found dead)
const (
	stateCreated containerState = iota
	stateRunning
	stateExited
)

// container is one container in memory.
type container struct {
	id      string
	dir     string
	sandbox *sandbox
	config  *runtimeapi.ContainerConfig // shared, never written

	op   sync.Mutex    // held through start and remove
	done chan struct{} // closed by becomeExited

	rec containerRecord // constant once created, but for Started and Resources, which mu guards

	created bool // guarded by Runtime.mu; until then nobody sees it but who clears up

	mu        sync.Mutex // guards what follows
	st        containerState
	starting  bool
	pid       int
	startedAt time.Time
	exit      *protocol.Exit
	resources *runtimeapi.LinuxContainerResources // as updated
	cpu       cpuSample
}

type cpuSample struct {
	at    time.Time
	nanos uint64
	rate  uint64 // nanocores
}

func newContainer(rec containerRecord, config *runtimeapi.ContainerConfig, sb *sandbox, dir string) *container {
	c := &container{
		id: rec.ID, dir: dir, sandbox: sb, config: config, rec: rec,
		done: make(chan struct{}), resources: config.GetLinux().GetResources(),
	}
	if len(rec.Resources) > 0 {
		updated := &runtimeapi.LinuxContainerResources{}
		if err := proto.Unmarshal(rec.Resources, updated); err == nil {
			c.resources = updated
		}
	}
	return c
}

func (c *container) state() containerState {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.st
}

func (c *container) wasStarted() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.rec.Started
}

func (c *container) startUnderWay() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.starting
}

func (c *container) setStarting(v bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.starting = v
	if v {
		c.rec.Started = true
	}
}

// becomeRunning reports whether the state changed.
func (c *container) becomeRunning(pid int, at time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.st != stateCreated {
		return false
	}
	c.st, c.pid, c.startedAt = stateRunning, pid, at
	return true
}

// becomeExited reports whether the state changed.
func (c *container) becomeExited(exit *protocol.Exit) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.st == stateExited {
		return false
	}
	c.st, c.exit, c.pid = stateExited, exit, 0
	if !exit.StartedAt.IsZero() {
		c.startedAt = exit.StartedAt
	}
	close(c.done)
	return true
}

func (c *container) criState() runtimeapi.ContainerState {
	switch c.state() {
	case stateCreated:
		return runtimeapi.ContainerState_CONTAINER_CREATED
	case stateRunning:
		return runtimeapi.ContainerState_CONTAINER_RUNNING
	}
	return runtimeapi.ContainerState_CONTAINER_EXITED
}

// reasonOf words an exit.
func reasonOf(exit *protocol.Exit) string {
	switch {
	case exit.Reason != "":
		return exit.Reason
	case exit.OOMKilled:
		return reasonOOMKilled
	case exit.Code == 0:
		return reasonCompleted
	}
	return reasonError
}

// criStatus is the container's status for the CRI.
func (c *container) criStatus() *runtimeapi.ContainerStatus {
	st := &runtimeapi.ContainerStatus{
		Id: c.id, Metadata: c.config.GetMetadata(), State: c.criState(),
		CreatedAt: c.rec.CreatedAt.UnixNano(),
		Image:     &runtimeapi.ImageSpec{Image: c.rec.ImageName, UserSpecifiedImage: c.config.GetImage().GetUserSpecifiedImage()},
		ImageRef:  c.rec.ImageRef, ImageId: c.rec.ImageID,
		Labels: c.config.GetLabels(), Annotations: c.config.GetAnnotations(),
		Mounts: c.config.GetMounts(), LogPath: c.rec.LogPath, StopSignal: c.config.GetStopSignal(),
		User: &runtimeapi.ContainerUser{Linux: &runtimeapi.LinuxContainerUser{Uid: int64(c.rec.UID), Gid: int64(c.rec.GID)}},
	}
	for _, gid := range c.rec.Groups {
		st.User.Linux.SupplementalGroups = append(st.User.Linux.SupplementalGroups, int64(gid))
	}
	if st.Image.Image == "" {
		st.Image.Image = c.config.GetImage().GetImage()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	st.StartedAt = nanos(c.startedAt)
	if c.resources != nil {
		st.Resources = &runtimeapi.ContainerResources{Linux: c.resources}
	}
	if c.exit != nil {
		st.FinishedAt = nanos(c.exit.FinishedAt)
		st.ExitCode = int32(c.exit.Code)
		st.Reason, st.Message = reasonOf(c.exit), c.exit.Message
	}
	return st
}
