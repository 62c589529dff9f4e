package step

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
)

func TestFaultsOfTheBuilderAreFound(t *testing.T) {
	tests := map[string]struct{ step, reason, want string }{
		faultIsTurnedAway:   {step: "build", reason: v1alpha1.ReasonRegistryUnauthorized, want: "403 Forbidden"},
		faultLosesAFile:     {step: "build", reason: v1alpha1.ReasonVerificationFailed, want: `left "/kubedl-model/w.bin" out of its layer`},
		faultPushesNothing:  {step: "status-report", reason: v1alpha1.ReasonVerificationFailed, want: "the registry has nothing at"},
		faultPushesHalf:     {step: "status-report", reason: v1alpha1.ReasonVerificationFailed, want: "lacks the layer sha256:"},
		faultForgetsTheList: {step: "status-report", reason: v1alpha1.ReasonVerificationFailed, want: "lacks the list of the model's files"},
		faultForgetsTheEnv:  {step: "status-report", reason: v1alpha1.ReasonVerificationFailed, want: "does not set KUBEDL_MODEL_PATH=/kubedl-model"},
		faultForgetsLabels:  {step: "status-report", reason: v1alpha1.ReasonVerificationFailed, want: "belongs to another version"},
	}
	for name, tt := range tests {
		t.Run("it "+name, func(t *testing.T) {
			t.Setenv(fault, name)
			p := newPod(t)
			p.write(t, "source/config.json", "{}")
			p.write(t, "source/w.bin", "weights")
			code, printed := p.mountCheck(t)
			require.Equal(t, exitDone, code, printed)
			code, printed = p.build(t)
			if tt.step == "status-report" {
				require.Equal(t, exitDone, code, printed)
				code, printed = p.statusReport(t)
			}
			p.assertFailed(t, tt.step, tt.reason, tt.want, code, printed)
			assert.Nil(t, p.report(t).Image)
		})
	}
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
			reason: v1alpha1.ReasonRegistryUnauthorized, want: "(403)",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p := built(t)
			inner := p.registry.Handler
			p.registry.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodHead && strings.Contains(r.URL.Path, "/blobs/") {
					tt.blob(w)
					return
				}
				inner.ServeHTTP(w, r)
			})
			code, printed := p.statusReport(t)
			p.assertFailed(t, "status-report", tt.reason, tt.want, code, printed)
		})
	}
}
