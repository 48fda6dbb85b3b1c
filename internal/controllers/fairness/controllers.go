package fairness

import (
	"context"
	"errors"
	"fmt"
	"time"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/monohull/monohull/internal/api"
	"github.com/monohull/monohull/internal/api/flowcontrol"
	"github.com/monohull/monohull/internal/cache"
	"github.com/monohull/monohull/internal/client"
	"github.com/monohull/monohull/internal/controllers"
)

const (
	// ensureInterval is how often the bootstrap objects are looked at.
	ensureInterval = time.Minute
	// Names of upstream's field managers.
	producer = "api-priority-and-fairness-config-producer-v1"
	consumer = "api-priority-and-fairness-config-consumer-v1"
)

// Controllers are the control loops of this area. They act as the server
// itself, as upstream's do: c is its client.
func Controllers(deps controllers.Deps, c *client.Client) []*controllers.Controller {
	return []*controllers.Controller{ensurer(c), statuses(deps, c)}
}

// Ensure makes the bootstrap objects what they should be. A server does so
// before it says that it is ready.
func Ensure(ctx context.Context, c *client.Client) error {
	wanted := map[string]bool{}
	for _, o := range flowcontrol.Bootstrap() {
		k := kindOf(c, o)
		wanted[k.Plural+"/"+o.GetName()] = true
		if err := ensure(ctx, c, k, o); err != nil {
			return err
		}
	}
	for _, k := range []*api.Kind{api.For[*flowcontrolv1.FlowSchema](c.Table()), api.For[*flowcontrolv1.PriorityLevelConfiguration](c.Table())} {
		for _, o := range list(c, k) {
			if wanted[k.Plural+"/"+o.GetName()] || !leftOver(o) {
				continue
			}
			uid, rv := o.GetUID(), o.GetResourceVersion()
			_, err := c.Writer().Delete(ctx, request(c, k, o.GetName(), "", producer), metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid, ResourceVersion: &rv}})
			if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
				return fmt.Errorf("deleting %s %s, which no cluster begins with any more: %w", k.GVK.Kind, o.GetName(), err)
			}
		}
	}
	return nil
}

func kindOf(c *client.Client, o api.Object) *api.Kind {
	if _, ok := o.(*flowcontrolv1.FlowSchema); ok {
		return api.For[*flowcontrolv1.FlowSchema](c.Table())
	}
	return api.For[*flowcontrolv1.PriorityLevelConfiguration](c.Table())
}

func list(c *client.Client, k *api.Kind) (out []api.Object) {
	c.Caches().Of(k).Snapshot().Ascend("", "", func(it *cache.Item) bool {
		out = append(out, it.Obj)
		return true
	})
	return out
}

func request(c *client.Client, k *api.Kind, name, subresource, manager string) client.Request {
	r := c.Request(k, "", name, subresource)
	r.Manager = manager
	return r
}

// errRight stops a write that is not needed.
var errRight = errors.New("the object is as it should be")

// ensure makes one object, or puts it right.
func ensure(ctx context.Context, c *client.Client, k *api.Kind, want api.Object) error {
	if k.Default != nil {
		k.Default(want)
	}
	name, mandatory := want.GetName(), flowcontrol.Mandatory(want)
	it := c.Caches().Of(k).Get(k.Key("", name))
	if it == nil {
		_, err := c.Writer().Create(ctx, request(c, k, name, "", producer), want)
		if err != nil && !apierrors.IsAlreadyExists(err) {
			return fmt.Errorf("creating %s %s: %w", k.GVK.Kind, name, err)
		}
		return nil
	}
	if !revise(it.Obj.DeepCopyObject().(api.Object), want, mandatory) {
		return nil
	}
	_, err := c.Writer().Modify(ctx, request(c, k, name, "", producer), func(o api.Object) error {
		if !revise(o, want, mandatory) {
			return errRight
		}
		return nil
	})
	if err != nil && !errors.Is(err, errRight) && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return fmt.Errorf("putting %s %s right: %w", k.GVK.Kind, name, err)
	}
	return nil
}

func ensurer(c *client.Client) *controllers.Controller {
	return &controllers.Controller{
		Name: "priority-and-fairness-config-producer", Client: c, Workers: 1,
		Outputs: []controllers.Output{
			{Kind: api.For[*flowcontrolv1.FlowSchema]}, {Kind: api.For[*flowcontrolv1.PriorityLevelConfiguration]},
		},
		Background: func(ctx context.Context, add func(controllers.Key)) error {
			add(controllers.Key{Name: "bootstrap"})
			<-ctx.Done()
			return nil
		},
		Reconcile: func(ctx context.Context, _ controllers.Key) (time.Duration, error) {
			return ensureInterval, Ensure(ctx, c)
		},
	}
}

// statuses keeps the Dangling condition of the schemas.
func statuses(deps controllers.Deps, c *client.Client) *controllers.Controller {
	schemas, levels := client.Of[*flowcontrolv1.FlowSchema](c), client.Of[*flowcontrolv1.PriorityLevelConfiguration](c)
	kind := api.For[*flowcontrolv1.FlowSchema](c.Table())
	return &controllers.Controller{
		Name: "priority-and-fairness-config-consumer", Client: c, Workers: 1,
		Inputs: []controllers.Input{
			controllers.On[*flowcontrolv1.FlowSchema](nil),
			controllers.On(func(_, level *flowcontrolv1.PriorityLevelConfiguration) []controllers.Key {
				var keys []controllers.Key
				for _, s := range schemas.List("", nil) {
					if s.Spec.PriorityLevelConfiguration.Name == level.Name {
						keys = append(keys, controllers.KeyOf(s))
					}
				}
				return keys
			}),
		},
		Outputs: []controllers.Output{{Kind: api.For[*flowcontrolv1.FlowSchema], Field: "status"}},
		Reconcile: func(ctx context.Context, key controllers.Key) (time.Duration, error) {
			now := func() metav1.Time { return metav1.NewTime(deps.Clock.Now()) }
			found := func(s *flowcontrolv1.FlowSchema) bool {
				_, ok := levels.Get("", s.Spec.PriorityLevelConfiguration.Name)
				return ok
			}
			s, ok := schemas.Get("", key.Name)
			if !ok {
				return 0, nil
			}
			if _, right := dangling(s, found(s), now()); right {
				return 0, nil
			}
			_, err := c.Writer().Modify(ctx, request(c, kind, key.Name, "status", consumer), func(o api.Object) error {
				s := o.(*flowcontrolv1.FlowSchema)
				cond, right := dangling(s, found(s), now())
				if right {
					return errRight
				}
				setCondition(s, cond)
				return nil
			})
			if err != nil && !errors.Is(err, errRight) && !apierrors.IsNotFound(err) {
				return 0, fmt.Errorf("setting a condition of FlowSchema %s: %w", key.Name, err)
			}
			return 0, nil
		},
	}
}
