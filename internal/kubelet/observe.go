package kubelet

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/monohull/monohull/internal/kubelet/criconfig"
	"github.com/monohull/monohull/internal/kubelet/podmachine"
)

// observe asks the runtime for all it has of the pod.
func (w *worker) observe(ctx context.Context) error {
	rt := w.k.deps.Runtime
	match := map[string]string{criconfig.LabelPodUID: string(w.pod.UID)}
	list, err := rt.ListPodSandbox(ctx, &runtimeapi.ListPodSandboxRequest{Filter: &runtimeapi.PodSandboxFilter{LabelSelector: match}})
	if err != nil {
		return fmt.Errorf("list sandboxes: %w", err)
	}
	var sandboxes []podmachine.Sandbox
	for _, sb := range list.GetItems() {
		s := podmachine.Sandbox{
			ID: sb.GetId(), Ready: sb.GetState() == runtimeapi.PodSandboxState_SANDBOX_READY,
			Attempt: sb.GetMetadata().GetAttempt(), CreatedAt: time.Unix(0, sb.GetCreatedAt()),
		}
		if s.Ready {
			if s.IPs, err = w.sandboxIPs(ctx, s.ID); err != nil {
				return err
			}
		}
		sandboxes = append(sandboxes, s)
	}
	slices.SortFunc(sandboxes, func(a, b podmachine.Sandbox) int {
		if a.Attempt != b.Attempt {
			return int(b.Attempt) - int(a.Attempt)
		}
		return b.CreatedAt.Compare(a.CreatedAt)
	})
	containers, err := rt.ListContainers(ctx, &runtimeapi.ListContainersRequest{Filter: &runtimeapi.ContainerFilter{LabelSelector: match}})
	if err != nil {
		return fmt.Errorf("list containers: %w", err)
	}
	found := map[string][]podmachine.Container{}
	for _, c := range containers.GetContainers() {
		res, err := rt.ContainerStatus(ctx, &runtimeapi.ContainerStatusRequest{ContainerId: c.GetId()})
		if err != nil {
			if isGone(err) {
				continue
			}
			return fmt.Errorf("look at container %s: %w", c.GetId(), err)
		}
		one := w.convert(c, res.GetStatus())
		found[one.Name] = append(found[one.Name], one)
	}
	for _, l := range found {
		slices.SortFunc(l, func(a, b podmachine.Container) int {
			if n := b.Attempt - a.Attempt; n != 0 {
				return int(n)
			}
			return b.CreatedAt.Compare(a.CreatedAt)
		})
	}
	w.obs.Sandboxes, w.obs.Containers = sandboxes, found
	w.actuate()
	w.k.mu.Lock()
	for _, sb := range sandboxes {
		w.k.sandboxes[sb.ID] = w
	}
	w.k.mu.Unlock()
	if !w.known {
		w.known = true
		w.recall()
		w.recallResize()
		if len(sandboxes) > 0 {
			w.grouped = w.k.group(w.pod)
		}
	}
	w.forget()
	return nil
}

func (w *worker) sandboxIPs(ctx context.Context, id string) ([]string, error) {
	for _, sb := range w.obs.Sandboxes {
		if sb.ID == id && len(sb.IPs) > 0 {
			return sb.IPs, nil // they do not change
		}
	}
	if w.pod.Spec.HostNetwork {
		return w.k.cfg.NodeIPs, nil
	}
	res, err := w.k.deps.Runtime.PodSandboxStatus(ctx, &runtimeapi.PodSandboxStatusRequest{PodSandboxId: id})
	if err != nil {
		return nil, fmt.Errorf("look at sandbox %s: %w", id, err)
	}
	n := res.GetStatus().GetNetwork()
	var ips []string
	if n.GetIp() != "" {
		ips = append(ips, n.GetIp())
	}
	for _, ip := range n.GetAdditionalIps() {
		ips = append(ips, ip.GetIp())
	}
	return ips, nil
}

func (w *worker) convert(c *runtimeapi.Container, s *runtimeapi.ContainerStatus) podmachine.Container {
	out := podmachine.Container{
		ID: s.GetId(), Name: s.GetLabels()[criconfig.LabelContainerName], SandboxID: c.GetPodSandboxId(),
		CreatedAt: at(s.GetCreatedAt()), StartedAt: at(s.GetStartedAt()), FinishedAt: at(s.GetFinishedAt()),
		ExitCode: s.GetExitCode(), Reason: s.GetReason(), Message: s.GetMessage(),
		Image: s.GetImage().GetUserSpecifiedImage(), ImageRef: s.GetImageRef(), LogPath: s.GetLogPath(),
		Hash: s.GetAnnotations()[criconfig.AnnotationHash],
	}
	if name := s.GetImage().GetImage(); name != "" {
		out.Image = name
	}
	attempt, err := strconv.Atoi(s.GetAnnotations()[criconfig.AnnotationRestartCount])
	if err != nil {
		attempt = int(s.GetMetadata().GetAttempt())
	}
	out.Attempt = int32(attempt)
	switch s.GetState() {
	case runtimeapi.ContainerState_CONTAINER_CREATED:
		out.State = podmachine.Created
	case runtimeapi.ContainerState_CONTAINER_RUNNING:
		out.State = podmachine.Running
	case runtimeapi.ContainerState_CONTAINER_EXITED:
		out.State = podmachine.Exited
		out.Message = w.lastWords(out, s)
	default:
		out.State = podmachine.Unknown
	}
	if u := s.GetUser().GetLinux(); u != nil {
		out.User = &corev1.ContainerUser{Linux: &corev1.LinuxContainerUser{UID: u.GetUid(), GID: u.GetGid(), SupplementalGroups: u.GetSupplementalGroups()}}
	}
	return out
}

func at(ns int64) time.Time {
	if ns == 0 {
		return time.Time{}
	}
	return time.Unix(0, ns)
}

// recall takes over what an earlier process knew of containers that still run.
func (w *worker) recall() {
	for _, list := range [][]corev1.ContainerStatus{w.pod.Status.ContainerStatuses, w.pod.Status.InitContainerStatuses} {
		for _, s := range list {
			if wait := s.State.Waiting; wait != nil && wait.Reason == "CrashLoopBackOff" {
				// The pause is as long as users were told.
				var text string
				if _, err := fmt.Sscanf(wait.Message, "back-off %s restarting", &text); err == nil {
					if d, err := time.ParseDuration(text); err == nil && len(w.obs.Containers[s.Name]) > 0 {
						w.obs.Crash[s.Name] = podmachine.Backoff{Delay: d, Last: w.obs.Containers[s.Name][0].FinishedAt}
					}
				}
			}
			for _, c := range w.obs.Containers[s.Name] {
				if c.State != podmachine.Running || s.ContainerID != podmachine.RuntimeName+"://"+c.ID {
					continue
				}
				var p podmachine.Probes
				if s.Started != nil && *s.Started {
					p.Startup = podmachine.ResultSuccess
				}
				if s.Ready {
					p.Readiness = podmachine.ResultSuccess
				}
				w.obs.Probes[c.ID] = p
			}
		}
	}
}

// forget drops what is known of containers that are no more.
func (w *worker) forget() {
	there := map[string]bool{}
	for _, l := range w.obs.Containers {
		for i := range l {
			there[l[i].ID] = true
		}
	}
	for id := range w.obs.Probes {
		if !there[id] {
			delete(w.obs.Probes, id)
		}
	}
	for id := range w.obs.Actuated {
		if !there[id] {
			delete(w.obs.Actuated, id)
		}
	}
	for id := range w.messages {
		if !there[id] {
			delete(w.messages, id)
		}
	}
}
