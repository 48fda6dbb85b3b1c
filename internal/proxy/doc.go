// Package proxy makes Services work on a node: it turns Services and EndpointSlices into packet rules.
//
// Compile is pure: objects in, Ruleset out. Diff is pure: what is installed and what is wanted in, Changes out. The
// effects are one nftables table, written in one transaction per change, and connection tracking entries of UDP
// conversations whose endpoint is gone.
//
// In the kernel, a packet to a Service finds its chain with one lookup of (address . protocol . port); the chain finds
// an endpoint with one lookup of (chain . random number). There is one chain per Service port and policy, and none per
// endpoint. A client held by session affinity is one entry of the port's own map, client → endpoint, which the packet
// path writes and expires; the entry counts only while (chain . endpoint) is in the set of those that live, so that
// a change of endpoints need not clean it. A pod that reaches itself is found in a set of (endpoint . endpoint) after translation.
//
// Addresses that the node answers itself (that of cluster DNS) are named in Config.LocalVIPs; whatever Services and
// slices say of them, they are not translated and not refused.
//
// Not here yet: healthCheckNodePort (no health server answers on it), IPv6 (types hold it; Compile leaves it out), and
// node ports through 127.0.0.1 to pods of other nodes.
//
// Compile and Diff are tested with tables and properties; the rules with packets between namespaces, as root.
package proxy
