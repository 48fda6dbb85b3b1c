// Package resource holds the rows of resource.k8s.io, dynamic resource
// allocation: ResourceClaim, ResourceClaimTemplate, DeviceClass and
// ResourceSlice.
//
// Pure; the library that compiles selectors makes its environment at the first
// one and keeps it. Tests are tables; test/oracle compares with upstream.
//
// Who may ask for admin access, bind a claim or report on devices is not judged
// here: AdminAccess, BindingChanged and DriversChanged tell the pipeline what to ask.
package resource
