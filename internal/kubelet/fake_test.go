package kubelet

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"encoding/json"
	"google.golang.org/grpc/codes"
	grpcstatus "google.golang.org/grpc/status"
	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apiserver/pkg/authentication/user"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/monohull/monohull/internal/api"
	"github.com/monohull/monohull/internal/api/all"
	"github.com/monohull/monohull/internal/cache"
	"github.com/monohull/monohull/internal/client"
	"github.com/monohull/monohull/internal/kubelet/criconfig"
	"github.com/monohull/monohull/internal/kubelet/machine"
	"github.com/monohull/monohull/internal/store"
)

// memoryWriter writes without admission, defaults or validation.
type memoryWriter struct {
	mu    sync.Mutex
	store *store.Memory
	set   *cache.Set
	uid   int
}

func (m *memoryWriter) put(ctx context.Context, k *api.Kind, obj api.Object, create bool) (*cache.Item, error) {
	key := k.StoreKey(obj.GetNamespace(), obj.GetName())
	old := m.set.Of(k).Get(k.Key(obj.GetNamespace(), obj.GetName()))
	value, err := k.EncodeStored(obj)
	if err != nil {
		return nil, err
	}
	var rev int64
	if create {
		rev, err = m.store.Create(ctx, key, value)
	} else {
		rev, err = m.store.Update(ctx, key, value, old.Rev)
	}
	if err != nil {
		return nil, err
	}
	if err := m.set.WaitFor(ctx, rev); err != nil {
		return nil, err
	}
	return m.set.Of(k).Get(k.Key(obj.GetNamespace(), obj.GetName())), nil
}

func (m *memoryWriter) Create(ctx context.Context, r client.Request, obj api.Object) (*cache.Item, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.set.Of(r.Kind).Get(r.Kind.Key(obj.GetNamespace(), obj.GetName())) != nil {
		return nil, apierrors.NewAlreadyExists(r.Kind.GroupResource(), obj.GetName())
	}
	m.uid++
	if obj.GetUID() == "" {
		obj.SetUID(types.UID(fmt.Sprintf("uid-%d", m.uid)))
	}
	return m.put(ctx, r.Kind, obj, true)
}

func (m *memoryWriter) Update(ctx context.Context, r client.Request, obj api.Object) (*cache.Item, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.put(ctx, r.Kind, obj, false)
}

func (m *memoryWriter) Modify(ctx context.Context, r client.Request, change func(api.Object) error) (*cache.Item, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	it := m.set.Of(r.Kind).Get(r.Kind.Key(r.Namespace, r.Name))
	if it == nil {
		return nil, apierrors.NewNotFound(r.Kind.GroupResource(), r.Name)
	}
	obj := it.Obj.DeepCopyObject().(api.Object)
	if err := change(obj); err != nil {
		return nil, err
	}
	return m.put(ctx, r.Kind, obj, false)
}

func (m *memoryWriter) Patch(ctx context.Context, r client.Request, pt types.PatchType, patch []byte) (*cache.Item, error) {
	return m.Modify(ctx, r, func(o api.Object) error {
		b, err := json.Marshal(o)
		if err != nil {
			return err
		}
		if b, err = jsonpatch.MergePatch(b, patch); err != nil {
			return err
		}
		return json.Unmarshal(b, o)
	})
}

func (m *memoryWriter) Delete(ctx context.Context, r client.Request, o metav1.DeleteOptions) (*cache.Item, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	it := m.set.Of(r.Kind).Get(r.Kind.Key(r.Namespace, r.Name))
	if it == nil {
		return nil, apierrors.NewNotFound(r.Kind.GroupResource(), r.Name)
	}
	if p := o.Preconditions; p != nil && p.UID != nil && *p.UID != it.Obj.GetUID() {
		return nil, apierrors.NewConflict(r.Kind.GroupResource(), r.Name, fmt.Errorf("uid"))
	}
	if pod, ok := it.Obj.(*corev1.Pod); ok && (o.GracePeriodSeconds == nil || *o.GracePeriodSeconds > 0) {
		pod = pod.DeepCopy()
		grace := *pod.Spec.TerminationGracePeriodSeconds
		if o.GracePeriodSeconds != nil {
			grace = *o.GracePeriodSeconds
		}
		t := metav1.NewTime(time.Now().Add(time.Duration(grace) * time.Second))
		pod.DeletionTimestamp, pod.DeletionGracePeriodSeconds = &t, &grace
		return m.put(ctx, r.Kind, pod, false)
	}
	rev, err := m.store.Delete(ctx, r.Kind.StoreKey(r.Namespace, r.Name), it.Rev)
	if err != nil {
		return nil, err
	}
	return it, m.set.WaitFor(ctx, rev)
}

// fakeRuntime runs containers that do what exit says.
type fakeRuntime struct {
	mu         sync.Mutex
	n          int
	sandboxes  map[string]*runtimeapi.PodSandbox
	containers map[string]*fakeContainer
	images     map[string]*runtimeapi.Image
	pullErr    error
	startErr   error
	updateErr  error
	memory     uint64 // that every container uses
	calls      []string
	subs       []chan Event
	probe      func(cmd []string) int
	// stubborn containers do not react to SIGTERM.
	stubborn bool
}

type fakeContainer struct {
	sandbox string
	config  *runtimeapi.ContainerConfig
	status  *runtimeapi.ContainerStatus
	done    chan struct{}
}

func newFakeRuntime() *fakeRuntime {
	return &fakeRuntime{sandboxes: map[string]*runtimeapi.PodSandbox{}, containers: map[string]*fakeContainer{},
		images: map[string]*runtimeapi.Image{"busybox:1": {Id: "sha256:b", RepoTags: []string{"busybox:1"}, Size: 7}}}
}

func (f *fakeRuntime) lock(call string) func() {
	f.mu.Lock()
	if call != "" {
		f.calls = append(f.calls, call)
	}
	return f.mu.Unlock
}

func (f *fakeRuntime) Version(context.Context, *runtimeapi.VersionRequest) (*runtimeapi.VersionResponse, error) {
	return &runtimeapi.VersionResponse{RuntimeName: "fake", RuntimeVersion: "1"}, nil
}

func (f *fakeRuntime) Status(context.Context, *runtimeapi.StatusRequest) (*runtimeapi.StatusResponse, error) {
	return &runtimeapi.StatusResponse{Status: &runtimeapi.RuntimeStatus{Conditions: []*runtimeapi.RuntimeCondition{
		{Type: runtimeapi.RuntimeReady, Status: true}, {Type: runtimeapi.NetworkReady, Status: true}}}}, nil
}

func (f *fakeRuntime) RunPodSandbox(_ context.Context, r *runtimeapi.RunPodSandboxRequest) (*runtimeapi.RunPodSandboxResponse, error) {
	defer f.lock("RunPodSandbox " + r.Config.Metadata.Name)()
	f.n++
	id := fmt.Sprintf("s%d", f.n)
	f.sandboxes[id] = &runtimeapi.PodSandbox{Id: id, Metadata: r.Config.Metadata, Labels: r.Config.Labels, CreatedAt: time.Now().UnixNano()}
	return &runtimeapi.RunPodSandboxResponse{PodSandboxId: id}, nil
}

func (f *fakeRuntime) StopPodSandbox(_ context.Context, r *runtimeapi.StopPodSandboxRequest) (*runtimeapi.StopPodSandboxResponse, error) {
	defer f.lock("StopPodSandbox " + r.PodSandboxId)()
	if s := f.sandboxes[r.PodSandboxId]; s != nil {
		s.State = runtimeapi.PodSandboxState_SANDBOX_NOTREADY
	}
	return &runtimeapi.StopPodSandboxResponse{}, nil
}

func (f *fakeRuntime) RemovePodSandbox(_ context.Context, r *runtimeapi.RemovePodSandboxRequest) (*runtimeapi.RemovePodSandboxResponse, error) {
	defer f.lock("RemovePodSandbox " + r.PodSandboxId)()
	delete(f.sandboxes, r.PodSandboxId)
	return &runtimeapi.RemovePodSandboxResponse{}, nil
}

func (f *fakeRuntime) PodSandboxStatus(_ context.Context, r *runtimeapi.PodSandboxStatusRequest) (*runtimeapi.PodSandboxStatusResponse, error) {
	defer f.lock("")()
	return &runtimeapi.PodSandboxStatusResponse{Status: &runtimeapi.PodSandboxStatus{Network: &runtimeapi.PodSandboxNetworkStatus{Ip: "10.42.0.9"}}}, nil
}

func matches(labels, want map[string]string) bool {
	for k, v := range want {
		if labels[k] != v {
			return false
		}
	}
	return true
}

func (f *fakeRuntime) ListPodSandbox(_ context.Context, r *runtimeapi.ListPodSandboxRequest) (*runtimeapi.ListPodSandboxResponse, error) {
	defer f.lock("")()
	res := &runtimeapi.ListPodSandboxResponse{}
	for _, s := range f.sandboxes {
		if matches(s.Labels, r.GetFilter().GetLabelSelector()) {
			c := &runtimeapi.PodSandbox{Id: s.Id, Metadata: s.Metadata, State: s.State, CreatedAt: s.CreatedAt, Labels: s.Labels}
			res.Items = append(res.Items, c)
		}
	}
	return res, nil
}

func (f *fakeRuntime) CreateContainer(_ context.Context, r *runtimeapi.CreateContainerRequest) (*runtimeapi.CreateContainerResponse, error) {
	defer f.lock("CreateContainer " + r.Config.Metadata.Name)()
	f.n++
	id := fmt.Sprintf("c%d", f.n)
	f.containers[id] = &fakeContainer{sandbox: r.PodSandboxId, config: r.Config, done: make(chan struct{}), status: &runtimeapi.ContainerStatus{
		Id: id, Metadata: r.Config.Metadata, State: runtimeapi.ContainerState_CONTAINER_CREATED, CreatedAt: time.Now().UnixNano(),
		Image: r.Config.Image, ImageRef: r.Config.Image.Image, Labels: r.Config.Labels, Annotations: r.Config.Annotations}}
	return &runtimeapi.CreateContainerResponse{ContainerId: id}, nil
}

func (f *fakeRuntime) StartContainer(_ context.Context, r *runtimeapi.StartContainerRequest) (*runtimeapi.StartContainerResponse, error) {
	defer f.lock("")()
	c := f.containers[r.ContainerId]
	if f.startErr != nil {
		c.status.State, c.status.ExitCode, c.status.Reason, c.status.FinishedAt = runtimeapi.ContainerState_CONTAINER_EXITED, 128, "StartError", time.Now().UnixNano()
		return nil, f.startErr
	}
	f.calls = append(f.calls, "StartContainer "+c.config.Metadata.Name)
	c.status.State, c.status.StartedAt = runtimeapi.ContainerState_CONTAINER_RUNNING, time.Now().UnixNano()
	return &runtimeapi.StartContainerResponse{}, nil
}

func (f *fakeRuntime) exitLocked(c *fakeContainer, code int32) {
	if c.status.State != runtimeapi.ContainerState_CONTAINER_RUNNING {
		return
	}
	c.status.State, c.status.ExitCode, c.status.FinishedAt = runtimeapi.ContainerState_CONTAINER_EXITED, code, time.Now().UnixNano()
	c.status.Reason = "Completed"
	if code != 0 {
		c.status.Reason = "Error"
	}
	close(c.done)
	for _, s := range f.subs {
		s <- Event{Type: ContainerExited, SandboxID: c.sandbox, ContainerID: c.status.Id}
	}
}

// exit ends the newest running container of a name.
func (f *fakeRuntime) exit(name string, code int32) {
	defer f.lock("")()
	for _, c := range f.containers {
		if c.config.Metadata.Name == name {
			f.exitLocked(c, code)
		}
	}
}

func (f *fakeRuntime) StopContainer(ctx context.Context, r *runtimeapi.StopContainerRequest) (*runtimeapi.StopContainerResponse, error) {
	unlock := f.lock(fmt.Sprintf("StopContainer %s %d", r.ContainerId, r.Timeout))
	c := f.containers[r.ContainerId]
	if !f.stubborn {
		f.exitLocked(c, 0)
	}
	unlock()
	select {
	case <-c.done:
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-time.After(time.Duration(r.Timeout) * time.Second):
		defer f.lock("")()
		f.exitLocked(c, 137)
	}
	return &runtimeapi.StopContainerResponse{}, nil
}

func (f *fakeRuntime) RemoveContainer(_ context.Context, r *runtimeapi.RemoveContainerRequest) (*runtimeapi.RemoveContainerResponse, error) {
	defer f.lock("RemoveContainer " + r.ContainerId)()
	delete(f.containers, r.ContainerId)
	return &runtimeapi.RemoveContainerResponse{}, nil
}

func (f *fakeRuntime) ListContainers(_ context.Context, r *runtimeapi.ListContainersRequest) (*runtimeapi.ListContainersResponse, error) {
	defer f.lock("")()
	res := &runtimeapi.ListContainersResponse{}
	for id, c := range f.containers {
		if st := r.GetFilter().GetState(); st != nil && st.State != c.status.State {
			continue
		}
		if matches(c.config.Labels, r.GetFilter().GetLabelSelector()) {
			res.Containers = append(res.Containers, &runtimeapi.Container{Id: id, PodSandboxId: c.sandbox, State: c.status.State})
		}
	}
	return res, nil
}

func (f *fakeRuntime) ContainerStatus(_ context.Context, r *runtimeapi.ContainerStatusRequest) (*runtimeapi.ContainerStatusResponse, error) {
	defer f.lock("")()
	c := f.containers[r.ContainerId]
	if c == nil {
		return nil, grpcstatus.Error(codes.NotFound, "no such container")
	}
	s := &runtimeapi.ContainerStatus{Id: c.status.Id, Metadata: c.status.Metadata, State: c.status.State, CreatedAt: c.status.CreatedAt,
		StartedAt: c.status.StartedAt, FinishedAt: c.status.FinishedAt, ExitCode: c.status.ExitCode, Reason: c.status.Reason,
		Image: c.status.Image, ImageRef: c.status.ImageRef, Labels: c.status.Labels, Annotations: c.status.Annotations, LogPath: c.status.LogPath}
	return &runtimeapi.ContainerStatusResponse{Status: s}, nil
}

func (f *fakeRuntime) ExecSync(_ context.Context, r *runtimeapi.ExecSyncRequest) (*runtimeapi.ExecSyncResponse, error) {
	defer f.lock("")()
	if f.probe == nil {
		return &runtimeapi.ExecSyncResponse{}, nil
	}
	return &runtimeapi.ExecSyncResponse{ExitCode: int32(f.probe(r.Cmd)), Stdout: []byte("no")}, nil
}

func (f *fakeRuntime) PullImage(_ context.Context, r *runtimeapi.PullImageRequest) (*runtimeapi.PullImageResponse, error) {
	defer f.lock("PullImage " + r.Image.Image)()
	if f.pullErr != nil {
		return nil, f.pullErr
	}
	f.images[r.Image.Image] = &runtimeapi.Image{Id: "sha256:" + r.Image.Image, Size: 42}
	return &runtimeapi.PullImageResponse{}, nil
}

func (f *fakeRuntime) ImageStatus(_ context.Context, r *runtimeapi.ImageStatusRequest) (*runtimeapi.ImageStatusResponse, error) {
	defer f.lock("")()
	return &runtimeapi.ImageStatusResponse{Image: f.images[r.Image.Image]}, nil
}

func (f *fakeRuntime) ListImages(context.Context, *runtimeapi.ListImagesRequest) (*runtimeapi.ListImagesResponse, error) {
	return &runtimeapi.ListImagesResponse{}, nil
}

func (f *fakeRuntime) RemoveImage(_ context.Context, r *runtimeapi.RemoveImageRequest) (*runtimeapi.RemoveImageResponse, error) {
	defer f.lock("RemoveImage " + r.Image.Image)()
	return &runtimeapi.RemoveImageResponse{}, nil
}

func (f *fakeRuntime) ImageFsInfo(context.Context, *runtimeapi.ImageFsInfoRequest) (*runtimeapi.ImageFsInfoResponse, error) {
	return &runtimeapi.ImageFsInfoResponse{}, nil
}

func (f *fakeRuntime) UpdateContainerResources(_ context.Context, r *runtimeapi.UpdateContainerResourcesRequest) (*runtimeapi.UpdateContainerResourcesResponse, error) {
	defer f.lock(fmt.Sprintf("UpdateContainerResources %s %d %d", r.ContainerId, r.Linux.CpuQuota, r.Linux.MemoryLimitInBytes))()
	return &runtimeapi.UpdateContainerResourcesResponse{}, f.updateErr
}

func (f *fakeRuntime) ReopenContainerLog(_ context.Context, r *runtimeapi.ReopenContainerLogRequest) (*runtimeapi.ReopenContainerLogResponse, error) {
	defer f.lock("ReopenContainerLog " + r.ContainerId)()
	return &runtimeapi.ReopenContainerLogResponse{}, nil
}

func (f *fakeRuntime) ListPodSandboxStats(_ context.Context, r *runtimeapi.ListPodSandboxStatsRequest) (*runtimeapi.ListPodSandboxStatsResponse, error) {
	defer f.lock("")()
	res := &runtimeapi.ListPodSandboxStatsResponse{}
	for _, s := range f.sandboxes {
		st := &runtimeapi.PodSandboxStats{Attributes: &runtimeapi.PodSandboxAttributes{Id: s.Id, Metadata: s.Metadata, Labels: s.Labels}, Linux: &runtimeapi.LinuxPodSandboxStats{}}
		for _, c := range f.containers {
			if c.sandbox == s.Id {
				st.Linux.Containers = append(st.Linux.Containers, &runtimeapi.ContainerStats{
					Attributes: &runtimeapi.ContainerAttributes{Id: c.status.Id, Labels: c.config.Labels},
					Memory:     &runtimeapi.MemoryUsage{UsageBytes: &runtimeapi.UInt64Value{Value: f.memory}, WorkingSetBytes: &runtimeapi.UInt64Value{Value: f.memory}},
				})
			}
		}
		st.Linux.Memory = &runtimeapi.MemoryUsage{UsageBytes: &runtimeapi.UInt64Value{Value: f.memory}, WorkingSetBytes: &runtimeapi.UInt64Value{Value: f.memory}}
		res.Stats = append(res.Stats, st)
	}
	return res, nil
}

func (f *fakeRuntime) Exec(context.Context, string, []string, bool, io.Reader, io.Writer, io.Writer, <-chan Size) (int, error) {
	defer f.lock("Exec")()
	return 0, nil
}

func (f *fakeRuntime) Attach(context.Context, string, io.Reader, io.Writer, io.Writer, <-chan Size) error {
	return nil
}
func (f *fakeRuntime) PortForward(context.Context, string, int32, io.ReadWriteCloser) error {
	return nil
}

func (f *fakeRuntime) Events(ctx context.Context) <-chan Event {
	defer f.lock("")()
	ch := make(chan Event, 100)
	f.subs = append(f.subs, ch)
	context.AfterFunc(ctx, func() {
		defer f.lock("")()
		f.subs = slices.DeleteFunc(f.subs, func(c chan Event) bool { return c == ch })
	})
	return ch
}

func (f *fakeRuntime) did(call string) int {
	defer f.lock("")()
	n := 0
	for _, c := range f.calls {
		if c == call {
			n++
		}
	}
	return n
}

// fakeHost remembers mounts.
type fakeHost struct {
	mu     sync.Mutex
	mounts []string
	groups map[string]criconfig.Cgroup
	used   uint64 // memory
}

func (h *fakeHost) Mount(_, target, _ string, _ []string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.mounts = append(h.mounts, target)
	return nil
}

func (h *fakeHost) Unmount(target string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.mounts = slices.DeleteFunc(h.mounts, func(m string) bool { return m == target })
	return nil
}

func (h *fakeHost) MountsBelow(dir string) ([]string, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	var out []string
	for _, m := range h.mounts {
		if m == dir || len(m) > len(dir) && m[:len(dir)+1] == dir+"/" {
			out = append(out, m)
		}
	}
	return out, nil
}

func (h *fakeHost) SetCgroup(g criconfig.Cgroup) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.groups[g.Path] = g
	return nil
}

func (h *fakeHost) RemoveCgroup(path string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.groups, path)
	return nil
}

func (h *fakeHost) Facts() (machine.Facts, error) {
	return machine.Facts{OS: "linux", Architecture: "amd64", CPUs: 4, MemoryBytes: 8 << 30}, nil
}

func (h *fakeHost) GroupUsage(string) (machine.GroupUsage, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return machine.GroupUsage{WorkingSet: h.used, Memory: h.used, MemoryLimit: 8 << 30}, nil
}

func (h *fakeHost) DirUsage(dir string) (uint64, uint64, error) { return uint64(len(dir)), 1, nil }

func (h *fakeHost) Usage(string) (machine.Usage, error) {
	return machine.Usage{MemoryAvailable: 4 << 30, DiskBytes: 100 << 30, DiskAvailable: 50 << 30, Inodes: 100, InodesFree: 50}, nil
}

// world is a kubelet in a cluster of one node, all of it in memory.
type world struct {
	t       *testing.T
	rt      *fakeRuntime
	host    *fakeHost
	client  *client.Client
	pods    client.Kind[*corev1.Pod]
	dir     string
	kubelet *Kubelet
	stop    func()
}

// inWorld runs a test in a bubble with a kubelet in it.
func inWorld(t *testing.T, test func(w *world)) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		st := store.NewMemory()
		table := all.Table()
		log := slog.New(slog.NewTextHandler(io.Discard, nil))
		if os.Getenv("KUBELET_TEST_LOG") != "" {
			log = slog.New(slog.NewTextHandler(os.Stderr, nil))
		}
		set := cache.NewSet(cache.Config{Store: st, Table: table, Indexes: client.Indexes(table), Logger: log})
		var wg sync.WaitGroup
		wg.Go(func() { _ = set.Run(ctx) })
		<-set.Loaded()
		c := client.New(table, set, &memoryWriter{store: st, set: set}, &user.DefaultInfo{Name: "system:node:n1"})
		w := &world{t: t, rt: newFakeRuntime(), host: &fakeHost{groups: map[string]criconfig.Cgroup{}}, client: c, pods: client.Of[*corev1.Pod](c), dir: t.TempDir()}
		defer func() { // also where the test gave up
			w.stop()
			cancel()
			wg.Wait()
		}()
		w.start(log)
		test(w)
	})
}

func (w *world) start(log *slog.Logger) {
	k, err := New(Config{NodeName: "n1", NodeIPs: []string{"192.0.2.1"}, DataDir: filepath.Join(w.dir, "kubelet"), ClusterDNS: []string{"10.43.0.10"},
		ClusterDomain: "cluster.local", Version: "v1.36.3", Logger: log},
		Deps{Client: w.client, Runtime: w.rt, Images: w.rt, Streams: w.rt, Host: w.host,
			Tokens: func(context.Context, string, string, *corev1.Pod, string, time.Duration) (string, time.Time, error) {
				return "token", time.Now().Add(time.Hour), nil
			}})
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := k.Run(ctx); err != nil {
			w.t.Error(err)
		}
	}()
	w.kubelet = k
	w.stop = func() { cancel(); <-done }
	<-k.Ready()
	synctest.Wait()
}

// pod makes a pod that is bound to the node.
func (w *world) pod(name string, change func(*corev1.Pod)) *corev1.Pod {
	w.t.Helper()
	grace := int64(30)
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID("pod-" + name), Generation: 1},
		Spec: corev1.PodSpec{NodeName: "n1", RestartPolicy: corev1.RestartPolicyAlways, TerminationGracePeriodSeconds: &grace,
			Containers: []corev1.Container{{Name: "main", Image: "busybox:1", ImagePullPolicy: corev1.PullIfNotPresent}}},
		Status: corev1.PodStatus{Phase: corev1.PodPending},
	}
	if change != nil {
		change(p)
	}
	got, err := w.pods.Create(context.Background(), p)
	if err != nil {
		w.t.Fatal(err)
	}
	synctest.Wait()
	return got
}

func (w *world) get(name string) *corev1.Pod {
	w.t.Helper()
	synctest.Wait()
	p, ok := w.pods.Get("default", name)
	if !ok {
		w.t.Fatalf("pod %s is gone", name)
	}
	return p
}

func (w *world) phase(name string, want corev1.PodPhase) *corev1.Pod {
	w.t.Helper()
	p := w.get(name)
	if p.Status.Phase != want {
		w.t.Fatalf("pod %s is %s, want %s: %+v", name, p.Status.Phase, want, p.Status)
	}
	return p
}

func (w *world) events(reason string) []string {
	synctest.Wait()
	var out []string
	for _, e := range client.Of[*corev1.Event](w.client).List("", nil) {
		if e.Reason == reason {
			out = append(out, e.Message)
		}
	}
	return out
}
