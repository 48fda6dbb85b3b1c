package resource

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/google/uuid"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/validate/content"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/monohull/monohull/internal/api/core"
	"github.com/monohull/monohull/internal/api/meta"
)

// report is meta.Report with the rules of names and lists of this group.
type report struct{ meta.Report }

// noLimit is for lists that another rule bounds.
const noLimit = -1

// each judges the items of a list, none of them when there are too many.
func each[T any](r *report, list []T, limit int, p *field.Path, judge func(item *T, p *field.Path)) {
	if limit >= 0 && len(list) > limit {
		r.TooMany(p, len(list), limit)
		return
	}
	for i := range list {
		judge(&list[i], p.Index(i))
	}
}

// unique is each for lists in which a key occurs once.
func unique[T any, K comparable](r *report, list []T, limit int, p *field.Path, key func(*T) K, judge func(item *T, p *field.Path)) {
	if limit >= 0 && len(list) > limit {
		r.TooMany(p, len(list), limit)
		return
	}
	seen := map[K]bool{}
	for i := range list {
		judge(&list[i], p.Index(i))
		k := key(&list[i])
		if seen[k] {
			r.Duplicate(p.Index(i), k)
		}
		seen[k] = true
	}
}

// keyed judges the keys and values of a map, none of them when there are too
// many. A key's error is the map's; a long key is cut in the paths of values.
func keyed[K ~string, V any](r *report, m map[K]V, limit, maxKey int, p *field.Path, key func(K, *field.Path), value func(V, *field.Path)) {
	if limit >= 0 && len(m) > limit {
		r.TooMany(p, len(m), limit)
		return
	}
	for _, k := range slices.Sorted(maps.Keys(m)) {
		key(k, p)
		value(m[k], p.Key(shortened(string(k), maxKey)))
	}
}

// shortened cuts the middle out of a long key.
func shortened(s string, limit int) string {
	const dots = "..."
	limit = max(limit, 16)
	if len(s) <= limit {
		return s
	}
	left := limit - len(dots)
	return s[:(left+1)/2] + dots + s[len(s)-left/2:]
}

func itself(s *string) string { return *s }

func (r *report) label(name string, p *field.Path)  { r.Add(meta.Label1123(name, p)) }
func (r *report) driver(name string, p *field.Path) { r.Add(core.ValidateCSIDriverName(name, p)) }
func (r *report) labelValue(v string, p *field.Path) {
	r.InvalidAll(p, v, validation.IsValidLabelValue(v))
}
func (r *report) nodeName(name string, p *field.Path) { r.Named(p, name, meta.DNSSubdomain) }
func (r *report) conditionKeys(p *field.Path) func(*string, *field.Path) {
	return func(s *string, p *field.Path) { r.Add(meta.LabelName(*s, p)) }
}

func (r *report) pool(name string, p *field.Path) {
	if name == "" {
		r.Required(p, "")
		return
	}
	if len(name) > resourcev1.PoolNameMaxLength {
		r.TooLong(p, resourcev1.PoolNameMaxLength)
	}
	for part := range strings.SplitSeq(name, "/") {
		r.Add(meta.Subdomain1123(part, p))
	}
}

func (r *report) uid(id string, p *field.Path) {
	if err := uuid.Validate(id); err != nil {
		r.Invalid(p, id, fmt.Sprintf("error validating uid: %v", err))
	} else if len(id) != 36 || id != strings.ToLower(id) {
		r.Invalid(p, id, "uid must be in RFC 4122 normalized form, `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx` with lowercase hexadecimal characters")
	}
}

// qualified judges the name of an attribute or capacity, with or without the
// domain it belongs to. More than one slash is let pass, as it always was.
func (r *report) qualified(name string, p *field.Path) {
	switch parts := strings.Split(name, "/"); len(parts) {
	case 1:
		r.identifier(name, p)
	case 2:
		if parts[0] == "" {
			r.Invalid(p, "", "the domain must not be empty")
		} else {
			r.driver(parts[0], p)
		}
		if parts[1] == "" {
			r.Invalid(p, "", "the name must not be empty")
		} else {
			r.identifier(parts[1], p)
		}
	}
}

// fullyQualified is qualified for a name that must have a domain.
func (r *report) fullyQualified(name string, p *field.Path) {
	r.qualified(name, p)
	if !strings.Contains(name, "/") {
		r.Invalid(p, name, "a fully qualified name must be a domain and a name separated by a slash")
	}
}

func (r *report) identifier(id string, p *field.Path) {
	if len(id) > resourcev1.DeviceMaxIDLength {
		r.TooLong(p, resourcev1.DeviceMaxIDLength)
	}
	r.InvalidAll(p, id, content.IsCIdentifier(id))
}

// raw judges an object that only a driver understands. What is stored keeps a
// size that newer limits refuse.
func (r *report) raw(ext runtime.RawExtension, p *field.Path, stored bool, limit int) {
	const omitted = "<value omitted>"
	if len(ext.Raw) == 0 {
		r.Required(p, "")
		return
	}
	if !stored && len(ext.Raw) > limit {
		r.TooLong(p, limit)
		return
	}
	var v any
	if err := json.Unmarshal(ext.Raw, &v); err != nil {
		r.Invalid(p, omitted, "error parsing data as JSON: "+err.Error())
	} else if v == nil {
		r.Required(p, "")
	} else if _, ok := v.(map[string]any); !ok {
		r.Invalid(p, omitted, "must be a valid JSON object")
	}
}

// effect judges the effect of a taint or toleration that has one.
func (r *report) effect(e resourcev1.DeviceTaintEffect, p *field.Path) {
	meta.Among(&r.Report, p, e, resourcev1.DeviceTaintEffectNoExecute, resourcev1.DeviceTaintEffectNoSchedule, resourcev1.DeviceTaintEffectNone)
}

// binding judges the conditions a device must and must not meet before a pod
// is bound to its node.
func (r *report) binding(needed, failures []string, p *field.Path) {
	at, fp := p.Child("bindingConditions"), p.Child("bindingFailureConditions")
	each(r, needed, resourcev1.BindingConditionsMaxSize, at, r.conditionKeys(at))
	each(r, failures, resourcev1.BindingFailureConditionsMaxSize, fp, r.conditionKeys(fp))
	seen := sets.Set[string]{}
	for i, c := range needed {
		if seen.Has(c) {
			r.Duplicate(at.Index(i), c)
		}
		seen.Insert(c)
	}
	failed := sets.Set[string]{}
	for i, c := range failures {
		if failed.Has(c) {
			r.Duplicate(fp.Index(i), c)
		}
		failed.Insert(c)
		if seen.Has(c) {
			r.Invalid(fp.Index(i), c, "bindingFailureConditions must not overlap with bindingConditions")
		}
	}
	if len(needed) == 0 && len(failures) > 0 {
		r.Invalid(at, needed, "bindingConditions are required to use bindingFailureConditions")
	}
	if len(failures) == 0 && len(needed) > 0 {
		r.Invalid(fp, failures, "bindingFailureConditions are required to use bindingConditions")
	}
}
