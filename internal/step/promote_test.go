package step

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/report"
)

// labeled returns an image with the labels of a ModelVersion of a Model.
func labeled(t *testing.T, model, version string) v1.Image {
	t.Helper()
	return configured(t, randomImage(t), v1.Config{Labels: map[string]string{v1alpha1.LabelModelName: model, v1alpha1.LabelModelVersion: version}})
}

// pushDigest pushes an image with the pod's tag v1, and returns its digest.
func (p *pod) pushDigest(t *testing.T, image v1.Image) string {
	t.Helper()
	p.tag = "v1"
	p.push(t, image, p.image())
	return p.digest(t)
}

// promote moves the tag production to a digest.
func (p *pod) promote(t *testing.T, digest string, args ...string) (int, string) {
	t.Helper()
	p.tag = "production"
	return p.run(t, "promote", append(append(p.registryArgs(), "--digest="+digest, "--model=resnet", "--workflow-uid=wf-2", "--push-secret-required=false"), args...)...)
}

func TestPromote(t *testing.T) {
	p := newPod(t)
	first, second := p.pushDigest(t, labeled(t, "resnet", "resnet-1")), p.pushDigest(t, labeled(t, "resnet", "resnet-2"))
	for _, step := range []struct{ digest, log string }{
		{first, "the tag production is free"},
		{second, "the tag production refers to " + first + " of the same Model"},
		{second, "the tag production refers to " + second + " already"},
		{first, "moved the tag " + p.host + "/models/resnet:production to " + first},
	} {
		code, printed := p.promote(t, step.digest)
		require.Equal(t, exitOK, code, printed)
		assert.Contains(t, printed, step.log)
		assert.Equal(t, step.digest, p.digest(t))
		want := report.Report{
			Run:   report.Run{WorkflowUID: "wf-2", Image: p.image()},
			Image: &report.Image{Reference: p.image(), Digest: step.digest},
		}
		assert.Equal(t, want, p.report(t))
	}
	code, printed := p.run(t, "output")
	assert.Equal(t, exitOK, code)
	assert.Contains(t, printed, "the tag was moved and verified: "+p.image()+"@"+first)
}

// A ModelVersion of an image that kubectl kiln package has made is promoted like others,
// and so is the one after it.
func TestPromotePackaged(t *testing.T) {
	p := newPod(t)
	packaged, next := p.pushDigest(t, labeled(t, "resnet", "")), p.pushDigest(t, labeled(t, "resnet", "resnet-2"))
	for _, digest := range []string{packaged, next} {
		code, printed := p.promote(t, digest)
		require.Equal(t, exitOK, code, printed)
		assert.Equal(t, digest, p.digest(t))
	}
}

// An image of several platforms keeps its digest.
func TestPromoteIndex(t *testing.T) {
	p := newIndexPod(t, true)
	digest := p.digest(t)
	require.True(t, p.descriptor(t).MediaType.IsIndex())

	code, printed := p.promote(t, digest)
	require.Equal(t, exitOK, code, printed)
	assert.Equal(t, digest, p.digest(t))
	next := p.pushDigest(t, labeled(t, "resnet", "resnet-2"))
	code, printed = p.promote(t, next)
	require.Equal(t, exitOK, code, printed)
	assert.Equal(t, next, p.digest(t))
}

func TestPromoteRejected(t *testing.T) {
	const absent = "sha256:4f53cda18c2baa0c0354bb5f9a3ecbe5ed12ab4d8e11ba873c2f11161202b945"
	tagged := func(image func(t *testing.T) v1.Image) func(*testing.T, *pod) string {
		return func(t *testing.T, p *pod) string {
			t.Helper()
			p.push(t, image(t), p.host+"/"+p.repo+":production")
			return p.pushDigest(t, labeled(t, "resnet", "resnet-1"))
		}
	}
	ofResnet := func(t *testing.T, p *pod) string {
		t.Helper()
		return p.pushDigest(t, labeled(t, "resnet", "resnet-1"))
	}
	for name, tt := range map[string]struct {
		prepare func(t *testing.T, p *pod) (digest string)
		args    []string
		reason  string
		want    string
	}{
		"a tag of another Model": {
			prepare: tagged(func(t *testing.T) v1.Image { t.Helper(); return labeled(t, "bert", "bert-1") }), reason: v1alpha1.ReasonTagTaken,
			want: `the tag production holds an image with the labels of ModelVersion "bert-1" of Model "bert", and only a tag with an image of Model resnet is moved: choose another name for the alias or, if nobody needs that image, delete it with crane delete 127.0.0.1`,
		},
		"a tag of another image": {
			prepare: tagged(randomImage), reason: v1alpha1.ReasonTagTaken, want: "holds an image that names no ModelVersion",
		},
		"a tag of an artifact": {
			prepare: tagged(func(t *testing.T) v1.Image {
				t.Helper()
				return mutate.ConfigMediaType(labeled(t, "resnet", "resnet-1"), "application/vnd.cncf.helm.config.v1+json")
			}), reason: v1alpha1.ReasonTagTaken, want: "holds something that is not an image of a model",
		},
		"a tag of another index": {
			prepare: func(t *testing.T, p *pod) string {
				t.Helper()
				index, err := random.Index(10, 1, 2)
				require.NoError(t, err)
				ref, err := name.ParseReference(p.host+"/"+p.repo+":production", name.Insecure)
				require.NoError(t, err)
				require.NoError(t, remote.WriteIndex(ref, index))
				return ofResnet(t, p)
			}, reason: v1alpha1.ReasonTagTaken, want: "holds something that is not an image of a model",
		},
		"an image that is gone": {
			prepare: func(*testing.T, *pod) string { return absent }, reason: v1alpha1.ReasonImageLost,
			want: "@" + absent + " any more: request a rebuild of the ModelVersion with the annotation model.kubedl.io/rebuild, or promote another one",
		},
		"an image of another Model": {
			prepare: func(t *testing.T, p *pod) string {
				t.Helper()
				return p.pushDigest(t, labeled(t, "bert", "bert-1"))
			}, reason: v1alpha1.ReasonInvalidSpec,
			want: `holds an image with the labels of ModelVersion "bert-1" of Model "bert", and not one of Model resnet: promote another ModelVersion, or set tag to false for the alias`,
		},
		"an image without labels": {
			prepare: func(t *testing.T, p *pod) string { t.Helper(); return p.pushDigest(t, randomImage(t)) }, reason: v1alpha1.ReasonInvalidSpec,
			want: "holds an image that names no ModelVersion, and not one of Model resnet: promote another ModelVersion, or set tag to false for the alias",
		},
		"no digest":    {prepare: func(*testing.T, *pod) string { return "latest" }, reason: v1alpha1.ReasonInvalidSpec, want: `the parameter digest is "latest"`},
		"no model":     {prepare: ofResnet, args: []string{"--model="}, reason: v1alpha1.ReasonInvalidSpec, want: "the parameter model is empty"},
		"no reference": {prepare: ofResnet, args: []string{"--image=UPPER"}, reason: v1alpha1.ReasonInvalidSpec, want: "the tag cannot be moved"},
		"no Secret":    {prepare: ofResnet, args: []string{"--push-secret-required=true"}, reason: v1alpha1.ReasonPushSecretMissing, want: "Secret regcred of type kubernetes.io/dockerconfigjson does not exist in this namespace"},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPod(t)
			code, printed := p.promote(t, tt.prepare(t, p), tt.args...)
			p.assertFailed(t, "promote", tt.reason, tt.want, code, printed)
			assert.Nil(t, p.report(t).Image)
		})
	}
}

// What the registry does is what counts.
func TestPromoteRegistry(t *testing.T) {
	for name, tt := range map[string]struct {
		// respond responds to a PUT of the tag, or returns false.
		respond func(w http.ResponseWriter, r *http.Request) bool
		reason  string
		want    string
	}{
		"a tag that is immutable": {
			respond: func(w http.ResponseWriter, _ *http.Request) bool {
				http.Error(w, `{"errors": [{"code": "TAG_INVALID", "message": "The image tag 'production' already exists and cannot be overwritten because the repository is immutable."}]}`, http.StatusBadRequest)
				return true
			}, reason: v1alpha1.ReasonTagTaken, want: "immutable",
		},
		"no permission": {
			respond: func(w http.ResponseWriter, _ *http.Request) bool {
				http.Error(w, `{"errors": [{"code": "DENIED"}]}`, http.StatusForbidden)
				return true
			}, reason: v1alpha1.ReasonRegistryUnauthorized, want: "",
		},
		"a tag that stays where it was": {
			respond: func(w http.ResponseWriter, _ *http.Request) bool {
				w.WriteHeader(http.StatusCreated)
				return true
			}, reason: v1alpha1.ReasonVerificationFailed, want: "find out who pushes there, then start the Workflow again with argo retry",
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPod(t)
			first, second := p.pushDigest(t, labeled(t, "resnet", "resnet-1")), p.pushDigest(t, labeled(t, "resnet", "resnet-2"))
			code, printed := p.promote(t, first)
			require.Equal(t, exitOK, code, printed)
			inner := p.registry.get()
			p.registry.set(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodPut && strings.HasSuffix(r.URL.Path, "/manifests/production") && tt.respond(w, r) {
					return
				}
				inner.ServeHTTP(w, r)
			}))
			code, printed = p.promote(t, second)
			p.assertFailed(t, "promote", tt.reason, tt.want, code, printed)
			p.registry.set(inner)
			assert.Equal(t, first, p.digest(t))
		})
	}
}

// Artifactory, Quay and Docker Hub deny access to a tag that does not exist.
func TestPromoteHiddenTag(t *testing.T) {
	p := newPod(t)
	digest := p.pushDigest(t, labeled(t, "resnet", "resnet-1"))
	inner, moved := p.registry.get(), false
	p.registry.set(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ofTag := strings.HasSuffix(r.URL.Path, "/manifests/production")
		moved = moved || ofTag && r.Method == http.MethodPut
		if ofTag && !moved {
			http.Error(w, `{"errors": [{"code": "DENIED"}]}`, http.StatusForbidden)
			return
		}
		inner.ServeHTTP(w, r)
	}))
	code, printed := p.promote(t, digest)
	require.Equal(t, exitOK, code, printed)
	assert.Equal(t, digest, p.digest(t))
}
