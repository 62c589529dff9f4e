package node

import (
	"encoding/json"
	"net/netip"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestParseState(t *testing.T) {
	want := &State{
		Checkout:       "/src/modelkiln",
		SettingsDigest: "0123456789abcdef",
		Network:        Network{Host: netip.MustParsePrefix("10.213.0.1/24"), Node: netip.MustParsePrefix("10.213.0.2/24")},
		CreatedDirs:    []string{"/var/lib/kubelet"},
		Processes:      map[string]Process{"kubelet": {PID: 42, StartTime: "238581"}},
		Complete:       true,
	}
	content, err := json.Marshal(want)
	require.NoError(t, err)
	got, err := parseState(content)
	require.NoError(t, err)
	assert.Equal(t, want, got)
}

func TestParseStateErrors(t *testing.T) {
	tests := map[string]string{
		"empty, as after a power failure": "",
		"truncated":                       `{"checkout": "/src/mod`,
		"an invalid address":              `{"network": {"host": "10.213.0"}}`,
		"JSON without a checkout":         `{}`,
		"JSON null":                       `null`,
	}
	for name, content := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := parseState([]byte(content))
			require.ErrorContains(t, err, "cannot read the cluster's record /var/lib/modelkiln-cluster/state.json")
		})
	}
}

func TestDirsToRemove(t *testing.T) {
	tests := map[string]struct {
		state *State
		want  []string
	}{
		"the created directories":           {state: &State{CreatedDirs: []string{"/var/lib/cni"}}, want: []string{"/var/lib/cni"}},
		"none if all of them existed":       {state: &State{}},
		"all of them if the record is lost": {want: []string{"/var/lib/cni", "/var/lib/kubelet", "/var/log/containers"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, tt.want, tt.state.dirsToRemove())
		})
	}
}

func TestStateAlive(t *testing.T) {
	self, err := findProcess(os.Getpid())
	require.NoError(t, err)
	other := Process{PID: self.PID, StartTime: self.StartTime + "0"}

	tests := map[string]struct {
		state      *State
		want       bool
		wantExited []string
	}{
		"no cluster":               {state: nil},
		"all programs are running": {state: &State{Complete: true, Processes: map[string]Process{"kubelet": self}}, want: true},
		"it did not start":         {state: &State{Processes: map[string]Process{"kubelet": self}}},
		"two programs exited and one of the process IDs was reused": {
			state:      &State{Complete: true, Processes: map[string]Process{"kubelet": self, "etcd": other, "containerd": {PID: 1 << 30, StartTime: "1"}}},
			wantExited: []string{"containerd", "etcd"},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, tt.want, tt.state.Alive())
			if tt.state != nil {
				assert.Equal(t, tt.wantExited, tt.state.Exited())
			}
		})
	}
}
