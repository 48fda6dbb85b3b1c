package runtime

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// isNotFound reports whether the object does not exist, as the CRI says it.
func isNotFound(err error) bool { return status.Code(err) == codes.NotFound }

func notFound(kind, id string) error {
	return status.Errorf(codes.NotFound, "an error occurred when try to find %s %q: not found", kind, id)
}

// sandbox finds one by its id or an unambiguous beginning of it.
func (r *Runtime) sandbox(id string) (*sandbox, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return find(r.sandboxes, "sandbox", id)
}

// lookup finds a container likewise.
func (r *Runtime) lookup(id string) (*container, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c, err := find(r.containers, "container", id)
	if err == nil && !c.created {
		return nil, notFound("container", id)
	}
	return c, err
}

func find[T any](all map[string]*T, kind, id string) (*T, error) {
	if v, ok := all[id]; ok {
		return v, nil
	}
	var found *T
	if id != "" {
		for key, v := range all {
			if strings.HasPrefix(key, id) {
				if found != nil {
					return nil, status.Errorf(codes.InvalidArgument, "%s id %q is ambiguous", kind, id)
				}
				found = v
			}
		}
	}
	if found == nil {
		return nil, notFound(kind, id)
	}
	return found, nil
}

// runningContainer finds a container that must be running.
func (r *Runtime) runningContainer(ctx context.Context, id string) (*container, error) {
	if err := r.await(ctx); err != nil {
		return nil, err
	}
	c, err := r.lookup(id)
	if err != nil {
		return nil, err
	}
	if c.state() != stateRunning {
		return nil, fmt.Errorf("container is in %s state", c.criState())
	}
	return c, nil
}

func matches(labels, selector map[string]string) bool {
	for k, v := range selector {
		if labels[k] != v {
			return false
		}
	}
	return true
}

// ListPodSandbox lists, newest first.
func (r *Runtime) ListPodSandbox(ctx context.Context, req *runtimeapi.ListPodSandboxRequest) (*runtimeapi.ListPodSandboxResponse, error) {
	if err := r.await(ctx); err != nil {
		return nil, err
	}
	f := req.GetFilter()
	res := &runtimeapi.ListPodSandboxResponse{}
	r.mu.Lock()
	all := slices.Collect(maps.Values(r.sandboxes))
	r.mu.Unlock()
	for _, sb := range all {
		if !strings.HasPrefix(sb.id, f.GetId()) || !matches(sb.config.GetLabels(), f.GetLabelSelector()) ||
			(f.GetState() != nil && f.GetState().GetState() != sb.criState()) {
			continue
		}
		rec := sb.record()
		res.Items = append(res.Items, &runtimeapi.PodSandbox{
			Id: sb.id, Metadata: sb.config.GetMetadata(), State: sb.criState(), CreatedAt: rec.CreatedAt.UnixNano(),
			Labels: sb.config.GetLabels(), Annotations: sb.config.GetAnnotations(), RuntimeHandler: rec.Handler,
		})
	}
	slices.SortFunc(res.Items, func(a, b *runtimeapi.PodSandbox) int { return int(b.CreatedAt - a.CreatedAt) })
	return res, nil
}

func (sb *sandbox) criState() runtimeapi.PodSandboxState {
	if sb.ready() {
		return runtimeapi.PodSandboxState_SANDBOX_READY
	}
	return runtimeapi.PodSandboxState_SANDBOX_NOTREADY
}

func (sb *sandbox) criStatus() *runtimeapi.PodSandboxStatus {
	rec := sb.record()
	st := &runtimeapi.PodSandboxStatus{
		Id: sb.id, Metadata: sb.config.GetMetadata(), State: sb.criState(), CreatedAt: rec.CreatedAt.UnixNano(),
		Labels: sb.config.GetLabels(), Annotations: sb.config.GetAnnotations(), RuntimeHandler: rec.Handler,
		Network: &runtimeapi.PodSandboxNetworkStatus{},
		Linux: &runtimeapi.LinuxPodSandboxStatus{Namespaces: &runtimeapi.Namespace{Options: &runtimeapi.NamespaceOption{
			Network: sb.options().GetNetwork(), Pid: sb.options().GetPid(), Ipc: sb.options().GetIpc(),
			UsernsOptions: sb.options().GetUsernsOptions(),
		}}},
	}
	// The address of a stopped pod is given back.
	if len(rec.IPs) > 0 && !rec.Stopped {
		st.Network.Ip = rec.IPs[0]
		for _, ip := range rec.IPs[1:] {
			st.Network.AdditionalIps = append(st.Network.AdditionalIps, &runtimeapi.PodIP{Ip: ip})
		}
	}
	return st
}

// PodSandboxStatus tells how a sandbox is.
func (r *Runtime) PodSandboxStatus(ctx context.Context, req *runtimeapi.PodSandboxStatusRequest) (*runtimeapi.PodSandboxStatusResponse, error) {
	if err := r.await(ctx); err != nil {
		return nil, err
	}
	sb, err := r.sandbox(req.GetPodSandboxId())
	if err != nil {
		return nil, err
	}
	res := &runtimeapi.PodSandboxStatusResponse{Status: sb.criStatus()}
	if req.GetVerbose() {
		rec := sb.record()
		res.Info = map[string]string{"shimPid": fmt.Sprint(rec.ShimPid), "netns": rec.Netns, "cgroup": rec.Cgroup, "directory": sb.dir}
	}
	return res, nil
}

// ListContainers lists, newest first.
func (r *Runtime) ListContainers(ctx context.Context, req *runtimeapi.ListContainersRequest) (*runtimeapi.ListContainersResponse, error) {
	if err := r.await(ctx); err != nil {
		return nil, err
	}
	f := req.GetFilter()
	res := &runtimeapi.ListContainersResponse{}
	for _, c := range r.filter(f.GetId(), f.GetPodSandboxId(), f.GetLabelSelector()) {
		state := c.criState()
		if f.GetState() != nil && f.GetState().GetState() != state {
			continue
		}
		res.Containers = append(res.Containers, &runtimeapi.Container{
			Id: c.id, PodSandboxId: c.rec.SandboxID, Metadata: c.config.GetMetadata(), Image: c.config.GetImage(),
			ImageRef: c.rec.ImageRef, ImageId: c.rec.ImageID, State: state, CreatedAt: c.rec.CreatedAt.UnixNano(),
			Labels: c.config.GetLabels(), Annotations: c.config.GetAnnotations(),
		})
	}
	return res, nil
}

// filter returns the containers that match, newest first.
func (r *Runtime) filter(id, sandboxID string, labels map[string]string) []*container {
	r.mu.Lock()
	var all []*container
	for _, c := range r.containers {
		if c.created {
			all = append(all, c)
		}
	}
	r.mu.Unlock()
	all = slices.DeleteFunc(all, func(c *container) bool {
		return !strings.HasPrefix(c.id, id) || !strings.HasPrefix(c.rec.SandboxID, sandboxID) || !matches(c.config.GetLabels(), labels)
	})
	slices.SortFunc(all, func(a, b *container) int { return b.rec.CreatedAt.Compare(a.rec.CreatedAt) })
	return all
}

// ContainerStatus tells how a container is.
func (r *Runtime) ContainerStatus(ctx context.Context, req *runtimeapi.ContainerStatusRequest) (*runtimeapi.ContainerStatusResponse, error) {
	if err := r.await(ctx); err != nil {
		return nil, err
	}
	c, err := r.lookup(req.GetContainerId())
	if err != nil {
		return nil, err
	}
	res := &runtimeapi.ContainerStatusResponse{Status: c.criStatus()}
	if req.GetVerbose() {
		c.mu.Lock()
		res.Info = map[string]string{"pid": fmt.Sprint(c.pid), "sandboxID": c.rec.SandboxID, "cgroup": c.rec.Cgroup, "directory": c.dir}
		c.mu.Unlock()
	}
	return res, nil
}
