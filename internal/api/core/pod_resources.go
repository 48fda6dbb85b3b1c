package core

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	resourcehelper "k8s.io/component-helpers/resource"

	"github.com/monohull/monohull/internal/api/meta"
)

// countResources are the names that only quota knows and that come in whole numbers.
var countResources = []corev1.ResourceName{
	corev1.ResourcePods, corev1.ResourceQuotas, corev1.ResourceServices, corev1.ResourceReplicationControllers,
	corev1.ResourceSecrets, corev1.ResourceConfigMaps, corev1.ResourcePersistentVolumeClaims,
	corev1.ResourceServicesNodePorts, corev1.ResourceServicesLoadBalancers,
}

// containerResources are the standard names a container may ask for.
var containerResources = []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage}

// otherResources are the standard names beyond those two lists.
var otherResources = []corev1.ResourceName{
	corev1.ResourceRequestsCPU, corev1.ResourceRequestsMemory, corev1.ResourceRequestsEphemeralStorage,
	corev1.ResourceLimitsCPU, corev1.ResourceLimitsMemory, corev1.ResourceLimitsEphemeralStorage,
	corev1.ResourceStorage, corev1.ResourceRequestsStorage,
}

func isHugePage(n corev1.ResourceName) bool {
	return strings.HasPrefix(string(n), corev1.ResourceHugePagesPrefix)
}

func isNative(n corev1.ResourceName) bool {
	return !strings.Contains(string(n), "/") || strings.Contains(string(n), corev1.ResourceDefaultNamespacePrefix)
}

func isExtended(n corev1.ResourceName) bool {
	if isNative(n) || strings.HasPrefix(string(n), corev1.DefaultResourceRequestsPrefix) {
		return false
	}
	return len(validation.IsQualifiedName(corev1.DefaultResourceRequestsPrefix+string(n))) == 0
}

func isOvercommitAllowed(n corev1.ResourceName) bool { return isNative(n) && !isHugePage(n) }

func isStandard(n corev1.ResourceName) bool {
	return slices.Contains(containerResources, n) || slices.Contains(countResources, n) || slices.Contains(otherResources, n) ||
		isHugePage(n) || strings.HasPrefix(string(n), corev1.ResourceRequestsHugePagesPrefix)
}

// ValidateResourceName judges the name of any resource.
func ValidateResourceName(n corev1.ResourceName, p *field.Path) field.ErrorList {
	var r meta.Report
	r.InvalidAll(p, n, validation.IsQualifiedName(string(n)))
	if len(r.Errs) == 0 && !strings.Contains(string(n), "/") && !isStandard(n) {
		r.Invalid(p, n, "must be a standard resource type or fully qualified")
	}
	return r.Errs
}

func containerResourceName(r *meta.Report, n corev1.ResourceName, p *field.Path) {
	r.Add(ValidateResourceName(n, p))
	switch {
	case !strings.Contains(string(n), "/"):
		if !slices.Contains(containerResources, n) && !isHugePage(n) {
			r.Invalid(p, n, "must be a standard resource for containers")
		}
	case !isNative(n) && !isExtended(n):
		r.Invalid(p, n, "doesn't follow extended resource name standard")
	}
}

func podResourceName(r *meta.Report, n corev1.ResourceName, p *field.Path) {
	if errs := ValidateResourceName(n, p); len(errs) > 0 {
		r.Add(errs)
	} else if !resourcehelper.IsSupportedPodLevelResource(n) {
		meta.Among(r, p, n, sets.List(resourcehelper.SupportedPodLevelResources())...)
	}
}

// ValidateQuantity judges the amount of a resource: not negative, and whole
// where the resource is counted.
func ValidateQuantity(n corev1.ResourceName, q resource.Quantity, p *field.Path) field.ErrorList {
	var r meta.Report
	if q.Sign() < 0 {
		r.Invalid(p, q.String(), meta.IsNegative)
	}
	if (slices.Contains(countResources, n) || isExtended(n)) && q.MilliValue()%1000 != 0 {
		r.Invalid(p, q, "must be an integer")
	}
	return r.Errs
}

// addPositive sums the amounts that decide the class of a pod, and says
// whether this one counted.
func addPositive(sum corev1.ResourceList, n corev1.ResourceName, q resource.Quantity) bool {
	if (n != corev1.ResourceCPU && n != corev1.ResourceMemory) || q.Sign() <= 0 {
		return false
	}
	total := q.DeepCopy()
	total.Add(sum[n])
	sum[n] = total
	return true
}

type resourceNameRule func(*meta.Report, corev1.ResourceName, *field.Path)

// requirements judges requests, limits and claims of a container, or of a pod.
func requirements(r *meta.Report, req *corev1.ResourceRequirements, name resourceNameRule, claims sets.Set[string], p *field.Path) {
	limits, requests := p.Child("limits"), p.Child("requests")
	compute, huge := false, false
	amount := func(n corev1.ResourceName, q resource.Quantity, at *field.Path) {
		name(r, n, at)
		r.Add(ValidateQuantity(n, q, at))
		if isHugePage(n) {
			huge = true
			if !hugePagesDivide(n, q) {
				r.Invalid(at, q.String(), fmt.Sprintf("%s is not positive integer multiple of %s", q.String(), n))
			}
		}
		compute = compute || n == corev1.ResourceCPU || n == corev1.ResourceMemory
	}
	for _, n := range sortedNames(req.Limits) {
		amount(n, req.Limits[n], limits.Key(string(n)))
	}
	for _, n := range sortedNames(req.Requests) {
		q := req.Requests[n]
		amount(n, q, requests.Key(string(n)))
		limit, limited := req.Limits[n]
		switch {
		case limited && !isOvercommitAllowed(n) && q.Cmp(limit) != 0:
			r.Invalid(requests, q.String(), fmt.Sprintf("must be equal to %s limit of %s", n, limit.String()))
		case limited && q.Cmp(limit) > 0:
			r.Invalid(requests, q.String(), fmt.Sprintf("must be less than or equal to %s limit of %s", n, limit.String()))
		case !limited && !isOvercommitAllowed(n):
			r.Required(limits, "Limit must be set for non overcommitable resources")
		}
	}
	r.ForbiddenIf(huge && !compute, p, "HugePages require cpu or memory")
	claimNames(r, req.Claims, claims, p.Child("claims"))
}

// ValidateLimits judges a list of resources by the rules for the limits of
// containers; p is what has the list as its limits.
func ValidateLimits(list corev1.ResourceList, p *field.Path) field.ErrorList {
	var r meta.Report
	requirements(&r, &corev1.ResourceRequirements{Limits: list}, containerResourceName, nil, p)
	return r.Errs
}

func hugePagesDivide(n corev1.ResourceName, q resource.Quantity) bool {
	size, err := resource.ParseQuantity(strings.TrimPrefix(string(n), corev1.ResourceHugePagesPrefix))
	return err == nil && size.Sign() > 0 && size.MilliValue()%1000 == 0 && q.Value()%size.Value() == 0
}

func sortedNames(l corev1.ResourceList) []corev1.ResourceName {
	if len(l) == 0 {
		return nil
	}
	names := make([]corev1.ResourceName, 0, len(l))
	for n := range l {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

// claimNames judges a container's references to the claims of its pod: each
// claim whole once, or by requests.
func claimNames(r *meta.Report, list []corev1.ResourceClaim, known sets.Set[string], p *field.Path) {
	seen := sets.Set[string]{}
	for i, c := range list {
		at := p.Index(i)
		if c.Name == "" {
			r.Required(at, "")
			continue
		}
		if seen.Has(c.Name) {
			r.Duplicate(at, c.Name)
		} else {
			key := c.Name
			if c.Request != "" {
				r.Add(meta.Label1123(c.Request, at.Child("request")))
				key += "/" + c.Request
			}
			if seen.Has(key) {
				r.Duplicate(at, key)
			} else if c.Request == "" {
				for k := range seen {
					if strings.HasPrefix(k, c.Name+"/") {
						r.Duplicate(at, c.Name)
					}
				}
			}
			seen.Insert(key)
		}
		if !known.Has(c.Name) {
			e := field.NotFound(at, c.Name)
			e.Detail = "must be one of the names in pod.spec.resourceClaims"
			if len(known) == 0 {
				e.Detail += " which is empty"
			} else {
				e.Detail += ": " + strings.Join(sets.List(known), ", ")
			}
			r.Errs = append(r.Errs, e)
		}
	}
}

// podResources judges resources given for the pod as a whole against those of
// its containers.
func podResources(r *meta.Report, s *corev1.PodSpec, claims sets.Set[string], p *field.Path) {
	if s.Resources == nil {
		return
	}
	if s.OS != nil && s.OS.Name == corev1.Windows {
		r.Forbidden(p, "may not be set for a windows pod")
		return
	}
	r.ForbiddenIf(s.Resources.Claims != nil, p.Child("claims"), "claims may not be set for Resources at pod-level")
	requirements(r, s.Resources, podResourceName, claims, p)
	pod := &corev1.Pod{Spec: *s}
	sums := resourcehelper.AggregateContainerRequests(pod, resourcehelper.PodResourcesOptions{})
	for _, n := range sortedNames(sums) {
		sum := sums[n]
		if q, ok := s.Resources.Requests[n]; ok && sum.Cmp(q) > 0 {
			r.Invalid(p.Child("requests").Key(string(n)), q.String(), fmt.Sprintf("must be greater than or equal to aggregate container requests of %s", sum.String()))
		}
	}
	sums = resourcehelper.AggregateContainerLimits(pod, resourcehelper.PodResourcesOptions{})
	for _, n := range sortedNames(sums) {
		sum := sums[n]
		if q, ok := s.Resources.Limits[n]; ok && isHugePage(n) && sum.Cmp(q) > 0 {
			r.Invalid(p.Child("limits").Key(string(n)), q.String(), fmt.Sprintf("must be greater than or equal to aggregate container limits of %s", sum.String()))
		}
	}
	for i := range s.Containers {
		limits := s.Containers[i].Resources.Limits
		for _, n := range sortedNames(limits) {
			q := limits[n]
			if max, ok := s.Resources.Limits[n]; ok && q.Cmp(max) > 0 {
				r.Invalid(p.Child("containers").Index(i).Key(string(n)).Child("limits"), q.String(), fmt.Sprintf("must be less than or equal to pod limits of %s", max.String()))
			}
		}
	}
}

// podClaims judges the resource claims a pod names.
func podClaims(r *meta.Report, mirror bool, claims []corev1.PodResourceClaim, p *field.Path) sets.Set[string] {
	known, seen := sets.Set[string]{}, sets.Set[string]{}
	for i, c := range claims {
		at := p.Index(i)
		if c.Name != "" {
			known.Insert(c.Name)
		}
		if mirror {
			r.Forbidden(field.NewPath(""), "static pods do not support resource claims")
			continue
		}
		switch {
		case c.Name == "":
			r.Required(at.Child("name"), "")
		case seen.Has(c.Name):
			r.Duplicate(at.Child("name"), c.Name)
		default:
			r.Add(meta.Label1123(c.Name, at.Child("name")))
			seen.Insert(c.Name)
		}
		if c.ResourceClaimName != nil && c.ResourceClaimTemplateName != nil {
			r.Invalid(at, c, "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified")
		}
		if c.ResourceClaimName == nil && c.ResourceClaimTemplateName == nil {
			r.Invalid(at, c, "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`")
		}
		if n := c.ResourceClaimName; n != nil {
			r.Named(at.Child("resourceClaimName"), *n, meta.DNSSubdomain)
		}
		if n := c.ResourceClaimTemplateName; n != nil {
			r.Named(at.Child("resourceClaimTemplateName"), *n, meta.DNSSubdomain)
		}
	}
	return known
}
