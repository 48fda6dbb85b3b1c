package quota

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/monohull/monohull/internal/api"
)

var serviceNames = []corev1.ResourceName{
	"count/services", corev1.ResourceServices, corev1.ResourceServicesNodePorts, corev1.ResourceServicesLoadBalancers,
}

// services measures Services.
type services struct{ unscoped }

func (services) Resource() schema.GroupResource { return schema.GroupResource{Resource: "services"} }
func (services) Handles(c Change) bool          { return c.Subresource == "" }
func (services) Matching(names []corev1.ResourceName) []corev1.ResourceName {
	return both(names, serviceNames)
}

func (services) Usage(o api.Object, _ time.Time) corev1.ResourceList {
	out := corev1.ResourceList{
		"count/services": whole(1), corev1.ResourceServices: whole(1),
		corev1.ResourceServicesLoadBalancers: whole(0), corev1.ResourceServicesNodePorts: whole(0),
	}
	s, ok := o.(*corev1.Service)
	if !ok {
		return out
	}
	switch s.Spec.Type {
	case corev1.ServiceTypeNodePort:
		out[corev1.ResourceServicesNodePorts] = whole(int64(len(s.Spec.Ports)))
	case corev1.ServiceTypeLoadBalancer:
		out[corev1.ResourceServicesLoadBalancers] = whole(1)
		ports := int64(len(s.Spec.Ports))
		if a := s.Spec.AllocateLoadBalancerNodePorts; a != nil && !*a {
			ports = 0 // those alone that ask for one themselves
			for _, p := range s.Spec.Ports {
				if p.NodePort != 0 {
					ports++
				}
			}
		}
		out[corev1.ResourceServicesNodePorts] = whole(ports)
	}
	return out
}

func (services) Frees(old, cur api.Object, _ time.Time) bool {
	was, ok := old.(*corev1.Service)
	now, ok2 := cur.(*corev1.Service)
	return ok && ok2 && costly(was.Spec.Type) != costly(now.Spec.Type)
}

func costly(t corev1.ServiceType) corev1.ServiceType {
	if t == corev1.ServiceTypeNodePort || t == corev1.ServiceTypeLoadBalancer {
		return t
	}
	return ""
}
