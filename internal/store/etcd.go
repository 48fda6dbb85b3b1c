package store

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"time"

	bolt "go.etcd.io/bbolt"
	"go.etcd.io/etcd/client/pkg/v3/types"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/config"
	"go.etcd.io/etcd/server/v3/etcdserver"
	"go.etcd.io/etcd/server/v3/features"
	"go.etcd.io/etcd/server/v3/storage/wal"
	"go.uber.org/zap"
)

// Bounds of the embedded etcd. A single member needs no patience with others:
// short ticks make it elect itself at once. Few entries are kept in memory,
// because no follower ever asks for them.
const (
	tickMs         = 60
	electionTicks  = 2
	snapshotCount  = 2000
	catchUpEntries = 100
	quotaBytes     = 8 << 30
	walSegment     = 4 << 20
	// backendInterval is how often what the log already holds is written to the
	// database file too; it bounds the replay after a crash, not what is lost.
	backendInterval = 200 * time.Millisecond
	readyTimeout    = 30 * time.Second
)

// Etcd is an etcd server inside this process, one member, without a listener.
type Etcd struct {
	requests
	server *etcdserver.EtcdServer
}

// EtcdOptions configures OpenEtcd.
type EtcdOptions struct {
	Dir    string // the data lies here
	NoSync bool   // skip fsync: for clusters that are thrown away
	Logger *zap.Logger
}

// OpenEtcd starts the server on its directory and returns when it answers a
// linearizable read.
func OpenEtcd(ctx context.Context, o EtcdOptions) (*Etcd, error) {
	if o.Logger == nil {
		o.Logger = zap.NewNop()
	}
	// the member's address is never dialed nor listened on
	urls := types.URLs{url.URL{Scheme: "http", Host: "127.0.0.1:2380"}}
	wal.SegmentSizeBytes = walSegment
	cfg := config.ServerConfig{
		Name:                        "monohull",
		ClientURLs:                  urls,
		PeerURLs:                    urls,
		DataDir:                     o.Dir,
		InitialPeerURLsMap:          types.URLsMap{"monohull": urls},
		InitialClusterToken:         "monohull",
		NewCluster:                  true,
		TickMs:                      tickMs,
		ElectionTicks:               electionTicks,
		InitialElectionTickAdvance:  true,
		BootstrapTimeout:            readyTimeout,
		SnapshotCount:               snapshotCount,
		SnapshotCatchUpEntries:      catchUpEntries,
		MaxSnapFiles:                3,
		MaxWALFiles:                 3,
		BackendBatchInterval:        backendInterval,
		BackendFreelistType:         bolt.FreelistMapType,
		QuotaBackendBytes:           quotaBytes,
		MaxTxnOps:                   128,
		MaxRequestBytes:             MaxValueBytes + 8*1024,
		WarningApplyDuration:        time.Second,
		WarningUnaryRequestDuration: 3 * time.Second,
		AuthToken:                   "simple",
		BcryptCost:                  4,
		TokenTTL:                    300,
		PreVote:                     true,
		StrictReconfigCheck:         true,
		Logger:                      o.Logger,
		UnsafeNoFsync:               o.NoSync,
		CompactionBatchLimit:        1000,
		CompactionSleepInterval:     10 * time.Millisecond,
		WatchProgressNotifyInterval: 10 * time.Minute,
		DowngradeCheckTime:          time.Hour,
		MaxLearners:                 1,
		V2Deprecation:               config.V2DeprDefault,
		ServerFeatureGate:           features.NewDefaultServerFeatureGate("monohull", o.Logger),
		Metrics:                     "basic",
	}
	s, err := etcdserver.NewServer(cfg)
	if err != nil {
		return nil, fmt.Errorf("store: opening etcd in %s: %w", filepath.Clean(o.Dir), err)
	}
	s.Start()
	e := &Etcd{requests: requests{s}, server: s}
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	for {
		if _, err = e.Revision(ctx); err == nil {
			return e, nil
		}
		select {
		case <-ctx.Done():
			s.HardStop()
			return nil, fmt.Errorf("store: etcd in %s does not become ready: %w", o.Dir, err)
		case <-time.After(time.Millisecond):
		}
	}
}

// Watch implements Store.
func (e *Etcd) Watch(ctx context.Context, prefix string, from int64, handle func(Batch)) error {
	ws := e.server.Watchable().NewWatchStream()
	defer ws.Close()
	if _, err := ws.Watch(ctx, clientv3.AutoWatchID, []byte(prefix), prefixEnd(prefix), from); err != nil {
		return fmt.Errorf("store: watching %s: %w", prefix, err)
	}
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-e.server.StopNotify():
			return errors.New("store: etcd stopped")
		case res, ok := <-ws.Chan():
			if !ok {
				return errors.New("store: the watch was closed")
			}
			if res.CompactRevision != 0 {
				return ErrCompacted
			}
			b := Batch{Events: events(res.Events), Rev: res.Revision}
			if n := len(b.Events); n > 0 {
				// a delayed response names a later revision than it holds
				b.Rev = b.Events[n-1].Rev
			}
			handle(b)
		}
	}
}

// Close stops the server after it has written what it holds.
func (e *Etcd) Close() error {
	e.server.Stop()
	return nil
}
