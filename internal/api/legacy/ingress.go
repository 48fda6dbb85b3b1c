package legacy

import (
	extensionsv1beta1 "k8s.io/api/extensions/v1beta1"
	networkingv1 "k8s.io/api/networking/v1"
	networkingv1beta1 "k8s.io/api/networking/v1beta1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

func ingresses() []old {
	ingress, class := networkingv1.SchemeGroupVersion.WithKind("Ingress"), networkingv1.SchemeGroupVersion.WithKind("IngressClass")
	return []old{
		version(spec[*networkingv1beta1.Ingress, *networkingv1.Ingress]{
			gvk: networkingv1beta1.SchemeGroupVersion.WithKind("Ingress"), of: ingress, list: &networkingv1beta1.IngressList{},
			defaults: func(in *networkingv1beta1.Ingress) {
				for i := range in.Spec.Rules {
					if h := in.Spec.Rules[i].HTTP; h != nil {
						for j := range h.Paths {
							fill(&h.Paths[j].PathType, networkingv1beta1.PathTypeImplementationSpecific)
						}
					}
				}
			},
			toKind: func(from *networkingv1beta1.Ingress, to *networkingv1.Ingress) {
				if b := from.Spec.Backend; b != nil {
					to.Spec.DefaultBackend = &networkingv1.IngressBackend{Resource: b.Resource, Service: backend(b.ServiceName, b.ServicePort)}
				}
				for i, r := range from.Spec.Rules {
					if r.HTTP != nil {
						for j, p := range r.HTTP.Paths {
							to.Spec.Rules[i].HTTP.Paths[j].Backend.Service = backend(p.Backend.ServiceName, p.Backend.ServicePort)
						}
					}
				}
			},
			fromKind: func(from *networkingv1.Ingress, to *networkingv1beta1.Ingress) {
				if b := from.Spec.DefaultBackend; b != nil {
					name, port := service(b.Service)
					to.Spec.Backend = &networkingv1beta1.IngressBackend{Resource: b.Resource, ServiceName: name, ServicePort: port}
				}
				for i, r := range from.Spec.Rules {
					if r.HTTP != nil {
						for j, p := range r.HTTP.Paths {
							b := &to.Spec.Rules[i].HTTP.Paths[j].Backend
							b.ServiceName, b.ServicePort = service(p.Backend.Service)
						}
					}
				}
			},
			warnings: func(in *networkingv1beta1.Ingress) []string {
				names := in.Spec.Backend != nil && in.Spec.Backend.ServiceName != ""
				for _, r := range in.Spec.Rules {
					names = names || r.HTTP != nil && len(r.HTTP.Paths) > 0
				}
				return movedIngressFields(in.Spec.Backend != nil, names)
			},
		}),
		version(spec[*extensionsv1beta1.Ingress, *networkingv1.Ingress]{
			gvk: extensionsv1beta1.SchemeGroupVersion.WithKind("Ingress"), of: ingress, list: &extensionsv1beta1.IngressList{},
			defaults: func(in *extensionsv1beta1.Ingress) {
				for i := range in.Spec.Rules {
					if h := in.Spec.Rules[i].HTTP; h != nil {
						for j := range h.Paths {
							fill(&h.Paths[j].PathType, extensionsv1beta1.PathTypeImplementationSpecific)
						}
					}
				}
			},
			toKind: func(from *extensionsv1beta1.Ingress, to *networkingv1.Ingress) {
				if b := from.Spec.Backend; b != nil {
					to.Spec.DefaultBackend = &networkingv1.IngressBackend{Resource: b.Resource, Service: backend(b.ServiceName, b.ServicePort)}
				}
				for i, r := range from.Spec.Rules {
					if r.HTTP != nil {
						for j, p := range r.HTTP.Paths {
							to.Spec.Rules[i].HTTP.Paths[j].Backend.Service = backend(p.Backend.ServiceName, p.Backend.ServicePort)
						}
					}
				}
			},
			fromKind: func(from *networkingv1.Ingress, to *extensionsv1beta1.Ingress) {
				if b := from.Spec.DefaultBackend; b != nil {
					name, port := service(b.Service)
					to.Spec.Backend = &extensionsv1beta1.IngressBackend{Resource: b.Resource, ServiceName: name, ServicePort: port}
				}
				for i, r := range from.Spec.Rules {
					if r.HTTP != nil {
						for j, p := range r.HTTP.Paths {
							b := &to.Spec.Rules[i].HTTP.Paths[j].Backend
							b.ServiceName, b.ServicePort = service(p.Backend.Service)
						}
					}
				}
			},
			warnings: func(in *extensionsv1beta1.Ingress) []string {
				names := in.Spec.Backend != nil && in.Spec.Backend.ServiceName != ""
				for _, r := range in.Spec.Rules {
					names = names || r.HTTP != nil && len(r.HTTP.Paths) > 0
				}
				return movedIngressFields(in.Spec.Backend != nil, names)
			},
		}),
		version(spec[*networkingv1beta1.IngressClass, *networkingv1.IngressClass]{
			gvk: networkingv1beta1.SchemeGroupVersion.WithKind("IngressClass"), of: class, list: &networkingv1beta1.IngressClassList{},
		}),
		version(spec[*extensionsv1beta1.NetworkPolicy, *networkingv1.NetworkPolicy]{
			gvk: extensionsv1beta1.SchemeGroupVersion.WithKind("NetworkPolicy"), of: networkingv1.SchemeGroupVersion.WithKind("NetworkPolicy"),
			list: &extensionsv1beta1.NetworkPolicyList{},
		}),
	}
}

// backend is a service as today's backends name it, nil where there is none.
func backend(name string, port intstr.IntOrString) *networkingv1.IngressServiceBackend {
	if name == "" && port == intstr.FromInt32(0) {
		return nil
	}
	return &networkingv1.IngressServiceBackend{Name: name, Port: networkingv1.ServiceBackendPort{Name: port.StrVal, Number: port.IntVal}}
}

func service(b *networkingv1.IngressServiceBackend) (name string, port intstr.IntOrString) {
	switch {
	case b == nil:
		return "", intstr.IntOrString{}
	case b.Port.Name != "":
		return b.Name, intstr.FromString(b.Port.Name)
	}
	return b.Name, intstr.FromInt32(b.Port.Number)
}

func movedIngressFields(backend, names bool) (out []string) {
	if backend {
		out = append(out, "spec.backend: is spec.defaultBackend in networking.k8s.io/v1")
	}
	if names {
		out = append(out, "backend.serviceName and backend.servicePort: are backend.service.name and backend.service.port in networking.k8s.io/v1")
	}
	return out
}
