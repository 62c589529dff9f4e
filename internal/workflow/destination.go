package workflow

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
)

// ImageRules are what a platform team allows builds to push to and to pull. An
// entry is a registry, or a repository with everything below it, with the host
// written out: registry.example.com/team-a. Hosts are compared as written.
type ImageRules struct {
	// Repos lists where models may be pushed. If empty, everywhere.
	Repos []string
	// BaseImages lists which base images spec.build.baseImage may name. An entry
	// with a tag or a digest allows only the image that is written in the same way.
	// If empty, all. The base image that the platform team configures, and scratch,
	// are always allowed.
	BaseImages []string
}

// scratch is the base image without any content.
const scratch = "scratch"

// checkRepo returns the Problem of a repository that models may not be pushed to,
// or nil.
func checkRepo(mv *v1alpha1.ModelVersion, opts Options) *Problem {
	rules := opts.Images.Repos
	repo := qualified(repositoryOf(ImageReference(mv.Spec.ImageRepo, "latest", opts.DefaultRegistry)))
	if len(rules) == 0 || isBelowAny(repo, rules) {
		return nil
	}
	return &Problem{v1alpha1.ReasonImageForbidden, fmt.Sprintf("Models may not be pushed to %s (allowedImageRepos). Create a new ModelVersion with an imageRepo in %s, or ask the platform team to allow it", repo, strings.Join(rules, " or "))}
}

// checkBaseImage returns the Problem of a base image that builds may not use, or
// nil.
func checkBaseImage(mv *v1alpha1.ModelVersion, opts Options) *Problem {
	rules := opts.Images.BaseImages
	if len(rules) == 0 || mv.Spec.Build == nil || slices.Contains([]string{"", scratch, opts.BaseImage}, mv.Spec.Build.BaseImage) {
		return nil
	}
	image := qualified(mv.Spec.Build.BaseImage)
	if isBelowAny(repositoryOf(image), rules) || slices.Contains(rules, image) {
		return nil
	}
	return &Problem{v1alpha1.ReasonImageForbidden, fmt.Sprintf("Models may not be added to the base image %s (allowedBaseImages). Set spec.build.baseImage to one in %s, or remove it: kubectl edit mv -n %s %s. Or ask the platform team to allow it", image, strings.Join(rules, " or "), mv.Namespace, mv.Name)}
}

// mirrored returns a base image as it is pulled from the mirror of its registry, if
// that has one.
func mirrored(image string, mirrors map[string]string) string {
	if image == "" || image == scratch || len(mirrors) == 0 {
		return image
	}
	full := qualified(image)
	host := RegistryHost(full)
	mirror, found := mirrors[host]
	if !found {
		return image
	}
	return mirror + strings.TrimPrefix(full, host)
}

// qualified returns a reference with the host and the namespace that images of
// Docker Hub may omit.
func qualified(reference string) string {
	host := RegistryHost(reference)
	name := strings.TrimPrefix(reference, host+"/")
	switch {
	case host != "" && host != DockerHub:
		return reference
	case strings.Contains(name, "/"):
		return DockerHub + "/" + name
	default:
		return DockerHub + "/library/" + name
	}
}

// repositoryOf returns a reference without its tag and its digest.
func repositoryOf(reference string) string {
	repo, _, _ := strings.Cut(reference, "@")
	if i := strings.LastIndex(repo, ":"); i > strings.LastIndex(repo, "/") {
		return repo[:i]
	}
	return repo
}

// isBelowAny reports whether a repository is one of the entries or below one. A
// malformed path is below none: a server could resolve it to another one.
func isBelowAny(repo string, entries []string) bool {
	_, name, _ := strings.Cut(repo, "/")
	if !entryPath.MatchString(name) {
		return false
	}
	return slices.ContainsFunc(entries, func(entry string) bool { return strings.HasPrefix(repo+"/", entry+"/") })
}

var (
	entryHost = regexp.MustCompile(`^[a-zA-Z0-9]([-a-zA-Z0-9.]*[a-zA-Z0-9])?(:[0-9]{1,5})?$`)
	entryPath = regexp.MustCompile(`^[a-z0-9]+([._-]+[a-z0-9]+)*(/[a-z0-9]+([._-]+[a-z0-9]+)*)*$`)
	entryTag  = regexp.MustCompile(`^(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(@sha256:[0-9a-f]{64})?$`)
)

// IsRegistryHost reports whether a host, with its port if it has one, is taken for
// a registry at the beginning of an image reference. A single word before a slash
// would be a user on Docker Hub.
func IsRegistryHost(host string) bool {
	return entryHost.MatchString(host) && RegistryHost(host+"/") == host
}

// CheckRepoEntry returns an error if an entry of ImageRules.Repos is malformed.
func CheckRepoEntry(entry string) error {
	host, repo, found := strings.Cut(entry, "/")
	if !IsRegistryHost(host) || found && !entryPath.MatchString(repo) {
		return fmt.Errorf("%q is not a registry or a repository with its registry: write it as registry.example.com or registry.example.com/team-a", entry)
	}
	return nil
}

// CheckBaseImageEntry returns an error if an entry of ImageRules.BaseImages is
// malformed.
func CheckBaseImageEntry(entry string) error {
	repo := entry
	if strings.Contains(entry, "/") {
		repo = repositoryOf(entry)
	}
	if CheckRepoEntry(repo) != nil || !entryTag.MatchString(strings.TrimPrefix(entry, repo)) {
		return fmt.Errorf("%q is not a registry, repository or image with its registry: write it as registry.example.com, docker.io/library or docker.io/library/busybox:1.37.0", entry)
	}
	return nil
}
