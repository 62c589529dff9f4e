package layer

import (
	"errors"
	"fmt"
	"path"
	"strings"
)

// maxHops is how many symbolic links one path may lead through, as in Linux.
const maxHops = 40

// What can be wrong with a link, as the end of a sentence.
var (
	errAbsolute = errors.New("is absolute and would lead elsewhere in a container")
	errLeadsOut = errors.New("leads out of the model's folder")
	errNowhere  = errors.New("does not exist or is not packaged")
	errCircle   = errors.New("leads in a circle")
)

// checkLinks returns an *UnsafeError for the first symbolic link that does not
// lead, by relative steps that stay inside the model, to something packaged.
func checkLinks(entries []Entry) error {
	there := make(map[string]Entry, len(entries))
	for _, e := range entries {
		there[e.Path] = e
	}
	for _, e := range entries {
		if e.Type != Symlink {
			continue
		}
		if err := follow(there, e); err != nil {
			return &UnsafeError{
				Path:    e.Path,
				Problem: fmt.Sprintf("is a symbolic link to %q, which %v: put the file itself there, or a relative link to a file of the model", e.Link, err),
			}
		}
	}
	return nil
}

// follow walks along a link as the kernel would, but in the plan.
func follow(entries map[string]Entry, link Entry) error {
	at, steps, hops := link.Path, []string{}, 0
	for e := link; ; e = entries[at] {
		if e.Type == Symlink {
			if hops++; hops > maxHops {
				return errCircle
			}
			if e.Link == "" || path.IsAbs(e.Link) {
				return errAbsolute
			}
			steps = append(strings.Split(e.Link, "/"), steps...)
			at = path.Dir(at)
		} else if e.Type == File && len(steps) > 0 {
			return errNowhere
		}
		if len(steps) == 0 {
			return nil
		}
		next, err := step(at, steps[0])
		if err != nil {
			return err
		}
		if _, there := entries[next]; !there {
			return errNowhere
		}
		at, steps = next, steps[1:]
	}
}

// step goes one name further from a folder.
func step(from, name string) (string, error) {
	if name == ".." && from == TopFolder {
		return "", errLeadsOut
	}
	return path.Join(from, name), nil
}
