package flowcontrol

import (
	"fmt"
	"math"
	"time"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	flowcontrolv1beta3 "k8s.io/api/flowcontrol/v1beta3"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/monohull/monohull/internal/api"
	"github.com/monohull/monohull/internal/api/meta"
)

const (
	defaultShares      = 30
	defaultQueues      = 64
	defaultHandSize    = 8
	defaultQueueLength = 50

	maxQueues = 10 * 1000 * 1000
	// maxHandBits bounds the entropy that dealing a hand of queues may take: it
	// comes from one hash.
	maxHandBits = 60
)

func priorityLevelRow() *api.Kind {
	return api.Define(api.Spec[*flowcontrolv1.PriorityLevelConfiguration]{
		GVK: gvk("PriorityLevelConfiguration"), Plural: "prioritylevelconfigurations", Singular: "prioritylevelconfiguration",
		Generation: true, UnconditionalUpdate: true,
		List:          &flowcontrolv1.PriorityLevelConfigurationList{},
		Default:       defaultPriorityLevel,
		PrepareCreate: func(l *flowcontrolv1.PriorityLevelConfiguration) { l.Generation = 1 },
		PrepareStatus: func(l, old *flowcontrolv1.PriorityLevelConfiguration) { keepMeta(&l.ObjectMeta, &old.ObjectMeta) },
		Validate:      validatePriorityLevel,
		ValidateUpdate: func(l, old *flowcontrolv1.PriorityLevelConfiguration) field.ErrorList {
			return append(meta.ValidateObjectMetaUpdate(&l.ObjectMeta, &old.ObjectMeta), validatePriorityLevel(l)...)
		},
		ValidateStatus: func(l, old *flowcontrolv1.PriorityLevelConfiguration) field.ErrorList {
			r := meta.Report{Errs: meta.ValidateObjectMetaUpdate(&l.ObjectMeta, &old.ObjectMeta)}
			priorityLevelStatus(&r, l)
			return r.Errs
		},
		Columns: []metav1.TableColumnDefinition{
			meta.NameColumn,
			meta.Text("Type", "Whether the requests of the level are limited."),
			meta.Text("NominalConcurrencyShares", "The level's share of the requests served at a time."),
			meta.Text("Queues", "The number of queues of the level."),
			meta.Text("HandSize", "The number of queues a flow may wait in."),
			meta.Text("QueueLengthLimit", "The number of requests that may wait in one queue."),
			meta.AgeColumn,
		},
		Row: func(l *flowcontrolv1.PriorityLevelConfiguration, now time.Time) []any {
			var shares, queues, hand, length any = "<none>", "<none>", "<none>", "<none>"
			if lim := l.Spec.Limited; lim != nil {
				shares = deref(lim.NominalConcurrencyShares)
				if q := lim.LimitResponse.Queuing; q != nil {
					queues, hand, length = q.Queues, q.HandSize, q.QueueLengthLimit
				}
			}
			return []any{l.Name, string(l.Spec.Type), shares, queues, hand, length, meta.Age(l.CreationTimestamp, now)}
		},
	})
}

func deref(p *int32) int32 {
	if p == nil {
		return 0
	}
	return *p
}

func defaultPriorityLevel(l *flowcontrolv1.PriorityLevelConfiguration) {
	if e := l.Spec.Exempt; e != nil {
		setDefaultPtr(&e.NominalConcurrencyShares, 0)
		setDefaultPtr(&e.LendablePercent, 0)
	}
	if lim := l.Spec.Limited; lim != nil {
		setDefaultPtr(&lim.NominalConcurrencyShares, defaultShares)
		setDefaultPtr(&lim.LendablePercent, 0)
		if q := lim.LimitResponse.Queuing; q != nil {
			setDefault(&q.HandSize, defaultHandSize)
			setDefault(&q.Queues, defaultQueues)
			setDefault(&q.QueueLengthLimit, defaultQueueLength)
		}
	}
}

func priorityLevelStatus(r *meta.Report, l *flowcontrolv1.PriorityLevelConfiguration) {
	conditionTypes(r, len(l.Status.Conditions), func(i int) flowcontrolv1.PriorityLevelConfigurationConditionType { return l.Status.Conditions[i].Type })
}

func validatePriorityLevel(l *flowcontrolv1.PriorityLevelConfiguration) field.ErrorList {
	r := &meta.Report{Errs: meta.ValidateObjectMeta(&l.ObjectMeta, false, meta.DNSSubdomain)}
	const zeroShares = flowcontrolv1beta3.PriorityLevelPreserveZeroConcurrencySharesKey
	if _, ok := l.Annotations[zeroShares]; ok {
		r.Forbidden(field.NewPath("metadata", "annotations"), fmt.Sprintf("annotation '%s' is forbidden", zeroShares))
	}
	s := &l.Spec
	typ := specPath.Child("type")
	if (l.Name == flowcontrolv1.PriorityLevelConfigurationNameExempt) != (s.Type == flowcontrolv1.PriorityLevelEnablementExempt) {
		r.Invalid(typ, s.Type, "must be 'Exempt' if and only if `name` is 'exempt'")
	}
	switch s.Type {
	case flowcontrolv1.PriorityLevelEnablementExempt:
		r.ForbiddenIf(s.Limited != nil, specPath.Child("limited"), "must be nil if the type is not Limited")
		if e := s.Exempt; e != nil {
			p := specPath.Child("exempt")
			shares(r, p.Child("nominalConcurrencyShares"), e.NominalConcurrencyShares)
			percent(r, p.Child("lendablePercent"), e.LendablePercent)
		}
	case flowcontrolv1.PriorityLevelEnablementLimited:
		r.ForbiddenIf(s.Exempt != nil, specPath.Child("exempt"), "must be nil if the type is Limited")
		if s.Limited == nil {
			r.Required(specPath.Child("limited"), "must not be empty when type is Limited")
		} else {
			limited(r, s.Limited, specPath.Child("limited"))
		}
	default:
		meta.OneOf(r, typ, s.Type, flowcontrolv1.PriorityLevelEnablementExempt, flowcontrolv1.PriorityLevelEnablementLimited)
	}
	mandatoryLevel(r, l)
	priorityLevelStatus(r, l)
	return r.Errs
}

// mandatoryLevel holds the levels that every cluster has to their fixed values;
// of the exempt one, the shares are the operator's.
func mandatoryLevel(r *meta.Report, l *flowcontrolv1.PriorityLevelConfiguration) {
	for _, m := range mandatoryLevels() {
		if m.Name != l.Name {
			continue
		}
		have, but := l.Spec, ""
		if l.Name == flowcontrolv1.PriorityLevelConfigurationNameExempt {
			have.Exempt, but = m.Spec.Exempt, " except the 'spec.exempt' field"
		}
		if !equality.Semantic.DeepEqual(have, m.Spec) {
			r.Invalid(specPath, l.Spec, fmt.Sprintf("spec of '%s'%s must equal the fixed value", l.Name, but))
		}
	}
}

func shares(r *meta.Report, p *field.Path, n *int32) {
	if n != nil && *n < 0 {
		r.Invalid(p, *n, "must be a non-negative integer")
	}
}

func percent(r *meta.Report, p *field.Path, n *int32) {
	if n != nil && (*n < 0 || *n > 100) {
		r.Invalid(p, *n, "must be between 0 and 100, inclusive")
	}
}

func limited(r *meta.Report, l *flowcontrolv1.LimitedPriorityLevelConfiguration, p *field.Path) {
	shares(r, p.Child("nominalConcurrencyShares"), l.NominalConcurrencyShares)
	percent(r, p.Child("lendablePercent"), l.LendablePercent)
	if n := l.BorrowingLimitPercent; n != nil && *n < 0 {
		r.Invalid(p.Child("borrowingLimitPercent"), *n, "if specified, must be a non-negative integer")
	}
	at := p.Child("limitResponse")
	queuing, q := at.Child("queuing"), l.LimitResponse.Queuing
	switch t := l.LimitResponse.Type; t {
	case flowcontrolv1.LimitResponseTypeReject:
		r.ForbiddenIf(q != nil, queuing, "must be nil if limited.limitResponse.type is not Limited")
	case flowcontrolv1.LimitResponseTypeQueue:
		if q == nil {
			r.Required(queuing, "must not be empty if limited.limitResponse.type is Limited")
		} else {
			queues(r, q, queuing)
		}
	default:
		meta.OneOf(r, at.Child("type"), t, flowcontrolv1.LimitResponseTypeQueue, flowcontrolv1.LimitResponseTypeReject)
	}
}

func queues(r *meta.Report, q *flowcontrolv1.QueuingConfiguration, p *field.Path) {
	if q.QueueLengthLimit <= 0 {
		r.Invalid(p.Child("queueLengthLimit"), q.QueueLengthLimit, "must be positive")
	}
	if q.Queues <= 0 {
		r.Invalid(p.Child("queues"), q.Queues, "must be positive")
	} else if q.Queues > maxQueues {
		r.Invalid(p.Child("queues"), q.Queues, fmt.Sprintf("must not be greater than %d", maxQueues))
	}
	hand, n := p.Child("handSize"), q.HandSize
	switch {
	case n <= 0:
		r.Invalid(hand, n, "must be positive")
	case n > q.Queues:
		r.Invalid(hand, n, fmt.Sprintf("should not be greater than queues (%d)", q.Queues))
	default:
		if bits := int(math.Ceil(math.Log2(float64(q.Queues)) * float64(n))); bits > maxHandBits {
			r.Invalid(hand, n, fmt.Sprintf("required entropy bits of deckSize %d and handSize %d should not be greater than %d", q.Queues, n, maxHandBits))
		}
	}
}
