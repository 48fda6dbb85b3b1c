package kubelet

import (
	"context"
	"io"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/monohull/monohull/internal/kubelet/criconfig"
	"github.com/monohull/monohull/internal/kubelet/machine"
)

// Sandboxes is what the kubelet needs of the runtime for sandboxes, by the CRI's
// server signatures.
type Sandboxes interface {
	RunPodSandbox(context.Context, *runtimeapi.RunPodSandboxRequest) (*runtimeapi.RunPodSandboxResponse, error)
	StopPodSandbox(context.Context, *runtimeapi.StopPodSandboxRequest) (*runtimeapi.StopPodSandboxResponse, error)
	RemovePodSandbox(context.Context, *runtimeapi.RemovePodSandboxRequest) (*runtimeapi.RemovePodSandboxResponse, error)
	PodSandboxStatus(context.Context, *runtimeapi.PodSandboxStatusRequest) (*runtimeapi.PodSandboxStatusResponse, error)
	ListPodSandbox(context.Context, *runtimeapi.ListPodSandboxRequest) (*runtimeapi.ListPodSandboxResponse, error)
}

// Containers is what the kubelet needs of the runtime for containers.
type Containers interface {
	CreateContainer(context.Context, *runtimeapi.CreateContainerRequest) (*runtimeapi.CreateContainerResponse, error)
	StartContainer(context.Context, *runtimeapi.StartContainerRequest) (*runtimeapi.StartContainerResponse, error)
	StopContainer(context.Context, *runtimeapi.StopContainerRequest) (*runtimeapi.StopContainerResponse, error)
	RemoveContainer(context.Context, *runtimeapi.RemoveContainerRequest) (*runtimeapi.RemoveContainerResponse, error)
	ListContainers(context.Context, *runtimeapi.ListContainersRequest) (*runtimeapi.ListContainersResponse, error)
	ContainerStatus(context.Context, *runtimeapi.ContainerStatusRequest) (*runtimeapi.ContainerStatusResponse, error)
	ExecSync(context.Context, *runtimeapi.ExecSyncRequest) (*runtimeapi.ExecSyncResponse, error)
}

// Upkeep is what the kubelet needs of the runtime while containers run.
type Upkeep interface {
	UpdateContainerResources(context.Context, *runtimeapi.UpdateContainerResourcesRequest) (*runtimeapi.UpdateContainerResourcesResponse, error)
	ReopenContainerLog(context.Context, *runtimeapi.ReopenContainerLogRequest) (*runtimeapi.ReopenContainerLogResponse, error)
	ListPodSandboxStats(context.Context, *runtimeapi.ListPodSandboxStatsRequest) (*runtimeapi.ListPodSandboxStatsResponse, error)
}

// Runtime is the container runtime.
type Runtime interface {
	Sandboxes
	Containers
	Upkeep
	Version(context.Context, *runtimeapi.VersionRequest) (*runtimeapi.VersionResponse, error)
	Status(context.Context, *runtimeapi.StatusRequest) (*runtimeapi.StatusResponse, error)
}

// Images is the runtime's image service.
type Images interface {
	PullImage(context.Context, *runtimeapi.PullImageRequest) (*runtimeapi.PullImageResponse, error)
	ImageStatus(context.Context, *runtimeapi.ImageStatusRequest) (*runtimeapi.ImageStatusResponse, error)
	ListImages(context.Context, *runtimeapi.ListImagesRequest) (*runtimeapi.ListImagesResponse, error)
	RemoveImage(context.Context, *runtimeapi.RemoveImageRequest) (*runtimeapi.RemoveImageResponse, error)
	ImageFsInfo(context.Context, *runtimeapi.ImageFsInfoRequest) (*runtimeapi.ImageFsInfoResponse, error)
}

// Size is a terminal's.
type Size struct{ Width, Height uint16 }

// EventType says what happened in the runtime.
type EventType int

// What the kubelet wants to hear of. Anything else may be left out.
const (
	ContainerStarted EventType = iota
	ContainerExited
	SandboxDied
	// EventsLost: look at everything anew.
	EventsLost
)

// Event is news from the runtime.
type Event struct {
	Type                   EventType
	SandboxID, ContainerID string
}

// Streams is the rest of the runtime: streams and news.
type Streams interface {
	Exec(ctx context.Context, containerID string, cmd []string, tty bool, stdin io.Reader, stdout, stderr io.Writer, resize <-chan Size) (exitCode int, err error)
	Attach(ctx context.Context, containerID string, stdin io.Reader, stdout, stderr io.Writer, resize <-chan Size) error
	PortForward(ctx context.Context, sandboxID string, port int32, stream io.ReadWriteCloser) error
	// Events gives what happens from now until ctx ends.
	Events(ctx context.Context) <-chan Event
}

// Measures is how full the machine is.
type Measures interface {
	Usage(dir string) (machine.Usage, error)
	GroupUsage(path string) (machine.GroupUsage, error)
	DirUsage(dir string) (bytes, inodes uint64, err error)
}

// Host is the machine. machine.Machine is the real one.
type Host interface {
	Measures
	Mount(source, target, fstype string, options []string) error
	Unmount(target string) error
	MountsBelow(dir string) ([]string, error)
	SetCgroup(g criconfig.Cgroup) error
	RemoveCgroup(path string) error
	Facts() (machine.Facts, error)
}
