// Package dns is the cluster's name service on every node: it answers for the cluster's domain out of the object cache,
// as the Kubernetes DNS specification 1.1.0 says and CoreDNS does, and forwards the rest.
//
// Answer is pure: a question and a Source in, a Reply out. The server around it listens on UDP and TCP, truncates,
// and shuffles; the forwarder keeps a small cache, joins equal questions that are under way, and bounds the others.
//
// How packets get here: the cluster DNS address is put on the node's lo with host scope, and the server listens on it.
// A pod's packet to it is routed by the node to itself, a process of the node reaches it as any local address, and no
// Service rule is involved: the proxy is told to leave the address alone. So every node answers its own pods, and names
// resolve before the first Service rule is written.
//
// The room touches two sockets per address, one address per Config.Addrs on lo, and the node's resolv.conf, which it
// reads. Answer is tested with tables; the server with packets in a network namespace, as root.
package dns
