package cluster

import (
	"context"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	resourcev1 "k8s.io/api/resource/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apiserver/pkg/authentication/user"

	"github.com/monohull/monohull/internal/api"
	"github.com/monohull/monohull/internal/auth"
	"github.com/monohull/monohull/internal/cache"
	"github.com/monohull/monohull/internal/client"
)

// lookup shows the caches to the token verifier and the node authorizer.
type lookup struct{ c *client.Client }

func get[T api.Object](c *client.Client, namespace, name string) T {
	o, _ := client.Of[T](c).Get(namespace, name)
	return o
}

func (l lookup) ServiceAccount(ns, name string) *corev1.ServiceAccount {
	return get[*corev1.ServiceAccount](l.c, ns, name)
}
func (l lookup) Pod(ns, name string) *corev1.Pod       { return get[*corev1.Pod](l.c, ns, name) }
func (l lookup) Secret(ns, name string) *corev1.Secret { return get[*corev1.Secret](l.c, ns, name) }
func (l lookup) Node(name string) *corev1.Node         { return get[*corev1.Node](l.c, "", name) }

func (l lookup) PodsOnNode(node string) []*corev1.Pod {
	return client.Of[*corev1.Pod](l.c).ByIndex(client.ByNode, node)
}

func (l lookup) PersistentVolumeClaim(ns, name string) *corev1.PersistentVolumeClaim {
	return get[*corev1.PersistentVolumeClaim](l.c, ns, name)
}

func (l lookup) PersistentVolume(name string) *corev1.PersistentVolume {
	return get[*corev1.PersistentVolume](l.c, "", name)
}

func (l lookup) VolumeAttachment(name string) *storagev1.VolumeAttachment {
	return get[*storagev1.VolumeAttachment](l.c, "", name)
}

func (l lookup) ResourceSlice(name string) *resourcev1.ResourceSlice {
	return get[*resourcev1.ResourceSlice](l.c, "", name)
}

// rules shows the caches to the RBAC authorizer.
type rules struct {
	c      *client.Client
	caches []*cache.Cache
}

func newRules(c *client.Client) rules {
	t, s := c.Table(), c.Caches()
	return rules{c: c, caches: []*cache.Cache{
		s.Of(api.For[*rbacv1.Role](t)), s.Of(api.For[*rbacv1.ClusterRole](t)),
		s.Of(api.For[*rbacv1.RoleBinding](t)), s.Of(api.For[*rbacv1.ClusterRoleBinding](t)),
	}}
}

func (r rules) Role(ns, name string) *rbacv1.Role { return get[*rbacv1.Role](r.c, ns, name) }
func (r rules) ClusterRole(name string) *rbacv1.ClusterRole {
	return get[*rbacv1.ClusterRole](r.c, "", name)
}
func (r rules) RoleBindings(ns string) []*rbacv1.RoleBinding {
	return client.Of[*rbacv1.RoleBinding](r.c).List(ns, nil)
}
func (r rules) ClusterRoleBindings() []*rbacv1.ClusterRoleBinding {
	return client.Of[*rbacv1.ClusterRoleBinding](r.c).List("", nil)
}

// Generation adds the kinds' newest revisions: each only grows, so the sum
// changes whenever one does.
func (r rules) Generation() uint64 {
	var n int64
	for _, c := range r.caches {
		n += c.LastChange()
	}
	return uint64(n)
}

// roleGuard keeps writers of RBAC objects from granting more than they have.
type roleGuard struct{ auth.Escalation }

func (g roleGuard) Check(ctx context.Context, u user.Info, obj, old api.Object) error {
	switch o := obj.(type) {
	case *rbacv1.Role:
		was, _ := old.(*rbacv1.Role)
		return g.Role(ctx, u, o.Name, o, was)
	case *rbacv1.ClusterRole:
		was, _ := old.(*rbacv1.ClusterRole)
		return g.ClusterRole(ctx, u, o.Name, o, was)
	case *rbacv1.RoleBinding:
		was, _ := old.(*rbacv1.RoleBinding)
		return g.RoleBinding(ctx, u, o, was)
	case *rbacv1.ClusterRoleBinding:
		was, _ := old.(*rbacv1.ClusterRoleBinding)
		return g.ClusterRoleBinding(ctx, u, o, was)
	}
	return nil
}

// services shows the caches to the proxy and to DNS.
type services struct {
	c       *client.Client
	changed chan struct{} // holds one token when something changed
}

func newServices(c *client.Client) *services { return &services{c: c, changed: make(chan struct{}, 1)} }

// run watches for changes until ctx ends.
func (s *services) run(ctx context.Context) error {
	notify := func() {
		select {
		case s.changed <- struct{}{}:
		default:
		}
	}
	done := make(chan error, 1)
	go func() {
		done <- client.Of[*corev1.Service](s.c).Follow(ctx, func([]client.Change[*corev1.Service]) { notify() })
	}()
	err := client.Of[*discoveryv1.EndpointSlice](s.c).Follow(ctx, func([]client.Change[*discoveryv1.EndpointSlice]) { notify() })
	if other := <-done; err == nil {
		err = other
	}
	return err
}

func (s *services) Changed() <-chan struct{} { return s.changed }

func (s *services) Services() []*corev1.Service { return client.Of[*corev1.Service](s.c).List("", nil) }

// EndpointSlices implements proxy.Source.
func (s *services) EndpointSlices() []*discoveryv1.EndpointSlice {
	return client.Of[*discoveryv1.EndpointSlice](s.c).List("", nil)
}

// names shows the caches to DNS.
type names struct{ c *client.Client }

func (n names) Namespace(name string) bool {
	_, ok := client.Of[*corev1.Namespace](n.c).Get("", name)
	return ok
}

func (n names) Service(ns, name string) *corev1.Service { return get[*corev1.Service](n.c, ns, name) }

func (n names) ServiceByIP(ip netip.Addr) *corev1.Service {
	for _, s := range client.Of[*corev1.Service](n.c).ByIndex(client.ByClusterIP, ip.String()) {
		return s
	}
	return nil
}

func (n names) EndpointSlices(ns, svc string) []*discoveryv1.EndpointSlice {
	return client.Of[*discoveryv1.EndpointSlice](n.c).ByIndex(client.ByService, ns+"/"+svc)
}

func (n names) EndpointSlicesByIP(ip netip.Addr) []*discoveryv1.EndpointSlice {
	return client.Of[*discoveryv1.EndpointSlice](n.c).ByIndex(client.ByEndpointIP, ip.String())
}
