package store

import (
	"context"
	"errors"
	"fmt"
	"strings"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"go.etcd.io/etcd/server/v3/storage/mvcc"
)

// etcdKV is what both etcd stores have in common: the requests that etcd's own
// server and its client both take.
type etcdKV interface {
	Range(context.Context, *pb.RangeRequest) (*pb.RangeResponse, error)
	Txn(context.Context, *pb.TxnRequest) (*pb.TxnResponse, error)
	Compact(context.Context, *pb.CompactionRequest) (*pb.CompactionResponse, error)
}

// requests implements the store's reads and writes as etcd requests.
type requests struct{ kv etcdKV }

func (r requests) Revision(ctx context.Context) (int64, error) {
	res, err := r.kv.Range(ctx, &pb.RangeRequest{Key: []byte("/"), Limit: 1, CountOnly: true})
	if err != nil {
		return 0, fmt.Errorf("store: reading the revision: %w", translate(err))
	}
	return res.Header.Revision, nil
}

func (r requests) Range(ctx context.Context, prefix, start string, at int64, limit int) (Page, error) {
	res, err := r.kv.Range(ctx, &pb.RangeRequest{
		Key: []byte(max(prefix, start)), RangeEnd: prefixEnd(prefix), Revision: at, Limit: int64(limit),
	})
	if err != nil {
		return Page{}, fmt.Errorf("store: reading %s: %w", prefix, translate(err))
	}
	p := Page{Rev: res.Header.Revision, More: res.More, KVs: make([]KV, len(res.Kvs))}
	for i, kv := range res.Kvs {
		p.KVs[i] = KV{Key: string(kv.Key), Value: kv.Value, ModRev: kv.ModRevision}
	}
	return p, nil
}

func (r requests) Create(ctx context.Context, key string, value []byte) (int64, error) {
	if len(value) > MaxValueBytes {
		return 0, ErrTooLarge
	}
	rev, err := r.swap(ctx, key, 0, putOp(key, value))
	var c *Conflict
	if errors.As(err, &c) {
		return 0, ErrExists
	}
	return rev, err
}

func (r requests) Update(ctx context.Context, key string, value []byte, expect int64) (int64, error) {
	if len(value) > MaxValueBytes {
		return 0, ErrTooLarge
	}
	return r.swap(ctx, key, expect, putOp(key, value))
}

func (r requests) Delete(ctx context.Context, key string, expect int64) (int64, error) {
	op := &pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: &pb.DeleteRangeRequest{Key: []byte(key)}}}
	return r.swap(ctx, key, expect, op)
}

// swap runs op if key was last modified at revision expect (0: does not
// exist), else reads what is there, in one round.
func (r requests) swap(ctx context.Context, key string, expect int64, op *pb.RequestOp) (int64, error) {
	res, err := r.kv.Txn(ctx, &pb.TxnRequest{
		Compare: []*pb.Compare{{
			Key: []byte(key), Result: pb.Compare_EQUAL, Target: pb.Compare_MOD,
			TargetUnion: &pb.Compare_ModRevision{ModRevision: expect},
		}},
		Success: []*pb.RequestOp{op},
		Failure: []*pb.RequestOp{{Request: &pb.RequestOp_RequestRange{RequestRange: &pb.RangeRequest{Key: []byte(key)}}}},
	})
	if err != nil {
		return 0, fmt.Errorf("store: writing %s: %w", key, translate(err))
	}
	if res.Succeeded {
		return res.Header.Revision, nil
	}
	c := &Conflict{Current: KV{Key: key}}
	if kvs := res.Responses[0].GetResponseRange().Kvs; len(kvs) == 1 {
		c.Current.Value, c.Current.ModRev = kvs[0].Value, kvs[0].ModRevision
	}
	return 0, c
}

func (r requests) Compact(ctx context.Context, rev int64) error {
	if _, err := r.kv.Compact(ctx, &pb.CompactionRequest{Revision: rev}); err != nil {
		return fmt.Errorf("store: compacting to %d: %w", rev, translate(err))
	}
	return nil
}

func putOp(key string, value []byte) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: []byte(key), Value: value}}}
}

// prefixEnd is the first key after all keys with the prefix.
func prefixEnd(prefix string) []byte {
	end := []byte(prefix)
	for i := len(end) - 1; i >= 0; i-- {
		if end[i] < 0xff {
			end[i]++
			return end[:i+1]
		}
	}
	return []byte{0}
}

func events(in []*mvccpb.Event) []Event {
	out := make([]Event, len(in))
	for i, e := range in {
		out[i] = Event{Key: string(e.Kv.Key), Rev: e.Kv.ModRevision, Deleted: e.Type == mvccpb.Event_DELETE}
		if !out[i].Deleted {
			out[i].Value = e.Kv.Value
		}
	}
	return out
}

func translate(err error) error {
	// over the network the errors come as gRPC statuses
	err = rpctypes.Error(err)
	switch {
	case errors.Is(err, mvcc.ErrCompacted), errors.Is(err, rpctypes.ErrCompacted):
		return ErrCompacted
	case errors.Is(err, mvcc.ErrFutureRev), errors.Is(err, rpctypes.ErrFutureRev):
		return ErrFuture
	case strings.Contains(err.Error(), "too large"):
		return ErrTooLarge
	}
	return err
}
