package step

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
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
			assert.Equal(t, p.host+"/base/python@"+digest.String(), plan.Base.Variants[0].Reference)
			code, printed = p.build(t)
			require.Equal(t, exitOK, code, printed)
		})
	}
}

// The architecture of the node that this test runs on plays no part.
func TestMountCheckBaseImageIndex(t *testing.T) {
	platform := func(architecture, variant string) *v1.Platform {
		return &v1.Platform{OS: "linux", Architecture: architecture, Variant: variant}
	}
	tests := map[string]struct {
		platforms []*v1.Platform
		// want are the positions of the chosen platforms.
		want []int
		fail string
	}{
		"both platforms":                     {platforms: []*v1.Platform{platform("arm64", "v8"), platform("amd64", "")}, want: []int{1, 0}},
		"many platforms and an attestation":  {platforms: []*v1.Platform{platform("s390x", ""), platform("amd64", ""), {OS: "unknown", Architecture: "unknown"}, platform("arm64", "v8")}, want: []int{1, 3}},
		"several variants of a platform":     {platforms: []*v1.Platform{platform("amd64", "v3"), platform("amd64", "v1"), platform("arm64", "v9"), platform("arm64", "")}, want: []int{1, 3}},
		"a variant that not every node runs": {platforms: []*v1.Platform{platform("amd64", "v3")}, want: []int{0}},
		"amd64 only":                         {platforms: []*v1.Platform{platform("amd64", "")}, want: []int{0}},
		"arm64 only":                         {platforms: []*v1.Platform{platform("arm64", "v8"), platform("riscv64", "")}, want: []int{0}},
		"one other platform":                 {platforms: []*v1.Platform{platform("mips64", "")}, want: []int{0}},
		"several other platforms":            {platforms: []*v1.Platform{platform("mips64", ""), platform("s390x", "")}, fail: `its index has images for "linux/mips64", "linux/s390x"`},
		"another operating system":           {platforms: []*v1.Platform{{OS: "windows", Architecture: "amd64"}}, fail: "has no variant that a model's image can be built on"},
		"no platform":                        {platforms: []*v1.Platform{nil}, fail: "no platform"},
		"no image":                           {fail: "no platform"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p := newPod(t)
			p.write(t, "source/a", "x")
			p.base = p.host + "/base/multi:1"
			var images []v1.Image
			for range tt.platforms {
				images = append(images, randomImage(t))
			}
			p.pushIndex(t, p.base, images, tt.platforms)

			code, printed := p.mountCheck(t)

			if tt.fail != "" {
				p.assertFailed(t, "mount-check", v1alpha1.ReasonBuildFailed, tt.fail, code, printed)
				return
			}
			require.Equal(t, exitOK, code, printed)
			plan, err := handoff.Dir(p.path("kiln")).ReadPlan()
			require.NoError(t, err)
			require.Len(t, plan.Base.Variants, len(tt.want))
			for number, position := range tt.want {
				digest, err := images[position].Digest()
				require.NoError(t, err)
				assert.Equal(t, p.host+"/base/multi@"+digest.String(), plan.Base.Variants[number].Reference)
				assert.Equal(t, *tt.platforms[position], plan.Base.Variants[number].Platform)
			}
		})
	}
}

// pushIndex pushes an index of images for platforms.
func (p *pod) pushIndex(t *testing.T, reference string, images []v1.Image, platforms []*v1.Platform) {
	t.Helper()
	ref, err := name.ParseReference(reference, name.Insecure)
	require.NoError(t, err)
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for number, image := range images {
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: image, Descriptor: v1.Descriptor{Platform: platforms[number]}})
	}
	require.NoError(t, remote.WriteIndex(ref, index))
}

func TestMountCheckBaseImageRegistryError(t *testing.T) {
	p := newPod(t)
	p.write(t, "source/a", "x")
	p.base = p.host + "/base/multi:1"
	ref, err := name.ParseReference(p.base, name.Insecure)
	require.NoError(t, err)
	ours := randomImage(t)
	require.NoError(t, remote.WriteIndex(ref, mutate.AppendManifests(empty.Index, mutate.IndexAddendum{
		Add: ours, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "amd64"}},
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
	tests := map[int]int{26: 100, 27: 67, 125: 1, 126: 0}
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
