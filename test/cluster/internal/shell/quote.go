// Package shell writes text so that a shell reads it as it is meant.
package shell

import (
	"regexp"
	"strings"
)

// plainWord matches what the shell takes as one word without quotes.
var plainWord = regexp.MustCompile(`^[\w@%+=:,./-]+$`)

// Quote makes one word of the shell of any text.
func Quote(text string) string {
	if plainWord.MatchString(text) {
		return text
	}
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}
