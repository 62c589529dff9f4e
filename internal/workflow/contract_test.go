package workflow_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"sigs.k8s.io/yaml"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/config"
	"github.com/modelkiln/modelkiln/internal/layer"
	steps "github.com/modelkiln/modelkiln/internal/step"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
	"github.com/modelkiln/modelkiln/test/builders"
	"github.com/modelkiln/modelkiln/test/golden"
)

// These tests compare workflow-templates/ with the contract in Go (contract.go),
// so that a difference is found without a cluster.

const templatesDir = "../../workflow-templates"

// forEachTemplate runs a test for the template of each engine.
func forEachTemplate(t *testing.T, test func(t *testing.T, tmpl *wfv1.ClusterWorkflowTemplate)) {
	t.Helper()
	var kaniko wfv1.ClusterWorkflowTemplate
	golden.ReadYAML(t, filepath.Join(templatesDir, "kaniko", "modelkiln-build.yaml"), &kaniko)
	t.Run(contract.BuildTemplate, func(t *testing.T) { test(t, &kaniko) })
	t.Run(contract.StreamTemplate, func(t *testing.T) { test(t, streamTemplate(t, &kaniko)) })
}

// streamTemplate returns Stream's template, which kustomize builds by patching
// Kaniko's.
func streamTemplate(t *testing.T, kaniko *wfv1.ClusterWorkflowTemplate) *wfv1.ClusterWorkflowTemplate {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(templatesDir, "stream", "patch.yaml"))
	require.NoError(t, err)
	raw, err = yaml.YAMLToJSON(raw)
	require.NoError(t, err)
	patch, err := jsonpatch.DecodePatch(raw)
	require.NoError(t, err)
	raw, err = json.Marshal(kaniko)
	require.NoError(t, err)
	raw, err = patch.Apply(raw)
	require.NoError(t, err)
	var tmpl wfv1.ClusterWorkflowTemplate
	require.NoError(t, yaml.UnmarshalStrict(raw, &tmpl))
	return &tmpl
}

func TestContractPodLabels(t *testing.T) {
	forEachTemplate(t, func(t *testing.T, tmpl *wfv1.ClusterWorkflowTemplate) {
		assert.Subset(t, tmpl.Spec.PodMetadata.Labels, contract.BuildPodLabels())
	})
}

// The template has a place for as many labels and annotations as the configuration may
// have, and leaves out those that it must not have.
func TestContractPodMetadata(t *testing.T) {
	forEachTemplate(t, func(t *testing.T, tmpl *wfv1.ClusterWorkflowTemplate) {
		metadata := podTemplate(t, tmpl).Metadata
		assert.Len(t, metadata.Labels, contract.MaxPodMetadata)
		assert.Len(t, metadata.Annotations, contract.MaxPodMetadata)
		entry := slices.IndexFunc(tmpl.Spec.Templates, func(each wfv1.Template) bool { return each.Name == tmpl.Spec.Entrypoint })
		inputs := tmpl.Spec.Templates[entry].DAG.Tasks[0].Arguments.Parameters
		require.Len(t, inputs, 2)
		for _, input := range inputs {
			assert.Contains(t, input.Value.String(), "'"+contract.ReservedMetadata+"'")
			assert.Contains(t, input.Value.String(), fmt.Sprintf("0..%d", contract.MaxPodMetadata-1))
		}
	})
}

// A platform team can configure another template, for example one that scans the
// files. ModelVersions must not bypass it by naming this template.
func TestContractTemplateIsNotSelectable(t *testing.T) {
	forEachTemplate(t, func(t *testing.T, tmpl *wfv1.ClusterWorkflowTemplate) {
		assert.NotContains(t, tmpl.Labels, v1alpha1.LabelBuildTemplate)
	})
}

// containers returns the containers of the build's pod by name.
func containers(t *testing.T, tmpl *wfv1.ClusterWorkflowTemplate) map[string]wfv1.ContainerNode {
	t.Helper()
	byName := map[string]wfv1.ContainerNode{}
	for _, c := range podTemplate(t, tmpl).ContainerSet.Containers {
		byName[c.Name] = c
	}
	return byName
}

// podTemplate returns the template of the build's pod.
func podTemplate(t *testing.T, tmpl *wfv1.ClusterWorkflowTemplate) *wfv1.Template {
	t.Helper()
	i := slices.IndexFunc(tmpl.Spec.Templates, func(each wfv1.Template) bool { return each.ContainerSet != nil })
	require.NotEqual(t, -1, i)
	return &tmpl.Spec.Templates[i]
}

// sentArguments returns the names of the arguments that all of the golden
// Workflows have, and that any of them has.
func sentArguments(t *testing.T) (inAll, inAny map[string]bool) {
	t.Helper()
	inAll, inAny = map[string]bool{}, map[string]bool{}
	first := true
	for _, file := range golden.Cases(t, "workflow", ".workflow.yaml") {
		var wf wfv1.Workflow
		golden.ReadYAML(t, file, &wf)
		names := map[string]bool{}
		for _, parameter := range wf.Spec.Arguments.Parameters {
			names[parameter.Name], inAny[parameter.Name] = true, true
		}
		if first {
			inAll = maps.Clone(names)
		}
		maps.DeleteFunc(inAll, func(name string, _ bool) bool { return !names[name] })
		first = false
	}
	return inAll, inAny
}

// allParameters are the parameters that both templates have.
var allParameters = []string{
	contract.ParamModel, contract.ParamModelVersion, contract.ParamModelVersionUID, contract.ParamCreatedBy,
	contract.ParamImage, contract.ParamBaseImage, contract.ParamStorageKind, contract.ParamStoragePath,
	contract.ParamNodeName, contract.ParamClaimName, contract.ParamSubPath, contract.ParamNFSServer, contract.ParamNFSPath, contract.ParamPushSecret,
	contract.ParamPushSecretRequired, contract.ParamPlainHTTPRegistries, contract.ParamRequests,
	contract.ParamLimits, contract.ParamNodeSelector, contract.ParamTolerations, contract.ParamLayerSize, contract.ParamMaxLayers, contract.ParamCompression,
	contract.ParamKnownDigest, contract.ParamPodLabels, contract.ParamPodAnnotations, contract.ParamEnv,
	contract.ParamImagePullSecrets, contract.ParamPriorityClassName, contract.ParamOtherRequests, contract.ParamOtherLimits, contract.ParamAssignedUser, contract.ParamCreated, contract.ParamModelPath,
	contract.ParamEndpoint, contract.ParamRegion, contract.ParamBucket, contract.ParamPrefix, contract.ParamRepo, contract.ParamRevision, contract.ParamKnownRevision, contract.ParamSourceSecret,
	contract.ParamInclude, contract.ParamExclude, contract.ParamSymlinks, contract.ParamCompletenessCheck,
	contract.ParamImageDigest,
	contract.ParamSigningSecret, contract.ParamSigningRequired, contract.ParamSigningFormats, contract.ParamSigningAttest, contract.ParamBuilderID,
	contract.ParamLineage,
}

// parametersOf returns the parameters that a template must declare.
func parametersOf(tmpl *wfv1.ClusterWorkflowTemplate) []string {
	if tmpl.Name == contract.StreamTemplate {
		return append(slices.Clone(allParameters), contract.ParamPreviousImage, contract.ParamChangeDetection, contract.ParamFileDigests)
	}
	return allParameters
}

func TestContractParameters(t *testing.T) {
	forEachTemplate(t, func(t *testing.T, tmpl *wfv1.ClusterWorkflowTemplate) {
		var declared []string
		for _, parameter := range tmpl.Spec.Arguments.Parameters {
			declared = append(declared, parameter.Name)
			assert.NotEmpty(t, parameter.Description, "%s: users see the description when they submit a build", parameter.Name)
		}
		assert.ElementsMatch(t, parametersOf(tmpl), declared)

		_, inAny := sentArguments(t)
		// The golden Workflows are first attempts, before which nothing is known, in
		// namespaces that assign no users.
		sent := slices.DeleteFunc(slices.Clone(allParameters), func(name string) bool {
			return name == contract.ParamKnownDigest || name == contract.ParamAssignedUser
		})
		assert.ElementsMatch(t, append(sent, contract.ParamChangeDetection, contract.ParamFileDigests), slices.Collect(maps.Keys(inAny)), "parameters in the golden Workflows")
	})
}

func TestContractRequiredParametersAreSent(t *testing.T) {
	forEachTemplate(t, func(t *testing.T, tmpl *wfv1.ClusterWorkflowTemplate) {
		inAll, _ := sentArguments(t)
		for _, parameter := range tmpl.Spec.Arguments.Parameters {
			if parameter.Value == nil {
				assert.Contains(t, inAll, parameter.Name)
			}
		}
	})
}

// Go omits empty arguments, so the defaults of the template must be those of the
// operator.
func TestContractParameterDefaults(t *testing.T) {
	forEachTemplate(t, func(t *testing.T, tmpl *wfv1.ClusterWorkflowTemplate) {
		defaults := config.Default()
		requests, limits := defaultResources(t)
		want := map[string]string{
			contract.ParamBaseImage:          defaults.BaseImage,
			contract.ParamPushSecret:         contract.DefaultPushSecret,
			contract.ParamPushSecretRequired: "false",
			contract.ParamRequests:           requests,
			contract.ParamLimits:             limits,
			contract.ParamLayerSize:          resource.NewQuantity(layer.DefaultSize, resource.BinarySI).String(),
			contract.ParamMaxLayers:          strconv.Itoa(layer.DefaultLayers),
			contract.ParamCompression:        string(v1alpha1.Zstd),
			contract.ParamChangeDetection:    string(v1alpha1.ChangesInContent),
			contract.ParamSymlinks:           string(v1alpha1.KeepSymlinks),
			contract.ParamCompletenessCheck:  string(v1alpha1.EnforceCompleteness),
			contract.ParamFileDigests:        string(v1alpha1.RecordFileDigests),
			contract.ParamSigningSecret:      contract.DefaultSigningSecret,
			contract.ParamSigningRequired:    "false",
			contract.ParamSigningFormats:     "Bundle,Tag",
			contract.ParamSigningAttest:      "Provenance,Files",
		}
		if tmpl.Name == contract.StreamTemplate {
			want[contract.ParamCompression] = string(v1alpha1.NoCompression)
		}
		for _, parameter := range tmpl.Spec.Arguments.Parameters {
			if parameter.Value != nil {
				assert.Equal(t, want[parameter.Name], parameter.Value.String(), parameter.Name)
			}
		}
		assert.Contains(t, []string{defaults.Options().WorkflowTemplate, defaults.Options().StreamTemplate}, tmpl.Name)
		assert.Equal(t, defaults.DeadlineSeconds, *tmpl.Spec.ActiveDeadlineSeconds)
	})
}

// defaultResources returns the arguments for the requests and limits of a
// ModelVersion that sets none.
func defaultResources(t *testing.T) (requests, limits string) {
	t.Helper()
	mv := builders.MakeModelVersion("mv-3", "default").LocalStorage("/foo", "node-1").Obj()
	for _, parameter := range builders.MakeWorkflow(mv, 1).Obj().Spec.Arguments.Parameters {
		switch parameter.Name {
		case contract.ParamRequests:
			requests = parameter.Value.String()
		case contract.ParamLimits:
			limits = parameter.Value.String()
		}
	}
	return requests, limits
}

func TestContractParametersAreUsed(t *testing.T) {
	forEachTemplate(t, func(t *testing.T, tmpl *wfv1.ClusterWorkflowTemplate) {
		assert.ElementsMatch(t, parametersOf(tmpl), usedParameters(t, tmpl), "parameters that are used")
	})
}

// usedParameters returns the parameters to which a template refers.
func usedParameters(t *testing.T, tmpl *wfv1.ClusterWorkflowTemplate) []string {
	t.Helper()
	raw, err := yaml.Marshal(tmpl.Spec)
	require.NoError(t, err)
	uses := regexp.MustCompile(`workflow\.parameters(?:\.([a-z-]+)\}\}|\['{1,2}([a-z-]+)'{1,2}\])`).FindAllStringSubmatch(string(raw), -1)
	assert.Len(t, uses, strings.Count(string(raw), "workflow.parameters"), "every use of a parameter is found")
	used := map[string]bool{}
	for _, use := range uses {
		used[use[1]+use[2]] = true
	}
	return slices.Collect(maps.Keys(used))
}

func TestContractReportOutput(t *testing.T) {
	forEachTemplate(t, assertReportOutput)
}

func assertReportOutput(t *testing.T, tmpl *wfv1.ClusterWorkflowTemplate) {
	t.Helper()
	outputs := podTemplate(t, tmpl).Outputs.Parameters
	require.Len(t, outputs, 1)
	assert.Equal(t, contract.OutputReport, outputs[0].Name)
	assert.Equal(t, contract.OutputReport, outputs[0].GlobalName)
	require.NotNil(t, outputs[0].ValueFrom)
	assert.NotNil(t, outputs[0].ValueFrom.Default, "a missing report must not fail the Workflow")
	shared := podTemplate(t, tmpl).ContainerSet.VolumeMounts
	require.NotEmpty(t, shared)
	assert.Equal(t, shared[0].MountPath+"/report.json", outputs[0].ValueFrom.Path)
}

func TestContractStepOrder(t *testing.T) {
	forEachTemplate(t, func(t *testing.T, tmpl *wfv1.ClusterWorkflowTemplate) {
		assert.Equal(t, contract.EntrypointTemplate, tmpl.Spec.Entrypoint)
		dependencies := map[string][]string{}
		var names []string
		for _, c := range podTemplate(t, tmpl).ContainerSet.Containers {
			names = append(names, c.Name)
			dependencies[c.Name] = c.Dependencies
		}
		want := []string{contract.StepMountCheck, contract.StepBuild, contract.StepStatusReport, "main"}
		assert.Equal(t, want, names)
		assert.Equal(t, map[string][]string{
			contract.StepMountCheck:   nil,
			contract.StepBuild:        {contract.StepMountCheck},
			contract.StepStatusReport: {contract.StepBuild},
			// Argo does not run a container if a dependency has failed, and main logs the
			// failure.
			"main": nil,
		}, dependencies)
	})
}

// Without a command, Argo would look it up in the image's registry.
func TestContractContainerCommands(t *testing.T) {
	forEachTemplate(t, func(t *testing.T, tmpl *wfv1.ClusterWorkflowTemplate) {
		for name, c := range containers(t, tmpl) {
			require.Len(t, c.Command, 1, name)
			assert.Equal(t, "modelkiln-step", filepath.Base(c.Command[0]), name)
			assert.NotContains(t, c.Image, "{{", "%s: users who can start a build must not choose its image", name)
		}
	})
}

// The step program accepts the arguments that the template passes.
func TestContractContainerArguments(t *testing.T) {
	forEachTemplate(t, assertArgumentsAccepted)
}

func assertArgumentsAccepted(t *testing.T, tmpl *wfv1.ClusterWorkflowTemplate) {
	t.Helper()
	placeholder := regexp.MustCompile(`\{\{.*?\}\}`)
	defaults := []string{"{{workflow.creationTimestamp.RFC3339}}", "2026-03-01T09:40:00Z"}
	for _, parameter := range tmpl.Spec.Arguments.Parameters {
		if parameter.Value != nil {
			defaults = append(defaults, "{{workflow.parameters."+parameter.Name+"}}", parameter.Value.String())
		}
	}
	setDefaults := strings.NewReplacer(defaults...)
	for name, c := range containers(t, tmpl) {
		t.Run(name, func(t *testing.T) {
			var args []string
			for _, arg := range c.Args {
				args = append(args, placeholder.ReplaceAllString(setDefaults.Replace(arg), "true"))
			}
			// Flags are parsed in order. After valid ones, -help exits with code 0.
			var output strings.Builder
			assert.Zero(t, steps.Main(t.Context(), append(args, "-help"), &output, &output), output.String())
		})
	}
}

// A parameter can set the value of one flag, and nothing else.
func TestContractArgumentsAreFlagValues(t *testing.T) {
	forEachTemplate(t, func(t *testing.T, tmpl *wfv1.ClusterWorkflowTemplate) {
		for name, c := range containers(t, tmpl) {
			for i, arg := range c.Args {
				if i == 0 {
					assert.NotContains(t, arg, "{{", name)
					continue
				}
				assert.Regexp(t, `^--[a-z0-9-]+=(\{\{[^{}]*\}\}|Stream)?$`, arg, name)
			}
		}
	})
}

func TestContractVolumeMounts(t *testing.T) {
	forEachTemplate(t, func(t *testing.T, tmpl *wfv1.ClusterWorkflowTemplate) {
		want := map[string][]string{
			contract.StepMountCheck: {"push-secret", "registry-ca", "source", "source-secret"},
			contract.StepBuild:      {"push-secret", "registry-ca", "source", "source-secret"},
			// Only this step has the signing key.
			contract.StepStatusReport: {"push-secret", "registry-ca", "signing-secret"},
			"main":                    nil,
		}
		declared := map[string]bool{}
		for _, volume := range podTemplate(t, tmpl).Volumes {
			declared[volume.Name] = true
		}
		for name, c := range containers(t, tmpl) {
			var mounted []string
			for _, mount := range c.VolumeMounts {
				mounted = append(mounted, mount.Name)
				assert.True(t, mount.ReadOnly, "%s: %s", name, mount.Name)
				assert.True(t, declared[mount.Name], "%s: %s", name, mount.Name)
				assert.Equal(t, "/"+mount.Name, mount.MountPath, name)
			}
			slices.Sort(mounted)
			assert.Equal(t, want[name], mounted, name)
		}
		// Every step has the volume mounts of the container set.
		shared := map[string]string{}
		for _, mount := range podTemplate(t, tmpl).ContainerSet.VolumeMounts {
			shared[mount.Name] = mount.MountPath
			assert.True(t, declared[mount.Name])
		}
		assert.Equal(t, map[string]string{"kiln": "/kiln", "no-token": "/var/run/secrets/kubernetes.io/serviceaccount"}, shared)
	})
}

func TestContractVolumes(t *testing.T) {
	forEachTemplate(t, func(t *testing.T, tmpl *wfv1.ClusterWorkflowTemplate) {
		volumes := map[string]corev1.VolumeSource{}
		for _, volume := range podTemplate(t, tmpl).Volumes {
			volumes[volume.Name] = volume.VolumeSource
		}
		ca := volumes["registry-ca"].ConfigMap
		require.NotNil(t, ca)
		assert.Equal(t, contract.RegistryCAConfigMap, ca.Name)
		assert.True(t, *ca.Optional, "most clusters do not have it")

		secret := volumes["push-secret"].Secret
		require.NotNil(t, secret)
		assert.Equal(t, "{{workflow.parameters."+contract.ParamPushSecret+"}}", secret.SecretName)
		assert.True(t, *secret.Optional, "mount-check reports a missing Secret in a readable message")
		assert.Equal(t, []corev1.KeyToPath{{Key: corev1.DockerConfigJsonKey, Path: "config.json"}}, secret.Items, "the build cannot read other keys of the Secret")
	})
}

// No container can gain privileges. Only mount-check and build of Kaniko's
// template can run as root.
func TestContractSecurityContext(t *testing.T) {
	forEachTemplate(t, func(t *testing.T, tmpl *wfv1.ClusterWorkflowTemplate) {
		for name, c := range containers(t, tmpl) {
			s := c.SecurityContext
			require.NotNil(t, s, name)
			assert.False(t, *s.AllowPrivilegeEscalation, name)
			assert.Nil(t, s.Privileged, name)
			assert.Equal(t, []corev1.Capability{"ALL"}, s.Capabilities.Drop, name)
			assert.NotContains(t, s.Capabilities.Add, corev1.Capability("SYS_ADMIN"), name)
			if tmpl.Name == contract.StreamTemplate || name == contract.StepStatusReport || name == "main" {
				assert.True(t, *s.RunAsNonRoot, name)
				assert.True(t, *s.ReadOnlyRootFilesystem, name)
				assert.Empty(t, s.Capabilities.Add, name)
			}
		}
	})
}

// Builds of the same image exclude each other. Argo 4 supports only the list form
// of mutexes.
func TestContractMutex(t *testing.T) {
	forEachTemplate(t, func(t *testing.T, tmpl *wfv1.ClusterWorkflowTemplate) {
		synchronization := tmpl.Spec.Synchronization
		require.NotNil(t, synchronization)
		assert.Nil(t, synchronization.Mutex)
		assert.Nil(t, synchronization.Semaphore)
		assert.Equal(t, []*wfv1.Mutex{{Name: "{{workflow.parameters." + contract.ParamImage + "}}"}}, synchronization.Mutexes)
	})
}

// The operator reads the labels of a Workflow, so a template must not set them.
func TestContractNoWorkflowMetadata(t *testing.T) {
	forEachTemplate(t, func(t *testing.T, tmpl *wfv1.ClusterWorkflowTemplate) {
		assert.Nil(t, tmpl.Spec.WorkflowMetadata)
	})
}

func TestContractBuildPermissions(t *testing.T) {
	forEachTemplate(t, func(t *testing.T, tmpl *wfv1.ClusterWorkflowTemplate) {
		assert.Equal(t, contract.BuildServiceAccount, tmpl.Spec.ServiceAccountName)

		var role rbacv1.ClusterRole
		golden.ReadYAML(t, filepath.Join(templatesDir, "clusterrole.yaml"), &role)
		assert.Equal(t, contract.BuildClusterRole, role.Name)
		want := []rbacv1.PolicyRule{{APIGroups: []string{"argoproj.io"}, Resources: []string{"workflowtaskresults"}, Verbs: []string{"create", "patch"}}}
		assert.Equal(t, want, role.Rules)

		var account corev1.ServiceAccount
		golden.ReadYAML(t, filepath.Join(templatesDir, "namespace", "serviceaccount.yaml"), &account)
		assert.Equal(t, contract.BuildServiceAccount, account.Name)

		var binding rbacv1.RoleBinding
		golden.ReadYAML(t, filepath.Join(templatesDir, "namespace", "rolebinding.yaml"), &binding)
		assert.Equal(t, rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: contract.BuildClusterRole}, binding.RoleRef)
		require.Len(t, binding.Subjects, 1)
		assert.Equal(t, contract.BuildServiceAccount, binding.Subjects[0].Name)
	})
}

// Kustomize installs every file, and every file that it names exists.
func TestContractKustomizations(t *testing.T) {
	for _, dir := range []string{".", "kaniko", "stream", "promote", "namespace"} {
		dir = filepath.Join(templatesDir, dir)
		var kustomization struct {
			Resources []string `json:"resources"`
			Patches   []struct {
				Path string `json:"path"`
			} `json:"patches"`
		}
		raw, err := os.ReadFile(filepath.Join(dir, "kustomization.yaml"))
		require.NoError(t, err)
		require.NoError(t, yaml.Unmarshal(raw, &kustomization))
		files, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
		require.NoError(t, err)
		want := []string{"kustomization.yaml"}
		for _, patch := range kustomization.Patches {
			want = append(want, patch.Path)
		}
		for _, resource := range kustomization.Resources {
			if filepath.Ext(resource) == ".yaml" {
				want = append(want, resource)
				continue
			}
			assert.DirExists(t, filepath.Join(dir, resource))
		}
		var got []string
		for _, file := range files {
			got = append(got, filepath.Base(file))
		}
		assert.ElementsMatch(t, want, got, dir)
	}
}
