package resource

import (
	"fmt"
	"strconv"
	"strings"

	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/monohull/monohull/internal/api/meta"
)

// maxPolicyValues bounds the amounts that requests choose from.
const maxPolicyValues = 10

// maxAttributeKey is the longest name with its domain.
const maxAttributeKey = resourcev1.DeviceMaxDomainLength + 1 + resourcev1.DeviceMaxIDLength

func oneQuantity() resource.Quantity { return *resource.NewQuantity(1, resource.DecimalSI) }

func (r *report) device(d, old *resourcev1.Device, perDevice bool, p *field.Path) {
	r.label(d.Name, p.Child("name"))
	if n := len(d.Attributes) + len(d.Capacity); n > resourcev1.ResourceSliceMaxAttributesAndCapacitiesPerDevice {
		r.Invalid(p, n, fmt.Sprintf("the total number of attributes and capacities must not exceed %d", resourcev1.ResourceSliceMaxAttributesAndCapacitiesPerDevice))
	}
	values := 0
	for _, a := range d.Attributes {
		values += max(1, len(a.BoolValues)+len(a.IntValues)+len(a.StringValues)+len(a.VersionValues))
	}
	if values > resourcev1.ResourceSliceMaxAttributeValuesPerDevice {
		r.Invalid(p, values, fmt.Sprintf("the total number of attribute values must not exceed %d", resourcev1.ResourceSliceMaxAttributeValuesPerDevice))
	}
	name := func(n resourcev1.QualifiedName, p *field.Path) { r.qualified(string(n), p) }
	keyed(r, d.Attributes, noLimit, maxAttributeKey, p.Child("attributes"), name, r.attribute)
	shared := d.AllowMultipleAllocations != nil && *d.AllowMultipleAllocations
	keyed(r, d.Capacity, noLimit, maxAttributeKey, p.Child("capacity"), name, func(c resourcev1.DeviceCapacity, p *field.Path) {
		if c.RequestPolicy == nil {
			return
		}
		p = p.Child("requestPolicy")
		if !shared {
			r.Forbidden(p, "allowMultipleAllocations must be true")
			return
		}
		r.policy(c.Value, c.RequestPolicy, p)
	})
	if old == nil || !equality.Semantic.DeepEqual(old.Taints, d.Taints) {
		each(r, d.Taints, resourcev1.DeviceTaintsMaxLength, p.Child("taints"), func(t *resourcev1.DeviceTaint, p *field.Path) {
			r.Add(meta.LabelName(t.Key, p.Child("key")))
			if t.Value != "" {
				r.labelValue(t.Value, p.Child("value"))
			}
			if t.Effect == "" {
				r.Required(p.Child("effect"), "")
			} else {
				r.effect(t.Effect, p.Child("effect"))
			}
		})
	}
	unique(r, d.ConsumesCounters, resourcev1.ResourceSliceMaxDeviceCounterConsumptionsPerDevice, p.Child("consumesCounters"),
		func(c *resourcev1.DeviceCounterConsumption) string { return c.CounterSet },
		func(c *resourcev1.DeviceCounterConsumption, p *field.Path) {
			r.counters(c.CounterSet, c.Counters, resourcev1.ResourceSliceMaxCountersPerDeviceCounterConsumption, p.Child("counterSet"), p.Child("counters"))
		})
	r.nodesOfDevice(d, perDevice, p)
	r.binding(d.BindingConditions, d.BindingFailureConditions, p)
	r.mappings(d, p.Child("nodeAllocatableResourceMappings"))
}

// attribute judges a value, which has one of eight types.
func (r *report) attribute(a resourcev1.DeviceAttribute, p *field.Path) {
	text := func(v string, p *field.Path) {
		if len(v) > resourcev1.DeviceAttributeMaxValueLength {
			r.TooLong(p, resourcev1.DeviceAttributeMaxValueLength)
		}
	}
	version := func(v string, p *field.Path) {
		if !isSemver(v) {
			r.Invalid(p, v, "must be a string compatible with semver.org spec 2.0.0")
		}
		text(v, p)
	}
	n := 0
	for _, set := range []bool{a.BoolValue != nil, a.IntValue != nil, a.StringValue != nil, a.VersionValue != nil} {
		if set {
			n++
		}
	}
	if a.StringValue != nil {
		text(*a.StringValue, p.Child("string"))
	}
	if a.VersionValue != nil {
		version(*a.VersionValue, p.Child("version"))
	}
	const empty = "must not be empty if specified"
	list := func(set bool, length int, value any, p *field.Path) {
		if set {
			n++
			if length == 0 {
				r.Invalid(p, value, empty)
			}
		}
	}
	list(a.BoolValues != nil, len(a.BoolValues), a.BoolValues, p.Child("bools"))
	list(a.IntValues != nil, len(a.IntValues), a.IntValues, p.Child("ints"))
	list(a.StringValues != nil, len(a.StringValues), a.StringValues, p.Child("strings"))
	for i, v := range a.StringValues {
		text(v, p.Child("strings").Index(i))
	}
	list(a.VersionValues != nil, len(a.VersionValues), a.VersionValues, p.Child("versions"))
	for i, v := range a.VersionValues {
		version(v, p.Child("versions").Index(i))
	}
	switch n {
	case 0:
		r.Invalid(p, "", "exactly one value must be specified")
	case 1:
	default:
		r.Invalid(p, a, "exactly one value must be specified")
	}
}

// isSemver tells whether a version is one of semver.org 2.0.0: three numbers,
// a pre-release after a dash, a build after a plus.
func isSemver(v string) bool {
	v, build, built := strings.Cut(v, "+")
	if built && !all(strings.Split(build, "."), isWord) {
		return false
	}
	v, pre, staged := strings.Cut(v, "-")
	if staged && !all(strings.Split(pre, "."), func(s string) bool { return isWord(s) && (!isDigits(s) || isNumber(s)) }) {
		return false
	}
	parts := strings.Split(v, ".")
	return len(parts) == 3 && all(parts, isNumber)
}

func all(list []string, ok func(string) bool) bool {
	for _, s := range list {
		if !ok(s) {
			return false
		}
	}
	return true
}

func isDigits(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }
func isNumber(s string) bool { return isDigits(s) && (s[0] != '0' || s == "0") }

func isWord(s string) bool {
	for _, c := range s {
		if c != '-' && (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') {
			return false
		}
	}
	return s != ""
}

// policy judges how much of a capacity one request may take: one of some
// amounts, or an amount within a range.
func (r *report) policy(capacity resource.Quantity, c *resourcev1.CapacityRequestPolicy, p *field.Path) {
	switch {
	case len(c.ValidValues) > 0 && c.ValidRange != nil:
		r.Forbidden(p, `exactly one policy can be specified, cannot specify "validValues" and "validRange" at the same time`)
	case len(c.ValidValues) > 0:
		if c.Default == nil {
			r.Required(p.Child("default"), "required when validValues is defined")
		} else {
			r.amounts(*c.Default, capacity, c.ValidValues, p.Child("validValues"))
		}
	case c.ValidRange != nil:
		if c.Default == nil {
			r.Required(p.Child("default"), "required when validRange is defined")
		} else {
			r.amountRange(*c.Default, capacity, c.ValidRange, p.Child("validRange"))
		}
	}
}

func (r *report) amounts(usual, capacity resource.Quantity, list []resource.Quantity, p *field.Path) {
	for i := 1; i < len(list); i++ {
		if list[i-1].Cmp(list[i]) > 0 {
			r.Invalid(p.Index(i), list[i].String(), "values must be sorted in ascending order")
		}
	}
	found := false
	unique(r, list, maxPolicyValues, p,
		func(q *resource.Quantity) string { return strconv.FormatInt(q.Value(), 10) },
		func(q *resource.Quantity, p *field.Path) {
			if q.Cmp(capacity) > 0 {
				r.Invalid(p, q.String(), "option is larger than capacity value: "+capacity.String())
			}
			found = found || q.Cmp(usual) == 0
		})
	if !found {
		r.Invalid(p, usual.String(), "default value is not valid according to the requestPolicy")
	}
}

func (r *report) amountRange(usual, capacity resource.Quantity, v *resourcev1.CapacityRequestPolicyRange, p *field.Path) {
	if v.Min == nil {
		r.Required(p.Child("min"), "required when validRange is defined")
		return
	}
	if v.Min.Cmp(capacity) > 0 {
		r.Invalid(p.Child("min"), v.Min.String(), "min is larger than capacity value: "+capacity.String())
	}
	if usual.Cmp(*v.Min) < 0 {
		r.Invalid(p.Child("min"), usual.String(), "default is less than min: "+v.Min.String())
	}
	if top := v.Max; top != nil {
		at := p.Child("max")
		if v.Min.Cmp(*top) > 0 {
			r.Invalid(at, v.Min.String(), "min is larger than max: "+top.String())
		}
		if top.Cmp(capacity) > 0 {
			r.Invalid(at, top.String(), "max is larger than capacity value: "+capacity.String())
		}
		if usual.Cmp(*top) > 0 {
			r.Invalid(at, usual.String(), "default is more than max: "+top.String())
		}
	}
	if v.Step == nil {
		return
	}
	at := p.Child("step")
	next := v.Min.DeepCopy()
	next.Add(*v.Step)
	if next.Cmp(capacity) > 0 {
		r.Invalid(at, v.Step.String(), fmt.Sprintf("one step %s is larger than capacity value: %s", next.String(), capacity.String()))
	}
	stepped := func(q resource.Quantity) {
		step := v.Step.Value()
		// A step of zero divides nothing; it is no step.
		if step == 0 || (q.Value()-v.Min.Value())%step != 0 {
			r.Invalid(at, q.String(), fmt.Sprintf("value is not a multiple of a given step (%s) from (%s)", v.Step.String(), v.Min.String()))
		}
	}
	stepped(usual)
	if v.Max != nil {
		stepped(*v.Max)
	}
}

// mappings judges what of a node's own resources a device takes.
func (r *report) mappings(d *resourcev1.Device, p *field.Path) {
	judge := func(m resourcev1.NodeAllocatableResourceMapping, p *field.Path) {
		if m.AllocationMultiplier == nil && m.CapacityKey == nil {
			r.Invalid(p, "", "at least one of allocationMultiplier or capacityKey must be set")
			return
		}
		if q := m.AllocationMultiplier; q != nil && q.Sign() <= 0 {
			r.Invalid(p.Child("allocationMultiplier"), q.String(), "must be positive")
		}
		if m.CapacityKey == nil {
			return
		}
		at := p.Child("capacityKey")
		if *m.CapacityKey == "" {
			r.Invalid(at, "", "capacityKey must not be an empty string")
		} else if _, ok := d.Capacity[*m.CapacityKey]; !ok {
			r.NotFound(at, *m.CapacityKey)
		}
	}
	for name, m := range d.NodeAllocatableResourceMappings {
		at := p.Key(string(name))
		if !isNative(string(name)) {
			r.Invalid(at, name, "must be a node allocatable resource name")
		}
		judge(m, at)
	}
}
