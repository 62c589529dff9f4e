// Package logfile keeps the logs of programs, and quotes them to whoever has to know why a program ended.
package logfile

import (
	"os"
	"strings"
)

// Tail is the last lines of a file.
func Tail(path string, lines int) string {
	content, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimSpace(string(content)), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
