// Package shell quotes text for POSIX shells.
package shell

import (
	"regexp"
	"strings"
)

// plainWord matches text that is a single word for the shell without quotes.
var plainWord = regexp.MustCompile(`^[\w@%+=:,./-]+$`)

// Quote returns text as a single word of the shell, in quotes if it needs them.
func Quote(text string) string {
	if plainWord.MatchString(text) {
		return text
	}
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}
