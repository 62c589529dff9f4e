package kaniko

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"github.com/modelkiln/modelkiln/internal/registry"
)

const (
	// keptLines is how many of the last lines are searched for what went
	// wrong. Kaniko's usage text has about 90.
	keptLines = 300
	// maxLine is the largest number of bytes that are held back while waiting
	// for the end of a line.
	maxLine = 64 << 10
)

var (
	// colour matches the codes that colour a line on a terminal.
	colour = regexp.MustCompile("\x1b\\[[0-9;]*m")
	// complaint matches the lines by which Kaniko, its logger and its command
	// line library say what went wrong.
	complaint = regexp.MustCompile(`\A(Error: |error |ERRO|FATA|PANI|panic: |unable |failed )`)
	// logPrefix matches what the logger puts in front of a line.
	logPrefix = regexp.MustCompile(`\A(Error: |(ERRO|FATA|PANI)\[[0-9]+\] )`)
	// userInfo matches a user and a password in an address.
	userInfo = regexp.MustCompile(`://[^/@\s]+@`)
)

// hidden stands for what must not be seen.
const hidden = "***"

// Output passes on what Kaniko prints, line by line, without colours and
// secrets, and remembers the end of it. It is for one writer at a time.
type Output struct {
	to      io.Writer
	secrets []string
	partial []byte
	lines   []string
}

// NewOutput returns an Output that writes to to and replaces the secrets.
func NewOutput(to io.Writer, secrets []string) *Output {
	// A secret may begin with another one, and its end would be seen.
	longestFirst := slices.SortedFunc(slices.Values(secrets), func(a, b string) int { return cmp.Compare(len(b), len(a)) })
	return &Output{to: to, secrets: longestFirst}
}

// Write takes the next bytes. Lines that cannot be passed on are still
// remembered: a broken log must not end a build.
func (o *Output) Write(p []byte) (int, error) {
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
		o.Flush()
	}
	return len(p), nil
}

// Flush passes on what has no end of line yet.
func (o *Output) Flush() {
	if len(o.partial) > 0 {
		o.line(string(o.partial))
		o.partial = nil
	}
}

func (o *Output) line(line string) {
	line = strings.TrimRight(colour.ReplaceAllString(line, ""), "\r")
	for _, secret := range o.secrets {
		line = strings.ReplaceAll(line, secret, hidden)
	}
	line = userInfo.ReplaceAllString(line, "://"+hidden+"@")
	line = registry.RedactQueries(line)
	_, _ = fmt.Fprintln(o.to, line)
	o.lines = append(o.lines, line)
	if excess := len(o.lines) - keptLines; excess > 0 {
		o.lines = slices.Delete(o.lines, 0, excess)
	}
}

// LastWords returns the line by which Kaniko said what went wrong, or the last
// line that is no part of its usage text, or "".
func (o *Output) LastWords() string {
	lines := withoutUsage(o.lines)
	for _, line := range slices.Backward(lines) {
		if complaint.MatchString(line) {
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

// withoutUsage cuts the usage text, which is printed behind some errors, down
// to the blank line behind its last flag.
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
