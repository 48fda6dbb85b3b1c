package streams

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// defaultContainerAnnotation names the container that kubectl, and so this
// server, takes where none is named.
const defaultContainerAnnotation = "kubectl.kubernetes.io/default-container"

// query reads parameters as the API does: the first value counts, and a flag is
// set by anything but "false" and "0".
type query struct {
	values url.Values
	err    error
}

func (q *query) flag(name string) bool {
	v, ok := q.values[name]
	return ok && len(v) > 0 && v[0] != "0" && !strings.EqualFold(v[0], "false")
}

func (q *query) number(name string) *int64 {
	v := q.values[name]
	if len(v) == 0 {
		return nil
	}
	n, err := strconv.ParseInt(v[0], 10, 64)
	if err != nil && q.err == nil {
		q.err = apierrors.NewBadRequest(err.Error())
	}
	return &n
}

// ParseExecOptions reads the query of pods/exec.
func ParseExecOptions(values url.Values) *corev1.PodExecOptions {
	q := query{values: values}
	return &corev1.PodExecOptions{
		Stdin: q.flag("stdin"), Stdout: q.flag("stdout"), Stderr: q.flag("stderr"), TTY: q.flag("tty"),
		Container: values.Get("container"), Command: values["command"],
	}
}

// ParseAttachOptions reads the query of pods/attach.
func ParseAttachOptions(values url.Values) *corev1.PodAttachOptions {
	q := query{values: values}
	return &corev1.PodAttachOptions{
		Stdin: q.flag("stdin"), Stdout: q.flag("stdout"), Stderr: q.flag("stderr"), TTY: q.flag("tty"),
		Container: values.Get("container"),
	}
}

// ParsePortForwardOptions reads the query of pods/portforward.
func ParsePortForwardOptions(values url.Values) (*corev1.PodPortForwardOptions, error) {
	opts := &corev1.PodPortForwardOptions{}
	for _, list := range values["ports"] {
		for p := range strings.SplitSeq(list, ",") {
			n, err := strconv.ParseUint(p, 10, 16)
			if err != nil {
				return nil, apierrors.NewBadRequest(fmt.Sprintf("unable to parse %q as a port: %v", list, err))
			}
			if n < 1 {
				return nil, apierrors.NewBadRequest(fmt.Sprintf("port %q must be > 0", list))
			}
			opts.Ports = append(opts.Ports, int32(n))
		}
	}
	return opts, nil
}

// ParseLogOptions reads the query of pods/log. It does not validate the values.
func ParseLogOptions(values url.Values) (*corev1.PodLogOptions, error) {
	q := query{values: values}
	opts := &corev1.PodLogOptions{
		Container:                    values.Get("container"),
		Follow:                       q.flag("follow"),
		Previous:                     q.flag("previous"),
		Timestamps:                   q.flag("timestamps"),
		InsecureSkipTLSVerifyBackend: q.flag("insecureSkipTLSVerifyBackend"),
		SinceSeconds:                 q.number("sinceSeconds"),
		TailLines:                    q.number("tailLines"),
		LimitBytes:                   q.number("limitBytes"),
	}
	if v := values["sinceTime"]; len(v) > 0 {
		t := metav1.Time{}
		if err := t.UnmarshalQueryParameter(v[0]); err != nil && q.err == nil {
			q.err = apierrors.NewBadRequest(err.Error())
		}
		opts.SinceTime = &t
	}
	if v := values["stream"]; len(v) > 0 {
		opts.Stream = &v[0]
	}
	if q.err != nil {
		return nil, q.err
	}
	return opts, nil
}

// ValidateLogOptions judges options of which Stream has been defaulted.
func ValidateLogOptions(opts *corev1.PodLogOptions) field.ErrorList {
	var errs field.ErrorList
	if n := opts.TailLines; n != nil && *n < 0 {
		errs = append(errs, field.Invalid(field.NewPath("tailLines"), *n, "must be greater than or equal to 0"))
	}
	if n := opts.LimitBytes; n != nil && *n < 1 {
		errs = append(errs, field.Invalid(field.NewPath("limitBytes"), *n, "must be greater than 0"))
	}
	switch n := opts.SinceSeconds; {
	case n != nil && opts.SinceTime != nil:
		errs = append(errs, field.Forbidden(field.NewPath(""), "at most one of `sinceTime` or `sinceSeconds` may be specified"))
	case n != nil && *n < 1:
		errs = append(errs, field.Invalid(field.NewPath("sinceSeconds"), *n, "must be greater than 0"))
	}
	if opts.Stream == nil {
		return append(errs, field.Required(field.NewPath("stream"), "must be specified"))
	}
	switch *opts.Stream {
	case corev1.LogStreamAll:
		return errs
	case corev1.LogStreamStdout, corev1.LogStreamStderr:
	default:
		errs = append(errs, field.NotSupported(field.NewPath("stream"), *opts.Stream,
			[]string{corev1.LogStreamAll, corev1.LogStreamStdout, corev1.LogStreamStderr}))
	}
	if opts.TailLines != nil {
		errs = append(errs, field.Forbidden(field.NewPath(""), "`tailLines` and specific `stream` are mutually exclusive for now"))
	}
	return errs
}

// containerNames lists the containers of a pod in the order errors name them.
func containerNames(pod *corev1.Pod) []string {
	var names []string
	for i := range pod.Spec.InitContainers {
		names = append(names, pod.Spec.InitContainers[i].Name)
	}
	for i := range pod.Spec.Containers {
		names = append(names, pod.Spec.Containers[i].Name)
	}
	for i := range pod.Spec.EphemeralContainers {
		names = append(names, pod.Spec.EphemeralContainers[i].Name)
	}
	return names
}

// chooseContainer checks the name a client gave, or finds the one it means.
func chooseContainer(pod *corev1.Pod, name string) (string, error) {
	names := containerNames(pod)
	has := func(name string) bool {
		for _, n := range names {
			if n == name {
				return true
			}
		}
		return false
	}
	switch {
	case name != "" && !has(name):
		return "", apierrors.NewBadRequest(fmt.Sprintf("container %s is not valid for pod %s", name, pod.Name))
	case name != "":
		return name, nil
	case len(pod.Spec.Containers) == 1:
		return pod.Spec.Containers[0].Name, nil
	case len(pod.Spec.Containers) == 0:
		return "", apierrors.NewBadRequest(fmt.Sprintf("a container name must be specified for pod %s", pod.Name))
	}
	if name := pod.Annotations[defaultContainerAnnotation]; name != "" && has(name) {
		return name, nil
	}
	return "", apierrors.NewBadRequest(fmt.Sprintf("a container name must be specified for pod %s, choose one of: %s", pod.Name, names))
}

// containerTTY tells whether a container's process was started with a terminal.
func containerTTY(pod *corev1.Pod, name string) bool {
	for i := range pod.Spec.Containers {
		if c := &pod.Spec.Containers[i]; c.Name == name {
			return c.TTY
		}
	}
	for i := range pod.Spec.InitContainers {
		if c := &pod.Spec.InitContainers[i]; c.Name == name {
			return c.TTY
		}
	}
	for i := range pod.Spec.EphemeralContainers {
		if c := &pod.Spec.EphemeralContainers[i]; c.Name == name {
			return c.TTY
		}
	}
	return false
}
