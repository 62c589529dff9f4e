// Package cluster starts, updates and stops the one-node cluster.
package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"time"

	"github.com/modelkiln/modelkiln/test/cluster/internal/checkout"
	"github.com/modelkiln/modelkiln/test/cluster/internal/debian"
	"github.com/modelkiln/modelkiln/test/cluster/internal/golang"
	"github.com/modelkiln/modelkiln/test/cluster/internal/image"
	"github.com/modelkiln/modelkiln/test/cluster/internal/kube"
	"github.com/modelkiln/modelkiln/test/cluster/internal/node"
	"github.com/modelkiln/modelkiln/test/cluster/internal/progress"
	"github.com/modelkiln/modelkiln/test/cluster/internal/shell"
	"github.com/modelkiln/modelkiln/test/cluster/internal/tool"
)

// Cluster is the cluster of one checkout.
type Cluster struct {
	checkout checkout.Checkout
	report   *progress.Reporter

	// training enables the training controllers.
	training bool

	// The following fields are set by Up.

	tools    map[string]tool.Tool
	settings kube.Settings
	// images are the images that are imported into the node, Modelkiln's included.
	images    []image.Spec
	modelkiln []image.Spec
	// digests are the digests of the images whose names do not change with their content, by name: all except Modelkiln's
	// and those of the training controllers. A running node keeps the images that it has under these names.
	digests map[string]string
	// standIns is the digest of the programs that stand in for file servers.
	standIns string
}

// New returns the cluster of a checkout, whether it is running or not.
func New(co checkout.Checkout, report *progress.Reporter) *Cluster {
	return &Cluster{checkout: co, report: report}
}

// Up starts the cluster, or updates it if it is running. With training, it installs the training controllers too. Parts
// that are up to date do not change.
func (c *Cluster) Up(ctx context.Context, training bool) error {
	if err := checkHost(); err != nil {
		return err
	}
	lock, err := acquireLock(lockPath, c.checkout.Root)
	if err != nil {
		return err
	}
	defer lock.release()

	state := c.loadState()
	if c.runsForOtherCheckout(state) {
		return fmt.Errorf("a cluster of the checkout %s is running, and a machine can have only one; stop it with: %s", state.Checkout, downCommand(state.Checkout))
	}
	c.training = training
	if err := c.prepare(ctx); err != nil {
		return err
	}
	running, err := c.adopt(ctx, state)
	if err != nil {
		return err
	}
	if !running {
		if err := c.create(ctx); err != nil {
			return err
		}
	}
	if err := c.install(ctx); err != nil {
		return err
	}
	c.report.Logf("the cluster is ready, with the registry %s; to use it, run: . %s", c.settings.Registry(), c.checkout.Output("env"))
	return nil
}

// prepare installs packages, compiles programs and assembles images. It does not change a running cluster.
func (c *Cluster) prepare(ctx context.Context) error {
	if err := debian.Ensure(ctx, c.report); err != nil {
		return err
	}
	if err := c.Build(ctx); err != nil {
		return err
	}
	if err := c.prepareStandIns(ctx); err != nil {
		return err
	}
	if err := c.preparePlugin(ctx); err != nil {
		return err
	}
	return c.prepareImages(ctx)
}

// Down stops the cluster and removes everything except its logs. It succeeds if there is no cluster or if the cluster
// belongs to another checkout.
func (c *Cluster) Down() error {
	if err := checkHost(); err != nil {
		return err
	}
	lock, err := acquireLock(lockPath, c.checkout.Root)
	if err != nil {
		return err
	}
	defer lock.remove()

	if state := c.loadState(); c.runsForOtherCheckout(state) {
		c.report.Logf("the running cluster belongs to the checkout %s and was not stopped; to stop it, run: %s", state.Checkout, downCommand(state.Checkout))
		return c.removeEnvironment()
	}
	found, err := node.Destroy()
	if err != nil {
		return err
	}
	if err := c.removeEnvironment(); err != nil {
		return err
	}
	if found {
		c.report.Logf("the cluster was stopped and removed; its logs are in %s", c.checkout.Output("log"))
	} else {
		c.report.Logf("no cluster is running")
	}
	return nil
}

// checkHost returns an error if this machine or user cannot run a cluster.
func checkHost() error {
	if runtime.GOOS != "linux" {
		return fmt.Errorf("the cluster requires Linux, not %s; use a virtual machine with Debian 12", runtime.GOOS)
	}
	if os.Geteuid() != 0 {
		return errors.New("the cluster creates namespaces and mounts, which requires root; run this as root")
	}
	return nil
}

// loadState returns the record of the machine's cluster, or nil. It treats an unreadable record like a missing one, because
// the processes of a cluster are found by their control group.
func (c *Cluster) loadState() *node.State {
	state, err := node.LoadState()
	if err != nil {
		c.report.Logf("%v; treating the cluster as stopped", err)
		return nil
	}
	return state
}

// runsForOtherCheckout reports whether the cluster is running for another checkout that still exists.
func (c *Cluster) runsForOtherCheckout(state *node.State) bool {
	return state.Alive() && state.Checkout != c.checkout.Root && checkout.IsRoot(state.Checkout)
}

// downCommand returns the shell command that stops the cluster of a checkout.
func downCommand(checkout string) string {
	return "make -C " + shell.Quote(checkout) + " cluster-down"
}

// adopt reports whether the recorded cluster can be reused: it runs completely, and was started by this checkout with the
// current programs and settings.
func (c *Cluster) adopt(ctx context.Context, state *node.State) (bool, error) {
	if state == nil {
		return false, nil
	}
	c.settings = kube.Settings{Network: state.Network, Tools: c.tools, Images: c.digests, StandIns: c.standIns}
	digest, err := c.settings.Digest()
	if err != nil {
		return false, err
	}
	switch {
	case state.Checkout != c.checkout.Root:
		c.report.Logf("removing what is left of a cluster of the checkout %s", state.Checkout)
	case !state.Complete:
		c.report.Logf("an earlier run was interrupted; recreating the cluster")
	case !state.Alive():
		c.report.Logf("programs of the cluster exited: %v; recreating the cluster", state.Exited())
	case state.SettingsDigest != digest:
		c.report.Logf("the cluster runs other versions or settings than those of this checkout; recreating the cluster")
	case c.checkAPIServer(ctx) != nil:
		c.report.Logf("the API server of the running cluster does not respond; recreating the cluster")
	default:
		return true, nil
	}
	return false, nil
}

// checkAPIServer returns an error if the API server is not ready.
func (c *Cluster) checkAPIServer(ctx context.Context) error {
	_, err := c.kubectl(ctx, "get", "--raw", "/readyz", "--request-timeout", "10s")
	return err
}

// create removes what is left of an earlier cluster and starts a node. It returns when the node is ready and has all images.
func (c *Cluster) create(ctx context.Context) error {
	if _, err := node.Destroy(); err != nil {
		return err
	}
	network, err := node.ChooseNetwork()
	if err != nil {
		return err
	}
	c.settings = kube.Settings{Network: network, Tools: c.tools, Images: c.digests, StandIns: c.standIns}
	digest, err := c.settings.Digest()
	if err != nil {
		return err
	}
	c.report.Logf("starting the node (API server %s, unused subnet %s)", c.settings.APIServer(), network.Host.Masked())
	if err := c.installStandIns(); err != nil {
		return err
	}
	n, err := node.Create(ctx, c.checkout.Root, digest, network, c.checkout.Log)
	if err != nil {
		return err
	}
	if err := c.settings.Write(c.checkout.Output("kubeconfig")); err != nil {
		return err
	}
	if err := startAll(n, c.settings.BasePrograms()); err != nil {
		return err
	}
	if err := c.loadImages(ctx, n); err != nil {
		return err
	}
	c.report.Logf("waiting for the API server and the node to become ready")
	if err := n.WaitFor(ctx, "the API server", time.Minute, c.checkAPIServer); err != nil {
		return err
	}
	if err := startAll(n, c.settings.ClientPrograms()); err != nil {
		return err
	}
	if err := n.WaitFor(ctx, "the node", time.Minute, func(ctx context.Context) error {
		_, err := c.kubectl(ctx, "wait", "--for=condition=Ready", "--timeout=1s", "node/"+node.Name)
		return err
	}); err != nil {
		return err
	}
	return n.MarkComplete()
}

func startAll(n *node.Node, programs []node.Program) error {
	for _, program := range programs {
		if err := n.Start(program); err != nil {
			return err
		}
	}
	return nil
}

// loadImages waits for the containerd of a new node and imports the images.
func (c *Cluster) loadImages(ctx context.Context, n *node.Node) error {
	if err := n.WaitFor(ctx, "containerd", time.Minute, func(ctx context.Context) error {
		_, err := c.ctr(ctx, nil, "version")
		return err
	}); err != nil {
		return err
	}
	return c.importImages(ctx)
}

// install installs or updates everything that runs as pods, and waits until it is available.
func (c *Cluster) install(ctx context.Context) error {
	if err := c.writeEnvironment(); err != nil {
		return err
	}
	// A running node may lack new images.
	if err := c.importImages(ctx); err != nil {
		return err
	}
	c.report.Logf("installing Argo Workflows %s, the registry and Modelkiln", c.tools["argo"].Version)
	if err := errors.Join(c.applyRegistry(ctx), c.applyArgo(ctx), c.apply(ctx, c.checkout.Source("manifests", "shares"))); err != nil {
		return err
	}
	if err := c.waitForKind(ctx, "clusterworkflowtemplates.argoproj.io"); err != nil {
		return err
	}
	if err := c.applyModelkiln(ctx); err != nil {
		return err
	}
	if c.training {
		if err := c.applyTraining(ctx); err != nil {
			return err
		}
	}
	if err := c.waitForDeployments(ctx, deployments...); err != nil {
		return err
	}
	if c.training {
		if err := c.waitForDeployments(ctx, trainingDeployments...); err != nil {
			return err
		}
	}
	return errors.Join(c.pushBaseImage(ctx), c.pushTrainer(ctx))
}

// Enter replaces this process with a program in the network and mount namespaces of the node, by default a shell. It returns
// only on failure.
func (c *Cluster) Enter(argv []string) error {
	if err := checkHost(); err != nil {
		return err
	}
	containerd, err := tool.Find(c.checkout, "containerd")
	if err != nil {
		return err
	}
	// With these variables, ctr uses the node's containerd and lists the images and containers of pods.
	environment := map[string]string{
		"PATH":                 containerd.Dir + ":" + os.Getenv("PATH"),
		"CONTAINERD_ADDRESS":   kube.ContainerdSocket,
		"CONTAINERD_NAMESPACE": podsNamespace,
	}
	for name, value := range environment {
		if err := os.Setenv(name, value); err != nil {
			return err
		}
	}
	if len(argv) == 0 {
		argv = []string{"/bin/sh"}
	}
	return c.loadState().Enter(argv)
}

// Build compiles all tools of the cluster. It starts nothing.
func (c *Cluster) Build(ctx context.Context) (err error) {
	names := tool.Names()
	if c.training {
		names = append(names, tool.TrainingNames()...)
	}
	c.tools, err = c.ensureTools(ctx, names)
	return err
}

// Assets compiles the programs that tests with a bare API server need, with the API server of the oldest release of
// Kubernetes that Modelkiln supports or that of the cluster, and returns the directory that contains them.
func (c *Cluster) Assets(ctx context.Context, oldest bool) (string, error) {
	apiServer := tool.Kubernetes
	if oldest {
		apiServer = tool.OldestKubernetes
	}
	tools, err := c.ensureTools(ctx, tool.AssetTools(apiServer))
	if err != nil {
		return "", err
	}
	return tool.Assets(c.checkout, tools, apiServer)
}

func (c *Cluster) ensureTools(ctx context.Context, names []string) (map[string]tool.Tool, error) {
	if err := golang.CheckVersion(ctx, c.checkout.Source()); err != nil {
		return nil, err
	}
	return tool.Ensure(ctx, c.checkout, c.report, names...)
}
