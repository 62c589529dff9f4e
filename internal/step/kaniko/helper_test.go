package kaniko

import (
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/registry"
	"github.com/modelkiln/modelkiln/internal/registry/identity"
	"github.com/modelkiln/modelkiln/internal/step/engine"
	"github.com/modelkiln/modelkiln/internal/step/failure"
	"github.com/modelkiln/modelkiln/internal/step/handoff"
	"github.com/modelkiln/modelkiln/test/clouds"
)

const ecrHost = "123456789012.dkr.ecr.eu-west-1.amazonaws.com"

// helperInput returns the input of a build that pushes by identity.
func helperInput(t *testing.T) (Input, *clouds.Amazon) {
	t.Helper()
	amazon := clouds.StartAmazon(t)
	amazon.ProjectRole(t)
	config, err := registry.Config{}.WithIdentity()
	require.NoError(t, err)
	target, err := name.NewTag(ecrHost + "/models/resnet:v1")
	require.NoError(t, err)
	plan := handoff.Plan{Base: handoff.BaseImage{Name: handoff.Scratch, Reference: handoff.Scratch}}
	return Input{Input: engine.Input{Plan: plan, Registry: config, Target: target}, Shared: handoff.Dir(t.TempDir())}, amazon
}

func TestRequestCredentials(t *testing.T) {
	in, amazon := helperInput(t)
	h, err := startHelper(t.Context(), in)
	require.NoError(t, err)
	t.Cleanup(h.stop)

	got, err := RequestCredentials(t.Context(), in.Shared, ecrHost)
	require.NoError(t, err)
	require.Len(t, amazon.Issued(), 1)
	assert.JSONEq(t, `{"ServerURL": "`+ecrHost+`", "Username": "AWS", "Secret": "`+amazon.Issued()[0]+`"}`, got)

	for _, host := range []string{ecrHost + ".evil.example", "210987654321.dkr.ecr.eu-west-1.amazonaws.com", "public.ecr.aws", ""} {
		_, err = RequestCredentials(t.Context(), in.Shared, host)
		require.Error(t, err, host)
	}
	assert.Len(t, amazon.Issued(), 1, "nothing is issued for other registries")

	_, err = RequestCredentials(t.Context(), in.Shared, ecrHost)
	require.NoError(t, err)
	assert.Len(t, amazon.Issued(), 2, "Kaniko gets a token that is valid as long as possible")
}

func TestHelperServerExplain(t *testing.T) {
	refused := failure.New(v1alpha1.ReasonRegistryUnauthorized, "401 Unauthorized")
	other := failure.New(v1alpha1.ReasonBuildFailed, "no space")
	expired := identity.Credential{Account: "the Azure identity x", Expires: time.Now().Add(-time.Minute)}
	valid := identity.Credential{Account: "the Azure identity x", Expires: time.Now().Add(time.Minute)}
	tests := map[string]struct {
		helper    *helperServer
		err       error
		want      string
		transient bool
	}{
		"no error":        {helper: &helperServer{last: expired, server: "h"}},
		"a valid token":   {helper: &helperServer{last: valid, server: "h"}, err: refused, want: "401 Unauthorized"},
		"no token":        {helper: &helperServer{}, err: refused, want: "401 Unauthorized"},
		"another failure": {helper: &helperServer{last: expired, server: "h"}, err: other, want: "no space"},
		"an expired token": {
			helper: &helperServer{last: expired, server: "h", served: time.Now().Add(-10 * time.Minute)}, err: refused, transient: true,
			want: "the token of the Azure identity x for h expired while Kaniko pushed, and Kaniko cannot renew it during a push: use the engine Stream, which can, or create a Secret (401 Unauthorized)",
		},
		"an expired token that was new": {helper: &helperServer{last: expired, server: "h", served: time.Now().Add(-time.Hour)}, err: refused, want: "the token of the Azure identity x for h expired while Kaniko pushed, and Kaniko cannot renew it during a push: use the engine Stream, which can, or create a Secret (401 Unauthorized)"},
		"no credentials for a helper":   {helper: &helperServer{err: other}, err: refused, want: "no space"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			err := tt.helper.explain(tt.err)
			if tt.want == "" {
				require.NoError(t, err)
				return
			}
			require.EqualError(t, err, tt.want)
			assert.Equal(t, tt.transient, failure.Of(err).Transient)
		})
	}
}
