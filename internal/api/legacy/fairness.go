package legacy

import (
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	flowcontrolv1beta1 "k8s.io/api/flowcontrol/v1beta1"
	flowcontrolv1beta2 "k8s.io/api/flowcontrol/v1beta2"
	flowcontrolv1beta3 "k8s.io/api/flowcontrol/v1beta3"
)

func fairness() []old {
	flow, level := flowcontrolv1.SchemeGroupVersion.WithKind("FlowSchema"), flowcontrolv1.SchemeGroupVersion.WithKind("PriorityLevelConfiguration")
	b1, b2, b3 := flowcontrolv1beta1.SchemeGroupVersion, flowcontrolv1beta2.SchemeGroupVersion, flowcontrolv1beta3.SchemeGroupVersion
	return []old{
		version(spec[*flowcontrolv1beta3.FlowSchema, *flowcontrolv1.FlowSchema]{gvk: b3.WithKind("FlowSchema"), of: flow, list: &flowcontrolv1beta3.FlowSchemaList{}}),
		version(spec[*flowcontrolv1beta2.FlowSchema, *flowcontrolv1.FlowSchema]{gvk: b2.WithKind("FlowSchema"), of: flow, list: &flowcontrolv1beta2.FlowSchemaList{}}),
		version(spec[*flowcontrolv1beta1.FlowSchema, *flowcontrolv1.FlowSchema]{gvk: b1.WithKind("FlowSchema"), of: flow, list: &flowcontrolv1beta1.FlowSchemaList{}}),
		version(spec[*flowcontrolv1beta3.PriorityLevelConfiguration, *flowcontrolv1.PriorityLevelConfiguration]{
			gvk: b3.WithKind("PriorityLevelConfiguration"), of: level, list: &flowcontrolv1beta3.PriorityLevelConfigurationList{},
			defaults: func(p *flowcontrolv1beta3.PriorityLevelConfiguration) {
				if l := p.Spec.Limited; l != nil && l.NominalConcurrencyShares == 0 {
					l.NominalConcurrencyShares = defaultShares
				}
			},
		}),
		version(spec[*flowcontrolv1beta2.PriorityLevelConfiguration, *flowcontrolv1.PriorityLevelConfiguration]{
			gvk: b2.WithKind("PriorityLevelConfiguration"), of: level, list: &flowcontrolv1beta2.PriorityLevelConfigurationList{},
			toKind: func(from *flowcontrolv1beta2.PriorityLevelConfiguration, to *flowcontrolv1.PriorityLevelConfiguration) {
				if l := from.Spec.Limited; l != nil {
					to.Spec.Limited.NominalConcurrencyShares = shares(l.AssuredConcurrencyShares)
				}
			},
			fromKind: func(from *flowcontrolv1.PriorityLevelConfiguration, to *flowcontrolv1beta2.PriorityLevelConfiguration) {
				if l := from.Spec.Limited; l != nil && l.NominalConcurrencyShares != nil {
					to.Spec.Limited.AssuredConcurrencyShares = *l.NominalConcurrencyShares
				}
			},
			warnings: func(p *flowcontrolv1beta2.PriorityLevelConfiguration) []string {
				return movedShares(p.Spec.Limited != nil)
			},
		}),
		version(spec[*flowcontrolv1beta1.PriorityLevelConfiguration, *flowcontrolv1.PriorityLevelConfiguration]{
			gvk: b1.WithKind("PriorityLevelConfiguration"), of: level, list: &flowcontrolv1beta1.PriorityLevelConfigurationList{},
			toKind: func(from *flowcontrolv1beta1.PriorityLevelConfiguration, to *flowcontrolv1.PriorityLevelConfiguration) {
				if l := from.Spec.Limited; l != nil {
					to.Spec.Limited.NominalConcurrencyShares = shares(l.AssuredConcurrencyShares)
				}
			},
			fromKind: func(from *flowcontrolv1.PriorityLevelConfiguration, to *flowcontrolv1beta1.PriorityLevelConfiguration) {
				if l := from.Spec.Limited; l != nil && l.NominalConcurrencyShares != nil {
					to.Spec.Limited.AssuredConcurrencyShares = *l.NominalConcurrencyShares
				}
			},
			warnings: func(p *flowcontrolv1beta1.PriorityLevelConfiguration) []string {
				return movedShares(p.Spec.Limited != nil)
			},
		}),
	}
}

// defaultShares is what a level had where zero could not be said.
const defaultShares = 30

func shares(n int32) *int32 {
	if n == 0 {
		n = defaultShares
	}
	return &n
}

func movedShares(limited bool) []string {
	if !limited {
		return nil
	}
	return []string{"spec.limited.assuredConcurrencyShares: is spec.limited.nominalConcurrencyShares in flowcontrol.apiserver.k8s.io/v1"}
}
