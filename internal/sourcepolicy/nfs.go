package sourcepolicy

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
)

// NFSRules are what a platform team allows to be packaged from NFS servers. The
// zero value allows everything: where the namespace's Pod Security Standard
// level permits NFS volumes, a pod can mount any server's directories without
// this operator too.
type NFSRules struct {
	// Allowed lists servers, as nas.example.com, and directories of servers with
	// everything inside them, as nas.example.com:/exports/models. If empty, all are
	// allowed. Names are compared as written: a server's address does not match
	// its name.
	Allowed []string
}

// serverPattern matches a host name or an address. It does not begin with a
// dash, which would be an option to mount.
var serverPattern = regexp.MustCompile(`^([A-Za-z0-9]([-A-Za-z0-9.:]*[A-Za-z0-9])?|[0-9A-Fa-f:]+)$`)

// Check returns an error if a directory of an NFS server may not be packaged,
// judging by its name. The error is a message for the user who wrote the name.
func (r NFSRules) Check(server, dir string) error {
	if !serverPattern.MatchString(server) {
		return fmt.Errorf("%q is not a host name or an address: write it as nas.example.com", server)
	}
	if !path.IsAbs(dir) || slices.Contains(strings.Split(dir, "/"), "..") {
		return fmt.Errorf("%q is not an absolute path without '..': write it as /exports/resnet", dir)
	}
	if len(r.Allowed) == 0 || slices.ContainsFunc(r.Allowed, func(entry string) bool { return nfsEntryAllows(entry, server, path.Clean(dir)) }) {
		return nil
	}
	return fmt.Errorf("%s:%s is not an NFS server or directory that this cluster allows (allowedNFS): move the model to %s, or ask the platform team to allow it", server, dir, strings.Join(r.Allowed, " or "))
}

// nfsEntryAllows reports whether an entry of Allowed allows a directory, whose
// path is clean.
func nfsEntryAllows(entry, server, dir string) bool {
	host, allowed := splitNFSEntry(entry)
	return strings.EqualFold(host, server) && isWithin(dir, allowed)
}

// splitNFSEntry splits an entry of Allowed into the server and the directory,
// which is / if the entry names none.
func splitNFSEntry(entry string) (server, dir string) {
	server, dir, _ = strings.Cut(entry, ":/")
	return server, "/" + dir
}

// CheckNFSEntry returns an error if an entry of NFSRules.Allowed is malformed.
func CheckNFSEntry(entry string) error {
	server, dir := splitNFSEntry(entry)
	if !serverPattern.MatchString(server) || path.Clean(dir) != dir || strings.Contains(entry, ",") {
		return fmt.Errorf("%q is not an NFS server or a directory of one: write it as nas.example.com or nas.example.com:/exports/models", entry)
	}
	return nil
}
