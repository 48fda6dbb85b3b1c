package spec

import (
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// AllCapabilities lists the capabilities by their number.
var AllCapabilities = []string{
	"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_FOWNER", "CAP_FSETID",
	"CAP_KILL", "CAP_SETGID", "CAP_SETUID", "CAP_SETPCAP", "CAP_LINUX_IMMUTABLE",
	"CAP_NET_BIND_SERVICE", "CAP_NET_BROADCAST", "CAP_NET_ADMIN", "CAP_NET_RAW",
	"CAP_IPC_LOCK", "CAP_IPC_OWNER", "CAP_SYS_MODULE", "CAP_SYS_RAWIO", "CAP_SYS_CHROOT",
	"CAP_SYS_PTRACE", "CAP_SYS_PACCT", "CAP_SYS_ADMIN", "CAP_SYS_BOOT", "CAP_SYS_NICE",
	"CAP_SYS_RESOURCE", "CAP_SYS_TIME", "CAP_SYS_TTY_CONFIG", "CAP_MKNOD", "CAP_LEASE",
	"CAP_AUDIT_WRITE", "CAP_AUDIT_CONTROL", "CAP_SETFCAP", "CAP_MAC_OVERRIDE",
	"CAP_MAC_ADMIN", "CAP_SYSLOG", "CAP_WAKE_ALARM", "CAP_BLOCK_SUSPEND", "CAP_AUDIT_READ",
	"CAP_PERFMON", "CAP_BPF", "CAP_CHECKPOINT_RESTORE",
}

// defaultCapabilities is what an ordinary container has.
var defaultCapabilities = []string{
	"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD", "CAP_NET_RAW",
	"CAP_SETGID", "CAP_SETUID", "CAP_SETFCAP", "CAP_SETPCAP", "CAP_NET_BIND_SERVICE",
	"CAP_SYS_CHROOT", "CAP_KILL", "CAP_AUDIT_WRITE",
}

// CapabilitiesOf names the capabilities in a mask as /proc shows it.
func CapabilitiesOf(mask uint64) []string {
	var names []string
	for i, name := range AllCapabilities {
		if mask&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return names
}

// capabilities decides a container's set. have is what this machine's root has:
// "ALL" means no more than that, and a named one beyond it is left out with a
// warning, for the container can run without.
func capabilities(sc *runtimeapi.LinuxContainerSecurityContext, have []string) (*specs.LinuxCapabilities, []string, error) {
	var warnings []string
	set, ambient := slices.Clone(defaultCapabilities), []string(nil)
	if sc.GetPrivileged() {
		set = slices.Clone(have)
	} else if c := sc.GetCapabilities(); c != nil {
		add, err := normalise(c.GetAddCapabilities())
		if err != nil {
			return nil, nil, err
		}
		drop, err := normalise(c.GetDropCapabilities())
		if err != nil {
			return nil, nil, err
		}
		if ambient, err = normalise(c.GetAddAmbientCapabilities()); err != nil {
			return nil, nil, err
		}
		if slices.Contains(add, "ALL") {
			set = slices.Clone(have)
		}
		if slices.Contains(drop, "ALL") {
			set = nil
		}
		for _, name := range add {
			if name != "ALL" && !slices.Contains(set, name) {
				set = append(set, name)
			}
		}
		set = slices.DeleteFunc(set, func(name string) bool { return slices.Contains(drop, name) })
	}
	set = slices.DeleteFunc(set, func(name string) bool {
		missing := !slices.Contains(have, name)
		if missing && !slices.Contains(defaultCapabilities, name) {
			warnings = append(warnings, fmt.Sprintf("capability %s is not held by this machine's root and was left out", name))
		}
		return missing
	})
	ambient = slices.DeleteFunc(ambient, func(name string) bool { return !slices.Contains(set, name) })
	caps := &specs.LinuxCapabilities{Bounding: set, Effective: set, Permitted: set}
	if len(ambient) > 0 {
		caps.Inheritable, caps.Ambient = ambient, ambient
	}
	return caps, warnings, nil
}

func normalise(names []string) ([]string, error) {
	var out []string
	for _, name := range names {
		upper := strings.ToUpper(name)
		if upper != "ALL" {
			if !strings.HasPrefix(upper, "CAP_") {
				upper = "CAP_" + upper
			}
			if !slices.Contains(AllCapabilities, upper) {
				return nil, fmt.Errorf("unknown capability %q", name)
			}
		}
		out = append(out, upper)
	}
	return out, nil
}
