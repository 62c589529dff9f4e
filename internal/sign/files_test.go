package sign_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/modelkiln/modelkiln/internal/layer"
	"github.com/modelkiln/modelkiln/internal/sign"
)

// manifest returns files whose order differs from that of the manifest.
func manifest() layer.Manifest {
	sum := func(text string) string {
		digest := sha256.Sum256([]byte(text))
		return hex.EncodeToString(digest[:])
	}
	return layer.Manifest{Entries: []layer.ManifestEntry{
		{Path: ".", Type: layer.Dir},
		{Path: ".gitattributes", Type: layer.File, Size: 1, SHA256: sum("x")},
		{Path: "latest", Type: layer.Symlink, Link: "tok"},
		{Path: "tok", Type: layer.Dir},
		{Path: "tok.json", Type: layer.File, Size: 2, SHA256: sum("{}")},
		{Path: "tok/.gitignore", Type: layer.File, Size: 3, SHA256: sum("abc")},
		{Path: "tok/link.json", Type: layer.Symlink, Link: "../tok.json"},
		{Path: "tok/vocab.txt", Type: layer.File, Size: 4, SHA256: sum("vocab")},
	}}
}

func TestNewFiles(t *testing.T) {
	files, ok := sign.NewFiles(manifest())
	require.True(t, ok)
	// tok/.gitignore, tok/link.json, tok/vocab.txt, tok.json
	all := sha256.New()
	for _, content := range []string{"abc", "{}", "vocab", "{}"} {
		sum := sha256.Sum256([]byte(content))
		all.Write(sum[:])
	}
	assert.Equal(t, hex.EncodeToString(all.Sum(nil)), files.Root)
	assert.Equal(t, int64(4), files.Count)
	assert.Equal(t, int64(3+2+4+2), files.Bytes)
}

func TestNewFilesWithoutDigests(t *testing.T) {
	for name, sum := range map[string]string{"none": "", "no hexadecimal": strings.Repeat("x", 64), "another length": "ab"} {
		t.Run(name, func(t *testing.T) {
			m := manifest()
			m.Entries[4].SHA256 = sum
			_, ok := sign.NewFiles(m)
			assert.False(t, ok)
		})
	}
}

// Another user may have written the manifest.
func TestNewFilesOfLinksInACircle(t *testing.T) {
	files, ok := sign.NewFiles(layer.Manifest{Entries: []layer.ManifestEntry{
		{Path: "a", Type: layer.Symlink, Link: "b"}, {Path: "b", Type: layer.Symlink, Link: "a"}, {Path: "c", Type: layer.Symlink, Link: "none"},
	}})
	assert.True(t, ok)
	assert.Zero(t, files.Count)
}

// A verifier opens links as the kernel does, so a link can lead through another one.
func TestNewFilesOfLinksThroughLinkedDirectories(t *testing.T) {
	sum := func(text string) string {
		digest := sha256.Sum256([]byte(text))
		return hex.EncodeToString(digest[:])
	}
	entries := []layer.ManifestEntry{
		{Path: ".", Type: layer.Dir},
		{Path: "current", Type: layer.Symlink, Link: "v2/sub"},
		{Path: "v2", Type: layer.Dir},
		{Path: "v2/model.bin", Type: layer.File, SHA256: sum("second")},
		{Path: "v2/sub", Type: layer.Dir},
		{Path: "v2/sub/model.bin", Type: layer.File, SHA256: sum("of the directory")},
	}
	for name, tt := range map[string]struct{ link, want string }{
		"through the link":       {"current/model.bin", "of the directory"},
		"above what it leads to": {"current/../model.bin", "second"},
		"to itself":              {"model.bin", ""},
		"out of the model":       {"../model.bin", ""},
		"to an absolute path":    {"/v2/model.bin", ""},
	} {
		t.Run(name, func(t *testing.T) {
			files, ok := sign.NewFiles(layer.Manifest{Entries: append([]layer.ManifestEntry{{Path: "model.bin", Type: layer.Symlink, Link: tt.link}}, entries...)})
			require.True(t, ok)
			all := sha256.New()
			contents, count := []string{"second", "of the directory"}, int64(2)
			if tt.want != "" {
				contents, count = append([]string{tt.want}, contents...), 3
			}
			for _, content := range contents {
				sum := sha256.Sum256([]byte(content))
				all.Write(sum[:])
			}
			assert.Equal(t, count, files.Count)
			assert.Equal(t, hex.EncodeToString(all.Sum(nil)), files.Root)
		})
	}
}

// The verifier of OpenSSF Model Signing rejects every link, also one to a directory, unless
// the signature says otherwise, and reads a list of files.
func TestSignFilesSerialization(t *testing.T) {
	file := layer.ManifestEntry{Path: "w.bin", Type: layer.File, SHA256: strings.Repeat("ab", 32)}
	for name, tt := range map[string]struct {
		entries       []layer.ManifestEntry
		allowSymlinks bool
		resources     int
	}{
		"no links":                       {[]layer.ManifestEntry{file}, false, 1},
		"a link to a directory":          {[]layer.ManifestEntry{file, {Path: "latest", Type: layer.Symlink, Link: "."}, {Path: ".", Type: layer.Dir}}, true, 1},
		"a link in an ignored directory": {[]layer.ManifestEntry{file, {Path: ".git/a", Type: layer.Symlink, Link: "../w.bin"}}, false, 1},
		"ignored files only":             {[]layer.ManifestEntry{{Path: ".gitignore", Type: layer.File, SHA256: file.SHA256}}, false, 0},
	} {
		t.Run(name, func(t *testing.T) {
			files, ok := sign.NewFiles(layer.Manifest{Entries: tt.entries})
			require.True(t, ok)
			bundle, err := readKey(t, "key.pem").SignFiles("resnet", files)
			require.NoError(t, err)
			var statement struct {
				Predicate struct {
					Serialization struct {
						AllowSymlinks bool `json:"allow_symlinks"`
					} `json:"serialization"`
					Resources []any `json:"resources"`
				} `json:"predicate"`
			}
			require.NoError(t, json.Unmarshal(payloadOf(t, bundle), &statement))
			assert.Equal(t, tt.allowSymlinks, statement.Predicate.Serialization.AllowSymlinks)
			assert.NotNil(t, statement.Predicate.Resources)
			assert.Len(t, statement.Predicate.Resources, tt.resources)
		})
	}
}
