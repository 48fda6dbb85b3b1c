package apiserver

import (
	"crypto/tls"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	utilproxy "k8s.io/apimachinery/pkg/util/proxy"

	"github.com/monohull/monohull/internal/api"
)

const (
	proxyDialTimeout = 30 * time.Second
	maxIdleProxied   = 16
)

// newProxyTransport reaches pods and nodes for clients outside the cluster
// network. Whoever answers there is not verified: the address is the cluster's
// own, and what a pod's certificate should say nobody can know.
func newProxyTransport(t *tls.Config) *http.Transport {
	if t == nil {
		t = &tls.Config{InsecureSkipVerify: true}
	}
	return &http.Transport{
		DialContext:         (&net.Dialer{Timeout: proxyDialTimeout, KeepAlive: proxyDialTimeout}).DialContext,
		TLSClientConfig:     t,
		MaxIdleConnsPerHost: maxIdleProxied,
		IdleConnTimeout:     90 * time.Second,
		DisableCompression:  true,
	}
}

// proxy passes a request on to a pod, to a pod of a service, or to a node.
func (c *call) proxy() error {
	scheme, name, port, ok := utilnet.SplitSchemeNamePort(c.name)
	if !ok {
		return apierrors.NewBadRequest(fmt.Sprintf("invalid %s request %q", c.kind.Singular, c.name))
	}
	target := target{scheme: scheme, name: name, port: port}
	var to *url.URL
	var err error
	switch c.kind.Plural {
	case "pods":
		to, err = c.toPod(target)
	case "services":
		to, err = c.toService(target)
	case "nodes":
		to, err = c.toNode(target)
	}
	if err != nil {
		return err
	}
	if err := c.connect(); err != nil {
		return err
	}
	_, rest, _ := strings.Cut(c.req.URL.Path, "/"+c.plural+"/"+c.name+"/proxy")
	to.Path = utilnet.JoinPreservingTrailingSlash(to.Path, rest)
	req := c.req.Clone(c.req.Context())
	req.Header.Del("Authorization") // it was for this server
	via := c.s.proxied
	if c.kind.Plural == "nodes" && c.isKubelet(target) {
		via = c.s.kubelets // as ourselves, and to nobody else
	}
	h := utilproxy.NewUpgradeAwareHandler(to, via, true, false, proxyErrors{c.s})
	h.ServeHTTP(c.w, req)
	return nil
}

// isKubelet tells whether a node's own kubelet is meant, by its port or by none.
func (c *call) isKubelet(t target) bool {
	obj, err := c.named("nodes", t.name)
	return err == nil && (t.port == "" || t.port == strconv.Itoa(int(obj.(*corev1.Node).Status.DaemonEndpoints.KubeletEndpoint.Port)))
}

// proxyErrors answers for those who cannot be reached.
type proxyErrors struct{ s *Server }

func (p proxyErrors) Error(w http.ResponseWriter, req *http.Request, err error) {
	p.s.fail(w, req, apierrors.NewServiceUnavailable(fmt.Sprintf("error trying to reach service: %v", err)))
}

// target is what "https:web:8443" names.
type target struct{ scheme, name, port string }

// named finds an object of the core group in the request's namespace.
func (c *call) named(plural, name string) (api.Object, error) {
	k := c.s.Table.ByResource(corev1.SchemeGroupVersion.WithResource(plural))
	it := c.s.Caches.Of(k).Get(k.Key(c.namespace, name))
	if it == nil {
		return nil, apierrors.NewNotFound(k.GroupResource(), name)
	}
	return it.Obj, nil
}

func (c *call) toPod(t target) (*url.URL, error) {
	obj, err := c.named("pods", t.name)
	if err != nil {
		return nil, err
	}
	pod := obj.(*corev1.Pod)
	port := t.port
	for i := 0; port == "" && i < len(pod.Spec.Containers); i++ {
		if ports := pod.Spec.Containers[i].Ports; len(ports) > 0 {
			port = strconv.Itoa(int(ports[0].ContainerPort))
		}
	}
	ip := pod.Status.PodIP
	if ip == "" && len(pod.Status.PodIPs) > 0 {
		ip = pod.Status.PodIPs[0].IP
	}
	return address(t.scheme, ip, port)
}

// address is where to go; only addresses that a cluster hands out are allowed.
func address(scheme, ip, port string) (*url.URL, error) {
	a, err := netip.ParseAddr(ip)
	if err != nil || !a.IsGlobalUnicast() {
		return nil, apierrors.NewBadRequest("address not allowed")
	}
	host := ip
	switch {
	case port != "":
		host = net.JoinHostPort(ip, port)
	case a.Is6():
		host = "[" + ip + "]"
	}
	if scheme == "" {
		scheme = "http"
	}
	return &url.URL{Scheme: scheme, Host: host}, nil
}

// toService picks one of the service's ready pods at random.
func (c *call) toService(t target) (*url.URL, error) {
	portName := t.port
	if number, err := strconv.ParseInt(t.port, 10, 64); err == nil {
		obj, err := c.named("services", t.name)
		if err != nil {
			return nil, err
		}
		found := false
		for _, p := range obj.(*corev1.Service).Spec.Ports {
			if int64(p.Port) == number {
				portName, found = p.Name, true
				break
			}
		}
		if !found {
			return nil, apierrors.NewServiceUnavailable(fmt.Sprintf("no service port %d found for service %q", number, t.name))
		}
	}
	obj, err := c.named("endpoints", t.name)
	if err != nil {
		return nil, err
	}
	var choices []*url.URL
	for _, s := range obj.(*corev1.Endpoints).Subsets {
		for _, p := range s.Ports {
			if p.Name != portName {
				continue
			}
			for _, a := range s.Addresses {
				if a.TargetRef == nil || a.TargetRef.Kind != "Pod" {
					continue // where it leads is whatever somebody wrote
				}
				pod, err := c.named("pods", a.TargetRef.Name)
				if err != nil || pod.(*corev1.Pod).Status.PodIP != a.IP {
					continue
				}
				if u, err := address(t.scheme, a.IP, strconv.Itoa(int(p.Port))); err == nil {
					choices = append(choices, u)
				}
			}
		}
	}
	if len(choices) == 0 {
		return nil, apierrors.NewServiceUnavailable(fmt.Sprintf("no endpoints available for service %q", c.name))
	}
	return choices[rand.IntN(len(choices))], nil
}

func (c *call) toNode(t target) (*url.URL, error) {
	obj, err := c.named("nodes", t.name)
	if err != nil {
		return nil, err
	}
	node := obj.(*corev1.Node)
	ip := ""
	for _, a := range node.Status.Addresses {
		if a.Type == corev1.NodeInternalIP {
			ip = a.Address
			break
		}
	}
	kubelet := strconv.Itoa(int(node.Status.DaemonEndpoints.KubeletEndpoint.Port))
	if t.port == "" || t.port == kubelet {
		if kubelet == "0" {
			return nil, apierrors.NewServiceUnavailable(fmt.Sprintf("node %q serves no kubelet API", t.name))
		}
		return address("https", ip, kubelet)
	}
	return address(t.scheme, ip, t.port)
}
