// Package text bounds what others wrote, so that it fits into a status, an
// event, a label or a log line.
package text

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

const ellipsis = "…"

// OneLine returns s as a single line of at most limit characters. Characters that
// are not visible, such as those that control a terminal or reverse the direction of
// writing, and bytes that are not UTF-8 become spaces, and runs of white space become
// one space. A longer line ends in an ellipsis.
func OneLine(s string, limit int) string {
	return truncate(fold(s), limit)
}

// Sentence returns s as OneLine does, without the punctuation that ends a
// sentence, so that it can stand inside another one.
func Sentence(s string, limit int) string {
	return truncate(strings.TrimRight(fold(s), ".: "), limit)
}

// TruncateBytes returns s, without bytes that are not UTF-8, cut to at most limit
// bytes. A cut text ends in an ellipsis. limit is at least 3, the length of the
// ellipsis.
func TruncateBytes(s string, limit int) string {
	if len(s) <= limit {
		return strings.ToValidUTF8(s, "")
	}
	return strings.ToValidUTF8(s[:limit-len(ellipsis)], "") + ellipsis
}

// Printable returns s with a space for each character that is not visible, and for
// each byte that is not UTF-8.
func Printable(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsGraphic(r) || r == utf8.RuneError {
			return ' '
		}
		return r
	}, s)
}

func fold(s string) string { return strings.Join(strings.Fields(Printable(s)), " ") }

func truncate(line string, limit int) string {
	if runes := []rune(line); len(runes) > limit {
		return string(runes[:limit-1]) + ellipsis
	}
	return line
}
