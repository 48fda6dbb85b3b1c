package cluster

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"github.com/monohull/monohull/internal/apiserver/streams"
	"github.com/monohull/monohull/internal/kubelet"
	"github.com/monohull/monohull/internal/kubelet/config"
	"github.com/monohull/monohull/internal/kubelet/server"
	"github.com/monohull/monohull/internal/pki"
)

// kubeletOptions reads the kubelet's configuration file, with what the command line
// says over it.
func (c *cluster) kubeletOptions() (config.Options, error) {
	o, err := config.Load(c.cfg.KubeletConfig)
	if err == nil && c.cfg.PodManifestPath != "" {
		o.Kubelet.StaticPodPath = c.cfg.PodManifestPath
	}
	return o, err
}

// serveKubelet serves the kubelet's API on its own port. A port that is taken leaves
// the node without it: the API server does not need it.
func (c *cluster) serveKubelet(ctx context.Context, ctl *control, k *kubelet.Kubelet, o config.Options) error {
	l, err := net.Listen("tcp", net.JoinHostPort(o.Kubelet.Address, strconv.Itoa(int(o.Kubelet.Port))))
	if err != nil {
		c.cfg.Logger.Warn("cluster: the kubelet's API is not served", "error", err)
		return nil
	}
	s, err := server.New(server.Config{NodeName: c.cfg.NodeName, Kubelet: o.Kubelet, Logger: c.cfg.Logger},
		server.Deps{Authenticator: kubeletGuard{ctl.identities}, Authorizer: kubeletGuard{ctl.identities}, Node: k, Stats: k, Streams: kubeletStreams{nodeStreams{k}}, Metrics: k.Metrics()})
	if err != nil {
		l.Close()
		return err
	}
	return s.Run(ctx, l, c.certs.KubeletTLS())
}

// kubeletGuard asks this server who a request is from and what they may, without a
// review over the network.
type kubeletGuard struct{ id *identities }

func (g kubeletGuard) Authenticate(r *http.Request) (user.Info, bool, error) {
	res, ok, err := g.id.authn.AuthenticateRequest(r)
	if err != nil || !ok || res.User.GetName() == user.Anonymous {
		return nil, false, err
	}
	return res.User, true, nil
}

func (g kubeletGuard) Authorize(ctx context.Context, who user.Info, want server.Access) (bool, string, error) {
	d, reason, err := g.id.authz.Authorize(ctx, authorizer.AttributesRecord{
		User: who, Verb: want.Verb, APIVersion: "v1", Resource: "nodes", Subresource: want.Subresource, Name: want.Node, ResourceRequest: true, Path: want.Path,
	})
	return d == authorizer.DecisionAllow, reason, err
}

type kubeletStreams struct{ b streams.Backend }

func (s kubeletStreams) Exec(w http.ResponseWriter, r *http.Request, p *corev1.Pod, o *corev1.PodExecOptions) {
	streams.Exec(w, r, p, o, s.b)
}

func (s kubeletStreams) Attach(w http.ResponseWriter, r *http.Request, p *corev1.Pod, o *corev1.PodAttachOptions) {
	streams.Attach(w, r, p, o, s.b)
}

func (s kubeletStreams) PortForward(w http.ResponseWriter, r *http.Request, p *corev1.Pod, o *corev1.PodPortForwardOptions) {
	streams.PortForward(w, r, p, o, s.b)
}

// kubeletClientTLS is how this server speaks to kubelets: HTTP/1.1, since streams are
// upgraded connections.
func kubeletClientTLS(certs *pki.Bundle) *tls.Config {
	t := certs.ClientTLS(certs.KubeletClient)
	t.NextProtos = []string{"http/1.1"}
	return t
}
