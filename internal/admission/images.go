package admission

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// alwaysPullImages makes every image be asked for again, so that a pod gets
// none it has no right to because another pod's is on the node.
func alwaysPullImages(Deps) Plugin {
	// of returns the pod unless it is a change that brings no new image.
	of := func(a *Attributes) *corev1.Pod {
		pod := writtenPod(a)
		old, changed := a.Old.(*corev1.Pod)
		if pod == nil || a.Operation != Update || !changed {
			return pod
		}
		had := map[string]bool{}
		eachImage(&old.Spec, func(image string, _ *corev1.PullPolicy, _ *field.Path) { had[image] = true })
		fresh := false
		eachImage(&pod.Spec, func(image string, _ *corev1.PullPolicy, _ *field.Path) { fresh = fresh || !had[image] })
		if !fresh {
			return nil
		}
		return pod
	}
	return Plugin{
		Mutate: func(_ context.Context, a *Attributes) error {
			pod := of(a)
			if pod == nil {
				return nil
			}
			eachImage(&pod.Spec, func(_ string, p *corev1.PullPolicy, _ *field.Path) { *p = corev1.PullAlways })
			for i := range pod.Spec.Volumes {
				if v := pod.Spec.Volumes[i].Image; v != nil {
					v.PullPolicy = corev1.PullAlways
				}
			}
			return nil
		},
		Validate: func(_ context.Context, a *Attributes) error {
			pod := of(a)
			if pod == nil {
				return nil
			}
			var errs []error
			judge := func(p corev1.PullPolicy, path *field.Path) {
				if p != corev1.PullAlways {
					errs = append(errs, field.NotSupported(path, p, []corev1.PullPolicy{corev1.PullAlways}))
				}
			}
			eachImage(&pod.Spec, func(_ string, p *corev1.PullPolicy, path *field.Path) { judge(*p, path.Child("imagePullPolicy")) })
			for i, v := range pod.Spec.Volumes {
				if v.Image != nil {
					judge(v.Image.PullPolicy, field.NewPath("spec", "volumes").Index(i).Child("image", "pullPolicy"))
				}
			}
			if err := utilerrors.NewAggregate(errs); err != nil {
				return forbidden(a, err)
			}
			return nil
		},
	}
}

// eachImage visits the containers of every sort.
func eachImage(s *corev1.PodSpec, f func(image string, policy *corev1.PullPolicy, path *field.Path)) {
	spec := field.NewPath("spec")
	for i := range s.InitContainers {
		f(s.InitContainers[i].Image, &s.InitContainers[i].ImagePullPolicy, spec.Child("initContainers").Index(i))
	}
	for i := range s.Containers {
		f(s.Containers[i].Image, &s.Containers[i].ImagePullPolicy, spec.Child("containers").Index(i))
	}
	for i := range s.EphemeralContainers {
		f(s.EphemeralContainers[i].Image, &s.EphemeralContainers[i].ImagePullPolicy, spec.Child("ephemeralContainers").Index(i))
	}
}
