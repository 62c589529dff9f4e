// Package sourcepolicy decides what may be packaged into an image: directories
// of a node, directories of NFS servers, AWS Elastic File Systems, prefixes of
// buckets, and repositories of hubs.
//
// The operator checks names before it starts a build. The first step of a build
// checks all but Elastic File Systems again, which covers builds that are started
// without the operator. For a host path the step also compares the
// path with what the kernel has mounted, so that a symbolic link on the node
// cannot bypass the first check.
//
// Everything here is a pure function over strings.
package sourcepolicy

import "strings"

// isWithin reports whether p is dir or inside it. Both are absolute and clean.
func isWithin(p, dir string) bool {
	return p == dir || dir == "/" || strings.HasPrefix(p, dir+"/")
}

// isWithinAny reports whether p is one of dirs or inside one of them.
func isWithinAny(p string, dirs []string) bool {
	for _, dir := range dirs {
		if isWithin(p, dir) {
			return true
		}
	}
	return false
}
