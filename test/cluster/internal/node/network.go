package node

import (
	"fmt"
	"net/netip"
	"os/exec"
	"strconv"
	"strings"
)

// Interface is the machine's end of the veth pair to the node. It is the only part of the cluster that is visible in the
// machine's own network namespace.
const Interface = "modelkiln0"

// The addresses of pods and services exist only in the node's network namespace, so they cannot conflict with others.
const (
	PodRange     = "10.244.0.0/16"
	ServiceRange = "10.96.0.0/16"
	// APIService is the first address of ServiceRange, which Kubernetes assigns to the Service of its own API.
	APIService = "10.96.0.1"
)

// Network contains the addresses of the veth pair between the machine and the node.
type Network struct {
	Host netip.Prefix `json:"host"`
	Node netip.Prefix `json:"node"`
}

// linkRange is the range from which the first unused /24 is chosen for the veth pair.
var linkRange = netip.MustParsePrefix("10.213.0.0/16")

// ChooseNetwork returns a network that no route of the machine uses.
func ChooseNetwork() (Network, error) {
	out, err := exec.Command("ip", "-4", "route", "show", "table", "all").Output()
	if err != nil {
		return Network{}, fmt.Errorf("cannot list the machine's routes with ip(8): %w", err)
	}
	return firstFreeNetwork(routes(string(out)))
}

// routes returns the destinations in the output of `ip route show`, without the default route and the routes over the
// cluster's own interface.
func routes(listing string) []netip.Prefix {
	var found []netip.Prefix
	for line := range strings.Lines(listing) {
		if strings.Contains(line, " dev "+Interface+" ") {
			continue
		}
		for field := range strings.FieldsSeq(line) {
			if field == "default" {
				break
			}
			if !strings.Contains(field, ".") {
				continue // the route's type before the destination, such as broadcast or local
			}
			if prefix, err := netip.ParsePrefix(field); err == nil {
				found = append(found, prefix)
			} else if addr, err := netip.ParseAddr(field); err == nil {
				found = append(found, netip.PrefixFrom(addr, addr.BitLen()))
			}
			break
		}
	}
	return found
}

func firstFreeNetwork(taken []netip.Prefix) (Network, error) {
	base := linkRange.Addr().As4()
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
	return Network{}, fmt.Errorf("the machine has routes for all of %s, from which the cluster takes its addresses; free a /24 of it", linkRange)
}

// connect creates the veth pair between the machine and the node whose namespaces holder holds.
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
		// kube-proxy rewrites the addresses of services, but only in packets that have a route.
		append(inside, "route", "add", ServiceRange, "dev", "eth0"),
		// Nothing beyond the machine is reachable. An immediate error is better than a timeout.
		append(inside, "route", "add", "unreachable", "default"),
	}
	for _, step := range steps {
		if err := run(step...); err != nil {
			return fmt.Errorf("cannot connect the node to the machine: %w", err)
		}
	}
	return nil
}

// connected reports whether the machine's end of the veth pair exists.
func connected() bool {
	return exec.Command("ip", "link", "show", Interface).Run() == nil
}

// disconnect deletes the veth pair if it exists.
func disconnect() error {
	if !connected() {
		return nil
	}
	err := run("ip", "link", "delete", Interface)
	if !connected() {
		return nil // the kernel was faster: it deletes the pair with the node's network namespace
	}
	return err
}

// run executes a command. The error contains the command's output.
func run(argv ...string) error {
	out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(argv, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}
