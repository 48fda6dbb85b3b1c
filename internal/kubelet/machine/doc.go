// Package machine is the node's kernel and hardware as the kubelet needs them:
// mounts, control groups of either version, facts and usage.
//
// It decides nothing. Everything here is a system call or a file of /proc and /sys.
// Those who use it declare the part they need as an interface and fake it in tests;
// parsing is tested by tables.
package machine

// Machine is this machine.
type Machine struct{ groups groups }

// New looks at how the machine's control groups are mounted.
func New() (*Machine, error) {
	g, err := detect()
	if err != nil {
		return nil, err
	}
	return &Machine{groups: g}, nil
}
