package controllers

import (
	"context"
	"log/slog"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/utils/clock"

	"github.com/monohull/monohull/internal/api"
	"github.com/monohull/monohull/internal/client"
)

// Deps is what the areas' constructors need from the cluster.
type Deps struct {
	// Client gives a client that acts as the service account of that name in
	// kube-system.
	Client func(controllerName string) *client.Client
	Clock  clock.PassiveClock
	Log    *slog.Logger
	// Recorder gives the recorder of a component. Its events are written
	// through the client.
	Recorder func(component string, c *client.Client) Recorder

	// RootCA is the PEM bundle that serves kube-root-ca.crt.
	RootCA []byte
	// ClusterCIDRs is where nodes get their pod addresses from, one range per
	// address family. Empty: nodes get none.
	ClusterCIDRs []netip.Prefix
}

// Recorder tells users what was done to an object and why. It does not block
// and does not fail: events that cannot be kept are dropped.
type Recorder interface {
	// Event records one event; eventType is Normal or Warning.
	Event(ctx context.Context, obj api.Object, eventType, reason, message string)
}

// NamespaceEnds tells whether a write failed because its namespace is being
// deleted: trying again is of no use.
func NamespaceEnds(err error) bool {
	return apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause)
}
