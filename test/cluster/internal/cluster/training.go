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

// trainingDeployments are what is installed when training is asked for.
var trainingDeployments = []deployment{
	{"kubeflow", "training-operator"},
	{"jobset-system", "jobset-controller-manager"},
	{"kubeflow-system", "kubeflow-trainer-controller-manager"},
}

// applyTraining installs the controllers of training from their own manifests, in the versions that were compiled.
func (c *Cluster) applyTraining(ctx context.Context) error {
	for _, name := range tool.TrainingNames() {
		c.report.Say("installing %s %s", name, c.tools[name].Version)
		if _, err := c.besideUpstream(name); err != nil {
			return err
		}
		folder := filepath.Join(node.Home, name+"-pinned")
		if err := writePinned(folder, name, image.TrainingTag(c.tools[name])); err != nil {
			return err
		}
		if err := c.apply(ctx, folder); err != nil {
			return err
		}
	}
	return nil
}

// writePinned writes a kustomization that gives the image of the one beside it its tag.
func writePinned(folder, name, tag string) error {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	kustomization := fmt.Sprintf("resources:\n  - ../%[1]s\nimages:\n  - name: modelkiln.test/%[1]s\n    newTag: %[2]s\n", name, tag)
	return os.WriteFile(filepath.Join(folder, "kustomization.yaml"), []byte(kustomization), 0o644)
}

// trainer is the program that tests and the demo train and serve with, and trainerImage where in the cluster's registry its
// image is. The tag is latest, since kubelet asks the registry for that each time: a pod runs what was compiled last.
const (
	trainer      = "two-spirals"
	trainerImage = "/library/" + trainer + ":latest"
)

// compileTrainer compiles the program that trains.
func (c *Cluster) compileTrainer(ctx context.Context) error {
	return c.compile(ctx, "the program that trains", golang.Build{
		Dir: c.checkout.Root, Packages: []string{"./test/demo/" + trainer}, Output: c.programs(),
	})
}

// pushTrainer puts the image of the program that trains into the cluster's registry, unless it is there.
func (c *Cluster) pushTrainer(ctx context.Context) error {
	return push(ctx, image.TrainerSpec(c.settings.Registry()+trainerImage, filepath.Join(c.programs(), trainer)))
}
