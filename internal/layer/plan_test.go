package layer

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var when = time.Date(2026, 5, 4, 3, 2, 1, 123456789, time.UTC)

func dir(path string) SourceEntry {
	return SourceEntry{Path: path, Mode: fs.ModeDir | 0o700, ModTime: when}
}

func file(path string, size int64) SourceEntry {
	return SourceEntry{Path: path, Mode: 0o600, Size: size, ModTime: when}
}

func link(path, target string) SourceEntry {
	return SourceEntry{Path: path, Mode: fs.ModeSymlink | 0o777, ModTime: when, Link: target}
}

func paths(entries []Entry) []string {
	all := []string{}
	for _, e := range entries {
		all = append(all, e.Path)
	}
	return all
}

func TestNewPlanEntries(t *testing.T) {
	plan, err := NewPlan([]SourceEntry{
		dir("."), dir("empty"), dir("lost+found"), file("lost+found/#12", 3), dir("sub"), dir("sub/lost+found"),
		file("sub/lost+found/kept", 2), file("config.json", 10), file(".hidden", 1), file("sub/new\nline $x", 4),
		{Path: "run.sh", Mode: 0o610, Size: 5, ModTime: when},
		{Path: "setuid", Mode: fs.ModeSetuid | 0o4711, Size: 5, ModTime: when},
		{Path: "queue", Mode: fs.ModeNamedPipe | 0o600, ModTime: when},
		{Path: "socket", Mode: fs.ModeSocket | 0o600, ModTime: when},
		{Path: "disk", Mode: fs.ModeDevice | 0o600, ModTime: when},
		{Path: "tty", Mode: fs.ModeDevice | fs.ModeCharDevice | 0o600, ModTime: when},
		link("latest", "sub"),
	})
	require.NoError(t, err)

	ns := when.UnixNano()
	assert.Equal(t, Plan{
		Files: 6, Bytes: 27, Skipped: 5,
		Layers: [][]Entry{{
			{Path: ".", Type: Dir, Mode: 0o755, ModTime: ns},
			{Path: ".hidden", Type: File, Size: 1, Mode: 0o644, ModTime: ns},
			{Path: "config.json", Type: File, Size: 10, Mode: 0o644, ModTime: ns},
			{Path: "empty", Type: Dir, Mode: 0o755, ModTime: ns},
			{Path: "latest", Type: Symlink, Link: "sub", ModTime: ns},
			{Path: "run.sh", Type: File, Size: 5, Mode: 0o755, ModTime: ns},
			{Path: "setuid", Type: File, Size: 5, Mode: 0o755, ModTime: ns},
			{Path: "sub", Type: Dir, Mode: 0o755, ModTime: ns},
			{Path: "sub/lost+found", Type: Dir, Mode: 0o755, ModTime: ns},
			{Path: "sub/lost+found/kept", Type: File, Size: 2, Mode: 0o644, ModTime: ns},
			{Path: "sub/new\nline $x", Type: File, Size: 4, Mode: 0o644, ModTime: ns},
		}},
	}, plan)
}

func TestNewPlanErrors(t *testing.T) {
	tests := map[string]struct {
		listing []SourceEntry
		want    string
	}{
		"no file":                                    {listing: []SourceEntry{dir("."), dir("a")}, want: "no file to package"},
		"only a lost+found":                          {listing: []SourceEntry{dir("."), dir("lost+found"), file("lost+found/x", 1)}, want: "no file to package"},
		"a name that is not UTF-8":                   {listing: []SourceEntry{dir("."), file("a\xff", 1)}, want: `"a\xff" has a name or a link target that is not valid UTF-8`},
		"a link target that is not UTF-8":            {listing: []SourceEntry{dir("."), file("a", 1), link("b", "a\xff")}, want: "not valid UTF-8"},
		"a whiteout name":                            {listing: []SourceEntry{dir("."), file("a/.wh.b", 1)}, want: "marks a deleted file in an image"},
		"an absolute link":                           {listing: []SourceEntry{dir("."), file("a", 1), link("b", "/etc/passwd")}, want: `"b" is a symbolic link to "/etc/passwd", which is absolute`},
		"an absolute link back inside":               {listing: []SourceEntry{dir("."), file("a", 1), link("b", "/source/a")}, want: "is absolute"},
		"a link that points outside":                 {listing: []SourceEntry{dir("."), file("a", 1), link("b", "../c")}, want: "points outside the model's directory"},
		"a link that points outside and back":        {listing: []SourceEntry{dir("."), file("a", 1), link("b", "../model/a")}, want: "points outside the model's directory"},
		"a link that points outside through another": {listing: []SourceEntry{dir("."), dir("d"), dir("d/e"), file("a", 1), link("d/up", "e/.."), link("b", "d/up/../../a")}, want: "points outside the model's directory"},
		"a dangling link":                            {listing: []SourceEntry{dir("."), file("a", 1), link("b", "c")}, want: "does not exist or is not packaged"},
		"a link to a skipped directory":              {listing: []SourceEntry{dir("."), file("a", 1), dir("lost+found"), link("b", "lost+found")}, want: "does not exist or is not packaged"},
		"a link through a file":                      {listing: []SourceEntry{dir("."), file("a", 1), link("b", "a/c")}, want: "does not exist or is not packaged"},
		"a link through a file and back":             {listing: []SourceEntry{dir("."), file("a", 1), link("b", "a/../a")}, want: "does not exist or is not packaged"},
		"a link to itself":                           {listing: []SourceEntry{dir("."), file("a", 1), link("b", "b")}, want: "is part of a loop"},
		"two links to each other":                    {listing: []SourceEntry{dir("."), file("a", 1), link("b", "c"), link("c", "b")}, want: "is part of a loop"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := NewPlan(tt.listing)
			require.Error(t, err)
			assert.Contains(t, err.Error(), tt.want)
		})
	}
}

func TestNewPlanKeepsLinksInsideTheModel(t *testing.T) {
	// The layout of a Hugging Face cache.
	plan, err := NewPlan([]SourceEntry{
		dir("."), dir("blobs"), file("blobs/0a1b", 9), dir("snapshots"), dir("snapshots/main"),
		link("snapshots/main/model.safetensors", "../../blobs/0a1b"),
		link("snapshots/main/again", "./model.safetensors"),
		link("current", "snapshots/main"),
		link("top", "."),
		link("model", "current/../main//model.safetensors"),
		link("folder", "snapshots/"),
	})
	require.NoError(t, err)
	assert.Equal(t, int64(1), plan.Files)
	assert.Len(t, plan.Layers[0], 11)
}

func TestNewPlanGivesLargeFilesTheirOwnLayers(t *testing.T) {
	plan, err := NewPlan([]SourceEntry{
		dir("."), file("a", DefaultSize-1), file("b", DefaultSize), file("c", 0), file("d", 10*DefaultSize),
	})
	require.NoError(t, err)
	require.Len(t, plan.Layers, 3)
	assert.Equal(t, []string{".", "a", "c"}, paths(plan.Layers[0]))
	assert.Equal(t, []string{"b"}, paths(plan.Layers[1]))
	assert.Equal(t, []string{"d"}, paths(plan.Layers[2]))
	assert.Equal(t, []string{".", "a", "b", "c", "d"}, paths(plan.Entries()))
}

func TestNewPlanPutsDirectoriesBeforeASingleLargeFile(t *testing.T) {
	plan, err := NewPlan([]SourceEntry{dir("."), dir("x"), file("x/model.gguf", DefaultSize)})
	require.NoError(t, err)
	require.Len(t, plan.Layers, 2)
	assert.Equal(t, []string{".", "x"}, paths(plan.Layers[0]))
	assert.Equal(t, []string{"x/model.gguf"}, paths(plan.Layers[1]))
}

func TestPlanWithLimitsGroupsSmallFiles(t *testing.T) {
	const size = 10
	plan, err := NewPlan([]SourceEntry{
		dir("."), dir("a"), file("a/1", 4), file("a/2", 6), file("b", 1), file("c", size), file("d", 9), file("e", 9), link("f", "e"),
	})
	require.NoError(t, err)

	plan = plan.WithLimits(Limits{Size: size, Layers: DefaultLayers})

	var got [][]string
	for _, entries := range plan.Layers {
		got = append(got, paths(entries))
	}
	assert.Equal(t, [][]string{{".", "a", "a/1", "a/2", "f"}, {"b", "d"}, {"e"}, {"c"}}, got)
}

func TestNewPlanFindsTheSmallestLayerSize(t *testing.T) {
	for count, want := range map[int]int{98: 99, 99: 100, 100: 100, 101: 51, 250: 84, 1000: 100} {
		t.Run(fmt.Sprint(count), func(t *testing.T) {
			listing := []SourceEntry{dir(".")}
			for i := range count {
				listing = append(listing, file(fmt.Sprintf("%04d.bin", i), DefaultSize))
			}
			plan, err := NewPlan(listing)
			require.NoError(t, err)
			assert.Len(t, plan.Layers, want)

			next := 0
			for _, entries := range plan.Layers {
				assert.NotEmpty(t, entries)
				for _, e := range entries {
					if e.Type == File {
						assert.Equal(t, fmt.Sprintf("%04d.bin", next), e.Path)
						next++
					}
				}
			}
			assert.Equal(t, count, next)
		})
	}
}

// 163 shards of 4.3 GB, as DeepSeek-V3 has them, take 82 layers of two, and not 55 of
// three, which some registries do not accept.
func TestNewPlanOfManyShards(t *testing.T) {
	listing := []SourceEntry{dir(".")}
	for i := range 163 {
		listing = append(listing, file(fmt.Sprintf("model-%05d-of-00163.safetensors", i+1), 4_300_000_000))
	}
	plan, err := NewPlan(listing)
	require.NoError(t, err)
	assert.Len(t, plan.Layers, 82)
	for _, entries := range plan.Layers {
		_, bytes := Count(entries)
		assert.LessOrEqual(t, bytes, int64(8_600_000_000))
	}
}

func TestPlanWithLimitsAcceptsFilesOfAnySize(t *testing.T) {
	listing := []SourceEntry{dir(".")}
	for i := range 3 {
		listing = append(listing, file(fmt.Sprintf("sparse-%d", i), maxBytes/3))
	}
	plan, err := NewPlan(listing)
	require.NoError(t, err)
	for _, limits := range []Limits{{Size: DefaultSize, Layers: 1}, {}, {Size: math.MaxInt64, Layers: 2}} {
		assert.Len(t, plan.WithLimits(limits).Entries(), 4)
	}
}

// A sum that is no number would be a negative size.
func TestNewPlanRefusesSizesWithoutSum(t *testing.T) {
	for name, sizes := range map[string][]int64{
		"one file":  {math.MaxInt64},
		"two files": {math.MaxInt64 / 2, math.MaxInt64/2 + 2},
		"many":      {maxBytes / 2, maxBytes / 2, 1},
	} {
		t.Run(name, func(t *testing.T) {
			listing := []SourceEntry{dir(".")}
			for i, size := range sizes {
				listing = append(listing, file(fmt.Sprintf("sparse-%d", i), size))
			}
			_, err := NewPlan(listing)
			var unsafe *UnsafeError
			require.ErrorAs(t, err, &unsafe)
			assert.Contains(t, err.Error(), "more than a build can count")
		})
	}
}

func TestBudget(t *testing.T) {
	listing := []SourceEntry{dir("."), file("small", 1)}
	for i := range 200 {
		listing = append(listing, file(fmt.Sprintf("%04d.bin", i), DefaultSize))
	}
	full, err := NewPlan(listing)
	require.NoError(t, err)
	for base, want := range map[int]int{0: 101, 24: 101, 26: 100, 27: 67, 124: 2, 125: 1} {
		t.Run(fmt.Sprint(base), func(t *testing.T) {
			plan := full.WithLimits(Limits{Size: DefaultSize, Layers: Budget(base)})
			assert.Len(t, plan.Layers, want)
			assert.LessOrEqual(t, base+len(plan.Layers)+1, MaxImageLayers)
			assert.Equal(t, full.Entries(), plan.Entries(), "no entry is lost")
		})
	}
	assert.Less(t, Budget(126), 1, "no room")
	assert.Equal(t, full, full.WithLimits(Limits{Size: DefaultSize, Layers: DefaultLayers}))
}

func TestNewPlanIgnoresTheOrderOfTheListing(t *testing.T) {
	listing := []SourceEntry{dir("."), dir("a"), file("a/b", 1), file("a-b", 1), file("c", DefaultSize), link("d", "a/b")}
	want, err := NewPlan(listing)
	require.NoError(t, err)
	for range 10 {
		rand.Shuffle(len(listing), func(i, j int) { listing[i], listing[j] = listing[j], listing[i] })
		got, err := NewPlan(listing)
		require.NoError(t, err)
		assert.Equal(t, want, got)
	}
}

func TestChangedPath(t *testing.T) {
	later := func(found SourceEntry) SourceEntry {
		found.ModTime = when.Add(time.Nanosecond)
		return found
	}
	before := []SourceEntry{dir("."), dir("a"), file("a/b", 1), file("c", DefaultSize), link("d", "a/b")}
	tests := map[string]struct {
		after []SourceEntry
		want  string
	}{
		"nothing":                            {after: before},
		"a touched file":                     {after: []SourceEntry{before[0], before[1], later(before[2]), before[3], before[4]}, want: "a/b"},
		"a file that grows to its own layer": {after: []SourceEntry{before[0], before[1], file("a/b", DefaultSize), before[3], before[4]}, want: "a/b"},
		"a link":                             {after: []SourceEntry{before[0], before[1], before[2], before[3], link("d", "c")}, want: "d"},
		"an added entry":                     {after: append([]SourceEntry{file("e", 1)}, before...), want: "e"},
		"an added entry and its directory's time":  {after: []SourceEntry{later(before[0]), before[1], before[2], before[3], before[4], file("b", 1)}, want: "b"},
		"a removed entry":                          {after: before[:4], want: "d"},
		"a removed entry and its directory's time": {after: []SourceEntry{later(before[0]), before[1], before[2], before[4]}, want: "c"},
		"a directory's time":                       {after: []SourceEntry{before[0], later(before[1]), before[2], before[3], before[4]}},
		"a directory that replaces a file":         {after: []SourceEntry{before[0], before[1], dir("a/b"), before[3], link("d", "a")}, want: "a/b"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			was, err := NewPlan(before)
			require.NoError(t, err)
			now, err := NewPlan(tt.after)
			require.NoError(t, err)
			assert.Equal(t, tt.want, ChangedPath(was, now))
		})
	}
}

func TestPlanJSONRoundTrip(t *testing.T) {
	want, err := NewPlan([]SourceEntry{dir("."), file("a\"\\\n\u2028<é", 3), {Path: "x", Mode: 0o111, ModTime: when}, link("l", "x")})
	require.NoError(t, err)
	raw, err := json.Marshal(want)
	require.NoError(t, err)
	assert.Contains(t, string(raw), `"mode":"0644"`)
	var got Plan
	require.NoError(t, json.Unmarshal(raw, &got))
	assert.Equal(t, want, got)
}

func TestModeUnmarshalTextErrors(t *testing.T) {
	var m Mode
	require.Error(t, json.Unmarshal([]byte(`"rwx"`), &m))
	require.Error(t, json.Unmarshal([]byte(`"77777"`), &m))
}
