package kubelet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/monohull/monohull/internal/kubelet/criconfig"
	"github.com/monohull/monohull/internal/kubelet/logs"
	"github.com/monohull/monohull/internal/kubelet/podmachine"
)

// pod finds a pod of this node.
func (k *Kubelet) pod(namespace, name string) (*corev1.Pod, error) {
	p, ok := k.pods.Get(namespace, name)
	if !ok || p.Spec.NodeName != k.cfg.NodeName {
		return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "pods"}, name)
	}
	return p, nil
}

// choose names the container that is meant when none is given.
func choose(p *corev1.Pod, container string) (string, error) {
	if container != "" {
		if criconfig.FindContainer(p, container) == nil {
			return "", apierrors.NewBadRequest(fmt.Sprintf("container %s is not valid for pod %s", container, p.Name))
		}
		return container, nil
	}
	if len(p.Spec.Containers) == 1 && len(p.Spec.InitContainers) == 0 {
		return p.Spec.Containers[0].Name, nil
	}
	var names, inits []string
	for _, c := range p.Spec.Containers {
		names = append(names, c.Name)
	}
	for _, c := range p.Spec.InitContainers {
		inits = append(inits, c.Name)
	}
	m := fmt.Sprintf("a container name must be specified for pod %s, choose one of: %v", p.Name, names)
	if len(inits) > 0 {
		m += fmt.Sprintf(" or one of the init containers: %v", inits)
	}
	return "", apierrors.NewBadRequest(m)
}

// running finds the ID of a container that runs now.
func (k *Kubelet) running(ctx context.Context, namespace, pod, container string) (string, error) {
	p, err := k.pod(namespace, pod)
	if err != nil {
		return "", err
	}
	if container, err = choose(p, container); err != nil {
		return "", err
	}
	// The runtime is asked rather than the status: it knows first.
	list, err := k.deps.Runtime.ListContainers(ctx, &runtimeapi.ListContainersRequest{Filter: &runtimeapi.ContainerFilter{
		State:         &runtimeapi.ContainerStateValue{State: runtimeapi.ContainerState_CONTAINER_RUNNING},
		LabelSelector: map[string]string{criconfig.LabelPodUID: string(runtimeUID(p)), criconfig.LabelContainerName: container},
	}})
	if err != nil {
		return "", apierrors.NewInternalError(err)
	}
	if len(list.GetContainers()) == 0 {
		return "", apierrors.NewInternalError(fmt.Errorf("container not found (%q)", container))
	}
	return list.GetContainers()[0].GetId(), nil
}

// Exec runs a command in a container, and returns its exit code.
func (k *Kubelet) Exec(ctx context.Context, namespace, pod, container string, cmd []string, tty bool, stdin io.Reader, stdout, stderr io.Writer, resize <-chan Size) (int, error) {
	id, err := k.running(ctx, namespace, pod, container)
	if err != nil {
		return 0, err
	}
	return k.deps.Streams.Exec(ctx, id, cmd, tty, stdin, stdout, stderr, resize)
}

// Attach joins a container's own streams.
func (k *Kubelet) Attach(ctx context.Context, namespace, pod, container string, stdin io.Reader, stdout, stderr io.Writer, resize <-chan Size) error {
	id, err := k.running(ctx, namespace, pod, container)
	if err != nil {
		return err
	}
	return k.deps.Streams.Attach(ctx, id, stdin, stdout, stderr, resize)
}

// PortForward joins a stream with a port of a pod.
func (k *Kubelet) PortForward(ctx context.Context, namespace, pod string, port int32, stream io.ReadWriteCloser) error {
	p, err := k.pod(namespace, pod)
	if err != nil {
		return err
	}
	list, err := k.deps.Runtime.ListPodSandbox(ctx, &runtimeapi.ListPodSandboxRequest{Filter: &runtimeapi.PodSandboxFilter{
		State:         &runtimeapi.PodSandboxStateValue{State: runtimeapi.PodSandboxState_SANDBOX_READY},
		LabelSelector: map[string]string{criconfig.LabelPodUID: string(runtimeUID(p))},
	}})
	if err != nil {
		return apierrors.NewInternalError(err)
	}
	if len(list.GetItems()) == 0 {
		return apierrors.NewInternalError(fmt.Errorf("pod not found (%q)", p.Name+"_"+p.Namespace))
	}
	return k.deps.Streams.PortForward(ctx, list.GetItems()[0].GetId(), port, stream)
}

// Logs writes a container's log to w. A w that can be flushed is, when the log has
// nothing more for now.
func (k *Kubelet) Logs(ctx context.Context, namespace, pod, container string, opts *corev1.PodLogOptions, w io.Writer) error {
	p, err := k.pod(namespace, pod)
	if err != nil {
		return err
	}
	if container, err = choose(p, container); err != nil {
		return err
	}
	if opts == nil {
		opts = &corev1.PodLogOptions{}
	}
	id, err := logContainer(p, container, opts.Previous)
	if err != nil {
		return apierrors.NewBadRequest(err.Error())
	}
	var ended <-chan struct{}
	if opts.Follow {
		// Before its state is asked, so that its end is not missed between.
		ended = k.endOf(id)
	}
	res, err := k.deps.Runtime.ContainerStatus(ctx, &runtimeapi.ContainerStatusRequest{ContainerId: id})
	if err != nil {
		return apierrors.NewBadRequest(fmt.Sprintf("unable to retrieve container logs for %s://%s", podmachine.RuntimeName, id))
	}
	o := logs.FromPod(opts, k.cfg.Now())
	if opts.Follow {
		if s := res.GetStatus().GetState(); s == runtimeapi.ContainerState_CONTAINER_RUNNING || s == runtimeapi.ContainerState_CONTAINER_CREATED {
			o.Ended = ended
		}
	}
	err = logs.Read(ctx, res.GetStatus().GetLogPath(), o, w)
	if errors.Is(err, os.ErrNotExist) {
		return apierrors.NewBadRequest(fmt.Sprintf("unable to retrieve container logs for %s://%s", podmachine.RuntimeName, id))
	}
	return err
}

// logContainer finds whose log is meant, by the pod's status.
func logContainer(p *corev1.Pod, container string, previous bool) (string, error) {
	all := slices.Concat(p.Status.ContainerStatuses, p.Status.InitContainerStatuses, p.Status.EphemeralContainerStatuses)
	i := slices.IndexFunc(all, func(s corev1.ContainerStatus) bool { return s.Name == container })
	if i < 0 {
		return "", fmt.Errorf("container %q in pod %q is not available", container, p.Name)
	}
	s := all[i]
	last := ""
	if s.LastTerminationState.Terminated != nil {
		last = s.LastTerminationState.Terminated.ContainerID
	}
	id := ""
	switch {
	case previous:
		if last == "" {
			return "", fmt.Errorf("previous terminated container %q in pod %q not found", container, p.Name)
		}
		id = last
	case s.State.Running != nil:
		id = s.ContainerID
	case s.State.Terminated != nil:
		if id = s.State.Terminated.ContainerID; id == "" {
			id = last
		}
		if id == "" {
			return "", fmt.Errorf("container %q in pod %q is terminated", container, p.Name)
		}
	case s.LastTerminationState.Terminated != nil:
		if id = last; id == "" {
			return "", fmt.Errorf("container %q in pod %q is terminated", container, p.Name)
		}
	case s.State.Waiting != nil:
		why := s.State.Waiting.Reason
		switch why {
		case "ErrImagePull":
			why = "image can't be pulled"
		case errImageBackOff:
			why = "trying and failing to pull image"
		}
		return "", fmt.Errorf("container %q in pod %q is waiting to start: %v", container, p.Name, why)
	default:
		return "", fmt.Errorf("container %q in pod %q is waiting to start - no logs yet", container, p.Name)
	}
	return strings.TrimPrefix(id, podmachine.RuntimeName+"://"), nil
}
