package step

import (
	"net/http"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
)

// found is how a fault is found.
type found struct{ step, reason, want string }

// Faults that an image in the registry still has when it is looked at again.
var (
	pushedHalf   = found{step: "status-report", reason: v1alpha1.ReasonVerificationFailed, want: "lacks the layer sha256:"}
	forgotTheEnv = found{step: "status-report", reason: v1alpha1.ReasonVerificationFailed, want: "does not set KUBEDL_MODEL_PATH=/kubedl-model: delete the tag"}
)

func TestFaultsOfTheBuilderAreFound(t *testing.T) {
	tests := map[string]found{
		faultIsTurnedAway:   {step: "build", reason: v1alpha1.ReasonRegistryUnauthorized, want: "403 Forbidden"},
		faultLosesAFile:     {step: "build", reason: v1alpha1.ReasonVerificationFailed, want: `left "/kubedl-model/w.bin" out of its layer`},
		faultPushesNothing:  {step: "status-report", reason: v1alpha1.ReasonVerificationFailed, want: "the registry has nothing at"},
		faultPushesHalf:     pushedHalf,
		faultForgetsTheList: {step: "status-report", reason: v1alpha1.ReasonVerificationFailed, want: "lacks the list of the model's files: delete the tag"},
		faultChangesTheList: {step: "status-report", reason: v1alpha1.ReasonVerificationFailed, want: "lists other files than were packaged: delete the tag"},
		faultForgetsTheEnv:  forgotTheEnv,
		faultForgetsLabels:  {step: "status-report", reason: v1alpha1.ReasonVerificationFailed, want: "belongs to another version"},
	}
	for name, tt := range tests {
		t.Run("it "+name, func(t *testing.T) {
			t.Setenv(fault, name)
			p := newPod(t)
			p.write(t, "source/config.json", "{}")
			p.write(t, "source/w.bin", "weights")
			code, printed := p.allSteps(t)
			p.assertFailed(t, tt.step, tt.reason, tt.want, code, printed)
			assert.Nil(t, p.report(t).Image)
		})
	}
}

// What a failed attempt left at the tag is no success of the next one.
func TestARetryDoesNotMakeABrokenImageGood(t *testing.T) {
	tests := map[string]found{
		faultPushesHalf:     pushedHalf,
		faultForgetsTheList: {step: "mount-check", reason: v1alpha1.ReasonTagTaken, want: "without a list of its files"},
		faultForgetsTheEnv:  forgotTheEnv,
		faultForgetsLabels:  {step: "mount-check", reason: v1alpha1.ReasonTagTaken, want: "something else than this version"},
	}
	for name, tt := range tests {
		t.Run("of a builder that "+name, func(t *testing.T) {
			p := newPod(t)
			p.write(t, "source/config.json", "{}")
			p.write(t, "source/w.bin", "weights")
			t.Setenv(fault, name)
			code, printed := p.allSteps(t)
			require.Equal(t, exitFailed, code, printed)

			t.Setenv(fault, "")
			for range 2 {
				p.again(t)
				code, printed = p.allSteps(t)
				p.assertFailed(t, tt.step, tt.reason, tt.want, code, printed)
			}
		})
	}
}

func TestARetryMayPushWhatWasNotPushed(t *testing.T) {
	p := newPod(t)
	p.write(t, "source/w.bin", "weights")
	t.Setenv(fault, faultPushesNothing)
	code, printed := p.allSteps(t)
	require.Equal(t, exitFailed, code, printed)

	t.Setenv(fault, "")
	p.again(t)
	code, printed = p.allSteps(t)
	require.Equal(t, exitDone, code, printed)
}

func TestAnotherImageThanTheOneThatWasComparedIsFound(t *testing.T) {
	p := built(t)
	code, printed := p.mountCheck(t)
	require.Equal(t, exitDone, code, printed)
	p.put(t, mutate.Annotations(p.pull(t), map[string]string{"a": "b"}).(v1.Image), p.image())
	code, printed = p.statusReport(t)
	p.assertFailed(t, "status-report", v1alpha1.ReasonVerificationFailed, "was given to another image", code, printed)
}

func TestFaultsOfTheRegistryAreFound(t *testing.T) {
	tests := map[string]struct {
		blob         func(w http.ResponseWriter)
		reason, want string
	}{
		"a layer is lost": {
			blob:   func(w http.ResponseWriter) { w.WriteHeader(http.StatusNotFound) },
			reason: v1alpha1.ReasonVerificationFailed, want: "the registry lacks the layer sha256:",
		},
		"a layer is cut off": {
			blob:   func(w http.ResponseWriter) { w.Header().Set("Content-Length", "1") },
			reason: v1alpha1.ReasonVerificationFailed, want: "the registry has 1 bytes of the layer",
		},
		"a layer may not be seen": {
			blob:   func(w http.ResponseWriter) { w.WriteHeader(http.StatusForbidden) },
			reason: v1alpha1.ReasonRegistryUnauthorized, want: "(403 Forbidden)",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p := built(t)
			inner := p.registry.handler()
			p.registry.set(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodHead && strings.Contains(r.URL.Path, "/blobs/") {
					tt.blob(w)
					return
				}
				inner.ServeHTTP(w, r)
			}))
			code, printed := p.statusReport(t)
			p.assertFailed(t, "status-report", tt.reason, tt.want, code, printed)
		})
	}
}
