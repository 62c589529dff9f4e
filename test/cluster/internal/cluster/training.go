package cluster

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/modelkiln/modelkiln/test/cluster/internal/golang"
	"github.com/modelkiln/modelkiln/test/cluster/internal/image"
	"github.com/modelkiln/modelkiln/test/cluster/internal/node"
	"github.com/modelkiln/modelkiln/test/cluster/internal/tool"
)

// trainingDeployments are the Deployments of the training controllers.
var trainingDeployments = []deployment{
	{"kubeflow", "training-operator"},
	{"jobset-system", "jobset-controller-manager"},
	{"kubeflow-system", "kubeflow-trainer-controller-manager"},
}

// applyTraining installs the compiled versions of the training controllers with their own manifests.
func (c *Cluster) applyTraining(ctx context.Context) error {
	for _, name := range tool.TrainingNames() {
		c.report.Logf("installing %s %s", name, c.tools[name].Version)
		if _, err := c.copyManifests(name); err != nil {
			return err
		}
		dir := filepath.Join(node.DataDir, name+"-pinned")
		if err := writePinned(dir, name, image.TrainingTag(c.tools[name])); err != nil {
			return err
		}
		if err := c.apply(ctx, dir); err != nil {
			return err
		}
	}
	return nil
}

// writePinned writes a kustomization to dir that includes the kustomization ../name and sets the tag of its image.
func writePinned(dir, name, tag string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	kustomization := fmt.Sprintf("resources:\n  - ../%[1]s\nimages:\n  - name: modelkiln.test/%[1]s\n    newTag: %[2]s\n", name, tag)
	return os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte(kustomization), 0o644)
}

// trainer is the program with which tests and the demo train and serve a model, and trainerImage its image in the cluster's
// registry. The tag is latest because kubelet pulls that tag for every pod, so that a pod runs the program that was
// compiled last.
const (
	trainer      = "two-spirals"
	trainerImage = "/library/" + trainer + ":latest"
)

// compileTrainer compiles the training program.
func (c *Cluster) compileTrainer(ctx context.Context) error {
	return c.compile(ctx, "the training program "+trainer, golang.Build{
		Dir: c.checkout.Root, Packages: []string{"./test/demo/" + trainer}, Output: c.programs(),
	})
}

// pushTrainer pushes the training program's image to the cluster's registry, unless the registry already has it.
func (c *Cluster) pushTrainer(ctx context.Context) error {
	return push(ctx, image.TrainerSpec(c.settings.Registry()+trainerImage, filepath.Join(c.programs(), trainer)))
}
