package layer

import (
	"errors"
	"fmt"
	"path"
	"strings"
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

// checkLinks returns an *UnsafeError for the first symbolic link that does not
// resolve, by relative steps inside the model, to something packaged.
func checkLinks(entries []Entry) error {
	byPath := make(map[string]Entry, len(entries))
	for _, e := range entries {
		byPath[e.Path] = e
	}
	for _, e := range entries {
		if e.Type != Symlink {
			continue
		}
		if err := resolve(byPath, e); err != nil {
			return &UnsafeError{
				Path:    e.Path,
				Problem: fmt.Sprintf("is a symbolic link to %q, which %v: replace it with the file itself, or with a relative link to a file of the model", e.Link, err),
			}
		}
	}
	return nil
}

// resolve resolves a link as the kernel would, but in the plan.
func resolve(entries map[string]Entry, link Entry) error {
	at, remaining, hops := link.Path, []string{}, 0
	for e := link; ; e = entries[at] {
		if e.Type == Symlink {
			if hops++; hops > maxHops {
				return errLoop
			}
			if e.Link == "" || path.IsAbs(e.Link) {
				return errAbsolute
			}
			remaining = append(strings.Split(e.Link, "/"), remaining...)
			at = path.Dir(at)
		} else if e.Type == File && len(remaining) > 0 {
			return errDangling
		}
		if len(remaining) == 0 {
			return nil
		}
		next, err := join(at, remaining[0])
		if err != nil {
			return err
		}
		if _, exists := entries[next]; !exists {
			return errDangling
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
