// Package nfs decides which folders of NFS servers may be packaged into an
// image, by their names. The operator checks that before it starts a build, and
// the build's first step once more, which holds for builds that are started
// without the operator.
//
// Everything here is a pure function over strings.
package nfs

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/modelkiln/modelkiln/internal/hostpath"
)

// Rules are what a platform team allows. The zero value allows everything: a
// pod may mount any server's folders where the namespace's Pod Security level
// lets it, without this operator too.
type Rules struct {
	// Allowed lists the servers that may be packaged from, as
	// nas.example.com, and folders of servers with all that lies in them, as
	// nas.example.com:/exports/models. Empty allows all. Names are compared as
	// they are written: a server's address is not its name.
	Allowed []string
}

// serverPattern is a host name or an address. It begins with no dash, which
// would be an option to mount.
var serverPattern = regexp.MustCompile(`^([A-Za-z0-9]([-A-Za-z0-9.:]*[A-Za-z0-9])?|[0-9A-Fa-f:]+)$`)

// Check says by its name whether a folder of a server may be packaged. The
// error is a sentence for the person who wrote the name.
func (r Rules) Check(server, folder string) error {
	if !serverPattern.MatchString(server) {
		return fmt.Errorf("%q is not a host name or an address: write it as nas.example.com", server)
	}
	if !path.IsAbs(folder) || slices.Contains(strings.Split(folder, "/"), "..") {
		return fmt.Errorf("%q is not an absolute path without '..': write it as /exports/resnet", folder)
	}
	if len(r.Allowed) == 0 || slices.ContainsFunc(r.Allowed, func(entry string) bool { return allows(entry, server, path.Clean(folder)) }) {
		return nil
	}
	return fmt.Errorf("%s:%s is not among the NFS servers and folders that may be packaged on this cluster (allowedNFS): put the model into %s, or have the platform team allow it", server, folder, strings.Join(r.Allowed, " or "))
}

// allows says that an entry of the list allows a folder, which is clean.
func allows(entry, server, folder string) bool {
	host, allowed := split(entry)
	return strings.EqualFold(host, server) && hostpath.Within(folder, allowed)
}

// split takes an entry apart into the server and the folder, which is / when
// the entry names none.
func split(entry string) (server, folder string) {
	server, folder, _ = strings.Cut(entry, ":/")
	return server, "/" + folder
}

// CheckEntry says whether an entry of a list of what is allowed is one.
func CheckEntry(entry string) error {
	server, folder := split(entry)
	if !serverPattern.MatchString(server) || path.Clean(folder) != folder || strings.Contains(entry, ",") {
		return fmt.Errorf("%q is not an NFS server or a folder of one: write it as nas.example.com or nas.example.com:/exports/models", entry)
	}
	return nil
}
