package runtime

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"

	"google.golang.org/grpc"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// maxMessage bounds a CRI message, as the kubelet's client does.
const maxMessage = 16 << 20

// listPage bounds how many items one message of a streamed list carries.
const listPage = 500

// Serve serves the CRI by gRPC on a unix socket until ctx ends.
func (r *Runtime) Serve(ctx context.Context, socketPath string) error {
	if err := os.Remove(socketPath); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("serve CRI on %s: %w", socketPath, err)
	}
	listener, err := net.Listen("unix", socketPath)
	if err != nil {
		return fmt.Errorf("serve CRI on %s: %w", socketPath, err)
	}
	if err := os.Chmod(socketPath, 0o600); err != nil {
		_ = listener.Close()
		return fmt.Errorf("serve CRI on %s: %w", socketPath, err)
	}
	server := grpc.NewServer(grpc.MaxRecvMsgSize(maxMessage), grpc.MaxSendMsgSize(maxMessage))
	runtimeapi.RegisterRuntimeServiceServer(server, r)
	runtimeapi.RegisterImageServiceServer(server, r)
	stop := context.AfterFunc(ctx, server.Stop)
	defer stop()
	if err := server.Serve(listener); err != nil && ctx.Err() == nil {
		return fmt.Errorf("serve CRI on %s: %w", socketPath, err)
	}
	return nil
}

// GetContainerEvents streams what happens to containers.
func (r *Runtime) GetContainerEvents(_ *runtimeapi.GetEventsRequest, stream grpc.ServerStreamingServer[runtimeapi.ContainerEventResponse]) error {
	types := map[EventType]runtimeapi.ContainerEventType{
		ContainerCreated: runtimeapi.ContainerEventType_CONTAINER_CREATED_EVENT,
		ContainerStarted: runtimeapi.ContainerEventType_CONTAINER_STARTED_EVENT,
		ContainerExited:  runtimeapi.ContainerEventType_CONTAINER_STOPPED_EVENT,
		ContainerDeleted: runtimeapi.ContainerEventType_CONTAINER_DELETED_EVENT,
		SandboxDied:      runtimeapi.ContainerEventType_CONTAINER_STOPPED_EVENT,
	}
	for ev := range r.Events(stream.Context()) {
		kind, ok := types[ev.Type]
		if !ok {
			return errors.New("event stream fell behind: list and subscribe anew")
		}
		res := &runtimeapi.ContainerEventResponse{ContainerId: ev.ContainerID, ContainerEventType: kind, CreatedAt: ev.Time.UnixNano()}
		if res.ContainerId == "" {
			res.ContainerId = ev.SandboxID
		}
		if sb, err := r.sandbox(ev.SandboxID); err == nil {
			res.PodSandboxStatus = sb.criStatus()
		}
		for _, c := range r.filter("", ev.SandboxID, nil) {
			res.ContainersStatuses = append(res.ContainersStatuses, c.criStatus())
		}
		if err := stream.Send(res); err != nil {
			return err
		}
	}
	return nil
}

// pages sends items in messages of a bounded size.
func pages[T any](items []T, send func([]T) error) error {
	for len(items) > 0 {
		n := min(len(items), listPage)
		if err := send(items[:n]); err != nil {
			return err
		}
		items = items[n:]
	}
	return nil
}

// StreamPodSandboxes is ListPodSandbox in pieces.
func (r *Runtime) StreamPodSandboxes(req *runtimeapi.StreamPodSandboxesRequest, stream grpc.ServerStreamingServer[runtimeapi.StreamPodSandboxesResponse]) error {
	res, err := r.ListPodSandbox(stream.Context(), &runtimeapi.ListPodSandboxRequest{Filter: req.GetFilter()})
	if err != nil {
		return err
	}
	return pages(res.GetItems(), func(items []*runtimeapi.PodSandbox) error {
		return stream.Send(&runtimeapi.StreamPodSandboxesResponse{PodSandboxes: items})
	})
}

// StreamContainers is ListContainers in pieces.
func (r *Runtime) StreamContainers(req *runtimeapi.StreamContainersRequest, stream grpc.ServerStreamingServer[runtimeapi.StreamContainersResponse]) error {
	res, err := r.ListContainers(stream.Context(), &runtimeapi.ListContainersRequest{Filter: req.GetFilter()})
	if err != nil {
		return err
	}
	return pages(res.GetContainers(), func(items []*runtimeapi.Container) error {
		return stream.Send(&runtimeapi.StreamContainersResponse{Containers: items})
	})
}

// StreamContainerStats is ListContainerStats in pieces.
func (r *Runtime) StreamContainerStats(req *runtimeapi.StreamContainerStatsRequest, stream grpc.ServerStreamingServer[runtimeapi.StreamContainerStatsResponse]) error {
	res, err := r.ListContainerStats(stream.Context(), &runtimeapi.ListContainerStatsRequest{Filter: req.GetFilter()})
	if err != nil {
		return err
	}
	return pages(res.GetStats(), func(items []*runtimeapi.ContainerStats) error {
		return stream.Send(&runtimeapi.StreamContainerStatsResponse{ContainerStats: items})
	})
}

// StreamPodSandboxStats is ListPodSandboxStats in pieces.
func (r *Runtime) StreamPodSandboxStats(req *runtimeapi.StreamPodSandboxStatsRequest, stream grpc.ServerStreamingServer[runtimeapi.StreamPodSandboxStatsResponse]) error {
	res, err := r.ListPodSandboxStats(stream.Context(), &runtimeapi.ListPodSandboxStatsRequest{Filter: req.GetFilter()})
	if err != nil {
		return err
	}
	return pages(res.GetStats(), func(items []*runtimeapi.PodSandboxStats) error {
		return stream.Send(&runtimeapi.StreamPodSandboxStatsResponse{PodSandboxStats: items})
	})
}

// StreamImages is ListImages in pieces.
func (r *Runtime) StreamImages(req *runtimeapi.StreamImagesRequest, stream grpc.ServerStreamingServer[runtimeapi.StreamImagesResponse]) error {
	res, err := r.ListImages(stream.Context(), &runtimeapi.ListImagesRequest{Filter: req.GetFilter()})
	if err != nil {
		return err
	}
	return pages(res.GetImages(), func(items []*runtimeapi.Image) error {
		return stream.Send(&runtimeapi.StreamImagesResponse{Images: items})
	})
}
