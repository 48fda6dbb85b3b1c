package cluster

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/monohull/monohull/internal/api"
	"github.com/monohull/monohull/internal/apiserver"
	"github.com/monohull/monohull/internal/audit"
	"github.com/monohull/monohull/internal/cache"
	"github.com/monohull/monohull/internal/fairness"
	"github.com/monohull/monohull/internal/store/encrypt"
)

// Defaults of the flags.
const (
	DefaultMaxInflight         = 400
	DefaultMaxMutatingInflight = 200
	DefaultRequestTimeout      = time.Minute
	// DefaultMinWatch is half of what a watch lasts at most.
	DefaultMinWatch = 30 * time.Minute
)

// Protection is what the command line says of requests that are too many, of
// records of them, and of what is stored. Flag names are kube-apiserver's.
type Protection struct {
	MaxInflight         int  // --max-requests-inflight; zero: the default
	MaxMutatingInflight int  // --max-mutating-requests-inflight; zero: the default
	Unfair              bool // --enable-priority-and-fairness=false
	RequestTimeout      time.Duration
	MinWatch            time.Duration // --min-request-timeout
	GoawayChance        float64

	EncryptionConfig string // --encryption-provider-config
	EncryptionReload bool   // --encryption-provider-config-automatic-reload

	Audit audit.Config
}

func (p *Protection) complete() {
	if p.MaxInflight == 0 {
		p.MaxInflight = DefaultMaxInflight
	}
	if p.MaxMutatingInflight == 0 {
		p.MaxMutatingInflight = DefaultMaxMutatingInflight
	}
	if p.RequestTimeout == 0 {
		p.RequestTimeout = DefaultRequestTimeout
	}
	if p.MinWatch == 0 {
		p.MinWatch = DefaultMinWatch
	}
}

// AuditSink is what both places of audit events are told.
type AuditSink = audit.SinkConfig

// DefaultAudit is what the audit flags begin with.
func DefaultAudit() audit.Config { return audit.DefaultConfig() }

// sealStore encrypts what the configuration names, if there is one.
func (c *cluster) sealStore(ctx context.Context, table *api.Table) (*encrypt.Store, error) {
	p := &c.cfg.Protection
	if p.EncryptionConfig == "" {
		return nil, nil
	}
	s, err := encrypt.Open(ctx, c.store, encrypt.Config{
		Path: p.EncryptionConfig, Reload: p.EncryptionReload, ServerID: c.cfg.NodeName, ResourceOf: resourceOf(table), Logger: c.cfg.Logger,
	})
	if err != nil {
		return nil, fmt.Errorf("cluster: --encryption-provider-config: %w", err)
	}
	c.store = s
	c.run("encryption", func() error { return s.Run(ctx) })
	return s, nil
}

// resourceOf tells the resource of a key by the longest prefix that fits.
func resourceOf(table *api.Table) func(key string) (schema.GroupResource, bool) {
	byPrefix := map[string]schema.GroupResource{}
	for _, k := range table.Kinds() {
		byPrefix[k.Prefix] = k.GroupResource()
	}
	return func(key string) (schema.GroupResource, bool) {
		rest, ok := strings.CutPrefix(key, cache.Prefix)
		for ok {
			i := strings.LastIndexByte(rest, '/')
			if i < 0 {
				break
			}
			rest = rest[:i]
			if gr, found := byPrefix[rest]; found {
				return gr, true
			}
		}
		return schema.GroupResource{}, false
	}
}

// protect adds what keeps requests in order to a server's configuration.
func (c *cluster) protect(ctx context.Context, s *apiserver.Config) ([]prometheus.Collector, error) {
	p := &c.cfg.Protection
	s.RequestTimeout, s.MinWatch, s.GoawayChance = p.RequestTimeout, p.MinWatch, p.GoawayChance
	var collectors []prometheus.Collector
	if p.Unfair {
		s.Inflight = fairness.NewInflight(p.MaxInflight, p.MaxMutatingInflight)
	} else {
		f := fairness.New(fairness.Config{
			Seats: p.MaxInflight + p.MaxMutatingInflight, RequestTimeout: p.RequestTimeout, Size: sizeOf(s.Table, c.caches), Logger: c.cfg.Logger,
		})
		s.Fairness = f
		collectors = append(collectors, f.Collectors()...)
		c.run("fairness", func() error { return f.Run(ctx, s.Table, c.caches) })
	}
	p.Audit.Logger = c.cfg.Logger
	log, err := audit.New(p.Audit)
	if err != nil {
		return nil, fmt.Errorf("cluster: audit: %w", err)
	}
	if log != nil {
		s.Audit = log
		collectors = append(collectors, log.Collectors()...)
		c.run("audit", func() error { return log.Run(ctx) })
	}
	return collectors, nil
}

// sizeOf tells how large a collection is, for judging what a list costs.
func sizeOf(table *api.Table, caches *cache.Set) func(group, plural string) (fairness.Size, bool) {
	kinds := map[schema.GroupResource]*api.Kind{}
	for _, k := range table.Kinds() {
		kinds[k.GroupResource()] = k
	}
	return func(group, plural string) (fairness.Size, bool) {
		k := kinds[schema.GroupResource{Group: group, Resource: plural}]
		if k == nil {
			return fairness.Size{}, false
		}
		n, bytes := caches.Of(k).Size()
		size := fairness.Size{Objects: n}
		if n > 0 {
			size.Bytes = bytes / int64(n)
		}
		return size, true
	}
}
