package workflow_test

import (
	"encoding/json"
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

// These tests fail when Go and workflow-templates/ disagree about the contract
// (contract.go), before a cluster shows it.

const templatesDir = "../../workflow-templates"

// everyTemplate tests each engine's template.
func everyTemplate(t *testing.T, test func(t *testing.T, tmpl *wfv1.ClusterWorkflowTemplate)) {
	t.Helper()
	var kaniko wfv1.ClusterWorkflowTemplate
	golden.ReadYAML(t, filepath.Join(templatesDir, "kaniko", "modelkiln-build.yaml"), &kaniko)
	t.Run(contract.BuildTemplate, func(t *testing.T) { test(t, &kaniko) })
	t.Run(contract.StreamTemplate, func(t *testing.T) { test(t, streamTemplate(t, &kaniko)) })
}

// streamTemplate is what kustomize makes of the other one for Stream.
func streamTemplate(t *testing.T, kaniko *wfv1.ClusterWorkflowTemplate) *wfv1.ClusterWorkflowTemplate {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(templatesDir, "stream", "patch.yaml"))
	require.NoError(t, err)
	raw, err = yaml.YAMLToJSON(raw)
	require.NoError(t, err)
	patch, err := jsonpatch.DecodePatch(raw)
	require.NoError(t, err)
	whole, err := json.Marshal(kaniko)
	require.NoError(t, err)
	whole, err = patch.Apply(whole)
	require.NoError(t, err)
	var tmpl wfv1.ClusterWorkflowTemplate
	require.NoError(t, yaml.UnmarshalStrict(whole, &tmpl))
	return &tmpl
}

func TestTheTemplateMarksItsPodsForTheOperator(t *testing.T) {
	everyTemplate(t, func(t *testing.T, tmpl *wfv1.ClusterWorkflowTemplate) {
		assert.Equal(t, contract.BuildPodLabels(), tmpl.Spec.PodMetadata.Labels)
	})
}

// Where the platform team has chosen another one, as one that scans, versions
// do not get around that by naming this one.
func TestTheTemplateIsNotForVersionsToNameWhereItIsNotTheDefault(t *testing.T) {
	everyTemplate(t, func(t *testing.T, tmpl *wfv1.ClusterWorkflowTemplate) {
		assert.NotContains(t, tmpl.Labels, v1alpha1.LabelBuildTemplate)
	})
}

// containers are the steps' containers, by name.
func containers(t *testing.T, tmpl *wfv1.ClusterWorkflowTemplate) map[string]wfv1.ContainerNode {
	t.Helper()
	byName := map[string]wfv1.ContainerNode{}
	for _, c := range podTemplate(t, tmpl).ContainerSet.Containers {
		byName[c.Name] = c
	}
	return byName
}

// podTemplate is the template of the build's pod.
func podTemplate(t *testing.T, tmpl *wfv1.ClusterWorkflowTemplate) *wfv1.Template {
	t.Helper()
	i := slices.IndexFunc(tmpl.Spec.Templates, func(each wfv1.Template) bool { return each.ContainerSet != nil })
	require.NotEqual(t, -1, i)
	return &tmpl.Spec.Templates[i]
}

// sent are the arguments that Go sends: in every case, and in some.
func sent(t *testing.T) (always, ever map[string]bool) {
	t.Helper()
	always, ever = map[string]bool{}, map[string]bool{}
	first := true
	for _, file := range golden.Cases(t, "workflow", ".workflow.yaml") {
		var wf wfv1.Workflow
		golden.ReadYAML(t, file, &wf)
		names := map[string]bool{}
		for _, parameter := range wf.Spec.Arguments.Parameters {
			names[parameter.Name], ever[parameter.Name] = true, true
		}
		if first {
			always = maps.Clone(names)
		}
		maps.DeleteFunc(always, func(name string, _ bool) bool { return !names[name] })
		first = false
	}
	return always, ever
}

// allParameters are the parameters that Go knows.
var allParameters = []string{
	contract.ParamModel, contract.ParamModelVersion, contract.ParamModelVersionUID, contract.ParamCreatedBy,
	contract.ParamImage, contract.ParamBaseImage, contract.ParamStorageKind, contract.ParamStoragePath,
	contract.ParamNodeName, contract.ParamClaimName, contract.ParamSubPath, contract.ParamNFSServer, contract.ParamNFSPath, contract.ParamPushSecret,
	contract.ParamPushSecretRequired, contract.ParamPlainHTTPRegistries, contract.ParamRequests,
	contract.ParamLimits, contract.ParamNodeSelector, contract.ParamTolerations, contract.ParamLayerSize, contract.ParamMaxLayers, contract.ParamCompression,
}

// parametersOf are those that a template has to declare.
func parametersOf(tmpl *wfv1.ClusterWorkflowTemplate) []string {
	if tmpl.Name == contract.StreamTemplate {
		return append(slices.Clone(allParameters), contract.ParamPreviousImage, contract.ParamChangeDetection)
	}
	return allParameters
}

func TestGoAndTheTemplateKnowTheSameParameters(t *testing.T) {
	everyTemplate(t, func(t *testing.T, tmpl *wfv1.ClusterWorkflowTemplate) {
		var declared []string
		for _, parameter := range tmpl.Spec.Arguments.Parameters {
			declared = append(declared, parameter.Name)
			assert.NotEmpty(t, parameter.Description, "%s: a person starts builds with it", parameter.Name)
		}
		assert.ElementsMatch(t, parametersOf(tmpl), declared)

		_, ever := sent(t)
		assert.ElementsMatch(t, append(slices.Clone(allParameters), contract.ParamChangeDetection), slices.Collect(maps.Keys(ever)), "the golden Workflows use each of them")
	})
}

func TestWhatHasNoDefaultIsAlwaysSent(t *testing.T) {
	everyTemplate(t, func(t *testing.T, tmpl *wfv1.ClusterWorkflowTemplate) {
		always, _ := sent(t)
		for _, parameter := range tmpl.Spec.Arguments.Parameters {
			if parameter.Value == nil {
				assert.Contains(t, always, parameter.Name)
			}
		}
	})
}

// What Go leaves out, since it is empty, is the template's default, which must
// not say something else.
func TestTheTemplatesDefaultsAreTheOperators(t *testing.T) {
	everyTemplate(t, func(t *testing.T, tmpl *wfv1.ClusterWorkflowTemplate) {
		defaults := config.Default()
		requests, limits := resourcesOfTheDefaults(t)
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

// resourcesOfTheDefaults are the requests and limits of a version that names
// none, as arguments.
func resourcesOfTheDefaults(t *testing.T) (requests, limits string) {
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

func TestEveryParameterThatIsUsedIsDeclared(t *testing.T) {
	everyTemplate(t, func(t *testing.T, tmpl *wfv1.ClusterWorkflowTemplate) {
		raw, err := yaml.Marshal(tmpl.Spec)
		require.NoError(t, err)
		uses := regexp.MustCompile(`workflow\.parameters(?:\.([a-z-]+)\}\}|\['{1,2}([a-z-]+)'{1,2}\])`).FindAllStringSubmatch(string(raw), -1)
		assert.Len(t, uses, strings.Count(string(raw), "workflow.parameters"), "no parameter is used in another way")
		used := map[string]bool{}
		for _, use := range uses {
			used[use[1]+use[2]] = true
		}
		assert.ElementsMatch(t, parametersOf(tmpl), slices.Collect(maps.Keys(used)), "and each that is declared is used")
	})
}

func TestTheReportComesBackWhateverHappens(t *testing.T) {
	everyTemplate(t, func(t *testing.T, tmpl *wfv1.ClusterWorkflowTemplate) {
		outputs := podTemplate(t, tmpl).Outputs.Parameters
		require.Len(t, outputs, 1)
		assert.Equal(t, contract.OutputReport, outputs[0].Name)
		assert.Equal(t, contract.OutputReport, outputs[0].GlobalName)
		require.NotNil(t, outputs[0].ValueFrom)
		assert.NotNil(t, outputs[0].ValueFrom.Default, "a run without a report is a run")
		shared := podTemplate(t, tmpl).ContainerSet.VolumeMounts
		require.Len(t, shared, 1)
		assert.Equal(t, shared[0].MountPath+"/report.json", outputs[0].ValueFrom.Path)
	})
}

func TestTheStepsRunOneAfterTheOther(t *testing.T) {
	everyTemplate(t, func(t *testing.T, tmpl *wfv1.ClusterWorkflowTemplate) {
		assert.Equal(t, contract.EntrypointTemplate, tmpl.Spec.Entrypoint)
		assert.Equal(t, contract.EntrypointTemplate, tmpl.Spec.Entrypoint)
		before := ""
		var names []string
		for _, c := range podTemplate(t, tmpl).ContainerSet.Containers {
			names = append(names, c.Name)
			if before == "" {
				assert.Empty(t, c.Dependencies, c.Name)
			} else {
				assert.Equal(t, []string{before}, c.Dependencies, c.Name)
			}
			if before = c.Name; c.Name == contract.StepStatusReport {
				// Nothing waits for main, of which Argo takes the outputs.
				before = contract.StepMountCheck
			}
		}
		want := []string{contract.StepMountCheck, contract.StepBuild, contract.StepStatusReport, "main"}
		assert.Equal(t, want, names)
	})
}

// Without a command, Argo would ask the registry of the image for one.
func TestEveryContainerHasACommandOfItsOwn(t *testing.T) {
	everyTemplate(t, func(t *testing.T, tmpl *wfv1.ClusterWorkflowTemplate) {
		for name, c := range containers(t, tmpl) {
			require.Len(t, c.Command, 1, name)
			assert.Equal(t, "modelkiln-step", filepath.Base(c.Command[0]), name)
			assert.NotContains(t, c.Image, "{{", "%s: who may start a build does not choose its programs", name)
		}
	})
}

// The step program takes the arguments that the template passes.
func TestTheStepsTakeTheirArguments(t *testing.T) {
	everyTemplate(t, func(t *testing.T, tmpl *wfv1.ClusterWorkflowTemplate) {
		placeholder := regexp.MustCompile(`\{\{.*?\}\}`)
		defaults := []string{}
		for _, parameter := range tmpl.Spec.Arguments.Parameters {
			if parameter.Value != nil {
				defaults = append(defaults, "{{workflow.parameters."+parameter.Name+"}}", parameter.Value.String())
			}
		}
		byDefault := strings.NewReplacer(defaults...)
		for name, c := range containers(t, tmpl) {
			t.Run(name, func(t *testing.T) {
				var args []string
				for _, arg := range c.Args {
					args = append(args, placeholder.ReplaceAllString(byDefault.Replace(arg), "true"))
				}
				// Flags are parsed in their order, and help ends that well.
				var said strings.Builder
				assert.Zero(t, steps.Main(t.Context(), append(args, "-help"), &said, &said), said.String())
			})
		}
	})
}

// No argument may be more than the value of one flag.
func TestEveryArgumentIsTheValueOfAFlag(t *testing.T) {
	everyTemplate(t, func(t *testing.T, tmpl *wfv1.ClusterWorkflowTemplate) {
		for name, c := range containers(t, tmpl) {
			for i, arg := range c.Args {
				if i == 0 {
					assert.NotContains(t, arg, "{{", name)
					continue
				}
				assert.Regexp(t, `^--[a-z-]+=(\{\{[^{}]*\}\}|Stream)?$`, arg, name)
			}
		}
	})
}

func TestWhatEachStepMounts(t *testing.T) {
	everyTemplate(t, func(t *testing.T, tmpl *wfv1.ClusterWorkflowTemplate) {
		want := map[string][]string{
			contract.StepMountCheck:   {"push-secret", "registry-ca", "source"},
			contract.StepBuild:        {"push-secret", "registry-ca", "source"},
			contract.StepStatusReport: {"push-secret", "registry-ca"},
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
		// What the set mounts, every container mounts, and Argo's own too.
		for _, mount := range podTemplate(t, tmpl).ContainerSet.VolumeMounts {
			assert.Equal(t, "kiln", mount.Name)
			assert.True(t, declared[mount.Name])
		}
	})
}

func TestVolumesAreThoseThatGoNames(t *testing.T) {
	everyTemplate(t, func(t *testing.T, tmpl *wfv1.ClusterWorkflowTemplate) {
		volumes := map[string]corev1.VolumeSource{}
		for _, volume := range podTemplate(t, tmpl).Volumes {
			volumes[volume.Name] = volume.VolumeSource
		}
		ca := volumes["registry-ca"].ConfigMap
		require.NotNil(t, ca)
		assert.Equal(t, contract.RegistryCAConfigMap, ca.Name)
		assert.True(t, *ca.Optional, "most clusters have none")

		secret := volumes["push-secret"].Secret
		require.NotNil(t, secret)
		assert.Equal(t, "{{workflow.parameters."+contract.ParamPushSecret+"}}", secret.SecretName)
		assert.True(t, *secret.Optional, "mount-check says what is missing, in words")
		assert.Equal(t, []corev1.KeyToPath{{Key: corev1.DockerConfigJsonKey, Path: "config.json"}}, secret.Items, "no other key of a Secret is readable")
	})
}

// No container gains privileges, and none but those that must is root. Stream
// needs nobody who is.
func TestNoContainerMayBecomeMore(t *testing.T) {
	everyTemplate(t, func(t *testing.T, tmpl *wfv1.ClusterWorkflowTemplate) {
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

// The list form of mutexes is the one that Argo keeps in v4.
func TestBuildsOfOneImageExcludeEachOther(t *testing.T) {
	everyTemplate(t, func(t *testing.T, tmpl *wfv1.ClusterWorkflowTemplate) {
		synchronization := tmpl.Spec.Synchronization
		require.NotNil(t, synchronization)
		assert.Nil(t, synchronization.Mutex)
		assert.Nil(t, synchronization.Semaphore)
		assert.Equal(t, []*wfv1.Mutex{{Name: "{{workflow.parameters." + contract.ParamImage + "}}"}}, synchronization.Mutexes)
	})
}

// A Workflow's labels are read by the operator: a template must not set them.
func TestTheTemplateLeavesTheWorkflowsLabelsAlone(t *testing.T) {
	everyTemplate(t, func(t *testing.T, tmpl *wfv1.ClusterWorkflowTemplate) {
		assert.Nil(t, tmpl.Spec.WorkflowMetadata)
	})
}

func TestBuildsMayReportTheirResultsAndNothingElse(t *testing.T) {
	everyTemplate(t, func(t *testing.T, tmpl *wfv1.ClusterWorkflowTemplate) {
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

// Every file that is there is installed, and the other way round.
func TestEveryTemplateIsInstalled(t *testing.T) {
	for _, folder := range []string{".", "kaniko", "stream", "namespace"} {
		folder = filepath.Join(templatesDir, folder)
		var kustomization struct {
			Resources []string `json:"resources"`
			Patches   []struct {
				Path string `json:"path"`
			} `json:"patches"`
		}
		raw, err := os.ReadFile(filepath.Join(folder, "kustomization.yaml"))
		require.NoError(t, err)
		require.NoError(t, yaml.Unmarshal(raw, &kustomization))
		files, err := filepath.Glob(filepath.Join(folder, "*.yaml"))
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
			assert.DirExists(t, filepath.Join(folder, resource))
		}
		var got []string
		for _, file := range files {
			got = append(got, filepath.Base(file))
		}
		assert.ElementsMatch(t, want, got, folder)
	}
}
