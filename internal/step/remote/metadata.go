package remote

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"syscall"
	"time"
)

// dialTimeout is how long a connection may take to be established, and keepAlive the
// interval of probes on it, as for registries.
const (
	dialTimeout = 5 * time.Second
	keepAlive   = 30 * time.Second
)

// metadataServices are the addresses of services at which nodes of clouds get their
// credentials, beside link-local ones, which most clouds use
// (https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-retrieval.html,
// https://www.alibabacloud.com/help/en/ecs/user-guide/view-instance-metadata).
var metadataServices = []netip.Addr{netip.MustParseAddr("fd00:ec2::254"), netip.MustParseAddr("100.100.100.200")}

// errMetadata is returned for a connection to such an address.
var errMetadata = errors.New("the address is that of a metadata service")

// newDialer returns a dialer that connects to no metadata service. Rules allow hosts by
// name, and the owner of the name decides about its address.
func newDialer() *net.Dialer {
	return &net.Dialer{Timeout: dialTimeout, KeepAlive: keepAlive, Control: refuseMetadata}
}

// refuseMetadata is called with the address to connect to, after names were resolved.
func refuseMetadata(_, address string, _ syscall.RawConn) error {
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return err
	}
	if ip := to.Addr().Unmap(); ip.IsLinkLocalUnicast() || slices.Contains(metadataServices, ip.WithZone("")) {
		return errMetadata
	}
	return nil
}
