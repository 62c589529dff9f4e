// Command kubernetes-oldest is the API server of the oldest release of Kubernetes that Modelkiln supports.
package main

import (
	"os"
	_ "time/tzdata" // for time zones in CronJobs

	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"          // as in kube-apiserver's own main
	_ "k8s.io/component-base/metrics/prometheus/clientgo" // as in kube-apiserver's own main
	_ "k8s.io/component-base/metrics/prometheus/version"  // as in kube-apiserver's own main
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
)

func main() { os.Exit(cli.Run(apiserver.NewAPIServerCommand())) }
