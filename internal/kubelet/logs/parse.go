// Package logs reads container logs in the CRI's format.
//
// A line is "<RFC 3339 with nanoseconds> <stdout|stderr> <P|F> <text>"; P marks a
// part of a longer line. Parsing and choosing are pure; following waits for inotify.
package logs

import (
	"bytes"
	"fmt"
	"time"
)

// Line is one line, or a part of one, of a log file.
type Line struct {
	Stamp  []byte // as written
	Time   time.Time
	Stream string
	Part   bool
	Text   []byte // ends with a newline unless it is a part
}

// Parse reads one line of a log file, with or without its newline.
func Parse(b []byte) (Line, error) {
	stamp, rest, ok := bytes.Cut(b, []byte{' '})
	if !ok {
		return Line{}, fmt.Errorf("log line without a time stamp")
	}
	t, err := time.Parse(time.RFC3339Nano, string(stamp))
	if err != nil {
		return Line{}, fmt.Errorf("log line's time stamp: %w", err)
	}
	stream, rest, ok := bytes.Cut(rest, []byte{' '})
	if !ok || string(stream) != "stdout" && string(stream) != "stderr" {
		return Line{}, fmt.Errorf("log line of an unknown stream %q", stream)
	}
	tags, text, ok := bytes.Cut(rest, []byte{' '})
	if !ok {
		return Line{}, fmt.Errorf("log line without a tag")
	}
	tag, _, _ := bytes.Cut(tags, []byte{':'})
	l := Line{Stamp: stamp, Time: t, Stream: string(stream), Part: string(tag) == "P"}
	if l.Part {
		l.Text = bytes.TrimSuffix(text, []byte{'\n'})
	} else {
		l.Text = text
		if !bytes.HasSuffix(text, []byte{'\n'}) {
			l.Text = append(bytes.Clone(text), '\n')
		}
	}
	return l, nil
}
