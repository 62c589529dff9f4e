package layer

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/bmatcuk/doublestar/v4"

	"github.com/modelkiln/modelkiln/internal/text"
)

// IgnoreFile is the name of the file at the top of a model's directory that has
// patterns of what is not packaged, one in each line. The file itself is not packaged.
const IgnoreFile = ".modelkilnignore"

const (
	// MaxPatterns is the maximum number of patterns to include, and of those to exclude.
	MaxPatterns = 100
	// MaxPatternLength is the maximum number of characters of a pattern.
	MaxPatternLength = 256
	// MaxIgnoreFileSize is the maximum size of an IgnoreFile in bytes.
	MaxIgnoreFileSize = 64 << 10
	// maxIgnoreFileLines is the maximum number of lines of an IgnoreFile, so that the
	// time to match all files remains short.
	maxIgnoreFileLines = 1000
)

// Patterns say which files of a directory are packaged, in the syntax of .gitignore
// (https://git-scm.com/docs/gitignore#_pattern_format). Without any, all are.
type Patterns struct {
	// Include are the patterns of files, and of directories with all that is in them,
	// that are selected. The last one that matches decides. If there are none, all are
	// selected.
	Include []string `json:"include,omitempty"`
	// Exclude are the patterns of files and directories that are not packaged although
	// they are selected. The last one that matches decides.
	Exclude []string `json:"exclude,omitempty"`
}

// NewPatterns returns the patterns that a ModelVersion has, and in front of those to
// exclude, so that the ModelVersion has the last word, the patterns in the content of
// an IgnoreFile, which may be nil. An error is about a pattern that can match nothing, or
// about too many of them.
func NewPatterns(include, exclude []string, ignoreFile []byte) (Patterns, error) {
	included, err := checkPatterns("spec.build.include", include)
	if err != nil {
		return Patterns{}, err
	}
	excluded, err := checkPatterns("spec.build.exclude", exclude)
	if err != nil {
		return Patterns{}, err
	}
	ignored, err := parseIgnoreFile(ignoreFile)
	if err != nil {
		return Patterns{}, err
	}
	return Patterns{Include: included, Exclude: slices.Concat(ignored, excluded)}, nil
}

// Equal reports whether the patterns are the same.
func (p Patterns) Equal(other Patterns) bool {
	return slices.Equal(p.Include, other.Include) && slices.Equal(p.Exclude, other.Exclude)
}

// checkPatterns returns the patterns of a field of a ModelVersion without the spaces
// at their ends, which have no meaning.
func checkPatterns(field string, patterns []string) ([]string, error) {
	if len(patterns) > MaxPatterns {
		return nil, fmt.Errorf("%s has %d patterns, and at most %d are supported: put them into the file %s", field, len(patterns), MaxPatterns, IgnoreFile)
	}
	var checked []string
	for _, pattern := range patterns {
		trimmed := trimSpaces(pattern)
		if isComment(trimmed) {
			return nil, fmt.Errorf(`%s has the pattern %q, which is a comment or empty: remove it, or write \# for a name that begins with #`, field, shown(pattern))
		}
		if _, err := newRule(trimmed); err != nil {
			return nil, fmt.Errorf("%s has the pattern %q, which %w", field, shown(pattern), err)
		}
		checked = append(checked, trimmed)
	}
	return checked, nil
}

// parseIgnoreFile returns the patterns in an IgnoreFile, without comments.
func parseIgnoreFile(content []byte) ([]string, error) {
	if len(content) > MaxIgnoreFileSize {
		return nil, fmt.Errorf("%s has more than %d bytes: shorten it", IgnoreFile, MaxIgnoreFileSize)
	}
	if lines := bytes.Count(content, []byte("\n")); lines > maxIgnoreFileLines {
		return nil, fmt.Errorf("%s has %d lines, and at most %d are supported: shorten it", IgnoreFile, lines, maxIgnoreFileLines)
	}
	const byteOrderMark = "\ufeff"
	var patterns []string
	number := 0
	for line := range strings.SplitSeq(strings.TrimPrefix(string(content), byteOrderMark), "\n") {
		number++
		pattern := trimSpaces(strings.TrimSuffix(line, "\r"))
		if isComment(pattern) {
			continue
		}
		if _, err := newRule(pattern); err != nil {
			return nil, fmt.Errorf("line %d of %s has the pattern %q, which %w", number, IgnoreFile, shown(pattern), err)
		}
		patterns = append(patterns, pattern)
	}
	return patterns, nil
}

// isComment reports whether a line holds no pattern.
func isComment(line string) bool { return line == "" || strings.HasPrefix(line, "#") }

// trimSpaces returns a line without the spaces at its end, except for one after a
// backslash that is not escaped itself.
func trimSpaces(line string) string {
	trimmed := strings.TrimRight(line, " ")
	backslashes := len(trimmed) - len(strings.TrimRight(trimmed, `\`))
	if backslashes%2 == 1 && len(trimmed) < len(line) {
		return trimmed + " "
	}
	return trimmed
}

// shown returns a pattern as messages show it.
func shown(pattern string) string {
	const length = 60
	return text.OneLine(pattern, length)
}

// Problems of a pattern, as the predicate of a sentence.
var (
	errTooLong      = fmt.Errorf("has more than %d characters: shorten it", MaxPatternLength)
	errNotText      = errors.New("is not valid UTF-8: rewrite it")
	errOnlySlash    = errors.New("names nothing: remove it")
	errDots         = errors.New(`can match nothing, because it has an element that is empty, "." or "..": write it relative to the model's directory, as in /logs/`)
	errNamedClass   = errors.New("has a named class of characters, which is not supported: write [0-9], for example, instead of [[:digit:]]")
	errSlashInClass = errors.New("has a class or range of characters with a slash, which no class matches: list the other characters")
	errMalformed    = errors.New(`is malformed: close every [, and write \\ for a backslash`)
)

// rule is a pattern that can be matched.
type rule struct {
	// glob is the pattern in the syntax of doublestar.
	glob string
	// negated is true if what matches does not belong to what the rules describe.
	negated bool
	// dirOnly is true if only directories match.
	dirOnly bool
	// anywhere is true if the last element of a path is matched, in whatever directory,
	// and otherwise the path as a whole.
	anywhere bool
}

var (
	// Git treats more than two stars like two.
	moreStars = regexp.MustCompile(`\*{3,}`)
	// special are what doublestar treats differently from Git: classes of characters,
	// which match a slash, and braces. Escaped characters are neither.
	special    = regexp.MustCompile(`(?s)\\.|\[(?:\\.|[^\]\\])+\]|[{}]`)
	namedClass = regexp.MustCompile(`\[:[a-z]*:\]`)
)

// newRule parses a pattern. The error is one of the problems of patterns.
func newRule(pattern string) (rule, error) {
	if utf8.RuneCountInString(pattern) > MaxPatternLength {
		return rule{}, errTooLong
	}
	if !utf8.ValidString(pattern) {
		return rule{}, errNotText
	}
	var r rule
	glob := pattern
	glob, r.negated = strings.CutPrefix(glob, "!")
	glob, r.dirOnly = strings.CutSuffix(glob, "/")
	r.anywhere = !strings.Contains(glob, "/")
	var err error
	r.glob, err = newGlob(strings.TrimPrefix(glob, "/"), r.anywhere)
	return r, err
}

// newGlob returns a pattern without its prefixes and suffixes in the syntax of
// doublestar.
func newGlob(glob string, anywhere bool) (string, error) {
	if glob == "" {
		return "", errOnlySlash
	}
	for element := range strings.SplitSeq(glob, "/") {
		if element == "" || element == "." || element == ".." {
			return "", errDots
		}
	}
	if namedClass.MatchString(glob) {
		return "", errNamedClass
	}
	glob = moreStars.ReplaceAllString(glob, "**")
	glob = special.ReplaceAllStringFunc(glob, asInGit)
	if strings.HasSuffix(glob, "/**") {
		// Git matches what is in the directory, and doublestar also the directory.
		glob += "/*"
	}
	if !doublestar.ValidatePattern(glob) {
		return "", errMalformed
	}
	if !anywhere && slices.ContainsFunc(special.FindAllString(glob, -1), matchesSlash) {
		return "", errSlashInClass
	}
	return glob, nil
}

// asInGit returns a part of a pattern that doublestar treats as Git treats the given
// one.
func asInGit(part string) string {
	switch {
	case part == "{" || part == "}":
		return `\` + part
	case (strings.HasPrefix(part, "[!") || strings.HasPrefix(part, "[^")) && len(part) > len("[!]"):
		// A range, so that a hyphen after it is not one.
		return "[!/-/" + part[2:]
	default:
		return part
	}
}

// matchesSlash reports whether a part of a pattern matches a slash, as no class of
// characters does in Git.
func matchesSlash(part string) bool {
	return strings.HasPrefix(part, "[") && doublestar.MatchUnvalidated(part, "/")
}
