package podmachine

import (
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

var (
	t0     = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	always = corev1.ContainerRestartPolicyAlways
)

func aPod(change func(*corev1.Pod)) *corev1.Pod {
	grace := int64(30)
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "p", UID: "u"},
		Spec: corev1.PodSpec{RestartPolicy: corev1.RestartPolicyAlways, TerminationGracePeriodSeconds: &grace, Containers: []corev1.Container{{Name: "a", Image: "i"}}}}
	if change != nil {
		change(p)
	}
	return p
}

func anObserved(change func(*Observed)) *Observed {
	o := &Observed{Volumes: VolumesMounted, Sandboxes: []Sandbox{{ID: "s", Ready: true}}, Containers: map[string][]Container{},
		Probes: map[string]Probes{}, Waiting: map[string]Waiting{}, Crash: map[string]Backoff{}, Busy: map[string]time.Time{}}
	if change != nil {
		change(o)
	}
	return o
}

func run(name string) Container {
	return Container{ID: name + "0", Name: name, SandboxID: "s", State: Running, CreatedAt: t0}
}

func exited(name string, code int32) Container {
	return Container{ID: name + "0", Name: name, SandboxID: "s", State: Exited, ExitCode: code, CreatedAt: t0, FinishedAt: t0}
}

func put(o *Observed, l ...Container) {
	for _, c := range l {
		o.Containers[c.Name] = append(o.Containers[c.Name], c)
	}
}

func summary(p Plan) []string {
	var out []string
	for _, a := range p.Actions {
		s := string(a.Verb)
		if a.Container != "" {
			s += " " + a.Container
		} else if a.ID != "" {
			s += " " + a.ID
		}
		out = append(out, s)
	}
	return out
}

func TestStepDecides(t *testing.T) {
	deleted := func(p *corev1.Pod) {
		g := int64(30)
		at := metav1.NewTime(t0.Add(30 * time.Second))
		p.DeletionTimestamp, p.DeletionGracePeriodSeconds = &at, &g
	}
	withInit := func(p *corev1.Pod) {
		p.Spec.InitContainers = []corev1.Container{{Name: "i", Image: "i"}, {Name: "side", Image: "i", RestartPolicy: &always}}
	}
	for _, tc := range []struct {
		name string
		pod  func(*corev1.Pod)
		obs  func(*Observed)
		want []string
	}{
		{"a new pod gets its volumes", nil, func(o *Observed) { o.Volumes, o.Sandboxes = VolumesNone, nil }, []string{"MountVolumes"}},
		{"nothing twice", nil, func(o *Observed) { o.Volumes, o.Busy[KeyVolumes] = VolumesNone, t0 }, nil},
		{"volumes wait for their retry", nil, func(o *Observed) { o.Volumes, o.VolumesRetry = VolumesNone, t0.Add(time.Second) }, nil},
		{"then a sandbox", nil, func(o *Observed) { o.Sandboxes = nil }, []string{"CreateSandbox"}},
		{"then its container", nil, nil, []string{"StartContainer a"}},
		{"a running one is left alone", nil, func(o *Observed) { put(o, run("a")) }, nil},
		{"one that ended is restarted", nil, func(o *Observed) { put(o, exited("a", 1)) }, []string{"StartContainer a"}},
		{"unless it backs off", nil, func(o *Observed) {
			put(o, exited("a", 1))
			o.Crash["a"] = Backoff{Delay: 10 * time.Second, Last: t0}
		}, []string{"BackOff a"}},
		{"which is said once", nil, func(o *Observed) {
			put(o, exited("a", 1))
			o.Crash["a"] = Backoff{Delay: 10 * time.Second, Last: t0}
			o.Waiting["a"] = Waiting{Reason: "CrashLoopBackOff", ForID: "a0", Until: t0.Add(10 * time.Second)}
		}, nil},
		{"one that could not be started backs off like it", nil, func(o *Observed) {
			put(o, exited("a", 128))
			o.Crash["a"] = Backoff{Delay: 10 * time.Second, Last: t0}
			o.Waiting["a"] = Waiting{Reason: "RunContainerError", ForID: "a0", Made: true}
		}, []string{"BackOff a"}},
		{"after one more attempt", nil, func(o *Observed) {
			put(o, exited("a", 128))
			o.Waiting["a"] = Waiting{Reason: "RunContainerError", ForID: "a0", Made: true}
		}, []string{"StartContainer a"}},
		{"init containers come first", withInit, nil, []string{"StartContainer i"}},
		{"and are waited for", withInit, func(o *Observed) { put(o, run("i")) }, nil},
		{"then sidecars", withInit, func(o *Observed) { put(o, exited("i", 0)) }, []string{"StartContainer side"}},
		{"then the others", withInit, func(o *Observed) { put(o, exited("i", 0), run("side")) }, []string{"StartContainer a"}},
		{"a sidecar that ended comes back", withInit, func(o *Observed) { put(o, exited("i", 0), exited("side", 0), run("a")) }, []string{"StartContainer side"}},
		{"a failed init container fails a pod that never restarts", func(p *corev1.Pod) { withInit(p); p.Spec.RestartPolicy = corev1.RestartPolicyNever },
			func(o *Observed) { put(o, exited("i", 1)) }, []string{"StopSandbox s"}},
		{"a finished pod's sidecar is killed", func(p *corev1.Pod) { withInit(p); p.Spec.RestartPolicy = corev1.RestartPolicyNever },
			func(o *Observed) { put(o, exited("i", 0), run("side"), exited("a", 0)) }, []string{"KillContainer side"}},
		{"failed liveness kills", func(p *corev1.Pod) { p.Spec.Containers[0].LivenessProbe = &corev1.Probe{} },
			func(o *Observed) { put(o, run("a")); o.Probes["a0"] = Probes{Liveness: ResultFailure} }, []string{"KillContainer a"}},
		{"a changed image kills", nil, func(o *Observed) { c := run("a"); c.Hash = "other"; put(o, c) }, []string{"KillContainer a"}},
		{"deletion kills, sidecars last", func(p *corev1.Pod) { withInit(p); deleted(p) }, func(o *Observed) { put(o, run("side"), run("a")) }, []string{"KillContainer a"}},
		{"then the sidecar", func(p *corev1.Pod) { withInit(p); deleted(p) }, func(o *Observed) { put(o, run("side"), exited("a", 0)) }, []string{"KillContainer side"}},
		{"then the sandbox stops", deleted, func(o *Observed) { put(o, exited("a", 0)) }, []string{"StopSandbox s"}},
		{"then volumes go", deleted, func(o *Observed) { put(o, exited("a", 0)); o.Sandboxes[0].Ready = false }, []string{"UnmountVolumes"}},
		{"the object waits for its status", deleted, func(o *Observed) { put(o, exited("a", 0)); o.Sandboxes[0].Ready, o.Volumes = false, VolumesNone }, nil},
		{"and goes", deleted, func(o *Observed) {
			put(o, exited("a", 0))
			o.Sandboxes[0].Ready, o.Volumes, o.Written = false, VolumesNone, true
		}, []string{"DeletePod"}},
		{"then containers go", deleted, func(o *Observed) {
			put(o, exited("a", 0))
			o.Sandboxes[0].Ready, o.Volumes, o.Gone = false, VolumesNone, true
		}, []string{"RemoveContainer a"}},
		{"then sandboxes", deleted, func(o *Observed) { o.Sandboxes[0].Ready, o.Volumes, o.Gone = false, VolumesNone, true }, []string{"RemoveSandbox s"}},
		{"then the directory", deleted, func(o *Observed) { o.Sandboxes, o.Volumes, o.Gone = nil, VolumesNone, true }, []string{"RemoveDir"}},
		{"a start under way is aborted", deleted, func(o *Observed) { o.Busy[KeyStart] = t0 }, []string{"Abort"}},
		{"an older dead container is collected", nil, func(o *Observed) {
			older := exited("a", 1)
			older.ID = "a-1"
			put(o, run("a"), older, Container{ID: "a-2", Name: "a", SandboxID: "s", State: Exited})
		}, []string{"RemoveContainer a"}},
		{"a token that expires is renewed", nil, func(o *Observed) { put(o, run("a")); o.VolumesExpire = t0 }, []string{"RefreshVolumes"}},
		{"a rejected pod is left alone", nil, func(o *Observed) { o.Sandboxes, o.Volumes, o.Rejected = nil, VolumesNone, &Rejection{"OutOfcpu", "no"} }, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			pod, o := aPod(tc.pod), anObserved(tc.obs)
			if got := summary(Step(pod, o, t0)); !slices.Equal(got, tc.want) {
				t.Errorf("actions: %q, want %q", got, tc.want)
			}
		})
	}
}

func TestAShorterGraceIsNews(t *testing.T) {
	pod := aPod(func(p *corev1.Pod) {
		g := int64(1)
		at := metav1.NewTime(t0)
		p.DeletionTimestamp, p.DeletionGracePeriodSeconds = &at, &g
	})
	o := anObserved(func(o *Observed) { put(o, run("a")); o.Busy["KillContainer/a0"] = t0.Add(30 * time.Second) })
	if got := summary(Step(pod, o, t0)); !slices.Equal(got, []string{"KillContainer a"}) {
		t.Errorf("actions: %q", got)
	}
	o.Busy["KillContainer/a0"] = t0.Add(time.Second)
	if got := summary(Step(pod, o, t0)); len(got) > 0 {
		t.Errorf("actions: %q", got)
	}
}

func TestPhases(t *testing.T) {
	for _, tc := range []struct {
		name   string
		policy corev1.RestartPolicy
		obs    []Container
		want   corev1.PodPhase
	}{
		{"nothing yet", "Always", nil, corev1.PodPending},
		{"running", "Always", []Container{run("a"), run("b")}, corev1.PodRunning},
		{"one still waits", "Always", []Container{run("a")}, corev1.PodPending},
		{"one is restarted", "Always", []Container{run("a"), exited("b", 1)}, corev1.PodRunning},
		{"one is done", "Never", []Container{run("a"), exited("b", 1)}, corev1.PodRunning},
		{"both succeeded", "OnFailure", []Container{exited("a", 0), exited("b", 0)}, corev1.PodSucceeded},
		{"one failed for good", "Never", []Container{exited("a", 0), exited("b", 1)}, corev1.PodFailed},
		{"one failed and is tried again", "OnFailure", []Container{exited("a", 0), exited("b", 1)}, corev1.PodRunning},
	} {
		t.Run(tc.name, func(t *testing.T) {
			pod := aPod(func(p *corev1.Pod) {
				p.Spec.RestartPolicy = tc.policy
				p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: "b", Image: "i"})
			})
			if got := Step(pod, anObserved(func(o *Observed) { put(o, tc.obs...) }), t0).Status.Phase; got != tc.want {
				t.Errorf("phase %s, want %s", got, tc.want)
			}
		})
	}
}

func TestATerminalPhaseStays(t *testing.T) {
	pod := aPod(func(p *corev1.Pod) { p.Status.Phase, p.Status.Reason = corev1.PodFailed, "Evicted" })
	p := Step(pod, anObserved(func(o *Observed) { put(o, run("a")) }), t0)
	if p.Status.Phase != corev1.PodFailed || p.Status.Reason != "Evicted" || !slices.Equal(summary(p), []string{"KillContainer a"}) {
		t.Errorf("%s %s %v", p.Status.Phase, p.Status.Reason, summary(p))
	}
}

func TestConditionsSayWhichContainersAreNotReady(t *testing.T) {
	p := Step(aPod(func(p *corev1.Pod) { p.Spec.ReadinessGates = []corev1.PodReadinessGate{{ConditionType: "gate"}} }), anObserved(nil), t0)
	c := condition(p.Status.Conditions, corev1.ContainersReady)
	if c.Reason != "ContainersNotReady" || c.Message != "containers with unready status: [a]" {
		t.Errorf("%+v", c)
	}
	pod := aPod(func(p *corev1.Pod) { p.Spec.ReadinessGates = []corev1.PodReadinessGate{{ConditionType: "gate"}} })
	p = Step(pod, anObserved(func(o *Observed) { put(o, run("a")) }), t0)
	if c = condition(p.Status.Conditions, corev1.PodReady); c.Reason != "ReadinessGatesNotReady" ||
		c.Message != `corresponding condition of pod readiness gate "gate" does not exist.` {
		t.Errorf("%+v", c)
	}
	pod.Status.Conditions = []corev1.PodCondition{{Type: "gate", Status: corev1.ConditionTrue}}
	p = Step(pod, anObserved(func(o *Observed) { put(o, run("a")) }), t0)
	if c = condition(p.Status.Conditions, corev1.PodReady); c.Status != corev1.ConditionTrue || condition(p.Status.Conditions, "gate") == nil {
		t.Errorf("%+v", p.Status.Conditions)
	}
}

func TestBackoffDoublesAndForgets(t *testing.T) {
	var b Backoff
	if !b.Until(t0).Equal(t0) {
		t.Error("the first restart waits")
	}
	at := t0
	for _, want := range []time.Duration{10, 20, 40, 80, 160, 300, 300} {
		b = b.Next(at)
		if b.Delay != want*time.Second {
			t.Fatalf("delay %v, want %v", b.Delay, want*time.Second)
		}
		at = at.Add(time.Second)
	}
	later := at.Add(11 * time.Minute)
	if !b.Until(later).Equal(later) || b.Next(later).Delay != 10*time.Second {
		t.Error("a long run does not reset it")
	}
}

func TestRestartsFollowPolicies(t *testing.T) {
	rule := []corev1.ContainerRestartRule{{Action: corev1.ContainerRestartRuleActionRestart,
		ExitCodes: &corev1.ContainerRestartRuleOnExitCodes{Operator: corev1.ContainerRestartRuleOnExitCodesOpIn, Values: []int32{42}}}}
	never := corev1.ContainerRestartPolicyNever
	for _, tc := range []struct {
		pod  corev1.RestartPolicy
		c    corev1.Container
		init bool
		code int32
		want bool
	}{
		{"Always", corev1.Container{}, false, 0, true}, {"OnFailure", corev1.Container{}, false, 0, false}, {"OnFailure", corev1.Container{}, false, 1, true},
		{"Never", corev1.Container{}, false, 1, false}, {"Always", corev1.Container{}, true, 0, false}, {"Always", corev1.Container{}, true, 1, true},
		{"Never", corev1.Container{RestartPolicy: &always}, true, 0, true}, {"Always", corev1.Container{RestartPolicy: &never}, false, 1, false},
		{"Never", corev1.Container{RestartPolicy: &never, RestartPolicyRules: rule}, false, 42, true},
		{"Never", corev1.Container{RestartPolicy: &never, RestartPolicyRules: rule}, false, 1, false},
	} {
		if got := restarts(&corev1.Pod{Spec: corev1.PodSpec{RestartPolicy: tc.pod}}, &tc.c, tc.init, tc.code); got != tc.want {
			t.Errorf("%+v: %v", tc, got)
		}
	}
}

func TestQOSClasses(t *testing.T) {
	list := func(cpu, mem string) corev1.ResourceList {
		l := corev1.ResourceList{}
		if cpu != "" {
			l[corev1.ResourceCPU] = resource.MustParse(cpu)
		}
		if mem != "" {
			l[corev1.ResourceMemory] = resource.MustParse(mem)
		}
		return l
	}
	for _, tc := range []struct {
		r    corev1.ResourceRequirements
		want corev1.PodQOSClass
	}{
		{corev1.ResourceRequirements{}, corev1.PodQOSBestEffort},
		{corev1.ResourceRequirements{Requests: list("1", "")}, corev1.PodQOSBurstable},
		{corev1.ResourceRequirements{Limits: list("1", "1Gi"), Requests: list("1", "1Gi")}, corev1.PodQOSGuaranteed},
		{corev1.ResourceRequirements{Limits: list("1", "1Gi"), Requests: list("500m", "1Gi")}, corev1.PodQOSBurstable},
		{corev1.ResourceRequirements{Limits: list("1", "")}, corev1.PodQOSBurstable},
	} {
		pod := aPod(func(p *corev1.Pod) { p.Spec.Containers[0].Resources = tc.r })
		if got := QOSClass(pod); got != tc.want {
			t.Errorf("%+v: %s, want %s", tc.r, got, tc.want)
		}
	}
}
