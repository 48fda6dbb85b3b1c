package resource

import (
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/monohull/monohull/internal/api"
	"github.com/monohull/monohull/internal/api/core"
	"github.com/monohull/monohull/internal/api/meta"
)

func sliceRow() *api.Kind {
	type kind = resourcev1.ResourceSlice
	return api.Define(api.Spec[*kind]{
		GVK: gvk("ResourceSlice"), Plural: "resourceslices", Singular: "resourceslice", Generation: true, UnconditionalUpdate: true,
		List:          &resourcev1.ResourceSliceList{},
		Default:       defaultSlice,
		Date:          dateTaints,
		PrepareCreate: func(s *kind) { s.Generation = 1; dropUnserved(s, nil) },
		// The change is counted before what is not served is dropped from it.
		PrepareUpdate: func(s, old *kind) {
			if !equality.Semantic.DeepEqual(s.Spec, old.Spec) {
				s.Generation = old.Generation + 1
			}
			dropUnserved(s, old)
		},
		Validate: func(s *kind) field.ErrorList {
			return append(meta.ValidateObjectMeta(&s.ObjectMeta, false, meta.DNSSubdomain), validateSlice(&s.Spec, nil)...)
		},
		ValidateUpdate: func(s, old *kind) field.ErrorList {
			errs := meta.ValidateObjectMetaUpdate(&s.ObjectMeta, &old.ObjectMeta)
			return append(errs, validateSlice(&s.Spec, &old.Spec)...)
		},
		Warnings: func(s *kind) []string {
			if d := s.Spec.Driver; d != strings.ToLower(d) {
				return []string{fmt.Sprintf("spec.driver: driver names should be lowercase; %q contains uppercase characters", d)}
			}
			return nil
		},
		Fields: map[string]func(*kind) string{
			resourcev1.ResourceSliceSelectorNodeName: nodeOf,
			resourcev1.ResourceSliceSelectorDriver:   func(s *kind) string { return s.Spec.Driver },
		},
		Columns: []metav1.TableColumnDefinition{
			meta.NameColumn,
			meta.Text("Node", "The node that has the devices, where it is one."),
			meta.Text("Driver", "The driver that manages the devices."),
			meta.Text("Pool", "The pool that the devices belong to."),
			meta.AgeColumn,
		},
		Row: func(s *kind, now time.Time) []any {
			return []any{s.Name, nodeOf(s), s.Spec.Driver, s.Spec.Pool.Name, meta.Age(s.CreationTimestamp, now)}
		},
	})
}

func nodeOf(s *resourcev1.ResourceSlice) string {
	if s.Spec.NodeName == nil {
		return ""
	}
	return *s.Spec.NodeName
}

func defaultSlice(s *resourcev1.ResourceSlice) {
	for i := range s.Spec.Devices {
		defaultMappings(s.Spec.Devices[i].NodeAllocatableResourceMappings)
	}
}

// dateTaints tells when a taint was added, which its writer leaves to the
// server.
func dateTaints(s, _ *resourcev1.ResourceSlice, now time.Time) {
	for i := range s.Spec.Devices {
		for j := range s.Spec.Devices[i].Taints {
			if t := &s.Spec.Devices[i].Taints[j]; t.TimeAdded == nil {
				added := meta.Moment(now)
				t.TimeAdded = &added
			}
		}
	}
}

// dropUnserved removes what is not on by default, where no device had it:
// devices that take from a node's own resources, and attributes that are lists.
func dropUnserved(s, old *resourcev1.ResourceSlice) {
	mapped, listed := false, false
	if old != nil {
		for _, d := range old.Spec.Devices {
			mapped = mapped || len(d.NodeAllocatableResourceMappings) > 0
		}
		listed = hasLists(&old.Spec)
	}
	for i := range s.Spec.Devices {
		d := &s.Spec.Devices[i]
		if !mapped {
			d.NodeAllocatableResourceMappings = nil
		}
		if listed {
			continue
		}
		for k, a := range d.Attributes {
			a.BoolValues, a.IntValues, a.StringValues, a.VersionValues = nil, nil, nil, nil
			d.Attributes[k] = a
		}
	}
}

func hasLists(s *resourcev1.ResourceSliceSpec) bool {
	for _, d := range s.Devices {
		for _, a := range d.Attributes {
			if a.BoolValues != nil || a.IntValues != nil || a.StringValues != nil || a.VersionValues != nil {
				return true
			}
		}
	}
	return false
}

// maxDevices is lower where devices say more than their name and attributes.
func maxDevices(s *resourcev1.ResourceSliceSpec) int {
	few := hasLists(s)
	for _, d := range s.Devices {
		few = few || len(d.Taints) > 0 || len(d.ConsumesCounters) > 0
	}
	if few {
		return resourcev1.ResourceSliceMaxDevicesWithAdvancedFeatures
	}
	return resourcev1.ResourceSliceMaxDevices
}

const trueOrUnset = "must be either unset or set to true"

// validateSlice judges the devices of a driver; old is nil for a new slice.
func validateSlice(s, old *resourcev1.ResourceSliceSpec) field.ErrorList {
	var r report
	r.driver(s.Driver, specPath.Child("driver"))
	pool := specPath.Child("pool")
	r.pool(s.Pool.Name, pool.Child("name"))
	if n := s.Pool.ResourceSliceCount; n <= 0 {
		r.Invalid(pool.Child("resourceSliceCount"), n, "must be greater than zero")
	}
	if n := s.Pool.Generation; n < 0 {
		r.Invalid(pool.Child("generation"), n, "must be greater than or equal to zero")
	}
	if old != nil {
		r.Add(meta.Immutable(s.Pool.Name, old.Pool.Name, pool.Child("name")))
		r.Add(meta.Immutable(s.Driver, old.Driver, specPath.Child("driver")))
		r.Add(meta.Immutable(s.NodeName, old.NodeName, specPath.Child("nodeName")))
	}
	r.nodesOfSlice(s)
	if s.SharedCounters != nil && s.Devices != nil {
		r.Invalid(specPath, "", "only one of `sharedCounters` or `devices` is allowed")
	}
	before := map[string]*resourcev1.Device{}
	if old != nil {
		for i := range old.Devices {
			if d := &old.Devices[i]; before[d.Name] == nil {
				before[d.Name] = d
			}
		}
	}
	perDevice := s.PerDeviceNodeSelection != nil && *s.PerDeviceNodeSelection
	unique(&r, s.Devices, maxDevices(s), specPath.Child("devices"), func(d *resourcev1.Device) string { return d.Name },
		func(d *resourcev1.Device, p *field.Path) { r.device(d, before[d.Name], perDevice, p) })
	unique(&r, s.SharedCounters, resourcev1.ResourceSliceMaxCounterSets, specPath.Child("sharedCounters"),
		func(c *resourcev1.CounterSet) string { return c.Name },
		func(c *resourcev1.CounterSet, p *field.Path) {
			r.counters(c.Name, c.Counters, resourcev1.ResourceSliceMaxCountersPerCounterSet, p.Child("name"), p.Child("counters"))
		})
	return r.Errs
}

// nodesOfSlice judges which nodes can use the devices of a slice, said in one
// of four ways.
func (r *report) nodesOfSlice(s *resourcev1.ResourceSliceSpec) {
	var set []string
	if n := s.NodeName; n != nil {
		p := specPath.Child("nodeName")
		if *n != "" {
			set = append(set, "`nodeName`")
			r.nodeName(*n, p)
		} else {
			r.Invalid(p, *n, "must be either unset or set to a non-empty string")
		}
	}
	if n := s.NodeSelector; n != nil {
		set = append(set, "`nodeSelector`")
		p := specPath.Child("nodeSelector")
		r.Add(core.ValidateNodeSelector(n, p))
		// One term can be merged with that of another slice.
		if len(n.NodeSelectorTerms) != 1 {
			r.Invalid(p.Child("nodeSelectorTerms"), n.NodeSelectorTerms, "must have exactly one node selector term")
		}
	}
	flag := func(v *bool, name string) {
		if v == nil {
			return
		}
		if *v {
			set = append(set, "`"+name+"`")
		} else {
			r.Invalid(specPath.Child(name), *v, trueOrUnset)
		}
	}
	flag(s.AllNodes, "allNodes")
	flag(s.PerDeviceNodeSelection, "perDeviceNodeSelection")
	const one = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required"
	switch len(set) {
	case 0:
		r.Required(specPath, one)
	case 1:
	default:
		r.Invalid(specPath, "{"+strings.Join(set, ", ")+"}", one+", but multiple fields are set")
	}
}

// nodesOfDevice is nodesOfSlice for one device, where each has its own.
func (r *report) nodesOfDevice(d *resourcev1.Device, perDevice bool, p *field.Path) {
	if !perDevice {
		if d.NodeName != nil || d.NodeSelector != nil || d.AllNodes != nil {
			r.Invalid(p, nil, "`nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is set to true in the ResourceSlice spec")
		}
		return
	}
	var set []string
	if n := d.NodeName; n != nil {
		if *n != "" {
			set = append(set, "`nodeName`")
			r.nodeName(*n, p.Child("nodeName"))
		} else {
			r.Invalid(p.Child("nodeName"), *n, "must not be empty")
		}
	}
	if d.NodeSelector != nil {
		set = append(set, "`nodeSelector`")
		r.Add(core.ValidateNodeSelector(d.NodeSelector, p.Child("nodeSelector")))
	}
	if a := d.AllNodes; a != nil {
		if *a {
			set = append(set, "`allNodes`")
		} else {
			r.Invalid(p.Child("allNodes"), *a, trueOrUnset)
		}
	}
	const one = "exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when `perDeviceNodeSelection` is set to true in the ResourceSlice spec"
	switch len(set) {
	case 0:
		r.Required(p, one)
	case 1:
	default:
		r.Invalid(p, "{"+strings.Join(set, ", ")+"}", one)
	}
}

func (r *report) counters(name string, counters map[string]resourcev1.Counter, limit int, namePath, p *field.Path) {
	if name == "" {
		r.Required(namePath, "")
	} else {
		r.label(name, namePath)
	}
	if len(counters) == 0 {
		r.Required(p, "")
		return
	}
	keyed(r, counters, limit, validation.DNS1123LabelMaxLength, p, r.label, func(resourcev1.Counter, *field.Path) {})
}

// defaultMappings makes a device count once in a node's resource.
func defaultMappings(m map[corev1.ResourceName]resourcev1.NodeAllocatableResourceMapping) {
	for name, v := range m {
		if v.AllocationMultiplier == nil {
			one := oneQuantity()
			v.AllocationMultiplier = &one
			m[name] = v
		}
	}
}
