package node

import (
	"fmt"
	"net/netip"
	"os/exec"
	"strconv"
	"strings"
)

// Interface is the machine's end of the pair that leads to the node. It is the only thing that the machine's own
// network gets to see of the cluster.
const Interface = "modelkiln0"

// Pods and services have addresses that exist in the node's network namespace only, so that they cannot meet others.
const (
	PodRange     = "10.244.0.0/16"
	ServiceRange = "10.96.0.0/16"
	// APIService is the first address of ServiceRange, which Kubernetes gives to its own API.
	APIService = "10.96.0.1"
)

// Network holds the addresses of the pair between the machine and the node.
type Network struct {
	Host netip.Prefix `json:"host"`
	Node netip.Prefix `json:"node"`
}

// linkCandidates are the networks of which the first free one is taken for the pair.
var linkCandidates = netip.MustParsePrefix("10.213.0.0/16")

// ChooseNetwork finds a small network that the machine does not use yet.
func ChooseNetwork() (Network, error) {
	out, err := exec.Command("ip", "-4", "route", "show", "table", "all").Output()
	if err != nil {
		return Network{}, fmt.Errorf("cannot list the machine's routes with ip: %w", err)
	}
	return firstFree(routes(string(out)))
}

// routes are the networks in a listing of routes, apart from the default route and those over the cluster's own interface.
func routes(listing string) []netip.Prefix {
	var found []netip.Prefix
	for line := range strings.Lines(listing) {
		if strings.Contains(line, " dev "+Interface+" ") {
			continue
		}
		for word := range strings.FieldsSeq(line) {
			if word == "default" {
				break
			}
			if !strings.Contains(word, ".") {
				continue // a word before the destination, such as broadcast or local
			}
			if prefix, err := netip.ParsePrefix(word); err == nil {
				found = append(found, prefix)
			} else if addr, err := netip.ParseAddr(word); err == nil {
				found = append(found, netip.PrefixFrom(addr, addr.BitLen()))
			}
			break
		}
	}
	return found
}

func firstFree(taken []netip.Prefix) (Network, error) {
	base := linkCandidates.Addr().As4()
	for third := range 256 {
		link := netip.PrefixFrom(netip.AddrFrom4([4]byte{base[0], base[1], byte(third), 0}), 24)
		free := true
		for _, used := range taken {
			free = free && !link.Overlaps(used)
		}
		if free {
			host := link.Addr().Next()
			return Network{Host: netip.PrefixFrom(host, 24), Node: netip.PrefixFrom(host.Next(), 24)}, nil
		}
	}
	return Network{}, fmt.Errorf("the machine routes all of %s, where the cluster looks for an address; free a /24 of it", linkCandidates)
}

// connect lays the pair between the machine and the node whose namespaces holder keeps.
func connect(n Network, holder int) error {
	pid := strconv.Itoa(holder)
	inside := []string{"nsenter", "--target", pid, "--net", "ip"}
	steps := [][]string{
		{"ip", "link", "add", Interface, "type", "veth", "peer", "name", "eth0", "netns", pid},
		{"ip", "address", "add", n.Host.String(), "dev", Interface},
		{"ip", "link", "set", Interface, "up"},
		append(inside, "link", "set", "lo", "up"),
		append(inside, "address", "add", n.Node.String(), "dev", "eth0"),
		append(inside, "link", "set", "eth0", "up"),
		// kube-proxy rewrites the addresses of services, but only of packets that have a way to go.
		append(inside, "route", "add", ServiceRange, "dev", "eth0"),
		// Nothing beyond the machine is within reach, and saying so at once beats a timeout.
		append(inside, "route", "add", "unreachable", "default"),
	}
	for _, step := range steps {
		if err := run(step...); err != nil {
			return fmt.Errorf("cannot connect the node to the machine: %w", err)
		}
	}
	return nil
}

// connected tells whether the machine has its end of the pair.
func connected() bool {
	return exec.Command("ip", "link", "show", Interface).Run() == nil
}

// disconnect removes the pair, should it still be there.
func disconnect() error {
	if !connected() {
		return nil
	}
	err := run("ip", "link", "delete", Interface)
	if !connected() {
		return nil // if not by us, then by the kernel: the pair goes with the node's namespace
	}
	return err
}

// run calls a program and puts what it said into the error.
func run(argv ...string) error {
	out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(argv, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}
