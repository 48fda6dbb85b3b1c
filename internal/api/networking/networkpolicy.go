package networking

import (
	"reflect"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	netutils "k8s.io/utils/net"

	"github.com/monohull/monohull/internal/api"
	"github.com/monohull/monohull/internal/api/meta"
)

func networkPolicyRow() *api.Kind {
	return api.Define(api.Spec[*networkingv1.NetworkPolicy]{
		GVK: gvk("NetworkPolicy"), Plural: "networkpolicies", Singular: "networkpolicy", ShortNames: []string{"netpol"},
		Namespaced: true, Generation: true, UnconditionalUpdate: true,
		List:          &networkingv1.NetworkPolicyList{},
		Default:       defaultNetworkPolicy,
		PrepareCreate: func(n *networkingv1.NetworkPolicy) { n.Generation = 1 },
		// Here, as upstream, an empty list is a change from none.
		PrepareUpdate: func(n, old *networkingv1.NetworkPolicy) {
			if !reflect.DeepEqual(n.Spec, old.Spec) {
				n.Generation = old.Generation + 1
			}
		},
		Validate: func(n *networkingv1.NetworkPolicy) field.ErrorList {
			c := policyCheck{Report: meta.Report{Errs: meta.ValidateObjectMeta(&n.ObjectMeta, true, meta.DNSSubdomain)}}
			c.spec(&n.Spec)
			return c.Errs
		},
		ValidateUpdate: func(n, old *networkingv1.NetworkPolicy) field.ErrorList {
			c := policyCheck{Report: meta.Report{Errs: meta.ValidateObjectMetaUpdate(&n.ObjectMeta, &old.ObjectMeta)}}
			c.selectors.AllowInvalidLabelValueInSelector = len(meta.Selector(&old.Spec.PodSelector, nil)) > 0
			eachBlock(&old.Spec, func(b *networkingv1.IPBlock, _ *field.Path) { c.had = append(append(c.had, b.CIDR), b.Except...) })
			c.spec(&n.Spec)
			return c.Errs
		},
		Warnings: func(n *networkingv1.NetworkPolicy) (w []string) {
			eachBlock(&n.Spec, func(b *networkingv1.IPBlock, p *field.Path) {
				w = append(w, validation.GetWarningsForCIDR(p.Child("cidr"), b.CIDR)...)
				for i, e := range b.Except {
					w = append(w, validation.GetWarningsForCIDR(p.Child("except").Index(i), e)...)
				}
			})
			return w
		},
		Columns: []metav1.TableColumnDefinition{
			meta.NameColumn,
			meta.Text("Pod-Selector", "The labels of the pods the policy is for."),
			meta.AgeColumn,
		},
		Row: func(n *networkingv1.NetworkPolicy, now time.Time) []any {
			return []any{n.Name, metav1.FormatLabelSelector(&n.Spec.PodSelector), meta.Age(n.CreationTimestamp, now)}
		},
	})
}

func defaultNetworkPolicy(n *networkingv1.NetworkPolicy) {
	s := &n.Spec
	ports := func(list []networkingv1.NetworkPolicyPort) {
		for i := range list {
			if list[i].Protocol == nil {
				tcp := corev1.ProtocolTCP
				list[i].Protocol = &tcp
			}
		}
	}
	for i := range s.Ingress {
		ports(s.Ingress[i].Ports)
	}
	for i := range s.Egress {
		ports(s.Egress[i].Ports)
	}
	if len(s.PolicyTypes) == 0 {
		s.PolicyTypes = []networkingv1.PolicyType{networkingv1.PolicyTypeIngress}
		if len(s.Egress) > 0 {
			s.PolicyTypes = append(s.PolicyTypes, networkingv1.PolicyTypeEgress)
		}
	}
}

// eachPeer visits the peers of all rules.
func eachPeer(s *networkingv1.NetworkPolicySpec, visit func(*networkingv1.NetworkPolicyPeer, *field.Path)) {
	for i := range s.Ingress {
		for j := range s.Ingress[i].From {
			visit(&s.Ingress[i].From[j], specPath.Child("ingress").Index(i).Child("from").Index(j))
		}
	}
	for i := range s.Egress {
		for j := range s.Egress[i].To {
			visit(&s.Egress[i].To[j], specPath.Child("egress").Index(i).Child("to").Index(j))
		}
	}
}

func eachBlock(s *networkingv1.NetworkPolicySpec, visit func(*networkingv1.IPBlock, *field.Path)) {
	eachPeer(s, func(peer *networkingv1.NetworkPolicyPeer, p *field.Path) {
		if peer.IPBlock != nil {
			visit(peer.IPBlock, p.Child("ipBlock"))
		}
	})
}

// policyCheck judges a policy.
type policyCheck struct {
	meta.Report
	selectors metavalidation.LabelSelectorValidationOptions
	had       []string // networks the old policy had: these may stay, however written
}

func (c *policyCheck) spec(s *networkingv1.NetworkPolicySpec) {
	c.Add(metavalidation.ValidateLabelSelector(&s.PodSelector, c.selectors, specPath.Child("podSelector")))
	for i := range s.Ingress {
		c.ports(s.Ingress[i].Ports, specPath.Child("ingress").Index(i).Child("ports"))
	}
	for i := range s.Egress {
		c.ports(s.Egress[i].Ports, specPath.Child("egress").Index(i).Child("ports"))
	}
	eachPeer(s, c.peer)
	types := specPath.Child("policyTypes")
	if len(s.PolicyTypes) > 2 {
		c.Invalid(types, &s.PolicyTypes, "may not specify more than two policyTypes")
		return
	}
	for i, t := range s.PolicyTypes {
		meta.Among(&c.Report, types.Index(i), t, networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress)
	}
}

func (c *policyCheck) ports(list []networkingv1.NetworkPolicyPort, p *field.Path) {
	for i, port := range list {
		at := p.Index(i)
		meta.AmongPtr(&c.Report, at.Child("protocol"), port.Protocol, corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP)
		end := at.Child("endPort")
		switch {
		case port.Port == nil:
			if port.EndPort != nil {
				c.Invalid(end, *port.EndPort, "may not be specified when `port` is not specified")
			}
		case port.Port.Type == intstr.Int:
			first := port.Port.IntVal
			c.InvalidAll(at.Child("port"), first, validation.IsValidPortNum(int(first)))
			if port.EndPort != nil {
				if *port.EndPort < first {
					c.Invalid(end, first, "must be greater than or equal to `port`")
				}
				c.InvalidAll(end, *port.EndPort, validation.IsValidPortNum(int(*port.EndPort)))
			}
		default:
			if port.EndPort != nil {
				c.Invalid(end, *port.EndPort, "may not be specified when `port` is non-numeric")
			}
			c.InvalidAll(at.Child("port"), port.Port.StrVal, validation.IsValidPortName(port.Port.StrVal))
		}
	}
}

func (c *policyCheck) peer(peer *networkingv1.NetworkPolicyPeer, p *field.Path) {
	if peer.PodSelector != nil {
		c.Add(metavalidation.ValidateLabelSelector(peer.PodSelector, c.selectors, p.Child("podSelector")))
	}
	if peer.NamespaceSelector != nil {
		c.Add(metavalidation.ValidateLabelSelector(peer.NamespaceSelector, c.selectors, p.Child("namespaceSelector")))
	}
	bySelector := peer.PodSelector != nil || peer.NamespaceSelector != nil
	if peer.IPBlock == nil {
		if !bySelector {
			c.Required(p, "must specify a peer")
		}
		return
	}
	c.block(peer.IPBlock, p.Child("ipBlock"))
	c.ForbiddenIf(bySelector, p, "may not specify both ipBlock and another peer")
}

func (c *policyCheck) block(b *networkingv1.IPBlock, p *field.Path) {
	if b.CIDR == "" {
		c.Required(p.Child("cidr"), "")
		return
	}
	c.Add(meta.CIDR(p.Child("cidr"), b.CIDR, c.had))
	_, whole, err := netutils.ParseCIDRSloppy(b.CIDR)
	if err != nil {
		return
	}
	for i, v := range b.Except {
		at := p.Child("except").Index(i)
		c.Add(meta.CIDR(at, v, c.had))
		_, part, err := netutils.ParseCIDRSloppy(v)
		if err != nil {
			continue
		}
		wholeBits, _ := whole.Mask.Size()
		partBits, _ := part.Mask.Size()
		if !whole.Contains(part.IP) || wholeBits >= partBits {
			c.Invalid(at, v, "must be a strict subset of `cidr`")
		}
	}
}
