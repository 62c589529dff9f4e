package workflow_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/config"
	"github.com/modelkiln/modelkiln/internal/workflow"
	"github.com/modelkiln/modelkiln/test/builders"
)

const someDigest = "@sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"

func TestAllowedImageRepos(t *testing.T) {
	for name, tc := range map[string]struct {
		repo, defaultRegistry string
		allowed               []string
		want                  bool
	}{
		"no rules":                             {repo: "registry.example.com/team/resnet", want: true},
		"registry":                             {repo: "registry.example.com/team/resnet", allowed: []string{"registry.example.com"}, want: true},
		"registry with a port":                 {repo: "registry:5000/resnet", allowed: []string{"registry:5000"}, want: true},
		"another port":                         {repo: "registry:5001/resnet", allowed: []string{"registry:5000"}},
		"a port as the beginning of a port":    {repo: "registry:5000/resnet", allowed: []string{"registry:500"}},
		"repository":                           {repo: "registry.example.com/team/resnet", allowed: []string{"registry.example.com/team/resnet"}, want: true},
		"below a repository":                   {repo: "registry.example.com/team/resnet", allowed: []string{"other.example.com", "registry.example.com/team"}, want: true},
		"above a repository":                   {repo: "registry.example.com/team", allowed: []string{"registry.example.com/team/resnet"}},
		"beside a repository":                  {repo: "registry.example.com/team-b/resnet", allowed: []string{"registry.example.com/team"}},
		"a host that begins like another":      {repo: "registry.example.com.evil.example/resnet", allowed: []string{"registry.example.com"}},
		"Docker Hub, omitted":                  {repo: "team/resnet", allowed: []string{"docker.io/team"}, want: true},
		"Docker Hub, written out":              {repo: "docker.io/team/resnet", allowed: []string{"docker.io/team"}, want: true},
		"Docker Hub is not allowed":            {repo: "team/resnet", allowed: []string{"registry.example.com"}},
		"the default registry":                 {repo: "team/resnet", defaultRegistry: "registry.example.com", allowed: []string{"registry.example.com/team"}, want: true},
		"the default registry, not Docker Hub": {repo: "team/resnet", defaultRegistry: "registry.example.com", allowed: []string{"docker.io"}},
		"a path that a server could resolve":   {repo: "registry.example.com/team/../other/resnet", allowed: []string{"registry.example.com/team"}},
		"an empty component":                   {repo: "registry.example.com/team//resnet", allowed: []string{"registry.example.com/team"}},
	} {
		t.Run(name, func(t *testing.T) {
			opts := config.Default().Options()
			opts.DefaultRegistry, opts.Images.Repos = tc.defaultRegistry, tc.allowed
			mv := builders.MakeModelVersion("mv-3", "default").Claim("models", "").Obj()
			mv.Spec.ImageRepo = tc.repo

			_, problem := workflow.New(mv, workflow.Attempt{Number: 1}, opts)
			if tc.want {
				require.Nil(t, problem)
				return
			}
			require.NotNil(t, problem)
			assert.Equal(t, v1alpha1.ReasonImageForbidden, problem.Reason)
			assert.Contains(t, problem.Message, "(allowedImageRepos). Create a new ModelVersion with an imageRepo in "+strings.Join(tc.allowed, " or ")+", or ask the platform team to allow it")
		})
	}
}

// TestAllowedImageReposUserWorkflow shows that a Workflow that a user created for
// another repository is not followed, and that a result from before the rule is.
func TestAllowedImageReposUserWorkflow(t *testing.T) {
	mv := builders.MakeModelVersion("mv-3", "default").Claim("models", "").Obj()
	mv.Spec.ImageRepo, mv.Spec.ImageTag = "registry.example.com/team/resnet", "v1"
	image := "registry.example.com/team/resnet:v1"
	opts := config.Default().Options()
	assert.True(t, workflow.IsImageOf(mv, image, opts))
	opts.Images.Repos = []string{"other.example.com"}
	assert.False(t, workflow.IsImageOf(mv, image, opts))
	mv.Status.Image = image
	assert.True(t, workflow.IsImageOf(mv, image, opts))
}

func TestAllowedBaseImages(t *testing.T) {
	for name, tc := range map[string]struct {
		image   string
		allowed []string
		want    bool
	}{
		"no rules":                    {image: "registry.example.com/base/python:3", want: true},
		"not named":                   {allowed: []string{"registry.example.com"}, want: true},
		"scratch":                     {image: "scratch", allowed: []string{"registry.example.com"}, want: true},
		"the configured one":          {image: config.Default().BaseImage, allowed: []string{"registry.example.com"}, want: true},
		"registry":                    {image: "registry.example.com:5000/base/python:3", allowed: []string{"registry.example.com:5000"}, want: true},
		"repository with a tag":       {image: "registry.example.com/base/python:3", allowed: []string{"registry.example.com/base"}, want: true},
		"repository with a digest":    {image: "registry.example.com/base/python" + someDigest, allowed: []string{"registry.example.com/base/python"}, want: true},
		"repository with both":        {image: "registry.example.com/base/python:3" + someDigest, allowed: []string{"registry.example.com/base/python"}, want: true},
		"only the tag":                {image: "registry.example.com/base/python:3", allowed: []string{"registry.example.com/base/python:3"}, want: true},
		"another tag":                 {image: "registry.example.com/base/python:3.1", allowed: []string{"registry.example.com/base/python:3"}},
		"only the digest":             {image: "registry.example.com/base/python" + someDigest, allowed: []string{"registry.example.com/base/python" + someDigest}, want: true},
		"a tag instead of the digest": {image: "registry.example.com/base/python:3", allowed: []string{"registry.example.com/base/python" + someDigest}},
		"a tag as part of a path":     {image: "registry.example.com/base:3/python", allowed: []string{"registry.example.com/base:3"}},
		"official image":              {image: "python:3", allowed: []string{"docker.io/library"}, want: true},
		"official image with its tag": {image: "python:3", allowed: []string{"docker.io/library/python:3"}, want: true},
		"official image with a host":  {image: "docker.io/python:3", allowed: []string{"docker.io/library/python"}, want: true},
		"user's image on Docker Hub":  {image: "library-b/python:3", allowed: []string{"docker.io/library"}},
		"another registry":            {image: "evil.example.com/python:3", allowed: []string{"docker.io/library"}},
		"a path that goes up":         {image: "registry.example.com/base/../other/python:3", allowed: []string{"registry.example.com/base"}},
	} {
		t.Run(name, func(t *testing.T) {
			opts := config.Default().Options()
			opts.Images.BaseImages = tc.allowed
			mv := builders.MakeModelVersion("mv-3", "default").Claim("models", "").Obj()
			mv.Spec.Build = &v1alpha1.Build{BaseImage: tc.image}

			_, problem := workflow.New(mv, workflow.Attempt{Number: 1}, opts)
			if tc.want {
				require.Nil(t, problem)
				return
			}
			require.NotNil(t, problem)
			assert.Equal(t, v1alpha1.ReasonImageForbidden, problem.Reason)
			assert.Contains(t, problem.Message, "(allowedBaseImages). Set spec.build.baseImage to one in "+strings.Join(tc.allowed, " or ")+", or remove it: kubectl edit mv -n default mv-3")
		})
	}
}

func TestCheckImageEntries(t *testing.T) {
	for _, entry := range []string{"registry.example.com", "localhost:5000", "registry.example.com/team", "docker.io/library/busy_box"} {
		require.NoError(t, workflow.CheckRepoEntry(entry))
		require.NoError(t, workflow.CheckBaseImageEntry(entry))
	}
	for _, entry := range []string{"docker.io/library/busybox:1.37.0", "docker.io/library/busybox" + someDigest, "registry:5000/base/python:3" + someDigest} {
		require.NoError(t, workflow.CheckBaseImageEntry(entry))
		require.Error(t, workflow.CheckRepoEntry(entry))
	}
	for _, entry := range []string{"", "team", "team/resnet", "busybox:1.37.0", "registry.example.com/", "registry.example.com//a", "registry.example.com/a/", "registry.example.com/../a", "https://registry.example.com", "registry.example.com/*", "registry.example.com/A", "registry.example.com/:3", "registry.example.com/a:", "registry.example.com/a@sha256:9f86"} {
		require.ErrorContains(t, workflow.CheckRepoEntry(entry), "registry.example.com/team-a", entry)
		require.ErrorContains(t, workflow.CheckBaseImageEntry(entry), "docker.io/library/busybox:1.37.0", entry)
	}
}
