package cluster

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
)

// state is what a server leaves for reset: what it put outside its directory.
type state struct {
	PodCIDR netip.Prefix `json:"podCIDR"`
	DNS     netip.Addr   `json:"dns"`
}

func statePath(dataDir string) string { return filepath.Join(dataDir, "state.json") }

func writeState(dataDir string, s state) error {
	b, err := json.Marshal(s)
	if err != nil {
		return err
	}
	if err := os.WriteFile(statePath(dataDir), b, 0o600); err != nil {
		return fmt.Errorf("cluster: recording what reset has to remove: %w", err)
	}
	return nil
}

func readState(dataDir string) (state, error) {
	var s state
	b, err := os.ReadFile(statePath(dataDir))
	if errors.Is(err, os.ErrNotExist) {
		return s, nil
	}
	if err == nil {
		err = json.Unmarshal(b, &s)
	}
	if err != nil {
		return s, fmt.Errorf("cluster: reading what a server left: %w", err)
	}
	return s, nil
}
