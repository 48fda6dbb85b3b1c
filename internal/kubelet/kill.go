package kubelet

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/monohull/monohull/internal/kubelet/criconfig"
	"github.com/monohull/monohull/internal/kubelet/logs"
	"github.com/monohull/monohull/internal/kubelet/podmachine"
	"github.com/monohull/monohull/internal/kubelet/probes"
)

const (
	// minStop is what a container has at least between SIGTERM and SIGKILL when a
	// hook used its time up.
	minStop = 2 * time.Second
	// maxDrain bounds the wait for Services to turn away from a pod that goes.
	maxDrain = 500 * time.Millisecond
	// killRetry is the pause after a container could not be stopped.
	killRetry = time.Second

	maxMessageBytes    = 4096
	maxMessageLogBytes = 2048
	maxMessageLogLines = 80
)

func (w *worker) killContainer(ctx context.Context, a podmachine.Action) {
	before, again := w.cancels[a.Key()]
	if again {
		before.cancel() // with a longer grace
	}
	c := criconfig.FindContainer(w.pod, a.Container)
	pod := w.pod
	var ips []string
	if len(w.obs.Sandboxes) > 0 {
		ips = w.obs.Sandboxes[0].IPs
	}
	if !again {
		w.event(a.Container, corev1.EventTypeNormal, "Killing", a.Message)
	}
	w.begin(ctx, a, func(ctx context.Context) func() {
		grace := a.Grace
		if !again && pod.DeletionTimestamp != nil && w.k.deps.Drain != nil {
			drain, cancel := context.WithTimeout(ctx, maxDrain)
			w.k.deps.Drain(drain, pod)
			cancel()
		}
		if c != nil && c.Lifecycle != nil && c.Lifecycle.PreStop != nil && !again {
			start := time.Now()
			hookCtx, cancel := context.WithTimeout(ctx, grace)
			err := w.hook(hookCtx, c.Lifecycle.PreStop, c, a.ID, ips)
			cancel()
			if ctx.Err() != nil {
				return nil
			}
			if err != nil {
				w.event(a.Container, corev1.EventTypeWarning, "FailedPreStopHook", "PreStopHook failed")
				w.log.Info("kubelet: a preStop hook failed", "container", a.Container, "error", err)
			}
			grace = max(grace-time.Since(start), minStop)
		}
		_, err := w.k.deps.Runtime.StopContainer(ctx, &runtimeapi.StopContainerRequest{
			ContainerId: a.ID, Timeout: int64(math.Ceil(grace.Seconds())),
		})
		if err != nil && !isGone(err) && ctx.Err() == nil {
			w.log.Warn("kubelet: a container was not stopped; it is tried again", "pod", pod.Name, "container", a.Container, "error", err)
			w.event(a.Container, corev1.EventTypeWarning, "FailedKillPod", fmt.Sprintf("error killing pod: %v", plain(err)))
			pause(ctx, killRetry)
		}
		return nil
	})
}

// hook runs a lifecycle hook. It runs beside the worker.
func (w *worker) hook(ctx context.Context, h *corev1.LifecycleHandler, c *corev1.Container, id string, ips []string) error {
	switch {
	case h.Exec != nil:
		var out bytes.Buffer
		code, err := w.k.deps.Streams.Exec(ctx, id, h.Exec.Command, false, nil, &out, &out, nil)
		if err != nil {
			return err
		}
		if code != 0 {
			return fmt.Errorf("command %q exited with %d: %s", h.Exec.Command, code, clip(out.String()))
		}
	case h.HTTPGet != nil:
		ip := ""
		if len(ips) > 0 {
			ip = ips[0]
		}
		req, err := probes.Request(ctx, h.HTTPGet, c, ip, "kube-lifecycle/1.36")
		if err != nil {
			return err
		}
		return get(req)
	case h.Sleep != nil:
		t := time.NewTimer(time.Duration(h.Sleep.Seconds) * time.Second)
		defer t.Stop()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-w.k.endOf(id):
			return errors.New("container terminated before sleep hook finished")
		case <-t.C:
		}
	}
	return nil
}

func get(req *http.Request) error {
	client := http.Client{Transport: &http.Transport{
		// As with probes, who answers is not checked.
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // as said
		DisableKeepAlives: true,
	}}
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode >= 400 {
		return fmt.Errorf("HTTP hook answered %s", res.Status)
	}
	return nil
}

func clip(s string) string { return s[:min(len(s), 10<<10)] }

// messagePath is the file a container leaves its last words in.
func (w *worker) messagePath(container string, attempt int32) string {
	return filepath.Join(w.k.vols.PodDir(string(w.uid)), "containers", container, fmt.Sprintf("%08x", uint32(attempt)))
}

// lastWords is the message of a container that ended: its own, or the end of its log.
func (w *worker) lastWords(c podmachine.Container, s *runtimeapi.ContainerStatus) string {
	if m, ok := w.messages[c.ID]; ok {
		return m
	}
	words, fromLog := "", false
	fallback := s.GetAnnotations()[criconfig.AnnotationMessagePolicy] == string(corev1.TerminationMessageFallbackToLogsOnError) &&
		c.ExitCode != 0 && c.Reason != "ContainerCannotRun" && c.Reason != "StartError"
	if s.GetAnnotations()[criconfig.AnnotationMessagePath] != "" {
		path := w.messagePath(c.Name, c.Attempt)
		b, err := readEnd(path, maxMessageBytes)
		switch {
		case errors.Is(err, os.ErrNotExist):
		case err != nil:
			words = fmt.Sprintf("Error on reading termination log %s: %v", path, err)
		default:
			words = string(b)
		}
	}
	if fromLog = words == "" && fallback; fromLog {
		words = logs.Tail(c.LogPath, maxMessageLogLines, maxMessageLogBytes)
	}
	out := c.Message
	if words != "" {
		if out != "" {
			out += ": "
		}
		out += words
	}
	w.messages[c.ID] = out
	return out
}

func readEnd(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("not a regular file, but %s", strconv.Quote(info.Mode().String()))
	}
	b := make([]byte, min(info.Size(), limit))
	n, err := f.ReadAt(b, max(0, info.Size()-limit))
	if n == len(b) {
		err = nil
	}
	return b[:n], err
}
