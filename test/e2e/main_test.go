//go:build e2e

// Package e2e tests Modelkiln on a real cluster: with a kubelet, Argo's controller
// in its strictest mode, Kaniko and a registry, and with the operator in a pod
// that has its own rights and no others. `make e2e` starts the cluster and runs the tests.
//
// Each test has a namespace and directories of its own on the node, which is this
// machine. A test that fails prints what someone on call would look at.
//
// What needs no node is elsewhere: a registry's protocol and what a step alone
// decides in test/registries, and what an API server alone decides in
// test/integration.
package e2e

import (
	"context"
	"flag"
	"fmt"
	"os"
	"testing"

	"github.com/go-logr/logr"
	ctrl "sigs.k8s.io/controller-runtime"
)

// parallel is how many tests run at once. A build waits for Argo and kubelet most of
// the time, so that two cores serve more than two builds; with more than four, the
// compression of one would let others miss the times within which users must see
// something.
const parallel = "4"

// live is the cluster that all tests run on.
var live *cluster

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(start(m))
}

func start(m *testing.M) int {
	ctrl.SetLogger(logr.Discard())
	if err := flag.Set("test.parallel", parallel); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	var err error
	if live, err = connect(); err != nil {
		fmt.Fprintln(os.Stderr, "The end-to-end tests need the one-node cluster; run them with make e2e:", err)
		return 1
	}
	if err := installReportPolicies(context.Background()); err != nil { //nolint:forbidigo // There is no caller's context yet.
		fmt.Fprintln(os.Stderr, "The policies of deploy/policy/workflows cannot be installed:", err)
		return 1
	}
	return m.Run()
}
