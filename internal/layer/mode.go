package layer

import (
	"fmt"
	"io/fs"
	"strconv"
)

// Mode is the permission bits of an entry. In JSON it is written as people
// write it: "0644".
type Mode uint32

// The modes that entries get.
const (
	// ModeReadable is the mode of files: anyone may read.
	ModeReadable Mode = 0o644
	// ModeExecutable is the mode of folders, and of files that anyone may
	// execute at their source.
	ModeExecutable Mode = 0o755
)

// Perm returns the mode for use with package os.
func (m Mode) Perm() fs.FileMode { return fs.FileMode(m).Perm() }

// MarshalText writes the mode in octal.
func (m Mode) MarshalText() ([]byte, error) { return fmt.Appendf(nil, "%04o", uint32(m)), nil }

// UnmarshalText reads a mode in octal.
func (m *Mode) UnmarshalText(text []byte) error {
	mode, err := strconv.ParseUint(string(text), 8, 12)
	if err != nil {
		return fmt.Errorf("read mode: %w", err)
	}
	*m = Mode(mode)
	return nil
}
