package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"sort"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

func pod(ns, name string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: ns, Labels: map[string]string{"app": "kbench", "tier": "backend", "shard": name[len(name)-1:]}},
		Spec: corev1.PodSpec{
			AutomountServiceAccountToken: new(bool),
			Containers: []corev1.Container{{
				Name: "c", Image: "registry.k8s.io/pause:3.10",
				Env:       []corev1.EnvVar{{Name: "A", Value: "1"}, {Name: "B", Value: "two"}, {Name: "POD", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.name"}}}},
				Ports:     []corev1.ContainerPort{{ContainerPort: 80}},
				Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{"cpu": resource.MustParse("10m"), "memory": resource.MustParse("16Mi")}},
			}},
			Tolerations: []corev1.Toleration{{Operator: corev1.TolerationOpExists}},
		},
	}
}

// write creates -n unschedulable pods, then patches their labels, then deletes them elsewhere.
func write(ctx context.Context, cs kubernetes.Interface, ns string) {
	measure("create-pod", *count, func(i int) error {
		p := pod(ns, fmt.Sprintf("w-%05d", i))
		p.Spec.SchedulerName = "nobody"
		_, err := cs.CoreV1().Pods(ns).Create(ctx, p, metav1.CreateOptions{})
		return err
	})
	measure("patch-pod", *count, func(i int) error {
		_, err := cs.CoreV1().Pods(ns).Patch(ctx, fmt.Sprintf("w-%05d", i), types.MergePatchType, []byte(`{"metadata":{"labels":{"patched":"yes"}}}`), metav1.PatchOptions{})
		return err
	})
}

func read(ctx context.Context, cs kubernetes.Interface, ns string) {
	measure("get-pod", *count*4, func(i int) error {
		_, err := cs.CoreV1().Pods(ns).Get(ctx, fmt.Sprintf("w-%05d", i%*count), metav1.GetOptions{})
		return err
	})
}

func list(ctx context.Context, cfg *rest.Config, cs kubernetes.Interface, ns string) {
	run := func(name string, opts metav1.ListOptions, n, c int) {
		w := *workers
		*workers = c
		measure(name, n, func(int) error {
			// raw bytes: the server's cost, not this client's decoding
			_, err := cs.CoreV1().RESTClient().Get().Namespace(ns).Resource("pods").VersionedParams(&opts, metav1.ParameterCodec).DoRaw(ctx)
			return err
		})
		*workers = w
	}
	run("list-all-rv0", metav1.ListOptions{ResourceVersion: "0"}, 20, 2)
	run("list-all-consistent", metav1.ListOptions{}, 20, 2)
	run("list-selector", metav1.ListOptions{LabelSelector: "shard=7"}, 100, 4)
	run("list-page-500", metav1.ListOptions{Limit: 500}, 100, 4)
}

// watchers_ opens -watchers watch connections and updates one ConfigMap repeatedly.
func watchers_(ctx context.Context, cfg *rest.Config, _ kubernetes.Interface, ns string) {
	const updates = 500
	name := "beat"
	cs := kubernetes.NewForConfigOrDie(cfg)
	_ = cs.CoreV1().ConfigMaps(ns).Delete(ctx, name, metav1.DeleteOptions{})
	cm, err := cs.CoreV1().ConfigMaps(ns).Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
	must(err)
	var sent sync.Map
	var lat []float64
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range *watchers {
		w, err := cs.CoreV1().ConfigMaps(ns).Watch(ctx, metav1.ListOptions{ResourceVersion: cm.ResourceVersion, FieldSelector: "metadata.name=" + name})
		must(err)
		wg.Add(1)
		go func(w watch.Interface) {
			defer wg.Done()
			defer w.Stop()
			seen, mine := 0, make([]float64, 0, updates)
			for ev := range w.ResultChan() {
				c, ok := ev.Object.(*corev1.ConfigMap)
				if !ok || ev.Type != watch.Modified {
					continue
				}
				if t, ok := sent.Load(c.Data["i"]); ok {
					mine = append(mine, float64(time.Since(t.(time.Time)).Microseconds())/1000)
				}
				if seen++; seen == updates {
					break
				}
			}
			mu.Lock()
			lat = append(lat, mine...)
			mu.Unlock()
		}(w)
	}
	c0, t0 := cpu(), time.Now()
	for i := range updates {
		k := strconv.Itoa(i)
		sent.Store(k, time.Now())
		_, err := cs.CoreV1().ConfigMaps(ns).Patch(ctx, name, types.MergePatchType, []byte(`{"data":{"i":"`+k+`"}}`), metav1.PatchOptions{})
		must(err)
	}
	wg.Wait()
	d := time.Since(t0)
	sort.Float64s(lat)
	emit("watch-fanout", map[string]any{"watchers": *watchers, "events_per_s": round(float64(len(lat)) / d.Seconds()), "p50_ms": pct(lat, 50), "p99_ms": pct(lat, 99), "cpu_ms_per_1k_events": round((cpu() - c0) * 1e6 / float64(len(lat)+1))})
}

func hollow(ctx context.Context, cs kubernetes.Interface) {
	parallel(*nodes, func(i int) error {
		n := &corev1.Node{
			ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("hollow-%05d", i), Labels: map[string]string{"kubernetes.io/hostname": fmt.Sprintf("hollow-%05d", i), "topology.kubernetes.io/zone": fmt.Sprintf("z%d", i%3)}},
			Status: corev1.NodeStatus{
				Capacity:    corev1.ResourceList{"cpu": resource.MustParse("32"), "memory": resource.MustParse("128Gi"), "pods": resource.MustParse("110"), "ephemeral-storage": resource.MustParse("100Gi")},
				Allocatable: corev1.ResourceList{"cpu": resource.MustParse("32"), "memory": resource.MustParse("128Gi"), "pods": resource.MustParse("110"), "ephemeral-storage": resource.MustParse("100Gi")},
				Conditions:  []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue, LastHeartbeatTime: metav1.Now(), LastTransitionTime: metav1.Now(), Reason: "KubeletReady"}},
			},
		}
		if _, err := cs.CoreV1().Nodes().Create(ctx, n, metav1.CreateOptions{}); err != nil {
			return err
		}
		status, _ := json.Marshal(map[string]any{"status": n.Status})
		_, err := cs.CoreV1().Nodes().Patch(ctx, n.Name, types.StrategicMergePatchType, status, metav1.PatchOptions{}, "status")
		return err
	})
}

// schedule creates -nodes hollow nodes and -n pods, and times until every pod is bound.
func schedule(ctx context.Context, cs kubernetes.Interface, ns string) {
	hollow(ctx, cs)
	waitBound(ctx, cs, ns, "schedule", "s-", func() {
		parallel(*count, func(i int) error {
			_, err := cs.CoreV1().Pods(ns).Create(ctx, pod(ns, fmt.Sprintf("s-%05d", i)), metav1.CreateOptions{})
			return err
		})
	})
}

// deploy creates one Deployment of -n replicas and times until every pod is bound.
func deploy(ctx context.Context, cs kubernetes.Interface, ns string) {
	waitBound(ctx, cs, ns, "deploy", "d-", func() {
		p := pod(ns, "d-x")
		r := int32(*count)
		p.Labels["app"] = "d"
		_, err := cs.AppsV1().Deployments(ns).Create(ctx, &appsv1.Deployment{
			ObjectMeta: metav1.ObjectMeta{Name: "d"},
			Spec: appsv1.DeploymentSpec{Replicas: &r, Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "d"}},
				Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: p.Labels}, Spec: p.Spec}},
		}, metav1.CreateOptions{})
		must(err)
	})
}

func waitBound(ctx context.Context, cs kubernetes.Interface, ns, what, prefix string, start func()) {
	now, err := cs.CoreV1().Pods(ns).List(ctx, metav1.ListOptions{Limit: 1})
	must(err)
	w, err := cs.CoreV1().Pods(ns).Watch(ctx, metav1.ListOptions{ResourceVersion: now.ResourceVersion})
	must(err)
	defer w.Stop()
	bound := map[string]bool{}
	done := make(chan struct{})
	var first, last time.Time
	go func() {
		defer close(done)
		for ev := range w.ResultChan() {
			p, ok := ev.Object.(*corev1.Pod)
			if !ok || p.Spec.NodeName == "" || !strings.HasPrefix(p.Name, prefix) || bound[p.Name] {
				continue
			}
			bound[p.Name] = true
			last = time.Now()
			if first.IsZero() {
				first = last
			}
			if len(bound) == *count {
				return
			}
		}
	}()
	c0, t0 := cpu(), time.Now()
	start()
	created := time.Since(t0)
	select {
	case <-done:
	case <-ctx.Done():
	}
	if first.IsZero() {
		first, last = t0, time.Now()
	}
	d := last.Sub(t0)
	emit(what, map[string]any{"nodes": *nodes, "pods": *count, "bound": len(bound), "created_s": round(created.Seconds()), "all_bound_s": round(d.Seconds()), "pods_per_s": round(float64(len(bound)) / d.Seconds()), "first_bound_ms": round(float64(first.Sub(t0).Microseconds()) / 1000), "cpu_ms_per_pod": round((cpu() - c0) * 1000 / float64(max(len(bound), 1))), "rss_mb": rss()})
}

// run starts k real pods at once and times creation to Running, then deletes them and times until they are gone.
func run(ctx context.Context, cs kubernetes.Interface, ns string, k int) {
	now, err := cs.CoreV1().Pods(ns).List(ctx, metav1.ListOptions{Limit: 1})
	must(err)
	w, err := cs.CoreV1().Pods(ns).Watch(ctx, metav1.ListOptions{ResourceVersion: now.ResourceVersion, LabelSelector: "run=kbench"})
	must(err)
	defer w.Stop()
	c0, t0 := cpu(), time.Now()
	for i := range k {
		one := int64(1)
		_, err := cs.CoreV1().Pods(ns).Create(ctx, &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("r-%d-%03d", k, i), Labels: map[string]string{"run": "kbench"}},
			Spec: corev1.PodSpec{TerminationGracePeriodSeconds: &one, NodeSelector: nil, Containers: []corev1.Container{{
				Name: "c", Image: *image, ImagePullPolicy: corev1.PullIfNotPresent, Command: []string{"sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.1; done"}}}},
		}, metav1.CreateOptions{})
		must(err)
	}
	started, gone := []float64{}, []float64{}
	running := map[string]bool{}
	var c1 float64
	for ev := range w.ResultChan() {
		p, ok := ev.Object.(*corev1.Pod)
		if !ok {
			continue
		}
		ms := float64(time.Since(t0).Microseconds()) / 1000
		if ev.Type == watch.Deleted {
			if gone = append(gone, ms); len(gone) == k {
				break
			}
		} else if len(p.Status.ContainerStatuses) == 1 && p.Status.ContainerStatuses[0].State.Running != nil && !running[p.Name] {
			running[p.Name] = true
			if started = append(started, ms); len(started) == k {
				c1 = cpu()
				t0 = time.Now()
				must(cs.CoreV1().Pods(ns).DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{LabelSelector: "run=kbench"}))
			}
		}
	}
	sort.Float64s(started)
	sort.Float64s(gone)
	emit("run", map[string]any{"pods": k, "started": len(started), "running_p50_ms": pct(started, 50), "running_p99_ms": pct(started, 99), "gone_p50_ms": pct(gone, 50), "gone_p99_ms": pct(gone, 99), "cpu_ms_per_pod_start": round((c1 - c0) * 1000 / float64(k)), "rss_mb": rss()})
}

func measure(name string, n int, op func(int) error) {
	lat := make([]float64, n)
	var errs atomic.Int64
	c0, t0 := cpu(), time.Now()
	parallel(n, func(i int) error {
		s := time.Now()
		err := op(i)
		lat[i] = float64(time.Since(s).Microseconds()) / 1000
		if err != nil && errs.Add(1) < 4 {
			fmt.Fprintln(os.Stderr, name, err)
		}
		return nil
	})
	d := time.Since(t0)
	sort.Float64s(lat)
	emit(name, map[string]any{"n": n, "errors": errs.Load(), "ops_per_s": round(float64(n) / d.Seconds()), "p50_ms": pct(lat, 50), "p99_ms": pct(lat, 99), "cpu_ms_per_op": round((cpu() - c0) * 1000 / float64(n)), "rss_mb": rss()})
}

func parallel(n int, op func(int) error) {
	var next atomic.Int64
	var wg sync.WaitGroup
	for range *workers {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				if err := op(i); err != nil {
					fmt.Fprintln(os.Stderr, err)
				}
			}
		}()
	}
	wg.Wait()
}

func cpu() float64 {
	total := 0.0
	for _, p := range pidList() {
		b, err := os.ReadFile("/proc/" + p + "/stat")
		if err != nil {
			continue
		}
		f := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
		u, _ := strconv.ParseFloat(f[11], 64)
		s, _ := strconv.ParseFloat(f[12], 64)
		total += (u + s) / 100
	}
	return total
}

func rss() float64 {
	total := 0.0
	for _, p := range pidList() {
		b, _ := os.ReadFile("/proc/" + p + "/status")
		for _, l := range strings.Split(string(b), "\n") {
			if strings.HasPrefix(l, "VmRSS:") {
				v, _ := strconv.ParseFloat(strings.Fields(l)[1], 64)
				total += v / 1024
			}
		}
	}
	return round(total)
}

func pidList() []string {
	if *pids == "" {
		return nil
	}
	return strings.Split(*pids, ",")
}

func pct(v []float64, p int) float64 {
	if len(v) == 0 {
		return 0
	}
	return round(v[min(len(v)-1, len(v)*p/100)])
}

func round(f float64) float64 { return float64(int64(f*100+0.5)) / 100 }
