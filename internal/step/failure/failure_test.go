package failure

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/registry"
)

func TestNew(t *testing.T) {
	tests := map[string]struct{ in, want string }{
		"a plain message":    {in: "the path /foo does not exist", want: "the path /foo does not exist"},
		"full stops":         {in: "It failed. Again..", want: "It failed. Again"},
		"several lines":      {in: "one\n\ttwo\r\n", want: "one two"},
		"control characters": {in: "a\x1b[31mb\x00c", want: "a [31mb c"},
		"invalid UTF-8":      {in: "a\xffb", want: "a b"},
		"a long message":     {in: strings.Repeat("é", 600), want: strings.Repeat("é", 499) + "…"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) { assert.Equal(t, tt.want, New("Reason", "%s", tt.in).Message) })
	}
}

func TestOf(t *testing.T) {
	t.Run("finds a wrapped failure", func(t *testing.T) {
		cause := errors.New("permission denied")
		want := New(v1alpha1.ReasonSourceUnreadable, "cannot read %s", "a").WithCause(cause)

		got := Of(fmt.Errorf("list: %w", want))

		assert.Same(t, want, got)
		assert.Equal(t, "cannot read a (permission denied)", got.Error())
		assert.ErrorIs(t, got, cause)
	})
	t.Run("turns any other error into BuildFailed", func(t *testing.T) {
		got := Of(errors.New("write /kiln/plan.json: no space left on device"))
		require.NotNil(t, got)
		assert.Equal(t, v1alpha1.ReasonBuildFailed, got.Reason)
		assert.Equal(t, "write /kiln/plan.json: no space left on device", got.Message)
	})
}

func TestOfRegistry(t *testing.T) {
	tests := map[registry.Kind]string{
		registry.Unreachable:   v1alpha1.ReasonRegistryUnreachable,
		registry.NotFound:      v1alpha1.ReasonRegistryUnreachable,
		registry.Unauthorized:  v1alpha1.ReasonRegistryUnauthorized,
		registry.Untrusted:     v1alpha1.ReasonRegistryUntrusted,
		registry.QuotaExceeded: v1alpha1.ReasonRegistryFull,

		registry.RepositoryMissing: v1alpha1.ReasonRepositoryMissing,
		registry.TagImmutable:      v1alpha1.ReasonTagTaken,
		registry.PolicyDenied:      v1alpha1.ReasonHeldByPolicy,
		registry.Unsupported:       v1alpha1.ReasonMediaTypeUnsupported,
		registry.RateLimited:       v1alpha1.ReasonRateLimited,
	}
	for kind, want := range tests {
		t.Run(want, func(t *testing.T) {
			cause := errors.New("status 500")
			got := Of(OfRegistry(fmt.Errorf("push: %w", &registry.Error{Kind: kind, Message: "the registry h failed", Transient: true, Cause: cause})))
			assert.Equal(t, &Error{Reason: want, Message: "the registry h failed", Transient: true, Cause: cause}, got)
		})
	}
	t.Run("another error", func(t *testing.T) {
		other := errors.New("other")
		assert.Equal(t, other, OfRegistry(other))
	})
}
