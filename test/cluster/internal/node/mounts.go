package node

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/modelkiln/modelkiln/test/cluster/internal/shell"
)

// checkNoMounts returns an error if something is mounted below the cluster's data directory: removing the directory would
// delete the contents of that file system. The cluster's own mounts are gone with the node's mount namespace.
func checkNoMounts() error {
	mountinfo, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	if mounts := mountsUnder(string(mountinfo), DataDir); len(mounts) > 0 {
		return fmt.Errorf("a file system is mounted there and its contents would be deleted; unmount it and try again: %s", unmountCommand(mounts))
	}
	return nil
}

// unmountCommand returns the shell command that unmounts the mount points, quoted where they contain spaces.
func unmountCommand(points []string) string {
	args := []string{"umount"}
	for _, point := range points {
		args = append(args, shell.Quote(point))
	}
	return strings.Join(args, " ")
}

// mountsUnder returns the mount points at and below dir, deepest first. The content of mountinfo has the format of
// /proc/self/mountinfo.
func mountsUnder(mountinfo, dir string) []string {
	var found []string
	for line := range strings.Lines(mountinfo) {
		fields := strings.Fields(line)
		if len(fields) < 5 {
			continue
		}
		point := unescapeMount.Replace(fields[4])
		if point == dir || strings.HasPrefix(point, dir+"/") {
			found = append(found, point)
		}
	}
	slices.Sort(found)
	slices.Reverse(found)
	return found
}

// unescapeMount reverses the kernel's escaping of the characters that separate fields and lines.
var unescapeMount = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
