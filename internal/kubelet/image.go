package kubelet

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	grpcstatus "google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

const (
	// flipAfter is how long a failed pull is shown as such before it is a back-off.
	flipAfter = 2 * time.Second
)

// puller pulls images: each once at a time, and not too many at once.
type puller struct {
	images Images
	now    func() time.Time
	slots  chan struct{} // nil: any number at a time
	qps    float64       // 0: no bound
	burst  float64

	mu       sync.Mutex
	underWay map[string]*pull // guarded by mu; by image and credentials
	tokens   float64          // guarded by mu, as is filled
	filled   time.Time
}

type pull struct {
	done chan struct{}
	took time.Duration
	err  error
}

// errQPS is upstream's word for more pulls than the registry is to have.
var errQPS = errors.New("pull QPS exceeded")

func newPuller(images Images, atOnce int, qps float64, burst int, now func() time.Time) *puller {
	p := &puller{images: images, now: now, qps: qps, burst: float64(burst), tokens: float64(burst), underWay: map[string]*pull{}}
	if atOnce > 0 {
		p.slots = make(chan struct{}, atOnce)
	}
	return p
}

// may takes a token for a pull, if there is one.
func (p *puller) may() bool {
	if p.qps == 0 {
		return true
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.now()
	if !p.filled.IsZero() {
		p.tokens = min(p.burst, p.tokens+now.Sub(p.filled).Seconds()*p.qps)
	}
	p.filled = now
	if p.tokens < 1 {
		return false
	}
	p.tokens--
	return true
}

// pull pulls an image, or waits for whoever does. took is the pull itself.
func (p *puller) pull(ctx context.Context, req *runtimeapi.PullImageRequest) (took time.Duration, err error) {
	key := req.GetImage().GetImage() + "\x00" + req.GetAuth().String()
	for {
		p.mu.Lock()
		one := p.underWay[key]
		mine := one == nil
		if mine {
			one = &pull{done: make(chan struct{})}
			p.underWay[key] = one
		}
		p.mu.Unlock()
		if mine {
			one.took, one.err = p.do(ctx, req)
			p.mu.Lock()
			delete(p.underWay, key)
			p.mu.Unlock()
			close(one.done)
			return one.took, one.err
		}
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-one.done:
		}
		if one.err == nil || grpcstatus.Code(one.err) != grpcstatus.Code(context.Canceled) && one.err != context.Canceled {
			return one.took, one.err
		}
		// Whoever pulled gave up, not the registry: try it ourselves.
	}
}

func (p *puller) do(ctx context.Context, req *runtimeapi.PullImageRequest) (time.Duration, error) {
	if !p.may() {
		return 0, errQPS
	}
	if p.slots != nil {
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case p.slots <- struct{}{}:
		}
		defer func() { <-p.slots }()
	}
	start := p.now()
	_, err := p.images.PullImage(ctx, req)
	if err != nil && ctx.Err() != nil {
		err = context.Canceled
	}
	return p.now().Sub(start), err
}

// pullPolicy is the container's, or the default for its image's tag.
func pullPolicy(c *corev1.Container) corev1.PullPolicy {
	if c.ImagePullPolicy != "" {
		return c.ImagePullPolicy
	}
	if ref, err := name.ParseReference(c.Image, name.WeakValidation); err == nil {
		if tag, ok := ref.(name.Tag); ok && tag.TagStr() == "latest" {
			return corev1.PullAlways
		}
	}
	return corev1.PullIfNotPresent
}

// pullImage makes sure a container's image is there. It runs beside the worker.
func (w *worker) pullImage(ctx context.Context, pod *corev1.Pod, c *corev1.Container) (*runtimeapi.Image, *startError) {
	ref, err := name.ParseReference(c.Image, name.WeakValidation)
	if err != nil {
		message := fmt.Sprintf("Failed to apply default image tag %q: couldn't parse image name %q: invalid reference format", c.Image, c.Image)
		w.event(c.Name, corev1.EventTypeWarning, "InspectFailed", message)
		return nil, &startError{reason: "InvalidImageName", message: message}
	}
	if missing := w.k.missingSecrets(pod); len(missing) > 0 {
		w.event("", corev1.EventTypeWarning, "FailedToRetrieveImagePullSecret",
			fmt.Sprintf("Unable to retrieve some image pull secrets (%s); attempting to pull the image may not succeed.", strings.Join(missing, ", ")))
	}
	spec := &runtimeapi.ImageSpec{Image: tagged(c.Image, ref), UserSpecifiedImage: c.Image, Annotations: pod.Annotations}
	policy := pullPolicy(c)
	status, err := w.k.deps.Images.ImageStatus(ctx, &runtimeapi.ImageStatusRequest{Image: spec})
	if err != nil {
		message := fmt.Sprintf("Failed to inspect image %q: %v", c.Image, plain(err))
		w.event(c.Name, corev1.EventTypeWarning, "InspectFailed", message)
		return nil, &startError{reason: "ImageInspectError", message: message}
	}
	image := status.GetImage()
	switch {
	case image != nil && policy != corev1.PullAlways:
		w.event(c.Name, corev1.EventTypeNormal, "Pulled", fmt.Sprintf("Container image %q already present on machine and can be accessed by the pod", c.Image))
		return image, nil
	case policy == corev1.PullNever:
		message := fmt.Sprintf("Container image %q is not present with pull policy of Never", c.Image)
		w.event(c.Name, corev1.EventTypeWarning, "ErrImageNeverPull", message)
		return nil, &startError{reason: "ErrImageNeverPull", message: message}
	}
	w.event(c.Name, corev1.EventTypeNormal, "Pulling", fmt.Sprintf("Pulling image %q", c.Image))
	start := w.k.cfg.Now()
	var took time.Duration
	for _, auth := range w.k.credentials(pod, ref) {
		if took, err = w.k.pulls.pull(ctx, &runtimeapi.PullImageRequest{Image: spec, Auth: auth}); err == nil || ctx.Err() != nil {
			break
		}
	}
	if err == nil {
		status, err = w.k.deps.Images.ImageStatus(ctx, &runtimeapi.ImageStatusRequest{Image: spec})
		if err == nil && status.GetImage() == nil {
			err = fmt.Errorf("image %q was removed as soon as it was pulled", c.Image)
		}
	}
	if err != nil {
		err = plain(err)
		if ctx.Err() == nil {
			w.event(c.Name, corev1.EventTypeWarning, "Failed", fmt.Sprintf("Failed to pull image %q: %v", c.Image, err))
		}
		e := &startError{reason: "ErrImagePull", message: err.Error(), pull: true}
		for _, known := range []string{"RegistryUnavailable", "SignatureValidationFailed"} {
			if strings.HasPrefix(e.message, known) {
				e.reason = known
			}
		}
		return nil, e
	}
	image = status.GetImage()
	w.k.metrics.pulls.Observe(took.Seconds())
	waited := w.k.cfg.Now().Sub(start).Truncate(time.Millisecond)
	w.event(c.Name, corev1.EventTypeNormal, "Pulled", fmt.Sprintf("Successfully pulled image %q in %v (%v including waiting). Image size: %v bytes.",
		c.Image, took.Truncate(time.Millisecond), waited, image.GetSize()))
	return image, nil
}

// tagged is the image as given, with the default tag where it names none.
func tagged(image string, ref name.Reference) string {
	if tag, ok := ref.(name.Tag); ok && tag.TagStr() == "latest" && !strings.HasSuffix(image, ":latest") {
		return image + ":latest"
	}
	return image
}

// plain takes the words of an error off its transport.
func plain(err error) error {
	if s, ok := grpcstatus.FromError(err); ok && s != nil && err != nil {
		return fmt.Errorf("%s", s.Message())
	}
	return err
}
