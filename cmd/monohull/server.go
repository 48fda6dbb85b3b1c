package main

import (
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/monohull/monohull/internal/cluster"
	"github.com/monohull/monohull/internal/version"
)

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:           "monohull",
		Short:         "Kubernetes in one binary",
		Long:          "Monohull is a Kubernetes cluster in one binary and one process: it needs a Linux kernel and nothing else.\n\nStart one with `monohull server`, then use it with `monohull kubectl` or any other Kubernetes client.",
		Version:       version.Release + " (Kubernetes " + version.Kubernetes + ")",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.AddCommand(newServer(), newKubectl(), newImage(), newStatus(), newCheck(), newReset())
	return root
}

func newServer() *cobra.Command {
	var cfg cluster.Config
	var serviceCIDR, clusterCIDR, level string
	cmd := &cobra.Command{
		Use:   "server",
		Short: "Run a cluster on this machine",
		Long: `Run a cluster on this machine: control plane and node in this process.

Everything it keeps lies below --data-dir. Containers outlive the process: start
it again with the same directory and it finds them. To remove every trace, use
` + "`monohull reset`" + `.`,
		Example: `  monohull server
  monohull server --data-dir ./cluster --https-port 7443 --write-kubeconfig ~/.kube/config
  monohull server --no-node --ephemeral        # a control plane alone, for tests`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			start := processStart()
			var err error
			cfg.Identity.AnonymousGiven = cmd.Flags().Changed("anonymous-auth")
			cfg.Identity.AuthorizationGiven = cmd.Flags().Changed("authorization-mode") || cmd.Flags().Changed("authorization-webhook-config-file")
			if cfg.ServiceCIDR, err = netip.ParsePrefix(serviceCIDR); err != nil {
				return fmt.Errorf("--service-cidr: %w", err)
			}
			if cfg.ClusterCIDR, err = netip.ParsePrefix(clusterCIDR); err != nil {
				return fmt.Errorf("--cluster-cidr: %w", err)
			}
			var l slog.Level
			if err := l.UnmarshalText([]byte(level)); err != nil {
				return fmt.Errorf("--log-level: %w", err)
			}
			cfg.Logger = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: l}))
			return cluster.Run(cmd.Context(), cfg, func(url string) {
				fmt.Fprintf(os.Stderr, "ready in %d ms: %s\n", time.Since(start).Milliseconds(), url)
				notifySystemd()
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&cfg.DataDir, "data-dir", defaultDataDir(), "directory of everything the server keeps")
	f.StringVar(&cfg.WriteKubeconfig, "write-kubeconfig", "", "also write the administrator's kubeconfig to this `path`")
	f.StringVar(&cfg.BindAddress, "bind-address", "0.0.0.0", "`address` the API listens on")
	f.IntVar(&cfg.Port, "https-port", cluster.DefaultPort, "`port` the API listens on")
	f.StringVar(&cfg.KubeletConfig, "kubelet-config", "", "`file` with a KubeletConfiguration of kubelet.config.k8s.io/v1beta1")
	f.StringVar(&cfg.PodManifestPath, "pod-manifest-path", "", "`directory` (or file) of static pods")
	f.StringVar(&cfg.NodeName, "node-name", "", "`name` of this node (default: the host's)")
	f.StringVar(&cfg.NodeIP, "node-ip", "", "`address` of this node (default: that of the default route's link)")
	f.BoolVar(&cfg.NoNode, "no-node", false, "run the control plane only, no pods")
	f.BoolVar(&cfg.Ephemeral, "ephemeral", false, "do not sync writes to disk: faster, for clusters that are thrown away")
	f.StringSliceVar(&cfg.Disable, "disable", nil, "`parts` to leave out: dns, proxy, scheduler, controllers")
	f.StringVar(&serviceCIDR, "service-cidr", cluster.DefaultServiceCIDR, "`network` of the services")
	f.StringVar(&clusterCIDR, "cluster-cidr", cluster.DefaultClusterCIDR, "`network` of the pods")
	f.StringVar(&cfg.ClusterDomain, "cluster-domain", cluster.DefaultDomain, "DNS `domain` of the cluster")
	f.StringSliceVar(&cfg.EtcdEndpoints, "etcd-endpoints", nil, "`URLs` of an etcd to use instead of the one inside")
	f.StringSliceVar(&cfg.TLSSANs, "tls-san", nil, "further `names` and addresses for the API's certificate")
	f.StringVar(&cfg.OldVersions, "old-api-versions", cluster.OldServed, "API versions that upstream has ceased to serve: served (to whoever names them, kubectl finds them), listed, unlisted or refused")
	f.StringSliceVar(&cfg.Admission.Enable, "enable-admission-plugins", nil, "admission `plugins` to run beside the default ones")
	f.StringSliceVar(&cfg.Admission.Disable, "disable-admission-plugins", nil, "admission `plugins` not to run")
	f.StringVar(&cfg.Admission.ConfigFile, "admission-control-config-file", "", "`file` with an AdmissionConfiguration")
	identityFlags(f, &cfg.Identity)
	protectionFlags(f, &cfg.Protection)
	f.StringVar(&level, "log-level", "info", "debug, info, warn or error")
	return cmd
}
