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

func folder(path string) Found {
	return Found{Path: path, Mode: fs.ModeDir | 0o700, ModTime: when}
}

func file(path string, size int64) Found {
	return Found{Path: path, Mode: 0o600, Size: size, ModTime: when}
}

func link(path, target string) Found {
	return Found{Path: path, Mode: fs.ModeSymlink | 0o777, ModTime: when, Link: target}
}

func paths(entries []Entry) []string {
	all := []string{}
	for _, e := range entries {
		all = append(all, e.Path)
	}
	return all
}

func TestMakeSaysWhatIsPackagedAndHow(t *testing.T) {
	plan, err := Make([]Found{
		folder("."), folder("empty"), folder("lost+found"), file("lost+found/#12", 3), folder("sub"), folder("sub/lost+found"),
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
			{Path: ".", Type: Folder, Mode: 0o755, ModTime: ns},
			{Path: ".hidden", Type: File, Size: 1, Mode: 0o644, ModTime: ns},
			{Path: "config.json", Type: File, Size: 10, Mode: 0o644, ModTime: ns},
			{Path: "empty", Type: Folder, Mode: 0o755, ModTime: ns},
			{Path: "latest", Type: Symlink, Link: "sub", ModTime: ns},
			{Path: "run.sh", Type: File, Size: 5, Mode: 0o755, ModTime: ns},
			{Path: "setuid", Type: File, Size: 5, Mode: 0o755, ModTime: ns},
			{Path: "sub", Type: Folder, Mode: 0o755, ModTime: ns},
			{Path: "sub/lost+found", Type: Folder, Mode: 0o755, ModTime: ns},
			{Path: "sub/lost+found/kept", Type: File, Size: 2, Mode: 0o644, ModTime: ns},
			{Path: "sub/new\nline $x", Type: File, Size: 4, Mode: 0o644, ModTime: ns},
		}},
	}, plan)
}

func TestMakeRefusesWhatItCannotKeep(t *testing.T) {
	tests := map[string]struct {
		listing []Found
		want    string
	}{
		"no file":                               {listing: []Found{folder("."), folder("a")}, want: "no file to package"},
		"only a lost+found":                     {listing: []Found{folder("."), folder("lost+found"), file("lost+found/x", 1)}, want: "no file to package"},
		"a name that is not UTF-8":              {listing: []Found{folder("."), file("a\xff", 1)}, want: `"a\xff" has a name or a target that is not valid UTF-8`},
		"a target that is not UTF-8":            {listing: []Found{folder("."), file("a", 1), link("b", "a\xff")}, want: "not valid UTF-8"},
		"a name that means a deleted file":      {listing: []Found{folder("."), file("a/.wh.b", 1)}, want: "means a deleted file in an image"},
		"an absolute link":                      {listing: []Found{folder("."), file("a", 1), link("b", "/etc/passwd")}, want: `"b" is a symbolic link to "/etc/passwd", which is absolute`},
		"an absolute link back inside":          {listing: []Found{folder("."), file("a", 1), link("b", "/source/a")}, want: "is absolute"},
		"a link that leads out":                 {listing: []Found{folder("."), file("a", 1), link("b", "../c")}, want: "leads out"},
		"a link that leads out and comes back":  {listing: []Found{folder("."), file("a", 1), link("b", "../model/a")}, want: "leads out"},
		"a link that leads out through another": {listing: []Found{folder("."), folder("d"), folder("d/e"), file("a", 1), link("d/up", "e/.."), link("b", "d/up/../../a")}, want: "leads out"},
		"a link that leads nowhere":             {listing: []Found{folder("."), file("a", 1), link("b", "c")}, want: "does not exist or is not packaged"},
		"a link to what is left out":            {listing: []Found{folder("."), file("a", 1), folder("lost+found"), link("b", "lost+found")}, want: "does not exist or is not packaged"},
		"a link through a file":                 {listing: []Found{folder("."), file("a", 1), link("b", "a/c")}, want: "does not exist or is not packaged"},
		"a link through a file and back":        {listing: []Found{folder("."), file("a", 1), link("b", "a/../a")}, want: "does not exist or is not packaged"},
		"a link to itself":                      {listing: []Found{folder("."), file("a", 1), link("b", "b")}, want: "leads in a circle"},
		"two links to each other":               {listing: []Found{folder("."), file("a", 1), link("b", "c"), link("c", "b")}, want: "leads in a circle"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := Make(tt.listing)
			require.Error(t, err)
			assert.Contains(t, err.Error(), tt.want)
		})
	}
}

func TestMakeKeepsLinksThatStayInside(t *testing.T) {
	// The layout of a Hugging Face cache.
	plan, err := Make([]Found{
		folder("."), folder("blobs"), file("blobs/0a1b", 9), folder("snapshots"), folder("snapshots/main"),
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

func TestLargeFilesHaveLayersOfTheirOwn(t *testing.T) {
	plan, err := Make([]Found{
		folder("."), file("a", DefaultSize-1), file("b", DefaultSize), file("c", 0), file("d", 10*DefaultSize),
	})
	require.NoError(t, err)
	require.Len(t, plan.Layers, 3)
	assert.Equal(t, []string{".", "a", "c"}, paths(plan.Layers[0]))
	assert.Equal(t, []string{"b"}, paths(plan.Layers[1]))
	assert.Equal(t, []string{"d"}, paths(plan.Layers[2]))
	assert.Equal(t, []string{".", "a", "b", "c", "d"}, paths(plan.Entries()))
}

func TestAModelOfOneLargeFileHasItsFoldersInALayerBefore(t *testing.T) {
	plan, err := Make([]Found{folder("."), folder("x"), file("x/model.gguf", DefaultSize)})
	require.NoError(t, err)
	require.Len(t, plan.Layers, 2)
	assert.Equal(t, []string{".", "x"}, paths(plan.Layers[0]))
	assert.Equal(t, []string{"x/model.gguf"}, paths(plan.Layers[1]))
}

func TestSmallFilesShareLayersWithTheirNeighbours(t *testing.T) {
	const size = 10
	plan, err := Make([]Found{
		folder("."), folder("a"), file("a/1", 4), file("a/2", 6), file("b", 1), file("c", size), file("d", 9), file("e", 9), link("f", "e"),
	})
	require.NoError(t, err)

	plan = plan.Within(Limits{Size: size, Layers: DefaultLayers})

	var got [][]string
	for _, entries := range plan.Layers {
		got = append(got, paths(entries))
	}
	assert.Equal(t, [][]string{{".", "a", "a/1", "a/2", "f"}, {"b", "d"}, {"e"}, {"c"}}, got)
}

func TestTheLayerSizeIsDoubledUntilThereAreNotTooManyLayers(t *testing.T) {
	for count, want := range map[int]int{98: 99, 99: 100, 100: 50, 101: 51, 250: 63, 1000: 63} {
		t.Run(fmt.Sprint(count), func(t *testing.T) {
			listing := []Found{folder(".")}
			for i := range count {
				listing = append(listing, file(fmt.Sprintf("%04d.bin", i), DefaultSize))
			}
			plan, err := Make(listing)
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

func TestFilesOfAnySizeFindALayer(t *testing.T) {
	listing := []Found{folder(".")}
	for i := range 3 {
		listing = append(listing, file(fmt.Sprintf("sparse-%d", i), math.MaxInt64))
	}
	plan, err := Make(listing)
	require.NoError(t, err)
	for _, limits := range []Limits{{Size: DefaultSize, Layers: 1}, {}, {Size: math.MaxInt64, Layers: 2}} {
		assert.Len(t, plan.Within(limits).Entries(), 4)
	}
}

func TestTheBaseImagesLayersLeaveRoomForTheModels(t *testing.T) {
	listing := []Found{folder("."), file("small", 1)}
	for i := range 200 {
		listing = append(listing, file(fmt.Sprintf("%04d.bin", i), DefaultSize))
	}
	whole, err := Make(listing)
	require.NoError(t, err)
	for base, want := range map[int]int{0: 101, 24: 101, 26: 51, 27: 51, 124: 2, 125: 1} {
		t.Run(fmt.Sprint(base), func(t *testing.T) {
			plan := whole.Within(Limits{Size: DefaultSize, Layers: Budget(base)})
			assert.Len(t, plan.Layers, want)
			assert.LessOrEqual(t, base+len(plan.Layers)+1, MaxImageLayers)
			assert.Equal(t, whole.Entries(), plan.Entries(), "nothing is lost")
		})
	}
	assert.Less(t, Budget(126), 1, "no room")
	assert.Equal(t, whole, whole.Within(Limits{Size: DefaultSize, Layers: DefaultLayers}))
}

func TestMakeDoesNotDependOnTheOrderOfTheListing(t *testing.T) {
	listing := []Found{folder("."), folder("a"), file("a/b", 1), file("a-b", 1), file("c", DefaultSize), link("d", "a/b")}
	want, err := Make(listing)
	require.NoError(t, err)
	for range 10 {
		rand.Shuffle(len(listing), func(i, j int) { listing[i], listing[j] = listing[j], listing[i] })
		got, err := Make(listing)
		require.NoError(t, err)
		assert.Equal(t, want, got)
	}
}

func TestChange(t *testing.T) {
	later := func(found Found) Found {
		found.ModTime = when.Add(time.Nanosecond)
		return found
	}
	before := []Found{folder("."), folder("a"), file("a/b", 1), file("c", DefaultSize), link("d", "a/b")}
	tests := map[string]struct {
		after []Found
		want  string
	}{
		"nothing":                         {after: before},
		"a file that is touched":          {after: []Found{before[0], before[1], later(before[2]), before[3], before[4]}, want: "a/b"},
		"a file that grows over a limit":  {after: []Found{before[0], before[1], file("a/b", DefaultSize), before[3], before[4]}, want: "a/b"},
		"a link":                          {after: []Found{before[0], before[1], before[2], before[3], link("d", "c")}, want: "d"},
		"one more":                        {after: append([]Found{file("e", 1)}, before...), want: "e"},
		"one more, and its folder's time": {after: []Found{later(before[0]), before[1], before[2], before[3], before[4], file("b", 1)}, want: "b"},
		"one less":                        {after: before[:4], want: "d"},
		"one less, and its folder's time": {after: []Found{later(before[0]), before[1], before[2], before[4]}, want: "c"},
		"times of folders":                {after: []Found{before[0], later(before[1]), before[2], before[3], before[4]}, want: "a"},
		"a folder in a file's place":      {after: []Found{before[0], before[1], folder("a/b"), before[3], link("d", "a")}, want: "a/b"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			was, err := Make(before)
			require.NoError(t, err)
			now, err := Make(tt.after)
			require.NoError(t, err)
			assert.Equal(t, tt.want, Change(was, now))
		})
	}
}

func TestAPlanComesBackFromJSONUnchanged(t *testing.T) {
	want, err := Make([]Found{folder("."), file("a\"\\\n\u2028<é", 3), {Path: "x", Mode: 0o111, ModTime: when}, link("l", "x")})
	require.NoError(t, err)
	raw, err := json.Marshal(want)
	require.NoError(t, err)
	assert.Contains(t, string(raw), `"mode":"0644"`)
	var got Plan
	require.NoError(t, json.Unmarshal(raw, &got))
	assert.Equal(t, want, got)
}

func TestAModeThatIsNoneIsRefused(t *testing.T) {
	var m Mode
	require.Error(t, json.Unmarshal([]byte(`"rwx"`), &m))
	require.Error(t, json.Unmarshal([]byte(`"77777"`), &m))
}
