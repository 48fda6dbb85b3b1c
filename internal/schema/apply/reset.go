package apply

import (
	"strings"

	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/monohull/monohull/internal/api"
)

// resets lists the fields that a write to a kind or subresource cannot change,
// and so cannot own, where the rule does not say it: the main resource leaves
// the status alone, the status subresource the spec.
var resets = map[string][]string{
	"pods/status":                    {"spec", "metadata.deletionTimestamp", "metadata.ownerReferences"},
	"namespaces/finalize":            {"status"},
	"apps/deployments/status":        {"spec", "metadata.labels"},
	"networking/servicecidrs/status": {"metadata", "spec"},

	"admissionregistration/validatingadmissionpolicies/status": {"metadata", "spec"},
	"apiregistration/apiservices/status":                       {"metadata", "spec"},
	"certificates/certificatesigningrequests":                  {"spec", "status"},
	"certificates/certificatesigningrequests/status":           {"spec", "status.conditions"},
	"certificates/certificatesigningrequests/approval":         {"spec", "status.certificate"},
	"certificates/podcertificaterequests":                      {},
	"flowcontrol/flowschemas/status":                           {"metadata", "spec"},
	"flowcontrol/prioritylevelconfigurations/status":           {"metadata", "spec"},
	"internal/storageversions/status":                          {"metadata", "spec"},
	"resource/devicetaintrules/status":                         {"metadata", "spec"},
	"resource/resourceclaims/status":                           {"metadata", "spec"},
	"resource/resourcepoolstatusrequests/status":               {"metadata", "spec"},
	"scheduling/podgroups":                                     {},
	"scheduling/podgroups/status":                              {"metadata", "spec"},
	"storage/volumeattachments/status":                         {"metadata", "spec"},
	"storagemigration/storageversionmigrations/status":         {"metadata", "spec"},
}

// only lists the subresources that may own nothing but these fields; * is any
// item of a list.
var only = map[string][]string{
	"pods/ephemeralcontainers": {"spec.ephemeralContainers"},
	"pods/resize": {
		"spec.containers.*.resources", "spec.containers.*.resizePolicy",
		"spec.initContainers.*.resources", "spec.initContainers.*.resizePolicy",
	},
}

// place names a kind's subresource in the tables above.
func place(k *api.Kind, sub string) string {
	name := k.Plural
	if group, _, _ := strings.Cut(k.GVK.Group, "."); group != "" {
		name = group + "/" + name
	}
	if sub != "" {
		name += "/" + sub
	}
	return name
}

func resetFields(k *api.Kind, sub string) []string {
	if k == nil {
		return nil // scale
	}
	if r, ok := resets[place(k, sub)]; ok {
		return r
	}
	switch {
	case sub == "" && k.HasStatus:
		return []string{"status"}
	case sub == "status":
		return []string{"spec"}
	}
	return nil
}

// filterOf is what the library needs to leave out the same fields.
func filterOf(k *api.Kind, sub string) fieldpath.Filter {
	if k == nil {
		return nil
	}
	if paths := only[place(k, sub)]; paths != nil {
		var matchers []*fieldpath.SetMatcher
		for _, p := range paths {
			var parts []any
			for _, w := range strings.Split(p, ".") {
				if w == "*" {
					parts = append(parts, fieldpath.MatchAnyPathElement())
				} else {
					parts = append(parts, w)
				}
			}
			matchers = append(matchers, fieldpath.MakePrefixMatcherOrDie(parts...))
		}
		return fieldpath.NewIncludeMatcherFilter(matchers...)
	}
	set := fieldpath.NewSet()
	for _, p := range resetFields(k, sub) {
		var parts []any
		for _, w := range strings.Split(p, ".") {
			parts = append(parts, w)
		}
		set.Insert(fieldpath.MakePathOrDie(parts...))
	}
	if set.Empty() {
		return nil
	}
	return fieldpath.NewExcludeSetFilter(set)
}
