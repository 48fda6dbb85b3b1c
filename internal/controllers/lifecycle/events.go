package lifecycle

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/monohull/monohull/internal/api"
	"github.com/monohull/monohull/internal/client"
	"github.com/monohull/monohull/internal/controllers"
)

// eventLife is how long an event is kept after it last happened. Upstream lets
// etcd forget it; here the store knows nothing of kinds.
const eventLife = time.Hour

func eventExpiry(deps controllers.Deps) *controllers.Controller {
	// upstream has no such controller, and so no account: the collector's may
	// delete anything
	c := deps.Client("generic-garbage-collector")
	events := client.Of[*corev1.Event](c)
	return &controllers.Controller{
		Name: "event-expiry", Client: c, Workers: 1,
		Inputs:  []controllers.Input{controllers.On[*corev1.Event](nil)},
		Outputs: []controllers.Output{{Kind: api.For[*corev1.Event]}},
		Reconcile: func(ctx context.Context, key controllers.Key) (time.Duration, error) {
			e, ok := events.Get(key.Namespace, key.Name)
			if !ok {
				return 0, nil
			}
			if left := lastHappened(e).Add(eventLife).Sub(deps.Clock.Now()); left > 0 {
				return left, nil
			}
			err := events.Delete(ctx, key.Namespace, key.Name, metav1.DeleteOptions{
				Preconditions: &metav1.Preconditions{UID: &e.UID, ResourceVersion: &e.ResourceVersion},
			})
			if apierrors.IsConflict(err) {
				return 0, nil // it happened again meanwhile: that change wakes us
			}
			return 0, err
		},
	}
}

// lastHappened is the newest time that an event carries.
func lastHappened(e *corev1.Event) time.Time {
	t := e.CreationTimestamp.Time
	for _, o := range []time.Time{e.LastTimestamp.Time, e.EventTime.Time} {
		if o.After(t) {
			t = o
		}
	}
	if e.Series != nil && e.Series.LastObservedTime.After(t) {
		t = e.Series.LastObservedTime.Time
	}
	return t
}
