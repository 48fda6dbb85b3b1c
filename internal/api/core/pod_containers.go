package core

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/monohull/monohull/internal/api/meta"
)

// The bounds of a container's restart rules.
const (
	maxRestartRules = 20
	maxExitCodes    = 255
)

// protocols are those of container, service and endpoint ports.
var protocols = []corev1.Protocol{corev1.ProtocolSCTP, corev1.ProtocolTCP, corev1.ProtocolUDP}

func (c *podCheck) checkContainers(p *field.Path) {
	list := c.spec.Containers
	if len(list) == 0 {
		c.Required(p, "")
		return
	}
	names, hostPorts := sets.Set[string]{}, sets.Set[string]{}
	for i := range list {
		ctr, at := &list[i], p.Index(i)
		c.checkContainer(ctr, at)
		if names.Has(ctr.Name) {
			c.Duplicate(at.Child("name"), ctr.Name)
		}
		names.Insert(ctr.Name)
		c.checkLifecycle(ctr, at)
		c.checkRestart(ctr.RestartPolicy, ctr.RestartPolicyRules, at)
	}
	for i := range list {
		c.checkHostPorts(&list[i], hostPorts, p.Index(i))
	}
}

func (c *podCheck) checkInitContainers(p *field.Path) {
	names := sets.Set[string]{}
	for i := range c.spec.Containers {
		names.Insert(c.spec.Containers[i].Name)
	}
	for i := range c.spec.InitContainers {
		ctr, at := &c.spec.InitContainers[i], p.Index(i)
		c.checkContainer(ctr, at)
		if ctr.RestartPolicy == nil && len(ctr.RestartPolicyRules) > 0 {
			c.Required(at.Child("restartPolicy"), "must specify restartPolicy when restart rules are used")
		} else if ctr.RestartPolicy != nil {
			c.checkRestart(ctr.RestartPolicy, ctr.RestartPolicyRules, at)
		}
		if names.Has(ctr.Name) {
			c.Duplicate(at.Child("name"), ctr.Name)
		} else if ctr.Name != "" {
			names.Insert(ctr.Name)
		}
		// Init containers run one after another, so that each is judged alone.
		c.checkHostPorts(ctr, sets.Set[string]{}, p.Index(0))
		if isSidecar(ctr) {
			c.checkLifecycle(ctr, at)
			continue
		}
		const only = "may not be set for init containers without restartPolicy=Always"
		c.ForbiddenIf(ctr.Lifecycle != nil, at.Child("lifecycle"), only)
		c.ForbiddenIf(ctr.LivenessProbe != nil, at.Child("livenessProbe"), only)
		c.ForbiddenIf(ctr.ReadinessProbe != nil, at.Child("readinessProbe"), only)
		c.ForbiddenIf(ctr.StartupProbe != nil, at.Child("startupProbe"), only)
		for j, rp := range ctr.ResizePolicy {
			if rp.RestartPolicy == corev1.RestartContainer {
				c.Invalid(at.Child("resizePolicy").Index(j).Child("restartPolicy"), rp.RestartPolicy, "must not be set to 'RestartContainer' for non-sidecar initContainers")
			}
		}
	}
}

func isSidecar(c *corev1.Container) bool {
	return c != nil && c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
}

func (c *podCheck) checkEphemeralContainers(p *field.Path) {
	others, names := sets.Set[string]{}, sets.Set[string]{}
	for _, list := range [][]corev1.Container{c.spec.Containers, c.spec.InitContainers} {
		for i := range list {
			others.Insert(list[i].Name)
			names.Insert(list[i].Name)
		}
	}
	const never = "cannot be set for an Ephemeral Container"
	for i := range c.spec.EphemeralContainers {
		ec, at := &c.spec.EphemeralContainers[i], p.Index(i)
		ctr := (*corev1.Container)(&ec.EphemeralContainerCommon)
		c.checkContainer(ctr, at)
		imageTrimmed(&c.Report, ctr.Image, at)
		if names.Has(ec.Name) {
			c.Duplicate(at.Child("name"), ec.Name)
		}
		names.Insert(ec.Name)
		if ec.TargetContainerName != "" && !others.Has(ec.TargetContainerName) {
			c.NotFound(at.Child("targetContainerName"), ec.TargetContainerName)
		}
		c.ForbiddenIf(ctr.Ports != nil, at.Child("ports"), never)
		c.ForbiddenIf(!equality.Semantic.DeepEqual(ctr.Resources, corev1.ResourceRequirements{}), at.Child("resources"), never)
		c.ForbiddenIf(ctr.ResizePolicy != nil, at.Child("resizePolicy"), never)
		c.ForbiddenIf(ctr.RestartPolicy != nil, at.Child("restartPolicy"), never)
		c.ForbiddenIf(ctr.RestartPolicyRules != nil, at.Child("restartPolicyRules"), never)
		c.ForbiddenIf(ctr.LivenessProbe != nil, at.Child("livenessProbe"), never)
		c.ForbiddenIf(ctr.ReadinessProbe != nil, at.Child("readinessProbe"), never)
		c.ForbiddenIf(ctr.StartupProbe != nil, at.Child("startupProbe"), never)
		c.ForbiddenIf(ctr.Lifecycle != nil, at.Child("lifecycle"), never)
		for j, m := range ec.VolumeMounts {
			c.ForbiddenIf(m.SubPath != "", at.Child("volumeMounts").Index(j).Child("subPath"), never)
			c.ForbiddenIf(m.SubPathExpr != "", at.Child("volumeMounts").Index(j).Child("subPathExpr"), never)
		}
	}
}

// checkContainer judges what holds for containers of all three sorts.
func (c *podCheck) checkContainer(ctr *corev1.Container, p *field.Path) {
	if ctr.Name == "" {
		c.Required(p.Child("name"), "")
	} else {
		c.Add(meta.Label1123(ctr.Name, p.Child("name")))
	}
	c.RequiredIf(ctr.Image == "", p.Child("image"))
	meta.OneOf(&c.Report, p.Child("terminationMessagePolicy"), ctr.TerminationMessagePolicy, corev1.TerminationMessageReadFile, corev1.TerminationMessageFallbackToLogsOnError)
	c.checkPorts(ctr.Ports, p.Child("ports"))
	c.checkEnv(ctr.Env, p.Child("env"))
	c.checkEnvFrom(ctr.EnvFrom, p.Child("envFrom"))
	c.checkMounts(ctr, p.Child("volumeMounts"))
	c.checkDevices(ctr, p.Child("volumeDevices"))
	c.checkPullPolicy(ctr.ImagePullPolicy, p.Child("imagePullPolicy"))
	requirements(&c.Report, &ctr.Resources, containerResourceName, c.claims, p.Child("resources"))
	c.checkResizePolicy(ctr.ResizePolicy, p.Child("resizePolicy"))
	c.checkSecurity(ctr.SecurityContext, p.Child("securityContext"))
}

func imageTrimmed(r *meta.Report, image string, p *field.Path) {
	if strings.TrimSpace(image) != image {
		r.Invalid(p.Child("image"), image, "must not have leading or trailing whitespace")
	}
}

func (c *podCheck) checkPullPolicy(v corev1.PullPolicy, p *field.Path) {
	meta.OneOf(&c.Report, p, v, corev1.PullAlways, corev1.PullIfNotPresent, corev1.PullNever)
}

func (c *podCheck) checkPorts(ports []corev1.ContainerPort, p *field.Path) {
	names := sets.Set[string]{}
	for i, port := range ports {
		at := p.Index(i)
		if port.Name != "" {
			if msgs := validation.IsValidPortName(port.Name); len(msgs) > 0 {
				c.InvalidAll(at.Child("name"), port.Name, msgs)
			} else if names.Has(port.Name) {
				c.Duplicate(at.Child("name"), port.Name)
			}
			names.Insert(port.Name)
		}
		if port.ContainerPort == 0 {
			c.Required(at.Child("containerPort"), "")
		} else {
			c.InvalidAll(at.Child("containerPort"), port.ContainerPort, validation.IsValidPortNum(int(port.ContainerPort)))
		}
		if port.HostPort != 0 {
			c.InvalidAll(at.Child("hostPort"), port.HostPort, validation.IsValidPortNum(int(port.HostPort)))
		}
		meta.OneOf(&c.Report, at.Child("protocol"), port.Protocol, protocols...)
	}
}

// checkHostPorts refuses one port of the host taken twice.
func (c *podCheck) checkHostPorts(ctr *corev1.Container, taken sets.Set[string], p *field.Path) {
	for i, port := range ctr.Ports {
		if port.HostPort == 0 {
			continue
		}
		key := fmt.Sprintf("%s/%s/%d", port.Protocol, port.HostIP, port.HostPort)
		if taken.Has(key) {
			c.Duplicate(p.Child("ports").Index(i).Child("hostPort"), key)
		}
		taken.Insert(key)
	}
}

func (c *podCheck) checkResizePolicy(list []corev1.ContainerResizePolicy, p *field.Path) {
	seen := sets.Set[corev1.ResourceName]{}
	for i, rp := range list {
		if seen.Has(rp.ResourceName) {
			c.Duplicate(p.Index(i), rp.ResourceName)
		}
		seen.Insert(rp.ResourceName)
		meta.OneOf(&c.Report, p, rp.ResourceName, corev1.ResourceCPU, corev1.ResourceMemory)
		meta.OneOf(&c.Report, p, rp.RestartPolicy, corev1.NotRequired, corev1.RestartContainer)
		if c.spec.RestartPolicy == corev1.RestartPolicyNever && rp.RestartPolicy != corev1.NotRequired {
			c.Invalid(p, rp.RestartPolicy, "must be 'NotRequired' when pod `restartPolicy` is 'Never'")
		}
	}
}

func (c *podCheck) checkRestart(policy *corev1.ContainerRestartPolicy, rules []corev1.ContainerRestartRule, p *field.Path) {
	if policy == nil {
		if len(rules) == 0 {
			return
		}
		c.Required(p.Child("restartPolicy"), "must specify restartPolicy when restart rules are used")
	}
	meta.AmongPtr(&c.Report, p.Child("restartPolicy"), policy, corev1.ContainerRestartPolicyAlways, corev1.ContainerRestartPolicyNever, corev1.ContainerRestartPolicyOnFailure)
	at := p.Child("restartPolicyRules")
	if len(rules) > maxRestartRules {
		c.TooMany(at, len(rules), maxRestartRules)
	}
	for i, rule := range rules {
		meta.Among(&c.Report, at.Index(i).Child("action"), rule.Action, corev1.ContainerRestartRuleActionRestart, corev1.ContainerRestartRuleActionRestartAllContainers)
		codes := at.Index(i).Child("exitCodes")
		if rule.ExitCodes == nil {
			c.Required(codes, "must be specified")
			continue
		}
		meta.Among(&c.Report, codes.Child("operator"), rule.ExitCodes.Operator, corev1.ContainerRestartRuleOnExitCodesOpIn, corev1.ContainerRestartRuleOnExitCodesOpNotIn)
		if n := len(rule.ExitCodes.Values); n > maxExitCodes {
			c.TooMany(codes.Child("values"), n, maxExitCodes)
		}
	}
}

// checkLifecycle judges hooks and probes, which belong to containers that stay.
func (c *podCheck) checkLifecycle(ctr *corev1.Container, p *field.Path) {
	if l := ctr.Lifecycle; l != nil {
		for name, h := range map[string]*corev1.LifecycleHandler{"postStart": l.PostStart, "preStop": l.PreStop} {
			if h != nil {
				c.checkHandler(handler{h.Exec, h.HTTPGet, h.TCPSocket, nil, h.Sleep}, p.Child("lifecycle", name))
			}
		}
	}
	const one = "must be 1"
	if pr := ctr.LivenessProbe; pr != nil {
		at := p.Child("livenessProbe")
		c.checkProbe(pr, at)
		if pr.SuccessThreshold != 1 {
			c.Invalid(at.Child("successThreshold"), pr.SuccessThreshold, one)
		}
	}
	if pr := ctr.ReadinessProbe; pr != nil {
		at := p.Child("readinessProbe")
		c.checkProbe(pr, at)
		if pr.TerminationGracePeriodSeconds != nil {
			c.Invalid(at.Child("terminationGracePeriodSeconds"), pr.TerminationGracePeriodSeconds, "must not be set for readinessProbes")
		}
	}
	if pr := ctr.StartupProbe; pr != nil {
		at := p.Child("startupProbe")
		c.checkProbe(pr, at)
		if pr.SuccessThreshold != 1 {
			c.Invalid(at.Child("successThreshold"), pr.SuccessThreshold, one)
		}
	}
}

func (c *podCheck) checkProbe(pr *corev1.Probe, p *field.Path) {
	c.checkHandler(handler{pr.Exec, pr.HTTPGet, pr.TCPSocket, pr.GRPC, nil}, p)
	c.NonNegative(p.Child("initialDelaySeconds"), int64(pr.InitialDelaySeconds))
	c.NonNegative(p.Child("timeoutSeconds"), int64(pr.TimeoutSeconds))
	c.NonNegative(p.Child("periodSeconds"), int64(pr.PeriodSeconds))
	c.NonNegative(p.Child("successThreshold"), int64(pr.SuccessThreshold))
	c.NonNegative(p.Child("failureThreshold"), int64(pr.FailureThreshold))
	if g := pr.TerminationGracePeriodSeconds; g != nil && *g <= 0 {
		c.Invalid(p.Child("terminationGracePeriodSeconds"), *g, "must be greater than 0")
	}
}

// handler is what a probe or hook does: exactly one of its fields.
type handler struct {
	exec *corev1.ExecAction
	http *corev1.HTTPGetAction
	tcp  *corev1.TCPSocketAction
	grpc *corev1.GRPCAction
	wait *corev1.SleepAction
}

func (c *podCheck) checkHandler(h handler, p *field.Path) {
	first := true
	try := func(set bool, name string, check func(*field.Path)) {
		switch {
		case !set:
		case first:
			first = false
			check(p.Child(name))
		default:
			c.Forbidden(p.Child(name), "may not specify more than 1 handler type")
		}
	}
	try(h.exec != nil, "exec", func(p *field.Path) { c.RequiredIf(len(h.exec.Command) == 0, p.Child("command")) })
	try(h.http != nil, "httpGet", func(p *field.Path) {
		c.RequiredIf(h.http.Path == "", p.Child("path"))
		c.Add(validatePort(h.http.Port, p.Child("port")))
		meta.Among(&c.Report, p.Child("scheme"), h.http.Scheme, corev1.URISchemeHTTP, corev1.URISchemeHTTPS)
		for _, hd := range h.http.HTTPHeaders {
			c.InvalidAll(p.Child("httpHeaders"), hd.Name, validation.IsHTTPHeaderName(hd.Name))
		}
	})
	try(h.tcp != nil, "tcpSocket", func(p *field.Path) { c.Add(validatePort(h.tcp.Port, p.Child("port"))) })
	try(h.grpc != nil, "grpc", func(p *field.Path) { c.Add(validatePort(intstr.FromInt32(h.grpc.Port), p.Child("port"))) })
	try(h.wait != nil, "sleep", func(p *field.Path) {
		if g := c.spec.TerminationGracePeriodSeconds; g != nil && (h.wait.Seconds < 0 || h.wait.Seconds > *g) {
			c.Invalid(p, h.wait.Seconds, fmt.Sprintf("must be non-negative and less than terminationGracePeriodSeconds (%d)", *g))
		}
	})
	if first {
		c.Required(p, "must specify a handler type")
	}
}

// validatePort judges a port given as a number or by the name of a container's port.
func validatePort(port intstr.IntOrString, p *field.Path) field.ErrorList {
	var r meta.Report
	if port.Type == intstr.String {
		r.InvalidAll(p, port.StrVal, validation.IsValidPortName(port.StrVal))
	} else {
		r.InvalidAll(p, port.IntValue(), validation.IsValidPortNum(port.IntValue()))
	}
	return r.Errs
}

// The fields that the downward API shows, sorted as errors list them.
var (
	envFields = []string{"metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", "spec.serviceAccountName",
		"status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs"}
	fileFields      = []string{"metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"}
	podFields       = append([]string{"metadata.annotations", "metadata.labels", "spec.restartPolicy", "spec.schedulerName", "status.phase"}, envFields...)
	resourceFields  = []string{"limits.cpu", "limits.ephemeral-storage", "limits.memory", "requests.cpu", "requests.ephemeral-storage", "requests.memory"}
	storageDivisors = []string{"1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"}
)

func (c *podCheck) checkEnv(vars []corev1.EnvVar, p *field.Path) {
	for i, v := range vars {
		at := p.Index(i)
		if v.Name == "" {
			c.Required(at.Child("name"), "")
		} else {
			c.InvalidAll(at.Child("name"), v.Name, validation.IsRelaxedEnvVarName(v.Name))
		}
		if v.ValueFrom != nil {
			c.checkValueFrom(v, at.Child("valueFrom"))
		}
	}
}

func (c *podCheck) checkValueFrom(v corev1.EnvVar, p *field.Path) {
	n, from := 0, v.ValueFrom
	if f := from.FieldRef; f != nil {
		n++
		c.checkFieldRef(f, envFields, p.Child("fieldRef"))
	}
	if f := from.ResourceFieldRef; f != nil {
		n++
		c.checkResourceFieldRef(f, p.Child("resourceFieldRef"), false)
	}
	if s := from.ConfigMapKeyRef; s != nil {
		n++
		c.checkKeyRef(s.Name, s.Key, p.Child("configMapKeyRef"))
	}
	if s := from.SecretKeyRef; s != nil {
		n++
		c.checkKeyRef(s.Name, s.Key, p.Child("secretKeyRef"))
	}
	if f := from.FileKeyRef; f != nil {
		n++
		at := p.Child("fileKeyRef")
		if f.Key == "" {
			c.Required(at.Child("key"), "")
		} else {
			c.InvalidAll(at.Child("key"), f.Key, validation.IsRelaxedEnvVarName(f.Key))
		}
		if f.VolumeName == "" {
			c.Required(at.Child("volumeName"), "")
		} else {
			c.Add(meta.Label1123(f.VolumeName, at.Child("volumeName")))
		}
		if f.Path == "" {
			c.Required(at.Child("path"), "")
		} else {
			c.checkNoBacksteps(f.Path, at.Child("path"))
		}
	}
	switch {
	case n == 0:
		c.Invalid(p, "", "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`")
	case v.Value != "":
		c.Invalid(p, "", "may not be specified when `value` is not empty")
	case n > 1:
		c.Invalid(p, "", "may not have more than one field specified at a time")
	}
}

func (c *podCheck) checkKeyRef(name, key string, p *field.Path) {
	c.Named(p.Child("name"), name, meta.DNSSubdomain)
	if key == "" {
		c.Required(p.Child("key"), "")
	} else {
		c.InvalidAll(p.Child("key"), key, validation.IsConfigMapKey(key))
	}
}

// checkFieldRef judges a reference to a field of the pod, which may have a
// subscript where it names one label or annotation.
func (c *podCheck) checkFieldRef(f *corev1.ObjectFieldSelector, allowed []string, p *field.Path) {
	if f.APIVersion == "" {
		c.Required(p.Child("apiVersion"), "")
		return
	}
	at := p.Child("fieldPath")
	if f.FieldPath == "" {
		c.Required(at, "")
		return
	}
	if f.APIVersion != "v1" {
		c.Invalid(at, f.FieldPath, fmt.Sprintf("error converting fieldPath: unsupported pod version: %s", f.APIVersion))
		return
	}
	if path, subscript, ok := splitSubscript(f.FieldPath); ok {
		switch path {
		case "metadata.annotations":
			c.Add(meta.QualifiedName(strings.ToLower(subscript), p))
		case "metadata.labels":
			c.Add(meta.QualifiedName(subscript, p))
		default:
			c.Invalid(at, f.FieldPath, fmt.Sprintf("error converting fieldPath: field label does not support subscript: %s", f.FieldPath))
		}
		return
	}
	path := f.FieldPath
	if path == "spec.host" {
		path = "spec.nodeName"
	}
	if !slices.Contains(podFields, path) {
		c.Invalid(at, f.FieldPath, fmt.Sprintf("error converting fieldPath: field label not supported: %s", f.FieldPath))
	} else if !slices.Contains(allowed, path) {
		meta.Among(&c.Report, at, path, allowed...)
	}
}

// splitSubscript splits "path['key']".
func splitSubscript(s string) (path, key string, ok bool) {
	rest, found := strings.CutSuffix(s, "']")
	if !found {
		return "", "", false
	}
	path, key, found = strings.Cut(rest, "['")
	return path, key, found && path != ""
}

const hugePagesField = ".hugepages-"

func (c *podCheck) checkResourceFieldRef(f *corev1.ResourceFieldSelector, p *field.Path, volume bool) {
	huge := strings.HasPrefix(f.Resource, "limits"+hugePagesField) || strings.HasPrefix(f.Resource, "requests"+hugePagesField)
	switch {
	case volume && f.ContainerName == "":
		c.Required(p.Child("containerName"), "")
	case f.Resource == "":
		c.Required(p.Child("resource"), "")
	case !huge:
		meta.Among(&c.Report, p.Child("resource"), f.Resource, resourceFields...)
	}
	if f.Divisor.Sign() == 0 {
		return
	}
	bad := func(kind string) {
		if !slices.Contains(storageDivisors, f.Divisor.String()) {
			c.Invalid(p.Child("divisor"), f.Resource, "only divisor's values "+strings.Join(storageDivisors, ", ")+" are supported with the "+kind+" resource")
		}
	}
	switch {
	case f.Resource == "limits.cpu" || f.Resource == "requests.cpu":
		if d := f.Divisor.String(); d != "1m" && d != "1" {
			c.Invalid(p.Child("divisor"), f.Resource, "only divisor's values 1m and 1 are supported with the cpu resource")
		}
	case f.Resource == "limits.memory" || f.Resource == "requests.memory":
		bad("memory")
	case f.Resource == "limits.ephemeral-storage" || f.Resource == "requests.ephemeral-storage":
		bad("local ephemeral storage")
	case huge:
		bad("hugepages")
	}
}

func (c *podCheck) checkEnvFrom(list []corev1.EnvFromSource, p *field.Path) {
	for i, v := range list {
		at := p.Index(i)
		if v.Prefix != "" {
			c.InvalidAll(at.Child("prefix"), v.Prefix, validation.IsRelaxedEnvVarName(v.Prefix))
		}
		n := 0
		source := func(name, kind string) {
			n++
			if name == "" {
				c.Required(at.Child(kind, "name"), "")
			} else {
				c.InvalidAll(at.Child(kind, "name"), name, meta.DNSSubdomain(name, true))
			}
		}
		if v.ConfigMapRef != nil {
			source(v.ConfigMapRef.Name, "configMapRef")
		}
		if v.SecretRef != nil {
			source(v.SecretRef.Name, "secretRef")
		}
		if n == 0 {
			c.Invalid(p, "", "must specify one of: `configMapRef` or `secretRef`")
		} else if n > 1 {
			c.Invalid(p, "", "may not have more than one field specified at a time")
		}
	}
}

// checkFileKeyVolumes wants the volume of a variable read from a file to be an
// emptyDir, which another container of the pod fills.
func (c *podCheck) checkFileKeyVolumes(p *field.Path) {
	eachContainer(c.spec, p, func(ctr *corev1.Container, p *field.Path) {
		for i, v := range ctr.Env {
			if v.ValueFrom == nil || v.ValueFrom.FileKeyRef == nil {
				continue
			}
			name, at := v.ValueFrom.FileKeyRef.VolumeName, p.Child("env").Index(i).Child("valueFrom", "fileKeyRef", "volumeName")
			j := len(c.spec.Volumes) - 1
			for j >= 0 && c.spec.Volumes[j].Name != name {
				j--
			}
			if j < 0 {
				c.NotFound(at, name)
			} else if c.spec.Volumes[j].EmptyDir == nil {
				c.Invalid(at, name, "referenced volume must be of type emptyDir")
			}
		}
	})
}
