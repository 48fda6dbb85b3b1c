package kubelet

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/monohull/monohull/internal/kubelet/criconfig"
	"github.com/monohull/monohull/internal/kubelet/podmachine"
)

// Reasons of containers that wait.
const (
	errConfig       = "CreateContainerConfigError"
	errCreate       = "CreateContainerError"
	errRun          = "RunContainerError"
	errPostStart    = "PostStartHookError"
	errImageBackOff = "ImagePullBackOff"
)

// configRetry is the pause after a container could not be configured; a change of
// what it lacked ends it.
const configRetry = 10 * time.Second

// startError is why a container did not start.
type startError struct {
	reason, message string
	id              string // of the container made, if it came that far
	pull            bool   // the image could not be pulled
}

func (e *startError) Error() string { return e.reason + ": " + e.message }

// launch is what a start needs, gathered on the worker's goroutine.
type launch struct {
	pod      *corev1.Pod
	c        *corev1.Container
	attempt  int32
	sandbox  podmachine.Sandbox
	targetID string
	paths    map[string]string
}

func (w *worker) startContainer(ctx context.Context, a podmachine.Action) {
	c := criconfig.FindContainer(w.pod, a.Container)
	if c == nil || len(w.obs.Sandboxes) == 0 {
		return
	}
	w.launches[launchKey{c.Name, a.Attempt}] = *c.Resources.DeepCopy()
	l := launch{pod: w.pod, c: c, attempt: a.Attempt, sandbox: w.obs.Sandboxes[0], paths: w.paths}
	for _, e := range w.pod.Spec.EphemeralContainers {
		if t := w.obs.Containers[e.TargetContainerName]; e.Name == a.Container && len(t) > 0 {
			l.targetID = t[0].ID
		}
	}
	w.begin(ctx, a, func(ctx context.Context) func() {
		err := w.launch(ctx, l)
		return func() { w.launched(ctx, a, l, err) }
	})
}

// launched notes how a start went.
func (w *worker) launched(ctx context.Context, a podmachine.Action, l launch, err *startError) {
	switch {
	case err == nil:
		delete(w.obs.Waiting, a.Container)
		delete(w.pulls, l.c.Image)
		return
	case ctx.Err() != nil: // aborted, or this process ends
		return
	}
	w.k.metrics.startedErrors.WithLabelValues(containerType(w.pod, a.Container), err.reason).Inc()
	now := w.k.cfg.Now()
	wait := podmachine.Waiting{Reason: err.reason, Message: err.message, ForID: a.ID, Until: now.Add(configRetry)}
	switch {
	case err.pull:
		b := w.pulls[l.c.Image].Next(now)
		w.pulls[l.c.Image] = b
		wait.Until, wait.FlipAt = now.Add(b.Delay), now.Add(flipAfter)
	case err.id != "": // it ended: the back-off is that of any end
		wait.ForID, wait.Made, wait.Until = err.id, true, time.Time{}
	case err.reason == errCreate:
		b := w.obs.Crash[a.Container].Next(now)
		w.obs.Crash[a.Container] = b
		wait.Until = now.Add(b.Delay)
	}
	w.obs.Waiting[a.Container] = wait
}

// launch pulls, creates, starts, and runs the hook. It runs beside the worker.
func (w *worker) launch(ctx context.Context, l launch) *startError {
	fail := func(reason string, err error) *startError {
		if ctx.Err() == nil {
			w.event(l.c.Name, corev1.EventTypeWarning, "Failed", "Error: "+err.Error())
		}
		return &startError{reason: reason, message: err.Error()}
	}
	image, serr := w.pullImage(ctx, l.pod, l.c)
	if serr != nil {
		if ctx.Err() == nil {
			w.event(l.c.Name, corev1.EventTypeWarning, "Failed", "Error: "+serr.reason)
		}
		return serr
	}
	user := criconfig.ImageUser{Name: image.GetUsername()}
	if image.GetUid() != nil {
		uid := image.GetUid().GetValue()
		user.UID = &uid
	}
	if err := criconfig.VerifyNonRoot(l.pod, l.c, user); err != nil {
		return fail(errConfig, err)
	}
	env, err := criconfig.Env(l.pod, l.c, w.k.envSources(l))
	if err != nil {
		return fail(errConfig, err)
	}
	images, serr := w.imageVolumes(ctx, l)
	if serr != nil {
		return serr
	}
	mounts, err := w.mounts(l, images)
	if err != nil {
		return fail(errConfig, err)
	}
	var devices []*runtimeapi.Device
	cfg := criconfig.ContainerConfig(criconfig.Input{
		Pod: l.pod, Container: l.c, Attempt: l.attempt, ImageRef: image.GetId(), User: user, Env: env, Mounts: mounts, Devices: devices,
		TargetID: l.targetID, SeccompRoot: w.k.seccompRoot(), MemoryCapacity: w.k.facts.MemoryBytes,
	})
	cfg.Linux.Resources = w.k.resources(l.pod, l.c)
	if err := os.MkdirAll(filepath.Join(w.k.podLogDir(l.pod.Namespace, l.pod.Name, string(l.pod.UID)), l.c.Name), 0o755); err != nil {
		return fail(errCreate, err)
	}
	sandbox := criconfig.SandboxConfig(l.pod, l.sandbox.Attempt, nil, w.k.cfg.ClusterDomain,
		w.k.podLogDir(l.pod.Namespace, l.pod.Name, string(l.pod.UID)), criconfig.PodCgroup(w.k.cfg.CgroupRoot, l.pod).Path, w.k.seccompRoot())
	res, err := w.k.deps.Runtime.CreateContainer(ctx, &runtimeapi.CreateContainerRequest{PodSandboxId: l.sandbox.ID, Config: cfg, SandboxConfig: sandbox})
	if err != nil {
		return fail(errCreate, plain(err))
	}
	id := res.GetContainerId()
	w.event(l.c.Name, corev1.EventTypeNormal, "Created", "Container created")
	if _, err := w.k.deps.Runtime.StartContainer(ctx, &runtimeapi.StartContainerRequest{ContainerId: id}); err != nil {
		e := fail(errRun, plain(err))
		e.id = id
		return e
	}
	w.event(l.c.Name, corev1.EventTypeNormal, "Started", "Container started")
	w.k.metrics.started.WithLabelValues(containerType(l.pod, l.c.Name)).Inc()
	w.look() // others may see it run while its hook does
	if l.c.Lifecycle == nil || l.c.Lifecycle.PostStart == nil {
		return nil
	}
	if err := w.hook(ctx, l.c.Lifecycle.PostStart, l.c, id, l.sandbox.IPs); err != nil && ctx.Err() == nil {
		w.event(l.c.Name, corev1.EventTypeWarning, "FailedPostStartHook", "PostStartHook failed")
		w.event(l.c.Name, corev1.EventTypeNormal, "Killing", "FailedPostStartHook")
		w.log.Info("kubelet: a postStart hook failed; its container is killed", "container", l.c.Name, "error", err)
		if _, err := w.k.deps.Runtime.StopContainer(ctx, &runtimeapi.StopContainerRequest{ContainerId: id, Timeout: graceSeconds(l.pod)}); err != nil {
			w.log.Warn("kubelet: a container whose hook failed was not stopped", "container", l.c.Name, "error", err)
		}
		return &startError{reason: errPostStart, message: err.Error(), id: id}
	}
	return nil
}

// containerType is what metrics call a container.
func containerType(pod *corev1.Pod, name string) string {
	is := func(c corev1.Container) bool { return c.Name == name }
	switch {
	case slices.ContainsFunc(pod.Spec.Containers, is):
		return "container"
	case slices.ContainsFunc(pod.Spec.InitContainers, is):
		return "init_container"
	}
	return "ephemeral_container"
}

func graceSeconds(pod *corev1.Pod) int64 {
	if pod.Spec.TerminationGracePeriodSeconds != nil {
		return *pod.Spec.TerminationGracePeriodSeconds
	}
	return corev1.DefaultTerminationGracePeriodSeconds
}

func (k *Kubelet) envSources(l launch) criconfig.Sources {
	services := k.services.List(l.pod.Namespace, nil)
	if s, ok := k.services.Get(corev1.NamespaceDefault, "kubernetes"); ok && l.pod.Namespace != corev1.NamespaceDefault {
		services = append(services, s)
	}
	return criconfig.Sources{
		ConfigMap: k.configMaps.Get, Secret: k.secrets.Get, Services: services,
		PodIPs: podIPs(l, k.cfg.NodeIPs), HostIPs: k.cfg.NodeIPs, Allocatable: k.allocatable,
	}
}

func podIPs(l launch, node []string) []string {
	if l.pod.Spec.HostNetwork {
		return node
	}
	return l.sandbox.IPs
}

// mounts makes what a container sees of volumes, and the files every one has.
func (w *worker) mounts(l launch, images map[string]*runtimeapi.Image) ([]*runtimeapi.Mount, error) {
	var out []*runtimeapi.Mount
	hosts := false
	for i, m := range l.c.VolumeMounts {
		hosts = hosts || filepath.Clean(m.MountPath) == "/etc/hosts"
		path, ok := l.paths[m.Name]
		if !ok {
			return nil, fmt.Errorf("cannot find volume %q to mount into container %q", m.Name, l.c.Name)
		}
		sub := m.SubPath
		if m.SubPathExpr != "" {
			expanded, err := w.expandSubpath(l, m.SubPathExpr)
			if err != nil {
				return nil, err
			}
			sub = expanded
		}
		if img := images[m.Name]; img != nil {
			out = append(out, &runtimeapi.Mount{ContainerPath: m.MountPath, Readonly: true, Image: &runtimeapi.ImageSpec{Image: img.GetId()}, ImageSubPath: sub})
			continue
		}
		if sub != "" {
			var err error
			if path, err = w.k.vols.Subpath(string(l.pod.UID), m.Name, path, l.c.Name, i, sub); err != nil {
				return nil, err
			}
		}
		target := m.MountPath
		if !filepath.IsAbs(target) {
			target = "/" + target
		}
		one := &runtimeapi.Mount{ContainerPath: target, HostPath: path, Readonly: m.ReadOnly, Propagation: criconfig.Propagation(m.MountPropagation)}
		if m.RecursiveReadOnly != nil && *m.RecursiveReadOnly != corev1.RecursiveReadOnlyDisabled {
			one.RecursiveReadOnly = m.ReadOnly
		}
		if v := volumeOf(l.pod, m.Name); v != nil && (v.ConfigMap != nil || v.Secret != nil || v.Projected != nil || v.DownwardAPI != nil) {
			one.Readonly = true
		}
		out = append(out, one)
	}
	dir := w.k.vols.PodDir(string(l.pod.UID))
	if !hosts {
		path := filepath.Join(dir, "etc-hosts")
		own := ""
		if l.pod.Spec.HostNetwork {
			b, err := os.ReadFile("/etc/hosts")
			if err != nil && !errors.Is(err, os.ErrNotExist) {
				return nil, fmt.Errorf("read the node's hosts file: %w", err)
			}
			own = string(b)
		}
		if err := writeInPlace(path, criconfig.HostsFile(l.pod, l.sandbox.IPs, w.k.cfg.ClusterDomain, own), 0o644); err != nil {
			return nil, err
		}
		readonly := l.c.SecurityContext != nil && l.c.SecurityContext.ReadOnlyRootFilesystem != nil && *l.c.SecurityContext.ReadOnlyRootFilesystem
		out = append(out, &runtimeapi.Mount{ContainerPath: "/etc/hosts", HostPath: path, Readonly: readonly})
	}
	if l.c.TerminationMessagePath != "" {
		path := w.messagePath(l.c.Name, l.attempt)
		if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
			return nil, fmt.Errorf("make the termination message file: %w", err)
		}
		if err := writeInPlace(path, "", 0o666); err != nil {
			return nil, err
		}
		out = append(out, &runtimeapi.Mount{ContainerPath: l.c.TerminationMessagePath, HostPath: path})
	}
	return out, nil
}

// imageVolumes makes sure that the images a container mounts are there.
func (w *worker) imageVolumes(ctx context.Context, l launch) (map[string]*runtimeapi.Image, *startError) {
	out := map[string]*runtimeapi.Image{}
	for _, m := range l.c.VolumeMounts {
		v := volumeOf(l.pod, m.Name)
		if v == nil || v.Image == nil || out[m.Name] != nil {
			continue
		}
		img, err := w.pullImage(ctx, l.pod, &corev1.Container{Name: l.c.Name, Image: v.Image.Reference, ImagePullPolicy: v.Image.PullPolicy})
		if err != nil {
			return nil, err
		}
		out[m.Name] = img
	}
	return out, nil
}

func (w *worker) expandSubpath(l launch, expr string) (string, error) {
	env, err := criconfig.Env(l.pod, l.c, w.k.envSources(l))
	if err != nil {
		return "", err
	}
	values := map[string]string{}
	for _, e := range env {
		values[e.Name] = e.Value
	}
	return criconfig.Expand(expr, values), nil
}

func volumeOf(pod *corev1.Pod, name string) *corev1.Volume {
	for i := range pod.Spec.Volumes {
		if pod.Spec.Volumes[i].Name == name {
			return &pod.Spec.Volumes[i]
		}
	}
	return nil
}

// writeInPlace writes a file that containers may have mounted: it stays the same file.
func writeInPlace(path, text string, mode os.FileMode) error {
	if b, err := os.ReadFile(path); err == nil && string(b) == text {
		return nil
	}
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		return fmt.Errorf("write %s: %w", filepath.Base(path), err)
	}
	if err := os.Chmod(path, mode); err != nil {
		return fmt.Errorf("write %s: %w", filepath.Base(path), err)
	}
	return nil
}
