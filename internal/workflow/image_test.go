package workflow

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"k8s.io/apimachinery/pkg/types"
)

func TestImageReference(t *testing.T) {
	for name, tc := range map[string]struct{ repo, tag, defaultRegistry, want string }{
		"without a host and a default it is Docker Hub's, as written": {"modelhub/resnet", "v1", "", "modelhub/resnet:v1"},
		"Docker Hub as the default is left out":                       {"modelhub/resnet", "v1", "docker.io", "modelhub/resnet:v1"},
		"a default registry goes in front":                            {"modelhub/resnet", "v1", "registry.example.com", "registry.example.com/modelhub/resnet:v1"},
		"and so does one with a port":                                 {"resnet", "v1", "registry.example.com:5000", "registry.example.com:5000/resnet:v1"},
		"a repository's own host is kept":                             {"ghcr.io/modelhub/resnet", "v1", "registry.example.com", "ghcr.io/modelhub/resnet:v1"},
		"and Docker Hub too where it is named":                        {"docker.io/modelhub/resnet", "v1", "registry.example.com", "docker.io/modelhub/resnet:v1"},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, tc.want, ImageReference(tc.repo, tc.tag, tc.defaultRegistry))
		})
	}
}

func TestRegistryHostIsWhatDockerTakesForOne(t *testing.T) {
	for name, tc := range map[string]struct{ repo, want string }{
		"a dot makes a host":                            {"registry.example.com/resnet", "registry.example.com"},
		"a port makes a host":                           {"registry:5000/resnet", "registry:5000"},
		"localhost is a host":                           {"localhost/resnet", "localhost"},
		"an address is a host":                          {"10.0.0.7:5000/team/resnet", "10.0.0.7:5000"},
		"a user is none":                                {"modelhub/resnet", ""},
		"a single name is none, whatever it looks like": {"resnet.v2", ""},
		"a dot further on makes none":                   {"modelhub/resnet.v2", ""},
		"a tag makes none":                              {"resnet:v1", ""},
		"the host of a whole reference":                 {"registry:5000/team/resnet:v1", "registry:5000"},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, tc.want, RegistryHost(tc.repo))
		})
	}
}

func TestAutomaticTagsGrowWhileTheyAreTaken(t *testing.T) {
	var tags []string
	for taken := 0; ; taken++ {
		tag, found := automaticTag(uid, taken)
		if !found {
			break
		}
		tags = append(tags, tag)
	}
	want := []string{"v1c072", "v1c072d5e", "v1c072d5e8a414f0b", "v1c072d5e8a414f0b9c365d2e7f1a0b94"}
	assert.Equal(t, want, tags)
}

func TestAutomaticTagOfAShortUID(t *testing.T) {
	tag, found := automaticTag(types.UID("1c0"), 0)
	assert.True(t, found)
	assert.Equal(t, "v1c0", tag)
}

func TestTagOf(t *testing.T) {
	assert.Equal(t, "v1", tagOf("registry.example.com:5000/team/resnet:v1"))
	assert.Equal(t, "v1.0", tagOf("modelhub/resnet:v1.0"))
}
