// Package argo tests the workflow templates, and the Workflows that the operator
// creates from them, with Argo's own code. It is a separate module, so that the
// operator does not depend on the dependencies of Argo's controller.
package argo

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	argotemplate "github.com/argoproj/argo-workflows/v3/util/template"
	"github.com/argoproj/argo-workflows/v3/workflow/common"
	"github.com/argoproj/argo-workflows/v3/workflow/util"
	"github.com/argoproj/argo-workflows/v3/workflow/validate"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/yaml"
)

const goldenDir = "../../internal/workflow/testdata/workflow"

func TestValidateClusterWorkflowTemplate(t *testing.T) {
	for _, tmpl := range []*wfv1.ClusterWorkflowTemplate{template(t), streamTemplate(t)} {
		err := validate.ValidateClusterWorkflowTemplate(nil, templates{}, tmpl, nil, validate.ValidateOpts{Lint: true})
		require.NoError(t, err, tmpl.Name)
	}
}

func TestValidateWorkflow(t *testing.T) {
	for name, wf := range goldenWorkflows(t) {
		t.Run(name, func(t *testing.T) {
			tmpl := templateOf(t, wf)
			tmpl.Name = wf.Spec.WorkflowTemplateRef.Name
			err := validate.ValidateWorkflow(nil, templates{tmpl}, wf, nil, validate.ValidateOpts{})
			require.NoError(t, err)
		})
	}
}

// With Strict or Secure template referencing, Argo allows a Workflow that
// references a template to set little more than arguments.
func TestValidateUserOverrides(t *testing.T) {
	for name, wf := range goldenWorkflows(t) {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, util.ValidateUserOverrides(&wf.Spec))
		})
	}
}

func TestValidateWorkflowWithoutAnImage(t *testing.T) {
	wf := &wfv1.Workflow{}
	wf.GenerateName = "by-hand-"
	wf.Spec.WorkflowTemplateRef = &wfv1.WorkflowTemplateRef{Name: "modelkiln-build", ClusterScope: true}
	wf.Spec.Arguments.Parameters = []wfv1.Parameter{{Name: "storage-kind", Value: wfv1.AnyStringPtr("localStorage")}}

	err := validate.ValidateWorkflow(nil, templates{template(t)}, wf, nil, validate.ValidateOpts{})
	require.ErrorContains(t, err, "image")
}

func TestPod(t *testing.T) {
	for name, wf := range goldenWorkflows(t) {
		t.Run(name, func(t *testing.T) {
			got, err := pod(templateOf(t, wf), arguments(t, wf))
			require.NoError(t, err)
			golden(t, filepath.Join("testdata", name+".pod.yaml"), []byte(marshal(t, got)))
		})
	}
}

// With all arguments, the pod mounts the requested storage read-only.
func TestPodMountsTheStorageReadOnly(t *testing.T) {
	for name, wf := range goldenWorkflows(t) {
		t.Run(name, func(t *testing.T) {
			got, err := pod(templateOf(t, wf), arguments(t, wf))
			require.NoError(t, err)
			storage := source(t, got)
			mounted := name != "s3" && name != "hugging-face" && name != "image"
			assert.Equal(t, mounted, storage.EmptyDir == nil, "storage that is mounted replaces the emptyDir")
			if storage.HostPath != nil {
				assert.Equal(t, corev1.HostPathDirectory, *storage.HostPath.Type)
				assert.NotNil(t, got.Affinity.NodeAffinity, "the pod must run on the node of the directory")
			}
			if storage.NFS != nil {
				assert.True(t, storage.NFS.ReadOnly, "kubelet mounts it read-only")
			}
			kinds := 0
			for _, isSet := range []bool{storage.HostPath != nil, storage.NFS != nil, storage.PersistentVolumeClaim != nil, storage.EmptyDir != nil} {
				if isSet {
					kinds++
				}
			}
			assert.Equal(t, 1, kinds, "the volume has one source")
			for _, container := range got.Containers {
				for _, mount := range container.VolumeMounts {
					assert.Equal(t, mount.Name != "kiln", mount.ReadOnly, "%s mounts %s", container.Name, mount.Name)
				}
			}
		})
	}
}

// Only localStorage restricts the pod to a node.
func TestPodWithoutNodeAffinity(t *testing.T) {
	for name, want := range map[string]corev1.VolumeSource{
		"claim-with-sub-path": {PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "trained-models"}},
		"nfs":                 {NFS: &corev1.NFSVolumeSource{Server: "nas.example.com", Path: "/exports/models/resnet/7", ReadOnly: true}},
		"efs":                 {PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "modelkiln-2a67c7ea077f5c6b46fb"}},
		"s3":                  {EmptyDir: &corev1.EmptyDirVolumeSource{SizeLimit: ptr.To(resource.MustParse("1Mi"))}},
		"hugging-face":        {EmptyDir: &corev1.EmptyDirVolumeSource{SizeLimit: ptr.To(resource.MustParse("1Mi"))}},
		"image":               {EmptyDir: &corev1.EmptyDirVolumeSource{SizeLimit: ptr.To(resource.MustParse("1Mi"))}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := pod(template(t), arguments(t, goldenWorkflows(t)[name]))
			require.NoError(t, err)
			assert.Equal(t, want, source(t, got).VolumeSource)
			assert.Nil(t, got.Affinity.NodeAffinity)
			assert.Empty(t, got.NodeSelector)
		})
	}
}

// injections are values with which a user might try to change more than the
// field that a parameter is for. Users can start builds without the operator and
// pass any of them.
var injections = []string{
	`/foo","type":""}`,
	`'] } } }) == '' ? {} : {}`,
	`" + workflow.uid + "`,
	"/foo\n- name: evil",
	`\u0022,\u0022privileged\u0022:true`,
	`$(cat /etc/passwd)`,
	"`id`",
	`a=b","privileged":"true`,
	`a=b","x":{"privileged":"true"}`,
	`/foo/$$(NAME)/<&>/\`,
	`/foo/{brace}/}}/\u007b`,
}

// expressions are injections that Argo expands, once or twice.
var expressions = []string{
	`{{workflow.uid}}`,
	`{{=workflow.uid}}`,
	`{{{=workflow.uid}}`,
	`{{`,
	once(outOfNodeName), twice(outOfNodeName),
	once(outOfStoragePath), twice(outOfStoragePath),
	once(outOfNFSServer), twice(outOfNFSServer),
	once(outOfNFSPath), twice(outOfNFSPath),
}

// Values that would leave their place in the patch if they were not escaped.
const (
	outOfNodeName    = `"]}]}]}}},"hostPID":true,"x":{"a":{"b":{"c":[{"d":[{"e":["`
	outOfStoragePath = `","type":"Directory"},"name":"source"}],"hostPID":true,"x":[{"y":{"z":"`
	outOfNFSServer   = `"},"name":"source"}],"hostPID":true,"x":[{"y":{"z":"`
	outOfNFSPath     = `","readOnly":false,"server":"elsewhere"},"name":"source"}],"hostPID":true,"x":[{"y":{"z":"`
)

func once(text string) string {
	return fmt.Sprintf("{{=sprig.b64dec('%s')}}", base64.StdEncoding.EncodeToString([]byte(text)))
}

func twice(text string) string {
	return fmt.Sprintf("{{='{' + '{=sprig.b64dec(`%s`)}' + '}'}}", base64.StdEncoding.EncodeToString([]byte(text)))
}

func TestPodRejectsInjections(t *testing.T) {
	for _, tmpl := range []*wfv1.ClusterWorkflowTemplate{template(t), streamTemplate(t)} {
		assertNoInjection(t, tmpl)
	}
}

// assertNoInjection fails if an argument changes anything in the pod except the
// field that its parameter is for.
func assertNoInjection(t *testing.T, tmpl *wfv1.ClusterWorkflowTemplate) {
	t.Helper()
	for _, kind := range []string{"localStorage", "nfs", "persistentVolumeClaim", "s3"} {
		plain := plainArguments(t, kind)
		created, err := podOf(tmpl, plain)
		require.NoError(t, err)
		want := &created.Spec
		blank(want)
		for _, parameter := range tmpl.Spec.Arguments.Parameters {
			if kind != "nfs" && !slices.Contains(ofStorage, parameter.Name) {
				continue // The kind makes no difference, and each pod takes a while.
			}
			for _, injection := range slices.Concat(injections, expressions) {
				t.Run(tmpl.Name+" "+kind+" "+parameter.Name+" "+injection, func(t *testing.T) {
					hostile := maps.Clone(plain)
					hostile["workflow.parameters."+parameter.Name] = injection
					gotPod, err := podOf(tmpl, hostile)
					if err != nil {
						return // Argo fails such a Workflow before it creates a pod.
					}
					got := &gotPod.Spec
					blank(got)
					if !strings.HasPrefix(parameter.Name, "pod-") {
						assert.Equal(t, created.ObjectMeta, gotPod.ObjectMeta)
					}
					if parameter.Name == "storage-kind" {
						require.NotNil(t, source(t, got).EmptyDir, "an unknown kind mounts nothing")
						got.Volumes = want.Volumes
					}
					assert.Equal(t, marshal(t, want), marshal(t, got))
				})
			}
		}
	}
}

// ofStorage are the parameters whose effect depends on the kind of storage.
var ofStorage = []string{"storage-kind", "storage-path", "node-name", "claim-name", "sub-path", "nfs-server", "nfs-path", "endpoint", "region", "bucket", "prefix", "repo", "revision", "source-secret"}

// plainArguments returns harmless arguments for a build from a kind of storage.
func plainArguments(t *testing.T, kind string) common.Parameters {
	t.Helper()
	args := arguments(t, &wfv1.Workflow{})
	for name, value := range map[string]string{
		"image": "registry.example.com/resnet:v1", "storage-kind": kind, "storage-path": "/plain", "node-name": "plain",
		"nfs-server": "plain", "nfs-path": "/plain", "claim-name": "plain", "source-secret": "plain", "tolerations": "plain:NoSchedule",
	} {
		args["workflow.parameters."+name] = value
	}
	return args
}

// The names of nodes and the paths in the pod are literally those of the
// arguments.
func TestPodUsesArgumentsLiterally(t *testing.T) {
	for _, injection := range injections {
		t.Run(injection, func(t *testing.T) {
			args := arguments(t, &wfv1.Workflow{})
			args["workflow.parameters.image"] = "registry.example.com/resnet:v1"
			args["workflow.parameters.storage-kind"] = "localStorage"
			args["workflow.parameters.storage-path"] = injection
			args["workflow.parameters.node-name"] = injection
			args["workflow.parameters.sub-path"] = injection
			args["workflow.parameters.nfs-server"] = injection
			args["workflow.parameters.nfs-path"] = injection

			got, err := pod(template(t), args)
			require.NoError(t, err)
			assert.Equal(t, injection, source(t, got).HostPath.Path)
			assert.Equal(t, []string{injection}, nodeNames(got))
			// Kubernetes expands $$ to $ in arguments.
			escaped := strings.ReplaceAll(injection, "$", "$$")
			flags := mountCheck(t, got).Args
			assert.Contains(t, flags, "--storage-path="+escaped)
			assert.Contains(t, flags, "--sub-path="+escaped)
			assert.Contains(t, flags, "--nfs-server="+escaped)
			assert.Contains(t, flags, "--nfs-path="+escaped)

			args["workflow.parameters.storage-kind"] = "nfs"
			got, err = pod(template(t), args)
			require.NoError(t, err)
			assert.Equal(t, &corev1.NFSVolumeSource{Server: injection, Path: injection, ReadOnly: true}, source(t, got).NFS)
		})
	}
}

// blank clears the fields that arguments set.
func blank(spec *corev1.PodSpec) {
	for i := range spec.Volumes {
		v := &spec.Volumes[i]
		if v.HostPath != nil {
			v.HostPath.Path = ""
		}
		if v.NFS != nil {
			v.NFS.Server, v.NFS.Path = "", ""
		}
		if v.PersistentVolumeClaim != nil {
			v.PersistentVolumeClaim.ClaimName = ""
		}
		if v.Secret != nil {
			v.Secret.SecretName = ""
		}
	}
	if names := nodeNames(spec); len(names) == 1 {
		names[0] = ""
	}
	spec.NodeSelector, spec.Tolerations = nil, nil
	spec.ImagePullSecrets, spec.PriorityClassName = nil, ""
	spec.InitContainers[0].Resources = corev1.ResourceRequirements{}
	for i := range spec.Containers {
		c := &spec.Containers[i]
		c.Resources, c.Env = corev1.ResourceRequirements{}, nil
		for j, arg := range c.Args {
			c.Args[j], _, _ = strings.Cut(arg, "=")
		}
	}
}

func nodeNames(spec *corev1.PodSpec) []string {
	if spec.Affinity == nil || spec.Affinity.NodeAffinity == nil {
		return nil
	}
	return spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms[0].MatchFields[0].Values
}

// mountCheck returns the container of the step mount-check.
func mountCheck(t *testing.T, spec *corev1.PodSpec) corev1.Container {
	t.Helper()
	i := slices.IndexFunc(spec.Containers, func(c corev1.Container) bool { return c.Name == "mount-check" })
	require.NotEqual(t, -1, i)
	return spec.Containers[i]
}

// source returns the volume of the model's files.
func source(t *testing.T, spec *corev1.PodSpec) corev1.Volume {
	t.Helper()
	i := slices.IndexFunc(spec.Volumes, func(v corev1.Volume) bool { return v.Name == "source" })
	require.NotEqual(t, -1, i)
	return spec.Volumes[i]
}

// pod returns the spec of the build's pod: see podOf.
func pod(tmpl *wfv1.ClusterWorkflowTemplate, args common.Parameters) (*corev1.PodSpec, error) {
	created, err := podOf(tmpl, args)
	if err != nil {
		return nil, err
	}
	return &created.Spec, nil
}

// podOf returns the part of the build's pod that depends on arguments. It follows
// Argo's executeTemplate, addMetadata and createWorkflowPod, which expand the
// arguments of the task, then the template, then the pod, then the template that the
// pod contains for the executor, and the patches.
func podOf(tmpl *wfv1.ClusterWorkflowTemplate, args common.Parameters) (*corev1.Pod, error) {
	task, err := expandTask(tmpl.Spec.Templates[1].DAG.Tasks[0], args)
	if err != nil {
		return nil, err
	}
	build, err := expandWith(withPodMetadata(tmpl.Spec), &task.Arguments, args)
	if err != nil {
		return nil, err
	}
	created := corev1.Pod{Spec: corev1.PodSpec{Volumes: build.Volumes, Containers: []corev1.Container{{Name: common.WaitContainerName}}}}
	for _, node := range build.ContainerSet.Containers {
		created.Spec.Containers = append(created.Spec.Containers, node.Container)
	}
	created.Labels, created.Annotations = maps.Clone(tmpl.Spec.PodMetadata.Labels), maps.Clone(tmpl.Spec.PodMetadata.Annotations)
	created.Annotations[common.AnnotationKeyDefaultContainer] = common.MainContainerName
	maps.Copy(created.Labels, build.Metadata.Labels)
	maps.Copy(created.Annotations, build.Metadata.Annotations)
	created.Spec.InitContainers = []corev1.Container{{Name: common.InitContainerName, Env: []corev1.EnvVar{{Name: common.EnvVarTemplate, Value: wfv1.MustMarshallJSON(build)}}}}

	raw, err := argotemplate.Replace(wfv1.MustMarshallJSON(created), argotemplate.ToAnyMap(args), true)
	if err != nil {
		return nil, err
	}
	created = corev1.Pod{}
	if err := json.Unmarshal([]byte(raw), &created); err != nil {
		return nil, err
	}
	if err := json.Unmarshal([]byte(created.Spec.InitContainers[0].Env[0].Value), build); err != nil {
		return nil, err
	}
	created.Spec.InitContainers[0].Env = nil
	patch, err := expand(build, args)
	if err != nil {
		return nil, err
	}
	outer, err := expand(&wfv1.Template{PodSpecPatch: tmpl.Spec.PodSpecPatch}, args)
	if err != nil {
		return nil, err
	}
	spec, err := util.ApplyPodSpecPatch(created.Spec, outer.PodSpecPatch, patch.PodSpecPatch)
	if err != nil {
		return nil, err
	}
	created.Spec = *spec
	return &created, nil
}

// withPodMetadata returns the template of the pod as Argo's addPodMetadata completes it.
func withPodMetadata(spec wfv1.WorkflowSpec) *wfv1.Template {
	build := spec.Templates[0].DeepCopy()
	if build.Metadata.Labels == nil {
		build.Metadata.Labels, build.Metadata.Annotations = map[string]string{}, map[string]string{}
	}
	for key, value := range spec.PodMetadata.Labels {
		build.Metadata.Labels[key] = value
	}
	for key, value := range spec.PodMetadata.Annotations {
		build.Metadata.Annotations[key] = value
	}
	return build
}

// expandTask follows Argo's resolveDependencyReferences.
func expandTask(task wfv1.DAGTask, args common.Parameters) (*wfv1.DAGTask, error) {
	raw, err := argotemplate.Replace(wfv1.MustMarshallJSON(task), argotemplate.ToAnyMap(args), true)
	if err != nil {
		return nil, err
	}
	var expanded wfv1.DAGTask
	return &expanded, json.Unmarshal([]byte(raw), &expanded)
}

func expand(tmpl *wfv1.Template, args common.Parameters) (*wfv1.Template, error) {
	return expandWith(tmpl, &wfv1.Arguments{}, args)
}

func expandWith(tmpl *wfv1.Template, inputs *wfv1.Arguments, args common.Parameters) (*wfv1.Template, error) {
	return common.ProcessArgs(tmpl, inputs, args, common.Parameters{}, false, "default", nil)
}

// arguments returns the global parameters that Argo derives from a Workflow's
// arguments and the template's defaults.
func arguments(t *testing.T, wf *wfv1.Workflow) common.Parameters {
	t.Helper()
	return argumentsWith(streamTemplate(t), wf)
}

// argumentsWith returns the arguments of a Workflow of a template.
func argumentsWith(tmpl *wfv1.ClusterWorkflowTemplate, wf *wfv1.Workflow) common.Parameters {
	args := common.Parameters{
		"workflow.uid": "11111111-2222-3333-4444-555555555555",
		// This parameter contains all arguments in JSON.
		"workflow.parameters": wfv1.MustMarshallJSON(wf.Spec.Arguments.Parameters),
	}
	for _, list := range [][]wfv1.Parameter{tmpl.Spec.Arguments.Parameters, wf.Spec.Arguments.Parameters} {
		for _, parameter := range list {
			if parameter.Value != nil {
				args["workflow.parameters."+parameter.Name] = parameter.Value.String()
			}
		}
	}
	return args
}

const templateFile = "../../workflow-templates/kaniko/modelkiln-build.yaml"

func template(t *testing.T) *wfv1.ClusterWorkflowTemplate {
	t.Helper()
	var tmpl wfv1.ClusterWorkflowTemplate
	unmarshal(t, templateFile, &tmpl)
	return &tmpl
}

// streamTemplate returns the template for the engine Stream, which kustomize
// creates with a patch.
func streamTemplate(t *testing.T) *wfv1.ClusterWorkflowTemplate {
	t.Helper()
	return patched(t, templateFile, "../../workflow-templates/stream/patch.yaml")
}

// patched returns the template in a file with a JSON patch applied.
func patched(t *testing.T, base, file string) *wfv1.ClusterWorkflowTemplate {
	t.Helper()
	patch, err := jsonpatch.DecodePatch(asJSON(t, file))
	require.NoError(t, err)
	raw, err := patch.Apply(asJSON(t, base))
	require.NoError(t, err)
	var tmpl wfv1.ClusterWorkflowTemplate
	require.NoError(t, yaml.UnmarshalStrict(raw, &tmpl))
	return &tmpl
}

func asJSON(t *testing.T, file string) []byte {
	t.Helper()
	raw, err := os.ReadFile(file)
	require.NoError(t, err)
	converted, err := yaml.YAMLToJSON(raw)
	require.NoError(t, err)
	return converted
}

// templateOf returns the template that a Workflow references. Templates with
// other names are represented by the default.
func templateOf(t *testing.T, wf *wfv1.Workflow) *wfv1.ClusterWorkflowTemplate {
	t.Helper()
	if wf.Spec.WorkflowTemplateRef.Name == "modelkiln-build-stream" {
		return streamTemplate(t)
	}
	return template(t)
}

func goldenWorkflows(t *testing.T) map[string]*wfv1.Workflow {
	t.Helper()
	return workflowsIn(t, goldenDir)
}

func workflowsIn(t *testing.T, dir string) map[string]*wfv1.Workflow {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.workflow.yaml"))
	require.NoError(t, err)
	require.NotEmpty(t, files)
	workflows := map[string]*wfv1.Workflow{}
	for _, file := range files {
		var wf wfv1.Workflow
		unmarshal(t, file, &wf)
		workflows[strings.TrimSuffix(filepath.Base(file), ".workflow.yaml")] = &wf
	}
	return workflows
}

func unmarshal(t *testing.T, file string, into any) {
	t.Helper()
	raw, err := os.ReadFile(file)
	require.NoError(t, err)
	require.NoError(t, yaml.UnmarshalStrict(raw, into))
}

func marshal(t *testing.T, value any) string {
	t.Helper()
	raw, err := yaml.Marshal(value)
	require.NoError(t, err)
	return string(raw)
}
