package layer

import (
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// tree returns a listing of files and, for names with a slash at the end, directories,
// with all directories that they are in.
func tree(names ...string) []SourceEntry {
	dirs, listing := map[string]bool{}, []SourceEntry{}
	for _, name := range names {
		isDir := strings.HasSuffix(name, "/")
		if name = path.Clean(name); isDir {
			dirs[name] = true
		} else {
			listing = append(listing, file(name, 1))
		}
		for at := path.Dir(name); !dirs[at]; at = path.Dir(at) {
			dirs[at] = true
		}
	}
	dirs[RootDir] = true
	for _, at := range slices.Sorted(maps.Keys(dirs)) {
		listing = append(listing, dir(at))
	}
	return listing
}

func filterOf(t *testing.T, include, exclude []string) Filter {
	t.Helper()
	patterns, err := NewPatterns(include, exclude, nil)
	require.NoError(t, err)
	filter, err := NewFilter(patterns)
	require.NoError(t, err)
	return filter
}

// packaged returns the paths of what is packaged, without the model's directory.
func packaged(listing []SourceEntry) []string {
	kept, _ := withoutExcluded(listing)
	names := []string{}
	for _, e := range kept {
		switch {
		case e.Path == RootDir:
		case e.Mode.IsDir():
			names = append(names, e.Path+"/")
		default:
			names = append(names, e.Path)
		}
	}
	slices.Sort(names)
	return names
}

func TestSelect(t *testing.T) {
	model := []string{
		"config.json", "model.safetensors", "original/params.json", "original/consolidated.pth",
		"checkpoint-1/optimizer.pt", "checkpoint-1/model.safetensors", "sub/checkpoint-2/a", ".git/HEAD", "empty/",
	}
	all := []string{
		".git/", ".git/HEAD", "checkpoint-1/", "checkpoint-1/model.safetensors", "checkpoint-1/optimizer.pt", "config.json", "empty/",
		"model.safetensors", "original/", "original/consolidated.pth", "original/params.json", "sub/", "sub/checkpoint-2/", "sub/checkpoint-2/a",
	}
	without := func(prefixes ...string) []string {
		return slices.DeleteFunc(slices.Clone(all), func(name string) bool {
			return slices.ContainsFunc(prefixes, func(prefix string) bool { return strings.HasPrefix(name, prefix) })
		})
	}
	tests := map[string]struct {
		include, exclude []string
		want             []string
	}{
		"no patterns":                      {want: all},
		"a directory":                      {exclude: []string{".git/"}, want: without(".git")},
		"directories anywhere":             {exclude: []string{"checkpoint-*/"}, want: without("checkpoint-1", "sub")},
		"directories at the top":           {exclude: []string{"/checkpoint-*/"}, want: without("checkpoint-1")},
		"files anywhere":                   {exclude: []string{"*.safetensors"}, want: without("model.safetensors", "checkpoint-1/model")},
		"a file that is named as one":      {exclude: []string{"config.json/"}, want: all},
		"what is in a directory":           {exclude: []string{"original/**"}, want: without("original/")},
		"a file that is added again":       {exclude: []string{"original/*", "!original/params.json"}, want: without("original/consolidated.pth")},
		"a file in an excluded directory":  {exclude: []string{"original/", "!original/params.json"}, want: without("original/")},
		"the last pattern":                 {exclude: []string{"!*.json", "*.json"}, want: without("config.json", "original/params.json")},
		"an empty directory":               {exclude: []string{"empty/"}, want: without("empty/")},
		"files to include":                 {include: []string{"*.json"}, want: []string{"config.json", "empty/", "original/", "original/params.json"}},
		"a directory to include":           {include: []string{"original/"}, want: []string{"empty/", "original/", "original/consolidated.pth", "original/params.json"}},
		"files to include, without some":   {include: []string{"*.safetensors", "!checkpoint-1/*"}, want: []string{"empty/", "model.safetensors"}},
		"files to include, others exclude": {include: []string{"*.json", "*.safetensors"}, exclude: []string{"checkpoint-*/", "original/"}, want: []string{"config.json", "empty/", "model.safetensors"}},
		"nothing to include":               {include: []string{"*.gguf"}, want: []string{"empty/"}},
		"everything":                       {exclude: []string{"*"}, want: []string{}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			listing := tree(model...)
			Select(listing, filterOf(t, tt.include, tt.exclude))
			assert.Equal(t, tt.want, packaged(listing))
		})
	}
}

// The file with patterns is not packaged, whatever they are, and not counted.
func TestSelectOmitsIgnoreFile(t *testing.T) {
	for name, exclude := range map[string][]string{"no patterns": nil, "a pattern that adds it": {"!" + IgnoreFile}} {
		t.Run(name, func(t *testing.T) {
			listing := tree("a", IgnoreFile, "sub/"+IgnoreFile)
			Select(listing, filterOf(t, nil, exclude))
			assert.Equal(t, []string{"a", "sub/", "sub/" + IgnoreFile}, packaged(listing))
			_, excluded := withoutExcluded(listing)
			assert.Equal(t, Excluded{}, excluded)
		})
	}
}

// What patterns mean is what Git makes of them.
func TestSelectAgreesWithGit(t *testing.T) {
	files := []string{
		"a", "b", "ab", "abc", "a.bin", "b.bin", ".hidden", "#1", "!2", "{x}", "x", "[y]", "s p", "tail ", "é", `back\slash`, "*",
		"a-b/c", "dir/a", "dir/b.bin", "dir/sub/a", "dir/sub/deep/a.bin", "dir/sub/deep/b", "foo/bar", "foo/x/bar", "foo/x/y/bar", "y/foo/bar",
		"foo/x/foo/bar", "build/1", "build/keep/2", "sub/build/1", "a.d/file", "data/keep.bin", "data/drop.bin",
	}
	tests := map[string][]string{
		"a name":                       {"a"},
		"a name at the top":            {"/a"},
		"a path":                       {"dir/a"},
		"a path at the top":            {"/dir/a"},
		"a path elsewhere":             {"sub/a", "b"},
		"a directory":                  {"build/"},
		"a directory at the top":       {"/build/"},
		"a star":                       {"*.bin"},
		"a star in a path":             {"dir/*"},
		"stars in a name":              {"*a*b*"},
		"a star in the middle":         {"foo/*/bar"},
		"a question mark":              {"?.bin"},
		"a class":                      {"[ab].bin"},
		"a range":                      {"[a-b].bin"},
		"a negated class":              {"[!a].bin"},
		"a negated class, old":         {"[^a].bin"},
		"a negated class in a path":    {"/a[!x]b/c"},
		"a negated class, no slash":    {"/dir[!x]a", "/foo[!-x]bar", "b"},
		"a hyphen in a class":          {"a[-x]b"},
		"a directory anywhere":         {"**/build"},
		"a path anywhere":              {"**/foo/bar"},
		"any directories between":      {"foo/**/bar"},
		"what is in it":                {"foo/**"},
		"what is in it, one added":     {"data/**", "!data/keep.bin"},
		"what is in it, some added":    {"build/*", "!build/keep/"},
		"stars that are part of names": {"**.bin", "d**r/a"},
		"three stars":                  {"dir/***/a", "***.bin"},
		"two times any directories":    {"dir/**/**/a.bin"},
		"an exclamation mark":          {`\!2`},
		"a number sign":                {`\#1`},
		"braces":                       {"{x}"},
		"brackets":                     {`\[y\]`},
		"a space":                      {"s p  "},
		"a space at the end":           {`tail\ `},
		"a backslash":                  {`back\\slash`},
		"a star as a character":        {`\*`},
		"a letter outside ASCII":       {"é"},
		"everything but":               {"*", "!dir/", "!dir/a"},
		"everything but at the top":    {"/*", "!/dir/", "/dir/*", "!/dir/sub/"},
		"exclude, add, exclude":        {"*.bin", "!a.bin", "dir/sub/deep/a.bin"},
		"in an excluded directory":     {"dir/", "!dir/a"},
		"a directory's name as a glob": {"a.*/"},
	}
	repository := t.TempDir()
	git(t, repository, "init", "--quiet")
	for _, name := range files {
		at := filepath.Join(repository, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(at), 0o755))
		require.NoError(t, os.WriteFile(at, nil, 0o644))
	}
	for name, patterns := range tests {
		t.Run(name, func(t *testing.T) {
			ignoreFile := filepath.Join(t.TempDir(), "patterns")
			require.NoError(t, os.WriteFile(ignoreFile, []byte(strings.Join(patterns, "\n")+"\n"), 0o644))
			want := strings.Split(git(t, repository, "ls-files", "--others", "-z", "--exclude-from="+ignoreFile), "\x00")
			want = want[:len(want)-1]
			slices.Sort(want)

			listing := tree(files...)
			Select(listing, filterOf(t, nil, patterns))

			got := slices.DeleteFunc(packaged(listing), func(name string) bool { return strings.HasSuffix(name, "/") })
			assert.Equal(t, want, got)
			assert.NotEqual(t, len(files), len(got), "the patterns exclude something")
		})
	}
}

// git runs Git without the settings of the machine.
func git(t *testing.T, dir string, args ...string) string {
	t.Helper()
	command := exec.Command("git", args...)
	command.Dir = dir
	command.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1")
	out, err := command.Output()
	require.NoError(t, err)
	return string(out)
}

// The time to match a pattern does not explode with the number of its stars.
func TestDecideTakesLittleTime(t *testing.T) {
	deep := strings.Repeat("a/", 2000) + "a"
	long := strings.Repeat("a", 4000)
	for name, tt := range map[string]struct{ pattern, at string }{
		"directories":         {strings.Repeat("**/a/", 50) + "b", deep},
		"any directories":     {strings.Repeat("**/", 80) + "b", deep},
		"stars in paths":      {strings.Repeat("**/*a*/", 36) + "b", deep},
		"stars in a name":     {strings.Repeat("*a", 127) + "b", long},
		"stars in a path":     {"**/" + strings.Repeat("*a", 126) + "b", long},
		"classes in a name":   {strings.Repeat("*[!b]", 51) + "b", long},
		"one star in a name":  {strings.Repeat("a", 200) + "*b", long},
		"directories at once": {strings.Repeat("*/", 100) + "**/b", deep},
	} {
		t.Run(name, func(t *testing.T) {
			filter := filterOf(t, nil, []string{tt.pattern})
			start := time.Now()
			for range 10 {
				assert.False(t, filter.Decide(Decision{}, tt.at, false).Excluded)
			}
			assert.Less(t, time.Since(start), 5*time.Second)
		})
	}
}

func TestNewPlanSummarizesWhatIsExcluded(t *testing.T) {
	excluded := func(e SourceEntry) SourceEntry {
		e.Excluded = true
		return e
	}
	plan, err := NewPlan([]SourceEntry{
		dir("."), file("model.gguf", 10), dir("emptied"), dir("emptied/sub"), excluded(file("emptied/sub/big", 7)), excluded(link("emptied/link", "..")),
		excluded(dir("z")), excluded(dir(".git")), excluded(file("small", 1)), excluded(file("smaller", 0)), excluded(file("medium", 2)),
		dir("kept"), excluded(file("kept/a", 1)), file("kept/b", 1), dir("empty"), dir("thinned"), dir("thinned/empty"), excluded(file("thinned/c", 0)), excluded(SourceEntry{Path: "queue", Mode: fs.ModeNamedPipe}),
	})
	require.NoError(t, err)
	assert.Equal(t, []string{".", "empty", "kept", "kept/b", "model.gguf", "thinned", "thinned/empty"}, paths(plan.Entries()))
	assert.Equal(t, int64(2), plan.Files)
	assert.Equal(t, int64(11), plan.Bytes)
	assert.Equal(t, Excluded{Dirs: 2, Files: 8, Bytes: 11, Names: []string{".git/", "z/", "emptied/sub/big", "medium", "kept/a"}}, plan.Excluded)
}

func TestNewPlanWithoutIncludedFiles(t *testing.T) {
	listing := tree("a", "b/c", "empty/")
	Select(listing, filterOf(t, []string{"*.bin"}, nil))
	_, err := NewPlan(listing)
	require.ErrorIs(t, err, ErrEmpty)
}

// A link to an excluded file would be dangling.
func TestNewPlanRejectsLinksToExcludedFiles(t *testing.T) {
	listing := append(tree("a", "b"), link("c", "b"))
	Select(listing, filterOf(t, nil, []string{"b"}))
	_, err := NewPlan(listing)
	var unsafe *UnsafeError
	require.ErrorAs(t, err, &unsafe)
	assert.Contains(t, unsafe.Error(), `"c" is a symbolic link to "b", which does not exist or is not packaged: `)

	Select(listing, filterOf(t, nil, []string{"b", "c"}))
	plan, err := NewPlan(listing)
	require.NoError(t, err)
	assert.Equal(t, []string{".", "a"}, paths(plan.Entries()))
}

// Patterns that NewPatterns accepts can be matched with any path, nothing in an excluded
// directory is packaged, and the ModelVersion has the last word.
func FuzzFilter(f *testing.F) {
	for _, seed := range []string{"*.bin", "**/a/**/b", "/a/", "!a", "[!a-z]/x", `\{\}`, "{a,b}", "a/**", "***", "[]-a]", "[\\]]", "#", "é?", "a\\ ", "//"} {
		f.Add(seed, seed+"\n!"+seed, "dir/sub/a.bin")
	}
	f.Fuzz(func(t *testing.T, include, ignoreFile, at string) {
		at = path.Clean(strings.TrimLeft(at, "/."))
		if !fs.ValidPath(at) || at == RootDir || len(at) > 4096 {
			return
		}
		patterns, err := NewPatterns([]string{include}, nil, []byte(ignoreFile))
		if err != nil {
			assert.Less(t, len(err.Error()), 600)
			return
		}
		filter, err := NewFilter(patterns)
		require.NoError(t, err)
		listing := []SourceEntry{dir(RootDir), file(at, 1)}
		for parent := path.Dir(at); parent != RootDir; parent = path.Dir(parent) {
			listing = append(listing, dir(parent))
		}
		Select(listing, filter)
		for _, e := range listing[2:] {
			assert.False(t, e.Excluded && !listing[1].Excluded, "%q is in the excluded %q", at, e.Path)
		}
		patterns.Exclude = append(patterns.Exclude, "*")
		filter, err = NewFilter(patterns)
		require.NoError(t, err)
		Select(listing, filter)
		assert.True(t, listing[1].Excluded)
	})
}
