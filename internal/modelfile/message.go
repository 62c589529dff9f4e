package modelfile

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// errUnsupported ends the check of a file that this package cannot judge.
var errUnsupported = errors.New("not supported")

// defect is what is wrong with a file, as the predicate of a sentence whose subject
// is the file's name.
type defect string

func (d defect) Error() string { return string(d) }

func defectf(format string, args ...any) error { return defect(fmt.Sprintf(format, args...)) }

// errTruncated is the defect of a file that ends in the middle of a value.
var errTruncated = defect("is truncated: it ends in the middle of a value")

// truncated returns the defect of a file that is smaller than its header describes.
func truncated(size, want int64) error {
	return defectf("is truncated: it has %d bytes, but its header describes %d", size, want)
}

const (
	// maxProblems is how many problems a message contains.
	maxProblems = 3
	// maxProblemsLength is how many characters they take. The first problem is
	// always included.
	maxProblemsLength = 300
	// maxNameLength is how many characters of a name are displayed.
	maxNameLength = 80
)

// problems are clauses, each of which names a file.
type problems struct {
	shown []string
	more  int
}

func (p *problems) add(format string, args ...any) {
	problem := fmt.Sprintf(format, args...)
	length := len(strings.Join(append(p.shown, problem), "; "))
	if p.more > 0 || len(p.shown) == maxProblems || len(p.shown) > 0 && length > maxProblemsLength {
		p.more++
		return
	}
	p.shown = append(p.shown, problem)
}

func (p *problems) message() string {
	if len(p.shown) == 0 {
		return ""
	}
	all := strings.Join(p.shown, "; ")
	if p.more > 0 {
		all += fmt.Sprintf("; and %d more like this", p.more)
	}
	return all + ". Finish copying the model, or remove the files that do not belong to it"
}

// displayName returns a name for use in a message. A long name keeps its end, which
// distinguishes it from others.
func displayName(name string) string {
	start := ""
	if quoted := strconv.Quote(name); quoted != `"`+name+`"` || strings.ContainsAny(name, " ;") {
		name, start = quoted, `"`
	}
	if runes := []rune(name); len(runes) > maxNameLength {
		return start + "…" + string(runes[len(runes)-maxNameLength:])
	}
	return name
}

// displayNames returns the first of several names and the number of the others,
// with the verb that follows.
func displayNames(names []string) string { return displaySome(names, len(names)) }

// displaySome is displayNames for a number of names of which these are the first: at
// least two, if there are as many.
func displaySome(first []string, count int) string {
	switch count {
	case 1:
		return displayName(first[0]) + " is"
	case 2:
		return fmt.Sprintf("%s and %s are", displayName(first[0]), displayName(first[1]))
	default:
		return fmt.Sprintf("%s and %d other files are", displayName(first[0]), count-1)
	}
}
