package remote

import (
	"io/fs"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/layer"
	"github.com/modelkiln/modelkiln/internal/step/source"
)

func TestListing(t *testing.T) {
	when := time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)
	l := newListing()
	longest := strings.Repeat("é", 127) + "a"
	for _, o := range []object{
		{path: longest, dir: true},
		{path: "a/b/model.bin", size: 3, modTime: when, identity: "etag:1"},
		{path: "a/b", dir: true, modTime: when},
		{path: "empty/dir", dir: true, modTime: when},
		{path: "a/c", size: 1, modTime: when, archived: true},
	} {
		require.NoError(t, l.add(o))
	}
	dir := func(name string) layer.SourceEntry {
		return layer.SourceEntry{Path: name, Mode: fs.ModeDir | 0o755, ModTime: noTime}
	}
	want := []layer.SourceEntry{
		dir("."), dir(longest), dir("a"), dir("a/b"), dir("empty"), dir("empty/dir"),
		{Path: "a/b/model.bin", Mode: 0o644, Size: 3, ModTime: when, Identity: "etag:1"},
		{Path: "a/c", Mode: 0o644, Size: 1, ModTime: when},
	}
	assert.ElementsMatch(t, want, l.entries)
	assert.Equal(t, "a/c", l.sample.path, "an archived file is tried")
}

func TestListingRefuses(t *testing.T) {
	for name, tt := range map[string]struct {
		paths []string // with a slash at the end for directories
		says  string
	}{
		"a parent directory":          {[]string{"../a"}, `"../a" has a name that no file can have`},
		"a parent inside":             {[]string{"a/../../b"}, "no file can have"},
		"the directory itself":        {[]string{"."}, "no file can have"},
		"the directory inside":        {[]string{"a/./b"}, "no file can have"},
		"an absolute path":            {[]string{"/a"}, "no file can have"},
		"two slashes":                 {[]string{"a//b"}, "no file can have"},
		"two slashes at the end":      {[]string{"a//"}, "no file can have"},
		"nothing":                     {[]string{""}, "no file can have"},
		"only a slash":                {[]string{"/"}, "no file can have"},
		"bytes that are not UTF-8":    {[]string{"a\xff"}, "no file can have"},
		"a line break":                {[]string{"a\nb"}, `"a b" has a name with control characters`},
		"a null byte":                 {[]string{"a\x00"}, "control characters"},
		"a file in a file":            {[]string{"a", "a/b"}, `"a" is both a file and a directory`},
		"a file where a directory is": {[]string{"a/b", "a"}, `"a" is both a file and a directory`},
		"a directory where a file is": {[]string{"a", "a/"}, `"a" is both a file and a directory`},
		"a file that is listed twice": {[]string{"a", "a"}, "or listed twice"},
		"a file deep in a file":       {[]string{"a", "a/b/c/d"}, `"a" is both a file and a directory`},
		"a long name":                 {[]string{"a/" + strings.Repeat("a", 256)}, `aaa…" is too long, since a path has 1024 bytes at most, and a name in it 255: rename it`},
		"a long name of a directory":  {[]string{strings.Repeat("é", 128) + "/a"}, "is too long"},
		"a long path":                 {[]string{strings.Repeat("a/", 512) + "a"}, "is too long"},
	} {
		t.Run(name, func(t *testing.T) {
			l := newListing()
			var err error
			for _, p := range tt.paths {
				o := object{path: p, size: 1}
				if p != "/" {
					o.path, o.dir = strings.CutSuffix(p, "/")
				}
				if err = l.add(o); err != nil {
					break
				}
			}
			assertFailure(t, v1alpha1.ReasonSourceUnsafe, false, tt.says, err)
		})
	}
}

func TestListingIsBounded(t *testing.T) {
	for name, path := range map[string]func(n int) string{
		"files":         strconv.Itoa,
		"directories":   func(n int) string { return strconv.Itoa(n) + strings.Repeat("/a", 500) },
		"one directory": func(int) string { return "a/" },
	} {
		t.Run(name, func(t *testing.T) {
			l := newListing()
			var err error
			for n := 0; err == nil && n <= source.MaxEntries; n++ {
				o := object{}
				o.path, o.dir = strings.CutSuffix(path(n), "/")
				err = l.add(o)
			}
			require.ErrorIs(t, err, source.ErrTooMany)
			assert.LessOrEqual(t, len(l.entries), source.MaxEntries+2)
		})
	}
}

// Whatever a store lists, what is planned is beneath the model's directory.
func FuzzListing(f *testing.F) {
	for _, seed := range []string{"a/b\na", "a\na/b", "../x", "a//b", "a/", "\xff", strings.Repeat("a/", 300)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, names string) {
		l := newListing()
		for name := range strings.SplitSeq(names, "\n") {
			o := object{size: 1}
			o.path, o.dir = strings.CutSuffix(name, "/")
			if l.add(o) != nil {
				break
			}
		}
		seen := map[string]bool{}
		for _, e := range l.entries {
			assert.True(t, fs.ValidPath(e.Path), "%q", e.Path)
			assert.False(t, seen[e.Path], "%q is listed twice", e.Path)
			seen[e.Path] = true
		}
	})
}
