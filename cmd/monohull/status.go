package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/monohull/monohull/internal/cluster"
)

const statusTimeout = 10 * time.Second

func newStatus() *cobra.Command {
	var dataDir string
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Tell how the cluster on this machine is",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(c.Context(), statusTimeout)
			defer cancel()
			return status(ctx, dataDir, c.OutOrStdout())
		},
	}
	cmd.Flags().StringVar(&dataDir, "data-dir", defaultDataDir(), "the server's data directory")
	return cmd
}

func status(ctx context.Context, dataDir string, out io.Writer) error {
	cfg, err := clientcmd.BuildConfigFromFlags("", cluster.KubeconfigPath(dataDir))
	if err != nil {
		return fmt.Errorf("there is no cluster in %s: %w; start one with `monohull server`", dataDir, err)
	}
	cs, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		return err
	}
	v, err := cs.Discovery().ServerVersion()
	if err != nil {
		return fmt.Errorf("the server at %s does not answer: %w", cfg.Host, err)
	}
	fmt.Fprintf(out, "server   %s at %s\n", v.GitVersion, cfg.Host)
	report, err := cs.Discovery().RESTClient().Get().AbsPath("/readyz").Param("verbose", "").DoRaw(ctx)
	for _, line := range strings.Split(string(report), "\n") {
		if strings.HasPrefix(line, "[-]") {
			fmt.Fprintf(out, "         %s\n", line)
		}
	}
	if err != nil {
		return fmt.Errorf("the server is not ready: %w", err)
	}
	nodes, err := cs.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	for _, n := range nodes.Items {
		fmt.Fprintf(out, "node     %s %s\n", n.Name, readiness(&n))
	}
	pods, err := cs.CoreV1().Pods("").List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	phases := map[corev1.PodPhase]int{}
	for _, p := range pods.Items {
		phases[p.Status.Phase]++
	}
	fmt.Fprintf(out, "pods     %d running, %d pending, %d succeeded, %d failed\n",
		phases[corev1.PodRunning], phases[corev1.PodPending], phases[corev1.PodSucceeded], phases[corev1.PodFailed])
	return nil
}

func readiness(n *corev1.Node) string {
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady {
			if c.Status == corev1.ConditionTrue {
				return "ready"
			}
			return "not ready: " + c.Message
		}
	}
	return "has not reported"
}

func newCheck() *cobra.Command {
	return &cobra.Command{
		Use:   "check",
		Short: "Check that this machine can run a node",
		Args:  cobra.NoArgs,
		RunE:  func(c *cobra.Command, _ []string) error { return check(c.OutOrStdout()) },
	}
}

// check tells of each thing a node needs whether the machine has it.
func check(out io.Writer) error {
	missing := 0
	for _, x := range []struct {
		name, advice string
		probe        func() error
	}{
		{"root", "run it as root", func() error {
			if os.Geteuid() != 0 {
				return errors.New("not root")
			}
			return nil
		}},
		{"control groups", "mount cgroup2 at /sys/fs/cgroup", func() error {
			if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err == nil {
				return nil
			}
			_, err := os.Stat("/sys/fs/cgroup/memory")
			return err
		}},
		{"overlay file system", "load the kernel's overlay module", func() error { return inFile("/proc/filesystems", "overlay") }},
		{"network namespaces", "a kernel with CONFIG_NET_NS", exists("/proc/self/ns/net")},
		{"user namespaces", "a kernel with CONFIG_USER_NS", exists("/proc/self/ns/user")},
		{"nftables", "a kernel with CONFIG_NF_TABLES", func() error {
			fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_NETFILTER)
			if err != nil {
				return err
			}
			return unix.Close(fd)
		}},
		{"the API's port", "stop what listens on it, or use --https-port", func() error {
			l, err := net.Listen("tcp", fmt.Sprintf(":%d", cluster.DefaultPort))
			if err == nil {
				return l.Close()
			}
			if c, e := net.Dial("unix", cluster.SocketPath(defaultDataDir())); e == nil {
				return c.Close() // our own server has it
			}
			return err
		}},
	} {
		if err := x.probe(); err != nil {
			missing++
			fmt.Fprintf(out, "no   %s: %v; %s\n", x.name, err, x.advice)
			continue
		}
		fmt.Fprintf(out, "yes  %s\n", x.name)
	}
	if missing > 0 {
		return fmt.Errorf("%d of the things a node needs are missing", missing)
	}
	return nil
}

func exists(path string) func() error {
	return func() error {
		_, err := os.Stat(path)
		return err
	}
}

func inFile(path, word string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		for _, w := range strings.Fields(s.Text()) {
			if w == word {
				return nil
			}
		}
	}
	return fmt.Errorf("%s does not list %s", path, word)
}
