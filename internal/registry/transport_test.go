package registry

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// closedBody records that it was closed.
type closedBody struct{ closed bool }

func (*closedBody) Read([]byte) (int, error) { return 0, nil }

func (b *closedBody) Close() error {
	b.closed = true
	return nil
}

// A transport closes the body of a request that it does not send. An upload to a
// session at such an address would otherwise wait forever.
func TestTransportsCloseTheBody(t *testing.T) {
	looping := func(req *http.Request) {
		for range maxRedirects + 1 {
			req.Response = &http.Response{Request: &http.Request{Response: req.Response}}
		}
	}
	for name, tc := range map[string]struct {
		transport http.RoundTripper
		edit      func(*http.Request)
		want      error
	}{
		"plain HTTP":      {httpsOnly{}, func(*http.Request) {}, errPlainHTTP},
		"a redirect loop": {timeoutTransport{}, looping, errRedirectLoop},
	} {
		t.Run(name, func(t *testing.T) {
			body := &closedBody{}
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPatch, "http://registry.example.com/v2/", body)
			require.NoError(t, err)
			tc.edit(req)

			resp, err := tc.transport.RoundTrip(req)
			require.ErrorIs(t, err, tc.want)
			assert.Nil(t, resp)
			assert.True(t, body.closed)
		})
	}
}
