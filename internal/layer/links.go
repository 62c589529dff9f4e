package layer

import (
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/modelkiln/modelkiln/internal/text"
)

// maxHops is how many symbolic links a path may be resolved through, as in Linux.
const maxHops = 40

// Problems of a link's target, as the predicate of a sentence.
var (
	errAbsolute = errors.New("is absolute and would point elsewhere in a container")
	errOutside  = errors.New("points outside the model's directory")
	errDangling = errors.New("does not exist or is not packaged")
	errLoop     = errors.New("is part of a loop")
)

// Tree holds the entries of a plan by path.
type Tree map[string]Entry

// NewTree returns the tree of these entries.
func NewTree(entries []Entry) Tree {
	tree := make(Tree, len(entries))
	for _, e := range entries {
		tree[e.Path] = e
	}
	return tree
}

// checkLinks returns an *UnsafeError for the first symbolic link that does not
// resolve, by relative steps inside the model, to something packaged.
func checkLinks(entries []Entry) error {
	tree := NewTree(entries)
	for _, e := range entries {
		if e.Type != Symlink {
			continue
		}
		_, err := tree.Resolve(e.Path)
		if err == nil {
			continue
		}
		unsafe := &UnsafeError{
			Path:    e.Path,
			Problem: fmt.Sprintf("is a symbolic link to %q, which %v", text.OneLine(e.Link, maxShownLink), err),
			Remedy:  "replace it with the file itself, or with a relative link to a file of the model, or leave it out with spec.build.exclude",
		}
		if errors.Is(err, errOutside) || errors.Is(err, errAbsolute) {
			unsafe.LeadsOut = e.Link
		}
		return unsafe
	}
	return nil
}

// maxShownLink is how many characters of a link's target a message holds.
const maxShownLink = 120

// Resolve returns the entry that a path leads to, as the kernel would resolve it, but
// in the plan. The error is the predicate of a sentence about the path.
func (t Tree) Resolve(name string) (Entry, error) {
	at, err := resolve(name, func(at string) (node, bool) {
		e, exists := t[at]
		return node{e.Type, e.Link}, exists
	})
	return t[at], err
}

// node is the type of an entry, and the target of a link.
type node struct {
	kind Type
	link string
}

// resolve returns the path of the entry that a path leads to, or "" and an error.
func resolve(name string, find func(path string) (node, bool)) (string, error) {
	at, remaining, hops := RootDir, strings.Split(name, "/"), 0
	for e, _ := find(at); ; e, _ = find(at) {
		if e.kind == Symlink {
			if hops++; hops > maxHops {
				return "", errLoop
			}
			if e.link == "" || path.IsAbs(e.link) {
				return "", errAbsolute
			}
			remaining = append(strings.Split(e.link, "/"), remaining...)
			at = path.Dir(at)
		} else if e.kind == File && len(remaining) > 0 {
			return "", errDangling
		}
		if len(remaining) == 0 {
			return at, nil
		}
		next, err := join(at, remaining[0])
		if err != nil {
			return "", err
		}
		if _, exists := find(next); !exists {
			return "", errDangling
		}
		at, remaining = next, remaining[1:]
	}
}

// join resolves one path element in a directory.
func join(dir, element string) (string, error) {
	if element == ".." && dir == RootDir {
		return "", errOutside
	}
	return path.Join(dir, element), nil
}
