package kaniko

import (
	"bytes"
	"cmp"
	"io"
	"regexp"
	"slices"
	"strings"

	"github.com/modelkiln/modelkiln/internal/registry"
	"github.com/modelkiln/modelkiln/internal/step/console"
)

const (
	// keptLines is how many of the last lines are searched for an error
	// message. Kaniko's usage text has about 90.
	keptLines = 300
	// maxLine is the maximum number of bytes that are buffered until the end of
	// a line.
	maxLine = 64 << 10
)

var (
	// colour matches the escape sequences that colour a line in a terminal.
	colour = regexp.MustCompile("\x1b\\[[0-9;]*m")
	// errorLine matches the error messages of Kaniko, its logger and its command
	// line library.
	errorLine = regexp.MustCompile(`\A(Error: |error |ERRO|FATA|PANI|panic: |unable |failed )`)
	// logPrefix matches the logger's prefix of a line.
	logPrefix = regexp.MustCompile(`\A(Error: |(ERRO|FATA|PANI)\[[0-9]+\] )`)
)

// redacted replaces secrets.
const redacted = "***"

// output copies what Kaniko prints to a log, line by line, without colours and
// secrets, and keeps the last lines. It is for one writer at a time.
type output struct {
	log io.Writer
	// secrets returns the secrets, to which others may be added while Kaniko runs.
	secrets func() []string
	partial []byte
	lines   []string
}

// newOutput returns an output that writes to log and redacts the secrets.
func newOutput(log io.Writer, secrets func() []string) *output {
	return &output{log: log, secrets: secrets}
}

// Write implements io.Writer. It never fails, since a log that cannot be written
// must not fail a build.
func (o *output) Write(p []byte) (int, error) {
	o.partial = append(o.partial, p...)
	for {
		end := bytes.IndexByte(o.partial, '\n')
		if end < 0 {
			break
		}
		o.line(string(o.partial[:end]))
		o.partial = o.partial[end+1:]
	}
	if len(o.partial) > maxLine {
		o.flush()
	}
	return len(p), nil
}

// flush writes the last line, even if it is incomplete.
func (o *output) flush() {
	if len(o.partial) > 0 {
		o.line(string(o.partial))
		o.partial = nil
	}
}

func (o *output) line(line string) {
	line = strings.TrimRight(colour.ReplaceAllString(line, ""), "\r")
	// If a secret is the prefix of another one, the end of the longer one would remain.
	longestFirst := slices.SortedFunc(slices.Values(o.secrets()), func(a, b string) int { return cmp.Compare(len(b), len(a)) })
	for _, secret := range longestFirst {
		line = strings.ReplaceAll(line, secret, redacted)
	}
	line = registry.RedactQueries(line)
	console.Logf(o.log, "%s", line)
	o.lines = append(o.lines, line)
	if excess := len(o.lines) - keptLines; excess > 0 {
		o.lines = slices.Delete(o.lines, 0, excess)
	}
}

// errorMessage returns the last error message that Kaniko printed, or the last
// line that is not part of its usage text, or "".
func (o *output) errorMessage() string {
	lines := withoutUsage(o.lines)
	for _, line := range slices.Backward(lines) {
		if errorLine.MatchString(line) {
			return logPrefix.ReplaceAllString(line, "")
		}
	}
	for _, line := range slices.Backward(lines) {
		if strings.TrimSpace(line) != "" {
			return line
		}
	}
	return ""
}

// withoutUsage removes the usage text, which follows some errors, up to its last
// flag.
func withoutUsage(lines []string) []string {
	begin := slices.Index(lines, "Usage:")
	if begin < 0 {
		return lines
	}
	end := begin
	for i := begin; i < len(lines); i++ {
		if strings.HasPrefix(lines[i], "  ") {
			end = i
		}
	}
	return slices.Concat(lines[:begin], lines[end+1:])
}
