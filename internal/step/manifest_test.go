package step

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/modelkiln/modelkiln/internal/report"
)

func TestTheManifestInTheImage(t *testing.T) {
	p := built(t)
	manifest, found, err := readManifest(p.pull(t))
	require.NoError(t, err)
	require.True(t, found)
	config, err := p.pull(t).ConfigFile()
	require.NoError(t, err)
	assert.Equal(t, []report.BuiltLayer{{DiffID: config.RootFS.DiffIDs[0].String(), Files: 2, Bytes: 9}}, manifest.Layers)
	raw, err := json.Marshal(manifest.Entries)
	require.NoError(t, err)
	assert.JSONEq(t, `[
		{"path": ".", "type": "dir", "mode": "0755"},
		{"path": "config.json", "type": "file", "size": 2, "mode": "0644", "sha256": "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"},
		{"path": "w.bin", "type": "file", "size": 7, "mode": "0644", "sha256": "9a129038d9a00aed0cf6a7ea059ca50a813449061ab87848cf1a13eafdf33b2c"}
	]`, string(raw))
}
