package kubelet

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/monohull/monohull/internal/client"
)

func TestAPodRunsAtOnceAndSaysSo(t *testing.T) {
	inWorld(t, func(w *world) {
		start := time.Now()
		w.pod("a", nil)
		p := w.phase("a", corev1.PodRunning)
		if took := time.Since(start); took > 0 {
			t.Errorf("it waited %v where nothing was to wait for", took)
		}
		if p.Status.PodIP != "10.42.0.9" || p.Status.HostIP != "192.0.2.1" || p.Status.QOSClass != corev1.PodQOSBestEffort || p.Status.StartTime == nil {
			t.Errorf("status: %+v", p.Status)
		}
		for _, c := range p.Status.Conditions {
			if c.Status != corev1.ConditionTrue {
				t.Errorf("condition %s is %s: %s", c.Type, c.Status, c.Message)
			}
		}
		cs := p.Status.ContainerStatuses[0]
		if !cs.Ready || cs.Started == nil || !*cs.Started || cs.State.Running == nil || !strings.HasPrefix(cs.ContainerID, "monohull://c") {
			t.Errorf("container status: %+v", cs)
		}
		for reason, want := range map[string]string{
			"Pulled":  `Container image "busybox:1" already present on machine and can be accessed by the pod`,
			"Created": "Container created", "Started": "Container started",
		} {
			if got := w.events(reason); len(got) != 1 || got[0] != want {
				t.Errorf("event %s: %q, want %q", reason, got, want)
			}
		}
	})
}

func TestADeletedPodLeavesNothing(t *testing.T) {
	inWorld(t, func(w *world) {
		w.pod("a", func(p *corev1.Pod) {
			p.Spec.Volumes = []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{Medium: corev1.StorageMediumMemory}}}}
			p.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "v", MountPath: "/v"}}
		})
		w.phase("a", corev1.PodRunning)
		if err := w.pods.Delete(context.Background(), "default", "a", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if _, ok := w.pods.Get("default", "a"); ok {
			t.Fatalf("the pod is still there: %+v", w.get("a").Status)
		}
		if len(w.rt.sandboxes)+len(w.rt.containers)+len(w.host.mounts) > 0 {
			t.Errorf("left: %v %v %v", w.rt.sandboxes, w.rt.containers, w.host.mounts)
		}
		if left, _ := os.ReadDir(filepath.Join(w.dir, "kubelet", "pods")); len(left) > 0 {
			t.Errorf("left: %v", left)
		}
		for path := range w.host.groups {
			if strings.Contains(path, "pod-a") {
				t.Errorf("left: group %s", path)
			}
		}
		if got := w.events("Killing"); !slices.Equal(got, []string{"Stopping container main"}) {
			t.Errorf("Killing: %q", got)
		}
	})
}

func TestAStubbornContainerIsKilledWhenItsGraceEnds(t *testing.T) {
	inWorld(t, func(w *world) {
		w.rt.stubborn = true
		w.pod("a", func(p *corev1.Pod) { *p.Spec.TerminationGracePeriodSeconds = 20 })
		start := time.Now()
		if err := w.pods.Delete(context.Background(), "default", "a", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(19 * time.Second)
		w.get("a")
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if _, ok := w.pods.Get("default", "a"); ok {
			t.Errorf("the pod is still there after %v", time.Since(start))
		}
	})
}

func TestACrashingContainerBacksOff(t *testing.T) {
	inWorld(t, func(w *world) {
		w.pod("a", nil)
		w.rt.exit("main", 1)
		p := w.phase("a", corev1.PodRunning) // the first restart is immediate
		if n := p.Status.ContainerStatuses[0].RestartCount; n != 1 {
			t.Fatalf("restarts: %d", n)
		}
		w.rt.exit("main", 1)
		cs := w.get("a").Status.ContainerStatuses[0]
		if cs.State.Waiting == nil || cs.State.Waiting.Reason != "CrashLoopBackOff" ||
			cs.State.Waiting.Message != "back-off 10s restarting failed container=main pod=a_default(pod-a)" {
			t.Fatalf("state: %+v", cs.State)
		}
		if cs.LastTerminationState.Terminated == nil || cs.LastTerminationState.Terminated.ExitCode != 1 {
			t.Errorf("last state: %+v", cs.LastTerminationState)
		}
		time.Sleep(9 * time.Second)
		if n := w.rt.did("StartContainer main"); n != 2 {
			t.Errorf("started %d times after 9 s", n)
		}
		time.Sleep(2 * time.Second)
		p = w.phase("a", corev1.PodRunning)
		if n := p.Status.ContainerStatuses[0].RestartCount; n != 2 {
			t.Errorf("restarts: %d", n)
		}
		if got := w.events("BackOff"); !slices.Equal(got, []string{"Back-off restarting failed container main in pod a_default(pod-a)"}) {
			t.Errorf("BackOff: %q", got)
		}
	})
}

func TestAPodThatIsDoneSucceedsOrFails(t *testing.T) {
	inWorld(t, func(w *world) {
		never := func(p *corev1.Pod) { p.Spec.RestartPolicy = corev1.RestartPolicyNever }
		w.pod("a", never)
		w.rt.exit("main", 0)
		p := w.phase("a", corev1.PodSucceeded)
		if c := p.Status.Conditions[2]; c.Type != corev1.PodReady || c.Reason != "PodCompleted" {
			t.Errorf("condition: %+v", c)
		}
		w.pod("b", never)
		w.rt.exit("main", 3)
		p = w.phase("b", corev1.PodFailed)
		if term := p.Status.ContainerStatuses[0].State.Terminated; term == nil || term.ExitCode != 3 {
			t.Errorf("state: %+v", p.Status.ContainerStatuses[0].State)
		}
		for id, s := range w.rt.sandboxes {
			if s.State == runtimeapi.PodSandboxState_SANDBOX_READY {
				t.Errorf("sandbox %s of a finished pod still runs", id)
			}
		}
	})
}

func TestInitContainersRunInOrderAndSidecarsStay(t *testing.T) {
	inWorld(t, func(w *world) {
		always := corev1.ContainerRestartPolicyAlways
		w.pod("a", func(p *corev1.Pod) {
			p.Spec.InitContainers = []corev1.Container{
				{Name: "one", Image: "busybox:1"}, {Name: "side", Image: "busybox:1", RestartPolicy: &always}, {Name: "two", Image: "busybox:1"},
			}
		})
		p := w.phase("a", corev1.PodPending)
		if r := p.Status.ContainerStatuses[0].State.Waiting.Reason; r != "PodInitializing" {
			t.Errorf("main waits for %s", r)
		}
		w.rt.exit("one", 0)
		synctest.Wait()
		w.rt.exit("two", 0)
		w.phase("a", corev1.PodRunning)
		var order []string
		for _, c := range w.rt.calls {
			if n, ok := strings.CutPrefix(c, "StartContainer "); ok {
				order = append(order, n)
			}
		}
		if !slices.Equal(order, []string{"one", "side", "two", "main"}) {
			t.Errorf("order: %v", order)
		}
	})
}

func TestAnImageThatCannotBePulled(t *testing.T) {
	inWorld(t, func(w *world) {
		w.rt.pullErr = errors.New("no such host")
		w.pod("a", func(p *corev1.Pod) { p.Spec.Containers[0].Image = "example.com/x:1" })
		s := w.get("a").Status.ContainerStatuses[0].State.Waiting
		if s.Reason != "ErrImagePull" || s.Message != "no such host" {
			t.Fatalf("waiting: %+v", s)
		}
		time.Sleep(3 * time.Second)
		s = w.get("a").Status.ContainerStatuses[0].State.Waiting
		if s.Reason != "ImagePullBackOff" || s.Message != `Back-off pulling image "example.com/x:1": ErrImagePull: no such host` {
			t.Fatalf("waiting: %+v", s)
		}
		w.rt.mu.Lock()
		w.rt.pullErr = nil
		w.rt.mu.Unlock()
		time.Sleep(8 * time.Second)
		w.phase("a", corev1.PodRunning)
		if got := w.events("Pulled"); len(got) != 1 || got[0] != `Successfully pulled image "example.com/x:1" in 0s (0s including waiting). Image size: 42 bytes.` {
			t.Errorf("Pulled: %q", got)
		}
	})
}

func TestAConfigMapThatAppearsLetsThePodStart(t *testing.T) {
	inWorld(t, func(w *world) {
		w.pod("a", func(p *corev1.Pod) {
			p.Spec.Containers[0].EnvFrom = []corev1.EnvFromSource{{ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "x"}}}}
		})
		s := w.get("a").Status.ContainerStatuses[0].State.Waiting
		if s.Reason != "CreateContainerConfigError" || s.Message != `configmap "x" not found` {
			t.Fatalf("waiting: %+v", s)
		}
		cms := client.Of[*corev1.ConfigMap](w.client)
		if _, err := cms.Create(context.Background(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "x"}}); err != nil {
			t.Fatal(err)
		}
		w.phase("a", corev1.PodRunning)
	})
}

func TestAConfigMapVolumeFollowsItsSource(t *testing.T) {
	inWorld(t, func(w *world) {
		cms := client.Of[*corev1.ConfigMap](w.client)
		if _, err := cms.Create(context.Background(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "x"}, Data: map[string]string{"k": "1"}}); err != nil {
			t.Fatal(err)
		}
		w.pod("a", func(p *corev1.Pod) {
			p.Spec.Volumes = []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "x"}}}}}
			p.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "v", MountPath: "/v"}}
		})
		w.phase("a", corev1.PodRunning)
		path := filepath.Join(w.dir, "kubelet/pods/pod-a/volumes/kubernetes.io~configmap/v/k")
		read := func() string {
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			return string(b)
		}
		if read() != "1" {
			t.Errorf("file: %q", read())
		}
		if _, err := cms.Modify(context.Background(), "default", "x", "", func(c *corev1.ConfigMap) error { c.Data["k"] = "2"; return nil }); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if read() != "2" {
			t.Errorf("file: %q", read())
		}
	})
}

func TestProbesDecideReadinessAndRestart(t *testing.T) {
	inWorld(t, func(w *world) {
		ok := map[string]bool{"ready": false, "live": true}
		w.rt.probe = func(cmd []string) int {
			if ok[cmd[0]] {
				return 0
			}
			return 1
		}
		probe := func(name string) *corev1.Probe {
			return &corev1.Probe{ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{name}}}, PeriodSeconds: 1, TimeoutSeconds: 1, FailureThreshold: 2}
		}
		w.pod("a", func(p *corev1.Pod) {
			p.Spec.Containers[0].ReadinessProbe, p.Spec.Containers[0].LivenessProbe = probe("ready"), probe("live")
		})
		p := w.phase("a", corev1.PodRunning)
		if p.Status.ContainerStatuses[0].Ready {
			t.Error("ready before its probe said so")
		}
		w.rt.mu.Lock()
		ok["ready"] = true
		w.rt.mu.Unlock()
		time.Sleep(1100 * time.Millisecond)
		if !w.get("a").Status.ContainerStatuses[0].Ready {
			t.Error("not ready after its probe said so")
		}
		w.rt.mu.Lock()
		ok["live"] = false
		w.rt.mu.Unlock()
		time.Sleep(2100 * time.Millisecond)
		if n := w.get("a").Status.ContainerStatuses[0].RestartCount; n != 1 {
			t.Errorf("restarts: %d", n)
		}
		if got := w.events("Killing"); !slices.Equal(got, []string{"Container main failed liveness probe, will be restarted"}) {
			t.Errorf("Killing: %q", got)
		}
	})
}

func TestARestartOfTheProcessGoesOnWithWhatRuns(t *testing.T) {
	inWorld(t, func(w *world) {
		w.pod("a", nil)
		w.pod("b", func(p *corev1.Pod) {
			p.Spec.RestartPolicy = corev1.RestartPolicyNever
			p.Spec.Containers[0].Name = "once"
		})
		w.pod("c", func(p *corev1.Pod) { p.Spec.Containers[0].Name = "lost" })
		before := w.get("a").Status.ContainerStatuses[0].ContainerID
		w.stop()
		w.rt.exit("once", 5)
		zero := int64(0)
		if err := w.pods.Delete(context.Background(), "default", "c", metav1.DeleteOptions{GracePeriodSeconds: &zero}); err != nil {
			t.Fatal(err)
		}
		w.start(w.kubelet.log)
		if now := w.phase("a", corev1.PodRunning).Status.ContainerStatuses[0]; now.ContainerID != before || now.RestartCount != 0 {
			t.Errorf("container: %+v, was %s", now, before)
		}
		if p := w.phase("b", corev1.PodFailed); p.Status.ContainerStatuses[0].State.Terminated.ExitCode != 5 {
			t.Errorf("status: %+v", p.Status.ContainerStatuses[0])
		}
		synctest.Wait()
		for _, c := range w.rt.containers {
			if c.config.Metadata.Name == "lost" {
				t.Error("the container of a pod that was deleted meanwhile is still there")
			}
		}
		if n := w.rt.did("RunPodSandbox a"); n != 1 {
			t.Errorf("sandboxes made for a: %d", n)
		}
	})
}

func TestAPodThatDoesNotFitIsRefused(t *testing.T) {
	inWorld(t, func(w *world) {
		w.pod("a", func(p *corev1.Pod) { p.Spec.NodeSelector = map[string]string{"disk": "ssd"} })
		p := w.phase("a", corev1.PodFailed)
		if p.Status.Reason != "NodeAffinity" || p.Status.Message != "Pod was rejected: Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector" {
			t.Errorf("status: %+v", p.Status)
		}
		if w.rt.did("RunPodSandbox a") > 0 {
			t.Error("it was begun")
		}
	})
}

func TestAPodPastItsDeadlineFails(t *testing.T) {
	inWorld(t, func(w *world) {
		five := int64(5)
		w.pod("a", func(p *corev1.Pod) { p.Spec.ActiveDeadlineSeconds = &five })
		w.phase("a", corev1.PodRunning)
		time.Sleep(6 * time.Second)
		p := w.phase("a", corev1.PodFailed)
		if p.Status.Reason != "DeadlineExceeded" {
			t.Errorf("status: %+v", p.Status)
		}
	})
}

func TestASandboxThatDiedIsMadeAnew(t *testing.T) {
	inWorld(t, func(w *world) {
		w.pod("a", nil)
		w.rt.mu.Lock()
		for id, s := range w.rt.sandboxes {
			s.State = runtimeapi.PodSandboxState_SANDBOX_NOTREADY
			for _, c := range w.rt.containers {
				w.rt.exitLocked(c, 137)
			}
			w.rt.subs[0] <- Event{Type: SandboxDied, SandboxID: id}
		}
		w.rt.mu.Unlock()
		p := w.phase("a", corev1.PodRunning)
		if n := p.Status.ContainerStatuses[0].RestartCount; n != 1 {
			t.Errorf("restarts: %d", n)
		}
		if n := w.rt.did("RunPodSandbox a"); n != 2 {
			t.Errorf("sandboxes: %d", n)
		}
	})
}

func TestTheNodeRegistersWithAllThatItIs(t *testing.T) {
	inWorld(t, func(w *world) {
		n, ok := client.Of[*corev1.Node](w.client).Get("", "n1")
		if !ok {
			t.Fatal("no node")
		}
		if n.Labels[corev1.LabelHostname] != "n1" || n.Status.NodeInfo.KubeletVersion != "v1.36.3" || n.Status.NodeInfo.ContainerRuntimeVersion != "fake://1" {
			t.Errorf("node: %+v", n)
		}
		if got := n.Status.Allocatable.Pods().Value(); got != 110 {
			t.Errorf("pods: %d", got)
		}
		leases := w.kubelet.leases
		l, ok := leases.Get("kube-node-lease", "n1")
		if !ok || *l.Spec.LeaseDurationSeconds != 40 {
			t.Fatalf("lease: %+v", l)
		}
		was := l.Spec.RenewTime.Time
		time.Sleep(11 * time.Second)
		synctest.Wait()
		if l, _ = leases.Get("kube-node-lease", "n1"); !l.Spec.RenewTime.After(was) || len(l.OwnerReferences) != 1 {
			t.Errorf("lease: %+v", l)
		}
	})
}
