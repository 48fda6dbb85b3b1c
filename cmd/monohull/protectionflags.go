package main

import (
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/pflag"

	"github.com/monohull/monohull/internal/cluster"
)

// protectionFlags are upstream's API server's flags on load, audit and what is
// stored.
func protectionFlags(f *pflag.FlagSet, p *cluster.Protection) {
	f.IntVar(&p.MaxInflight, "max-requests-inflight", cluster.DefaultMaxInflight, "requests that only read and are served at a time; with priority and fairness, its sum with the next is shared")
	f.IntVar(&p.MaxMutatingInflight, "max-mutating-requests-inflight", cluster.DefaultMaxMutatingInflight, "requests that write and are served at a time")
	negated(f, &p.Unfair, "enable-priority-and-fairness", "let requests wait for each other by FlowSchemas and PriorityLevelConfigurations")
	f.DurationVar(&p.RequestTimeout, "request-timeout", cluster.DefaultRequestTimeout, "how long a request may take that is no watch or stream")
	p.MinWatch = cluster.DefaultMinWatch
	f.Var(seconds{&p.MinWatch}, "min-request-timeout", "`seconds` that a watch lasts at least when its client does not say")
	f.Float64Var(&p.GoawayChance, "goaway-chance", 0, "`chance` that a request makes its client open another connection")
	f.StringVar(&p.EncryptionConfig, "encryption-provider-config", "", "`file` with an EncryptionConfiguration: what is encrypted in the store, and how")
	f.BoolVar(&p.EncryptionReload, "encryption-provider-config-automatic-reload", false, "follow that file as it changes")

	a := &p.Audit
	*a = cluster.DefaultAudit()
	f.StringVar(&a.PolicyFile, "audit-policy-file", "", "`file` with an audit Policy; without it nothing is recorded")
	f.StringVar(&a.Log.Path, "audit-log-path", "", "`file` of audit events; - for standard output")
	f.IntVar(&a.Log.MaxAge, "audit-log-maxage", a.Log.MaxAge, "`days` that old audit files are kept")
	f.IntVar(&a.Log.MaxBackups, "audit-log-maxbackup", a.Log.MaxBackups, "old audit files that are kept")
	f.IntVar(&a.Log.MaxSize, "audit-log-maxsize", a.Log.MaxSize, "`megabytes` of an audit file before another is begun")
	f.BoolVar(&a.Log.Compress, "audit-log-compress", a.Log.Compress, "compress old audit files")
	f.StringVar(&a.Log.Format, "audit-log-format", a.Log.Format, "json or legacy")
	f.StringVar(&a.Webhook.ConfigFile, "audit-webhook-config-file", "", "kubeconfig `file` of a service that takes audit events")
	f.DurationVar(&a.Webhook.InitialBackoff, "audit-webhook-initial-backoff", a.Webhook.InitialBackoff, "how long to wait before its first failure is tried again")
	auditSinkFlags(f, "audit-log", &a.Log.SinkConfig)
	auditSinkFlags(f, "audit-webhook", &a.Webhook.SinkConfig)
}

func auditSinkFlags(f *pflag.FlagSet, prefix string, s *cluster.AuditSink) {
	f.StringVar(&s.Mode, prefix+"-mode", s.Mode, "batch, blocking or blocking-strict")
	f.IntVar(&s.Batch.BufferSize, prefix+"-batch-buffer-size", s.Batch.BufferSize, "events that wait in batch mode; more are dropped")
	f.IntVar(&s.Batch.MaxSize, prefix+"-batch-max-size", s.Batch.MaxSize, "events in a batch")
	f.DurationVar(&s.Batch.MaxWait, prefix+"-batch-max-wait", s.Batch.MaxWait, "how long an event waits for its batch to fill")
	f.BoolVar(&s.Batch.Throttle, prefix+"-batch-throttle-enable", s.Batch.Throttle, "bound the batches in a second")
	f.Float32Var(&s.Batch.ThrottleQPS, prefix+"-batch-throttle-qps", s.Batch.ThrottleQPS, "batches in a second")
	f.IntVar(&s.Batch.ThrottleBurst, prefix+"-batch-throttle-burst", s.Batch.ThrottleBurst, "batches at once after a pause")
	f.BoolVar(&s.Truncate.Enabled, prefix+"-truncate-enabled", s.Truncate.Enabled, "cut events and batches that are too large")
	f.Int64Var(&s.Truncate.MaxBatchBytes, prefix+"-truncate-max-batch-size", s.Truncate.MaxBatchBytes, "`bytes` of a batch")
	f.Int64Var(&s.Truncate.MaxEventBytes, prefix+"-truncate-max-event-size", s.Truncate.MaxEventBytes, "`bytes` of an event")
}

// seconds is a duration that is written as a number.
type seconds struct{ d *time.Duration }

func (s seconds) String() string {
	if s.d == nil {
		return "0"
	}
	return strconv.Itoa(int(*s.d / time.Second))
}

func (s seconds) Set(v string) error {
	n, err := strconv.Atoi(v)
	if err != nil || n <= 0 {
		return fmt.Errorf("%q is not a number of seconds", v)
	}
	*s.d = time.Duration(n) * time.Second
	return nil
}

func (seconds) Type() string { return "int" }
