package kubelet

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/monohull/monohull/internal/kubelet/events"
	"github.com/monohull/monohull/internal/kubelet/imagegc"
)

// imagesEvery is the time between looks at the images, upstream's.
const imagesEvery = 5 * time.Minute

// keepImages removes images that are not needed, where they are too old or too much.
func (k *Kubelet) keepImages(ctx context.Context) error {
	failed := false
	for {
		err := k.collectImages(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			if !failed {
				k.log.Warn("kubelet: images were not collected", "error", err)
			}
			k.rec.Event(events.NodeRef(k.cfg.NodeName), corev1.EventTypeWarning, "ImageGCFailed", err.Error())
		}
		failed = err != nil
		pause(ctx, imagesEvery)
	}
}

// knownImages lists the images with what uses them. It notes them, under collectMu.
func (k *Kubelet) knownImages(ctx context.Context, now time.Time) ([]imagegc.Image, error) {
	list, err := k.deps.Images.ListImages(ctx, &runtimeapi.ListImagesRequest{})
	if err != nil {
		return nil, fmt.Errorf("list images: %w", err)
	}
	containers, err := k.deps.Runtime.ListContainers(ctx, &runtimeapi.ListContainersRequest{})
	if err != nil {
		return nil, fmt.Errorf("list containers: %w", err)
	}
	used := map[string]bool{}
	for _, c := range containers.GetContainers() {
		for _, id := range []string{c.GetImageId(), c.GetImageRef(), c.GetImage().GetImage()} {
			used[id] = true
		}
		res, err := k.deps.Runtime.ContainerStatus(ctx, &runtimeapi.ContainerStatusRequest{ContainerId: c.GetId()})
		if isGone(err) {
			continue
		} else if err != nil {
			return nil, fmt.Errorf("look at container %s: %w", c.GetId(), err)
		}
		for _, m := range res.GetStatus().GetMounts() {
			if id := m.GetImage().GetImage(); id != "" {
				used[id] = true
			}
		}
	}
	delete(used, "")
	var out []imagegc.Image
	for _, img := range list.GetImages() {
		one := imagegc.Image{ID: img.GetId(), Size: int64(img.GetSize()), Pinned: img.GetPinned(), Used: used[img.GetId()]}
		for _, names := range [][]string{img.GetRepoTags(), img.GetRepoDigests()} {
			for _, n := range names {
				one.Used = one.Used || used[n]
			}
		}
		out = append(out, one)
	}
	k.imageMemory.Note(out, now)
	return out, nil
}

func (k *Kubelet) collectImages(ctx context.Context) error {
	k.collectMu.Lock()
	defer k.collectMu.Unlock()
	now, policy := k.cfg.Now(), k.opts.Images
	images, err := k.knownImages(ctx, now)
	if err != nil {
		return err
	}
	for _, img := range k.imageMemory.Aged(policy, images, now) {
		if err := k.removeImage(ctx, img, "age"); err != nil {
			return err
		}
	}
	sum, err := k.stats.Summary(ctx, pressureEvery)
	if err != nil {
		return err
	}
	fs := sum.Node.Runtime.ImageFs
	if fs.CapacityBytes == nil || fs.AvailableBytes == nil || *fs.CapacityBytes == 0 {
		err := fmt.Errorf("invalid capacity 0 on image filesystem")
		k.rec.Event(events.NodeRef(k.cfg.NodeName), corev1.EventTypeWarning, "InvalidDiskCapacity", err.Error())
		return err
	}
	excess, percent := policy.Excess(int64(*fs.CapacityBytes), int64(*fs.AvailableBytes))
	if excess <= 0 {
		return nil
	}
	if images, err = k.knownImages(ctx, now); err != nil {
		return err
	}
	freed := int64(0)
	for _, img := range k.imageMemory.Spare(policy, images, now) {
		if freed >= excess {
			break
		}
		if err := k.removeImage(ctx, img, "space"); err != nil {
			return err
		}
		freed += img.Size
	}
	if freed >= excess {
		return nil
	}
	err = fmt.Errorf("Insufficient free disk space on the node's image filesystem (%d%% of %s used). Failed to free sufficient space by deleting unused images (freed %d bytes). "+ //nolint:staticcheck // users know this text
		"Investigate disk usage, as it could be used by active images, logs, volumes, or other data.", percent, humanSize(int64(*fs.CapacityBytes)), freed)
	k.rec.Event(events.NodeRef(k.cfg.NodeName), corev1.EventTypeWarning, "FreeDiskSpaceFailed", err.Error())
	return err
}

// humanSize shows bytes as upstream does in this one place.
func humanSize(n int64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB"}
	v, i := float64(n), 0
	for v >= 1024 && i < len(units)-1 {
		v, i = v/1024, i+1
	}
	return fmt.Sprintf("%.1f %s", v, units[i])
}

// removeSpareImages removes all images that may go.
func (k *Kubelet) removeSpareImages(ctx context.Context) error {
	k.collectMu.Lock()
	defer k.collectMu.Unlock()
	now := k.cfg.Now()
	images, err := k.knownImages(ctx, now)
	if err != nil {
		return err
	}
	for _, img := range k.imageMemory.Spare(k.opts.Images, images, now) {
		if err := k.removeImage(ctx, img, "space"); err != nil {
			return err
		}
	}
	return nil
}

func (k *Kubelet) removeImage(ctx context.Context, img imagegc.Image, why string) error {
	if _, err := k.deps.Images.RemoveImage(ctx, &runtimeapi.RemoveImageRequest{Image: &runtimeapi.ImageSpec{Image: img.ID}}); err != nil {
		return fmt.Errorf("remove image %s: %w", img.ID, plain(err))
	}
	k.metrics.imagesCollected.WithLabelValues(why).Inc()
	k.log.Info("kubelet: an unused image was removed", "image", img.ID, "bytes", img.Size, "reason", why)
	return nil
}

// keepLogs rotates the logs of running containers that have grown too large.
func (k *Kubelet) keepLogs(ctx context.Context) error {
	for {
		pause(ctx, k.opts.Logs.Interval)
		if ctx.Err() != nil {
			return nil
		}
		k.rotateLogs(ctx)
	}
}

func (k *Kubelet) rotateLogs(ctx context.Context) {
	list, err := k.deps.Runtime.ListContainers(ctx, &runtimeapi.ListContainersRequest{Filter: &runtimeapi.ContainerFilter{
		State: &runtimeapi.ContainerStateValue{State: runtimeapi.ContainerState_CONTAINER_RUNNING}}})
	if err != nil {
		k.log.Warn("kubelet: containers could not be listed to rotate their logs", "error", err)
		return
	}
	for _, c := range list.GetContainers() {
		if err := k.rotateLog(ctx, c.GetId()); err != nil && ctx.Err() == nil {
			k.log.Error("kubelet: a container's log was not rotated; it is tried again", "container", c.GetId(), "error", err)
		}
	}
}

func (k *Kubelet) rotateLog(ctx context.Context, id string) error {
	path, known := k.logPaths[id]
	if !known {
		res, err := k.deps.Runtime.ContainerStatus(ctx, &runtimeapi.ContainerStatusRequest{ContainerId: id})
		if isGone(err) {
			return nil
		} else if err != nil {
			return fmt.Errorf("failed to get container status: %w", err)
		}
		path = res.GetStatus().GetLogPath()
		if len(k.logPaths) >= maxLogPaths {
			clear(k.logPaths)
		}
		k.logPaths[id] = path
	}
	if path == "" {
		return nil
	}
	due, err := k.opts.Logs.Due(path)
	if err != nil || !due {
		return err
	}
	return k.opts.Logs.Rotate(path, k.cfg.Now(), func() error {
		_, err := k.deps.Runtime.ReopenContainerLog(ctx, &runtimeapi.ReopenContainerLogRequest{ContainerId: id})
		return err
	})
}

// maxLogPaths bounds how many paths of logs are remembered.
const maxLogPaths = 4096
