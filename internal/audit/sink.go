package audit

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
)

// The modes of a sink.
const (
	ModeBatch          = "batch"
	ModeBlocking       = "blocking"
	ModeBlockingStrict = "blocking-strict" // and no request is served that cannot be written down
)

// Config is what the command line says. Without a policy nothing is written down.
type Config struct {
	PolicyFile string
	Log        LogConfig
	Webhook    WebhookConfig
	Logger     *slog.Logger
}

// SinkConfig is what every sink can be told.
type SinkConfig struct {
	Mode  string
	Batch BatchConfig
	// Truncate bounds events, if it says so.
	Truncate TruncateConfig
}

// BatchConfig bounds the batch mode.
type BatchConfig struct {
	BufferSize    int           // events that wait; more are dropped
	MaxSize       int           // events in a batch
	MaxWait       time.Duration // of the first one in a batch
	Throttle      bool
	ThrottleQPS   float32 // batches in a second
	ThrottleBurst int
	Async         bool // batches may overtake each other
}

// TruncateConfig bounds what is handed on.
type TruncateConfig struct {
	Enabled       bool
	MaxBatchBytes int64
	MaxEventBytes int64
}

// DefaultConfig is upstream's.
func DefaultConfig() Config {
	truncate := TruncateConfig{MaxBatchBytes: 10 << 20, MaxEventBytes: 100 << 10}
	return Config{
		Log: LogConfig{Format: FormatJSON, MaxSize: 100, MaxAge: 366, MaxBackups: 100, SinkConfig: SinkConfig{
			Mode: ModeBlocking, Batch: BatchConfig{BufferSize: 10000, MaxSize: 1}, Truncate: truncate,
		}},
		Webhook: WebhookConfig{InitialBackoff: 10 * time.Second, SinkConfig: SinkConfig{
			Mode: ModeBatch, Truncate: truncate,
			Batch: BatchConfig{BufferSize: 10000, MaxSize: 400, MaxWait: 30 * time.Second, Throttle: true, ThrottleQPS: 10, ThrottleBurst: 15, Async: true},
		}},
	}
}

// validate judges the numbers of the command line.
func (c SinkConfig) validate(name string) error {
	if !slices.Contains([]string{ModeBatch, ModeBlocking, ModeBlockingStrict}, c.Mode) {
		return fmt.Errorf("invalid audit %s mode %s, allowed modes are %q", name, c.Mode, strings.Join([]string{ModeBatch, ModeBlocking, ModeBlockingStrict}, ","))
	}
	if c.Mode == ModeBatch {
		b := c.Batch
		switch {
		case b.BufferSize <= 0:
			return fmt.Errorf("invalid audit batch %s buffer size %d, must be a positive number", name, b.BufferSize)
		case b.MaxSize <= 0:
			return fmt.Errorf("invalid audit batch %s max batch size %d, must be a positive number", name, b.MaxSize)
		case b.Throttle && b.ThrottleQPS <= 0:
			return fmt.Errorf("invalid audit batch %s throttle QPS %v, must be a positive number", name, b.ThrottleQPS)
		case b.Throttle && b.ThrottleBurst <= 0:
			return fmt.Errorf("invalid audit batch %s throttle burst %d, must be a positive number", name, b.ThrottleBurst)
		}
	}
	if t := c.Truncate; t.Enabled && (t.MaxEventBytes <= 0 || t.MaxBatchBytes < t.MaxEventBytes) {
		return fmt.Errorf("invalid audit truncate %s: max batch size %d must be at least max event size %d, which must be positive", name, t.MaxBatchBytes, t.MaxEventBytes)
	}
	return nil
}

// sink takes events that nobody else writes to.
type sink interface {
	// write takes encoded events; an error means that they are lost.
	write(ctx context.Context, events []encoded) error
	close() error
}

// output is a sink with its mode.
type output struct {
	name   string
	config SinkConfig
	sink   sink
	batch  *batch // nil where requests wait for the sink
	encode func(*auditv1.Event) ([]byte, error)
}

// Log writes requests down.
type Log struct {
	policy  *Policy
	outputs []*output
	logger  *slog.Logger
	meters  *meters
}

// New makes a Log; nil where there is nothing to write, or nowhere.
func New(c Config) (*Log, error) {
	if c.Log.Path == "" && c.Webhook.ConfigFile == "" {
		return nil, nil
	}
	if c.PolicyFile == "" {
		c.Logger.Warn("audit: no audit policy file is given: nothing is written down")
		return nil, nil
	}
	doc, err := os.ReadFile(c.PolicyFile)
	if err != nil {
		return nil, fmt.Errorf("audit: reading the policy: %w", err)
	}
	l := &Log{logger: c.Logger, meters: newMeters()}
	if l.policy, err = ParsePolicy(doc); err != nil {
		return nil, fmt.Errorf("%w: from file %s", err, c.PolicyFile)
	}
	if c.Log.Path != "" {
		if err := c.Log.validate(); err != nil {
			return nil, fmt.Errorf("audit: %w", err)
		}
		s, err := openLog(c.Log)
		if err != nil {
			return nil, fmt.Errorf("audit: %w", err)
		}
		l.add("log", c.Log.SinkConfig, s, encoderOf(c.Log.Format))
	}
	if c.Webhook.ConfigFile != "" {
		if err := c.Webhook.SinkConfig.validate("webhook"); err != nil {
			return nil, fmt.Errorf("audit: %w", err)
		}
		s, err := openWebhook(c.Webhook)
		if err != nil {
			return nil, fmt.Errorf("audit: %w", err)
		}
		l.add("webhook", c.Webhook.SinkConfig, s, encodeJSON)
	}
	return l, nil
}

func (l *Log) add(name string, c SinkConfig, s sink, encode func(*auditv1.Event) ([]byte, error)) {
	o := &output{name: name, config: c, sink: s, encode: encode}
	if c.Mode == ModeBatch {
		o.batch = newBatch(c.Batch, func(ctx context.Context, events []encoded) { l.write(ctx, o, events) })
	}
	l.outputs = append(l.outputs, o)
}

// Run hands on what is gathered until ctx ends, then the rest.
func (l *Log) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	for _, o := range l.outputs {
		if o.batch != nil {
			wg.Go(func() { o.batch.run(ctx) })
		}
	}
	<-ctx.Done()
	wg.Wait()
	var errs []error
	for _, o := range l.outputs {
		errs = append(errs, o.sink.close())
	}
	return errors.Join(errs...)
}

// process hands an event to every sink; false where a strict one failed at the
// first stage.
func (l *Log) process(e *auditv1.Event) bool {
	l.meters.events.Inc()
	good := true
	for _, o := range l.outputs {
		out, err := o.pack(e)
		if err != nil {
			l.lost(o, 1, err)
			good = good && o.config.Mode != ModeBlockingStrict
			continue
		}
		if o.batch != nil {
			if !o.batch.put(out) {
				l.lost(o, 1, errors.New("audit buffer queue blocked"))
			}
			continue
		}
		if !l.write(context.Background(), o, []encoded{out}) && o.config.Mode == ModeBlockingStrict && e.Stage == auditv1.StageRequestReceived {
			good = false
		}
	}
	return good
}

func (l *Log) write(ctx context.Context, o *output, events []encoded) bool {
	for _, part := range split(events, o.config.Truncate) {
		if err := o.sink.write(ctx, part); err != nil {
			l.lost(o, len(part), err)
			return false
		}
	}
	return true
}

func (l *Log) lost(o *output, n int, err error) {
	l.meters.errors.WithLabelValues(o.name).Add(float64(n))
	l.logger.Error("audit: events are lost", "sink", o.name, "events", n, "error", err)
}

// meters are the metrics, under upstream's names.
type meters struct {
	events, rejected prometheus.Counter
	errors, levels   *prometheus.CounterVec
}

func newMeters() *meters {
	o := func(name, help string) prometheus.CounterOpts {
		return prometheus.CounterOpts{Namespace: "apiserver", Subsystem: "audit", Name: name, Help: help}
	}
	return &meters{
		events:   prometheus.NewCounter(prometheus.CounterOpts(o("event_total", "Audit events that were handed to the sinks."))),
		rejected: prometheus.NewCounter(prometheus.CounterOpts(o("requests_rejected_total", "Requests that were refused because they could not be written down."))),
		errors:   prometheus.NewCounterVec(o("error_total", "Audit events that were lost, by sink."), []string{"plugin"}),
		levels:   prometheus.NewCounterVec(o("level_total", "Requests by the level that the policy gives them."), []string{"level"}),
	}
}

// Collectors are the metrics, to register.
func (l *Log) Collectors() []prometheus.Collector {
	return []prometheus.Collector{l.meters.events, l.meters.rejected, l.meters.errors, l.meters.levels}
}
