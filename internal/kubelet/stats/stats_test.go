package stats

import (
	"context"
	"errors"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/monohull/monohull/internal/kubelet/machine"
)

type fake struct {
	cpu   uint64
	walks int
	err   error
}

func u(v uint64) *runtimeapi.UInt64Value { return &runtimeapi.UInt64Value{Value: v} }

func (f *fake) ListPodSandboxStats(context.Context, *runtimeapi.ListPodSandboxStatsRequest) (*runtimeapi.ListPodSandboxStatsResponse, error) {
	return &runtimeapi.ListPodSandboxStatsResponse{Stats: []*runtimeapi.PodSandboxStats{{
		Attributes: &runtimeapi.PodSandboxAttributes{Labels: map[string]string{"uid": "static"}},
		Linux: &runtimeapi.LinuxPodSandboxStats{
			Memory:  &runtimeapi.MemoryUsage{WorkingSetBytes: u(7)},
			Process: &runtimeapi.ProcessUsage{ProcessCount: u(3)},
			Containers: []*runtimeapi.ContainerStats{{
				Attributes:    &runtimeapi.ContainerAttributes{Labels: map[string]string{"name": "c"}},
				WritableLayer: &runtimeapi.FilesystemUsage{UsedBytes: u(100), InodesUsed: u(2)},
			}},
		},
	}}}, f.err
}

func (f *fake) ImageFsInfo(context.Context, *runtimeapi.ImageFsInfoRequest) (*runtimeapi.ImageFsInfoResponse, error) {
	return &runtimeapi.ImageFsInfoResponse{ImageFilesystems: []*runtimeapi.FilesystemUsage{{UsedBytes: u(55), FsId: &runtimeapi.FilesystemIdentifier{Mountpoint: "/images"}}}}, nil
}

func (f *fake) Usage(string) (machine.Usage, error) {
	return machine.Usage{DiskBytes: 1000, DiskAvailable: 400, Inodes: 10, InodesFree: 5, PIDs: 4, MaxPIDs: 100}, nil
}

func (f *fake) GroupUsage(path string) (machine.GroupUsage, error) {
	return machine.GroupUsage{CPUNanos: f.cpu, WorkingSet: 30, Memory: 40, MemoryLimit: 100}, nil
}

func (f *fake) DirUsage(string) (uint64, uint64, error) {
	f.walks++
	return 10, 1, nil
}

func TestTheSummaryAddsUp(t *testing.T) {
	now := time.Unix(1000, 0)
	f := &fake{cpu: 1_000_000_000}
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "p", UID: "static"}, Spec: corev1.PodSpec{Volumes: []corev1.Volume{
		{Name: "disk", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}},
		{Name: "memory", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{Medium: corev1.StorageMediumMemory}}},
		{Name: "host", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{}}},
	}}}
	s := New(Config{NodeName: "n", PodGroup: "/kubepods", KeepVolumes: time.Minute, Now: func() time.Time { return now }, Allocatable: func() int64 { return 90 },
		Pods: func() []Pod {
			return []Pod{{Pod: pod, UID: "static", LogDir: "/logs", Volumes: map[string]string{"disk": "/d", "memory": "/m", "host": "/"}}}
		}, UIDLabel: "uid", NameLabel: "name"}, f, f)
	if _, err := s.Summary(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	now = now.Add(10 * time.Second)
	f.cpu += 5_000_000_000
	sum, err := s.Summary(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	if got := *sum.Node.CPU.UsageNanoCores; got != 500_000_000 {
		t.Errorf("node uses %d nanocores", got)
	}
	if *sum.Node.Memory.AvailableBytes != 70 || *sum.Node.SystemContainers[0].Memory.AvailableBytes != 60 || *sum.Node.Runtime.ImageFs.UsedBytes != 55 || *sum.Node.Fs.UsedBytes != 600 {
		t.Errorf("%+v", sum.Node)
	}
	p := sum.Pods[0]
	if *p.EphemeralStorage.UsedBytes != 100+10+10 || len(p.VolumeStats) != 2 || *p.ProcessStats.ProcessCount != 3 || *p.Containers[0].Logs.UsedBytes != 10 {
		t.Errorf("%+v", p)
	}
	if f.walks != 3 {
		t.Errorf("%d directories were walked, each once a minute", f.walks)
	}
	if same, _ := s.Summary(t.Context(), time.Second); same != sum {
		t.Error("measured again")
	}
	f.err = errors.New("no")
	if _, err := s.Summary(t.Context(), 0); !errors.Is(err, f.err) {
		t.Error(err)
	}
}
