package podmachine

import (
	"time"

	corev1 "k8s.io/api/core/v1"
)

// ContainerState is what the runtime says of a container.
type ContainerState int

// The states of a container.
const (
	Created ContainerState = iota
	Running
	Exited
	Unknown
)

// Container is one container of the runtime: one attempt of a name.
type Container struct {
	ID, Name, SandboxID string
	Attempt             int32
	State               ContainerState
	CreatedAt           time.Time
	StartedAt           time.Time
	FinishedAt          time.Time
	ExitCode            int32
	Reason, Message     string
	Image, ImageRef     string
	Hash                string
	LogPath             string
	User                *corev1.ContainerUser
}

// Sandbox is one sandbox of the pod.
type Sandbox struct {
	ID        string
	Ready     bool
	Attempt   uint32
	CreatedAt time.Time
	IPs       []string
}

// Result is what a probe said last.
type Result int

// The results of probes.
const (
	ResultUnknown Result = iota
	ResultSuccess
	ResultFailure
)

// Probes are the results for one container.
type Probes struct {
	Startup, Readiness, Liveness Result
}

// Waiting is why a container does not run, and until when nothing is tried.
type Waiting struct {
	Reason, Message string
	ForID           string    // the exited container it is about; "" for none
	Until           time.Time // next attempt
	// Made: the container was made and ended because of this; its restart
	// backs off like that of any other.
	Made bool
	// At FlipAt an image pull error becomes a back-off; zero for others.
	FlipAt time.Time
}

// VolumesState is how far the pod's volumes are.
type VolumesState int

// The states of a pod's volumes.
const (
	VolumesUnknown VolumesState = iota // there may be some of an earlier run
	VolumesMounted
	VolumesNone
)

// Eviction is why a node takes a pod down that it had taken.
type Eviction struct {
	Message   string
	Grace     time.Duration        // of its containers
	Condition *corev1.PodCondition // nil for none
}

// Rejection is why the node does not take a pod.
type Rejection struct{ Reason, Message string }

// Observed is everything known of one pod on this node. Its owner is the pod's
// worker; Step only reads.
type Observed struct {
	HostIPs    []string
	Sandboxes  []Sandbox              // newest first
	Containers map[string][]Container // by name, newest first
	Probes     map[string]Probes      // by container ID
	Waiting    map[string]Waiting     // by container name
	Crash      map[string]Backoff     // by container name
	// Busy holds the keys of actions under way; for a kill, when its grace ends.
	Busy map[string]time.Time

	Volumes       VolumesState
	VolumesRetry  time.Time // not before
	VolumesDirty  bool      // a source changed
	VolumesExpire time.Time // a token is to be renewed; zero for never
	SandboxRetry  time.Time // not before

	Rejected *Rejection
	Evicted  *Eviction

	// Actuated is what containers run with, by their ID; ActuatedPod the same of the
	// pod as a whole.
	Actuated    map[string]corev1.ResourceRequirements
	ActuatedPod *corev1.ResourceRequirements
	ResizeRetry time.Time // not before
	// ResizePending and ResizeInProgress are conditions; nil for none.
	ResizePending, ResizeInProgress *corev1.PodCondition
	Gone                            bool // the object is no longer in the API
	// Last is the status computed last; nil before the first.
	Last *corev1.PodStatus
	// Written says that the API has the status of the last step.
	Written bool
	Removed bool // directories are removed
}

// newest returns the newest container of a name, or nil.
func (o *Observed) newest(name string) *Container {
	if l := o.Containers[name]; len(l) > 0 {
		return &l[0]
	}
	return nil
}

// sandbox returns the newest sandbox, or nil.
func (o *Observed) sandbox() *Sandbox {
	if len(o.Sandboxes) > 0 {
		return &o.Sandboxes[0]
	}
	return nil
}

// live tells whether a container may have processes.
func (c *Container) live() bool { return c.State == Running || c.State == Unknown }

// Started tells whether a container runs and is past its startup probe.
func (o *Observed) Started(spec *corev1.Container, c *Container) bool {
	return c != nil && c.State == Running && (spec.StartupProbe == nil || o.Probes[c.ID].Startup == ResultSuccess)
}
