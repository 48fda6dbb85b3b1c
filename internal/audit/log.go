package audit

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"

	"gopkg.in/natefinch/lumberjack.v2"
)

// logFileMode is upstream's.
const logFileMode = 0o600

// LogConfig is what the log is told.
type LogConfig struct {
	SinkConfig
	Path       string // "-": standard output
	MaxAge     int    // days that old files are kept; 0: always
	MaxBackups int    // old files that are kept; 0: all
	MaxSize    int    // megabytes of a file; 0: it is not rotated
	Compress   bool
	Format     string
}

func (c LogConfig) validate() error {
	if err := c.SinkConfig.validate("log"); err != nil {
		return err
	}
	switch {
	case c.MaxAge < 0:
		return fmt.Errorf("--audit-log-maxage %v can't be a negative number", c.MaxAge)
	case c.MaxBackups < 0:
		return fmt.Errorf("--audit-log-maxbackup %v can't be a negative number", c.MaxBackups)
	case c.MaxSize < 0:
		return fmt.Errorf("--audit-log-maxsize %v can't be a negative number", c.MaxSize)
	case c.Format != FormatJSON && c.Format != FormatLegacy:
		return fmt.Errorf("invalid audit log format %s, allowed formats are %q", c.Format, FormatLegacy+","+FormatJSON)
	}
	return nil
}

// logSink writes events as lines.
type logSink struct {
	mu  sync.Mutex
	out io.Writer
	end func() error
}

func openLog(c LogConfig) (sink, error) {
	if c.Path == "-" {
		return &logSink{out: os.Stdout, end: func() error { return nil }}, nil
	}
	// a place that cannot be written to is better known now
	if err := os.MkdirAll(filepath.Dir(c.Path), 0o700); err != nil {
		return nil, fmt.Errorf("ensuring the audit log's directory: %w", err)
	}
	f, err := os.OpenFile(c.Path, os.O_CREATE|os.O_APPEND|os.O_RDWR, logFileMode)
	if err != nil {
		return nil, fmt.Errorf("ensuring the audit log: %w", err)
	}
	if c.MaxSize == 0 {
		return &logSink{out: f, end: f.Close}, nil
	}
	if err := f.Close(); err != nil {
		return nil, fmt.Errorf("ensuring the audit log: %w", err)
	}
	l := &lumberjack.Logger{Filename: c.Path, MaxAge: c.MaxAge, MaxBackups: c.MaxBackups, MaxSize: c.MaxSize, Compress: c.Compress}
	return &logSink{out: l, end: l.Close}, nil
}

func (s *logSink) write(_ context.Context, events []encoded) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range events {
		if _, err := s.out.Write(append(e, '\n')); err != nil {
			return fmt.Errorf("writing the audit log: %w", err)
		}
	}
	return nil
}

func (s *logSink) close() error { return s.end() }
