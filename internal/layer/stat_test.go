package layer

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestStatDigest(t *testing.T) {
	before := []Entry{
		{Path: ".", Type: Dir, Mode: ModeExecutable, ModTime: 1},
		{Path: "a", Type: File, Mode: ModeReadable, Size: 1, ModTime: 2},
		{Path: "b", Type: Symlink, Link: "a", ModTime: 3},
	}
	tests := map[string]struct {
		change func(entries []Entry) []Entry
		same   bool
	}{
		"nothing":                {same: true, change: func(e []Entry) []Entry { return e }},
		"a touched directory":    {same: true, change: func(e []Entry) []Entry { e[0].ModTime++; return e }},
		"a touched link":         {same: true, change: func(e []Entry) []Entry { e[2].ModTime++; return e }},
		"a touched file":         {change: func(e []Entry) []Entry { e[1].ModTime++; return e }},
		"a file of another size": {change: func(e []Entry) []Entry { e[1].Size++; return e }},
		"a file of another mode": {change: func(e []Entry) []Entry { e[1].Mode = ModeExecutable; return e }},
		"a file of another name": {change: func(e []Entry) []Entry { e[1].Path = "c"; return e }},
		"another link target":    {change: func(e []Entry) []Entry { e[2].Link = "."; return e }},
		"another identity":       {change: func(e []Entry) []Entry { e[1].Identity = "sha256:1"; return e }},
		"a removed file":         {change: func(e []Entry) []Entry { return e[:2] }},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			after := tc.change(append([]Entry{}, before...))
			assert.Equal(t, tc.same, StatDigest(before) == StatDigest(after))
		})
	}
}

func TestStatDigestOfIdentity(t *testing.T) {
	file := Entry{Path: "a", Type: File, Mode: ModeReadable, Size: 1, ModTime: 2, Identity: "sha256:1"}
	touched, changed := file, file
	touched.ModTime, changed.Identity = 3, "sha256:2"

	assert.Equal(t, StatDigest([]Entry{file}), StatDigest([]Entry{touched}))
	assert.NotEqual(t, StatDigest([]Entry{file}), StatDigest([]Entry{changed}))
}

func TestHasIdentities(t *testing.T) {
	dir, mounted := Entry{Path: ".", Type: Dir}, Entry{Path: "a", Type: File}
	stored := Entry{Path: "b", Type: File, Identity: "etag:1"}
	for name, tc := range map[string]struct {
		entries []Entry
		want    bool
	}{
		"no file":          {[]Entry{dir}, false},
		"all files":        {[]Entry{dir, stored}, true},
		"a file without":   {[]Entry{stored, mounted}, false},
		"files of a mount": {[]Entry{mounted}, false},
	} {
		t.Run(name, func(t *testing.T) { assert.Equal(t, tc.want, HasIdentities(tc.entries)) })
	}
}
