package server

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apiserver/pkg/authentication/user"
	v1beta1 "k8s.io/kubelet/config/v1beta1"
	statsapi "k8s.io/kubelet/pkg/apis/stats/v1alpha1"
)

// Config is what the server is told.
type Config struct {
	NodeName string
	// Kubelet is the configuration, shown at /configz and followed here.
	Kubelet *v1beta1.KubeletConfiguration
	// LogDir is what /logs/ shows; /var/log by default.
	LogDir string
	Logger *slog.Logger
	Now    func() time.Time
}

// Authenticator tells who sends a request. A request without credentials, or with
// ones nobody knows, is ok false; err says what was wrong with them.
type Authenticator interface {
	Authenticate(*http.Request) (who user.Info, ok bool, err error)
}

// Access is what a request wants of the node, as a SubjectAccessReview asks it.
type Access struct {
	Verb, Subresource, Node, Path string
}

// Authorizer tells whether a user may.
type Authorizer interface {
	Authorize(ctx context.Context, who user.Info, want Access) (allowed bool, reason string, err error)
}

// Node is the kubelet.
type Node interface {
	// Pods are those it has to run, static ones among them.
	Pods() []*corev1.Pod
	// RunningPods are those its runtime runs, and no more of them than it knows.
	RunningPods(context.Context) ([]*corev1.Pod, error)
	Pod(namespace, name string) (*corev1.Pod, bool)
	Logs(ctx context.Context, namespace, pod, container string, opts *corev1.PodLogOptions, w io.Writer) error
	// RunCommand runs a command in a container and returns what it printed.
	RunCommand(ctx context.Context, namespace, pod, container string, cmd []string) ([]byte, error)
	// Healthy says why the kubelet does not keep up with its pods; nil if it does.
	Healthy() error
	ProbeCounts() []ProbeCount
}

// ProbeCount is how often a probe of a container came out one way.
type ProbeCount struct {
	Kind, Result, Container, Pod, Namespace, UID string
	Count                                        float64
}

// Stats measures. A summary is shared and not to be written.
type Stats interface {
	Summary(ctx context.Context, fresh time.Duration) (*statsapi.Summary, error)
}

// Streams serves connections that are upgraded. The pod exists and is this node's.
type Streams interface {
	Exec(http.ResponseWriter, *http.Request, *corev1.Pod, *corev1.PodExecOptions)
	Attach(http.ResponseWriter, *http.Request, *corev1.Pod, *corev1.PodAttachOptions)
	PortForward(http.ResponseWriter, *http.Request, *corev1.Pod, *corev1.PodPortForwardOptions)
}

// Deps is what the server uses.
type Deps struct {
	Authenticator Authenticator
	Authorizer    Authorizer
	Node          Node
	Stats         Stats
	Streams       Streams
	// Metrics are the kubelet's own series, served at /metrics with the process's.
	Metrics prometheus.Gatherer
}
