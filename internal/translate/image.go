package translate

import (
	"strings"

	"k8s.io/apimachinery/pkg/types"
)

// DockerHub is the registry that a repository without a host means when no
// other default is configured. It is left out of image references, as Docker
// and Kubernetes leave it out.
const DockerHub = "docker.io"

// automaticTagLengths are the numbers of UID digits in automatic tags: the
// first is tried first, the next one when that tag is taken by another image.
var automaticTagLengths = []int{5, 8, 16, 32}

// ImageReference is the image that a pod can pull: the repository, with the
// default registry in front when it names no host, and the tag.
func ImageReference(repo, tag, defaultRegistry string) string {
	if RegistryHost(repo) == "" && defaultRegistry != "" && defaultRegistry != DockerHub {
		repo = defaultRegistry + "/" + repo
	}
	return repo + ":" + tag
}

// RegistryHost is the registry host, with its port, that a repository or an
// image reference begins with, or empty when it begins with none. As in
// Docker, the first component is a host when it holds a dot or a colon, or is
// localhost.
func RegistryHost(repo string) string {
	first, _, found := strings.Cut(repo, "/")
	if found && (strings.ContainsAny(first, ".:") || first == "localhost") {
		return first
	}
	return ""
}

// automaticTag is the tag of a version that asks for none: "v" and the first
// hex digits of its UID. The collision counts how many shorter ones were
// taken; false says that there is no longer one.
func automaticTag(uid types.UID, collision int) (string, bool) {
	if collision >= len(automaticTagLengths) {
		return "", false
	}
	return "v" + uidPrefix(uid, automaticTagLengths[collision]), true
}

// tagOf is the tag of an image reference that ends with one.
func tagOf(image string) string {
	return image[strings.LastIndex(image, ":")+1:]
}

// pinned is an image by its digest, in place of its tag.
func pinned(image, digest string) string {
	return strings.TrimSuffix(image, ":"+tagOf(image)) + "@" + digest
}
