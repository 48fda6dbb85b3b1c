package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apiserver/pkg/authentication/user"

	"github.com/monohull/monohull/internal/admission"
	"github.com/monohull/monohull/internal/api"
	"github.com/monohull/monohull/internal/api/all"
	"github.com/monohull/monohull/internal/apiserver"
	"github.com/monohull/monohull/internal/apiserver/streams"
	"github.com/monohull/monohull/internal/auth"
	"github.com/monohull/monohull/internal/client"
	"github.com/monohull/monohull/internal/controllers"
	"github.com/monohull/monohull/internal/controllers/certificates"
	"github.com/monohull/monohull/internal/controllers/fairness"
	"github.com/monohull/monohull/internal/controllers/identity"
	"github.com/monohull/monohull/internal/controllers/lifecycle"
	"github.com/monohull/monohull/internal/controllers/node"
	"github.com/monohull/monohull/internal/controllers/protection"
	"github.com/monohull/monohull/internal/controllers/quota"
	"github.com/monohull/monohull/internal/controllers/record"
	"github.com/monohull/monohull/internal/controllers/service"
	"github.com/monohull/monohull/internal/controllers/workload"
	"github.com/monohull/monohull/internal/pipeline"
	"github.com/monohull/monohull/internal/store/encrypt"
)

// serverUser is whom the server itself writes as.
var serverUser = &user.DefaultInfo{Name: user.APIServerUser, Groups: []string{user.SystemPrivilegedGroup, user.AllAuthenticated}}

// control is the control plane.
type control struct {
	server       *apiserver.Server
	tokens       *auth.TokenIssuer
	identities   *identities
	reservations *admission.Reservations
	bootstrapped atomic.Bool
	backend      atomic.Pointer[streams.Backend] // of this server's node
}

// newControl wires the API: identity, pipeline, server.
func (c *cluster) newControl(ctx context.Context, sealed *encrypt.Store) (*control, error) {
	table := all.Table()
	reader := client.New(table, c.caches, nil, serverUser)
	address := net.JoinHostPort(c.cfg.NodeIP, strconv.Itoa(c.cfg.Port))
	id, err := c.newIdentities(ctx, reader, address)
	if err != nil {
		return nil, fmt.Errorf("cluster: %w", err)
	}
	services := pipeline.NewAllocator(c.cfg.ServiceCIDR, pipeline.DefaultNodePorts)
	services.Load(c.caches.Of(api.For[*corev1.Service](table)).Snapshot())
	reservations := admission.NewReservations()
	chain, err := c.newAdmission(reader, id.authz, reservations)
	if err != nil {
		return nil, err
	}
	writer := pipeline.New(pipeline.Config{
		Table: table, Store: c.store, Caches: c.caches, Authorizer: id.authz, Admission: chain, Services: services,
		Tokens: id.tokens, Roles: roleGuard{auth.Escalation{RBAC: id.rbac, Authorizer: id.authz}}, Clock: c.clock, Logger: c.cfg.Logger,
	})
	c.admin = client.New(table, c.caches, writer, serverUser)
	c.events = record.New(c.clock, c.cfg.Logger)

	ctl := &control{tokens: id.tokens, identities: id, reservations: reservations}
	registry := prometheus.NewRegistry()
	conf := apiserver.Config{
		Table: table, Caches: c.caches, Writer: writer, Authenticator: id.authn, Authorizer: id.authz, Rules: id.authz,
		KubeletTLS: kubeletClientTLS(c.certs), Streams: ctl.streamsOf, Connect: writer.Connect, Checks: c.checks(ctl), Computed: c.computed(),
		ListOldVersions: c.cfg.OldVersions == OldListed, HideOldVersions: c.cfg.OldVersions == OldUnlisted, RefuseOldVersions: c.cfg.OldVersions == OldRefused,
		Metrics:       promhttp.HandlerFor(prometheus.Gatherers{registry, prometheus.DefaultGatherer}, promhttp.HandlerOpts{}),
		OIDCDiscovery: id.discovery, OIDCKeys: id.keys, Address: address, Clock: c.clock, Logger: c.cfg.Logger,
	}
	if sealed != nil {
		conf.Checks = append(conf.Checks, apiserver.Check{Name: sealed.CheckName(), Probe: sealed.Check})
		registry.MustRegister(sealed.Collectors()...)
	}
	protection, err := c.protect(ctx, &conf)
	if err != nil {
		return nil, err
	}
	registry.MustRegister(protection...)
	ctl.server = apiserver.New(conf)
	registry.MustRegister(ctl.server.Collectors()...)
	return ctl, nil
}

// checks are the lines of the health reports.
func (c *cluster) checks(ctl *control) []apiserver.Check {
	return []apiserver.Check{
		{Name: "ping", Probe: func(context.Context) error { return nil }},
		{Name: "etcd", Probe: func(ctx context.Context) error {
			_, err := c.store.Revision(ctx)
			return err
		}},
		{Name: "informer-sync", ReadyOnly: true, Probe: func(context.Context) error {
			select {
			case <-c.caches.Loaded():
				return nil
			default:
				return errors.New("the object caches are still loading")
			}
		}},
		{Name: "poststarthook/rbac/bootstrap-roles", Probe: func(context.Context) error {
			if !ctl.bootstrapped.Load() {
				return errors.New("not finished")
			}
			return nil
		}},
	}
}

// streamsOf finds the node that runs a pod.
func (ctl *control) streamsOf(pod *corev1.Pod) (streams.Backend, error) {
	b := ctl.backend.Load()
	if b == nil {
		return nil, apierrors.NewInternalError(fmt.Errorf("no kubelet of this cluster can be reached for pod %s", pod.Name))
	}
	return *b, nil
}

// runControllers starts the control loops and the scheduler.
func (c *cluster) runControllers(ctx context.Context, ctl *control) {
	c.run("events", func() error { return c.events.Run(ctx) })
	deps := controllers.Deps{
		Client: func(name string) *client.Client {
			return c.admin.AsUser("system:serviceaccount:kube-system:"+name, "system:serviceaccounts", "system:serviceaccounts:kube-system")
		},
		Clock: c.clock, Log: c.cfg.Logger, Recorder: c.events.Recorder,
		RootCA: c.certs.CA.PEM(), ClusterCIDRs: []netip.Prefix{c.cfg.ClusterCIDR},
	}
	if !c.cfg.disabled(PartController) {
		id, cfg := ctl.identities, &c.cfg.Identity
		list := controlLoops(deps, loopConfig{
			tokens:       identity.Config{Tokens: id.tokens, CleanUpPeriod: cfg.LegacyCleanUp, Trust: id.trust, TrustChanges: id.trustChanges},
			certificates: certificates.Config{Signers: certificates.BuiltIn(id.signer), Life: cfg.SigningDuration, Authorizer: id.authz},
			reservations: ctl.reservations,
			admin:        c.admin,
		})
		c.run("controllers", func() error { return controllers.Run(ctx, c.cfg.Logger, list) })
	}
	if !c.cfg.disabled(PartScheduler) {
		c.runScheduler(ctx)
	}
}

// loopConfig is what some controllers are made of beside what all are.
type loopConfig struct {
	tokens       identity.Config
	certificates certificates.Config
	reservations *admission.Reservations
	admin        *client.Client
}

// controlLoops lists every controller.
func controlLoops(deps controllers.Deps, cfg loopConfig) []*controllers.Controller {
	var list []*controllers.Controller
	for _, area := range []func(controllers.Deps) []*controllers.Controller{
		workload.Controllers, service.Controllers, lifecycle.Controllers, identity.Controllers, node.Controllers, protection.Controllers,
		func(d controllers.Deps) []*controllers.Controller { return identity.TokenControllers(d, cfg.tokens) },
		func(d controllers.Deps) []*controllers.Controller {
			return certificates.Controllers(d, cfg.certificates)
		},
		func(d controllers.Deps) []*controllers.Controller { return fairness.Controllers(d, cfg.admin) },
		func(d controllers.Deps) []*controllers.Controller { return quota.Controllers(d, cfg.reservations) },
	} {
		list = append(list, area(deps)...)
	}
	return list
}
