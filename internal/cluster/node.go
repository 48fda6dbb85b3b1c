package cluster

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"path/filepath"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/monohull/monohull/internal/api"
	"github.com/monohull/monohull/internal/apiserver/streams"
	"github.com/monohull/monohull/internal/client"
	"github.com/monohull/monohull/internal/dns"
	"github.com/monohull/monohull/internal/kubelet"
	"github.com/monohull/monohull/internal/kubelet/machine"
	"github.com/monohull/monohull/internal/network"
	"github.com/monohull/monohull/internal/proxy"
	"github.com/monohull/monohull/internal/runtime"
	"github.com/monohull/monohull/internal/runtime/image/sample"
	"github.com/monohull/monohull/internal/scheduler"
	"github.com/monohull/monohull/internal/version"
)

// nodeReadyTimeout bounds the wait for the node at start; a node that takes
// longer goes on getting ready behind the ready line.
const nodeReadyTimeout = 30 * time.Second

const controlPlaneLabel = "node-role.kubernetes.io/control-plane"

func (c *cluster) runScheduler(ctx context.Context) {
	cl := c.admin.AsUser("system:kube-scheduler")
	s := scheduler.New(scheduler.Config{Clock: c.clock, Seed: uint64(c.clock.Now().UnixNano()), Logger: c.cfg.Logger},
		scheduler.Deps{Client: cl, Recorder: c.events.Recorder(scheduler.DefaultName, cl)})
	c.run("scheduler", func() error { return s.Run(ctx) })
}

// startNode starts this machine's node and returns when it is ready.
func (c *cluster) startNode(ctx context.Context, ctl *control) error {
	log := c.cfg.Logger
	netConfig := c.networkConfig()
	if err := writeState(c.cfg.DataDir, state{PodCIDR: netConfig.PodCIDR, DNS: dnsAddress(&c.cfg)}); err != nil {
		return err
	}
	net, err := network.New(netConfig)
	if err != nil {
		return fmt.Errorf("cluster: %w", err)
	}
	if err := net.Setup(ctx); err != nil {
		return fmt.Errorf("cluster: setting up the pods' network: %w", err)
	}
	rt, err := runtime.New(runtime.Config{DataDir: c.cfg.DataDir, CgroupParent: cgroupRoot(c.cfg.DataDir), Logger: log, Network: net, Version: version.Release})
	if err != nil {
		return fmt.Errorf("cluster: starting the container runtime: %w", err)
	}
	c.run("runtime", func() error { return rt.Run(ctx) })
	if err := importSample(ctx, rt); err != nil {
		log.Warn("cluster: the sample application's image could not be imported", "error", err)
	}
	if err := forgetDead(ctx, rt, net); err != nil {
		return err
	}
	drain := c.startServices(ctx)
	host, err := machine.New()
	if err != nil {
		return fmt.Errorf("cluster: reading the machine: %w", err)
	}
	options, err := c.kubeletOptions()
	if err != nil {
		return fmt.Errorf("cluster: %w", err)
	}
	k, err := kubelet.New(kubelet.Config{
		Options: &options, Port: options.Kubelet.Port,
		NodeName: c.cfg.NodeName, NodeIPs: []string{c.cfg.NodeIP}, DataDir: filepath.Join(c.cfg.DataDir, "kubelet"),
		LogDir: filepath.Join(c.cfg.DataDir, "logs", "pods"), ClusterDNS: c.clusterDNS(), ClusterDomain: c.cfg.ClusterDomain,
		CgroupRoot: cgroupRoot(c.cfg.DataDir),
		Version:    version.GitVersion(), Logger: log,
	}, kubelet.Deps{
		Client: c.nodeClient(), Runtime: rt, Images: rt, Streams: runtimeStreams{rt.Streams(), rt}, Tokens: c.podToken, Host: host, Drain: drain,
	})
	if err != nil {
		return fmt.Errorf("cluster: starting the kubelet: %w", err)
	}
	c.run("kubelet", func() error { return k.Run(ctx) })
	if *options.Kubelet.EnableServer {
		c.run("kubelet server", func() error { return c.serveKubelet(ctx, ctl, k, options) })
	}
	var backend streams.Backend = nodeStreams{k}
	ctl.backend.Store(&backend)
	c.run("cri", func() error { return rt.Serve(ctx, filepath.Join(c.cfg.DataDir, "cri.sock")) })
	c.run("admin", func() error { return c.serveAdmin(ctx, rt) })
	select {
	case <-k.Ready():
		return c.markControlPlane(ctx)
	case <-ctx.Done():
	case <-time.After(nodeReadyTimeout):
		log.Warn("cluster: the node is not ready yet; `monohull kubectl describe node` tells why", "node", c.cfg.NodeName)
	}
	return nil
}

// markControlPlane gives this server's node the label of its role, which a
// kubelet may not give itself.
func (c *cluster) markControlPlane(ctx context.Context) error {
	_, err := client.Of[*corev1.Node](c.admin).Modify(ctx, "", c.cfg.NodeName, "", func(n *corev1.Node) error {
		metav1.SetMetaDataLabel(&n.ObjectMeta, controlPlaneLabel, "")
		return nil
	})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("cluster: labelling this server's node: %w", err)
	}
	return nil
}

func (c *cluster) networkConfig() network.Config {
	pods := c.cfg.podCIDR()
	if n, ok := client.Of[*corev1.Node](c.admin).Get("", c.cfg.NodeName); ok {
		if p, err := netip.ParsePrefix(n.Spec.PodCIDR); err == nil {
			pods = p
		}
	}
	return network.Config{DataDir: c.cfg.DataDir, PodCIDR: pods, ClusterCIDR: c.cfg.ClusterCIDR, ServiceCIDR: c.cfg.ServiceCIDR, Logger: c.cfg.Logger}
}

func (c *cluster) nodeClient() *client.Client {
	return c.admin.AsUser("system:node:"+c.cfg.NodeName, "system:nodes")
}

func (c *cluster) clusterDNS() []string {
	if c.cfg.disabled(PartDNS) {
		return nil
	}
	return []string{dnsAddress(&c.cfg).String()}
}

// startServices starts the proxy and DNS, and returns the kubelet's Drain.
func (c *cluster) startServices(ctx context.Context) func(context.Context, *corev1.Pod) {
	source := newServices(c.admin)
	c.run("services", func() error { return source.run(ctx) })
	var vips []netip.Addr
	if !c.cfg.disabled(PartDNS) {
		vips = append(vips, dnsAddress(&c.cfg))
		d, err := dns.New(dns.Config{Domain: c.cfg.ClusterDomain, Addrs: vips, Source: names{c.admin}, Logger: c.cfg.Logger})
		c.run("dns", func() error {
			if err != nil {
				return err
			}
			return d.Run(ctx)
		})
	}
	if c.cfg.disabled(PartProxy) {
		return nil
	}
	slices := c.caches.Of(api.For[*discoveryv1.EndpointSlice](c.admin.Table()))
	p, err := proxy.New(proxy.Config{
		NodeName: c.cfg.NodeName, NodeAddresses: []netip.Addr{netip.MustParseAddr(c.cfg.NodeIP)}, ClusterCIDR: c.cfg.ClusterCIDR,
		ServiceCIDRs: []netip.Prefix{c.cfg.ServiceCIDR}, LocalVIPs: vips, Source: source, Revision: slices.LastChange, Logger: c.cfg.Logger,
	})
	c.run("proxy", func() error {
		if err != nil {
			return err
		}
		return p.Run(ctx)
	})
	if err != nil {
		return nil
	}
	return func(ctx context.Context, pod *corev1.Pod) { drain(ctx, slices, pod, p.Applied) }
}

// importSample puts the sample application's image into the store, once.
func importSample(ctx context.Context, rt *runtime.Runtime) error {
	archive := sample.Archive()
	if archive == nil {
		return errors.New("this binary was built without it")
	}
	if _, err := rt.Images().Find(sample.Name); err == nil {
		return nil
	}
	_, err := rt.Images().Import(ctx, bytes.NewReader(archive))
	return err
}

// forgetDead gives back the addresses of sandboxes that are gone.
func forgetDead(ctx context.Context, rt *runtime.Runtime, net *network.Network) error {
	list, err := rt.ListPodSandbox(ctx, &runtimeapi.ListPodSandboxRequest{})
	if err != nil {
		return fmt.Errorf("cluster: asking the runtime for its sandboxes: %w", err)
	}
	var live []string
	for _, s := range list.Items {
		live = append(live, s.Id)
	}
	if err := net.Reconcile(live); err != nil {
		return fmt.Errorf("cluster: reclaiming pod addresses: %w", err)
	}
	return nil
}

// cgroupRoot is the control group of everything a data directory's node runs.
func cgroupRoot(dataDir string) string {
	if dataDir == DefaultDataDir {
		return "/monohull"
	}
	sum := sha256.Sum256([]byte(dataDir))
	return "/monohull-" + hex.EncodeToString(sum[:4])
}

// podToken asks the API for a pod's token, as the node.
func (c *cluster) podToken(ctx context.Context, namespace, account string, pod *corev1.Pod, audience string, ttl time.Duration) (string, time.Time, error) {
	cl := c.nodeClient()
	seconds := int64(ttl / time.Second)
	req := &authenticationv1.TokenRequest{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: account},
		Spec: authenticationv1.TokenRequestSpec{
			ExpirationSeconds: &seconds,
			BoundObjectRef:    &authenticationv1.BoundObjectReference{Kind: "Pod", APIVersion: "v1", Name: pod.Name, UID: pod.UID},
		},
	}
	if audience != "" {
		req.Spec.Audiences = []string{audience}
	}
	r := cl.Request(api.For[*corev1.ServiceAccount](cl.Table()), namespace, account, "token")
	it, err := cl.Writer().Create(ctx, r, req)
	if err != nil {
		return "", time.Time{}, err
	}
	st := it.Obj.(*authenticationv1.TokenRequest).Status
	return st.Token, st.ExpirationTimestamp.Time, nil
}

// runtimeStreams and nodeStreams translate between the rooms: each names the
// little it needs of the other in its own types.
type runtimeStreams struct {
	s  runtime.Streams
	rt *runtime.Runtime
}

func resized[From, To any](ctx context.Context, in <-chan From, conv func(From) To) <-chan To {
	if in == nil {
		return nil
	}
	out := make(chan To)
	go func() {
		defer close(out)
		for {
			select {
			case v, ok := <-in:
				if !ok {
					return
				}
				select {
				case out <- conv(v):
				case <-ctx.Done():
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}()
	return out
}

func toRuntime(s kubelet.Size) runtime.Size { return runtime.Size(s) }
func toKubelet(s streams.Size) kubelet.Size { return kubelet.Size(s) }

func (r runtimeStreams) Exec(ctx context.Context, id string, cmd []string, tty bool, stdin io.Reader, stdout, stderr io.Writer, resize <-chan kubelet.Size) (int, error) {
	return r.s.Exec(ctx, id, cmd, tty, stdin, stdout, stderr, resized(ctx, resize, toRuntime))
}

func (r runtimeStreams) Attach(ctx context.Context, id string, stdin io.Reader, stdout, stderr io.Writer, resize <-chan kubelet.Size) error {
	return r.s.Attach(ctx, id, stdin, stdout, stderr, resized(ctx, resize, toRuntime))
}

func (r runtimeStreams) PortForward(ctx context.Context, id string, port int32, stream io.ReadWriteCloser) error {
	return r.s.PortForward(ctx, id, port, stream)
}

// maxNews bounds the runtime's news that wait for the kubelet; the runtime
// tells of any it could not keep.
const maxNews = 64

func (r runtimeStreams) Events(ctx context.Context) <-chan kubelet.Event {
	types := map[runtime.EventType]kubelet.EventType{
		runtime.ContainerStarted: kubelet.ContainerStarted, runtime.ContainerExited: kubelet.ContainerExited,
		runtime.SandboxDied: kubelet.SandboxDied, runtime.EventsLost: kubelet.EventsLost,
	}
	in, out := r.rt.Events(ctx), make(chan kubelet.Event, maxNews)
	go func() {
		defer close(out)
		for e := range in {
			t, ok := types[e.Type]
			if !ok {
				continue
			}
			select {
			case out <- kubelet.Event{Type: t, SandboxID: e.SandboxID, ContainerID: e.ContainerID}:
			case <-ctx.Done():
				return
			}
		}
	}()
	return out
}

type nodeStreams struct{ k *kubelet.Kubelet }

func (n nodeStreams) Exec(ctx context.Context, ns, pod, container string, cmd []string, tty bool, stdin io.Reader, stdout, stderr io.Writer, resize <-chan streams.Size) (int, error) {
	return n.k.Exec(ctx, ns, pod, container, cmd, tty, stdin, stdout, stderr, resized(ctx, resize, toKubelet))
}

func (n nodeStreams) Attach(ctx context.Context, ns, pod, container string, _ bool, stdin io.Reader, stdout, stderr io.Writer, resize <-chan streams.Size) error {
	return n.k.Attach(ctx, ns, pod, container, stdin, stdout, stderr, resized(ctx, resize, toKubelet))
}

func (n nodeStreams) PortForward(ctx context.Context, ns, pod string, port int32, stream io.ReadWriteCloser) error {
	return n.k.PortForward(ctx, ns, pod, port, stream)
}

func (n nodeStreams) Logs(ctx context.Context, ns, pod, container string, o *corev1.PodLogOptions, w io.Writer) error {
	return n.k.Logs(ctx, ns, pod, container, o, w)
}
