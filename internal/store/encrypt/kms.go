package encrypt

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"k8s.io/apiserver/pkg/storage/value"
	"k8s.io/apiserver/pkg/storage/value/encrypt/envelope/kmsv2"
	kmstypes "k8s.io/apiserver/pkg/storage/value/encrypt/envelope/kmsv2/v2"
	kmsservice "k8s.io/kms/pkg/service"
)

// How often a service is asked how it is, upstream's figures. The key that data
// are encrypted with may be used for seedLifetime after the last good answer;
// reading is never bounded.
const (
	goodInterval  = time.Minute
	badInterval   = 10 * time.Second
	seedLifetime  = 3 * time.Minute
	goodHealthTTL = 20 * time.Second
	badHealthTTL  = 3 * time.Second
)

// service is a key management service. It encrypts seeds; the data keys are
// derived from the seed of the key it names, one for each value.
type service struct {
	name    string
	remote  kmsservice.Service
	rotated func() // another key is used from now on
	state   atomic.Pointer[kmsv2.State]

	mu      sync.Mutex
	version string
	asked   time.Time
	err     error
}

func newService(ctx context.Context, name, endpoint string, timeout time.Duration, rotated func()) (*service, error) {
	remote, err := kmsv2.NewGRPCService(ctx, endpoint, name, timeout)
	if err != nil {
		return nil, err
	}
	s := &service{name: name, remote: remote, rotated: rotated, err: errors.New("the service has not been asked")}
	s.state.Store(&kmsv2.State{KMSProviderName: name})
	return s, nil
}

func (s *service) transformer(serverID string) value.Transformer {
	return kmsv2.NewEnvelopeTransformer(s.remote, s.name, s.current, serverID)
}

// current is the seed in use. It is good for reading as long as there is one;
// whoever writes looks at its end.
func (s *service) current() (kmsv2.State, error) {
	st := *s.state.Load()
	if st.Transformer == nil {
		return kmsv2.State{}, errors.New("got unexpected nil transformer")
	}
	if err := kmsv2.ValidateEncryptedObject(encryptedObject(&st)); err != nil {
		return kmsv2.State{}, fmt.Errorf("got invalid EncryptedObject: %w", err)
	}
	return st, nil
}

func encryptedObject(st *kmsv2.State) *kmstypes.EncryptedObject {
	return &kmstypes.EncryptedObject{
		KeyID: st.EncryptedObjectKeyID, EncryptedDEKSource: st.EncryptedObjectEncryptedDEKSource, Annotations: st.EncryptedObjectAnnotations,
		EncryptedDEKSourceType: st.EncryptedObjectEncryptedDEKSourceType, EncryptedData: []byte{0},
	}
}

// due tells whether it is time to ask again.
func (s *service) due(now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	interval := goodInterval
	if s.err != nil {
		interval = badInterval
	}
	return now.Sub(s.asked) >= interval
}

// health is the newest answer, asked for if it is old.
func (s *service) health(ctx context.Context) error {
	s.mu.Lock()
	ttl := goodHealthTTL
	if s.err != nil {
		ttl = badHealthTTL
	}
	if !s.asked.IsZero() && time.Since(s.asked) < ttl {
		defer s.mu.Unlock()
		return s.err
	}
	s.mu.Unlock()
	return s.ask(ctx)
}

// ask asks the service how it is, and takes the key that it names.
func (s *service) ask(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = s.askLocked(ctx)
	s.asked = time.Now()
	return s.err
}

func (s *service) askLocked(ctx context.Context) error {
	st, err := s.remote.Status(ctx)
	if err != nil {
		return fmt.Errorf("failed to perform status section of the healthz check for KMS Provider %s, error: %w", s.name, err)
	}
	var errs []error
	if st.Healthz != "ok" {
		errs = append(errs, fmt.Errorf("got unexpected healthz status: %s", st.Healthz))
	}
	switch {
	case st.Version != kmsv2.KMSAPIVersionv2 && st.Version != kmsv2.KMSAPIVersionv2beta1:
		errs = append(errs, fmt.Errorf("expected KMSv2 API version %s, got %s", kmsv2.KMSAPIVersionv2, st.Version))
	case s.version == "":
		s.version = st.Version
	case s.version != st.Version:
		errs = append(errs, fmt.Errorf("KMSv2 API version should not change after the initial status response version %s, got %s", s.version, st.Version))
	}
	if _, err := kmsv2.ValidateKeyID(st.KeyID); err != nil {
		errs = append(errs, fmt.Errorf("got invalid KMSv2 KeyID hash %q: %w", kmsv2.GetHashIfNotEmpty(st.KeyID), err))
	} else if err := s.take(ctx, st.KeyID); err != nil {
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("kmsv2 Provider %s is not healthy, error: %w", s.name, err)
	}
	return nil
}

// take goes on with the seed there is where the service still names its key,
// or else makes another one.
func (s *service) take(ctx context.Context, keyID string) error {
	end := time.Now().Add(seedLifetime)
	old, oldErr := s.current()
	if oldErr == nil && old.EncryptedObjectKeyID == keyID {
		old.ExpirationTimestamp = end
		s.state.Store(&old)
		return nil
	}
	uid := uuid.NewString()
	t, obj, cacheKey, err := kmsv2.GenerateTransformer(ctx, uid, s.remote, true)
	if err == nil && obj.KeyID != keyID {
		err = errors.New("the key that encrypted is not the one that the status names")
	}
	if err != nil {
		return fmt.Errorf("failed to rotate DEK uid=%q: %w", uid, err)
	}
	next := &kmsv2.State{
		Transformer: t, EncryptedObjectKeyID: obj.KeyID, EncryptedObjectEncryptedDEKSource: obj.EncryptedDEKSource,
		EncryptedObjectAnnotations: obj.Annotations, EncryptedObjectEncryptedDEKSourceType: obj.EncryptedDEKSourceType,
		UID: uid, ExpirationTimestamp: end, CacheKey: cacheKey, KMSProviderName: s.name,
	}
	s.state.Store(next)
	if oldErr == nil {
		s.rotated()
	}
	return nil
}
