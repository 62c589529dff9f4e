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
		"a removed file":         {change: func(e []Entry) []Entry { return e[:2] }},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			after := tc.change(append([]Entry{}, before...))
			assert.Equal(t, tc.same, StatDigest(before) == StatDigest(after))
		})
	}
}
