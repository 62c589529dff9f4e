// Command kubernetes is the five Kubernetes programs of the test cluster in one file. Which one runs is decided by the
// name it is called by: linking them together compiles the shared nine tenths once, and saves 340 MB.
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	_ "time/tzdata" // for time zones in CronJobs

	"github.com/spf13/cobra"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"          // as in each program's own main
	_ "k8s.io/component-base/metrics/prometheus/clientgo" // as in each program's own main
	_ "k8s.io/component-base/metrics/prometheus/version"  // as in each program's own main
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	proxy "k8s.io/kubernetes/cmd/kube-proxy/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"
)

// programs builds the command for a program's name. A command is built only when it is asked for, because building one
// registers flags and metrics that two of them would claim at once.
var programs = map[string]func() *cobra.Command{
	"kube-apiserver":          apiserver.NewAPIServerCommand,
	"kube-controller-manager": controllermanager.NewControllerManagerCommand,
	"kube-scheduler":          func() *cobra.Command { return scheduler.NewSchedulerCommand() },
	"kubelet":                 func() *cobra.Command { return kubelet.NewKubeletCommand(context.Background()) },
	"kube-proxy":              proxy.NewProxyCommand,
}

func main() {
	name := filepath.Base(os.Args[0])
	program, known := programs[name]
	if !known {
		fmt.Fprintf(os.Stderr, "%s is not a Kubernetes program: call this file by the name of one, such as kubelet.\n", name)
		os.Exit(2)
	}
	os.Exit(cli.Run(program()))
}
