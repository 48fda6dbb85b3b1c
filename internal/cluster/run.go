package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"k8s.io/utils/clock"

	"github.com/monohull/monohull/internal/api/all"
	"github.com/monohull/monohull/internal/cache"
	"github.com/monohull/monohull/internal/client"
	"github.com/monohull/monohull/internal/controllers/fairness"
	"github.com/monohull/monohull/internal/controllers/identity"
	"github.com/monohull/monohull/internal/controllers/record"
	"github.com/monohull/monohull/internal/pki"
	"github.com/monohull/monohull/internal/store"
)

const (
	dirMode = 0o700
	// compactInterval is how often old revisions are forgotten, upstream's.
	compactInterval = 5 * time.Minute
)

// cluster is what the parts share while they run.
type cluster struct {
	cfg    Config
	clock  clock.WithTicker
	certs  *pki.Bundle
	store  store.Store
	caches *cache.Set
	admin  *client.Client // the server's own identity
	events *record.Sink

	group // every part's Run
}

// Run runs a server until ctx ends or a part of it fails. ready, which may be
// nil, is called once the API answers and, if there is one, the node is ready.
func Run(ctx context.Context, cfg Config, ready func(url string)) error {
	if err := cfg.complete(); err != nil {
		return err
	}
	c := &cluster{cfg: cfg, clock: clock.RealClock{}}
	ctx, c.cancel = context.WithCancelCause(ctx)
	defer c.cancel(nil)
	err := c.start(ctx, ready)
	if err != nil {
		c.cancel(err)
	} else {
		<-ctx.Done()
	}
	c.wait()
	if c.store != nil {
		if e := c.store.Close(); err == nil {
			err = e
		}
	}
	if err == nil {
		err = c.failure()
	}
	return err
}

// start is the list of everything, in order.
func (c *cluster) start(ctx context.Context, ready func(string)) error {
	if err := os.MkdirAll(c.cfg.DataDir, dirMode); err != nil {
		return fmt.Errorf("cluster: making the data directory: %w", err)
	}
	listener, err := net.Listen("tcp", net.JoinHostPort(c.cfg.BindAddress, strconv.Itoa(c.cfg.Port)))
	if err != nil {
		return fmt.Errorf("cluster: listening for the API: %w; is another server running?", err)
	}
	defer func() {
		if err != nil {
			listener.Close()
		}
	}()
	c.cfg.Port = listener.Addr().(*net.TCPAddr).Port
	if err = c.openStoreAndCertificates(ctx); err != nil {
		return err
	}
	table := all.Table()
	sealed, err := c.sealStore(ctx, table)
	if err != nil {
		return err
	}
	c.caches = cache.NewSet(cache.Config{
		Store: c.store, Table: table, Indexes: client.Indexes(table), Shared: len(c.cfg.EtcdEndpoints) > 0, Logger: c.cfg.Logger,
	})
	c.run("cache", func() error { return c.caches.Run(ctx) })
	select {
	case <-c.caches.Loaded():
	case <-ctx.Done():
		err = context.Cause(ctx)
		return err
	}
	var control *control
	if control, err = c.newControl(ctx, sealed); err != nil {
		return err
	}
	c.run("api", func() error { return control.server.Run(ctx, listener, c.certs.ServerTLS()) })
	endpoint := netip.AddrPortFrom(netip.MustParseAddr(c.cfg.NodeIP), uint16(c.cfg.Port))
	if err = bootstrap(ctx, c.admin, &c.cfg, endpoint, identity.JoinObjects("https://"+endpoint.String(), c.certs.CA.PEM())); err != nil {
		return err
	}
	if err = fairness.Ensure(ctx, c.admin); err != nil {
		return fmt.Errorf("cluster: making the levels of priority and fairness: %w", err)
	}
	if err = c.writeKubeconfig(); err != nil {
		return err
	}
	control.bootstrapped.Store(true)
	c.runControllers(ctx, control)
	c.run("compaction", func() error { return c.compact(ctx) })
	if !c.cfg.NoNode {
		if err = c.startNode(ctx, control); err != nil {
			return err
		}
	}
	if ready != nil {
		ready(c.url())
	}
	return nil
}

func (c *cluster) url() string {
	host := c.cfg.BindAddress
	if host == "" || host == "0.0.0.0" || host == "::" {
		host = "127.0.0.1"
	}
	return "https://" + net.JoinHostPort(host, strconv.Itoa(c.cfg.Port))
}

// openStoreAndCertificates does both at once: each is a good part of a start.
func (c *cluster) openStoreAndCertificates(ctx context.Context) error {
	certs := make(chan error, 1)
	go func() {
		b, err := pki.Ensure(c.cfg.DataDir, pki.Options{
			NodeName: c.cfg.NodeName, NodeIPs: []net.IP{net.ParseIP(c.cfg.NodeIP)}, ServiceIP: first(c.cfg.ServiceCIDR, 1).AsSlice(),
			ClusterDomain: c.cfg.ClusterDomain, ExtraSANs: append([]string{"localhost", "127.0.0.1"}, c.cfg.TLSSANs...),
		})
		c.certs = b
		certs <- err
	}()
	var err error
	if len(c.cfg.EtcdEndpoints) > 0 {
		c.store, err = asStore(store.DialEtcd(ctx, store.RemoteOptions{Endpoints: c.cfg.EtcdEndpoints}))
	} else {
		c.store, err = asStore(store.OpenEtcd(ctx, store.EtcdOptions{Dir: filepath.Join(c.cfg.DataDir, "etcd"), NoSync: c.cfg.Ephemeral}))
	}
	return errors.Join(err, <-certs)
}

// asStore keeps a failed store from becoming an interface that is not nil.
func asStore[S store.Store](s S, err error) (store.Store, error) {
	if err != nil {
		return nil, err
	}
	return s, nil
}

func (c *cluster) writeKubeconfig() error {
	data, err := c.certs.AdminKubeconfig(c.url())
	if err != nil {
		return fmt.Errorf("cluster: making the administrator's kubeconfig: %w", err)
	}
	paths := []string{KubeconfigPath(c.cfg.DataDir)}
	if c.cfg.WriteKubeconfig != "" {
		paths = append(paths, c.cfg.WriteKubeconfig)
	}
	for _, p := range paths {
		if err := pki.WriteKubeconfig(p, data); err != nil {
			return fmt.Errorf("cluster: writing the administrator's kubeconfig: %w", err)
		}
	}
	return nil
}

// KubeconfigPath is where a server keeps its administrator's kubeconfig.
func KubeconfigPath(dataDir string) string { return filepath.Join(dataDir, "admin.kubeconfig") }

// compact forgets what was current an interval ago. Watches and lists do not
// need it: they live on the caches.
func (c *cluster) compact(ctx context.Context) error {
	t := c.clock.NewTicker(compactInterval)
	defer t.Stop()
	last := int64(0)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C():
		}
		if last > 0 {
			if err := c.store.Compact(ctx, last); err != nil && !errors.Is(err, store.ErrCompacted) && ctx.Err() == nil {
				c.cfg.Logger.Warn("cluster: old revisions could not be compacted", "error", err)
			}
		}
		last = c.caches.Rev()
	}
}

// group runs the parts: the first that fails ends the others.
type group struct {
	cancel context.CancelCauseFunc
	wg     sync.WaitGroup
	mu     sync.Mutex
	err    error
}

func (g *group) run(name string, part func() error) {
	g.wg.Go(func() {
		if err := part(); err != nil && !errors.Is(err, context.Canceled) {
			err = fmt.Errorf("%s: %w", name, err)
			g.mu.Lock()
			if g.err == nil {
				g.err = err
			}
			g.mu.Unlock()
			g.cancel(err)
		}
	})
}

func (g *group) wait() { g.wg.Wait() }

func (g *group) failure() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.err
}
