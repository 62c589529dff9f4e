package argo

import (
	"maps"
	"path/filepath"
	"slices"
	"testing"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/argoproj/argo-workflows/v3/workflow/util"
	"github.com/argoproj/argo-workflows/v3/workflow/validate"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"
)

func promoteTemplate(t *testing.T) *wfv1.ClusterWorkflowTemplate {
	t.Helper()
	var tmpl wfv1.ClusterWorkflowTemplate
	unmarshal(t, "../../workflow-templates/promote/modelkiln-promote.yaml", &tmpl)
	return &tmpl
}

// goldenPromotions returns the operator's golden Workflows that move tags, by name.
func goldenPromotions(t *testing.T) map[string]*wfv1.Workflow {
	t.Helper()
	return workflowsIn(t, "../../internal/workflow/testdata/promotion")
}

func TestPromoteValidate(t *testing.T) {
	require.NoError(t, validate.ValidateClusterWorkflowTemplate(nil, templates{}, promoteTemplate(t), nil, validate.ValidateOpts{Lint: true}))
	for name, wf := range goldenPromotions(t) {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, validate.ValidateWorkflow(nil, templates{promoteTemplate(t)}, wf, nil, validate.ValidateOpts{}))
			require.NoError(t, util.ValidateUserOverrides(&wf.Spec), "Strict and Secure allow it")
		})
	}
	t.Run("by hand", func(t *testing.T) {
		wf := &wfv1.Workflow{}
		wf.GenerateName = "by-hand-"
		wf.Spec.WorkflowTemplateRef = &wfv1.WorkflowTemplateRef{Name: "modelkiln-promote", ClusterScope: true}
		wf.Spec.Arguments.Parameters = []wfv1.Parameter{{Name: "image", Value: wfv1.AnyStringPtr("a:b")}, {Name: "digest", Value: wfv1.AnyStringPtr("sha256:0")}}
		err := validate.ValidateWorkflow(nil, templates{promoteTemplate(t)}, wf, nil, validate.ValidateOpts{})
		require.ErrorContains(t, err, "model")
	})
}

func TestPromotePod(t *testing.T) {
	for name, wf := range goldenPromotions(t) {
		t.Run(name, func(t *testing.T) {
			got, err := pod(promoteTemplate(t), arguments(t, wf))
			require.NoError(t, err)
			golden(t, filepath.Join("testdata", "promotion-"+name+".pod.yaml"), []byte(marshal(t, got)))
		})
	}
}

// An argument changes nothing in the pod except the field that its parameter is for.
func TestPromotePodRejectsInjections(t *testing.T) {
	plain := arguments(t, goldenPromotions(t)["every-setting"])
	want, err := pod(promoteTemplate(t), plain)
	require.NoError(t, err)
	blank(want)
	for _, parameter := range promoteTemplate(t).Spec.Arguments.Parameters {
		for _, injection := range slices.Concat(injections, expressions) {
			t.Run(parameter.Name+" "+injection, func(t *testing.T) {
				hostile := maps.Clone(plain)
				hostile["workflow.parameters."+parameter.Name] = injection
				got, err := pod(promoteTemplate(t), hostile)
				if err != nil {
					return // Argo fails such a Workflow before it creates a pod.
				}
				blank(got)
				if parameter.Name == "assigned-user" {
					// Any other value than true is false.
					got.InitContainers[0].SecurityContext.RunAsUser = nil
					for i := range got.Containers {
						if got.Containers[i].Name == "wait" {
							got.Containers[i].SecurityContext.RunAsUser = nil
						}
					}
				}
				assert.Equal(t, marshal(t, want), marshal(t, got))
			})
		}
	}
}

// The pod meets the Pod Security Standard restricted, and OpenShift's restricted-v2 where
// the namespace assigns users.
func TestPromotePodMeetsRestricted(t *testing.T) {
	tmpl := promoteTemplate(t)
	template := tmpl.Spec.Templates[0]
	assert.Equal(t, &corev1.PodSecurityContext{RunAsNonRoot: ptr.To(true), SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault}}, template.SecurityContext)
	for name, user := range map[string]*int64{"defaults": ptr.To[int64](65532), "every-setting": nil} {
		t.Run(name, func(t *testing.T) {
			got, err := pod(tmpl, arguments(t, goldenPromotions(t)[name]))
			require.NoError(t, err)
			assertBaseline(t, got)
			for _, container := range append(got.InitContainers, got.Containers...) {
				security := container.SecurityContext
				assert.False(t, *security.AllowPrivilegeEscalation, container.Name)
				assert.True(t, *security.RunAsNonRoot, container.Name)
				assert.Equal(t, &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}}, security.Capabilities, container.Name)
				if container.Name == "init" || container.Name == "wait" {
					assert.Equal(t, user, security.RunAsUser, container.Name)
				} else {
					assert.Nil(t, security.RunAsUser, container.Name)
					assert.True(t, *security.ReadOnlyRootFilesystem, container.Name)
				}
			}
		})
	}
	for _, volume := range template.Volumes {
		assert.Nil(t, volume.Projected, "%s: a projected volume can hold a token", volume.Name)
		if volume.EmptyDir != nil {
			assert.NotNil(t, volume.EmptyDir.SizeLimit, volume.Name)
		}
	}
	assert.Contains(t, template.ContainerSet.VolumeMounts, corev1.VolumeMount{Name: "no-token", MountPath: "/var/run/secrets/kubernetes.io/serviceaccount", ReadOnly: true})
}

// The policies for reports recognize the pods by the names of their templates, and
// transient failures are retried as those of builds.
func TestPromoteTemplates(t *testing.T) {
	tmpl, build := promoteTemplate(t), template(t)
	assert.Equal(t, tmpl.Spec.Entrypoint, tmpl.Spec.Templates[1].Name)
	assert.NotContains(t, tmpl.Spec.Templates[0].Name, "-")
	assert.Equal(t, entrypoint(t).RetryStrategy, tmpl.Spec.Templates[1].RetryStrategy)
	assert.Equal(t, build.Spec.PodSpecPatch, tmpl.Spec.PodSpecPatch)
	assert.Equal(t, build.Spec.ServiceAccountName, tmpl.Spec.ServiceAccountName)
	assert.Equal(t, build.Spec.Synchronization, tmpl.Spec.Synchronization)
}
