package layer

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestNewPatterns(t *testing.T) {
	ignoreFile := "\ufeff# Checkpoints\r\n\r\ncheckpoint-*/  \r\n!checkpoint-9/\n\\#notes\nkept\\ \n"
	got, err := NewPatterns([]string{"*.safetensors ", "/config.json"}, []string{".git/"}, []byte(ignoreFile))
	require.NoError(t, err)
	assert.Equal(t, Patterns{
		Include: []string{"*.safetensors", "/config.json"},
		Exclude: []string{"checkpoint-*/", "!checkpoint-9/", `\#notes`, `kept\ `, ".git/"},
	}, got)
}

func TestNewPatternsWithoutPatterns(t *testing.T) {
	got, err := NewPatterns(nil, []string{}, []byte("# none\n\n"))
	require.NoError(t, err)
	assert.Equal(t, Patterns{}, got)
}

func TestNewPatternsErrors(t *testing.T) {
	many := make([]string, MaxPatterns+1)
	for i := range many {
		many[i] = "a"
	}
	tests := map[string]struct {
		include, exclude []string
		ignoreFile       string
		want             string
	}{
		"too many to include":    {include: many, want: "spec.build.include has 101 patterns, and at most 100 are supported"},
		"too many to exclude":    {exclude: many, want: "spec.build.exclude has 101 patterns"},
		"too many lines":         {ignoreFile: strings.Repeat("\n", 1001), want: ".modelkilnignore has 1001 lines, and at most 1000"},
		"too large a file":       {ignoreFile: strings.Repeat("a", MaxIgnoreFileSize+1), want: ".modelkilnignore has more than 65536 bytes"},
		"too long a pattern":     {exclude: []string{strings.Repeat("é", MaxPatternLength+1)}, want: `…", which has more than 256 characters: shorten it`},
		"a comment":              {exclude: []string{"#1"}, want: `spec.build.exclude has the pattern "#1", which is a comment or empty`},
		"an empty pattern":       {include: []string{"  "}, want: "spec.build.include has the pattern \"\", which is a comment or empty"},
		"only a slash":           {exclude: []string{"/"}, want: `the pattern "/", which names nothing`},
		"only an exclamation":    {exclude: []string{"!"}, want: "names nothing"},
		"a path from the shell":  {exclude: []string{"./logs"}, want: `"./logs", which can match nothing`},
		"a path that leads out":  {exclude: []string{"a/../b"}, want: "can match nothing"},
		"an empty element":       {exclude: []string{"a//b"}, want: "can match nothing"},
		"an open bracket":        {exclude: []string{"[ab"}, want: "is malformed"},
		"an empty bracket":       {exclude: []string{"[!]"}, want: "is malformed"},
		"a backslash at the end": {exclude: []string{`a\`}, want: "is malformed"},
		"a named class":          {exclude: []string{"[[:digit:]]"}, want: "write [0-9], for example"},
		"a class with a slash":   {exclude: []string{"x/[a/]"}, want: "a slash"},
		"a range with a slash":   {exclude: []string{"x/[+-9]"}, want: "a slash"},
		"not UTF-8":              {exclude: []string{"a\xff"}, want: "is not valid UTF-8"},
		"a line of the file":     {ignoreFile: "a\n# b\n[", want: `line 3 of .modelkilnignore has the pattern "[", which is malformed`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := NewPatterns(tt.include, tt.exclude, []byte(tt.ignoreFile))
			require.ErrorContains(t, err, tt.want)
		})
	}
}

func TestNewPatternsAcceptsTheLargest(t *testing.T) {
	largest := strings.Repeat("é", MaxPatternLength)
	all := make([]string, MaxPatterns)
	for i := range all {
		all[i] = largest
	}
	got, err := NewPatterns(all, all, []byte(strings.Repeat("a\n", maxIgnoreFileLines)))
	require.NoError(t, err)
	assert.Len(t, got.Exclude, maxIgnoreFileLines+MaxPatterns)
}

func TestNewFilterErrors(t *testing.T) {
	for name, patterns := range map[string]Patterns{"include": {Include: []string{"a", "["}}, "exclude": {Exclude: []string{"["}}} {
		t.Run(name, func(t *testing.T) {
			_, err := NewFilter(patterns)
			require.EqualError(t, err, `the pattern "[" is malformed: close every [, and write \\ for a backslash`)
		})
	}
}
