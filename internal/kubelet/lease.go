package kubelet

import (
	"context"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// The node's heartbeat, upstream's values.
const (
	leaseRetry = time.Second
	// leaseParts: it is renewed so many times within its life.
	leaseParts = 4
)

// keepLease renews the node's lease until ctx ends.
func (k *Kubelet) keepLease(ctx context.Context) error {
	failed := false
	for {
		err := k.renewLease(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil && !failed {
			k.log.Warn("kubelet: the node's lease was not renewed; it is tried again", "error", err)
		}
		failed = err != nil
		next := time.Duration(k.opts.Kubelet.NodeLeaseDurationSeconds) * time.Second / leaseParts
		if failed {
			next = leaseRetry
		}
		t := time.NewTimer(next)
		select {
		case <-ctx.Done():
		case <-t.C:
		}
		t.Stop()
	}
}

func (k *Kubelet) renewLease(ctx context.Context) error {
	ns, name := corev1.NamespaceNodeLease, k.cfg.NodeName
	fill := func(l *coordinationv1.Lease) error {
		seconds, now := k.opts.Kubelet.NodeLeaseDurationSeconds, metav1.NewMicroTime(k.cfg.Now())
		l.Spec.HolderIdentity, l.Spec.LeaseDurationSeconds, l.Spec.RenewTime = &name, &seconds, &now
		if len(l.OwnerReferences) == 0 {
			if node, ok := k.nodes.Get("", name); ok {
				l.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: name, UID: node.UID}}
			}
		}
		return nil
	}
	if _, ok := k.leases.Get(ns, name); ok {
		_, err := k.leases.Modify(ctx, ns, name, "", fill)
		if !apierrors.IsNotFound(err) {
			return err
		}
	}
	l := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name}}
	if err := fill(l); err != nil {
		return err
	}
	_, err := k.leases.Create(ctx, l)
	return err
}
