package workflow_test

import (
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/stretchr/testify/assert"

	"github.com/modelkiln/modelkiln/internal/config"
	"github.com/modelkiln/modelkiln/internal/workflow"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
	"github.com/modelkiln/modelkiln/test/builders"
)

// What an entry allows is below it also for the library by which the steps and
// Kaniko parse references, not only by comparison of texts.
func FuzzImageRules(f *testing.F) {
	for _, seed := range [][3]string{
		{"registry.example.com/team/resnet", "registry.example.com/team", ""},
		{"registry:5000/resnet", "registry:5000", ""},
		{"team/resnet", "docker.io/team", ""},
		{"busybox", "docker.io/library", "docker.io"},
		{"team/resnet", "registry.example.com/team", "registry.example.com"},
		{"localhost/team/resnet", "localhost", ""},
		{"index.docker.io/team/resnet", "index.docker.io", ""},
		{"registry.example.com/team/../resnet", "registry.example.com/team", ""},
		{"registry.example.com/team@sha256:a/resnet", "registry.example.com/team", ""},
		{"REGISTRY.example.com/team/resnet", "REGISTRY.example.com", ""},
		{"[::1]:5000/resnet", "registry:5000", ""},
		{"registry.example.com:443/resnet", "registry.example.com:443", ""},
	} {
		f.Add(seed[0], "v1", seed[1], seed[2])
		f.Add(seed[0], "1.37.0", seed[1]+":1.37.0", seed[2])
	}
	f.Fuzz(func(t *testing.T, repo, tag, entry, defaultRegistry string) {
		opts := config.Default().Options()
		opts.DefaultRegistry = defaultRegistry
		if workflow.CheckRepoEntry(entry) == nil && (defaultRegistry == "" || workflow.IsRegistryHost(defaultRegistry)) {
			opts.Images.Repos = []string{entry}
			mv := builders.MakeModelVersion("mv-3", "default").Claim("models", "").ImageRepo(repo).ImageTag(tag).Obj()
			if wf, problem := workflow.New(mv, workflow.Attempt{Number: 1}, opts); problem == nil {
				assertBelow(t, workflow.Argument(wf, contract.ParamImage), entry)
			}
			opts.Images.Repos = nil
		}
		if workflow.CheckBaseImageEntry(entry) == nil {
			opts.Images.BaseImages = []string{entry}
			base := repo + ":" + tag
			mv := builders.MakeModelVersion("mv-3", "default").Claim("models", "").BaseImage(base).Obj()
			if _, problem := workflow.New(mv, workflow.Attempt{Number: 1}, opts); problem == nil {
				assertBelow(t, base, entry)
			}
		}
	})
}

// assertBelow asserts that a reference is the entry, or below it.
func assertBelow(t *testing.T, reference, entry string) {
	t.Helper()
	parsed, err := name.ParseReference(reference)
	if err != nil {
		return // Nothing is pushed or pulled.
	}
	// The library writes docker.io as index.docker.io.
	hub := strings.NewReplacer(name.DefaultRegistry+"/", workflow.DockerHub+"/")
	canonical, repo, entry := hub.Replace(parsed.Name()), hub.Replace(parsed.Context().Name()), strings.TrimSuffix(hub.Replace(entry+"/"), "/")
	assert.True(t, canonical == entry || strings.HasPrefix(repo+"/", entry+"/"), "%q is %s, and not below %q", reference, canonical, entry)
}
