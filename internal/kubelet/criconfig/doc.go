// Package criconfig translates a pod's specification into what the CRI takes:
// environment, commands, DNS, hosts, security contexts, resources, labels.
//
// Pure: what it needs of the world (config maps, services, image user) comes in as
// arguments. Tested by tables.
package criconfig
