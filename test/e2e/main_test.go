//go:build e2e

// Package e2e tests Modelkiln where it is meant to run: on a cluster with a
// real kubelet, Argo's own controller in its strictest mode, Kaniko and a
// registry, and with the operator in a pod of its own that has its own rights
// and no others. `make e2e` starts the cluster and runs the tests.
//
// Each test works in a namespace of its own, with folders of its own on the
// node, which is this machine. When one fails, it prints what a person on call
// would look at.
package e2e

import (
	"flag"
	"fmt"
	"os"
	"testing"

	"github.com/go-logr/logr"
	ctrl "sigs.k8s.io/controller-runtime"
)

// atOnce is how many tests run at once. More builds than these would wait for
// each other's share of a machine with two cores.
const atOnce = "3"

// live is the cluster that all tests run on.
var live *cluster

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(start(m))
}

func start(m *testing.M) int {
	ctrl.SetLogger(logr.Discard())
	if err := flag.Set("test.parallel", atOnce); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	var err error
	if live, err = connect(); err != nil {
		fmt.Fprintln(os.Stderr, "The end-to-end tests need the one-node cluster; run them with make e2e:", err)
		return 1
	}
	return m.Run()
}
