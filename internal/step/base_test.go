package step

import (
	"fmt"
	"net/http"
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/step/handoff"
)

func TestMountCheckBaseImage(t *testing.T) {
	tests := map[string]struct {
		base         string
		config       *v1.Config
		reason, want string
	}{
		"an invalid reference": {base: "a b", reason: v1alpha1.ReasonInvalidSpec, want: "the base image in spec.build.baseImage is not valid"},
		"an empty reference":   {base: "", reason: v1alpha1.ReasonInvalidSpec, want: "the base image in spec.build.baseImage is not valid"},
		"a missing image":      {base: "HOST/base/none:1", reason: v1alpha1.ReasonBuildFailed, want: "does not exist in its registry: correct it in spec.build.baseImage"},
		"ONBUILD instructions": {base: "HOST/base/on:1", config: &v1.Config{OnBuild: []string{"RUN id"}}, reason: v1alpha1.ReasonInvalidSpec, want: "has ONBUILD instructions"},
		"scratch":              {base: "scratch"},
		"an image":             {base: "HOST/base/ok:1", config: &v1.Config{}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p := newPod(t)
			p.write(t, "source/a", "x")
			p.base = strings.ReplaceAll(tt.base, "HOST", p.host)
			if tt.config != nil {
				p.push(t, configured(t, randomImage(t), *tt.config), p.base)
			}
			code, printed := p.mountCheck(t)
			if tt.reason == "" {
				require.Equal(t, exitOK, code, printed)
				return
			}
			p.assertFailed(t, "mount-check", tt.reason, tt.want, code, printed)
		})
	}
}

// A digest identifies the base image, even if the tag before it was moved.
func TestMountCheckBaseImageDigest(t *testing.T) {
	for name, reference := range map[string]string{"a digest": "/base/python@", "a tag and a digest": "/base/python:3@", "a tag that was removed and a digest": "/base/python:2@"} {
		t.Run(name, func(t *testing.T) {
			p := newPod(t)
			p.write(t, "source/a", "x")
			image := randomImage(t)
			p.push(t, image, p.host+"/base/python:3")
			p.push(t, randomImage(t), p.host+"/base/python:3")
			digest, err := image.Digest()
			require.NoError(t, err)
			p.base = p.host + reference + digest.String()

			code, printed := p.mountCheck(t)
			require.Equal(t, exitOK, code, printed)
			plan, err := handoff.Dir(p.path("kiln")).ReadPlan()
			require.NoError(t, err)
			assert.Equal(t, p.base, plan.Base.Name)
			assert.Equal(t, p.host+"/base/python@"+digest.String(), plan.Base.Reference)
			code, printed = p.build(t)
			require.Equal(t, exitOK, code, printed)
		})
	}
}

func TestMountCheckBaseImageIndex(t *testing.T) {
	variant := func(image v1.Image, architecture string) mutate.IndexAddendum {
		return mutate.IndexAddendum{Add: image, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: architecture}}}
	}
	p := newPod(t)
	p.write(t, "source/a", "x")
	p.base = p.host + "/base/multi:1"
	ref, err := name.ParseReference(p.base, name.Insecure)
	require.NoError(t, err)
	ours, other := randomImage(t), randomImage(t)

	index := mutate.AppendManifests(empty.Index, variant(other, "mips64"))
	require.NoError(t, remote.WriteIndex(ref, index))
	code, printed := p.mountCheck(t)
	p.assertFailed(t, "mount-check", v1alpha1.ReasonBuildFailed, "has no variant for this node", code, printed)

	require.NoError(t, remote.WriteIndex(ref, mutate.AppendManifests(index, variant(ours, runtime.GOARCH))))
	code, printed = p.mountCheck(t)
	require.Equal(t, exitOK, code, printed)
	digest, err := ours.Digest()
	require.NoError(t, err)
	assert.Contains(t, printed, "the base image is "+p.host+"/base/multi@"+digest.String())
}

func TestMountCheckBaseImageRegistryError(t *testing.T) {
	p := newPod(t)
	p.write(t, "source/a", "x")
	p.base = p.host + "/base/multi:1"
	ref, err := name.ParseReference(p.base, name.Insecure)
	require.NoError(t, err)
	ours := randomImage(t)
	require.NoError(t, remote.WriteIndex(ref, mutate.AppendManifests(empty.Index, mutate.IndexAddendum{
		Add: ours, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: runtime.GOARCH}},
	})))
	digest, err := ours.Digest()
	require.NoError(t, err)
	inner := p.registry.get()
	p.registry.set(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, digest.String()) {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		inner.ServeHTTP(w, r)
	}))
	code, printed := p.mountCheck(t)
	p.assertFailed(t, "mount-check", v1alpha1.ReasonRegistryUnreachable, "the error 503", code, printed)
}

func TestMountCheckBaseImageWithManyLayers(t *testing.T) {
	tests := map[int]int{26: 100, 27: 50, 125: 1, 126: 0}
	for base, want := range tests {
		t.Run(fmt.Sprint(base), func(t *testing.T) {
			p := newPod(t)
			for i := range 200 {
				path := fmt.Sprintf("source/weights-%03d.bin", i)
				p.write(t, path, "")
				require.NoError(t, os.Truncate(p.path(path), layerSize))
			}
			p.base = p.host + "/base/many:1"
			image, err := random.Image(10, int64(base))
			require.NoError(t, err)
			p.push(t, image, p.base)
			code, printed := p.mountCheck(t)
			if want == 0 {
				p.assertFailed(t, "mount-check", v1alpha1.ReasonInvalidSpec, "has 126 layers, and an image can have 127, so that none are left for the model", code, printed)
				return
			}
			require.Equal(t, exitOK, code, printed)
			plan, err := handoff.Dir(p.path("kiln")).ReadPlan()
			require.NoError(t, err)
			assert.Len(t, plan.Model.Layers, want)
			assert.Len(t, plan.Model.Entries(), 201)
			assert.Equal(t, want, p.report(t).Source.Layers)
		})
	}
}
