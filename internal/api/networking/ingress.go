package networking

import (
	"fmt"
	"strings"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/monohull/monohull/internal/api"
	"github.com/monohull/monohull/internal/api/meta"
)

// classAnnotation named the class before spec.ingressClassName did.
const classAnnotation = "kubernetes.io/ingress.class"

// hostsShown is how many hosts the table prints before it counts the rest.
const hostsShown = 3

func ingressRow() *api.Kind {
	return api.Define(api.Spec[*networkingv1.Ingress]{
		GVK: gvk("Ingress"), Plural: "ingresses", Singular: "ingress", ShortNames: []string{"ing"},
		Namespaced: true, Prefix: "ingress", Generation: true, UnconditionalUpdate: true,
		List:          &networkingv1.IngressList{},
		PrepareCreate: func(in *networkingv1.Ingress) { in.Generation = 1 },
		Validate: func(in *networkingv1.Ingress) field.ErrorList {
			r := meta.Report{Errs: validateIngress(in, ingressAllowance{})}
			if name := in.Spec.IngressClassName; name != nil {
				if v, ok := in.Annotations[classAnnotation]; ok && v != *name {
					r.Invalid(field.NewPath("annotations").Child(classAnnotation), v, "must match `ingressClassName` when both are specified")
				}
			}
			return r.Errs
		},
		ValidateUpdate: func(in, old *networkingv1.Ingress) field.ErrorList {
			return append(meta.ValidateObjectMetaUpdate(&in.ObjectMeta, &old.ObjectMeta), validateIngress(in, allowanceOf(old))...)
		},
		ValidateStatus: validateIngressStatus,
		Warnings: func(in *networkingv1.Ingress) []string {
			if _, ok := in.Annotations[classAnnotation]; ok && in.Spec.IngressClassName == nil {
				return []string{fmt.Sprintf("annotation %q is deprecated, please use 'spec.ingressClassName' instead", classAnnotation)}
			}
			return nil
		},
		UpdateWarnings: api.NoWarnings[*networkingv1.Ingress],
		StatusWarnings: func(in *networkingv1.Ingress) (w []string) {
			for i, l := range in.Status.LoadBalancer.Ingress {
				if l.IP != "" {
					w = append(w, validation.GetWarningsForIP(field.NewPath("status", "loadBalancer", "ingress").Index(i), l.IP)...)
				}
			}
			return w
		},
		Columns: []metav1.TableColumnDefinition{
			meta.NameColumn,
			meta.Text("Class", "The class of the ingress, which says who serves it."),
			meta.Text("Hosts", "The hosts the rules are for."),
			meta.Text("Address", "The addresses the ingress is reached at."),
			meta.Text("Ports", "The ports the ingress listens on."),
			meta.AgeColumn,
		},
		Row: func(in *networkingv1.Ingress, now time.Time) []any {
			class := "<none>"
			if in.Spec.IngressClassName != nil {
				class = *in.Spec.IngressClassName
			}
			ports := "80"
			if len(in.Spec.TLS) > 0 {
				ports = "80, 443"
			}
			return []any{in.Name, class, printHosts(in.Spec.Rules), printAddresses(in.Status.LoadBalancer.Ingress), ports, meta.Age(in.CreationTimestamp, now)}
		},
	})
}

func printHosts(rules []networkingv1.IngressRule) string {
	var hosts []string
	more := false
	for _, r := range rules {
		more = more || len(hosts) == hostsShown
		if !more && r.Host != "" {
			hosts = append(hosts, r.Host)
		}
	}
	if len(hosts) == 0 {
		return "*"
	}
	list := strings.Join(hosts, ",")
	if more {
		return fmt.Sprintf("%s + %d more...", list, len(rules)-hostsShown)
	}
	return list
}

func printAddresses(list []networkingv1.IngressLoadBalancerIngress) string {
	found := sets.Set[string]{}
	for _, a := range list {
		if a.IP != "" {
			found.Insert(a.IP)
		} else if a.Hostname != "" {
			found.Insert(a.Hostname)
		}
	}
	return strings.Join(sets.List(found), ",")
}

func validateIngressStatus(in, old *networkingv1.Ingress) field.ErrorList {
	r := meta.Report{Errs: meta.ValidateObjectMetaUpdate(&in.ObjectMeta, &old.ObjectMeta)}
	var had []string
	for _, a := range old.Status.LoadBalancer.Ingress {
		if a.IP != "" {
			had = append(had, a.IP)
		}
	}
	for i, a := range in.Status.LoadBalancer.Ingress {
		at := field.NewPath("status", "loadBalancer", "ingress").Index(i)
		if a.IP != "" {
			r.Add(meta.IP(at.Child("ip"), a.IP, had))
		}
		if a.Hostname != "" {
			host := at.Child("hostname")
			r.InvalidAll(host, a.Hostname, validation.IsDNS1123Subdomain(a.Hostname))
			notAddress(&r, host, a.Hostname)
		}
	}
	return r.Errs
}
