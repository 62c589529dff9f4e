package webhook

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/inject"
	"github.com/modelkiln/modelkiln/internal/workflow"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
)

// verifyFiles adds the container that verifies the files of a model to a pod that demands
// it, and reports whether it has.
func (h *Serving) verifyFiles(ctx context.Context, pod *corev1.Pod, mv *v1alpha1.ModelVersion, mode inject.ServingMount) (bool, error) {
	demanded, problem := inject.VerifiesFiles(pod)
	if problem != nil {
		return false, errors.New(problem.Message)
	}
	var check *inject.FilesCheck
	if demanded {
		digest, problem := h.Verification.ListDigest(mv)
		if problem != "" {
			return false, fmt.Errorf("its files cannot be verified, which the pod's label %s demands: %s", v1alpha1.LabelVerify, problem)
		}
		image, command, err := h.stepProgram(ctx, mv)
		if err != nil {
			return false, err
		}
		check = &inject.FilesCheck{Image: image, Command: command, PullSecrets: h.Options.Pods.ImagePullSecrets, ListDigest: digest}
	}
	if problem := inject.VerifyFiles(pod, mv, mode, check); problem != nil {
		return false, errors.New(problem.Message)
	}
	return demanded, nil
}

// stepProgram returns the image with modelkiln-step, and the program's path there, of the
// template that the platform team has chosen for builds in the namespace. The operator may
// list templates.
func (h *Serving) stepProgram(ctx context.Context, mv *v1alpha1.ModelVersion) (image string, command []string, err error) {
	name := cmp.Or(workflow.PlatformTemplate(mv, h.Options), h.Options.WorkflowTemplate)
	templates := &unstructured.UnstructuredList{}
	templates.SetGroupVersionKind(schema.GroupVersionKind{Group: "argoproj.io", Version: "v1alpha1", Kind: "ClusterWorkflowTemplateList"})
	err = h.Live.List(ctx, templates, client.MatchingFields{"metadata.name": name})
	if err != nil && !meta.IsNoMatchError(err) {
		return "", nil, fmt.Errorf("get ClusterWorkflowTemplate %q: %w", name, err)
	}
	for _, template := range templates.Items {
		if image, command = mountCheck(template); image != "" && len(command) > 0 {
			return image, command, nil
		}
	}
	return "", nil, fmt.Errorf("the ClusterWorkflowTemplate %s, which names the image that verifies files, does not exist, or its container %s has no image and command: ask the platform team to install it", name, contract.StepMountCheck)
}

// mountCheck returns the image and the command of the step mount-check, which runs
// modelkiln-step in every template. An image with an expression of Argo does not count.
func mountCheck(template unstructured.Unstructured) (image string, command []string) {
	templates, _, _ := unstructured.NestedSlice(template.Object, "spec", "templates")
	for _, t := range templates {
		fields, _ := t.(map[string]any)
		containers, _, _ := unstructured.NestedSlice(fields, "containerSet", "containers")
		for _, container := range containers {
			c, _ := container.(map[string]any)
			if c["name"] != contract.StepMountCheck {
				continue
			}
			image, _, _ = unstructured.NestedString(c, "image")
			command, _, _ = unstructured.NestedStringSlice(c, "command")
			if !strings.Contains(image, "{{") {
				return image, command
			}
		}
	}
	return "", nil
}
