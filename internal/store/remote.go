package store

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

// Remote is an etcd cluster over the network.
type Remote struct {
	requests
	client *clientv3.Client
}

// RemoteOptions configures DialEtcd.
type RemoteOptions struct {
	Endpoints []string
	TLS       *tls.Config // nil for http endpoints
	Logger    *zap.Logger
}

// DialEtcd connects, and fails where no endpoint answers within 10 s.
func DialEtcd(ctx context.Context, o RemoteOptions) (*Remote, error) {
	if o.Logger == nil {
		o.Logger = zap.NewNop()
	}
	c, err := clientv3.New(clientv3.Config{
		Endpoints: o.Endpoints, TLS: o.TLS, Logger: o.Logger, DialTimeout: 10 * time.Second,
		DialKeepAliveTime: 30 * time.Second, DialKeepAliveTimeout: 10 * time.Second,
		MaxCallSendMsgSize: 2 * MaxValueBytes, MaxCallRecvMsgSize: 1 << 30,
	})
	if err != nil {
		return nil, fmt.Errorf("store: connecting to etcd at %v: %w", o.Endpoints, err)
	}
	conn := c.ActiveConnection()
	r := &Remote{requests: requests{remoteKV{pb.NewKVClient(conn)}}, client: c}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if _, err := r.Revision(ctx); err != nil {
		c.Close()
		return nil, fmt.Errorf("store: etcd at %v does not answer: %w", o.Endpoints, err)
	}
	return r, nil
}

// remoteKV drops the call options of the generated client.
type remoteKV struct{ c pb.KVClient }

func (r remoteKV) Range(ctx context.Context, q *pb.RangeRequest) (*pb.RangeResponse, error) {
	return r.c.Range(ctx, q)
}

func (r remoteKV) Txn(ctx context.Context, q *pb.TxnRequest) (*pb.TxnResponse, error) {
	return r.c.Txn(ctx, q)
}

func (r remoteKV) Compact(ctx context.Context, q *pb.CompactionRequest) (*pb.CompactionResponse, error) {
	return r.c.Compact(ctx, q)
}

// Watch implements Store.
func (r *Remote) Watch(ctx context.Context, prefix string, from int64, handle func(Batch)) error {
	ctx, cancel := context.WithCancel(clientv3.WithRequireLeader(ctx))
	defer cancel()
	for res := range r.client.Watch(ctx, prefix, clientv3.WithPrefix(), clientv3.WithRev(from), clientv3.WithProgressNotify()) {
		if err := res.Err(); err != nil {
			return fmt.Errorf("store: watching %s: %w", prefix, translate(err))
		}
		b := Batch{Rev: res.Header.Revision}
		for _, e := range res.Events {
			ev := Event{Key: string(e.Kv.Key), Rev: e.Kv.ModRevision, Deleted: e.Type == clientv3.EventTypeDelete}
			if !ev.Deleted {
				ev.Value = e.Kv.Value
			}
			b.Events = append(b.Events, ev)
		}
		if n := len(b.Events); n > 0 {
			b.Rev = b.Events[n-1].Rev
		}
		handle(b)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return errors.New("store: the watch was closed")
}

// RequestProgress asks for the watches to say how far they are, though nothing
// they watch has changed.
func (r *Remote) RequestProgress(ctx context.Context) error {
	return r.client.RequestProgress(clientv3.WithRequireLeader(ctx))
}

// Close ends the connection.
func (r *Remote) Close() error { return r.client.Close() }
