package criconfig

import (
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestExpand(t *testing.T) {
	v := map[string]string{"A": "1", "B": "two"}
	for in, want := range map[string]string{
		"$(A)": "1", "x$(A)$(B)y": "x1twoy", "$$(A)": "$(A)", "$$$(A)": "$1", "$(C)": "$(C)", "$A": "$A", "$(A": "$(A", "$": "$", "a$": "a$", "$()": "$()",
	} {
		if got := Expand(in, v); got != want {
			t.Errorf("Expand(%q) = %q, want %q", in, got, want)
		}
	}
}

func service(ns, name, ip string, ports ...corev1.ServicePort) *corev1.Service {
	return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name}, Spec: corev1.ServiceSpec{ClusterIP: ip, Ports: ports}}
}

func TestServiceVariables(t *testing.T) {
	services := []*corev1.Service{
		service("ns", "redis-master", "10.0.0.11", corev1.ServicePort{Name: "db-1", Port: 6379, Protocol: corev1.ProtocolTCP}),
		service("default", "kubernetes", "10.0.0.1", corev1.ServicePort{Name: "https", Port: 443}),
		service("default", "other", "10.0.0.2", corev1.ServicePort{Port: 1}),
		service("ns", "headless", "None", corev1.ServicePort{Port: 1}),
	}
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns"}}
	got := ServiceEnv(pod, services)
	for k, want := range map[string]string{
		"REDIS_MASTER_SERVICE_HOST": "10.0.0.11", "REDIS_MASTER_SERVICE_PORT": "6379", "REDIS_MASTER_SERVICE_PORT_DB_1": "6379",
		"REDIS_MASTER_PORT": "tcp://10.0.0.11:6379", "REDIS_MASTER_PORT_6379_TCP": "tcp://10.0.0.11:6379", "REDIS_MASTER_PORT_6379_TCP_PROTO": "tcp",
		"REDIS_MASTER_PORT_6379_TCP_PORT": "6379", "REDIS_MASTER_PORT_6379_TCP_ADDR": "10.0.0.11",
		"KUBERNETES_SERVICE_HOST": "10.0.0.1", "KUBERNETES_SERVICE_PORT": "443", "KUBERNETES_SERVICE_PORT_HTTPS": "443",
	} {
		if got[k] != want {
			t.Errorf("%s=%q, want %q", k, got[k], want)
		}
	}
	if len(got) != 8+8-1+1-1 && got["OTHER_SERVICE_HOST"] != "" || got["HEADLESS_SERVICE_HOST"] != "" {
		t.Errorf("too many: %v", got)
	}
	no := false
	pod.Spec.EnableServiceLinks = &no
	if got = ServiceEnv(pod, services); got["REDIS_MASTER_SERVICE_HOST"] != "" || got["KUBERNETES_SERVICE_HOST"] == "" {
		t.Errorf("without links: %v", got)
	}
}

func TestEnvironments(t *testing.T) {
	yes := true
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "p", UID: "u", Labels: map[string]string{"l": "v"}}, Spec: corev1.PodSpec{NodeName: "n"}}
	s := Sources{
		ConfigMap: func(ns, name string) (*corev1.ConfigMap, bool) {
			return &corev1.ConfigMap{Data: map[string]string{"K": "cm", "1.odd-key": "odd"}}, ns == "ns" && name == "cm"
		},
		Secret: func(_, name string) (*corev1.Secret, bool) {
			return &corev1.Secret{Data: map[string][]byte{"S": []byte("sec")}}, name == "s"
		},
		PodIPs: []string{"10.1.1.1", "fd::1"}, HostIPs: []string{"192.0.2.1"},
		Allocatable: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("8Gi")},
	}
	field := func(p string) *corev1.EnvVarSource {
		return &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: p}}
	}
	cmKey := func(name, key string, opt *bool) *corev1.EnvVarSource {
		return &corev1.EnvVarSource{ConfigMapKeyRef: &corev1.ConfigMapKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: name}, Key: key, Optional: opt}}
	}
	c := &corev1.Container{Name: "c", EnvFrom: []corev1.EnvFromSource{
		{Prefix: "P_", ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "cm"}}},
		{ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "cm"}}},
		{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "none"}, Optional: &yes}},
	}, Env: []corev1.EnvVar{
		{Name: "A", Value: "a"}, {Name: "B", Value: "$(A)-$(P_K)-$$(A)"}, {Name: "NODE", ValueFrom: field("spec.nodeName")},
		{Name: "IPS", ValueFrom: field("status.podIPs")}, {Name: "L", ValueFrom: field("metadata.labels['l']")},
		{Name: "OPT", ValueFrom: cmKey("none", "k", &yes)}, {Name: "K", ValueFrom: cmKey("cm", "K", nil)},
		{Name: "MEM", ValueFrom: &corev1.EnvVarSource{ResourceFieldRef: &corev1.ResourceFieldSelector{Resource: "limits.memory", Divisor: resource.MustParse("1Mi")}}},
	}}
	env, err := Env(pod, c, s)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, e := range env {
		got[e.Name] = e.Value
	}
	for k, want := range map[string]string{"P_K": "cm", "P_1.odd-key": "odd", "1.odd-key": "odd", "A": "a", "B": "a-cm-$(A)", "NODE": "n", "IPS": "10.1.1.1,fd::1", "L": "v", "K": "cm", "MEM": "8192"} {
		if got[k] != want {
			t.Errorf("%s=%q, want %q", k, got[k], want)
		}
	}
	if _, ok := got["OPT"]; ok {
		t.Errorf("env %v has a variable of a key that is not there", got)
	}
	for want, src := range map[string]*corev1.EnvVarSource{
		`configmap "x" not found`:                   cmKey("x", "k", nil),
		"couldn't find key nope in ConfigMap ns/cm": cmKey("cm", "nope", nil),
	} {
		if _, err := Env(pod, &corev1.Container{Env: []corev1.EnvVar{{Name: "E", ValueFrom: src}}}, s); err == nil || err.Error() != want {
			t.Errorf("error %v, want %s", err, want)
		}
	}
}

func TestDNS(t *testing.T) {
	host := ParseResolver("# c\nnameserver 192.0.2.53\nsearch example.com. .\noptions timeout:1 ndots:2\n")
	cluster := ClusterDNS{Servers: []string{"10.43.0.10"}, Domain: "cluster.local"}
	val := "3"
	for _, tc := range []struct {
		name                       string
		spec                       corev1.PodSpec
		servers, searches, options string
	}{
		{"cluster first", corev1.PodSpec{DNSPolicy: corev1.DNSClusterFirst}, "10.43.0.10", "ns.svc.cluster.local svc.cluster.local cluster.local example.com .", "ndots:5"},
		{"host network", corev1.PodSpec{DNSPolicy: corev1.DNSClusterFirst, HostNetwork: true}, "192.0.2.53", "example.com .", "timeout:1 ndots:2"},
		{"with host network", corev1.PodSpec{DNSPolicy: corev1.DNSClusterFirstWithHostNet, HostNetwork: true}, "10.43.0.10", "ns.svc.cluster.local svc.cluster.local cluster.local example.com .", "ndots:5"},
		{"none", corev1.PodSpec{DNSPolicy: corev1.DNSNone, DNSConfig: &corev1.PodDNSConfig{Nameservers: []string{"1.1.1.1"}, Searches: []string{"x"}}}, "1.1.1.1", "x", ""},
		{"options are merged", corev1.PodSpec{DNSPolicy: corev1.DNSDefault, DNSConfig: &corev1.PodDNSConfig{Options: []corev1.PodDNSConfigOption{{Name: "ndots", Value: &val}, {Name: "edns0"}}}},
			"192.0.2.53", "example.com .", "timeout:1 ndots:3 edns0"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, _ := DNS(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns"}, Spec: tc.spec}, host, cluster)
			if a, b, c := strings.Join(got.Servers, " "), strings.Join(got.Searches, " "), strings.Join(got.Options, " "); a != tc.servers || b != tc.searches || c != tc.options {
				t.Errorf("%q %q %q", a, b, c)
			}
		})
	}
}

func TestHostsAndHostname(t *testing.T) {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: strings.Repeat("a", 62) + "-b"}}
	if h, _ := HostnameOf(pod, "cluster.local"); h != strings.Repeat("a", 62) {
		t.Errorf("hostname %q", h)
	}
	pod.Spec.Hostname, pod.Spec.Subdomain = "h", "sub"
	pod.Spec.HostAliases = []corev1.HostAlias{{IP: "1.2.3.4", Hostnames: []string{"x", "y"}}}
	got := HostsFile(pod, []string{"10.1.1.1"}, "cluster.local", "")
	want := "# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::0\tip6-localnet\nfe00::0\tip6-mcastprefix\n" +
		"fe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n10.1.1.1\th.sub.ns.svc.cluster.local\th\n\n# Entries added by HostAliases.\n1.2.3.4\tx\ty\n"
	if got != want {
		t.Errorf("%q", got)
	}
}

func TestResourcesAndGroups(t *testing.T) {
	if Shares(0) != 2 || Shares(1000) != 1024 || Quota(0) != 0 || Quota(5) != 1000 || Quota(500) != 50000 {
		t.Error("conversions")
	}
	burst := corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("500m"), corev1.ResourceMemory: resource.MustParse("2Gi")}}
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: "u"}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "a", Resources: burst}}}}
	if g := PodCgroup("/m", pod); g.Path != "/m/kubepods/burstable/podu" || g.Shares != 512 || g.Quota != 0 || g.MemoryLimit != 0 {
		t.Errorf("%+v", g)
	}
	if s := OOMScore(pod, &pod.Spec.Containers[0], 8<<30); s != 750 {
		t.Errorf("score %d", s)
	}
	limits := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1"), corev1.ResourceMemory: resource.MustParse("1Gi")}
	pod.Spec.Containers[0].Resources = corev1.ResourceRequirements{Requests: limits, Limits: limits}
	if g := PodCgroup("", pod); g.Path != "/kubepods/podu" || g.Quota != 100000 || g.MemoryLimit != 1<<30 {
		t.Errorf("%+v", g)
	}
}

func TestNonRootIsVerified(t *testing.T) {
	yes, zero, one := true, int64(0), int64(1)
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: "ns", UID: "u"}, Spec: corev1.PodSpec{SecurityContext: &corev1.PodSecurityContext{RunAsNonRoot: &yes}}}
	for _, tc := range []struct {
		user *int64
		img  ImageUser
		want string
	}{
		{nil, ImageUser{UID: &zero}, `container has runAsNonRoot and image will run as root (pod: "p_ns(u)", container: c)`},
		{nil, ImageUser{Name: "www"}, `container has runAsNonRoot and image has non-numeric user (www), cannot verify user is non-root (pod: "p_ns(u)", container: c)`},
		{&zero, ImageUser{}, `container's runAsUser breaks non-root policy (pod: "p_ns(u)", container: c)`},
		{&one, ImageUser{}, ""}, {nil, ImageUser{UID: &one}, ""},
	} {
		err := VerifyNonRoot(pod, &corev1.Container{Name: "c", SecurityContext: &corev1.SecurityContext{RunAsUser: tc.user}}, tc.img)
		if got := ""; err != nil {
			got = err.Error()
			if got != tc.want {
				t.Errorf("%q, want %q", got, tc.want)
			}
		} else if tc.want != "" {
			t.Errorf("no error, want %q", tc.want)
		}
	}
	if l := Groups(&corev1.Pod{Spec: corev1.PodSpec{SecurityContext: &corev1.PodSecurityContext{FSGroup: &one, SupplementalGroups: []int64{5}}}}); !slices.Equal(l, []int64{5, 1}) {
		t.Errorf("groups %v", l)
	}
}
