package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/monohull/monohull/internal/dns"
	"github.com/monohull/monohull/internal/network"
	"github.com/monohull/monohull/internal/proxy"
	"github.com/monohull/monohull/internal/runtime"
)

// Reset removes every trace of the server that ran on dataDir: containers,
// mounts, links, addresses, rules, control groups, files. It refuses while the
// server runs. What cannot be removed is told, and the rest removed all the
// same.
func Reset(ctx context.Context, dataDir string, keepImages bool) error {
	dataDir, err := filepath.Abs(dataDir)
	if err != nil {
		return err
	}
	if _, err := os.Stat(dataDir); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if c, err := net.Dial("unix", SocketPath(dataDir)); err == nil {
		c.Close()
		return fmt.Errorf("the server on %s is running; stop it first", dataDir)
	}
	state, err := readState(dataDir)
	if err != nil {
		return err
	}
	var errs []error
	note := func(what string, err error) {
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", what, err))
		}
	}
	note("stopping containers", runtime.Reset(dataDir))
	note("removing service rules", proxy.Reset("", ""))
	if state.DNS.IsValid() {
		note("removing the DNS address", dns.Reset(dns.Config{Addrs: []netip.Addr{state.DNS}}))
	}
	note("removing the pods' network", network.Reset(ctx, network.Config{DataDir: dataDir, PodCIDR: state.PodCIDR}))
	note("unmounting volumes", unmountBelow(dataDir))
	if len(errs) > 0 {
		return errors.Join(errs...) // files stay while something may still use them
	}
	return removeFiles(dataDir, keepImages)
}

// unmountBelow takes down every mount below a directory, the deepest first.
func unmountBelow(dir string) error {
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	var points []string
	for _, line := range strings.Split(string(table), "\n") {
		f := strings.Fields(line)
		if len(f) > 4 && strings.HasPrefix(f[4], dir+"/") {
			points = append(points, strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(f[4]))
		}
	}
	var errs []error
	for i := len(points) - 1; i >= 0; i-- {
		if err := unix.Unmount(points[i], unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil && !errors.Is(err, unix.EINVAL) {
			errs = append(errs, fmt.Errorf("%s: %w", points[i], err))
		}
	}
	return errors.Join(errs...)
}

func removeFiles(dataDir string, keepImages bool) error {
	entries, err := os.ReadDir(dataDir)
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range entries {
		if keepImages && e.Name() == "images" {
			continue
		}
		errs = append(errs, os.RemoveAll(filepath.Join(dataDir, e.Name())))
	}
	if !keepImages {
		// a directory the user made for us may be a mount point: it may stay
		_ = os.Remove(dataDir)
	}
	return errors.Join(errs...)
}
