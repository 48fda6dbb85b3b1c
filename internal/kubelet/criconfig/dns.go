package criconfig

import (
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// The limits of resolvers, as upstream checks them.
const (
	maxNameservers = 3
	maxSearches    = 32
	maxSearchChars = 2048
)

// Resolver is the contents of a resolv.conf.
type Resolver struct{ Servers, Searches, Options []string }

// ParseResolver reads a resolv.conf.
func ParseResolver(text string) Resolver {
	var r Resolver
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 2 || strings.HasPrefix(f[0], "#") || strings.HasPrefix(f[0], ";") {
			continue
		}
		switch f[0] {
		case "nameserver":
			r.Servers = append(r.Servers, f[1])
		case "search":
			r.Searches = nil
			for _, s := range f[1:] {
				if s != "." {
					s = strings.TrimSuffix(s, ".")
				}
				r.Searches = append(r.Searches, s)
			}
		case "options":
			for _, o := range f[1:] {
				r.Options = setOption(r.Options, o)
			}
		}
	}
	return r
}

func setOption(list []string, o string) []string {
	name, _, _ := strings.Cut(o, ":")
	list = slices.DeleteFunc(slices.Clone(list), func(have string) bool {
		n, _, _ := strings.Cut(have, ":")
		return n == name
	})
	return append(list, o)
}

// ClusterDNS is what the kubelet knows of the cluster's DNS.
type ClusterDNS struct {
	Servers []string
	Domain  string
}

// DNS makes a pod's resolver configuration. warnings are for events.
func DNS(pod *corev1.Pod, host Resolver, cluster ClusterDNS) (*runtimeapi.DNSConfig, []string) {
	var warnings []string
	r := host
	policy := pod.Spec.DNSPolicy
	inCluster := policy == corev1.DNSClusterFirstWithHostNet || (policy == corev1.DNSClusterFirst || policy == "") && !pod.Spec.HostNetwork
	switch {
	case policy == corev1.DNSNone:
		r = Resolver{}
	case inCluster && len(cluster.Servers) == 0:
		warnings = append(warnings, `kubelet does not have ClusterDNS IP configured and cannot create Pod using "ClusterFirst" policy. Falling back to "Default" policy.`)
	case inCluster:
		r = Resolver{Servers: cluster.Servers, Options: []string{"ndots:5"}}
		if d := cluster.Domain; d != "" {
			r.Searches = []string{pod.Namespace + ".svc." + d, "svc." + d, d}
		}
		r.Searches = unique(append(r.Searches, host.Searches...))
	}
	if c := pod.Spec.DNSConfig; c != nil {
		r.Servers = unique(append(slices.Clone(r.Servers), c.Nameservers...))
		r.Searches = unique(append(slices.Clone(r.Searches), c.Searches...))
		for _, o := range c.Options {
			text := o.Name
			if o.Value != nil && *o.Value != "" {
				text += ":" + *o.Value
			}
			r.Options = setOption(r.Options, text)
		}
	}
	if len(r.Servers) > maxNameservers {
		r.Servers = r.Servers[:maxNameservers]
		warnings = append(warnings, "Nameserver limits were exceeded, some nameservers have been omitted, the applied nameserver line is: "+strings.Join(r.Servers, " "))
	}
	if kept := fitSearches(r.Searches); len(kept) < len(r.Searches) {
		r.Searches = kept
		warnings = append(warnings, "Search Line limits were exceeded, some search paths have been omitted, the applied search line is: "+strings.Join(kept, " "))
	}
	return &runtimeapi.DNSConfig{Servers: r.Servers, Searches: r.Searches, Options: r.Options}, warnings
}

func fitSearches(l []string) []string {
	if len(l) > maxSearches {
		l = l[:maxSearches]
	}
	for len(strings.Join(l, " ")) > maxSearchChars {
		l = l[:len(l)-1]
	}
	return l
}

func unique(l []string) []string {
	var out []string
	for _, s := range l {
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}

// HostnameOf gives a pod's host name and domain.
func HostnameOf(pod *corev1.Pod, clusterDomain string) (hostname, domain string) {
	if pod.Spec.HostnameOverride != nil && *pod.Spec.HostnameOverride != "" {
		return *pod.Spec.HostnameOverride, ""
	}
	hostname = pod.Name
	if len(hostname) > 63 {
		hostname = strings.TrimRight(hostname[:63], "-.")
	}
	if pod.Spec.Hostname != "" {
		hostname = pod.Spec.Hostname
	}
	if pod.Spec.Subdomain != "" {
		domain = pod.Spec.Subdomain + "." + pod.Namespace + ".svc." + clusterDomain
	}
	return hostname, domain
}

// HostsFile is a pod's /etc/hosts. host is the node's, for pods on its network.
func HostsFile(pod *corev1.Pod, ips []string, clusterDomain, host string) string {
	var b strings.Builder
	if pod.Spec.HostNetwork {
		b.WriteString("# Kubernetes-managed hosts file (host network).\n")
		b.WriteString(host)
	} else {
		b.WriteString("# Kubernetes-managed hosts file.\n")
		b.WriteString("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n")
		b.WriteString("fe00::0\tip6-localnet\nfe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n")
		name, domain := HostnameOf(pod, clusterDomain)
		for _, ip := range ips {
			if _, err := netip.ParseAddr(ip); err != nil {
				continue
			}
			if domain != "" {
				b.WriteString(ip + "\t" + name + "." + domain + "\t" + name + "\n")
			} else {
				b.WriteString(ip + "\t" + name + "\n")
			}
		}
	}
	if len(pod.Spec.HostAliases) > 0 {
		b.WriteString("\n# Entries added by HostAliases.\n")
		for _, a := range pod.Spec.HostAliases {
			b.WriteString(a.IP + "\t" + strings.Join(a.Hostnames, "\t") + "\n")
		}
	}
	return b.String()
}
