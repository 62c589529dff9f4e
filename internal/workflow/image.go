package workflow

import (
	"cmp"
	"strings"

	"k8s.io/apimachinery/pkg/types"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
)

// DockerHub is the registry of a repository that names no host, unless another
// default is configured. It is left out of image references, as Docker and
// Kubernetes leave it out.
const DockerHub = "docker.io"

// automaticTagLengths are the numbers of UID digits in automatic tags, in the
// order in which they are tried: the next one when a tag is taken by another
// image.
var automaticTagLengths = []int{5, 8, 16, 32}

// ImageReference returns the reference that builds push to: the repository, with the
// default registry in front when it names no host, and the tag.
func ImageReference(repo, tag, defaultRegistry string) string {
	if RegistryHost(repo) == "" && defaultRegistry != "" && defaultRegistry != DockerHub {
		repo = defaultRegistry + "/" + repo
	}
	return repo + ":" + tag
}

// RegistryHost returns the registry host, with its port, that a repository or
// an image reference begins with, or an empty string when it names none. As in
// Docker, the first component is a host when it contains a dot or a colon, or
// is localhost.
func RegistryHost(repo string) string {
	first, _, found := strings.Cut(repo, "/")
	if found && (strings.ContainsAny(first, ".:") || first == "localhost") {
		return first
	}
	return ""
}

// PullReference returns the reference by which pods pull an image that builds push
// to a reference: with another host, if nodes know the registry by another name.
func PullReference(image string, opts Options) string {
	full := qualified(image)
	host := RegistryHost(full)
	pullHost, found := opts.PullHosts[host]
	if !found {
		return image
	}
	return pullHost + strings.TrimPrefix(full, host)
}

// PushedImage returns the reference to which a ModelVersion's image was or will be
// pushed, which the steps of builds use. It is empty if no build has started.
func PushedImage(mv *v1alpha1.ModelVersion) string {
	return cmp.Or(mv.Status.PushedImage, mv.Status.Image)
}

// Pinned returns the reference of an image by its digest instead of its tag.
func Pinned(image, digest string) string {
	return strings.TrimSuffix(image, ":"+tagOf(image)) + "@" + digest
}

// IsImageOf reports whether a ModelVersion may be pushed to an image. The one
// in the status may be from before another default registry was configured.
func IsImageOf(mv *v1alpha1.ModelVersion, image string, opts Options) bool {
	if image != "" && image == PushedImage(mv) {
		return true
	}
	for collision := range automaticTagLengths {
		if possible, problem := imageOf(mv, collision, opts); problem == nil && possible == image {
			return true
		}
	}
	return false
}

// TagCollision returns how many automatic tags were taken before the image's.
func TagCollision(mv *v1alpha1.ModelVersion, image string) int {
	for i := range automaticTagLengths {
		if tag, _ := automaticTag(mv.UID, i); tag == tagOf(image) {
			return i
		}
	}
	return 0
}

// HasAutomaticTag reports whether the tag of an image was chosen for the
// ModelVersion by its UID.
func HasAutomaticTag(mv *v1alpha1.ModelVersion, image string) bool {
	tag, _ := automaticTag(mv.UID, TagCollision(mv, image))
	return mv.Spec.ImageTag == "" && tag == tagOf(image)
}

// imageOf returns the image reference that a ModelVersion is pushed to.
func imageOf(mv *v1alpha1.ModelVersion, collision int, opts Options) (string, *Problem) {
	if mv.Spec.ImageRepo == "" {
		return "", &Problem{v1alpha1.ReasonInvalidSpec, "imageRepo is missing: create a new ModelVersion that names the repository to push to"}
	}
	if problem := checkRepo(mv, opts); problem != nil {
		return "", problem
	}
	tag := mv.Spec.ImageTag
	if tag == "" {
		automatic, found := automaticTag(mv.UID, collision)
		if !found {
			return "", &Problem{v1alpha1.ReasonTagTaken, "Every automatic tag of this ModelVersion is taken: create a new ModelVersion with an imageTag"}
		}
		tag = automatic
	}
	return ImageReference(mv.Spec.ImageRepo, tag, opts.DefaultRegistry), nil
}

// automaticTag returns the tag of a ModelVersion that asks for none: "v" and
// the first hex digits of its UID. The collision counts the shorter tags that
// were taken. It returns false when there is no longer one.
func automaticTag(uid types.UID, collision int) (string, bool) {
	if collision >= len(automaticTagLengths) {
		return "", false
	}
	return "v" + uidPrefix(uid, automaticTagLengths[collision]), true
}

// tagOf returns the tag of an image reference that ends with one.
func tagOf(image string) string {
	return image[strings.LastIndex(image, ":")+1:]
}
