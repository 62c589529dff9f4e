package remote

import (
	"net"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
)

func TestTransportRefusesMetadataServices(t *testing.T) {
	for name, tt := range map[string]struct {
		address string
		refused bool
	}{
		"most clouds":               {"169.254.169.254:80", true},
		"another link-local one":    {"169.254.170.23:443", true},
		"link-local, IPv6":          {"[fe80::a9fe:a9fe%1]:80", true},
		"an IPv4 address as IPv6":   {"[::ffff:169.254.169.254]:80", true},
		"Amazon, IPv6":              {"[fd00:ec2::254]:80", true},
		"Alibaba Cloud":             {"100.100.100.200:80", true},
		"private":                   {"10.0.0.1:80", false},
		"private, IPv6":             {"[fd00:ec3::254]:80", false},
		"public":                    {"192.0.2.1:443", false},
		"what is no address at all": {"metadata", true},
	} {
		t.Run(name, func(t *testing.T) {
			err := refuseMetadata("tcp", tt.address, nil)
			assert.Equal(t, tt.refused, err != nil, "%v", err)
		})
	}
	transport, err := newTransport("")
	require.NoError(t, err)
	_, err = transport.DialContext(t.Context(), "tcp", "169.254.169.254:80")
	require.ErrorIs(t, err, errMetadata)

	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { require.NoError(t, listener.Close()) }()
	connection, err := transport.DialContext(t.Context(), "tcp", listener.Addr().String())
	require.NoError(t, err)
	require.NoError(t, connection.Close())
}

// A name that is allowed is resolved to the address of a metadata service.
func TestUnreachableMetadataService(t *testing.T) {
	s := &server{name: "the hub hub.example.com", secrets: func() []string { return nil }}
	err := s.unreachable(t.Context(), &net.OpError{Op: "dial", Err: errMetadata})
	assertFailure(t, v1alpha1.ReasonSourceForbidden, false, "the hub hub.example.com has the address of a metadata service of the cloud, at which nodes get credentials: correct the DNS", err)
}
