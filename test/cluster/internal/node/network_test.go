package node

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestRoutes(t *testing.T) {
	const listing = `default via 192.0.2.1 dev eth0
172.17.0.0/16 dev docker0 proto kernel scope link src 172.17.0.1 linkdown
10.213.0.0/24 dev modelkiln0 proto kernel scope link src 10.213.0.1
broadcast 192.0.2.255 dev eth0 table local proto kernel scope link src 192.0.2.7
unreachable 10.213.7.0/24 metric 1024
10.8.0.1 dev tun0 scope link
`
	want := []netip.Prefix{
		netip.MustParsePrefix("172.17.0.0/16"),
		netip.MustParsePrefix("192.0.2.255/32"),
		netip.MustParsePrefix("10.213.7.0/24"),
		netip.MustParsePrefix("10.8.0.1/32"),
	}
	assert.Equal(t, want, routes(listing), "without the default route and the interface of a stopped cluster")
}

func TestFirstFreeNetwork(t *testing.T) {
	tests := map[string]struct {
		taken []string
		want  string // the machine's end
	}{
		"no network is in use":                   {want: "10.213.0.1/24"},
		"networks outside the range are ignored": {taken: []string{"192.168.0.0/16", "10.212.0.0/16"}, want: "10.213.0.1/24"},
		"the first network is in use":            {taken: []string{"10.213.0.0/24"}, want: "10.213.1.1/24"},
		"one address of the first is in use":     {taken: []string{"10.213.0.77/32"}, want: "10.213.1.1/24"},
		"a route covers the first four":          {taken: []string{"10.213.0.0/22"}, want: "10.213.4.1/24"},
		"a later network is in use":              {taken: []string{"10.213.9.0/24"}, want: "10.213.0.1/24"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var taken []netip.Prefix
			for _, prefix := range tt.taken {
				taken = append(taken, netip.MustParsePrefix(prefix))
			}
			got, err := firstFreeNetwork(taken)
			require.NoError(t, err)
			assert.Equal(t, tt.want, got.Host.String())
			assert.Equal(t, got.Host.Addr().Next(), got.Node.Addr(), "the node has the address after the machine's")
		})
	}
}

func TestFirstFreeNetworkWithAllInUse(t *testing.T) {
	_, err := firstFreeNetwork([]netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")})
	require.ErrorContains(t, err, "the machine has routes for all of 10.213.0.0/16")
}
