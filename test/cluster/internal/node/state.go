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

// Home holds everything that a running cluster keeps on disk. It is one place for all checkouts, because there is one
// cluster a machine, and because whoever comes next has to find what a killed run left.
const Home = "/var/lib/modelkiln-cluster"

// State is what is on record about the cluster. It is written before what it speaks of is done, so that it never knows less.
type State struct {
	// Checkout is the clone that the cluster belongs to.
	Checkout string `json:"checkout"`
	// Setup is a digest of the programs and settings that the cluster was started with.
	Setup string `json:"setup"`
	// Network holds the cluster's addresses.
	Network Network `json:"network"`
	// MadeFolders are folders of the machine that were made for the cluster's mounts, and are to be removed with it.
	MadeFolders []string `json:"madeFolders"`
	// Processes are the node's programs by name.
	Processes map[string]Process `json:"processes"`
	// Complete is set once all programs ran. What runs is otherwise left of an attempt that was broken off.
	Complete bool `json:"complete"`
}

var statePath = filepath.Join(Home, "state.json")

// LoadState reads the record, or gives nothing when there is no cluster.
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
		err = errors.New("it names no checkout")
	}
	if err != nil {
		return nil, fmt.Errorf("the record of the cluster, %s, cannot be read: %w", statePath, err)
	}
	return state, nil
}

func (s *State) save() error {
	content, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(Home, 0o755); err != nil {
		return err
	}
	// A run that is killed while it writes must not leave half a record.
	if err := os.WriteFile(statePath+".new", content, 0o644); err != nil {
		return err
	}
	return os.Rename(statePath+".new", statePath)
}

// foldersToRemove are the machine's folders that go with the cluster, once they are empty.
func (s *State) foldersToRemove() []string {
	if s == nil {
		// Which of them were made is forgotten with the record, and the machine does without an empty one.
		return slices.Sorted(maps.Keys(privateFolders))
	}
	return s.MadeFolders
}

// Alive tells whether the cluster came up once and every program of it still runs.
func (s *State) Alive() bool {
	return s != nil && s.Complete && len(s.Dead()) == 0
}

// Dead are the names of programs that ended.
func (s *State) Dead() []string {
	var names []string
	for name, process := range s.Processes {
		if !process.Alive() {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}
