package kubelet

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/monohull/monohull/internal/api"
	"github.com/monohull/monohull/internal/kubelet/config"
	"github.com/monohull/monohull/internal/kubelet/static"
)

func limits(cpu, memory string) corev1.ResourceRequirements {
	l := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(memory)}
	return corev1.ResourceRequirements{Requests: l, Limits: l.DeepCopy()}
}

// resize asks for other resources, as the API's subresource does.
func (w *world) resize(name, cpu, memory string) {
	w.t.Helper()
	_, err := w.pods.Modify(context.Background(), "default", name, "", func(p *corev1.Pod) error {
		p.Generation++
		p.Spec.Containers[0].Resources = limits(cpu, memory)
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
	synctest.Wait()
}

func conditionOf(p *corev1.Pod, t corev1.PodConditionType) *corev1.PodCondition {
	for i := range p.Status.Conditions {
		if p.Status.Conditions[i].Type == t {
			return &p.Status.Conditions[i]
		}
	}
	return nil
}

func TestAPodIsResizedInPlace(t *testing.T) {
	inWorld(t, func(w *world) {
		w.pod("a", func(p *corev1.Pod) { p.Spec.Containers[0].Resources = limits("1", "1Gi") })
		w.phase("a", corev1.PodRunning)
		w.resize("a", "2", "2Gi")
		p := w.get("a")
		st := p.Status.ContainerStatuses[0]
		if got := st.Resources.Limits.Cpu().String() + " " + st.AllocatedResources.Memory().String(); got != "2 2Gi" || st.RestartCount != 0 {
			t.Errorf("status: %s %+v", got, st)
		}
		id := strings.TrimPrefix(st.ContainerID, "monohull://")
		if w.rt.did(fmt.Sprintf("UpdateContainerResources %s 200000 %d", id, 2<<30)) != 1 {
			t.Errorf("%q", w.rt.calls)
		}
		if g := w.host.groups["/kubepods/poda"]; g.MemoryLimit != 0 && g.MemoryLimit != 2<<30 {
			t.Errorf("group: %+v", g)
		}
		if len(w.events("ResizeStarted")) != 1 || len(w.events("ResizeCompleted")) != 1 || conditionOf(p, corev1.PodResizeInProgress) != nil {
			t.Errorf("%+v", p.Status.Conditions)
		}
	})
}

func TestAResizeThatDoesNotFitWaitsForRoom(t *testing.T) {
	inWorld(t, func(w *world) {
		w.pod("a", func(p *corev1.Pod) { p.Spec.Containers[0].Resources = limits("1", "1Gi") })
		w.pod("b", func(p *corev1.Pod) { p.Spec.Containers[0].Resources = limits("2", "1Gi") })
		w.phase("b", corev1.PodRunning)
		w.resize("a", "3", "1Gi")
		p := w.get("a")
		c := conditionOf(p, corev1.PodResizePending)
		if c == nil || c.Reason != "Deferred" || c.Message != "Node didn't have enough resource: cpu, requested: 3000, used: 2000, capacity: 4000" || c.ObservedGeneration != 2 {
			t.Fatalf("%+v", p.Status.Conditions)
		}
		if got := p.Status.ContainerStatuses[0].AllocatedResources.Cpu().String(); got != "1" {
			t.Errorf("allocated %s", got)
		}
		if err := w.pods.Delete(context.Background(), "default", "b", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(resizeRetry) // b is gone when its containers are
		p = w.get("a")
		if got := p.Status.ContainerStatuses[0].Resources.Limits.Cpu().String(); got != "3" || conditionOf(p, corev1.PodResizePending) != nil {
			t.Errorf("%s %+v", got, p.Status)
		}
	})
}

func TestMemoryIsNotTakenBelowItsUse(t *testing.T) {
	inWorld(t, func(w *world) {
		w.rt.memory = 600 << 20
		w.pod("a", func(p *corev1.Pod) { p.Spec.Containers[0].Resources = limits("1", "1Gi") })
		w.phase("a", corev1.PodRunning)
		w.resize("a", "1", "512Mi")
		c := conditionOf(w.get("a"), corev1.PodResizeInProgress)
		if c == nil || c.Reason != "Error" || !strings.HasPrefix(c.Message, "cannot decrease memory limits: attempting to set pod memory limit (536870912) below current usage (629145600)") {
			t.Fatalf("%+v", c)
		}
		w.rt.mu.Lock()
		w.rt.memory = 100 << 20
		w.rt.mu.Unlock()
		time.Sleep(resizeRetry)
		p := w.get("a")
		if got := p.Status.ContainerStatuses[0].Resources.Limits.Memory().String(); got != "512Mi" || conditionOf(p, corev1.PodResizeInProgress) != nil {
			t.Errorf("%s %+v", got, p.Status.Conditions)
		}
	})
}

func TestANodeShortOfMemoryEvictsAndSaysSo(t *testing.T) {
	inWorld(t, func(w *world) {
		w.rt.memory = 1 << 30
		w.pod("kept", func(p *corev1.Pod) { high := int32(2000000000); p.Spec.Priority = &high })
		w.pod("a", nil)
		w.phase("a", corev1.PodRunning)
		w.host.mu.Lock()
		w.host.used = 8<<30 - 50<<20
		w.host.mu.Unlock()
		time.Sleep(pressureEvery)
		p := w.phase("a", corev1.PodFailed)
		if p.Status.Reason != "Evicted" || !strings.HasPrefix(p.Status.Message, "The node was low on resource: memory. Threshold quantity: 100Mi, available: 50Mi. Container main was using 1Gi, request is 0, has larger consumption of memory. ") {
			t.Errorf("%+v", p.Status)
		}
		if c := conditionOf(p, corev1.DisruptionTarget); c == nil || c.Reason != "TerminationByKubelet" {
			t.Errorf("%+v", p.Status.Conditions)
		}
		if len(w.events("Evicted")) != 1 || len(w.events("EvictionThresholdMet")) == 0 {
			t.Error("nobody was told")
		}
		pressed := false
		node, _ := w.kubelet.nodes.Get("", "n1")
		for _, c := range node.Status.Conditions {
			pressed = pressed || c.Type == corev1.NodeMemoryPressure && c.Status == corev1.ConditionTrue && c.Reason == "KubeletHasInsufficientMemory"
		}
		if !pressed {
			t.Errorf("%+v", node.Status.Conditions)
		}
		w.pod("late", nil)
		if p := w.phase("late", corev1.PodFailed); p.Status.Reason != "Evicted" || p.Status.Message != "Pod was rejected: The node had condition: [MemoryPressure]. " {
			t.Errorf("%+v", p.Status)
		}
		w.phase("kept", corev1.PodRunning)
	})
}

func TestAStaticPodRunsWithAMirror(t *testing.T) {
	inWorld(t, func(w *world) {
		k := w.kubelet
		d := static.Decoder{Node: "n1", Kind: api.For[*corev1.Pod](w.client.Table())}
		text := "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec: {containers: [{name: main, image: 'busybox:1'}]}\n"
		pods, err := d.Decode([]byte(text), static.FromFile, "web.yaml", false, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		k.setStatic(ctx, static.FromFile, pods)
		time.Sleep(mirrorRetry)
		p := w.phase("web-n1", corev1.PodRunning)
		if !static.IsMirrorOf(p, pods[0]) || p.UID == pods[0].UID || p.Status.PodIP != "10.42.0.9" {
			t.Errorf("%+v", p)
		}
		if got, ok := k.Pod("default", "web-n1"); !ok || got.UID != pods[0].UID || got.Status.Phase != corev1.PodRunning {
			t.Errorf("%+v", got)
		}
		// Who deletes the mirror gets it back; the pod goes on.
		zero := int64(0)
		if err := w.pods.Delete(ctx, "default", "web-n1", metav1.DeleteOptions{GracePeriodSeconds: &zero}); err != nil {
			t.Fatal(err)
		}
		again := w.phase("web-n1", corev1.PodRunning)
		if again.UID == p.UID || again.Status.ContainerStatuses[0].ContainerID != p.Status.ContainerStatuses[0].ContainerID {
			t.Errorf("%s %+v", again.UID, again.Status)
		}
		// Another text is another pod: the one before ends first.
		next, err := d.Decode([]byte(strings.Replace(text, "main", "other", 1)), static.FromFile, "web.yaml", false, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		k.setStatic(ctx, static.FromFile, next)
		time.Sleep(time.Second)
		if got := w.phase("web-n1", corev1.PodRunning); got.Status.ContainerStatuses[0].Name != "other" || len(w.rt.sandboxes) != 1 {
			t.Errorf("%+v", got.Status)
		}
		k.setStatic(ctx, static.FromFile, nil)
		time.Sleep(time.Second)
		synctest.Wait()
		if _, ok := w.pods.Get("default", "web-n1"); ok || len(w.rt.sandboxes) > 0 {
			t.Errorf("left: %v", w.rt.sandboxes)
		}
	})
}

func TestALogThatGrewIsRotated(t *testing.T) {
	inWorld(t, func(w *world) {
		w.pod("a", nil)
		p := w.phase("a", corev1.PodRunning)
		id := strings.TrimPrefix(p.Status.ContainerStatuses[0].ContainerID, "monohull://")
		path := filepath.Join(t.TempDir(), "0.log")
		w.rt.mu.Lock()
		w.rt.containers[id].status.LogPath = path
		w.rt.mu.Unlock()
		if err := os.WriteFile(path, make([]byte, 10<<20), 0o600); err != nil {
			t.Fatal(err)
		}
		time.Sleep(config.Default().Logs.Interval + time.Second)
		synctest.Wait()
		if files, _ := filepath.Glob(path + ".*"); len(files) != 1 || w.rt.did("ReopenContainerLog "+id) != 1 {
			t.Errorf("%v %q", files, w.rt.calls)
		}
	})
}
