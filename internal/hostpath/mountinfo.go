package hostpath

import (
	"fmt"
	"strconv"
	"strings"
)

// mount is one line of /proc/PID/mountinfo, as far as it matters here.
type mount struct {
	// device is "major:minor" of the filesystem.
	device string
	// root is the folder of the filesystem that is mounted, relative to the
	// filesystem and not to any mount of it.
	root string
	// point is where it is mounted.
	point string
	// fsType is the filesystem's type: ext4, tmpfs, nfs4.
	fsType string
}

// Places of the fields in a line, before the optional ones that end at "-".
const (
	fieldDevice   = 2
	fieldRoot     = 3
	fieldPoint    = 4
	fieldOptional = 6
)

// parseMounts reads the text of /proc/PID/mountinfo (man 5 proc_pid_mountinfo).
// A line that does not have its form is an error, since what cannot be read
// cannot be judged.
func parseMounts(mountinfo string) ([]mount, error) {
	var mounts []mount
	for line := range strings.Lines(mountinfo) {
		line = strings.TrimSuffix(line, "\n")
		if line == "" {
			continue
		}
		m, err := parseMount(line)
		if err != nil {
			return nil, err
		}
		mounts = append(mounts, m)
	}
	return mounts, nil
}

func parseMount(line string) (mount, error) {
	// Fields are separated by single spaces, and spaces inside them escaped:
	// an empty field, as a nameless source has one, is a field.
	fields := strings.Split(line, " ")
	for i := fieldOptional; i < len(fields)-1; i++ {
		if fields[i] != "-" {
			continue
		}
		return mount{
			device: fields[fieldDevice],
			root:   unescape(fields[fieldRoot]),
			point:  unescape(fields[fieldPoint]),
			fsType: unescape(fields[i+1]),
		}, nil
	}
	return mount{}, fmt.Errorf("the kernel's mount table has a line of an unknown form: %q", line)
}

// unescape decodes the \ooo by which the kernel writes space, tab, newline,
// backslash and '#'. A backslash that begins no such code stands for itself.
func unescape(s string) string {
	const codeLen = len(`\040`)
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+codeLen <= len(s) {
			if code, err := strconv.ParseUint(s[i+1:i+codeLen], 8, 8); err == nil {
				b.WriteByte(byte(code))
				i += codeLen - 1
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
