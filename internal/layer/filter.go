package layer

import (
	"fmt"
	"path"
	"slices"

	"github.com/bmatcuk/doublestar/v4"
)

// Filter decides which files and directories are packaged. The time of a decision
// grows with the number of patterns, and with the length of the path times that of
// each pattern.
type Filter struct{ include, exclude rules }

// NewFilter returns the filter with these patterns. The error is about a pattern that
// NewPatterns rejects.
func NewFilter(patterns Patterns) (Filter, error) {
	include, err := newRules(patterns.Include)
	if err != nil {
		return Filter{}, err
	}
	exclude, err := newRules(patterns.Exclude)
	return Filter{include: include, exclude: exclude}, err
}

// Decision is what a filter decides about a file or directory. The zero value is that
// about the model's directory.
type Decision struct {
	// Excluded is true for what is not packaged. Nothing in an excluded directory is.
	Excluded bool
	included bool
}

// Decide returns the decision about a path, given that about the directory that it is
// in. A symbolic link that is packaged as such is not a directory.
func (f Filter) Decide(parent Decision, at string, isDir bool) Decision {
	d := Decision{
		Excluded: parent.Excluded || f.exclude.match(at, isDir),
		included: parent.included || len(f.include) == 0 || f.include.match(at, isDir),
	}
	if !isDir {
		d.Excluded = d.Excluded || !d.included || at == IgnoreFile
	}
	return d
}

// Select marks what a filter excludes in a listing.
func Select(listing []SourceEntry, filter Filter) {
	dirs := map[string]Decision{RootDir: {}}
	var decideDir func(at string) Decision
	decideDir = func(at string) Decision {
		d, known := dirs[at]
		if !known {
			d = filter.Decide(decideDir(path.Dir(at)), at, true)
			dirs[at] = d
		}
		return d
	}
	for i, e := range listing {
		switch {
		case e.Path == RootDir:
		case e.Mode.IsDir():
			listing[i].Excluded = decideDir(e.Path).Excluded
		default:
			listing[i].Excluded = filter.Decide(decideDir(path.Dir(e.Path)), e.Path, false).Excluded
		}
	}
}

// rules are patterns of which the last one that matches decides.
type rules []rule

func newRules(patterns []string) (rules, error) {
	all := make(rules, 0, len(patterns))
	for _, pattern := range patterns {
		r, err := newRule(pattern)
		if err != nil {
			return nil, fmt.Errorf("the pattern %q %w", shown(pattern), err)
		}
		all = append(all, r)
	}
	return all, nil
}

func (rs rules) match(at string, isDir bool) bool {
	for _, r := range slices.Backward(rs) {
		if r.match(at, isDir) {
			return !r.negated
		}
	}
	return false
}

func (r rule) match(at string, isDir bool) bool {
	if r.dirOnly && !isDir {
		return false
	}
	if r.anywhere {
		at = path.Base(at)
	}
	return doublestar.MatchUnvalidated(r.glob, at)
}
