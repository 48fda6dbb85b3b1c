package proxy

import (
	"context"
	"log/slog"
	"os"
)

func writeSysctl(key, value string) error {
	return os.WriteFile("/proc/sys/"+key, []byte(value), 0o644)
}

// signals is a log handler that tells tests what was said.
type signals struct{ seen chan string }

func (s *signals) Enabled(context.Context, slog.Level) bool { return true }
func (s *signals) Handle(_ context.Context, r slog.Record) error {
	s.seen <- r.Message
	return nil
}
func (s *signals) WithAttrs([]slog.Attr) slog.Handler { return s }
func (s *signals) WithGroup(string) slog.Handler      { return s }
