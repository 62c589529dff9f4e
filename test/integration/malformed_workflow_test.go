package integration

import (
	"fmt"
	"strings"
	"testing"
	"time"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/config"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
)

// Argo's default CRD accepts anything under spec and status.
func TestMalformedWorkflowOfAnotherNamespace(t *testing.T) {
	hostile := newSandbox(t, shared)
	for i, spec := range []any{
		map[string]any{"arguments": "x"},
		map[string]any{"activeDeadlineSeconds": "600"},
		map[string]any{"templates": map[string]any{"a": "b"}},
	} {
		wf := &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "spec": spec,
			"metadata": map[string]any{
				"name": fmt.Sprintf("malformed-%d", i), "namespace": hostile.namespace,
				// With Argo's label for finished Workflows, which Argo leaves alone.
				"labels": map[string]any{v1alpha1.LabelModelVersionUID: "any", labelCompleted: "true"},
			},
		}}
		require.NoError(t, hostile.client.Create(t.Context(), wf), "%v", spec)
	}
	// The operator starts when they exist, and does not end.
	startOperator(t, shared)

	s := newSandbox(t, shared)
	s.create(localVersion, change{})
	s.argo.completeWorkflow(s.argo.awaitOnlyWorkflow())
	s.awaitReason(resnet, v1alpha1.ReasonSucceeded)
}

func TestMalformedWorkflowOfABuild(t *testing.T) {
	startOperator(t, shared)
	const deadlineAsText, deadlineAsNumber = `{"spec":{"activeDeadlineSeconds":"600"}}`, `{"spec":{"activeDeadlineSeconds":600}}`
	for name, tc := range map[string]struct {
		damage, repair, want string
	}{
		"a number that is text": {deadlineAsText, deadlineAsNumber, "activeDeadlineSeconds"},
		"too many nodes":        {`{"status":{"nodes":` + nodes(2500) + `}}`, `{"status":{"nodes":null}}`, "nodes, and at most 2000 are read"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSandbox(t, shared)
			s.create(localVersion, change{})
			wf := s.argo.awaitOnlyWorkflow()
			s.argo.runStep(wf, contract.StepBuild)
			s.awaitReason(resnet, v1alpha1.ReasonWorkflowRunning)

			// The response is decoded as metadata, since the rest may be malformed.
			patch := func(content string) {
				metadata := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Namespace: wf.Namespace, Name: wf.Name}}
				metadata.SetGroupVersionKind(wfv1.SchemeGroupVersion.WithKind("Workflow"))
				require.NoError(t, s.client.Patch(t.Context(), metadata, client.RawPatch(types.MergePatchType, []byte(content))))
			}
			patch(tc.damage)
			mv := s.awaitReason(resnet, v1alpha1.ReasonWorkflowInvalid)
			assert.Contains(t, mv.Status.Message, tc.want)
			assert.Contains(t, mv.Status.Message, "kubectl delete wf -n "+s.namespace+" "+wf.Name)

			patch(tc.repair)
			s.argo.completeWorkflow(wf)
			s.awaitReason(resnet, v1alpha1.ReasonSucceeded)
		})
	}
}

func TestMalformedReport(t *testing.T) {
	startOperator(t, shared)
	s := newSandbox(t, shared)
	s.create(localVersion, change{})
	wf := s.argo.awaitOnlyWorkflow()
	r := goodReport(wf)
	r.Build.SentBytes = -1
	s.argo.finish(wf, wfv1.WorkflowSucceeded, "", r)
	mv := s.awaitReason(resnet, v1alpha1.ReasonReportInvalid)
	assert.Contains(t, mv.Status.Message, "its report has a negative count")
}

// A status that the API server rejects is replaced by one that says so, and is not
// written again and again.
func TestStatusThatTheAPIServerRejects(t *testing.T) {
	tooLong := "https://argo.example.com/" + strings.Repeat("a", 2048)
	op := startOperator(t, shared, withConfig(func(c *config.Config) { c.ArgoURL = tooLong }))
	op.awaitTrainingKinds(t)
	s := newSandbox(t, shared)
	s.create(localVersion, change{})
	mv := s.awaitReason(resnet, v1alpha1.ReasonReportInvalid)
	assert.Contains(t, mv.Status.Message, "The API server rejected the status that the Workflow led to")
	assert.Contains(t, mv.Status.Message, "status.workflow.url")

	op.drainQueue(t, shared)
	before := len(op.transport.requestsIn(s.namespace))
	if !assert.Never(t, func() bool { return len(op.transport.requestsIn(s.namespace)) > before }, time.Second, 10*tick) {
		t.Log(op.transport.requestsIn(s.namespace)[before:])
	}
}

// nodes returns that many empty nodes as JSON.
func nodes(n int) string {
	content := ""
	for i := range n {
		content += fmt.Sprintf(`"%d":{},`, i)
	}
	return "{" + content[:len(content)-1] + "}"
}
