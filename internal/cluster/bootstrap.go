package cluster

import (
	"context"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"sync"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/monohull/monohull/internal/api"
	"github.com/monohull/monohull/internal/api/apiregistration"
	"github.com/monohull/monohull/internal/auth"
	"github.com/monohull/monohull/internal/client"
)

// bootstrapWorkers bounds the writes under way while the first objects are
// made.
const bootstrapWorkers = 32

// bootstrap makes the objects every cluster begins with, and brings those up
// to date that the server keeps.
// joining are the objects that machines which join look for.
func bootstrap(ctx context.Context, c *client.Client, cfg *Config, endpoint netip.AddrPort, joining []api.Object) error {
	for _, ns := range append(auth.BootstrapNamespaces(), corev1.NamespaceNodeLease, metav1.NamespaceDefault) {
		if err := ensure(ctx, c, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ns}}); err != nil {
			return err
		}
	}
	var jobs []func() error
	for _, o := range auth.BootstrapObjects() {
		jobs = append(jobs, func() error { return reconcileRBAC(ctx, c, o) })
	}
	for _, o := range append(systemObjects(cfg, endpoint), joining...) {
		jobs = append(jobs, func() error { return ensure(ctx, c, o) })
	}
	for _, s := range apiregistration.Local(servedGroups(c.Table())) {
		jobs = append(jobs, func() error { return ensure(ctx, c, s) })
	}
	if err := parallel(jobs); err != nil {
		return err
	}
	if err := serveRange(ctx, c); err != nil {
		return err
	}
	return publishEndpoint(ctx, c, endpoint)
}

// servedGroups are the group versions of the table, and those that only answer
// questions.
func servedGroups(t *api.Table) []schema.GroupVersion {
	return append(slices.Clone(t.GroupVersions()), authenticationv1.SchemeGroupVersion, authorizationv1.SchemeGroupVersion)
}

// serveRange says that addresses for services are given out of the cluster's
// range.
func serveRange(ctx context.Context, c *client.Client) error {
	_, err := client.Of[*networkingv1.ServiceCIDR](c).Modify(ctx, "", "kubernetes", "status", func(s *networkingv1.ServiceCIDR) error {
		if apimeta.IsStatusConditionTrue(s.Status.Conditions, networkingv1.ServiceCIDRConditionReady) {
			return nil
		}
		apimeta.SetStatusCondition(&s.Status.Conditions, metav1.Condition{
			Type: networkingv1.ServiceCIDRConditionReady, Status: metav1.ConditionTrue, Message: "Kubernetes default Service CIDR is ready",
		})
		return nil
	})
	if err != nil {
		return fmt.Errorf("cluster: declaring the range of services: %w", err)
	}
	return nil
}

func parallel(jobs []func() error) error {
	next := make(chan func() error)
	errs := make(chan error, len(jobs))
	var wg sync.WaitGroup
	for range bootstrapWorkers {
		wg.Go(func() {
			for job := range next {
				if err := job(); err != nil {
					errs <- err
				}
			}
		})
	}
	for _, j := range jobs {
		next <- j
	}
	close(next)
	wg.Wait()
	select {
	case err := <-errs:
		return err
	default:
		return nil
	}
}

// ensure makes an object unless it is there.
func ensure(ctx context.Context, c *client.Client, o api.Object) error {
	k := c.Table().Of(reflect.TypeOf(o))
	if c.Caches().Of(k).Get(k.Key(o.GetNamespace(), o.GetName())) != nil {
		return nil
	}
	_, err := c.Writer().Create(ctx, c.Request(k, o.GetNamespace(), o.GetName(), ""), o)
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("cluster: making %s %s: %w", k.Singular, o.GetName(), err)
	}
	return nil
}

// reconcileRBAC makes a bootstrap role or binding, or adds what it lacks.
func reconcileRBAC(ctx context.Context, c *client.Client, want runtime.Object) error {
	o := want.(api.Object)
	k := c.Table().Of(reflect.TypeOf(o))
	it := c.Caches().Of(k).Get(k.Key(o.GetNamespace(), o.GetName()))
	if it == nil {
		return ensure(ctx, c, o)
	}
	out, change := auth.Reconcile(it.Obj, want)
	r := c.Request(k, o.GetNamespace(), o.GetName(), "")
	var err error
	switch change {
	case auth.ChangeUpdate:
		_, err = c.Writer().Update(ctx, r, out.(api.Object))
	case auth.ChangeRecreate:
		if _, err = c.Writer().Delete(ctx, r, metav1.DeleteOptions{}); err == nil {
			err = ensure(ctx, c, out.(api.Object))
		}
	}
	if err != nil {
		return fmt.Errorf("cluster: updating %s %s: %w", k.Singular, o.GetName(), err)
	}
	return nil
}

// systemObjects are the services and classes that are upstream's in every
// cluster.
func systemObjects(cfg *Config, endpoint netip.AddrPort) []api.Object {
	tcp, udp := corev1.ProtocolTCP, corev1.ProtocolUDP
	critical := func(name string, value int32, description string) *schedulingv1.PriorityClass {
		return &schedulingv1.PriorityClass{ObjectMeta: metav1.ObjectMeta{Name: name}, Value: value, Description: description}
	}
	list := []api.Object{
		critical("system-cluster-critical", 2000000000, "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary."),
		critical("system-node-critical", 2000001000, "Used for system critical pods that must not be moved from their current node."),
		&corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceDefault, Name: "kubernetes", Labels: map[string]string{"component": "apiserver", "provider": "kubernetes"}},
			Spec: corev1.ServiceSpec{
				ClusterIP: first(cfg.ServiceCIDR, 1).String(),
				Ports:     []corev1.ServicePort{{Name: "https", Protocol: tcp, Port: 443, TargetPort: intstr.FromInt32(int32(endpoint.Port()))}},
			},
		},
		&networkingv1.ServiceCIDR{
			ObjectMeta: metav1.ObjectMeta{Name: "kubernetes"},
			Spec:       networkingv1.ServiceCIDRSpec{CIDRs: []string{cfg.ServiceCIDR.String()}},
		},
		&rbacv1.ClusterRoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: "kubeadm:cluster-admins"},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "cluster-admin"},
			Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.GroupKind, Name: "kubeadm:cluster-admins"}},
		},
	}
	if !cfg.disabled(PartDNS) {
		list = append(list, &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{
				Namespace: metav1.NamespaceSystem, Name: "kube-dns",
				Labels: map[string]string{"k8s-app": "kube-dns", "kubernetes.io/cluster-service": "true", "kubernetes.io/name": "CoreDNS"},
			},
			Spec: corev1.ServiceSpec{
				ClusterIP: dnsAddress(cfg).String(),
				Ports: []corev1.ServicePort{
					{Name: "dns", Protocol: udp, Port: 53, TargetPort: intstr.FromInt32(53)},
					{Name: "dns-tcp", Protocol: tcp, Port: 53, TargetPort: intstr.FromInt32(53)},
				},
			},
		})
	}
	return list
}

// dnsAddress is where cluster DNS answers: the tenth address of the services.
func dnsAddress(cfg *Config) netip.Addr { return first(cfg.ServiceCIDR, 10) }

// publishEndpoint puts this server behind the service kubernetes.
func publishEndpoint(ctx context.Context, c *client.Client, at netip.AddrPort) error {
	name, port, tcp, ready := "https", int32(at.Port()), corev1.ProtocolTCP, true
	meta := metav1.ObjectMeta{Namespace: metav1.NamespaceDefault, Name: "kubernetes", Labels: map[string]string{discoveryv1.LabelSkipMirror: "true"}}
	ep := &corev1.Endpoints{ //nolint:staticcheck // clients still read it
		ObjectMeta: meta,
		Subsets: []corev1.EndpointSubset{{ //nolint:staticcheck
			Addresses: []corev1.EndpointAddress{{IP: at.Addr().String()}},             //nolint:staticcheck
			Ports:     []corev1.EndpointPort{{Name: name, Port: port, Protocol: tcp}}, //nolint:staticcheck
		}},
	}
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: metav1.NamespaceDefault, Name: "kubernetes", Labels: map[string]string{discoveryv1.LabelServiceName: "kubernetes"}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Endpoints:   []discoveryv1.Endpoint{{Addresses: []string{at.Addr().String()}, Conditions: discoveryv1.EndpointConditions{Ready: &ready}}},
		Ports:       []discoveryv1.EndpointPort{{Name: &name, Port: &port, Protocol: &tcp}},
	}
	if err := ensure(ctx, c, ep.DeepCopy()); err != nil {
		return err
	}
	if err := ensure(ctx, c, slice.DeepCopy()); err != nil {
		return err
	}
	_, err := client.Of[*corev1.Endpoints](c).Modify(ctx, "default", "kubernetes", "", func(o *corev1.Endpoints) error { //nolint:staticcheck
		o.Subsets = ep.Subsets
		return nil
	})
	if err != nil {
		return fmt.Errorf("cluster: publishing this server as an endpoint: %w", err)
	}
	_, err = client.Of[*discoveryv1.EndpointSlice](c).Modify(ctx, "default", "kubernetes", "", func(o *discoveryv1.EndpointSlice) error {
		o.Endpoints, o.Ports = slice.Endpoints, slice.Ports
		return nil
	})
	if err != nil {
		return fmt.Errorf("cluster: publishing this server as an endpoint: %w", err)
	}
	return nil
}
