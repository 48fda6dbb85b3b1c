package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/monohull/monohull/internal/dns"
	"github.com/monohull/monohull/internal/network"
	"github.com/monohull/monohull/internal/proxy"
	"github.com/monohull/monohull/internal/runtime"
	"github.com/monohull/monohull/internal/runtime/rootfs"
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

// unmountBelow takes down every mount below a data directory, which may be a
// mount of the user's itself: that one stays.
func unmountBelow(dataDir string) error {
	entries, err := os.ReadDir(dataDir)
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range entries {
		errs = append(errs, rootfs.UnmountBelow(filepath.Join(dataDir, e.Name())))
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
