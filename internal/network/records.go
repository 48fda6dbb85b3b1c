package network

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
)

// record is what is known of one pod link; it is the content of its address's file.
type record struct {
	SandboxID string     `json:"sandboxID"`
	Namespace string     `json:"namespace"`
	Name      string     `json:"name"`
	Address   netip.Addr `json:"address"`
	HostPorts []hostPort `json:"hostPorts,omitempty"`
}

// hostPort leads a port of the node to a port of the pod. HostIP is the zero Addr for every local address.
type hostPort struct {
	HostIP        netip.Addr `json:"hostIP,omitzero"`
	Protocol      uint8      `json:"protocol"`
	HostPort      uint16     `json:"hostPort"`
	ContainerPort uint16     `json:"containerPort"`
}

// recentFile remembers the address given last, so that a restart does not reuse one at once either.
const recentFile = "recent"

type recordStore struct{ dir string }

func (s recordStore) addresses() string { return filepath.Join(s.dir, "addresses") }

// load reads every record. A file that can not be understood holds no address: it is reported and removed.
func (s recordStore) load() (records []*record, recent netip.Addr, bad []string, err error) {
	if err := os.MkdirAll(s.addresses(), 0o700); err != nil {
		return nil, recent, nil, fmt.Errorf("make address directory: %w", err)
	}
	entries, err := os.ReadDir(s.addresses())
	if err != nil {
		return nil, recent, nil, fmt.Errorf("read address directory: %w", err)
	}
	for _, e := range entries {
		path := filepath.Join(s.addresses(), e.Name())
		if strings.HasPrefix(e.Name(), ".") {
			os.Remove(path) // a write that was cut short
			continue
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return nil, recent, nil, fmt.Errorf("read address record: %w", err)
		}
		r := &record{}
		if err := json.Unmarshal(data, r); err != nil || r.Address.String() != e.Name() || r.SandboxID == "" {
			bad = append(bad, e.Name())
			os.Remove(path)
			continue
		}
		records = append(records, r)
	}
	if data, err := os.ReadFile(filepath.Join(s.dir, recentFile)); err == nil {
		recent, _ = netip.ParseAddr(strings.TrimSpace(string(data)))
	}
	return records, recent, bad, nil
}

// create writes a record that must not be there yet.
func (s recordStore) create(r *record) error {
	data, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("encode address record: %w", err)
	}
	path := filepath.Join(s.addresses(), r.Address.String())
	tmp := filepath.Join(s.addresses(), "."+r.Address.String())
	defer os.Remove(tmp)
	if err := os.WriteFile(tmp, data, 0o600); err != nil {
		return fmt.Errorf("write address record: %w", err)
	}
	if err := os.Link(tmp, path); err != nil {
		return fmt.Errorf("reserve address %s: %w", r.Address, err)
	}
	// Only a hint for the next start: its loss costs nothing but the rest of an address.
	_ = os.WriteFile(filepath.Join(s.dir, recentFile), []byte(r.Address.String()+"\n"), 0o600)
	return nil
}

// replace rewrites a record whole.
func (s recordStore) replace(r *record) error {
	data, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("encode address record: %w", err)
	}
	tmp := filepath.Join(s.addresses(), "."+r.Address.String())
	if err := os.WriteFile(tmp, data, 0o600); err != nil {
		return fmt.Errorf("write address record: %w", err)
	}
	if err := os.Rename(tmp, filepath.Join(s.addresses(), r.Address.String())); err != nil {
		return fmt.Errorf("replace address record: %w", err)
	}
	return nil
}

func (s recordStore) remove(a netip.Addr) error {
	err := os.Remove(filepath.Join(s.addresses(), a.String()))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("release address %s: %w", a, err)
	}
	return nil
}
