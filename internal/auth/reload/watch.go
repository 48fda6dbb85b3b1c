package reload

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
	"k8s.io/utils/clock"
)

// Interval is how often a file is looked at when nothing tells of a change.
const Interval = time.Minute

// Watch calls look at once and then after every sign that the file may have changed, one call at a time, until ctx
// ends. Its directory is watched and not the file, which may be replaced by a link or by renaming, as mounted
// ConfigMaps are. Without the kernel's help it looks once an interval.
func Watch(ctx context.Context, path string, c clock.WithTicker, look func(context.Context)) error {
	watcher, err := fsnotify.NewWatcher()
	if err == nil {
		defer watcher.Close()
		err = watcher.Add(filepath.Dir(path))
	}
	var events chan fsnotify.Event
	var errs chan error
	if err == nil {
		events, errs = watcher.Events, watcher.Errors
	}
	tick := c.NewTicker(Interval)
	defer tick.Stop()
	for {
		look(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C():
		case _, ok := <-events:
			if !ok {
				return fmt.Errorf("watch %s: the kernel's notes ended", path)
			}
			drain(events)
		case <-errs: // notes were lost: look
		}
	}
}

// drain takes the notes that came with the first: one look serves them all.
func drain(events chan fsnotify.Event) {
	for {
		select {
		case _, ok := <-events:
			if !ok {
				return
			}
		default:
			return
		}
	}
}
