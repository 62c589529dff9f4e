package registry

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestErrorTransient(t *testing.T) {
	tests := map[int]bool{
		http.StatusTooManyRequests:       true,
		http.StatusInternalServerError:   true,
		http.StatusBadGateway:            true,
		http.StatusServiceUnavailable:    true,
		http.StatusGatewayTimeout:        true,
		http.StatusUnauthorized:          false,
		http.StatusForbidden:             false,
		http.StatusRequestEntityTooLarge: false,
		http.StatusInsufficientStorage:   false,
		http.StatusNotImplemented:        false,
	}
	for code, want := range tests {
		t.Run(http.StatusText(code), func(t *testing.T) {
			repository, err := name.NewRepository("registry.example.com/models/resnet")
			require.NoError(t, err)
			assert.Equal(t, want, isTransient((&Repository{name: repository}).explain(&transport.Error{StatusCode: code})))
		})
	}
}

func TestErrorRedactsQueries(t *testing.T) {
	repository, err := name.NewRepository("registry.example.com/models/resnet")
	require.NoError(t, err)
	cut := &url.Error{Op: "Get", URL: "https://storage.example.com/blob?signature=secret", Err: io.ErrUnexpectedEOF}

	err = (&Repository{name: repository}).explain(fmt.Errorf("fetch: %w", cut))
	assertKind(t, Unreachable, err, "https://storage.example.com/blob?***")
	assert.NotContains(t, err.Error()+errors.Unwrap(err).Error(), "secret")
}

func TestRedactQueries(t *testing.T) {
	for name, tc := range map[string]struct{ in, want string }{
		"a URL":                     {"GET https://a.example.com/b?signature=secret: EOF", "GET https://a.example.com/b?*** EOF"},
		"a URL in quotes":           {`Get "https://a.example.com/b?signature=secret": EOF`, `Get "https://a.example.com/b?***": EOF`},
		"a path":                    {`parse "/v2/b?signature=secret": EOF`, `parse "/v2/b?***": EOF`},
		"a URL that is not valid":   {`parse ":?signature=secret": missing protocol scheme`, `parse ":?***": missing protocol scheme`},
		"a quote within the quotes": {`parse "/a?b=\"c&signature=secret": EOF`, `parse "/a?***": EOF`},
		"a user and a password":     {`parse "https://ann:secret@a.example.com/%zz": EOF`, `parse "https://***@a.example.com/%zz": EOF`},
		"a question":                {"is it running?", "is it running?"},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, tc.want, RedactQueries(tc.in))
		})
	}
}

func isTransient(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Transient
}

func assertKind(t *testing.T, want Kind, err error, message string) {
	t.Helper()
	var got *Error
	require.ErrorAs(t, err, &got)
	assert.Equal(t, want, got.Kind, got.Message)
	assert.Contains(t, got.Message, message)
}
