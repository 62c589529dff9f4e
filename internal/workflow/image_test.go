package workflow

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"k8s.io/apimachinery/pkg/types"
)

func TestImageReference(t *testing.T) {
	for name, tc := range map[string]struct{ repo, tag, defaultRegistry, want string }{
		"no host and no default":       {"modelhub/resnet", "v1", "", "modelhub/resnet:v1"},
		"Docker Hub as the default":    {"modelhub/resnet", "v1", "docker.io", "modelhub/resnet:v1"},
		"default registry":             {"modelhub/resnet", "v1", "registry.example.com", "registry.example.com/modelhub/resnet:v1"},
		"default registry with a port": {"resnet", "v1", "registry.example.com:5000", "registry.example.com:5000/resnet:v1"},
		"host in the repository":       {"ghcr.io/modelhub/resnet", "v1", "registry.example.com", "ghcr.io/modelhub/resnet:v1"},
		"Docker Hub in the repository": {"docker.io/modelhub/resnet", "v1", "registry.example.com", "docker.io/modelhub/resnet:v1"},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, tc.want, ImageReference(tc.repo, tc.tag, tc.defaultRegistry))
		})
	}
}

func TestRegistryHost(t *testing.T) {
	for name, tc := range map[string]struct{ repo, want string }{
		"dot":                         {"registry.example.com/resnet", "registry.example.com"},
		"port":                        {"registry:5000/resnet", "registry:5000"},
		"localhost":                   {"localhost/resnet", "localhost"},
		"IP address":                  {"10.0.0.7:5000/team/resnet", "10.0.0.7:5000"},
		"user on Docker Hub":          {"modelhub/resnet", ""},
		"single component with a dot": {"resnet.v2", ""},
		"dot in a later component":    {"modelhub/resnet.v2", ""},
		"colon before a tag":          {"resnet:v1", ""},
		"reference with host and tag": {"registry:5000/team/resnet:v1", "registry:5000"},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, tc.want, RegistryHost(tc.repo))
		})
	}
}

func TestPullReference(t *testing.T) {
	opts := Options{PullHosts: map[string]string{"registry.example.com:5000": "localhost:30500", DockerHub: "mirror.example.com"}}
	for name, tc := range map[string]struct{ image, want string }{
		"host with another name": {"registry.example.com:5000/team/resnet:v1", "localhost:30500/team/resnet:v1"},
		"by digest":              {"registry.example.com:5000/team/resnet@sha256:00", "localhost:30500/team/resnet@sha256:00"},
		"another port":           {"registry.example.com/team/resnet:v1", "registry.example.com/team/resnet:v1"},
		"Docker Hub":             {"modelhub/resnet:v1", "mirror.example.com/modelhub/resnet:v1"},
		"Docker Hub by name":     {"docker.io/modelhub/resnet:v1", "mirror.example.com/modelhub/resnet:v1"},
		"official image":         {"resnet:v1", "mirror.example.com/library/resnet:v1"},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, tc.want, PullReference(tc.image, opts))
		})
	}
	assert.Equal(t, "resnet:v1", PullReference("resnet:v1", Options{}), "as it was written")
}

func TestMirrored(t *testing.T) {
	mirrors := map[string]string{DockerHub: "registry.example.com/dockerhub", "ghcr.io": "mirror:5000"}
	for name, tc := range map[string]struct{ image, want string }{
		"Docker Hub":       {"busybox:1.37.0", "registry.example.com/dockerhub/library/busybox:1.37.0"},
		"host and digest":  {"docker.io/library/busybox:1.37.0@sha256:00", "registry.example.com/dockerhub/library/busybox:1.37.0@sha256:00"},
		"another registry": {"ghcr.io/team/base:1", "mirror:5000/team/base:1"},
		"no mirror":        {"quay.io/team/base:1", "quay.io/team/base:1"},
		"scratch":          {"scratch", "scratch"},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, tc.want, mirrored(tc.image, mirrors))
		})
	}
	assert.Equal(t, "busybox:1.37.0", mirrored("busybox:1.37.0", nil), "as it was written")
}

func TestAutomaticTag(t *testing.T) {
	var tags []string
	for collision := 0; ; collision++ {
		tag, found := automaticTag(uid, collision)
		if !found {
			break
		}
		tags = append(tags, tag)
	}
	want := []string{"v1c072", "v1c072d5e", "v1c072d5e8a414f0b", "v1c072d5e8a414f0b9c365d2e7f1a0b94"}
	assert.Equal(t, want, tags)
}

func TestAutomaticTagShortUID(t *testing.T) {
	tag, found := automaticTag(types.UID("1c0"), 0)
	assert.True(t, found)
	assert.Equal(t, "v1c0", tag)
}

func TestTagOf(t *testing.T) {
	assert.Equal(t, "v1", tagOf("registry.example.com:5000/team/resnet:v1"))
	assert.Equal(t, "v1.0", tagOf("modelhub/resnet:v1.0"))
}
