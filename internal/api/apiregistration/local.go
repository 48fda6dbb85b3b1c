package apiregistration

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
)

// AutomanagedLabel marks the APIServices that the server keeps itself;
// AutomanagedOnStart is its value for those of built-in groups, AutomanagedTrue
// for those of custom resources, which come and go.
const (
	AutomanagedLabel   = "kube-aggregator.kubernetes.io/automanaged"
	AutomanagedOnStart = "onstart"
	AutomanagedTrue    = "true"
)

// CustomGroupPriority and CustomVersionPriority are those of custom resources.
const (
	CustomGroupPriority   = int32(1000)
	CustomVersionPriority = int32(100)
)

// priority places a group among groups and a version among its group's: the
// greater comes first. Clients prefer what comes first where names are alike.
type priority struct{ group, version int32 }

// priorityOf gives the places of the groups that Kubernetes has.
func priorityOf(gv schema.GroupVersion) (priority, bool) {
	group, ok := groupPriority(gv.Group)
	if !ok {
		return priority{}, false
	}
	version, ok := versionPriority(gv)
	return priority{group, version}, ok
}

func groupPriority(group string) (int32, bool) {
	switch group {
	case "":
		return 18000, true
	case "apps":
		return 17800, true
	case "events.k8s.io":
		return 17750, true
	case "authentication.k8s.io":
		return 17700, true
	case "authorization.k8s.io":
		return 17600, true
	case "autoscaling":
		return 17500, true
	case "batch":
		return 17400, true
	case "certificates.k8s.io":
		return 17300, true
	case "networking.k8s.io":
		return 17200, true
	case "policy":
		return 17100, true
	case "rbac.authorization.k8s.io":
		return 17000, true
	case "storage.k8s.io":
		return 16800, true
	case "apiextensions.k8s.io", "admissionregistration.k8s.io":
		return 16700, true
	case "scheduling.k8s.io":
		return 16600, true
	case "coordination.k8s.io":
		return 16500, true
	case "node.k8s.io":
		return 16300, true
	case "discovery.k8s.io", "resource.k8s.io":
		return 16200, true
	case "flowcontrol.apiserver.k8s.io":
		return 16100, true
	case "internal.apiserver.k8s.io":
		return 16000, true
	case "storagemigration.k8s.io":
		return 15800, true
	}
	return 0, false
}

func versionPriority(gv schema.GroupVersion) (int32, bool) {
	switch gv.String() {
	case "v1", "authentication.k8s.io/v1alpha1", "autoscaling/v2beta2", "certificates.k8s.io/v1alpha1", "storage.k8s.io/v1alpha1",
		"node.k8s.io/v1alpha1", "resource.k8s.io/v1alpha3":
		return 1, true
	case "scheduling.k8s.io/v1alpha2":
		return 2, true
	case "events.k8s.io/v1beta1":
		return 5, true
	case "authentication.k8s.io/v1beta1", "autoscaling/v2beta1", "batch/v1beta1", "batch/v2alpha1", "certificates.k8s.io/v1beta1",
		"networking.k8s.io/v1beta1", "policy/v1beta1", "storage.k8s.io/v1beta1", "admissionregistration.k8s.io/v1alpha1", "node.k8s.io/v1beta1",
		"flowcontrol.apiserver.k8s.io/v1alpha1", "internal.apiserver.k8s.io/v1alpha1", "resource.k8s.io/v1beta1", "storagemigration.k8s.io/v1beta1":
		return 9, true
	case "admissionregistration.k8s.io/v1beta1", "coordination.k8s.io/v1alpha2", "discovery.k8s.io/v1beta1", "flowcontrol.apiserver.k8s.io/v1beta1":
		return 12, true
	case "coordination.k8s.io/v1beta1":
		return 13, true
	case "flowcontrol.apiserver.k8s.io/v1beta2", "resource.k8s.io/v1beta2":
		return 15, true
	case "flowcontrol.apiserver.k8s.io/v1beta3":
		return 18, true
	case "flowcontrol.apiserver.k8s.io/v1", "resource.k8s.io/v1":
		return 21, true
	case "autoscaling/v2":
		return 30, true
	}
	if gv.Version == "v1" {
		return 15, true
	}
	return 0, false
}

// Local makes the APIServices of the groups this server serves itself, as they
// are created on start. A group and version that Kubernetes does not have gets
// none: it would stay registered for good.
func Local(served []schema.GroupVersion) []*apiregistrationv1.APIService {
	var out []*apiregistrationv1.APIService
	for _, gv := range served {
		p, ok := priorityOf(gv)
		if !ok {
			continue
		}
		s := service(gv, p)
		s.Labels = map[string]string{AutomanagedLabel: AutomanagedOnStart}
		out = append(out, s)
	}
	return out
}

// Custom makes the APIService of a group and version of custom resources.
func Custom(gv schema.GroupVersion) *apiregistrationv1.APIService {
	s := service(gv, priority{CustomGroupPriority, CustomVersionPriority})
	s.Labels = map[string]string{AutomanagedLabel: AutomanagedTrue}
	return s
}

func service(gv schema.GroupVersion, p priority) *apiregistrationv1.APIService {
	return &apiregistrationv1.APIService{
		ObjectMeta: metav1.ObjectMeta{Name: gv.Version + "." + gv.Group},
		Spec: apiregistrationv1.APIServiceSpec{
			Group: gv.Group, Version: gv.Version, GroupPriorityMinimum: p.group, VersionPriority: p.version,
		},
	}
}
