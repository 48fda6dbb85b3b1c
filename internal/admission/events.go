package admission

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/clock"
	"k8s.io/utils/lru"
)

// maxBuckets is of how many keys a limit keeps count where its configuration
// says nothing.
const maxBuckets = 4096

// What the events of a limit have in common.
const (
	perServer    = "Server"
	perNamespace = "Namespace"
	perUser      = "User"
	perSource    = "SourceAndObject"
)

// eventLimit is one limit of eventratelimit.admission.k8s.io/v1alpha1
// Configuration.
type eventLimit struct {
	Type      string `json:"type"`
	QPS       int32  `json:"qps"`
	Burst     int32  `json:"burst"`
	CacheSize int32  `json:"cacheSize,omitempty"`
}

type eventConfig struct {
	typed
	Limits []eventLimit `json:"limits"`
}

// eventRateLimit bounds how many events a server, a namespace, a user or an
// object may cause.
func eventRateLimit(d Deps, config []byte) (Plugin, error) {
	var cfg eventConfig
	if len(config) > 0 {
		if err := cfg.decode(config, "Configuration", []string{"eventratelimit.admission.k8s.io/v1alpha1"}, &cfg); err != nil {
			return Plugin{}, err
		}
	}
	if errs := checkEventLimits(cfg.Limits); len(errs) > 0 {
		return Plugin{}, errs.ToAggregate()
	}
	limits := make([]*eventCounter, 0, len(cfg.Limits))
	for _, l := range cfg.Limits {
		size := int(l.CacheSize)
		if size == 0 {
			size = maxBuckets
		}
		limits = append(limits, &eventCounter{limit: l, clock: d.Clock, buckets: lru.New(size)})
	}
	return Plugin{Validate: func(_ context.Context, a *Attributes) error {
		if a.Kind.GVK.Group != "" || a.Kind.GVK.Kind != "Event" || !a.does(Create, Update) || a.DryRun {
			return nil
		}
		var errs []error
		for _, l := range limits {
			if key := l.key(a); !l.accept(key) {
				errs = append(errs, fmt.Errorf("limit reached on type %v for key %v", l.limit.Type, key))
			}
		}
		if err := utilerrors.NewAggregate(errs); err != nil {
			return apierrors.NewTooManyRequestsError(err.Error())
		}
		return nil
	}}, nil
}

func checkEventLimits(list []eventLimit) field.ErrorList {
	var errs field.ErrorList
	path := field.NewPath("limits")
	if len(list) == 0 {
		errs = append(errs, field.Invalid(path, list, "must not be empty"))
	}
	types := []string{perNamespace, perServer, perSource, perUser}
	for i, l := range list {
		p := path.Index(i)
		if !slices.Contains(types, l.Type) {
			errs = append(errs, field.NotSupported(p.Child("type"), l.Type, types))
		}
		if l.Burst <= 0 {
			errs = append(errs, field.Invalid(p.Child("burst"), l.Burst, "must be positive"))
		}
		if l.QPS <= 0 {
			errs = append(errs, field.Invalid(p.Child("qps"), l.QPS, "must be positive"))
		}
		if l.Type != perServer && l.CacheSize < 0 {
			errs = append(errs, field.Invalid(p.Child("cacheSize"), l.CacheSize, "must not be negative"))
		}
	}
	return errs
}

// eventCounter keeps one limit, for each of its keys.
type eventCounter struct {
	limit eventLimit
	clock clock.PassiveClock

	mu      sync.Mutex
	buckets *lru.Cache
}

// bucket fills with QPS tokens a second, up to Burst.
type bucket struct {
	tokens float64
	at     time.Time
}

func (c *eventCounter) accept(key string) bool {
	now := c.clock.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	b := &bucket{tokens: float64(c.limit.Burst), at: now}
	if v, ok := c.buckets.Get(key); ok {
		b = v.(*bucket)
	} else {
		c.buckets.Add(key, b)
	}
	if passed := now.Sub(b.at).Seconds(); passed > 0 {
		b.tokens, b.at = min(float64(c.limit.Burst), b.tokens+passed*float64(c.limit.QPS)), now
	}
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}

func (c *eventCounter) key(a *Attributes) string {
	switch c.limit.Type {
	case perNamespace:
		return a.Namespace
	case perUser:
		if a.User != nil {
			return a.User.GetName()
		}
	case perSource:
		if e, ok := a.Object.(*corev1.Event); ok {
			o := e.InvolvedObject
			return strings.Join([]string{e.Source.Component, e.Source.Host, o.Kind, o.Namespace, o.Name, string(o.UID), o.APIVersion}, "")
		}
	}
	return ""
}
