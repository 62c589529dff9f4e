package registry

import (
	"io"
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestRepositoryCheckSize(t *testing.T) {
	const limit = 1000
	tests := map[string]struct {
		code  int
		bytes int64
		want  string
	}{
		"below a proxy's limit":          {code: http.StatusRequestEntityTooLarge, bytes: limit},
		"above a proxy's limit":          {code: http.StatusRequestEntityTooLarge, bytes: limit + 1, want: "rejected the upload to models/resnet (413)"},
		"above the storage quota":        {code: http.StatusInsufficientStorage, bytes: limit + 1, want: "rejected the upload to models/resnet (507)"},
		"expectations are not supported": {code: http.StatusExpectationFailed, bytes: limit + 1},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var sent, sessions atomic.Int64
			registry := newRegistry()
			host := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				switch {
				case r.Method == http.MethodPatch && r.ContentLength > limit:
					w.WriteHeader(tt.code)
				case r.Method == http.MethodPatch:
					n, err := io.Copy(io.Discard, r.Body)
					sent.Add(n)
					assert.Error(t, err, "the upload is aborted")
				case r.Method == http.MethodDelete:
					sessions.Add(-1)
				case r.Method == http.MethodPost:
					sessions.Add(1)
					registry.ServeHTTP(w, r)
				default:
					registry.ServeHTTP(w, r)
				}
			}))
			repository, _, err := open(t, Config{PlainHTTP: []string{host}}, host+"/models/resnet:v1", Push)
			require.NoError(t, err)

			err = repository.CheckSize(t.Context(), tt.bytes)
			if tt.want == "" {
				require.NoError(t, err)
			} else {
				assertKind(t, QuotaExceeded, err, tt.want)
			}
			assert.Zero(t, sent.Load())
			assert.Zero(t, sessions.Load(), "the upload session is canceled")
		})
	}
}

func TestRepositoryCheckSizeWithoutPermission(t *testing.T) {
	host := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		newRegistry().ServeHTTP(w, r)
	}))
	repository, _, err := open(t, Config{PlainHTTP: []string{host}}, host+"/models/resnet:v1", Push)
	require.NoError(t, err)

	assertKind(t, Unauthorized, repository.CheckSize(t.Context(), 1), "denied the permissions that the build needs in models/resnet (403 Forbidden)")
}
