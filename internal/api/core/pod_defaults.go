package core

import (
	"github.com/distribution/reference"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	resourcehelper "k8s.io/component-helpers/resource"
	"k8s.io/utils/ptr"
)

// setDefault gives an unset field its default.
func setDefault[T comparable](f *T, v T) {
	var zero T
	if *f == zero {
		*f = v
	}
}

// setDefaultPtr gives an unset optional field its default.
func setDefaultPtr[T any](f **T, v T) {
	if *f == nil {
		*f = &v
	}
}

// defaultPod fills what a pod has beyond its template: requests from limits,
// host ports, service links.
func defaultPod(pod *corev1.Pod) {
	s := &pod.Spec
	for _, list := range [][]corev1.Container{s.Containers, s.InitContainers} {
		for i := range list {
			requestsFromLimits(&list[i].Resources)
		}
	}
	if s.Resources != nil {
		defaultPodResources(pod)
	}
	setDefaultPtr(&s.EnableServiceLinks, corev1.DefaultEnableServiceLinks)
	if s.HostNetwork {
		for _, list := range [][]corev1.Container{s.Containers, s.InitContainers} {
			for i := range list {
				for j := range list[i].Ports {
					setDefault(&list[i].Ports[j].HostPort, list[i].Ports[j].ContainerPort)
				}
			}
		}
	}
	DefaultPodSpec(s)
	if g := s.TerminationGracePeriodSeconds; *g < 0 {
		s.TerminationGracePeriodSeconds = ptr.To[int64](1)
	}
	dropInitContainerAnnotations(pod.Annotations)
	defaultPodStatus(&pod.Status)
}

func defaultPodStatus(s *corev1.PodStatus) {
	switch {
	case s.PodIP != "" && (len(s.PodIPs) == 0 || s.PodIPs[0].IP != s.PodIP):
		// The older, single field wins: a client that knows only it has changed it.
		s.PodIPs = []corev1.PodIP{{IP: s.PodIP}}
	case len(s.PodIPs) > 0:
		s.PodIP = s.PodIPs[0].IP
	}
	for _, list := range [][]corev1.ContainerStatus{s.InitContainerStatuses, s.ContainerStatuses, s.EphemeralContainerStatuses} {
		for i := range list {
			roundUp(list[i].AllocatedResources)
			roundUpRequirements(list[i].Resources)
		}
	}
	roundUp(s.AllocatedResources)
	roundUpRequirements(s.Resources)
}

func requestsFromLimits(r *corev1.ResourceRequirements) {
	if r.Limits == nil {
		return
	}
	if r.Requests == nil {
		r.Requests = corev1.ResourceList{}
	}
	for name, q := range r.Limits {
		if _, ok := r.Requests[name]; !ok {
			r.Requests[name] = q.DeepCopy()
		}
	}
}

// defaultPodResources completes resources given for the pod as a whole: huge
// page limits from the containers, then requests from the containers where
// they may be overcommitted, then from the limits.
func defaultPodResources(pod *corev1.Pod) {
	r := pod.Spec.Resources
	if len(r.Limits) > 0 || len(r.Requests) > 0 {
		for name, q := range resourcehelper.AggregateContainerLimits(pod, resourcehelper.PodResourcesOptions{}) {
			if !resourcehelper.IsSupportedPodLevelResource(name) || !isHugePage(name) {
				continue
			}
			if _, ok := r.Requests[name]; ok {
				continue
			}
			if _, ok := r.Limits[name]; !ok {
				if r.Limits == nil {
					r.Limits = corev1.ResourceList{}
				}
				r.Limits[name] = q.DeepCopy()
			}
		}
	}
	if len(r.Limits) == 0 {
		return
	}
	want := corev1.ResourceList{}
	for name, q := range resourcehelper.AggregateContainerRequests(pod, resourcehelper.PodResourcesOptions{}) {
		if resourcehelper.IsSupportedPodLevelResource(name) && isOvercommitAllowed(name) {
			want[name] = q
		}
	}
	for name, q := range r.Limits {
		if _, ok := want[name]; !ok && resourcehelper.IsSupportedPodLevelResource(name) {
			want[name] = q
		}
	}
	for name, q := range want {
		if _, ok := r.Requests[name]; ok {
			continue
		}
		if r.Requests == nil {
			r.Requests = corev1.ResourceList{}
		}
		r.Requests[name] = q.DeepCopy()
	}
}

// DefaultPodTemplateSpec fills the defaults of a template.
func DefaultPodTemplateSpec(t *corev1.PodTemplateSpec) {
	DefaultPodSpec(&t.Spec)
	dropInitContainerAnnotations(t.Annotations)
}

// DefaultPodSpec fills the defaults that pods and templates share.
func DefaultPodSpec(s *corev1.PodSpec) {
	setDefault(&s.DNSPolicy, corev1.DNSClusterFirst)
	setDefault(&s.RestartPolicy, corev1.RestartPolicyAlways)
	setDefaultPtr(&s.SecurityContext, corev1.PodSecurityContext{})
	setDefaultPtr(&s.TerminationGracePeriodSeconds, corev1.DefaultTerminationGracePeriodSeconds)
	setDefault(&s.SchedulerName, corev1.DefaultSchedulerName)
	// Two names of one field: the old one is kept equal for old clients.
	setDefault(&s.ServiceAccountName, s.DeprecatedServiceAccount)
	s.DeprecatedServiceAccount = s.ServiceAccountName
	for i := range s.Volumes {
		defaultVolume(&s.Volumes[i])
	}
	for i := range s.InitContainers {
		defaultContainer(&s.InitContainers[i])
	}
	for i := range s.Containers {
		defaultContainer(&s.Containers[i])
	}
	for i := range s.EphemeralContainers {
		defaultContainer((*corev1.Container)(&s.EphemeralContainers[i].EphemeralContainerCommon))
	}
	roundUp(s.Overhead)
	roundUpRequirements(s.Resources)
}

func defaultContainer(c *corev1.Container) {
	setDefault(&c.ImagePullPolicy, pullPolicyOf(c.Image))
	setDefault(&c.TerminationMessagePath, corev1.TerminationMessagePathDefault)
	setDefault(&c.TerminationMessagePolicy, corev1.TerminationMessageReadFile)
	for i := range c.Ports {
		setDefault(&c.Ports[i].Protocol, corev1.ProtocolTCP)
	}
	for i := range c.Env {
		from := c.Env[i].ValueFrom
		if from == nil {
			continue
		}
		defaultFieldRef(from.FieldRef)
		if from.FileKeyRef != nil {
			setDefaultPtr(&from.FileKeyRef.Optional, false)
		}
	}
	roundUpRequirements(&c.Resources)
	for _, p := range []*corev1.Probe{c.LivenessProbe, c.ReadinessProbe, c.StartupProbe} {
		if p == nil {
			continue
		}
		setDefault(&p.TimeoutSeconds, 1)
		setDefault(&p.PeriodSeconds, 10)
		setDefault(&p.SuccessThreshold, 1)
		setDefault(&p.FailureThreshold, 3)
		defaultHTTPGet(p.HTTPGet)
		if p.GRPC != nil {
			setDefaultPtr(&p.GRPC.Service, "")
		}
	}
	if l := c.Lifecycle; l != nil {
		for _, h := range []*corev1.LifecycleHandler{l.PostStart, l.PreStop} {
			if h != nil {
				defaultHTTPGet(h.HTTPGet)
			}
		}
	}
}

func defaultHTTPGet(h *corev1.HTTPGetAction) {
	if h != nil {
		setDefault(&h.Path, "/")
		setDefault(&h.Scheme, corev1.URISchemeHTTP)
	}
}

func defaultFieldRef(f *corev1.ObjectFieldSelector) {
	if f != nil {
		setDefault(&f.APIVersion, "v1")
	}
}

// pullPolicyOf is Always for images that move (no tag and no digest, or the
// tag latest), IfNotPresent for all others.
func pullPolicyOf(image string) corev1.PullPolicy {
	named, err := reference.ParseNormalizedNamed(image)
	if err != nil {
		return corev1.PullIfNotPresent
	}
	if tagged, ok := named.(reference.Tagged); ok {
		if tagged.Tag() == "latest" {
			return corev1.PullAlways
		}
		return corev1.PullIfNotPresent
	}
	if _, ok := named.(reference.Digested); ok {
		return corev1.PullIfNotPresent
	}
	return corev1.PullAlways
}

func defaultVolume(v *corev1.Volume) {
	src := &v.VolumeSource
	if ptr.AllPtrFieldsNil(src) {
		src.EmptyDir = &corev1.EmptyDirVolumeSource{}
	}
	if src.Image != nil {
		setDefault(&src.Image.PullPolicy, pullPolicyOf(src.Image.Reference))
	}
	if src.HostPath != nil {
		setDefaultPtr(&src.HostPath.Type, corev1.HostPathUnset)
	}
	if src.Secret != nil {
		setDefaultPtr(&src.Secret.DefaultMode, corev1.SecretVolumeSourceDefaultMode)
	}
	if src.ConfigMap != nil {
		setDefaultPtr(&src.ConfigMap.DefaultMode, corev1.ConfigMapVolumeSourceDefaultMode)
	}
	if src.DownwardAPI != nil {
		setDefaultPtr(&src.DownwardAPI.DefaultMode, corev1.DownwardAPIVolumeSourceDefaultMode)
		defaultDownwardFiles(src.DownwardAPI.Items)
	}
	if p := src.Projected; p != nil {
		setDefaultPtr(&p.DefaultMode, corev1.ProjectedVolumeSourceDefaultMode)
		for i := range p.Sources {
			if d := p.Sources[i].DownwardAPI; d != nil {
				defaultDownwardFiles(d.Items)
			}
			if t := p.Sources[i].ServiceAccountToken; t != nil {
				setDefaultPtr(&t.ExpirationSeconds, 60*60)
			}
		}
	}
	if e := src.Ephemeral; e != nil && e.VolumeClaimTemplate != nil {
		c := &e.VolumeClaimTemplate.Spec
		setDefaultPtr(&c.VolumeMode, corev1.PersistentVolumeFilesystem)
		roundUp(c.Resources.Limits)
		roundUp(c.Resources.Requests)
	}
	defaultLegacyVolume(src)
}

// defaultLegacyVolume serves the volume types of drivers that once were part
// of Kubernetes itself.
func defaultLegacyVolume(src *corev1.VolumeSource) {
	if src.ISCSI != nil {
		setDefault(&src.ISCSI.ISCSIInterface, "default")
	}
	if src.RBD != nil {
		setDefault(&src.RBD.RBDPool, "rbd")
		setDefault(&src.RBD.RadosUser, "admin")
		setDefault(&src.RBD.Keyring, "/etc/ceph/keyring")
	}
	if d := src.AzureDisk; d != nil {
		setDefaultPtr(&d.CachingMode, corev1.AzureDataDiskCachingReadWrite)
		setDefaultPtr(&d.FSType, "ext4")
		setDefaultPtr(&d.ReadOnly, false)
		setDefaultPtr(&d.Kind, corev1.AzureSharedBlobDisk)
	}
	if src.ScaleIO != nil {
		setDefault(&src.ScaleIO.StorageMode, "ThinProvisioned")
		setDefault(&src.ScaleIO.FSType, "xfs")
	}
}

func defaultDownwardFiles(items []corev1.DownwardAPIVolumeFile) {
	for i := range items {
		defaultFieldRef(items[i].FieldRef)
	}
}

// roundUp keeps quantities to thousandths, the finest the API stores.
func roundUp(list corev1.ResourceList) {
	for name, q := range list {
		q.RoundUp(resource.Milli)
		list[name] = q
	}
}

func roundUpRequirements(r *corev1.ResourceRequirements) {
	if r != nil {
		roundUp(r.Limits)
		roundUp(r.Requests)
	}
}

// dropInitContainerAnnotations removes the annotations that held init
// containers before they had a field.
func dropInitContainerAnnotations(a map[string]string) {
	for _, stage := range []string{"beta", "alpha"} {
		delete(a, "pod."+stage+".kubernetes.io/init-containers")
		delete(a, "pod."+stage+".kubernetes.io/init-container-statuses")
	}
}
