package node

import (
	"encoding/json"
	"net/netip"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestARecordIsReadAsItWasWritten(t *testing.T) {
	want := &State{
		Checkout:    "/src/modelkiln",
		Setup:       "0123456789abcdef",
		Network:     Network{Host: netip.MustParsePrefix("10.213.0.1/24"), Node: netip.MustParsePrefix("10.213.0.2/24")},
		MadeFolders: []string{"/var/lib/kubelet"},
		Processes:   map[string]Process{"kubelet": {PID: 42, Started: "238581"}},
		Complete:    true,
	}
	content, err := json.Marshal(want)
	require.NoError(t, err)
	got, err := parseState(content)
	require.NoError(t, err)
	assert.Equal(t, want, got)
}

func TestADamagedRecordIsAnError(t *testing.T) {
	tests := map[string]string{
		"empty, as after a power cut": "",
		"cut off":                     `{"checkout": "/src/mod`,
		"an address that is none":     `{"network": {"host": "10.213.0"}}`,
		"JSON, but not of a cluster":  `{}`,
		"JSON of nothing":             `null`,
	}
	for name, content := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := parseState([]byte(content))
			require.ErrorContains(t, err, "the record of the cluster, /var/lib/modelkiln-cluster/state.json, cannot be read")
		})
	}
}

func TestFoldersToRemove(t *testing.T) {
	tests := map[string]struct {
		state *State
		want  []string
	}{
		"those that were made":                 {state: &State{MadeFolders: []string{"/var/lib/cni"}}, want: []string{"/var/lib/cni"}},
		"none, when all were there before":     {state: &State{}},
		"any, when the record of them is lost": {want: []string{"/var/lib/cni", "/var/lib/kubelet", "/var/log/containers"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, tt.want, tt.state.foldersToRemove())
		})
	}
}

func TestAClusterIsAliveWhenItCameUpAndAllOfItRuns(t *testing.T) {
	self, err := observe(os.Getpid())
	require.NoError(t, err)
	other := Process{PID: self.PID, Started: self.Started + "0"}

	tests := map[string]struct {
		state    *State
		want     bool
		wantDead []string
	}{
		"no cluster at all": {state: nil},
		"all programs run":  {state: &State{Complete: true, Processes: map[string]Process{"kubelet": self}}, want: true},
		"it never came up":  {state: &State{Processes: map[string]Process{"kubelet": self}}},
		"two programs ended, and one of the numbers is another process's now": {
			state:    &State{Complete: true, Processes: map[string]Process{"kubelet": self, "etcd": other, "containerd": {PID: 1 << 30, Started: "1"}}},
			wantDead: []string{"containerd", "etcd"},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, tt.want, tt.state.Alive())
			if tt.state != nil {
				assert.Equal(t, tt.wantDead, tt.state.Dead())
			}
		})
	}
}
