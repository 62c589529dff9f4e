package integration

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	authenticationv1 "k8s.io/api/authentication/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
)

const (
	workflowPolicies = deployPolicy + "/workflows"
	// labelReports selects the namespaces in which these tests enforce the
	// policies.
	labelReports = "example.com/reports"
	// The account of Argo's controller in deploy/policy/workflows/argo.yaml.
	argoController = "system:serviceaccount:argo:argo"
	// buildAccount is the service account of build pods.
	buildAccount = "modelkiln-build"
)

// impersonated returns the configuration of an administrator who acts as a user,
// with all permissions and the groups.
func (s *apiServer) impersonated(user string, groups ...string) *rest.Config {
	config := rest.CopyConfig(s.config)
	config.Impersonate = rest.ImpersonationConfig{UserName: user, Groups: append(groups, "system:masters")}
	return config
}

func newClient(t *testing.T, config *rest.Config) client.Client {
	t.Helper()
	c, err := client.New(config, client.Options{Scheme: testScheme()})
	require.NoError(t, err)
	return c
}

// newReportingSandbox returns a sandbox in whose namespace only Argo's controller
// reports what builds have done, which its fakeArgo is.
func newReportingSandbox(t *testing.T) sandbox {
	t.Helper()
	s := newSandbox(t, shared)
	s.argo.client = newClient(t, shared.impersonated(argoController))
	for _, file := range []string{"argo.yaml", "workflows.yaml", "results.yaml", "pods.yaml"} {
		objects, err := readManifests(filepath.Join(workflowPolicies, file))
		require.NoError(t, err)
		for _, o := range objects {
			if o.GetKind() == "ValidatingAdmissionPolicyBinding" {
				require.NoError(t, unstructured.SetNestedStringMap(o.Object, map[string]string{labelReports: ""}, "spec", "matchResources", "namespaceSelector", "matchLabels"))
			}
			if err := s.client.Create(t.Context(), o, client.FieldValidation(metav1.FieldValidationStrict)); !apierrors.IsAlreadyExists(err) {
				require.NoError(t, err)
			}
		}
	}
	require.NoError(t, client.IgnoreAlreadyExists(s.client.Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: buildAccount}})))
	s.labelNamespace(labelReports, "")
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		for policy, err := range map[string]error{
			"workflows": s.client.Create(t.Context(), s.workflowNamed("x"), client.DryRunAll),
			"results":   s.client.Create(t.Context(), s.result("a-00000-1"), client.DryRunAll),
			"pods":      s.client.Create(t.Context(), s.podOf("a-00000-1", "a-00000-1-pod-1"), client.DryRunAll),
			"exec":      s.exec(t.Context(), shared.config, "a-00000-1-pod-1"),
			"tokens":    s.requestToken(t.Context(), s.client, nil),
		} {
			assert.True(c, apierrors.IsForbidden(err), "%s: %v", policy, err)
		}
	}, deadline, tick, "the policies are not enforced")
	return s
}

// workflowNamed returns a Workflow with the label of a ModelVersion.
func (s sandbox) workflowNamed(name string) *wfv1.Workflow {
	return &wfv1.Workflow{ObjectMeta: metav1.ObjectMeta{
		Namespace: s.namespace, Name: name, Labels: map[string]string{v1alpha1.LabelModelVersionUID: "00000000-0000-0000-0000-000000000000"},
	}}
}

// result returns the result of a node of a Workflow.
func (s sandbox) result(workflow string) *wfv1.WorkflowTaskResult {
	return &wfv1.WorkflowTaskResult{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, GenerateName: workflow + "-", Labels: map[string]string{labelWorkflow: workflow}},
		NodeResult: wfv1.NodeResult{Outputs: &wfv1.Outputs{Parameters: []wfv1.Parameter{{Name: contract.OutputReport, Value: wfv1.AnyStringPtr("{}")}}}},
	}
}

// podOf returns a pod of the service account of builds, which a Workflow
// controls.
func (s sandbox) podOf(workflow, name string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: s.namespace, Name: name, Labels: map[string]string{labelWorkflow: workflow},
			OwnerReferences: []metav1.OwnerReference{{APIVersion: wfv1.SchemeGroupVersion.String(), Kind: "Workflow", Name: workflow, UID: "1", Controller: ptr.To(true)}},
		},
		Spec: corev1.PodSpec{ServiceAccountName: buildAccount, Containers: []corev1.Container{{Name: "main", Image: "registry.example.com/none"}}},
	}
}

// exec executes a command in a pod. No kubelet runs that could do it.
func (s sandbox) exec(ctx context.Context, config *rest.Config, pod string) error {
	clients, err := kubernetes.NewForConfig(config)
	require.NoError(s.t, err)
	return clients.CoreV1().RESTClient().Post().Namespace(s.namespace).Resource("pods").Name(pod).SubResource("exec").Param("command", "true").Do(ctx).Error()
}

// requestToken requests a token of the service account of builds, bound to a pod
// if there is one.
func (s sandbox) requestToken(ctx context.Context, as client.Client, pod *corev1.Pod) error {
	_, err := s.buildToken(ctx, as, pod)
	return err
}

func (s sandbox) buildToken(ctx context.Context, as client.Client, pod *corev1.Pod) (string, error) {
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: buildAccount}}
	request := &authenticationv1.TokenRequest{}
	if pod != nil {
		request.Spec.BoundObjectRef = &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: pod.Name, UID: pod.UID}
	}
	err := as.SubResource("token").Create(ctx, account, request)
	return request.Status.Token, err
}

// readWorkflow reads a Workflow below test/, for this namespace.
func (s sandbox) readWorkflow(file string) *wfv1.Workflow {
	s.t.Helper()
	raw, err := os.ReadFile(filepath.Join("..", file))
	require.NoError(s.t, err)
	var wf wfv1.Workflow
	require.NoError(s.t, yaml.UnmarshalStrict(raw, &wf))
	wf.Namespace, wf.UID, wf.ResourceVersion = s.namespace, "", ""
	return &wf
}

// createFailed creates a Workflow that has failed as Argo recorded it, with the
// specification that Argo runs.
func (s sandbox) createFailed(recorded string) *wfv1.Workflow {
	s.t.Helper()
	wf := s.readWorkflow("argo/testdata/" + recorded + ".workflow.yaml")
	wf.Status.StoredWorkflowSpec = storedSpec(s.t)
	require.NoError(s.t, s.argo.client.Create(s.t.Context(), wf))
	return wf
}

func storedSpec(t *testing.T) *wfv1.WorkflowSpec {
	t.Helper()
	raw, err := os.ReadFile(kanikoTemplate + "/modelkiln-build.yaml")
	require.NoError(t, err)
	var template wfv1.ClusterWorkflowTemplate
	require.NoError(t, yaml.UnmarshalStrict(raw, &template))
	return &template.Spec
}

// recordedFailures are Workflows that Argo v3.7 recorded, of a build that failed
// at once and of one that failed after retries.
var recordedFailures = []string{"failed-in-mount-check", "failed-after-tries"}

// The writes of the argo command and of Argo's UI, from Argo's own code
// (TestCommands in test/argo and test/argo4), by a user with the shipped roles.
func TestWorkflowPolicyAllowsCommands(t *testing.T) {
	s := newReportingSandbox(t)
	editor := s.userWithRoles(viewRole, editRole)
	for _, version := range []string{"argo", "argo4"} {
		for _, recorded := range recordedFailures {
			t.Run(version+"/"+recorded, func(t *testing.T) {
				s := newReportingSandbox(t)
				editor := s.userWithRoles(viewRole, editRole)
				wf, commands := s.createFailed(recorded), version+"/testdata/commands/"+recorded
				t.Run("retry", func(t *testing.T) {
					retried := s.readWorkflow(commands + ".retry.yaml")
					retried.UID, retried.ResourceVersion = wf.UID, wf.ResourceVersion
					retried.Status.StoredWorkflowSpec = storedSpec(t)
					assert.NoError(t, editor.Update(t.Context(), retried))
				})
			})
		}
	}
	wf := s.startedWorkflow("resnet-00000-1")
	for name, patch := range map[string]string{
		"stop":      `{"spec":{"shutdown":"Stop"},"metadata":{"labels":{"workflows.argoproj.io/actor":"user"}}}`,
		"terminate": `{"spec":{"shutdown":"Terminate"}}`,
		"deadline":  `{"spec":{"activeDeadlineSeconds":60}}`,
		"note":      `{"metadata":{"annotations":{"example.com/note":"mine"}}}`,
	} {
		t.Run(name, func(t *testing.T) {
			assert.NoError(t, editor.Patch(t.Context(), wf.DeepCopy(), mergePatch(patch)))
		})
	}
	t.Run("suspend and resume", func(t *testing.T) {
		wf := s.withT(t).startedWorkflow("resnet-00000-2")
		for _, suspend := range []*bool{ptr.To(true), nil} {
			require.NoError(t, editor.Get(t.Context(), client.ObjectKeyFromObject(wf), wf))
			wf.Spec.Suspend = suspend
			assert.NoError(t, editor.Update(t.Context(), wf))
		}
	})
	t.Run("resume a node", func(t *testing.T) {
		wf := s.withT(t).startedWorkflow("resnet-00000-3")
		require.NoError(t, editor.Get(t.Context(), client.ObjectKeyFromObject(wf), wf))
		approval := wf.Status.Nodes["approval"]
		approval.Phase, approval.Message, approval.FinishedAt = wfv1.NodeSucceeded, "approved", metav1.Now()
		wf.Status.Nodes["approval"] = approval
		assert.NoError(t, editor.Update(t.Context(), wf))
	})
	t.Run("an owner reference is removed by the garbage collector", func(t *testing.T) {
		wf := s.withT(t).startedWorkflow("resnet-00000-4")
		assert.NoError(t, s.client.Patch(t.Context(), wf, mergePatch(`{"metadata":{"ownerReferences":null}}`)))
	})
	t.Run("a Workflow that is not a build", func(t *testing.T) {
		wf := &wfv1.Workflow{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "other"}}
		wf.Status.Phase = wfv1.WorkflowSucceeded
		require.NoError(t, editor.Create(t.Context(), wf))
		assert.NoError(t, editor.Patch(t.Context(), wf, mergePatch(`{"status":{"outputs":{"parameters":[{"name":"report","value":"{}"}]}}}`)))
	})
}

func mergePatch(patch string) client.Patch {
	return client.RawPatch(types.MergePatchType, []byte(patch))
}

// startedWorkflow creates a Workflow that Argo runs, with an output of a node that
// has succeeded and a node that waits for a person.
func (s sandbox) startedWorkflow(name string) *wfv1.Workflow {
	s.t.Helper()
	wf := s.workflowNamed(name)
	wf.OwnerReferences = []metav1.OwnerReference{{APIVersion: v1alpha1.GroupVersion.String(), Kind: "ModelVersion", Name: resnet, UID: "1", Controller: ptr.To(true)}}
	wf.Spec.WorkflowTemplateRef = &wfv1.WorkflowTemplateRef{Name: contract.BuildTemplate, ClusterScope: true}
	wf.Spec.Arguments.Parameters = []wfv1.Parameter{{Name: contract.ParamImage, Value: wfv1.AnyStringPtr("modelhub/resnet:v1")}}
	wf.Status = wfv1.WorkflowStatus{
		Phase: wfv1.WorkflowRunning, StartedAt: metav1.Now(), StoredWorkflowSpec: storedSpec(s.t),
		Nodes: wfv1.Nodes{
			"check":    {ID: "check", Name: name + ".check", Type: wfv1.NodeTypePod, Phase: wfv1.NodeSucceeded, Outputs: &wfv1.Outputs{Parameters: []wfv1.Parameter{{Name: "a", Value: wfv1.AnyStringPtr("b")}}}},
			"pod":      {ID: "pod", Name: name + ".pod", Type: wfv1.NodeTypePod, Phase: wfv1.NodeRunning, Children: []string{"approval"}},
			"approval": {ID: "approval", Name: name + ".approval", Type: wfv1.NodeTypeSuspend, Phase: wfv1.NodeRunning},
		},
	}
	require.NoError(s.t, s.argo.client.Create(s.t.Context(), wf))
	return wf
}

// forgedReport are outputs with a report.
const forgedReport = `{"parameters":[{"name":"report","globalName":"report","value":"{}"}]}`

func TestWorkflowPolicyRefusesForgedUpdates(t *testing.T) {
	s := newReportingSandbox(t)
	editor := s.userWithRoles(viewRole, editRole)
	wf := s.startedWorkflow("resnet-00000-1")
	command := fmt.Sprintf("argo retry -n %s resnet-00000-1", s.namespace)
	for name, tc := range map[string]struct{ patch, want string }{
		"everything at once": {
			`{"metadata":{"labels":{"workflows.argoproj.io/completed":"true"}},"status":{"phase":"Succeeded","nodes":{"pod":{"phase":"Succeeded","outputs":` + forgedReport + `}},"outputs":` + forgedReport + `}}`,
			"only the controller of Argo may write status.",
		},
		"a phase":                     {`{"status":{"phase":"Succeeded"}}`, "status.phase of Workflow resnet-00000-1"},
		"an output":                   {`{"status":{"outputs":` + forgedReport + `}}`, "status.outputs of Workflow resnet-00000-1"},
		"an output of a node":         {`{"status":{"nodes":{"pod":{"outputs":` + forgedReport + `}}}}`, "complete them, or change their outputs"},
		"another output of a node":    {`{"status":{"nodes":{"check":{"outputs":` + forgedReport + `}}}}`, "complete them, or change their outputs"},
		"a node that succeeds":        {`{"status":{"nodes":{"pod":{"phase":"Succeeded"}}}}`, "complete them"},
		"another node":                {`{"status":{"nodes":{"new":{"id":"new","name":"new","type":"Pod","phase":"Running"}}}}`, "may add nodes"},
		"another child":               {`{"status":{"nodes":{"pod":{"children":["check"]}}}}`, "complete them"},
		"another type":                {`{"status":{"nodes":{"pod":{"type":"Suspend","phase":"Succeeded"}}}}`, "complete them"},
		"argo node set with outputs":  {`{"status":{"nodes":{"approval":{"outputs":` + forgedReport + `}}}}`, "change their outputs"},
		"compressed nodes":            {`{"status":{"nodes":null,"compressedNodes":"H4sI"}}`, "status.compressedNodes"},
		"offloaded nodes":             {`{"status":{"offloadNodeStatusVersion":"fnv:1"}}`, "status.offloadNodeStatusVersion"},
		"another specification":       {`{"status":{"storedWorkflowTemplateSpec":{"serviceAccountName":"other"}}}`, "status.storedWorkflowTemplateSpec"},
		"another template":            {`{"status":{"storedWorkflowTemplateSpec":{"templates":[]}}}`, "status.storedWorkflowTemplateSpec"},
		"stored templates":            {`{"status":{"storedTemplates":{"a":{}}}}`, "status.storedTemplates"},
		"another argument":            {`{"spec":{"arguments":{"parameters":[]}}}`, "kubectl edit mv -n"},
		"a template instead of a ref": {`{"spec":{"workflowTemplateRef":null}}`, "kubectl edit mv -n"},
		"a hook":                      {`{"spec":{"hooks":{"exit":{"template":"a"}}}}`, "kubectl edit mv -n"},
		"no label":                    {`{"metadata":{"labels":{"model.kubedl.io/model-version-uid":null},"ownerReferences":null}}`, "must not be added, changed or removed"},
		"another label":               {`{"metadata":{"labels":{"model.kubedl.io/attempt":"9"}}}`, "must not be added, changed or removed"},
		"another owner":               {`{"metadata":{"ownerReferences":[{"apiVersion":"v1","kind":"ConfigMap","name":"a","uid":"b"}]}}`, "owner references must not be added"},
	} {
		t.Run(name, func(t *testing.T) {
			err := editor.Patch(t.Context(), wf.DeepCopy(), mergePatch(tc.patch))
			require.True(t, apierrors.IsForbidden(err), "%v", err)
			assert.ErrorContains(t, err, tc.want)
		})
	}
	t.Run("the label by which the operator says why a build has failed", func(t *testing.T) {
		for _, value := range []string{`"SourceEmpty"`, "null"} {
			require.NoError(t, editor.Patch(t.Context(), wf.DeepCopy(), mergePatch(`{"metadata":{"labels":{"model.kubedl.io/reason":`+value+`}}}`)))
		}
	})
	t.Run("the message names the command", func(t *testing.T) {
		err := editor.Patch(t.Context(), wf.DeepCopy(), mergePatch(`{"status":{"phase":"Succeeded"}}`))
		assert.ErrorContains(t, err, "only the controller of Argo may write status.phase of Workflow resnet-00000-1 in namespace "+s.namespace+": to start it again, use "+command)
	})
	t.Run("a Workflow that becomes a build after it was forged", func(t *testing.T) {
		forged := s.workflowNamed("resnet-00000-7")
		forged.Labels = nil
		forged.Status.Phase = wfv1.WorkflowSucceeded
		require.NoError(t, editor.Create(t.Context(), forged))
		err := editor.Patch(t.Context(), forged.DeepCopy(), mergePatch(`{"metadata":{"labels":{"model.kubedl.io/model-version-uid":"1"}}}`))
		require.True(t, apierrors.IsForbidden(err), "%v", err)
		err = editor.Patch(t.Context(), forged, mergePatch(`{"metadata":{"ownerReferences":[{"apiVersion":"model.kubedl.io/v1alpha1","kind":"ModelVersion","name":"a","uid":"b","controller":true}]}}`))
		assert.True(t, apierrors.IsForbidden(err), "%v", err)
	})
	t.Run("the account of Argo's server", func(t *testing.T) {
		server := newClient(t, shared.impersonated("system:serviceaccount:argo:argo-server"))
		require.NoError(t, server.Patch(t.Context(), wf.DeepCopy(), mergePatch(`{"spec":{"shutdown":"Stop"}}`)))
		err := server.Patch(t.Context(), wf.DeepCopy(), mergePatch(`{"status":{"phase":"Succeeded"}}`))
		assert.True(t, apierrors.IsForbidden(err), "%v", err)
	})
}

func TestWorkflowPolicyRefusesForgedCopies(t *testing.T) {
	s := newReportingSandbox(t)
	editor := s.userWithRoles(viewRole, editRole)
	report := &wfv1.Outputs{Parameters: []wfv1.Parameter{{Name: "a", GlobalName: contract.OutputReport, Value: wfv1.AnyStringPtr("{}")}}}
	for name, tc := range map[string]struct {
		edit func(*wfv1.Workflow)
		want string
	}{
		"outputs":       {func(wf *wfv1.Workflow) { wf.Status.Outputs = report }, "may write the status of Workflow"},
		"a phase":       {func(wf *wfv1.Workflow) { wf.Status.Phase = wfv1.WorkflowSucceeded }, "may write the status of Workflow"},
		"a start":       {func(wf *wfv1.Workflow) { wf.Status.StartedAt = metav1.Now() }, "may write the status of Workflow"},
		"a stored spec": {func(wf *wfv1.Workflow) { wf.Status.StoredWorkflowSpec = storedSpec(t) }, "may write the status of Workflow"},
		"stored templates": {
			func(wf *wfv1.Workflow) { wf.Status.StoredTemplates = map[string]wfv1.Template{"a": {}} }, "may write the status of Workflow",
		},
		"a memoized resubmit": {
			func(wf *wfv1.Workflow) {
				*wf = *s.readWorkflow("argo/testdata/commands/failed-in-mount-check.resubmit-memoized.yaml")
			}, "start the original again with argo retry",
		},
		"another name": {func(wf *wfv1.Workflow) { wf.Name, wf.GenerateName = "mine", "" }, "is not named as the build of a ModelVersion"},
		"only an owner": {
			func(wf *wfv1.Workflow) { wf.Labels, wf.Status.Phase = nil, wfv1.WorkflowSucceeded }, "may write the status of Workflow",
		},
	} {
		t.Run(name, func(t *testing.T) {
			wf := s.readWorkflow("argo/testdata/commands/failed-in-mount-check.resubmit.yaml")
			tc.edit(wf)
			err := editor.Create(t.Context(), wf)
			require.True(t, apierrors.IsForbidden(err), "%v", err)
			assert.ErrorContains(t, err, tc.want)
		})
	}
}

func TestWorkflowPolicyResults(t *testing.T) {
	const build = "resnet-00000-1"
	s := newReportingSandbox(t)
	// Argo's own roles for users include results.
	editor := shared.clientWithRules(t, s.namespace, "editor", []rule{{groups: "argoproj.io", resources: "workflowtaskresults,workflowtasksets", verbs: writeVerbs}})
	kubelet := newClient(t, shared.impersonated("system:node:node-1", "system:nodes"))
	shared.bindRoles(t, s.namespace, buildAccount, clusterRole(buildAccount))

	// fromPod returns a client with the token of a pod that Argo created.
	fromPod := func(t *testing.T, workflow, name string) client.Client {
		t.Helper()
		pod := s.podOf(workflow, name)
		require.NoError(t, s.argo.client.Create(t.Context(), pod))
		token, err := s.buildToken(t.Context(), kubelet, pod)
		require.NoError(t, err)
		config := rest.AnonymousClientConfig(shared.config)
		config.BearerToken = token
		return newClient(t, config)
	}
	builder := fromPod(t, build, build+"-pod-123456789")
	require.NoError(t, builder.Create(t.Context(), s.result(build)))
	resubmitted := fromPod(t, build+"-x2b4q", build+"-x2b4q-pod-1")
	require.NoError(t, resubmitted.Create(t.Context(), s.result(build+"-x2b4q")))

	for name, tc := range map[string]struct {
		as       client.Client
		workflow string
	}{
		"an editor":                                             {editor, build},
		"an administrator":                                      {s.client, build},
		"the pod of another build":                              {fromPod(t, "other-00000-1", "other-00000-1-pod-1"), build},
		"the pod of a resubmit":                                 {resubmitted, build},
		"the pod of the build, for another Workflow":            {builder, build + "-x2b4q"},
		"the pod of a Workflow whose name begins with the name": {fromPod(t, build+"-evil", build+"-evil-pod-1"), build},
		"an impersonated service account":                       {newClient(t, shared.impersonated("system:serviceaccount:"+s.namespace+":"+buildAccount)), build},
	} {
		t.Run(name, func(t *testing.T) {
			err := tc.as.Create(t.Context(), s.result(tc.workflow))
			require.True(t, apierrors.IsForbidden(err), "%v", err)
			assert.ErrorContains(t, err, "only the pods of Workflow "+tc.workflow+" in namespace "+s.namespace+" may report its results")
		})
	}
	t.Run("a result that is given to a build", func(t *testing.T) {
		result := s.result("other")
		require.NoError(t, editor.Create(t.Context(), result), "Workflows that are not builds are not restricted")
		err := editor.Patch(t.Context(), result, mergePatch(`{"metadata":{"labels":{"`+labelWorkflow+`":"`+build+`"}}}`))
		assert.True(t, apierrors.IsForbidden(err), "%v", err)
	})
	t.Run("a result that is taken from a build", func(t *testing.T) {
		result := s.result(build)
		require.NoError(t, builder.Create(t.Context(), result))
		for _, label := range []string{`"other"`, "null", `"` + build + `-x2b4q"`} {
			for name, as := range map[string]client.Client{"an editor": editor, "another pod": resubmitted} {
				err := as.Patch(t.Context(), result.DeepCopy(), mergePatch(`{"metadata":{"labels":{"`+labelWorkflow+`":`+label+`}}}`))
				require.True(t, apierrors.IsForbidden(err), "%s, %s: %v", name, label, err)
				assert.ErrorContains(t, err, "only the pods of Workflow "+build+" in namespace")
			}
		}
	})
	t.Run("a task set", func(t *testing.T) {
		err := editor.Create(t.Context(), &wfv1.WorkflowTaskSet{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: build}})
		require.True(t, apierrors.IsForbidden(err), "%v", err)
		require.ErrorContains(t, err, "builds of ModelVersions have no WorkflowTaskSets")
		assert.NoError(t, editor.Create(t.Context(), &wfv1.WorkflowTaskSet{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "other"}}))
	})
}

func TestWorkflowPolicyPods(t *testing.T) {
	const build = "resnet-00000-1"
	s := newReportingSandbox(t)
	editor := s.userWithRoles("system:aggregate-to-edit")
	pod := s.podOf(build, build+"-pod-1")
	require.NoError(t, s.argo.client.Create(t.Context(), pod))
	agent := s.podOf(build, build+"-1340600742-agent")
	require.NoError(t, s.argo.client.Create(t.Context(), agent))
	job := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "mine"}, Spec: batchv1.JobSpec{Template: corev1.PodTemplateSpec{Spec: s.podOf("", "").Spec}}}
	job.Spec.Template.Spec.RestartPolicy = corev1.RestartPolicyNever
	require.NoError(t, editor.Create(t.Context(), job), "templates of pods are not restricted, but their pods are")
	other := s.podOf("other", "other")
	other.Spec.ServiceAccountName = ""
	require.NoError(t, editor.Create(t.Context(), other.DeepCopy()))

	labeled := s.podOf(build, "mine")
	labeled.Spec.ServiceAccountName = "default"
	const created, changed = "only the controller of Argo may create the pods of builds", "must not be changed"
	for name, tc := range map[string]struct {
		do   func(context.Context) error
		want string
	}{
		"a pod of an editor": {func(ctx context.Context) error { return editor.Create(ctx, s.podOf(build, build+"-pod-2")) }, created},
		"a pod of a Job": {func(ctx context.Context) error {
			return newClient(t, shared.impersonated("system:serviceaccount:kube-system:job-controller")).Create(ctx, s.podOf("mine", "mine-x"))
		}, created},
		"a pod that claims to belong to a build": {func(ctx context.Context) error { return editor.Create(ctx, labeled) }, created},
		"a pod that is given to a build": {func(ctx context.Context) error {
			return editor.Patch(ctx, other.DeepCopy(), mergePatch(`{"metadata":{"labels":{"`+labelWorkflow+`":"`+build+`"}}}`))
		}, changed},
		"another image": {func(ctx context.Context) error {
			return editor.Patch(ctx, pod.DeepCopy(), client.RawPatch(types.StrategicMergePatchType, []byte(`{"spec":{"containers":[{"name":"main","image":"registry.example.com/evil"}]}}`)))
		}, changed},
		"another annotation of Argo": {func(ctx context.Context) error {
			return editor.Patch(ctx, pod.DeepCopy(), mergePatch(`{"metadata":{"annotations":{"workflows.argoproj.io/node-id":"a"}}}`))
		}, changed},
		"an ephemeral container": {func(ctx context.Context) error {
			debugged := pod.DeepCopy()
			debugged.Spec.EphemeralContainers = []corev1.EphemeralContainer{{EphemeralContainerCommon: corev1.EphemeralContainerCommon{Name: "debug", Image: "registry.example.com/debug", TerminationMessagePolicy: corev1.TerminationMessageReadFile, ImagePullPolicy: corev1.PullAlways}}}
			return s.client.SubResource("ephemeralcontainers").Update(ctx, debugged)
		}, changed},
		"a template name with a dash": {func(ctx context.Context) error {
			return s.argo.client.Create(ctx, s.podOf("resnet", build+"-pod-1"))
		}, "rename the template in the ClusterWorkflowTemplate"},
		"a pod name of version 1": {func(ctx context.Context) error { return s.argo.client.Create(ctx, s.podOf(build, build+"-1")) }, "rename the template in the ClusterWorkflowTemplate"},
		"a command":               {func(ctx context.Context) error { return s.exec(ctx, shared.config, pod.Name) }, "kubectl logs -n " + s.namespace + " " + pod.Name},
		"a token":                 {func(ctx context.Context) error { return s.requestToken(ctx, editor, nil) }, "only kubelets may request a token"},
		"a token for the pod":     {func(ctx context.Context) error { return s.requestToken(ctx, editor, pod) }, "only kubelets may request a token"},
	} {
		t.Run(name, func(t *testing.T) {
			err := tc.do(t.Context())
			require.True(t, apierrors.IsForbidden(err), "%v", err)
			assert.ErrorContains(t, err, tc.want)
		})
	}
	for name, do := range map[string]func(context.Context) error{
		"an annotation of a network plugin": func(ctx context.Context) error {
			return s.client.Patch(ctx, pod.DeepCopy(), mergePatch(`{"metadata":{"annotations":{"example.com/ip":"10.0.0.7"}}}`))
		},
		"a label of Argo": func(ctx context.Context) error {
			return s.argo.client.Patch(ctx, pod.DeepCopy(), mergePatch(`{"metadata":{"labels":{"`+labelCompleted+`":"true"}}}`))
		},
		"a token for a kubelet": func(ctx context.Context) error {
			return s.requestToken(ctx, newClient(t, shared.impersonated("system:node:node-1", "system:nodes")), pod)
		},
		"a deletion": func(ctx context.Context) error { return editor.Delete(ctx, agent) },
		"another pod": func(ctx context.Context) error {
			return editor.Patch(ctx, other.DeepCopy(), mergePatch(`{"metadata":{"labels":{"a":"b"}}}`))
		},
	} {
		t.Run(name, func(t *testing.T) { assert.NoError(t, do(t.Context())) })
	}
	t.Run("commands are executed in other pods, and by Argo in those of builds", func(t *testing.T) {
		// The pods have not been scheduled.
		for _, err := range []error{
			s.exec(t.Context(), shared.config, other.Name), s.exec(t.Context(), shared.impersonated(argoController), pod.Name),
		} {
			require.Error(t, err)
			assert.False(t, apierrors.IsForbidden(err), "%v", err)
		}
	})
}

// A build, its failure and its retry in a namespace with the policies.
func TestWorkflowPolicyBuild(t *testing.T) {
	startOperator(t, shared)
	s := newReportingSandbox(t)
	editor := s.userWithRoles(viewRole, editRole)
	s.create(localVersion)
	wf := s.argo.awaitOnlyWorkflow()
	s.failBuild(wf, contract.StepMountCheck, v1alpha1.ReasonSourceEmpty, "no files")

	again := s.argo.resubmit(editor, wf)

	err := editor.Patch(t.Context(), again.DeepCopy(), mergePatch(`{"status":{"phase":"Succeeded"}}`))
	require.True(t, apierrors.IsForbidden(err), "%v", err)
	mv := s.completeBuild(again)
	assert.Equal(t, again.Name, mv.Status.Workflow.Name)
}

// The cost of the rules is linear in the size of a Workflow, and the API server
// bounds it.
func TestWorkflowPolicyManyNodes(t *testing.T) {
	s := newReportingSandbox(t)
	editor := s.userWithRoles(viewRole, editRole)
	withNodes := func(name string, n int) *wfv1.Workflow {
		wf := s.workflowNamed(name)
		wf.Status.Phase, wf.Status.StartedAt, wf.Status.Nodes = wfv1.WorkflowFailed, metav1.Now(), wfv1.Nodes{}
		for i := range n {
			id := fmt.Sprintf("%s-%d", name, i)
			wf.Status.Nodes[id] = wfv1.NodeStatus{
				ID: id, Name: id, DisplayName: id, TemplateName: "pod", TemplateScope: "local/", BoundaryID: name, Message: letters(100),
				Type: wfv1.NodeTypeDAG, Phase: wfv1.NodeFailed, StartedAt: metav1.Now(), FinishedAt: metav1.Now(), Children: []string{"a", "b"},
			}
		}
		require.NoError(t, s.argo.client.Create(t.Context(), wf))
		return wf
	}
	restart := func(wf *wfv1.Workflow) *wfv1.Workflow {
		wf = wf.DeepCopy()
		wf.Status.Phase = wfv1.WorkflowRunning
		for id, node := range wf.Status.Nodes {
			node.Phase, node.Message, node.StartedAt, node.FinishedAt, node.Children = wfv1.NodeRunning, "", metav1.Now(), metav1.Time{}, node.Children[:1]
			wf.Status.Nodes[id] = node
		}
		return wf
	}
	many, few := withNodes("resnet-00000-1", 2500), withNodes("resnet-00000-2", 500)
	t.Run("retry", func(t *testing.T) { assert.NoError(t, editor.Update(t.Context(), restart(few))) })
	t.Run("stop", func(t *testing.T) {
		assert.NoError(t, editor.Patch(t.Context(), many.DeepCopy(), mergePatch(`{"spec":{"shutdown":"Stop"}}`)))
	})
	t.Run("Argo", func(t *testing.T) {
		s.refresh(t, many)
		assert.NoError(t, s.argo.client.Update(t.Context(), restart(many)))
	})
}
