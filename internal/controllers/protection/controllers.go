package protection

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/monohull/monohull/internal/admission"
	"github.com/monohull/monohull/internal/api"
	"github.com/monohull/monohull/internal/client"
	"github.com/monohull/monohull/internal/controllers"
)

// Controllers are the control loops of this area.
func Controllers(deps controllers.Deps) []*controllers.Controller {
	return []*controllers.Controller{claims(deps), volumes(deps), attributesClasses(deps)}
}

// claims keeps the claims that pods mount.
func claims(deps controllers.Deps) *controllers.Controller {
	c := deps.Client("pvc-protection-controller")
	pods, list := client.Of[*corev1.Pod](c), client.Of[*corev1.PersistentVolumeClaim](c)
	return &controllers.Controller{
		Name: "persistentvolumeclaim-protection-controller", Client: c,
		Inputs: []controllers.Input{
			controllers.On(changed[*corev1.PersistentVolumeClaim](admission.ClaimFinalizer)),
			controllers.On(func(old, cur *corev1.Pod) []controllers.Key {
				var keys []controllers.Key
				add := func(p *corev1.Pod, gone bool) {
					if !lets(p, gone) {
						return
					}
					for _, n := range claimsOf(p) {
						keys = append(keys, controllers.Key{Namespace: p.Namespace, Name: n})
					}
				}
				add(cur, gone(pods, cur))
				if old != nil && old.UID != cur.UID {
					add(old, true)
				}
				return keys
			}),
		},
		Outputs: []controllers.Output{{Kind: api.For[*corev1.PersistentVolumeClaim], Field: "metadata.finalizers"}},
		Reconcile: func(ctx context.Context, key controllers.Key) (time.Duration, error) {
			return 0, keep(ctx, list, key, admission.ClaimFinalizer, func(claim *corev1.PersistentVolumeClaim) bool {
				return slices.ContainsFunc(pods.List(claim.Namespace, nil), func(p *corev1.Pod) bool { return uses(p, claim) })
			})
		},
	}
}

// volumes keeps the volumes that are bound.
func volumes(deps controllers.Deps) *controllers.Controller {
	c := deps.Client("pv-protection-controller")
	list := client.Of[*corev1.PersistentVolume](c)
	return &controllers.Controller{
		Name: "persistentvolume-protection-controller", Client: c,
		Inputs:  []controllers.Input{controllers.On(changed[*corev1.PersistentVolume](admission.VolumeFinalizer))},
		Outputs: []controllers.Output{{Kind: api.For[*corev1.PersistentVolume], Field: "metadata.finalizers"}},
		Reconcile: func(ctx context.Context, key controllers.Key) (time.Duration, error) {
			return 0, keep(ctx, list, key, admission.VolumeFinalizer, func(v *corev1.PersistentVolume) bool { return v.Status.Phase == corev1.VolumeBound })
		},
	}
}

// attributesClasses keeps the classes that claims or volumes name.
func attributesClasses(deps controllers.Deps) *controllers.Controller {
	c := deps.Client("volumeattributesclass-protection-controller")
	list, claims, volumes := client.Of[*storagev1.VolumeAttributesClass](c), client.Of[*corev1.PersistentVolumeClaim](c), client.Of[*corev1.PersistentVolume](c)
	keys := func(names []string) []controllers.Key {
		var out []controllers.Key
		for _, n := range names {
			out = append(out, controllers.Key{Name: n})
		}
		return out
	}
	return &controllers.Controller{
		Name: "volumeattributesclass-protection-controller", Client: c,
		Inputs: []controllers.Input{
			controllers.On(changed[*storagev1.VolumeAttributesClass](admission.AttributesClassFinalizer)),
			controllers.On(func(old, cur *corev1.PersistentVolumeClaim) []controllers.Key {
				if gone(claims, cur) {
					return keys(claimClasses(cur))
				}
				if old == nil {
					return nil
				}
				return keys(dropped(claimClasses(old), claimClasses(cur)))
			}),
			controllers.On(func(old, cur *corev1.PersistentVolume) []controllers.Key {
				if gone(volumes, cur) {
					return keys(volumeClasses(cur))
				}
				if old == nil {
					return nil
				}
				return keys(dropped(volumeClasses(old), volumeClasses(cur)))
			}),
		},
		Outputs: []controllers.Output{{Kind: api.For[*storagev1.VolumeAttributesClass], Field: "metadata.finalizers"}},
		Reconcile: func(ctx context.Context, key controllers.Key) (time.Duration, error) {
			return 0, keep(ctx, list, key, admission.AttributesClassFinalizer, func(class *storagev1.VolumeAttributesClass) bool {
				return slices.ContainsFunc(volumes.List("", nil), func(v *corev1.PersistentVolume) bool { return slices.Contains(volumeClasses(v), class.Name) }) ||
					slices.ContainsFunc(claims.List("", nil), func(c *corev1.PersistentVolumeClaim) bool { return slices.Contains(claimClasses(c), class.Name) })
			})
		},
	}
}

// gone tells whether an object is no more; another may have its name.
func gone[T api.Object](list client.Kind[T], o T) bool {
	now, ok := list.Get(o.GetNamespace(), o.GetName())
	return !ok || now.GetUID() != o.GetUID()
}

// changed names an object whose finalizer may have to change.
func changed[T api.Object](finalizer string) func(old, cur T) []controllers.Key {
	return func(_, cur T) []controllers.Key {
		if !interesting(cur, finalizer) {
			return nil
		}
		return []controllers.Key{controllers.KeyOf(cur)}
	}
}

// errInUse stops a write that another change has made needless.
var errInUse = errors.New("the object is in use again")

// keep makes the finalizer of one object what it should be.
func keep[T api.Object](ctx context.Context, list client.Kind[T], key controllers.Key, finalizer string, used func(T) bool) error {
	o, ok := list.Get(key.Namespace, key.Name)
	if !ok {
		return nil
	}
	if change, _ := wanted(o, finalizer, func() bool { return used(o) }); !change {
		return nil
	}
	_, err := list.Modify(ctx, key.Namespace, key.Name, "", func(m T) error {
		change, there := wanted(m, finalizer, func() bool { return used(m) })
		switch {
		case !change:
			return errInUse
		case there:
			m.SetFinalizers(append(m.GetFinalizers(), finalizer))
		default:
			m.SetFinalizers(slices.DeleteFunc(m.GetFinalizers(), func(f string) bool { return f == finalizer }))
		}
		return nil
	})
	if err == nil || errors.Is(err, errInUse) || apierrors.IsNotFound(err) {
		return nil
	}
	return fmt.Errorf("changing the protection of %s: %w", key.Name, err)
}
