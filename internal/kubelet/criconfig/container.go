package criconfig

import (
	"fmt"
	"path"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/monohull/monohull/internal/kubelet/podmachine"
)

// Input is all that a container's configuration depends on.
type Input struct {
	Pod       *corev1.Pod
	Container *corev1.Container
	Attempt   int32
	// ImageRef is the image as the runtime knows it.
	ImageRef       string
	User           ImageUser
	Env            []Variable
	Mounts         []*runtimeapi.Mount
	Devices        []*runtimeapi.Device
	TargetID       string
	SeccompRoot    string
	MemoryCapacity int64
}

// LogPath is a container's log file within its pod's log directory.
func LogPath(name string, attempt int32) string {
	return path.Join(name, strconv.Itoa(int(attempt))+".log")
}

// LogDirName is a pod's directory below the directory of pod logs.
func LogDirName(namespace, name, uid string) string {
	return fmt.Sprintf("%s_%s_%s", namespace, name, uid)
}

// ContainerConfig makes a container's configuration.
func ContainerConfig(in Input) *runtimeapi.ContainerConfig {
	c, pod := in.Container, in.Pod
	values := map[string]string{}
	cfg := &runtimeapi.ContainerConfig{
		Metadata:   &runtimeapi.ContainerMetadata{Name: c.Name, Attempt: uint32(in.Attempt)},
		Image:      &runtimeapi.ImageSpec{Image: in.ImageRef, UserSpecifiedImage: c.Image},
		WorkingDir: c.WorkingDir,
		Mounts:     in.Mounts,
		Devices:    in.Devices,
		LogPath:    LogPath(c.Name, in.Attempt),
		Stdin:      c.Stdin, StdinOnce: c.StdinOnce, Tty: c.TTY,
		Labels: PodLabels(pod),
		Annotations: map[string]string{
			AnnotationHash:          podmachine.Hash(c),
			AnnotationRestartCount:  strconv.Itoa(int(in.Attempt)),
			AnnotationMessagePath:   c.TerminationMessagePath,
			AnnotationMessagePolicy: string(c.TerminationMessagePolicy),
		},
		Linux: &runtimeapi.LinuxContainerConfig{
			Resources:       Resources(pod, c, in.MemoryCapacity),
			SecurityContext: SecurityContext(pod, c, in.User, in.TargetID, in.SeccompRoot),
		},
	}
	cfg.Labels[LabelContainerName] = c.Name
	if g := pod.Spec.TerminationGracePeriodSeconds; g != nil {
		cfg.Annotations[AnnotationGrace] = strconv.FormatInt(*g, 10)
	}
	for _, e := range in.Env {
		values[e.Name] = e.Value
		cfg.Envs = append(cfg.Envs, &runtimeapi.KeyValue{Key: e.Name, Value: []byte(e.Value)})
	}
	cfg.Command, cfg.Args = ExpandAll(c.Command, values), ExpandAll(c.Args, values)
	if c.Lifecycle != nil && c.Lifecycle.StopSignal != nil {
		if n, ok := runtimeapi.Signal_value[string(*c.Lifecycle.StopSignal)]; ok {
			cfg.StopSignal = runtimeapi.Signal(n)
		}
	}
	return cfg
}

// Propagation translates a mount's propagation.
func Propagation(m *corev1.MountPropagationMode) runtimeapi.MountPropagation {
	if m != nil {
		switch *m {
		case corev1.MountPropagationHostToContainer:
			return runtimeapi.MountPropagation_PROPAGATION_HOST_TO_CONTAINER
		case corev1.MountPropagationBidirectional:
			return runtimeapi.MountPropagation_PROPAGATION_BIDIRECTIONAL
		}
	}
	return runtimeapi.MountPropagation_PROPAGATION_PRIVATE
}
