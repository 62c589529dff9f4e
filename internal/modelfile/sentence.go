package modelfile

import (
	"fmt"
	"strconv"
	"strings"
)

const (
	// maxProblems is how many problems a sentence names.
	maxProblems = 3
	// maxProblemsLength is how many characters they take. The first one is
	// named whatever its length.
	maxProblemsLength = 300
	// maxNameLength is how many characters of a name are shown.
	maxNameLength = 80
)

// problems are clauses that each name a file.
type problems struct {
	named []string
	more  int
}

func (p *problems) add(format string, args ...any) {
	problem := fmt.Sprintf(format, args...)
	length := len(strings.Join(append(p.named, problem), "; "))
	if p.more > 0 || len(p.named) == maxProblems || len(p.named) > 0 && length > maxProblemsLength {
		p.more++
		return
	}
	p.named = append(p.named, problem)
}

func (p *problems) sentence() string {
	if len(p.named) == 0 {
		return ""
	}
	all := strings.Join(p.named, "; ")
	if p.more > 0 {
		all += fmt.Sprintf("; and %d more like this", p.more)
	}
	return all + ". Finish copying the model, or remove what does not belong to it"
}

// shown makes a name fit for a sentence. Of a long one it is the end that tells
// it from others.
func shown(name string) string {
	start := ""
	if quoted := strconv.Quote(name); quoted != `"`+name+`"` || strings.ContainsAny(name, " ;") {
		name, start = quoted, `"`
	}
	if runes := []rune(name); len(runes) > maxNameLength {
		return start + "…" + string(runes[len(runes)-maxNameLength:])
	}
	return name
}

// shownList names the first of several files and counts the others.
func shownList(names []string) string {
	switch more := len(names) - 1; more {
	case 0:
		return shown(names[0])
	case 1:
		return fmt.Sprintf("%s and %s", shown(names[0]), shown(names[1]))
	default:
		return fmt.Sprintf("%s and %d other files", shown(names[0]), more)
	}
}

func are(names []string) string {
	if len(names) == 1 {
		return "is"
	}
	return "are"
}
