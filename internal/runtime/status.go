package runtime

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/monohull/monohull/internal/runtime/protocol"
	"github.com/monohull/monohull/internal/runtime/spec"
)

const (
	criVersion  = "0.1.0" // of the kubelet's side, as every runtime answers
	runtimeName = "monohull"
)

// Version names the runtime.
func (r *Runtime) Version(context.Context, *runtimeapi.VersionRequest) (*runtimeapi.VersionResponse, error) {
	version := r.cfg.Version
	if version == "" {
		version = "0.0.0"
	}
	return &runtimeapi.VersionResponse{
		Version: criVersion, RuntimeName: runtimeName, RuntimeVersion: version, RuntimeApiVersion: "v1",
	}, nil
}

// Status tells whether pods can be run.
func (r *Runtime) Status(_ context.Context, req *runtimeapi.StatusRequest) (*runtimeapi.StatusResponse, error) {
	ready := &runtimeapi.RuntimeCondition{Type: runtimeapi.RuntimeReady, Status: true}
	select {
	case <-r.ready:
	default:
		ready.Status, ready.Reason, ready.Message = false, "Starting", "looking for the pods of an earlier run"
	}
	network := &runtimeapi.RuntimeCondition{Type: runtimeapi.NetworkReady, Status: true}
	if r.cfg.NetworkReady != nil {
		if err := r.cfg.NetworkReady(); err != nil {
			network.Status, network.Reason, network.Message = false, "NetworkPluginNotReady", err.Error()
		}
	}
	res := &runtimeapi.StatusResponse{
		Status: &runtimeapi.RuntimeStatus{Conditions: []*runtimeapi.RuntimeCondition{ready, network}},
		RuntimeHandlers: []*runtimeapi.RuntimeHandler{{
			Name: "", Features: &runtimeapi.RuntimeHandlerFeatures{RecursiveReadOnlyMounts: true},
		}},
		Features: &runtimeapi.RuntimeFeatures{SupplementalGroupsPolicy: true},
	}
	if req.GetVerbose() {
		res.Info = map[string]string{
			"dataDir": r.cfg.DataDir, "shim": r.shim, "cgroupParent": r.cfg.CgroupParent,
			"cgroupUnified": fmt.Sprint(r.groups.Unified),
		}
	}
	return res, nil
}

// RuntimeConfig says which cgroup driver the kubelet has to use.
func (r *Runtime) RuntimeConfig(context.Context, *runtimeapi.RuntimeConfigRequest) (*runtimeapi.RuntimeConfigResponse, error) {
	return &runtimeapi.RuntimeConfigResponse{Linux: &runtimeapi.LinuxRuntimeConfiguration{CgroupDriver: runtimeapi.CgroupDriver_CGROUPFS}}, nil
}

// UpdateRuntimeConfig takes the pod CIDR, which is the network's business.
func (r *Runtime) UpdateRuntimeConfig(context.Context, *runtimeapi.UpdateRuntimeConfigRequest) (*runtimeapi.UpdateRuntimeConfigResponse, error) {
	return &runtimeapi.UpdateRuntimeConfigResponse{}, nil
}

// UpdateContainerResources changes a container's limits, at once if it runs.
func (r *Runtime) UpdateContainerResources(ctx context.Context, req *runtimeapi.UpdateContainerResourcesRequest) (*runtimeapi.UpdateContainerResourcesResponse, error) {
	if err := r.await(ctx); err != nil {
		return nil, err
	}
	c, err := r.lookup(req.GetContainerId())
	if err != nil {
		return nil, err
	}
	c.op.Lock()
	defer c.op.Unlock()
	want := spec.Resources(req.GetLinux(), r.host)
	switch c.state() {
	case stateExited:
		return nil, fmt.Errorf("failed to update resources: container %q is in %s state", c.id, c.criState())
	case stateRunning:
		raw, err := json.Marshal(want)
		if err != nil {
			return nil, fmt.Errorf("encode resources: %w", err)
		}
		if _, err := callShim(ctx, c.sandbox.dir, &protocol.Request{Op: protocol.OpUpdate, ID: c.id, Resources: raw}); err != nil {
			return nil, fmt.Errorf("failed to update resources of container %q: %w", c.id, err)
		}
	}
	if err := r.storeResources(c, req.GetLinux()); err != nil {
		return nil, err
	}
	return &runtimeapi.UpdateContainerResourcesResponse{}, nil
}

// storeResources keeps the new limits for a later start and for the status.
func (r *Runtime) storeResources(c *container, update *runtimeapi.LinuxContainerResources) error {
	path := filepath.Join(c.dir, protocol.SpecFile)
	s, err := readSpec(path)
	if err != nil {
		return err
	}
	c.mu.Lock()
	merged := mergeResources(c.resources, update)
	raw, err := proto.Marshal(merged)
	if err == nil {
		c.resources, c.rec.Resources = merged, raw
	}
	rec := c.rec
	c.mu.Unlock()
	if err != nil {
		return fmt.Errorf("encode resources: %w", err)
	}
	if err := writeJSON(filepath.Join(c.dir, "container.json"), &rec); err != nil {
		return fmt.Errorf("write container record: %w", err)
	}
	devices := s.Linux.Resources.Devices
	s.Linux.Resources = spec.Resources(merged, r.host)
	s.Linux.Resources.Devices = devices
	if err := writeJSON(path, s); err != nil {
		return fmt.Errorf("write container spec: %w", err)
	}
	return nil
}

// mergeResources lays what is set in update over old.
func mergeResources(old, update *runtimeapi.LinuxContainerResources) *runtimeapi.LinuxContainerResources {
	if old == nil {
		old = &runtimeapi.LinuxContainerResources{}
	}
	if update == nil {
		return old
	}
	out := proto.Clone(old).(*runtimeapi.LinuxContainerResources)
	update = proto.Clone(update).(*runtimeapi.LinuxContainerResources)
	out.HugepageLimits = append(out.HugepageLimits[:0:0], update.HugepageLimits...)
	if len(out.HugepageLimits) == 0 {
		out.HugepageLimits = old.HugepageLimits
	}
	update.HugepageLimits = nil
	proto.Merge(out, update)
	return out
}

// UpdatePodSandboxResources is told for information: the pod's group is the kubelet's.
func (r *Runtime) UpdatePodSandboxResources(ctx context.Context, req *runtimeapi.UpdatePodSandboxResourcesRequest) (*runtimeapi.UpdatePodSandboxResourcesResponse, error) {
	if err := r.await(ctx); err != nil {
		return nil, err
	}
	if _, err := r.sandbox(req.GetPodSandboxId()); err != nil {
		return nil, err
	}
	return &runtimeapi.UpdatePodSandboxResourcesResponse{}, nil
}

// Exec, Attach and PortForward of the CRI answer with the address of a streaming
// server. There is none: the kubelet is in this process and calls Streams.

// Exec refuses, see Streams.
func (r *Runtime) Exec(context.Context, *runtimeapi.ExecRequest) (*runtimeapi.ExecResponse, error) {
	return nil, errNoStreaming("Exec")
}

// Attach refuses, see Streams.
func (r *Runtime) Attach(context.Context, *runtimeapi.AttachRequest) (*runtimeapi.AttachResponse, error) {
	return nil, errNoStreaming("Attach")
}

// PortForward refuses, see Streams.
func (r *Runtime) PortForward(context.Context, *runtimeapi.PortForwardRequest) (*runtimeapi.PortForwardResponse, error) {
	return nil, errNoStreaming("PortForward")
}

func errNoStreaming(method string) error {
	return status.Errorf(codes.Unimplemented, "%s over the CRI socket is not served; use the Kubernetes API", method)
}
