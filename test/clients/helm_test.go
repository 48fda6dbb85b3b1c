package clients

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"helm.sh/helm/v4/pkg/action"
	chart "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/kube"
	"helm.sh/helm/v4/pkg/release/common"
	release "helm.sh/helm/v4/pkg/release/v1"
	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

// minKinds is how many kinds of object the chart makes at least.
const minKinds = 20

const (
	helmTimeout = 90 * time.Second
	// failSoon bounds the wait for what is to fail.
	failSoon = 6 * time.Second
)

// helm is a release of the chart in a namespace of its own.
type helm struct {
	t          *testing.T
	cfg        *action.Configuration
	chart      *chart.Chart
	client     kubernetes.Interface
	ns, name   string
	serverSide bool
	wait       kube.WaitStrategy
}

// atomic tells whether what does not become ready is taken back.
func (h *helm) atomic() bool { return h.wait != kube.HookOnlyStrategy }

func newHelm(t *testing.T, name string, serverSide bool, wait kube.WaitStrategy) *helm {
	t.Helper()
	kube.ManagedFieldsManager = "helm"
	h := &helm{t: t, ns: "helm-" + name, name: name, serverSide: serverSide, wait: wait, cfg: action.NewConfiguration()}
	flags := genericclioptions.NewConfigFlags(true)
	flags.KubeConfig, flags.Namespace = &kubeconfig, &h.ns
	if err := h.cfg.Init(flags, h.ns, "secret"); err != nil {
		t.Fatalf("setting Helm up: %v", err)
	}
	var err error
	if h.chart, err = loader.Load("testdata/fleet"); err != nil {
		t.Fatalf("loading the chart: %v", err)
	}
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	if h.client, err = kubernetes.NewForConfig(config); err != nil {
		t.Fatal(err)
	}
	return h
}

// values are the values that a test sets.
type values map[string]any

func (h *helm) install(v values) *release.Release {
	h.t.Helper()
	a := action.NewInstall(h.cfg)
	a.ReleaseName, a.Namespace, a.CreateNamespace = h.name, h.ns, true
	a.ServerSideApply = h.serverSide
	a.WaitStrategy, a.RollbackOnFailure, a.Timeout = h.wait, h.atomic(), helmTimeout
	r, err := a.RunWithContext(h.t.Context(), h.chart, v)
	if err != nil {
		h.t.Fatalf("helm install: %v\n%s", err, h.state())
	}
	return r.(*release.Release)
}

func (h *helm) upgrade(serverSide string, timeout time.Duration, v values) (*release.Release, error) {
	h.t.Helper()
	a := action.NewUpgrade(h.cfg)
	a.Namespace, a.ServerSideApply = h.ns, serverSide
	a.WaitStrategy, a.RollbackOnFailure, a.Timeout = h.wait, h.atomic(), timeout
	r, err := a.RunWithContext(h.t.Context(), h.name, h.chart, v)
	rel, _ := r.(*release.Release)
	return rel, err
}

func (h *helm) rollback(to int) {
	h.t.Helper()
	a := action.NewRollback(h.cfg)
	a.Version, a.WaitStrategy, a.Timeout = to, h.wait, helmTimeout
	if err := a.Run(h.name); err != nil {
		h.t.Fatalf("helm rollback %d: %v\n%s", to, err, h.state())
	}
}

func (h *helm) deployment() *appsv1.Deployment {
	h.t.Helper()
	d, err := h.client.AppsV1().Deployments(h.ns).Get(h.t.Context(), h.name, metav1.GetOptions{})
	if err != nil {
		h.t.Fatal(err)
	}
	return d
}

func (h *helm) configMap(suffix string) map[string]string {
	h.t.Helper()
	cm, err := h.client.CoreV1().ConfigMaps(h.ns).Get(h.t.Context(), h.name+suffix, metav1.GetOptions{})
	if err != nil {
		h.t.Fatal(err)
	}
	return cm.Data
}

func (h *helm) key() string {
	h.t.Helper()
	s, err := h.client.CoreV1().Secrets(h.ns).Get(h.t.Context(), h.name+"-key", metav1.GetOptions{})
	if err != nil {
		h.t.Fatal(err)
	}
	return string(s.Data["key"])
}

// state is what the pods and events of the namespace say, for a failure.
func (h *helm) state() string {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	var b strings.Builder
	if pods, err := h.client.CoreV1().Pods(h.ns).List(ctx, metav1.ListOptions{}); err == nil {
		for _, p := range pods.Items {
			fmt.Fprintf(&b, "pod %s %s", p.Name, p.Status.Phase)
			for _, c := range p.Status.ContainerStatuses {
				fmt.Fprintf(&b, " %s ready=%v %v", c.Name, c.Ready, c.State)
			}
			fmt.Fprintln(&b)
		}
	}
	if events, err := h.client.CoreV1().Events(h.ns).List(ctx, metav1.ListOptions{FieldSelector: "type=Warning"}); err == nil {
		for _, e := range events.Items {
			fmt.Fprintf(&b, "%s/%s %s: %s\n", e.InvolvedObject.Kind, e.InvolvedObject.Name, e.Reason, e.Message)
		}
	}
	return b.String()
}

// kinds are those of a release's objects, all of which must be there.
func (h *helm) kinds(r *release.Release) []string {
	h.t.Helper()
	list, err := h.cfg.KubeClient.Build(bytes.NewBufferString(r.Manifest), false)
	if err != nil {
		h.t.Fatalf("reading the release's manifest: %v", err)
	}
	var kinds []string
	for _, info := range list {
		if err := info.Get(); err != nil {
			h.t.Errorf("%s %s of the release: %v", info.Mapping.GroupVersionKind.Kind, info.Name, err)
		}
		if k := info.Mapping.GroupVersionKind.Kind; !slices.Contains(kinds, k) {
			kinds = append(kinds, k)
		}
	}
	return kinds
}

func (h *helm) wantStatus(want common.Status, revision int) {
	h.t.Helper()
	r, err := action.NewStatus(h.cfg).Run(h.name)
	if err != nil {
		h.t.Fatalf("helm status: %v", err)
	}
	if got := r.(*release.Release); got.Info.Status != want || got.Version != revision {
		h.t.Fatalf("the release is %s at revision %d, want %s at %d", got.Info.Status, got.Version, want, revision)
	}
}

// operations are those with which a manager wrote to an object.
func operations(o metav1.Object, manager string) []string {
	var out []string
	for _, e := range o.GetManagedFields() {
		if e.Manager == manager && e.Subresource == "" {
			out = append(out, string(e.Operation))
		}
	}
	return out
}

func envNames(d *appsv1.Deployment) (out []string) {
	for _, e := range d.Spec.Template.Spec.Containers[0].Env {
		out = append(out, e.Name+"="+e.Value)
	}
	return out
}

func TestHelmClientSide(t *testing.T) { testEveryKind(t, "threeway", false) }

func TestHelmServerSide(t *testing.T) { testEveryKind(t, "applied", true) }

// testEveryKind leads a release of every kind of the chart through its life.
// Helm waits for its hooks alone: it would wait forever for what no controller
// brings about.
func testEveryKind(t *testing.T, name string, serverSide bool) {
	h := newHelm(t, name, serverSide, kube.HookOnlyStrategy)
	first := h.install(values{})
	if got := h.kinds(first); len(got) < minKinds {
		t.Errorf("the chart makes %d kinds of object: %v", len(got), got)
	}
	h.wantStatus(common.StatusDeployed, 1)
	if !strings.Contains(first.Info.Notes, "revision 1 says hello") {
		t.Errorf("the notes are %q", first.Info.Notes)
	}
	site := h.configMap("-site")
	for k, want := range map[string]string{
		"index.html": "hello", "has-v1": "true", "has-apps-v1-Deployment": "true", "has-networking.k8s.io-v1-Ingress": "true",
		"has-autoscaling-v2": "true", "has-no.such-v1": "false", "service-accounts": "0",
	} {
		if site[k] != want {
			t.Errorf("the chart's %s is %q, want %q", k, site[k], want)
		}
	}
	if site["kube-system-uid"] == "" || !strings.HasPrefix(site["kubernetes"], "v1.36.") {
		t.Errorf("lookup and capabilities: %v", site)
	}
	wantOperation := "Update"
	if serverSide {
		wantOperation = "Apply"
	}
	if got := operations(h.deployment(), "helm"); !slices.Contains(got, wantOperation) {
		t.Errorf("helm wrote by %v, want %s: %+v", got, wantOperation, h.deployment().ManagedFields)
	}
	key := h.key()

	// what others add stays, what the chart drops goes
	foreign := []byte(`{"metadata":{"annotations":{"example.test/by":"another"}},"spec":{"template":{"metadata":{"annotations":{"example.test/restart":"1"}}}}}`)
	if _, err := h.client.AppsV1().Deployments(h.ns).Patch(t.Context(), h.name, types.StrategicMergePatchType, foreign, metav1.PatchOptions{FieldManager: "another"}); err != nil {
		t.Fatal(err)
	}
	second, err := h.upgrade("auto", helmTimeout, values{"message": "good day", "replicas": 2, "extra": false})
	if err != nil {
		t.Fatalf("helm upgrade: %v\n%s", err, h.state())
	}
	h.wantStatus(common.StatusDeployed, 2)
	h.kinds(second)
	d := h.deployment()
	if got := envNames(d); !slices.Equal(got, []string{"MESSAGE=good day"}) || *d.Spec.Replicas != 2 || len(d.Spec.Template.Spec.Volumes) != 1 {
		t.Errorf("after the upgrade: %v, %d replicas, volumes %v", got, *d.Spec.Replicas, d.Spec.Template.Spec.Volumes)
	}
	if d.Annotations["example.test/by"] != "another" || d.Spec.Template.Annotations["example.test/restart"] != "1" {
		t.Errorf("the upgrade took away what another wrote: %v", d.Annotations)
	}
	if got := h.key(); got != key {
		t.Errorf("lookup did not find the key: it was %q, is %q", key, got)
	}
	if got := h.configMap("-hook")["revision"]; got != "2" {
		t.Errorf("the hook's object is of revision %q", got)
	}
	if svc, err := h.client.CoreV1().Services(h.ns).Get(t.Context(), h.name, metav1.GetOptions{}); err != nil || len(svc.Spec.Ports) != 2 {
		t.Errorf("the service's ports: %v %v", svc.Spec.Ports, err)
	}

	// a release from which most kinds are dropped, and which gets them back
	if _, err := h.upgrade("auto", helmTimeout, values{"everything": false}); err != nil {
		t.Fatalf("helm upgrade to fewer kinds: %v\n%s", err, h.state())
	}
	if _, err := h.client.AppsV1().StatefulSets(h.ns).Get(t.Context(), h.name, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("a StatefulSet that the chart no longer has: %v", err)
	}
	h.rollback(1)
	h.wantStatus(common.StatusDeployed, 4)
	h.kinds(first)
	d = h.deployment()
	if got := envNames(d); !slices.Equal(got, []string{"MESSAGE=hello", "EXTRA=yes"}) || *d.Spec.Replicas != 1 || len(d.Spec.Template.Spec.Volumes) != 2 {
		t.Errorf("after the rollback: %v, %d replicas, volumes %v", got, *d.Spec.Replicas, d.Spec.Template.Spec.Volumes)
	}
	history, err := action.NewHistory(h.cfg).Run(h.name)
	if err != nil || len(history) != 4 {
		t.Errorf("helm history: %d entries, %v", len(history), err)
	}
	h.uninstall()
}

// TestHelmWaits has Helm wait until what it installed is ready, by watches and
// by asking, run the chart's test, and take back what does not become ready.
func TestHelmWaits(t *testing.T) {
	for name, wait := range map[string]kube.WaitStrategy{"watching": kube.StatusWatcherStrategy, "asking": kube.LegacyStrategy} {
		t.Run(name, func(t *testing.T) {
			h := newHelm(t, name, true, wait)
			h.install(values{"everything": false})
			if d := h.deployment(); d.Status.ReadyReplicas != 1 {
				t.Errorf("helm install returned before the replica was ready: %+v", d.Status)
			}
			h.test()
			if _, err := h.upgrade("auto", helmTimeout, values{"everything": false, "replicas": 2, "message": "good day"}); err != nil {
				t.Fatalf("helm upgrade: %v\n%s", err, h.state())
			}
			if d := h.deployment(); d.Status.ReadyReplicas != 2 || d.Status.UpdatedReplicas != 2 {
				t.Errorf("helm upgrade returned before two replicas were ready: %+v", d.Status)
			}
			if _, err := h.upgrade("auto", failSoon, values{"everything": false, "image": "example.test/no-such:1"}); err == nil {
				t.Fatal("an upgrade to an image that does not exist succeeded")
			}
			h.wantStatus(common.StatusDeployed, 4)
			if got := envNames(h.deployment()); !slices.Contains(got, "MESSAGE=good day") {
				t.Errorf("after the upgrade that failed: %v", got)
			}
			h.uninstall()
		})
	}
}

// TestHelmMigration turns a release that was made client-side to server-side
// apply.
func TestHelmMigration(t *testing.T) {
	h := newHelm(t, "migrated", false, kube.HookOnlyStrategy)
	h.install(values{})
	if _, err := h.upgrade("true", helmTimeout, values{"extra": false, "message": "moved"}); err != nil {
		t.Fatalf("helm upgrade --server-side=true: %v\n%s", err, h.state())
	}
	d := h.deployment()
	if got := envNames(d); !slices.Equal(got, []string{"MESSAGE=moved"}) || len(d.Spec.Template.Spec.Volumes) != 1 {
		t.Errorf("server-side apply left what only client-side apply had: %v, volumes %v", got, d.Spec.Template.Spec.Volumes)
	}
	if got := operations(d, "helm"); !slices.Equal(got, []string{"Apply"}) {
		t.Errorf("helm's fields are managed by %v", got)
	}
	h.uninstall()
}

// TestHelmRefusals sees what Helm says of charts that the server refuses.
func TestHelmRefusals(t *testing.T) {
	h := newHelm(t, "refused", true, kube.HookOnlyStrategy)
	a := action.NewInstall(h.cfg)
	a.ReleaseName, a.Namespace, a.CreateNamespace, a.DryRunStrategy = h.name, h.ns, true, action.DryRunServer
	a.WaitStrategy = kube.HookOnlyStrategy
	r, err := a.RunWithContext(t.Context(), h.chart, values{"message": "only said"})
	if err != nil {
		t.Fatalf("helm install --dry-run=server: %v", err)
	}
	if m := r.(*release.Release).Manifest; !strings.Contains(m, "only said") || !strings.Contains(m, "kube-system-uid") {
		t.Error("a dry run on the server does not look up")
	}
	if _, err := h.client.CoreV1().Namespaces().Get(t.Context(), h.ns, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("a dry run made the namespace: %v", err)
	}
	// server-side apply refuses a field nobody knows; of a create, the server warns
	bad := newHelm(t, "misspelt", true, kube.StatusWatcherStrategy)
	for _, f := range bad.chart.Templates {
		if strings.HasSuffix(f.Name, "network.yaml") {
			f.Data = bytes.Replace(f.Data, []byte("targetPort: http}"), []byte("targetport: http}"), 1)
		}
	}
	a = action.NewInstall(bad.cfg)
	a.ReleaseName, a.Namespace, a.CreateNamespace, a.RollbackOnFailure = bad.name, bad.ns, true, true
	a.ServerSideApply, a.WaitStrategy, a.Timeout = true, bad.wait, helmTimeout
	_, err = a.RunWithContext(t.Context(), bad.chart, values{"everything": false})
	if err == nil || !strings.Contains(err.Error(), "targetport") {
		t.Errorf("a chart with a misspelt field: %v", err)
	}
}

// test runs the chart's test pod and reads its log.
func (h *helm) test() {
	h.t.Helper()
	a := action.NewReleaseTesting(h.cfg)
	a.Namespace, a.Timeout = h.ns, helmTimeout
	r, shutdown, err := a.Run(h.name)
	defer func() { _ = shutdown() }()
	if err != nil {
		h.t.Fatalf("helm test: %v\n%s", err, h.state())
	}
	var log bytes.Buffer
	if err := a.GetPodLogs(&log, r.(*release.Release)); err != nil || !strings.Contains(log.String(), "answered") {
		h.t.Errorf("the log of the test pod: %v\n%s", err, log.String())
	}
}

// uninstall ends the release and sees that all is gone.
func (h *helm) uninstall() {
	h.t.Helper()
	last, err := h.cfg.Releases.Last(h.name)
	if err != nil {
		h.t.Fatal(err)
	}
	list, err := h.cfg.KubeClient.Build(bytes.NewBufferString(last.(*release.Release).Manifest), false)
	if err != nil {
		h.t.Fatal(err)
	}
	a := action.NewUninstall(h.cfg)
	a.WaitStrategy, a.Timeout, a.DeletionPropagation = kube.StatusWatcherStrategy, helmTimeout, "foreground"
	if _, err := a.Run(h.name); err != nil {
		h.t.Fatalf("helm uninstall: %v\n%s", err, h.state())
	}
	for _, info := range list {
		if err := info.Get(); !apierrors.IsNotFound(err) {
			h.t.Errorf("%s %s after helm uninstall: %v", info.Mapping.GroupVersionKind.Kind, info.Name, err)
		}
	}
	pods, err := h.client.CoreV1().Pods(h.ns).List(h.t.Context(), metav1.ListOptions{LabelSelector: "app.kubernetes.io/instance=" + h.name})
	if err != nil || len(pods.Items) > 0 {
		h.t.Errorf("after helm uninstall: %d pods, %v", len(pods.Items), err)
	}
	_ = h.client.CoreV1().Namespaces().Delete(context.Background(), h.ns, metav1.DeleteOptions{})
}
