package network

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/monohull/monohull/internal/host/netns"
)

// shared are the settings of the whole namespace that the room changes; what they were is kept for Reset.
// Redirects off for "all": the kernel sends one when either "all" or the link says so, and a pod that believed a
// redirect would try to reach a neighbour directly, where nobody answers.
var shared = []setting{
	{"net/ipv4/ip_forward", "1"},
	{"net/ipv4/conf/all/send_redirects", "0"},
}

type setting struct{ key, value string }

// bridgeSettings die with the bridge. route_localnet lets replies to a node process that used a host port or a node
// port through 127.0.0.1 come back; the table drops whatever else arrives for 127/8 from the bridge.
func bridgeSettings(bridge string) []setting {
	conf := "net/ipv4/conf/" + bridge + "/"
	return []setting{
		{conf + "send_redirects", "0"},
		{conf + "proxy_arp", "0"},
		{conf + "route_localnet", "1"},
		{conf + "forwarding", "1"},
	}
}

const savedSettings = "sysctls.json"

// applySettings sets the sysctls, remembering the old value of each shared one the first time it is changed.
func (n *Network) applySettings() error {
	saved := map[string]string{}
	path := filepath.Join(n.store.dir, savedSettings)
	if data, err := os.ReadFile(path); err == nil {
		_ = json.Unmarshal(data, &saved)
	}
	return netns.Do(n.cfg.NetNS, func() error {
		before := len(saved)
		var todo []setting
		for _, s := range shared {
			old, err := os.ReadFile("/proc/sys/" + s.key)
			if err != nil {
				return fmt.Errorf("read sysctl %s: %w", s.key, err)
			}
			if v := strings.TrimSpace(string(old)); v != s.value {
				if _, known := saved[s.key]; !known {
					saved[s.key] = v
				}
				todo = append(todo, s)
			}
		}
		if len(saved) != before {
			data, _ := json.Marshal(saved)
			if err := os.WriteFile(path, data, 0o600); err != nil {
				return fmt.Errorf("remember sysctls: %w", err)
			}
		}
		for _, s := range append(todo, bridgeSettings(n.cfg.Bridge)...) {
			if err := os.WriteFile("/proc/sys/"+s.key, []byte(s.value), 0o644); err != nil {
				return fmt.Errorf("set sysctl %s to %s: %w", s.key, s.value, err)
			}
		}
		return nil
	})
}

// restoreSettings gives the shared sysctls the values they had before the first Setup.
func restoreSettings(netnsPath, dir string) error {
	data, err := os.ReadFile(filepath.Join(dir, savedSettings))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	saved := map[string]string{}
	if err == nil {
		err = json.Unmarshal(data, &saved)
	}
	if err != nil {
		return fmt.Errorf("read remembered sysctls: %w", err)
	}
	return netns.Do(netnsPath, func() error {
		var errs []error
		for _, s := range shared {
			if v, ok := saved[s.key]; ok {
				if err := os.WriteFile("/proc/sys/"+s.key, []byte(v), 0o644); err != nil {
					errs = append(errs, fmt.Errorf("restore sysctl %s: %w", s.key, err))
				}
			}
		}
		return errors.Join(errs...)
	})
}
