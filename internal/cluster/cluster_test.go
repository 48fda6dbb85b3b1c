package cluster

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/monohull/monohull/internal/store/storetest"
)

func TestConfigIsRefusedWithWhatToDo(t *testing.T) {
	for want, c := range map[string]Config{
		"overlap; give pods and services networks": {ServiceCIDR: netip.MustParsePrefix("10.244.8.0/24")},
		"is too small: it needs at least 16":       {ServiceCIDR: netip.MustParsePrefix("10.9.0.0/29")},
		"name the node with --node-name":           {NodeName: "Not_A_Name"},
		"there is no such part; there are dns":     {Disable: []string{"sun"}},
	} {
		if err := c.complete(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
	c := Config{NodeName: "n"}
	if err := c.complete(); err != nil || c.DataDir != DefaultDataDir || c.ServiceCIDR.String() != DefaultServiceCIDR || c.NodeIP == "" {
		t.Errorf("the defaults are %+v, %v", c, err)
	}
}

func TestClusterWithoutANodeStartsServesAndStops(t *testing.T) {
	for _, c := range []struct {
		name string
		etcd func(*testing.T) []string
	}{
		{"etcd inside", func(*testing.T) []string { return nil }},
		{"etcd over the network", func(t *testing.T) []string { return []string{storetest.ServeEtcd(t)} }},
	} {
		t.Run(c.name, func(t *testing.T) { startTwice(t, c.etcd(t)) })
	}
}

// startTwice starts a server, uses it, and starts it again on the same data.
func startTwice(t *testing.T, etcd []string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	l.Close()
	dir := t.TempDir()
	for _, start := range []string{"first", "again on the same data"} {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		ready, done := make(chan struct{}), make(chan error, 1)
		go func() {
			done <- Run(ctx, Config{
				DataDir: dir, BindAddress: "127.0.0.1", NodeIP: "192.0.2.10", Port: port, NoNode: true, Ephemeral: true, EtcdEndpoints: etcd,
				Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
			}, func(string) { close(ready) })
		}()
		select {
		case <-ready:
		case err := <-done:
			t.Fatalf("%s: it ended: %v", start, err)
		}
		kubeconfig, err := os.ReadFile(KubeconfigPath(dir))
		if err != nil {
			t.Fatal(err)
		}
		conf, err := clientcmd.RESTConfigFromKubeConfig(kubeconfig)
		if err != nil {
			t.Fatal(err)
		}
		cs, err := kubernetes.NewForConfig(conf)
		if err != nil {
			t.Fatal(err)
		}
		for _, ns := range []string{"default", "kube-system", "kube-public", "kube-node-lease"} {
			if _, err := cs.CoreV1().Namespaces().Get(ctx, ns, metav1.GetOptions{}); err != nil {
				t.Errorf("%s: %v", start, err)
			}
		}
		if svc, err := cs.CoreV1().Services("default").Get(ctx, "kubernetes", metav1.GetOptions{}); err != nil || svc.Spec.ClusterIP != "10.96.0.1" {
			t.Errorf("%s: the service of the API is %v, %v", start, svc.Spec.ClusterIP, err)
		}
		if _, err := cs.CoreV1().ConfigMaps("default").Get(ctx, "kept", metav1.GetOptions{}); start == "first" && !apierrors.IsNotFound(err) || start != "first" && err != nil {
			t.Errorf("%s: the config map made at the first start: %v", start, err)
		}
		if start == "first" {
			if _, err := cs.CoreV1().ConfigMaps("default").Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "kept"}}, metav1.CreateOptions{}); err != nil {
				t.Error(err)
			}
		}
		cancel()
		if err := <-done; err != nil {
			t.Errorf("%s: it ended with %v", start, err)
		}
	}
}
