// Package debian installs the Debian packages that the cluster needs.
package debian

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/modelkiln/modelkiln/test/cluster/internal/progress"
)

// needed maps the files that the cluster needs to the packages that contain them.
var needed = map[string]string{
	"/usr/sbin/runc":                     "runc",
	"/usr/lib/cni/ptp":                   "containernetworking-plugins",
	"/usr/lib/cni/portmap":               "containernetworking-plugins",
	"/usr/sbin/iptables":                 "iptables",
	"/usr/sbin/conntrack":                "conntrack",
	"/sbin/ip":                           "iproute2",
	"/usr/bin/socat":                     "socat",
	"/usr/sbin/ethtool":                  "ethtool",
	"/bin/busybox":                       "busybox-static",
	"/usr/bin/nsenter":                   "util-linux",
	"/etc/ssl/certs/ca-certificates.crt": "ca-certificates",
}

// Ensure installs the packages that are missing.
func Ensure(ctx context.Context, report *progress.Reporter) error {
	packages := missing()
	if len(packages) == 0 {
		return nil
	}
	list := strings.Join(packages, " ")
	if _, err := exec.LookPath("apt-get"); err != nil {
		return fmt.Errorf("programs of the Debian packages %s are missing and apt-get was not found; install them manually", list)
	}
	report.Logf("installing Debian packages: %s", list)
	if indexes, _ := filepath.Glob("/var/lib/apt/lists/*_Packages*"); len(indexes) == 0 {
		if err := apt(ctx, "update"); err != nil {
			return fmt.Errorf("cannot update the package lists with apt-get: %w", err)
		}
	}
	if err := apt(ctx, append([]string{"install", "--yes", "--no-install-recommends"}, packages...)...); err != nil {
		return fmt.Errorf("cannot install %s with apt-get; run `apt-get update` and try again: %w", list, err)
	}
	if still := missing(); len(still) > 0 {
		return fmt.Errorf("the packages %s are installed, but their files are not at Debian's paths; the cluster requires Debian or a derivative", strings.Join(still, " "))
	}
	return nil
}

// missing returns the packages of the files that do not exist.
func missing() []string {
	var packages []string
	for path, name := range needed {
		if _, err := os.Stat(path); err != nil {
			packages = append(packages, name)
		}
	}
	slices.Sort(packages)
	return slices.Compact(packages)
}

func apt(ctx context.Context, args ...string) error {
	cmd := exec.CommandContext(ctx, "apt-get", append([]string{"-qq"}, args...)...)
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, strings.TrimSpace(string(out)))
	}
	return nil
}
