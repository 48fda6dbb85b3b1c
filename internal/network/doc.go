// Package network links pods to their node: addresses, links, routes, host ports.
//
// Every pod has eth0, one end of a veth pair whose other end is a port of the node's bridge. The pod's address is a
// /32 and its default route leads to the bridge's own address, so that even two pods of one node speak through the
// node's IP layer: connections to a Service that end at a neighbour are translated back without bridge netfilter, and
// policy has one place to stand. Translation and masquerade are one nftables table, named after the bridge.
//
// The Service range is routed to the bridge so that a node without a default route can speak to Services: the proxy
// rewrites those packets before they leave, and drops what it does not know.
//
// State is one small file per address under the data directory, made by link(2) and hence whole or absent. A file
// outlives its links (after kill -9, after a reboot); Attach, Detach and Reconcile are idempotent and mend from it.
// The address after the last one given is tried first, so that an address rests as long as it can before it is used
// again.
//
// The room touches links, routes, addresses and sysctls of one network namespace, its nftables table, and
// DataDir/network. Lock order: Network.mu alone; it is never held across netlink calls, except for host ports, whose
// transactions must reach the kernel in the order of their records. The allocator is pure and table-tested; the rest
// is tested with packets between namespaces, as root.
//
// Limits: IPv4 only so far; the types hold either family. A host firewall that drops forwarded packets in a table of
// its own is not overruled.
package network
