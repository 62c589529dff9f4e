package node

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
)

// DataDir contains everything that a running cluster stores on disk. All checkouts share it, because a machine has one
// cluster, and because the next run must find what a killed run left behind.
const DataDir = "/var/lib/modelkiln-cluster"

// State is the record of the cluster. It is saved before the changes that it describes, so that it never misses one.
type State struct {
	// Checkout is the clone that the cluster belongs to.
	Checkout string `json:"checkout"`
	// SettingsDigest is a digest of the programs and settings that the cluster was started with.
	SettingsDigest string `json:"setup"`
	// Network contains the cluster's addresses.
	Network Network `json:"network"`
	// CreatedDirs are directories of the machine that were created as mount points and are removed with the cluster.
	CreatedDirs []string `json:"createdDirectories"`
	// Processes are the node's programs by name.
	Processes map[string]Process `json:"processes"`
	// Complete is set once all programs run. Without it, the processes are those of an interrupted run.
	Complete bool `json:"complete"`
}

var statePath = filepath.Join(DataDir, "state.json")

// LoadState reads the record. It returns nil if there is no cluster.
func LoadState() (*State, error) {
	content, err := os.ReadFile(statePath)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return parseState(content)
}

func parseState(content []byte) (*State, error) {
	state := &State{}
	err := json.Unmarshal(content, state)
	if err == nil && state.Checkout == "" {
		err = errors.New("the checkout is missing")
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the cluster's record %s: %w", statePath, err)
	}
	return state, nil
}

func (s *State) save() error {
	content, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(DataDir, 0o755); err != nil {
		return err
	}
	// A run that is killed while it writes must not leave a truncated record.
	if err := os.WriteFile(statePath+".new", content, 0o644); err != nil {
		return err
	}
	return os.Rename(statePath+".new", statePath)
}

// dirsToRemove returns the machine's directories to remove with the cluster if they are empty.
func (s *State) dirsToRemove() []string {
	if s == nil {
		// Without the record it is unknown which of them were created, and the machine does not need empty ones.
		return slices.Sorted(maps.Keys(privateDirs))
	}
	return s.CreatedDirs
}

// Alive reports whether the cluster started completely and all its programs are still running.
func (s *State) Alive() bool {
	return s != nil && s.Complete && len(s.Exited()) == 0
}

// Exited returns the names of the programs that have exited.
func (s *State) Exited() []string {
	var names []string
	for name, process := range s.Processes {
		if !process.Alive() {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}
