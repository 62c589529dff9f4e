package step

import (
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
)

func TestBaseImages(t *testing.T) {
	tests := map[string]struct {
		base         string
		config       *v1.Config
		reason, want string
	}{
		"not a reference":      {base: "a b", reason: v1alpha1.ReasonInvalidSpec, want: "the base image cannot be used"},
		"none at all":          {base: "", reason: v1alpha1.ReasonInvalidSpec, want: "the base image cannot be used"},
		"not there":            {base: "HOST/base/none:1", reason: v1alpha1.ReasonBuildFailed, want: "does not exist in its registry"},
		"one that runs things": {base: "HOST/base/on:1", config: &v1.Config{OnBuild: []string{"RUN id"}}, reason: v1alpha1.ReasonInvalidSpec, want: "has ONBUILD instructions"},
		"scratch":              {base: "scratch"},
		"an ordinary one":      {base: "HOST/base/ok:1", config: &v1.Config{}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p := newPod(t)
			p.write(t, "source/a", "x")
			p.base = strings.ReplaceAll(tt.base, "HOST", p.host)
			if tt.config != nil {
				p.put(t, configured(t, randomImage(t), *tt.config), p.base)
			}
			code, printed := p.mountCheck(t)
			if tt.reason == "" {
				require.Equal(t, exitDone, code, printed)
				return
			}
			p.assertFailed(t, "mount-check", tt.reason, tt.want, code, printed)
		})
	}
}

func TestABaseImageOfSeveralVariants(t *testing.T) {
	variant := func(image v1.Image, architecture string) mutate.IndexAddendum {
		return mutate.IndexAddendum{Add: image, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: architecture}}}
	}
	p := newPod(t)
	p.write(t, "source/a", "x")
	p.base = p.host + "/base/multi:1"
	ref, err := name.ParseReference(p.base, name.Insecure)
	require.NoError(t, err)
	mine, others := randomImage(t), randomImage(t)

	index := mutate.AppendManifests(empty.Index, variant(others, "mips64"))
	require.NoError(t, remote.WriteIndex(ref, index))
	code, printed := p.mountCheck(t)
	p.assertFailed(t, "mount-check", v1alpha1.ReasonBuildFailed, "has no variant for this node", code, printed)

	require.NoError(t, remote.WriteIndex(ref, mutate.AppendManifests(index, variant(mine, runtime.GOARCH))))
	code, printed = p.mountCheck(t)
	require.Equal(t, exitDone, code, printed)
	digest, err := mine.Digest()
	require.NoError(t, err)
	assert.Contains(t, printed, "the base image is "+p.host+"/base/multi@"+digest.String())
}
