// Package config reads the kubelet's configuration: a KubeletConfiguration of
// kubelet.config.k8s.io/v1beta1, as upstream's --config takes it, with upstream's
// defaults.
//
// Load reads and checks a file; New fills in defaults and turns the fields that act
// here into Options, which the kubelet and its server are made from. A field that is
// set and does nothing here is told as a warning, never passed over in silence; one
// that asks for something that would be wrong to leave out is an error.
//
// Everything but Load is pure. Tested by tables.
package config
