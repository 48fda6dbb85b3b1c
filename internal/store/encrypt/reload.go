package encrypt

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

const (
	// reloadInterval is how often the file is looked at.
	reloadInterval = time.Minute
	// settleTimeout is how long the services of a new configuration may take to
	// be well; until then the old one stays.
	settleTimeout  = 10 * time.Second
	settleInterval = 100 * time.Millisecond
)

// reloads counts what became of changes of the file, under upstream's names.
type reloads struct {
	total *prometheus.CounterVec
	last  *prometheus.GaugeVec
}

func newReloads() *reloads {
	return &reloads{
		total: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "apiserver_encryption_config_controller_automatic_reloads_total", Help: "Times the encryption configuration was read again, by success.",
		}, []string{"status"}),
		last: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "apiserver_encryption_config_controller_automatic_reload_last_timestamp_seconds", Help: "When the encryption configuration was last read again, by success.",
		}, []string{"status"}),
	}
}

func (r *reloads) note(err error) {
	status := "success"
	if err != nil {
		status = "failure"
	}
	r.total.WithLabelValues(status).Inc()
	r.last.WithLabelValues(status).SetToCurrentTime()
}

// Collectors are the metrics, to register.
func (s *Store) Collectors() []prometheus.Collector {
	return []prometheus.Collector{s.reloads.total, s.reloads.last}
}

// CheckName is what the health check is called; empty where there is nothing to check.
func (s *Store) CheckName() string {
	if s.Reload || len(s.keys.Load().kms) > 0 {
		return "kms-providers"
	}
	return ""
}

// Check tells whether all key management services are well.
func (s *Store) Check(ctx context.Context) error { return s.keys.Load().health(ctx) }

func (k *keyring) health(ctx context.Context) error {
	var errs []error
	for i, x := range k.kms {
		if err := x.health(ctx); err != nil {
			errs = append(errs, fmt.Errorf("kms-provider-%d: %w", i, err))
		}
	}
	return errors.Join(errs...)
}

// Run asks the services how they are, and reads the file again when it has
// changed, until ctx ends.
func (s *Store) Run(ctx context.Context) error {
	var old sync.WaitGroup
	defer old.Wait()
	t := time.NewTicker(badInterval)
	defer t.Stop()
	looked := time.Now()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
		now := time.Now()
		for _, x := range s.keys.Load().kms {
			if !x.due(now) {
				continue
			}
			if err := x.ask(ctx); err != nil && ctx.Err() == nil {
				s.Logger.Warn("encrypt: a key management service is not well", "name", x.name, "error", err)
			}
		}
		if s.Reload && now.Sub(looked) >= reloadInterval {
			looked = now
			s.reload(ctx, &old)
		}
	}
}

// reload takes a changed file, once its services are well. The old keys' last
// requests are waited for.
func (s *Store) reload(ctx context.Context, wait *sync.WaitGroup) {
	was := s.keys.Load()
	_, hash, err := readFile(s.Path)
	if err == nil && hash == was.hash {
		return
	}
	var k *keyring
	if err == nil {
		k, err = s.load(ctx)
	}
	if err == nil {
		if err = settle(ctx, k); err != nil {
			k.close()
		}
	}
	if ctx.Err() != nil {
		return
	}
	s.reloads.note(err)
	if err != nil {
		s.Logger.Error("encrypt: the changed configuration cannot be used; the one before stays in use", "path", s.Path, "error", err)
		return
	}
	s.keys.Store(k)
	s.next()
	s.Logger.Info("encrypt: a changed configuration is in use", "path", s.Path)
	wait.Go(func() {
		select {
		case <-ctx.Done():
		case <-time.After(was.grace):
		}
		was.close()
	})
}

func settle(ctx context.Context, k *keyring) error {
	ctx, cancel := context.WithTimeout(ctx, max(k.grace, settleTimeout))
	defer cancel()
	for {
		err := k.health(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("health check for new transformers failed: %w", err)
		case <-time.After(settleInterval):
		}
	}
}
