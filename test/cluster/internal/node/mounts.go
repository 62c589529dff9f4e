package node

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/modelkiln/modelkiln/test/cluster/internal/shell"
)

// refuseMounts keeps from deleting what somebody mounted among the cluster's data. The cluster's own mounts are the
// node's, and went with it.
func refuseMounts() error {
	mountinfo, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	if mounts := mountsIn(string(mountinfo), Home); len(mounts) > 0 {
		return fmt.Errorf("something is mounted there that would be deleted as well; unmount it and try again: %s", unmountCommand(mounts))
	}
	return nil
}

// unmountCommand is what to type to unmount mount points, which may have spaces in them.
func unmountCommand(points []string) string {
	words := []string{"umount"}
	for _, point := range points {
		words = append(words, shell.Quote(point))
	}
	return strings.Join(words, " ")
}

// mountsIn are the mount points at and below a folder, the deepest first, as listed by /proc/self/mountinfo.
func mountsIn(mountinfo, folder string) []string {
	var found []string
	for line := range strings.Lines(mountinfo) {
		fields := strings.Fields(line)
		if len(fields) < 5 {
			continue
		}
		point := unescapeMount.Replace(fields[4])
		if point == folder || strings.HasPrefix(point, folder+"/") {
			found = append(found, point)
		}
	}
	slices.Sort(found)
	slices.Reverse(found)
	return found
}

// unescapeMount undoes how the kernel writes the characters that separate fields and lines.
var unescapeMount = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
