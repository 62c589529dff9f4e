package registry

import (
	"cmp"
	"net"
	"net/url"
	"path"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"

	"github.com/modelkiln/modelkiln/internal/text"
)

// keyring matches repositories with credentials as the kubelet does
// (https://kubernetes.io/docs/concepts/containers/images/#config-json, and
// pkg/credentialprovider/keyring.go in its source):
//
//   - Of the entries that match, the one with the longest path is used, so that one
//     for a path has precedence over one for its host. An entry with the host itself
//     has precedence over a glob.
//   - Each label of the host may be a glob, which does not match dots. The port must
//     be equal, and the path must be a prefix of the repository's. Where the prefix
//     ends inside a name, as models/team in models/team-b, the entry counts less than
//     all others: the kubelet tries every entry that matches, and we only the best.
//   - A URL matches like its host and path, and the paths /v1/ and /v2/ like no path.
//   - docker.io and index.docker.io are the same registry.
//
// go-containerregistry's pkg/authn/kubernetes has the same rules, but imports
// client-go, which adds 14 MB to the program of a build's steps.
type keyring []keyringEntry

// keyringEntry is an entry of a Docker configuration, without the scheme.
type keyringEntry struct {
	host, path string
	auth       dockerAuth
	// key is the entry's key in the configuration.
	key string
}

// dockerHub is the name by which configurations and the kubelet know Docker Hub;
// go-containerregistry has another.
const dockerHub = "docker.io"

// name returns what an entry is for. Its key can contain a password.
func (e keyringEntry) name() string { return text.OneLine(e.host+e.path, maxText) }

func newKeyring(auths map[string]dockerAuth) keyring {
	var entries keyring
	for key, auth := range auths {
		// A configuration whose credentials are in a helper has empty entries.
		if auth == (dockerAuth{}) {
			continue
		}
		if host, dir, ok := parseKey(key); ok {
			entries = append(entries, keyringEntry{host: host, path: dir, auth: auth, key: key})
		}
	}
	slices.SortFunc(entries, func(a, b keyringEntry) int {
		// In reverse order, a longer entry comes before its prefixes, and globs come
		// last. Of two keys for the same repositories, the one without a scheme is
		// preferred.
		return cmp.Or(cmp.Compare(b.host+b.path, a.host+a.path), cmp.Compare(len(a.key), len(b.key)), cmp.Compare(a.key, b.key))
	})
	return entries
}

// parseKey returns the host, with its port, and the path of a configuration's key,
// or false for a malformed key, which the kubelet ignores too.
func parseKey(key string) (host, dir string, ok bool) {
	if !strings.HasPrefix(key, "https://") && !strings.HasPrefix(key, "http://") {
		key = "https://" + key
	}
	parsed, err := url.Parse(key)
	if err != nil || parsed.Host == "" {
		return "", "", false
	}
	dir = parsed.Path
	for _, version := range []string{"/v1", "/v2"} {
		if dir == version || strings.HasPrefix(dir, version+"/") {
			dir = strings.TrimPrefix(dir, version)
			break
		}
	}
	if dir == "/" {
		dir = ""
	}
	if parsed.Host == dockerHub {
		return name.DefaultRegistry, dir, true
	}
	return parsed.Host, dir, true
}

// lookup returns the entry for a repository or registry.
func (k keyring) lookup(target authn.Resource) (entry keyringEntry, found bool) {
	host := target.RegistryStr()
	dir := strings.TrimPrefix(target.String(), host)
	for _, e := range k {
		rest, isPrefix := strings.CutPrefix(dir, e.path)
		switch whole := rest == "" || rest[0] == '/' || strings.HasSuffix(e.path, "/"); {
		case !isPrefix || found && !whole || !hostMatches(e.host, host):
		case whole:
			return e, true
		default:
			entry, found = e, true
		}
	}
	return entry, found
}

// hostMatches reports whether a host matches a pattern.
func hostMatches(pattern, host string) bool {
	patternLabels, patternPort := splitHost(pattern)
	labels, port := splitHost(host)
	return port == patternPort && slices.EqualFunc(patternLabels, labels, func(glob, label string) bool {
		matched, err := path.Match(glob, label)
		return err == nil && matched
	})
}

// splitHost splits a host into its labels and its port, which may be empty.
func splitHost(hostport string) (labels []string, port string) {
	host, port, err := net.SplitHostPort(hostport)
	if err != nil {
		host, port = hostport, ""
	}
	return strings.Split(host, "."), port
}
