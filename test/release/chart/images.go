package chart

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"sigs.k8s.io/kustomize/api/resmap"
	"sigs.k8s.io/yaml"
)

// Names of the images in the manifests of deploy/ and workflow-templates/.
const (
	OperatorImage = "ghcr.io/modelkiln/modelkiln"
	StepImage     = "ghcr.io/modelkiln/modelkiln-step"
	KanikoImage   = "ghcr.io/osscontainertools/kaniko"
)

// References are the images of an installation.
type References struct {
	// Operator and Step are Modelkiln's own, and Kaniko is the engine's.
	Operator, Step, Kaniko string
	// Base is the image to which models are added by default.
	Base string
}

// All returns the references, sorted.
func (r References) All() []string {
	all := []string{r.Operator, r.Step, r.Kaniko, r.Base}
	slices.Sort(all)
	return all
}

// containers are where an object names images.
type containers struct {
	Data map[string]string
	Spec struct {
		Template struct {
			Spec struct {
				Containers []struct{ Image string }
			}
		}
		Templates []struct {
			ContainerSet struct {
				Containers []struct{ Image string }
			}
		}
	}
}

// Images returns the images that the objects of deploy/default name.
func Images(objects resmap.ResMap) (References, error) {
	var r References
	for _, object := range objects.Resources() {
		content, err := object.AsYAML()
		if err != nil {
			return r, err
		}
		switch object.GetKind() {
		case "Deployment", "ClusterWorkflowTemplate", "ConfigMap":
			var c containers
			if err := yaml.Unmarshal(content, &c); err != nil {
				return r, err
			}
			if err := r.add(c); err != nil {
				return r, err
			}
		}
	}
	if slices.Contains(r.All(), "") {
		return r, errors.New("deploy/default does not name the images of the operator, of the steps and of Kaniko, and baseImage")
	}
	return r, nil
}

func (r *References) add(c containers) error {
	var config struct{ BaseImage string }
	if err := yaml.Unmarshal([]byte(c.Data["config.yaml"]), &config); err != nil {
		return err
	}
	if config.BaseImage != "" {
		r.Base = config.BaseImage
	}
	for _, container := range c.Spec.Template.Spec.Containers {
		r.Operator = container.Image
	}
	for _, template := range c.Spec.Templates {
		for _, container := range template.ContainerSet.Containers {
			to := &r.Kaniko
			if strings.HasSuffix(Untagged(container.Image), "/modelkiln-step") {
				to = &r.Step
			}
			if *to != "" && *to != container.Image {
				return fmt.Errorf("the workflow templates name both %s and %s: name one of them everywhere", *to, container.Image)
			}
			*to = container.Image
		}
	}
	return nil
}

// Untagged returns a reference without its tag and digest.
func Untagged(reference string) string {
	repository, _, _ := strings.Cut(reference, "@")
	if colon := strings.LastIndex(repository, ":"); colon > strings.LastIndex(repository, "/") {
		return repository[:colon]
	}
	return repository
}
