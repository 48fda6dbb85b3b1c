package config

import (
	"maps"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	v1beta1 "k8s.io/kubelet/config/v1beta1"
)

// Port is where kubelets listen.
const Port = 10250

// parallelPulls is how many images are pulled at a time where nothing is said.
const parallelPulls = 4

// EvictionHard are upstream's thresholds on Linux.
func EvictionHard() map[string]string {
	return map[string]string{
		"memory.available": "100Mi", "nodefs.available": "10%", "nodefs.inodesFree": "5%", "imagefs.available": "15%", "imagefs.inodesFree": "5%",
	}
}

// setDefaults fills in what upstream's kubelet does.
func setDefaults(c *v1beta1.KubeletConfiguration) {
	c.APIVersion, c.Kind = v1beta1.SchemeGroupVersion.String(), "KubeletConfiguration"
	if c.NodeStatusReportFrequency.Duration == 0 {
		// Who says how often to look wants that told as often.
		c.NodeStatusReportFrequency = c.NodeStatusUpdateFrequency
		span(&c.NodeStatusReportFrequency, 5*time.Minute)
	}
	for _, d := range []struct {
		field *metav1.Duration
		value time.Duration
	}{
		{&c.SyncFrequency, time.Minute}, {&c.FileCheckFrequency, 20 * time.Second}, {&c.HTTPCheckFrequency, 20 * time.Second},
		{&c.Authentication.Webhook.CacheTTL, 2 * time.Minute}, {&c.Authorization.Webhook.CacheAuthorizedTTL, 5 * time.Minute},
		{&c.Authorization.Webhook.CacheUnauthorizedTTL, 30 * time.Second}, {&c.StreamingConnectionIdleTimeout, 4 * time.Hour},
		{&c.NodeStatusUpdateFrequency, 10 * time.Second}, {&c.ImageMinimumGCAge, 2 * time.Minute}, {&c.VolumeStatsAggPeriod, time.Minute},
		{&c.CPUManagerReconcilePeriod, 10 * time.Second}, {&c.RuntimeRequestTimeout, 2 * time.Minute}, {&c.EvictionPressureTransitionPeriod, 5 * time.Minute},
	} {
		span(d.field, d.value)
	}
	for _, b := range []struct {
		field **bool
		value bool
	}{
		{&c.EnableServer, true}, {&c.Authentication.Anonymous.Enabled, false}, {&c.Authentication.Webhook.Enabled, true}, {&c.EnableDebuggingHandlers, true},
		{&c.CgroupsPerQOS, true}, {&c.CPUCFSQuota, true}, {&c.MergeDefaultEvictionSettings, false}, {&c.EnableControllerAttachDetach, true},
		{&c.MakeIPTablesUtilChains, true}, {&c.FailSwapOn, false}, {&c.EnableSystemLogHandler, true}, {&c.EnableProfilingHandler, true},
		{&c.EnableDebugFlagsHandler, true}, {&c.SeccompDefault, false}, {&c.FailCgroupV1, false}, {&c.RegisterNode, true}, {&c.LocalStorageCapacityIsolation, true},
	} {
		fill(b.field, b.value)
	}
	fill(&c.RegistryPullQPS, 5)
	fill(&c.EventRecordQPS, 50)
	fill(&c.HealthzPort, 10248)
	fill(&c.OOMScoreAdj, -999)
	fill(&c.ImageGCHighThresholdPercent, 85)
	fill(&c.ImageGCLowThresholdPercent, 80)
	fill(&c.NodeStatusMaxImages, 50)
	fill(&c.KubeAPIQPS, 50)
	fill(&c.ContainerLogMaxFiles, 5)
	fill(&c.ContainerLogMaxWorkers, 1)
	fill(&c.ContainerLogMonitorInterval, metav1.Duration{Duration: 10 * time.Second})
	fill(&c.CPUCFSQuotaPeriod, metav1.Duration{Duration: 100 * time.Millisecond})
	fill(&c.CrashLoopBackOff.MaxContainerRestartPeriod, metav1.Duration{Duration: 5 * time.Minute})
	fill(&c.ResolverConfig, "/etc/resolv.conf")
	fill(&c.MemoryThrottlingFactor, 0.9)
	if c.PodPidsLimit == nil || *c.PodPidsLimit < 0 {
		none := int64(-1)
		c.PodPidsLimit = &none
	}
	if c.SerializeImagePulls == nil {
		// Upstream pulls one at a time where nothing is said; a few at once start
		// pods sooner, and share layers all the same.
		if c.MaxParallelImagePulls == nil {
			few := int32(parallelPulls)
			c.MaxParallelImagePulls = &few
		}
		one := *c.MaxParallelImagePulls < 2
		c.SerializeImagePulls = &one
	}
	value(&c.Address, "0.0.0.0")
	value(&c.HealthzBindAddress, "127.0.0.1")
	value(&c.Port, Port)
	value(&c.RegistryBurst, 10)
	value(&c.EventBurst, 100)
	value(&c.KubeAPIBurst, 100)
	value(&c.NodeLeaseDurationSeconds, 40)
	value(&c.MaxPods, 110)
	value(&c.MaxOpenFiles, 1000000)
	value(&c.Authorization.Mode, v1beta1.KubeletAuthorizationModeWebhook)
	value(&c.CgroupDriver, "cgroupfs")
	value(&c.CPUManagerPolicy, "none")
	value(&c.MemoryManagerPolicy, v1beta1.NoneMemoryManagerPolicy)
	value(&c.TopologyManagerPolicy, v1beta1.NoneTopologyManagerPolicy)
	value(&c.TopologyManagerScope, v1beta1.ContainerTopologyManagerScope)
	value(&c.ContentType, "application/vnd.kubernetes.protobuf")
	value(&c.ContainerLogMaxSize, "10Mi")
	value(&c.ConfigMapAndSecretChangeDetectionStrategy, v1beta1.WatchChangeDetectionStrategy)
	value(&c.ImagePullCredentialsVerificationPolicy, v1beta1.NeverVerifyPreloadedImages)
	if c.EnforceNodeAllocatable == nil {
		c.EnforceNodeAllocatable = []string{"pods"}
	}
	switch {
	case c.EvictionHard == nil:
		c.EvictionHard = EvictionHard()
	case *c.MergeDefaultEvictionSettings:
		merged := EvictionHard()
		maps.Copy(merged, c.EvictionHard)
		c.EvictionHard = merged
	}
}

func span(d *metav1.Duration, v time.Duration) {
	if d.Duration == 0 {
		d.Duration = v
	}
}

func fill[T any](p **T, v T) {
	if *p == nil {
		*p = &v
	}
}

func value[T comparable](p *T, v T) {
	var zero T
	if *p == zero {
		*p = v
	}
}
