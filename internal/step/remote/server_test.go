package remote

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
)

func TestUnreachable(t *testing.T) {
	s := &server{name: "the hub hub.example.com", host: "hub.example.com", secrets: func() []string { return []string{"hf_secret", ""} }}
	at := func(err error) error {
		return &url.Error{Op: "Get", URL: "https://hub.example.com/signed-path/x?Signature=abc", Err: err}
	}
	for name, tt := range map[string]struct {
		err       error
		transient bool
		says      string
	}{
		"no such name":            {at(&net.DNSError{Err: "no such host", IsNotFound: true}), false, "the hub hub.example.com cannot be resolved in the cluster's DNS"},
		"a DNS that fails":        {at(&net.DNSError{Err: "server misbehaving", IsTemporary: true}), true, "cannot be resolved"},
		"an unknown authority":    {at(&tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}), false, "from an unknown authority: add"},
		"an expired certificate":  {at(&tls.CertificateVerificationError{Err: x509.CertificateInvalidError{Reason: x509.Expired}}), false, "that is not valid for it: "},
		"a refused connection":    {at(fmt.Errorf("dial: %w", syscall.ECONNREFUSED)), true, "refused the connection"},
		"no response in time":     {at(os.ErrDeadlineExceeded), true, "did not respond in time"},
		"a reset connection":      {at(syscall.ECONNRESET), true, "connection failed: connection reset by peer"},
		"a cut response":          {io.ErrUnexpectedEOF, true, "connection failed: unexpected EOF"},
		"a long response":         {errTooLong, false, "an answer that is too long"},
		"a secret in an error":    {errors.New("token hf_secret"), true, "token ***"},
		"the host of a redirect":  {&url.Error{Op: "Get", URL: "https://cdn.example.com/signed-path/x?Signature=abc", Err: syscall.ECONNREFUSED}, true, "the host cdn.example.com, to which the hub hub.example.com redirects the build, refused"},
		"an address that is none": {&url.Error{Op: "Get", URL: ":", Err: syscall.ECONNREFUSED}, true, "the hub hub.example.com refused"},
	} {
		t.Run(name, func(t *testing.T) {
			err := s.unreachable(t.Context(), tt.err)
			assertFailure(t, v1alpha1.ReasonSourceUnavailable, tt.transient, tt.says, err)
			assert.NotContains(t, err.Error(), "Signature=abc")
			assert.NotContains(t, err.Error(), "signed-path")
			assert.NotContains(t, err.Error(), "hf_secret")
		})
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, s.unreachable(ended, io.ErrUnexpectedEOF), context.Canceled)
}
