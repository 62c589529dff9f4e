// Package integration tests the operator against a real kube-apiserver and
// etcd. No other component of a cluster runs: fakeArgo and fakeKubelet write
// what Argo's controller and the kubelet would write, and no garbage collector
// deletes the dependents of deleted objects.
//
// The operator is the one that cmd/modelkiln starts (internal/manager). It runs
// in the test process with a token of its service account, so that a
// permission that is missing in deploy/rbac fails these tests.
package integration

import (
	"flag"
	"fmt"
	"os"
	"testing"

	"github.com/go-logr/logr"
	"github.com/go-logr/zapr"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
)

// shared is the API server of all tests that do not start their own.
var shared *apiServer

func TestMain(m *testing.M) {
	// Tests of leases and retries mostly wait.
	if err := flag.Set("test.parallel", "8"); err != nil {
		panic(err)
	}
	flag.Parse()
	os.Exit(run(m))
}

func run(m *testing.M) int {
	setLogger()
	if os.Getenv("KUBEBUILDER_ASSETS") == "" {
		fmt.Fprintln(os.Stderr, "The integration tests need a kube-apiserver and an etcd: run them with make test, or set KUBEBUILDER_ASSETS to the directory that `go -C test/cluster run . assets` prints.")
		return 1
	}
	var err error
	if shared, err = startAPIServer(nil, modelkilnCRDs, argoCRDs()); err != nil {
		fmt.Fprintln(os.Stderr, "Could not start an API server:", err)
		return 1
	}
	defer shared.stop()
	if err := shared.install(deployRBAC, deployComponents+"/serving", deployComponents+"/versions-from-workloads", deployComponents+"/efs", workflowTemplates, kanikoTemplate); err != nil {
		fmt.Fprintln(os.Stderr, "Could not install the operator's RBAC and templates:", err)
		return 1
	}
	return m.Run()
}

// quiet is true for a run whose log would be too long.
var quiet bool

// setLogger prints the operator's log with go test -v only: many tests break
// its connection on purpose.
func setLogger() {
	logger := logr.Discard()
	if testing.Verbose() && !quiet {
		settings := zap.NewDevelopmentConfig()
		settings.Level = zap.NewAtomicLevelAt(zapcore.InfoLevel)
		settings.DisableStacktrace = true
		if base, err := settings.Build(); err == nil {
			logger = zapr.NewLogger(base)
		}
	}
	ctrl.SetLogger(logger)
	klog.SetLogger(logger)
}
