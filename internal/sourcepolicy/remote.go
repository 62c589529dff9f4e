package sourcepolicy

import (
	"fmt"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"
)

// Endpoints that storage has if it names none.
const (
	// DefaultS3Endpoint is that of Amazon S3.
	DefaultS3Endpoint = "https://s3.amazonaws.com"
	// DefaultHuggingFaceEndpoint is that of the Hugging Face hub.
	DefaultHuggingFaceEndpoint = "https://huggingface.co"
)

// S3Rules are what a platform team allows to be packaged from object stores. The zero
// value allows nothing: a build would otherwise fetch any address that a user writes.
type S3Rules struct {
	// Allowed lists endpoints, as minio.example.com:9000, buckets of endpoints, as
	// s3.amazonaws.com/models, and prefixes of buckets, as
	// s3.amazonaws.com/models/team-a, with everything below. An entry that begins with
	// http:// allows plain HTTP, and nothing else does. Hosts are written in lower case,
	// with their port unless the endpoint has none.
	Allowed []string
}

// HuggingFaceRules are what a platform team allows to be packaged from hubs that have
// the API of Hugging Face. The zero value allows nothing.
type HuggingFaceRules struct {
	// Allowed lists hubs, as huggingface.co, their organizations, as
	// huggingface.co/mistralai, and repositories, as
	// huggingface.co/mistralai/Mistral-7B-v0.3. A hub may redirect downloads to the
	// hosts of all entries. An entry that begins with http:// allows plain HTTP, and
	// nothing else does.
	Allowed []string
}

// hubStorage are the domains in which Hugging Face stores files
// (https://huggingface.co/docs/hub/xet/using-xet-storage, and the redirects that
// https://huggingface.co/…/resolve/… answered in 2026).
var hubStorage = []string{".huggingface.co", ".hf.co"}

// Check returns an error if objects may not be packaged, judging by their names. The
// error is a message for the user who wrote the names.
func (r S3Rules) Check(endpoint, bucket, prefix string) error {
	location, err := locationOf(endpoint, bucket+"/"+prefix)
	if err != nil {
		return err
	}
	if allowsLocation(r.Allowed, location) {
		return nil
	}
	return notAllowed(location, "an object store, bucket or prefix", "allowedS3", r.Allowed)
}

// Check returns an error if a repository may not be packaged, judging by its name. The
// error is a message for the user who wrote the name.
func (r HuggingFaceRules) Check(endpoint, repo string) error {
	location, err := locationOf(endpoint, repo)
	if err != nil {
		return err
	}
	if allowsLocation(r.Allowed, location) {
		return nil
	}
	return notAllowed(location, "a hub, organization or repository", "allowedHuggingFace", r.Allowed)
}

// AllowsRedirect reports whether a hub may redirect the download of a file to an
// address.
func (r HuggingFaceRules) AllowsRedirect(to *url.URL) bool {
	hosts := []string{}
	for _, entry := range r.Allowed {
		scheme, host, _ := splitRemoteEntry(entry)
		hosts = append(hosts, scheme+"://"+host)
	}
	if slices.Contains(hosts, to.Scheme+"://"+to.Host) {
		return true
	}
	return to.Scheme == "https" && to.Port() == "" && slices.Contains(hosts, DefaultHuggingFaceEndpoint) &&
		slices.ContainsFunc(hubStorage, func(domain string) bool { return strings.HasSuffix(to.Host, domain) })
}

// CheckRemoteEntry returns an error if an entry of S3Rules.Allowed or
// HuggingFaceRules.Allowed is malformed.
func CheckRemoteEntry(entry string) error {
	scheme, host, below := splitRemoteEntry(entry)
	if _, err := locationOf(scheme+"://"+host, below); err != nil || host != strings.ToLower(host) || strings.HasSuffix(entry, "/") || strings.Contains(entry, ",") {
		return fmt.Errorf("%q is not a host, or a path below one: write it as minio.example.com:9000, s3.amazonaws.com/models or huggingface.co/mistralai", entry)
	}
	return nil
}

// A location is an address without its scheme, and its scheme.
type location struct {
	scheme string
	// address is the host and the path, as in s3.amazonaws.com/models/team-a.
	address string
}

func (l location) String() string {
	if l.scheme == "http" {
		return "http://" + l.address
	}
	return l.address
}

var (
	remoteHost = regexp.MustCompile(`^([A-Za-z0-9]([-A-Za-z0-9.]*[A-Za-z0-9])?|\[[0-9A-Fa-f:]+\])(:[0-9]{1,5})?$`)
	control    = regexp.MustCompile(`[[:cntrl:]]`)
)

// locationOf returns the location of something below an endpoint.
func locationOf(endpoint, below string) (location, error) {
	u, err := url.Parse(endpoint)
	if err != nil || (u.Scheme != "https" && u.Scheme != "http") || !remoteHost.MatchString(u.Host) || u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" {
		return location{}, fmt.Errorf("the endpoint is not the address of a server: write it as https://minio.example.com or https://minio.example.com:9000")
	}
	// An object store takes every other spelling for another name.
	if below != "" && path.Clean("/"+below) != "/"+below || control.MatchString(below) {
		return location{}, fmt.Errorf("%q is not a name without '//', '.', '..', control characters and slashes at its ends: correct it", below)
	}
	return location{u.Scheme, path.Join(strings.ToLower(u.Host), below)}, nil
}

// allowsLocation reports whether one of the entries allows a location.
func allowsLocation(entries []string, l location) bool {
	return slices.ContainsFunc(entries, func(entry string) bool {
		scheme, host, below := splitRemoteEntry(entry)
		return scheme == l.scheme && isWithin(l.address, path.Join(host, below))
	})
}

// splitRemoteEntry splits an entry of an allow-list into the scheme, the host and what
// is below it.
func splitRemoteEntry(entry string) (scheme, host, below string) {
	scheme, rest, found := strings.Cut(entry, "://")
	if !found {
		scheme, rest = "https", entry
	}
	host, below, _ = strings.Cut(rest, "/")
	return scheme, host, below
}

func notAllowed(l location, what, list string, allowed []string) error {
	if len(allowed) == 0 {
		return fmt.Errorf("%s is not %s that this cluster allows, since %s is empty: ask the platform team to allow it", l, what, list)
	}
	return fmt.Errorf("%s is not %s that this cluster allows (%s): move the model to %s, or ask the platform team to allow it", l, what, list, strings.Join(allowed, " or "))
}
