package admission

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/utils/clock"

	"github.com/monohull/monohull/internal/client"
)

// NodeRestriction keeps kubelets to what is theirs. It is off by default, as
// upstream's is, and belongs with the node authorizer.
const NodeRestriction = "NodeRestriction"

// Deps is what plugins need.
type Deps struct {
	// Client reads the caches.
	Client *client.Client
	// Writer gives the client that writes the status of quotas, and namespaces.
	// It is asked at the first write: the pipeline is made after the chain.
	Writer func() *client.Client
	// Authorizer answers what a user may do beyond the request itself. Nil says
	// no to everything.
	Authorizer authorizer.Authorizer
	Clock      clock.PassiveClock
	Logger     *slog.Logger
	// Reservations, where set, are shared with the quota controller.
	Reservations *Reservations
	// Others are plugins of other rooms by their names in the order, for those
	// this room does not make: webhooks and policies. They are on where they are
	// given, unless Config disables them.
	Others map[string]Plugin
}

// step is one place in the chain.
type step struct {
	name string
	on   bool // by default
	make func(d Deps, config []byte) (Plugin, error)
}

func plain(f func(Deps) Plugin) func(Deps, []byte) (Plugin, error) {
	return func(d Deps, _ []byte) (Plugin, error) { return f(d), nil }
}

// order is upstream's. A step without make is a plugin of another room, or one
// whose feature is off by default in v1.36: its name is known.
func order() []step {
	return []step{
		{"AlwaysAdmit", false, plain(alwaysAdmit)},
		{"NamespaceAutoProvision", false, plain(namespaceAutoProvision)},
		{"NamespaceLifecycle", true, plain(namespaceLifecycle)},
		{"NamespaceExists", false, plain(namespaceExists)},
		{"LimitPodHardAntiAffinityTopology", false, plain(limitAntiAffinity)},
		{"LimitRanger", true, plain(limitRanger)},
		{"ServiceAccount", true, plain(serviceAccount)},
		{NodeRestriction, false, plain(nodeRestriction)},
		{"TaintNodesByCondition", true, plain(taintNodes)},
		{"AlwaysPullImages", false, plain(alwaysPullImages)},
		{"ImagePolicyWebhook", false, nil},
		{"PodSecurity", true, podSecurity},
		{"PodNodeSelector", false, podNodeSelector},
		{"Priority", true, plain(priority)},
		{"DefaultTolerationSeconds", true, plain(defaultTolerationSeconds)},
		{"PodTolerationRestriction", false, podTolerationRestriction},
		{"EventRateLimit", false, eventRateLimit},
		{"ExtendedResourceToleration", false, plain(extendedResourceToleration)},
		{"DefaultStorageClass", true, plain(defaultStorageClass)},
		{"StorageObjectInUseProtection", true, plain(storageProtection)},
		{"PodGroupProtection", true, nil},
		{"OwnerReferencesPermissionEnforcement", false, plain(ownerReferences)},
		{"PersistentVolumeClaimResize", true, plain(claimResize)},
		{"RuntimeClass", true, plain(runtimeClass)},
		{"CertificateApproval", true, plain(certificateApproval)},
		{"CertificateSigning", true, plain(certificateSigning)},
		{"ClusterTrustBundleAttest", true, nil},
		{"CertificateSubjectRestriction", true, plain(certificateSubject)},
		{"DefaultIngressClass", true, plain(defaultIngressClass)},
		{"DenyServiceExternalIPs", false, plain(denyExternalIPs)},
		{"PodTopologyLabels", true, plain(podTopologyLabels)},
		{"PodGroupWorkloadExists", true, nil},
		{"NodeDeclaredFeatureValidator", true, plain(nodeFeatures)},
		{"JobValidation", true, nil},
		{"PodResizeValidator", true, plain(podResize)},
		{"MutatingAdmissionPolicy", true, nil},
		{"MutatingAdmissionWebhook", true, nil},
		{"ValidatingAdmissionPolicy", true, nil},
		{"ValidatingAdmissionWebhook", true, nil},
		{"ResourceQuota", true, resourceQuota},
		{"AlwaysDeny", false, plain(alwaysDeny)},
	}
}

// Names lists every plugin in the order of the chain, and whether it is on by
// default.
func Names() (names []string, on []bool) {
	for _, s := range order() {
		names, on = append(names, s.name), append(on, s.on)
	}
	return names, on
}

// New makes the chain that a configuration asks for.
func New(cfg Config, d Deps) ([]Plugin, error) {
	if d.Clock == nil {
		d.Clock = clock.RealClock{}
	}
	if d.Logger == nil {
		d.Logger = slog.New(slog.DiscardHandler)
	}
	if d.Authorizer == nil {
		d.Authorizer = denyAll
	}
	steps := order()
	if err := cfg.check(steps); err != nil {
		return nil, err
	}
	var chain []Plugin
	for _, s := range steps {
		on := (s.on || slices.Contains(cfg.Enable, s.name)) && !slices.Contains(cfg.Disable, s.name)
		if !on {
			continue
		}
		if s.make == nil {
			if p, ok := d.Others[s.name]; ok {
				p.Name = s.name
				chain = append(chain, p)
			}
			continue
		}
		p, err := s.make(d, cfg.Plugins[s.name])
		if err != nil {
			return nil, fmt.Errorf("admission: failed to initialize admission plugin %q: %w", s.name, err)
		}
		p.Name = s.name
		chain = append(chain, p)
	}
	return chain, nil
}

// Chain makes the default chain for a client that reads and writes, without an
// authorizer.
func Chain(c *client.Client) []Plugin {
	chain, err := New(Config{}, Deps{Client: c, Writer: func() *client.Client { return c }})
	if err != nil {
		panic(err) // the defaults are part of the program
	}
	return chain
}

// check refuses names that are not known, and those both enabled and disabled.
func (c *Config) check(steps []step) error {
	known := func(n string) bool { return slices.ContainsFunc(steps, func(s step) bool { return s.name == n }) }
	for flag, list := range map[string][]string{"enable-admission-plugins": c.Enable, "disable-admission-plugins": c.Disable} {
		for _, n := range list {
			if !known(n) {
				return fmt.Errorf("admission: %s plugin %q is unknown", flag, n)
			}
		}
	}
	var twice []string
	for _, n := range c.Enable {
		if slices.Contains(c.Disable, n) {
			twice = append(twice, n)
		}
	}
	if len(twice) > 0 {
		return fmt.Errorf("admission: %s in enable-admission-plugins and disable-admission-plugins overlapped", strings.Join(twice, ","))
	}
	return nil
}
