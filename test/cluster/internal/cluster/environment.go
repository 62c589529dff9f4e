package cluster

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/modelkiln/modelkiln/test/cluster/internal/golang"
	"github.com/modelkiln/modelkiln/test/cluster/internal/shell"
)

// commands maps the programs in .cluster/bin to the tools that contain them.
var commands = map[string]string{"kubectl": "kubernetes", "argo": "argo", "crane": "crane"}

// plugin is the program of this checkout that kubectl runs for kubectl kiln.
const plugin = "kubectl-kiln"

// preparePlugin compiles the plugin. It is a module of its own.
func (c *Cluster) preparePlugin(ctx context.Context) error {
	build := golang.Build{Dir: filepath.Join(c.checkout.Root, "cmd", plugin), Packages: []string{"."}, Output: c.programs()}
	return c.compile(ctx, "kubectl kiln", build)
}

// writeEnvironment writes .cluster/env and .cluster/bin, the directory of programs that it adds to the PATH.
func (c *Cluster) writeEnvironment() error {
	bin := c.checkout.Output("bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		return err
	}
	programs := map[string]string{plugin: filepath.Join(c.programs(), plugin)}
	for command, tool := range commands {
		programs[command] = c.tools[tool].Program(command)
	}
	for command, program := range programs {
		link := filepath.Join(bin, command)
		if current, err := os.Readlink(link); err == nil && current == program {
			continue
		}
		if err := os.RemoveAll(link); err != nil {
			return err
		}
		if err := os.Symlink(program, link); err != nil {
			return err
		}
	}
	return os.WriteFile(c.checkout.Output("env"), []byte(environment(c.checkout.Output("kubeconfig"), c.settings.Registry(), bin)), 0o644)
}

// environment returns a shell script that configures kubectl, its plugin, argo and crane for the cluster.
func environment(kubeconfig, registry, bin string) string {
	return fmt.Sprintf("export KUBECONFIG=%s\nexport REGISTRY=%s\nexport PATH=%s:\"$PATH\"\n", shell.Quote(kubeconfig), shell.Quote(registry), shell.Quote(bin))
}

// removeEnvironment removes the files in .cluster that are useless without the cluster. It keeps the logs.
func (c *Cluster) removeEnvironment() error {
	for _, name := range []string{"kubeconfig", "env", "bin"} {
		if err := os.RemoveAll(c.checkout.Output(name)); err != nil {
			return err
		}
	}
	return nil
}
