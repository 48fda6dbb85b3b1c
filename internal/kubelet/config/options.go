package config

import (
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	v1beta1 "k8s.io/kubelet/config/v1beta1"

	"github.com/monohull/monohull/internal/kubelet/eviction"
	"github.com/monohull/monohull/internal/kubelet/imagegc"
	"github.com/monohull/monohull/internal/kubelet/logs"
)

// Options are a configuration, read and judged.
type Options struct {
	// Kubelet is all of it, with defaults: for those who ask, and for plain fields.
	Kubelet  *v1beta1.KubeletConfiguration
	Eviction eviction.Config
	Images   imagegc.Policy
	Logs     logs.Policy
	// Reserved is set aside for the system and for Kubernetes.
	Reserved corev1.ResourceList
	// MaxPulls is how many images are pulled at a time; 0 is any number.
	MaxPulls int
	// Warnings tell of fields that are set and do nothing here.
	Warnings []string
}

// Default are the options of no configuration at all.
func Default() Options {
	o, err := New(&v1beta1.KubeletConfiguration{})
	if err != nil {
		panic("config: the defaults are refused: " + err.Error())
	}
	return o
}

// New fills in defaults, checks, and reads what is written as text. It keeps c.
func New(c *v1beta1.KubeletConfiguration) (Options, error) {
	warnings := idle(c)
	setDefaults(c)
	o := Options{Kubelet: c, Warnings: warnings}
	errs := validate(c)
	thresholds, err := eviction.Parse(c.EvictionHard, c.EvictionSoft, c.EvictionSoftGracePeriod, c.EvictionMinimumReclaim)
	errs = append(errs, err)
	o.Eviction = eviction.Config{
		Thresholds: thresholds, Transition: c.EvictionPressureTransitionPeriod.Duration,
		MaxGrace: time.Duration(c.EvictionMaxPodGracePeriod) * time.Second, LocalStorage: *c.LocalStorageCapacityIsolation,
		Allocatable: slices.Contains(c.EnforceNodeAllocatable, "pods"),
	}
	o.Images = imagegc.Policy{
		High: int(*c.ImageGCHighThresholdPercent), Low: int(*c.ImageGCLowThresholdPercent),
		MinAge: c.ImageMinimumGCAge.Duration, MaxAge: c.ImageMaximumGCAge.Duration,
	}
	size, err := resource.ParseQuantity(c.ContainerLogMaxSize)
	if err != nil {
		errs = append(errs, fmt.Errorf("failed to parse container log max size %q: %w", c.ContainerLogMaxSize, err))
	} else if size.Value() <= 0 {
		errs = append(errs, fmt.Errorf("failed to parse container log max size %q: must be positive", c.ContainerLogMaxSize))
	}
	if *c.ContainerLogMaxFiles <= 1 {
		errs = append(errs, fmt.Errorf("invalid MaxFiles %d, must be > 1", *c.ContainerLogMaxFiles))
	}
	o.Logs = logs.Policy{MaxBytes: size.Value(), MaxFiles: int(*c.ContainerLogMaxFiles), Interval: c.ContainerLogMonitorInterval.Duration}
	o.Reserved = corev1.ResourceList{}
	for name, l := range map[string]map[string]string{"systemReserved": c.SystemReserved, "kubeReserved": c.KubeReserved} {
		for r, v := range l {
			q, err := parseReserved(r, v)
			if err != nil {
				errs = append(errs, fmt.Errorf("invalid configuration: %s: %w", name, err))
				continue
			}
			sum := o.Reserved[corev1.ResourceName(r)]
			sum.Add(q)
			o.Reserved[corev1.ResourceName(r)] = sum
		}
	}
	switch {
	case *c.SerializeImagePulls:
		o.MaxPulls = 1
	case c.MaxParallelImagePulls != nil:
		o.MaxPulls = int(*c.MaxParallelImagePulls)
	}
	return o, errors.Join(errs...)
}

func parseReserved(name, v string) (resource.Quantity, error) {
	switch corev1.ResourceName(name) {
	case corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage, "pid":
	default:
		return resource.Quantity{}, fmt.Errorf("cannot reserve %q resource", name)
	}
	q, err := resource.ParseQuantity(v)
	if err != nil {
		return q, fmt.Errorf("failed to parse quantity %q for %q resource: %w", v, name, err)
	}
	if q.Sign() == -1 {
		return q, fmt.Errorf("resource quantity for %q cannot be negative: %v", name, v)
	}
	return q, nil
}

// validate checks what upstream checks of the fields that act.
func validate(c *v1beta1.KubeletConfiguration) []error {
	var errs []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf("invalid configuration: "+format, args...))
		}
	}
	high, low := *c.ImageGCHighThresholdPercent, *c.ImageGCLowThresholdPercent
	percent := func(v int32) bool { return v >= 0 && v <= 100 }
	check(c.NodeLeaseDurationSeconds > 0, "nodeLeaseDurationSeconds must be greater than 0")
	check(percent(high), "imageGCHighThresholdPercent (--image-gc-high-threshold) %v must be between 0 and 100, inclusive", high)
	check(percent(low), "imageGCLowThresholdPercent (--image-gc-low-threshold) %v must be between 0 and 100, inclusive", low)
	check(low < high, "imageGCLowThresholdPercent (--image-gc-low-threshold) %v must be less than imageGCHighThresholdPercent (--image-gc-high-threshold) %v", low, high)
	check(c.ImageMinimumGCAge.Duration >= 0, "imageMinimumGCAge %v must not be negative", c.ImageMinimumGCAge.Duration)
	check(c.ImageMaximumGCAge.Duration >= 0, "imageMaximumGCAge %v must not be negative", c.ImageMaximumGCAge.Duration)
	check(c.ImageMaximumGCAge.Duration <= 0 || c.ImageMaximumGCAge.Duration > c.ImageMinimumGCAge.Duration,
		"imageMaximumGCAge %v must be greater than imageMinimumGCAge %v", c.ImageMaximumGCAge.Duration, c.ImageMinimumGCAge.Duration)
	check(c.MaxPods >= 0, "maxPods (--max-pods) %v must not be a negative number", c.MaxPods)
	check(c.PodsPerCore >= 0, "podsPerCore (--pods-per-core) %v must not be a negative number", c.PodsPerCore)
	check(c.Port >= 1 && c.Port <= 65535, "port (--port) %v must be between 1 and 65535, inclusive", c.Port)
	check(c.RegistryBurst >= 0, "registryBurst (--registry-burst) %v must not be a negative number", c.RegistryBurst)
	check(*c.RegistryPullQPS >= 0, "registryPullQPS (--registry-qps) %v must not be a negative number", *c.RegistryPullQPS)
	check(*c.NodeStatusMaxImages >= -1, "nodeStatusMaxImages (--node-status-max-images) %v must be -1 or greater", *c.NodeStatusMaxImages)
	period := c.CPUCFSQuotaPeriod.Duration
	check(period >= time.Millisecond && period <= time.Second, "cpuCFSQuotaPeriod (--cpu-cfs-quota-period) %v must be between 1ms and 1sec, inclusive", period)
	if m := c.MaxParallelImagePulls; m != nil {
		check(*m >= 1, "maxParallelImagePulls %v must be a positive number", *m)
		check(!*c.SerializeImagePulls || *m <= 1, "maxParallelImagePulls cannot be larger than 1 unless SerializeImagePulls (--serialize-image-pulls) is set to false")
	}
	check(!c.RunOnce, "runOnce (--runOnce) %v, Runonce mode has been deprecated and should not be set", c.RunOnce)
	back := c.CrashLoopBackOff.MaxContainerRestartPeriod.Duration
	check(back >= time.Second && back <= 5*time.Minute, "CrashLoopBackOff.MaxContainerRestartPeriod (got: %v seconds) must be set between 1s and 300s", back.Seconds())
	for _, t := range c.RegisterWithTaints {
		check(t.Key != "" && t.Effect != "", "invalid taint: %v", t)
		check(t.TimeAdded == nil, "taint.TimeAdded is not nil")
	}
	for _, v := range c.EnforceNodeAllocatable {
		check(v == "pods" || v == "none" || v == "", "option %q specified for enforceNodeAllocatable (--enforce-node-allocatable) is not supported here; valid options are \"pods\" and \"none\"", v)
	}
	for name, mode := range map[string]bool{
		string(c.Authorization.Mode): c.Authorization.Mode == v1beta1.KubeletAuthorizationModeWebhook || c.Authorization.Mode == v1beta1.KubeletAuthorizationModeAlwaysAllow,
	} {
		check(mode, "option %q specified for authorization.mode (--authorization-mode). Valid options are \"AlwaysAllow\" and \"Webhook\"", name)
	}
	check(c.CPUManagerPolicy == "none", "cpuManagerPolicy %q is not supported here; the valid option is \"none\"", c.CPUManagerPolicy)
	check(c.MemoryManagerPolicy == v1beta1.NoneMemoryManagerPolicy, "memoryManagerPolicy %q is not supported here; the valid option is \"None\"", c.MemoryManagerPolicy)
	check(c.TopologyManagerPolicy == v1beta1.NoneTopologyManagerPolicy || c.TopologyManagerPolicy == v1beta1.BestEffortTopologyManagerPolicy,
		"topologyManagerPolicy %q is not supported here; the valid option is \"none\"", c.TopologyManagerPolicy)
	check(c.MemorySwap.SwapBehavior == "" || c.MemorySwap.SwapBehavior == "NoSwap", "memorySwap.swapBehavior %q is not supported here; valid options are \"\" and \"NoSwap\"", c.MemorySwap.SwapBehavior)
	return errs
}

func on(b *bool) bool { return b != nil && *b }

// idle lists the fields that are set and do nothing here.
func idle(c *v1beta1.KubeletConfiguration) []string {
	var out []string
	tell := func(set bool, name, why string) {
		if set {
			out = append(out, name+" has no effect: "+why)
		}
	}
	shutdown := c.ShutdownGracePeriod.Duration > 0 || c.ShutdownGracePeriodCriticalPods.Duration > 0 || len(c.ShutdownGracePeriodByPodPriority) > 0
	tell(shutdown, "shutdownGracePeriod", "pods outlive this process, and a shutdown of the machine is not followed")
	tell(c.ReadOnlyPort != 0, "readOnlyPort", "there is no port without authorization")
	tell(c.ContainerRuntimeEndpoint != "" || c.ImageServiceEndpoint != "", "containerRuntimeEndpoint", "the container runtime is in this process")
	tell(c.ClusterDomain != "" || len(c.ClusterDNS) > 0, "clusterDomain, clusterDNS", "they are the server's")
	tell(c.CgroupRoot != "" || c.CgroupDriver == "systemd", "cgroupRoot, cgroupDriver", "control groups are made directly, below the server's own")
	tell(c.TLSCertFile != "" || c.ServerTLSBootstrap || c.RotateCertificates, "tlsCertFile, serverTLSBootstrap, rotateCertificates", "certificates are the server's")
	tell(len(c.QOSReserved) > 0, "qosReserved", "memory of classes is not reserved")
	tell(c.ReservedSystemCPUs != "", "reservedSystemCPUs", "there are no exclusive CPUs")
	tell(len(c.ReservedMemory) > 0, "reservedMemory", "there is no memory manager")
	tell(c.SystemReservedCgroup != "" || c.KubeReservedCgroup != "", "systemReservedCgroup, kubeReservedCgroup", "what is reserved is not enforced")
	tell(c.KernelMemcgNotification, "kernelMemcgNotification", "memory is looked at every ten seconds")
	tell(c.VolumePluginDir != "", "volumePluginDir", "there are no flexvolumes")
	tell(c.Tracing != nil, "tracing", "there are no traces")
	tell(c.ProtectKernelDefaults, "protectKernelDefaults", "kernel settings are left as they are")
	tell(c.CrashLoopBackOff.MaxContainerRestartPeriod != nil, "crashLoopBackOff", "containers back off for up to five minutes")
	tell(len(c.AllowedUnsafeSysctls) > 0, "allowedUnsafeSysctls", "a pod may set what the kernel keeps apart for it")
	tell(on(c.SeccompDefault), "seccompDefault", "the profile is the pod's choice")
	tell(c.RegisterNode != nil && !*c.RegisterNode, "registerNode", "the node registers")
	tell(c.CgroupsPerQOS != nil && !*c.CgroupsPerQOS, "cgroupsPerQOS", "pods have control groups by class")
	tell(c.ImagePullCredentialsVerificationPolicy != "" || len(c.PreloadedImagesVerificationAllowlist) > 0, "imagePullCredentialsVerificationPolicy", "images that are there are for every pod")
	tell(c.OOMScoreAdj != nil || c.MaxOpenFiles != 0, "oomScoreAdj, maxOpenFiles", "they are the whole process's")
	tell(c.EventRecordQPS != nil || c.EventBurst != 0 || c.KubeAPIQPS != nil || c.KubeAPIBurst != 0, "eventRecordQPS, kubeAPIQPS", "requests to the API are not throttled here")
	tell(c.HealthzPort != nil || c.HealthzBindAddress != "", "healthzPort", "/healthz is on the kubelet's port")
	tell(c.PodLogsDir != "" || c.PodCIDR != "", "podLogsDir, podCIDR", "they are the server's")
	tell(c.MemoryThrottlingFactor != nil || c.MemoryReservationPolicy != "", "memoryThrottlingFactor, memoryReservationPolicy", "memory is not throttled before its limit")
	tell(c.UserNamespaces != nil, "userNamespaces", "ranges of users are the runtime's")
	tell(c.StreamingConnectionIdleTimeout.Duration != 0, "streamingConnectionIdleTimeout", "it is four hours")
	tell(c.SingleProcessOOMKill != nil, "singleProcessOOMKill", "the kernel's way is left as it is")
	tell(len(c.FeatureGates) > 0, "featureGates", "features are those of this version's defaults")
	return out
}
