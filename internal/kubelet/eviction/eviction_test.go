package eviction

import (
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	statsapi "k8s.io/kubelet/pkg/apis/stats/v1alpha1"
)

var t0 = time.Unix(1_000_000, 0)

func num(v uint64) *uint64 { return &v }

func seen(signal Signal, available, capacity int64, at time.Time) map[Signal]Observation {
	return map[Signal]Observation{signal: {resource.NewQuantity(available, resource.BinarySI), resource.NewQuantity(capacity, resource.BinarySI), at}}
}

func config(t *testing.T, hard, soft, grace, reclaim map[string]string) Config {
	t.Helper()
	l, err := Parse(hard, soft, grace, reclaim)
	if err != nil {
		t.Fatal(err)
	}
	return Config{Thresholds: l, Transition: 5 * time.Minute, MaxGrace: time.Minute}
}

func TestHardThresholdsActAtOnceAndPressureLastsItsTime(t *testing.T) {
	c := config(t, map[string]string{"memory.available": "10%"}, nil, nil, map[string]string{"memory.available": "5%"})
	s, need := c.Step(State{}, seen(MemoryAvailable, 99, 1000, t0), t0)
	if need == nil || need.Resource != corev1.ResourceMemory || !s.Has(corev1.NodeMemoryPressure) {
		t.Fatalf("%+v %+v", s, need)
	}
	// The same observation again says nothing new.
	if _, again := c.Step(s, seen(MemoryAvailable, 99, 1000, t0), t0.Add(time.Second)); again != nil {
		t.Error("acted on an old observation")
	}
	// Above the threshold, but not by what is to be reclaimed.
	now := t0.Add(10 * time.Second)
	if s, need = c.Step(s, seen(MemoryAvailable, 140, 1000, now), now); need == nil {
		t.Error("gave up before enough was reclaimed")
	}
	now = now.Add(10 * time.Second)
	if s, need = c.Step(s, seen(MemoryAvailable, 151, 1000, now), now); need != nil || !s.Has(corev1.NodeMemoryPressure) {
		t.Errorf("%+v %+v", s, need)
	}
	now = now.Add(5 * time.Minute)
	if s, need = c.Step(s, seen(MemoryAvailable, 500, 1000, now), now); need != nil || len(s.Conditions) != 0 {
		t.Errorf("%+v %+v", s, need)
	}
}

func TestSoftThresholdsWaitForTheirGrace(t *testing.T) {
	c := config(t, nil, map[string]string{"nodefs.available": "500"}, map[string]string{"nodefs.available": "30s"}, nil)
	s, need := c.Step(State{}, seen(NodeFsAvailable, 400, 1000, t0), t0)
	if need != nil || !s.Has(corev1.NodeDiskPressure) {
		t.Fatalf("%+v %+v", s, need)
	}
	now := t0.Add(29 * time.Second)
	if s, need = c.Step(s, seen(NodeFsAvailable, 400, 1000, now), now); need != nil {
		t.Error("too early")
	}
	now = now.Add(time.Second)
	if s, need = c.Step(s, seen(NodeFsAvailable, 400, 1000, now), now); need == nil || need.Threshold.Hard() {
		t.Error("never acted")
	}
	_ = s
	grace := int64(5)
	e := c.First([]*corev1.Pod{{Spec: corev1.PodSpec{TerminationGracePeriodSeconds: &grace}}}, func(*corev1.Pod) *statsapi.PodStats { return nil }, need, seen(NodeFsAvailable, 400, 1000, now))
	if e == nil || e.Grace != 5*time.Second {
		t.Errorf("%+v", e)
	}
}

func pod(name string, priority int32, memory string) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID(name)}, Spec: corev1.PodSpec{Priority: &priority, Containers: []corev1.Container{{Name: "main"}}}}
	if memory != "" {
		p.Spec.Containers[0].Resources.Requests = corev1.ResourceList{corev1.ResourceMemory: resource.MustParse(memory)}
	}
	return p
}

func TestPodsAreRankedByExcessPriorityAndAmount(t *testing.T) {
	pods := []*corev1.Pod{pod("modest", 0, "1Gi"), pod("high", 10, ""), pod("much", 0, ""), pod("little", 0, ""), pod("unknown", 100, "")}
	use := map[string]uint64{"modest": 1 << 20, "high": 1 << 30, "much": 1 << 25, "little": 1 << 24}
	usage := func(p *corev1.Pod) *statsapi.PodStats {
		v, ok := use[p.Name]
		if !ok {
			return nil
		}
		return &statsapi.PodStats{Memory: &statsapi.MemoryStats{WorkingSetBytes: &v}, ProcessStats: &statsapi.ProcessStats{ProcessCount: num(v >> 20)}}
	}
	names := func(l []*corev1.Pod) (out []string) {
		for _, p := range l {
			out = append(out, p.Name)
		}
		return out
	}
	if got := names(Rank(pods, usage, MemoryAvailable, false)); !slices.Equal(got, []string{"unknown", "much", "little", "high", "modest"}) {
		t.Errorf("memory: %v", got)
	}
	if got := names(Rank(pods, usage, PIDAvailable, false)); !slices.Equal(got, []string{"much", "little", "modest", "high", "unknown"}) {
		t.Errorf("pids: %v", got)
	}
}

func TestTheMessageNamesWhoUsedTooMuch(t *testing.T) {
	c := config(t, map[string]string{"memory.available": "100Mi"}, nil, nil, nil)
	now := seen(MemoryAvailable, 50<<20, 1<<30, t0)
	_, need := c.Step(State{}, now, t0)
	critical := pod("system", 2000001000, "")
	static := pod("static", 0, "")
	static.Annotations = map[string]string{"kubernetes.io/config.source": "file"}
	victim := pod("victim", 0, "1Mi")
	usage := func(*corev1.Pod) *statsapi.PodStats {
		return &statsapi.PodStats{Containers: []statsapi.ContainerStats{{Name: "main", Memory: &statsapi.MemoryStats{WorkingSetBytes: num(2 << 20)}}}}
	}
	e := c.First([]*corev1.Pod{critical, static, victim}, usage, need, now)
	want := "The node was low on resource: memory. Threshold quantity: 100Mi, available: 50Mi. Container main was using 2Mi, request is 1Mi, has larger consumption of memory. "
	if e == nil || e.Pod != victim || e.Message != want || e.Grace != 0 || !e.Disruption || e.Annotations["offending_containers"] != "main" {
		t.Errorf("%+v", e)
	}
}

func TestLocalStorageLimitsAreKept(t *testing.T) {
	limit := resource.MustParse("1Mi")
	p := pod("p", 0, "")
	p.Spec.Volumes = []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{SizeLimit: &limit}}}}
	stats := func(volume, total, root, logs uint64) Usage {
		return func(*corev1.Pod) *statsapi.PodStats {
			return &statsapi.PodStats{
				VolumeStats:      []statsapi.VolumeStats{{Name: "v", FsStats: statsapi.FsStats{UsedBytes: &volume}}},
				EphemeralStorage: &statsapi.FsStats{UsedBytes: &total},
				Containers:       []statsapi.ContainerStats{{Name: "main", Rootfs: &statsapi.FsStats{UsedBytes: &root}, Logs: &statsapi.FsStats{UsedBytes: &logs}}},
			}
		}
	}
	limited := p.DeepCopy()
	limited.Spec.Containers[0].Resources.Limits = corev1.ResourceList{corev1.ResourceEphemeralStorage: resource.MustParse("2Mi")}
	two := limited.DeepCopy()
	two.Spec.Containers = append(two.Spec.Containers, corev1.Container{Name: "other", Resources: corev1.ResourceRequirements{
		Limits: corev1.ResourceList{corev1.ResourceEphemeralStorage: resource.MustParse("8Mi")}}})
	for _, tc := range []struct {
		name  string
		pod   *corev1.Pod
		usage Usage
		image bool
		want  string
	}{
		{"within", p, stats(1<<20, 5<<20, 1, 1), false, ""},
		{"volume", p, stats(1<<20+1, 0, 0, 0), false, `Usage of EmptyDir volume "v" exceeds the limit "1Mi". `},
		{"pod", limited, stats(0, 3<<20, 0, 0), false, "Pod ephemeral local storage usage exceeds the total limit of containers 2Mi. "},
		{"container", two, stats(0, 3<<20, 2<<20, 1), false, `Container main exceeded its local ephemeral storage limit "2Mi". `},
		{"layers elsewhere", two, stats(0, 3<<20, 2<<20, 1), true, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := Over([]*corev1.Pod{tc.pod}, tc.usage, tc.image)
			switch {
			case tc.want == "" && len(got) == 0:
			case len(got) != 1 || got[0].Message != tc.want:
				t.Errorf("%+v", got)
			}
		})
	}
}

func TestANodeUnderPressureTakesFew(t *testing.T) {
	memory := State{Conditions: []corev1.NodeConditionType{corev1.NodeMemoryPressure}}
	disk := State{Conditions: []corev1.NodeConditionType{corev1.NodeDiskPressure}}
	tolerant := pod("t", 0, "")
	tolerant.Spec.Tolerations = []corev1.Toleration{{Key: corev1.TaintNodeMemoryPressure, Operator: corev1.TolerationOpExists}}
	for _, tc := range []struct {
		name    string
		state   State
		pod     *corev1.Pod
		class   corev1.PodQOSClass
		refused bool
	}{
		{"best effort, memory", memory, pod("p", 0, ""), corev1.PodQOSBestEffort, true},
		{"burstable, memory", memory, pod("p", 0, "1Mi"), corev1.PodQOSBurstable, false},
		{"tolerant, memory", memory, tolerant, corev1.PodQOSBestEffort, false},
		{"burstable, disk", disk, pod("p", 0, "1Mi"), corev1.PodQOSBurstable, true},
		{"critical, disk", disk, pod("p", 2000000000, ""), corev1.PodQOSBestEffort, false},
		{"none", State{}, pod("p", 0, ""), corev1.PodQOSBestEffort, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := tc.state.Refuses(tc.pod, tc.class); (got != "") != tc.refused {
				t.Errorf("%q", got)
			} else if tc.refused && !strings.HasPrefix(got, "The node had condition: [") {
				t.Errorf("%q", got)
			}
		})
	}
}
