// Package version tells which build of Modelkiln a program is.
package version

import (
	"fmt"
	"runtime/debug"
)

// The linker sets version and revision in the programs of the images: see .ko.yaml.
var version, revision string

// Info identifies a build.
type Info struct {
	// Version is the tag of the release, for example v0.2.0; "(devel)" for a program that
	// was compiled from a checkout without a tag.
	Version string
	// Revision is the Git commit, followed by -dirty if the checkout had changes; empty if
	// the program was compiled without it.
	Revision string
	// GoVersion is the version of Go that compiled the program, for example go1.26.8.
	GoVersion string
}

// Get returns the build of this program.
func Get() Info {
	build, ok := debug.ReadBuildInfo()
	if !ok {
		build = &debug.BuildInfo{}
	}
	return info(version, revision, build)
}

// info prefers what the linker has set to what the Go command has recorded.
func info(version, revision string, build *debug.BuildInfo) Info {
	i := Info{Version: version, Revision: revision, GoVersion: build.GoVersion}
	if i.Version == "" {
		i.Version = build.Main.Version
	}
	if i.Revision == "" {
		i.Revision = recordedRevision(build.Settings)
	}
	return i
}

func recordedRevision(settings []debug.BuildSetting) string {
	recorded := map[string]string{}
	for _, s := range settings {
		recorded[s.Key] = s.Value
	}
	if recorded["vcs.modified"] == "true" {
		return recorded["vcs.revision"] + "-dirty"
	}
	return recorded["vcs.revision"]
}

// String returns the build on one line, for --version.
func (i Info) String() string {
	if i.Revision == "" {
		return fmt.Sprintf("%s (%s)", i.Version, i.GoVersion)
	}
	return fmt.Sprintf("%s (revision %s, %s)", i.Version, i.Revision, i.GoVersion)
}
