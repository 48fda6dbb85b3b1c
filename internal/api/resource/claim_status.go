package resource

import (
	"slices"

	resourcev1 "k8s.io/api/resource/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/monohull/monohull/internal/api/core"
	"github.com/monohull/monohull/internal/api/meta"
)

// device identifies an allocated device, or a share of one. Errors show it as
// JSON.
type device struct{ Driver, Pool, Device, ShareID string }

func allocated(a *resourcev1.AllocationResult) sets.Set[device] {
	out := sets.Set[device]{}
	if a == nil {
		return out
	}
	for _, res := range a.Devices.Results {
		d := device{Driver: res.Driver, Pool: res.Pool, Device: res.Device}
		if res.ShareID != nil {
			d.ShareID = string(*res.ShareID)
		}
		out.Insert(d)
	}
	return out
}

func reported(s *resourcev1.AllocatedDeviceStatus) device {
	d := device{Driver: s.Driver, Pool: s.Pool, Device: s.Device}
	if s.ShareID != nil {
		d.ShareID = *s.ShareID
	}
	return d
}

// forgetFreed drops what was reported on devices that are no longer allocated,
// so that who frees them need not know of the reports.
func forgetFreed(s, old *resourcev1.ResourceClaimStatus) {
	freed := allocated(old.Allocation).Difference(allocated(s.Allocation))
	s.Devices = slices.DeleteFunc(s.Devices, func(d resourcev1.AllocatedDeviceStatus) bool { return freed.Has(reported(&d)) })
	if len(s.Devices) == 0 {
		s.Devices = nil
	}
}

func validateClaimStatus(c, old *resourcev1.ResourceClaim) field.ErrorList {
	r := report{meta.Report{Errs: meta.ValidateObjectMetaUpdate(&c.ObjectMeta, &old.ObjectMeta)}}
	s, was := &c.Status, &old.Status
	users := statusPath.Child("reservedFor")
	unique(&r, s.ReservedFor, resourcev1.ResourceClaimReservedForMaxSize, users,
		func(u *resourcev1.ResourceClaimConsumerReference) types.UID { return u.UID },
		func(u *resourcev1.ResourceClaimConsumerReference, p *field.Path) {
			r.RequiredIf(u.Resource == "", p.Child("resource"))
			r.RequiredIf(u.Name == "", p.Child("name"))
			r.RequiredIf(u.UID == "", p.Child("uid"))
		})
	there := allocated(s.Allocation)
	unique(&r, s.Devices, noLimit, statusPath.Child("devices"), reported, func(d *resourcev1.AllocatedDeviceStatus, p *field.Path) {
		r.deviceStatus(d, there, p)
	})
	if len(s.ReservedFor) > 0 {
		if s.Allocation == nil {
			r.Forbidden(users, "may not be specified when `allocated` is not set")
		} else if c.DeletionTimestamp != nil && !sets.New(was.ReservedFor...).HasAll(s.ReservedFor...) {
			r.Forbidden(users, "new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set")
		}
	}
	// What was allocated under older rules is not judged by newer ones.
	if p := statusPath.Child("allocation"); s.Allocation != nil && was.Allocation != nil {
		r.Add(meta.Immutable(s.Allocation, was.Allocation, p))
	} else if s.Allocation != nil {
		r.allocation(s.Allocation, requestsOf(&c.Spec.Devices), p)
	}
	return r.Errs
}

func (r *report) allocation(a *resourcev1.AllocationResult, names requests, p *field.Path) {
	at := p.Child("devices")
	each(r, a.Devices.Results, resourcev1.AllocationResultsMaxSize, at.Child("results"), func(res *resourcev1.DeviceRequestAllocationResult, p *field.Path) {
		r.refer(names, res.Request, p.Child("request"))
		r.driver(res.Driver, p.Child("driver"))
		r.pool(res.Pool, p.Child("pool"))
		r.label(res.Device, p.Child("device"))
		r.binding(res.BindingConditions, res.BindingFailureConditions, p)
		if res.ShareID != nil {
			r.uid(string(*res.ShareID), p.Child("shareID"))
		}
	})
	// of the class and of the claim
	each(r, a.Devices.Config, 2*resourcev1.DeviceConfigMaxSize, at.Child("config"), func(c *resourcev1.DeviceAllocationConfiguration, p *field.Path) {
		meta.OneOf(&r.Report, p.Child("source"), c.Source, resourcev1.AllocationConfigSourceClaim, resourcev1.AllocationConfigSourceClass)
		r.refers(names, c.Requests, p.Child("requests"))
		r.config(&c.DeviceConfiguration, p, false)
	})
	if a.NodeSelector != nil {
		r.Add(core.ValidateNodeSelector(a.NodeSelector, p.Child("nodeSelector")))
	}
}

// deviceStatus judges what a driver reports on an allocated device.
func (r *report) deviceStatus(s *resourcev1.AllocatedDeviceStatus, there sets.Set[device], p *field.Path) {
	r.driver(s.Driver, p.Child("driver"))
	r.pool(s.Pool, p.Child("pool"))
	r.label(s.Device, p.Child("device"))
	if s.ShareID != nil {
		r.uid(*s.ShareID, p.Child("shareID"))
	}
	if d := reported(s); !there.Has(d) {
		r.Invalid(p, d, "must be an allocated device in the claim")
	}
	at := p.Child("conditions")
	if n := len(s.Conditions); n > resourcev1.AllocatedDeviceStatusMaxConditions {
		r.TooMany(at, n, resourcev1.AllocatedDeviceStatusMaxConditions)
	}
	r.Add(metavalidation.ValidateConditions(s.Conditions, at))
	if s.Data != nil && len(s.Data.Raw) > 0 {
		r.raw(*s.Data, p.Child("data"), false, resourcev1.AllocatedDeviceStatusDataMaxLength)
	}
	n := s.NetworkData
	if n == nil {
		return
	}
	p = p.Child("networkData")
	if len(n.InterfaceName) > resourcev1.NetworkDeviceDataInterfaceNameMaxLength {
		r.TooLong(p.Child("interfaceName"), resourcev1.NetworkDeviceDataInterfaceNameMaxLength)
	}
	if len(n.HardwareAddress) > resourcev1.NetworkDeviceDataHardwareAddressMaxLength {
		r.TooLong(p.Child("hardwareAddress"), resourcev1.NetworkDeviceDataHardwareAddressMaxLength)
	}
	unique(r, n.IPs, resourcev1.NetworkDeviceDataMaxIPs, p.Child("ips"), itself, func(ip *string, p *field.Path) {
		r.Add(validation.IsValidInterfaceAddress(p, *ip))
	})
}
