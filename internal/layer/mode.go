package layer

import (
	"fmt"
	"io/fs"
	"strconv"
)

// Mode is the permission bits of an entry. Its JSON form is octal, as in "0644".
type Mode uint32

// The modes of entries.
const (
	// ModeReadable is the mode of files: anyone may read them.
	ModeReadable Mode = 0o644
	// ModeExecutable is the mode of directories, and of files that anyone may
	// execute in the source.
	ModeExecutable Mode = 0o755
)

// Perm returns the mode for use with package os.
func (m Mode) Perm() fs.FileMode { return fs.FileMode(m).Perm() }

// MarshalText returns the mode in octal.
func (m Mode) MarshalText() ([]byte, error) { return fmt.Appendf(nil, "%04o", uint32(m)), nil }

// UnmarshalText parses a mode in octal.
func (m *Mode) UnmarshalText(text []byte) error {
	mode, err := strconv.ParseUint(string(text), 8, 12)
	if err != nil {
		return fmt.Errorf("parse mode: %w", err)
	}
	*m = Mode(mode)
	return nil
}
