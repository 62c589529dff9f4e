package main

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/modelkiln/modelkiln/internal/report"
	"github.com/modelkiln/modelkiln/internal/workflow"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
)

// clients is how many requests the stand-in for Argo, the plain client and who creates
// ModelVersions have under way at a time, each.
const clients = 16

// digest is that of every image in the reports.
const digest = "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"

// argoStandIn answers every new Workflow as Argo's controller answers one that has
// succeeded, with one patch.
type argoStandIn struct {
	client client.Client

	mu sync.Mutex
	// ended is when each Workflow ended.
	ended map[string]time.Time
	// err is the last error, or nil.
	err error
}

// run answers Workflows until the context is canceled.
func (a *argoStandIn) run(ctx context.Context, s *server) error {
	created := make(chan *wfv1.Workflow, 1000)
	err := s.watch(ctx, &wfv1.Workflow{}, func(o any, isNew bool) {
		if isNew {
			created <- o.(*wfv1.Workflow)
		}
	})
	if err != nil {
		return err
	}
	for range clients {
		go func() {
			for wf := range created {
				a.finish(ctx, wf)
			}
		}()
	}
	return nil
}

func (a *argoStandIn) finish(ctx context.Context, wf *wfv1.Workflow) {
	err := finishWorkflow(ctx, a.client, wf)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.ended[wf.Name] = time.Now()
	if err != nil && ctx.Err() == nil {
		a.err = err
	}
}

// endOf returns when a Workflow ended.
func (a *argoStandIn) endOf(name string) (time.Time, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	at, ended := a.ended[name]
	return at, ended
}

// failure returns the last error of the stand-in, or nil.
func (a *argoStandIn) failure() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.err
}

// finishWorkflow patches a Workflow: it has succeeded, with a valid report.
func finishWorkflow(ctx context.Context, c client.Client, wf *wfv1.Workflow) error {
	image := workflow.Argument(wf, contract.ParamImage)
	text, err := json.Marshal(report.Report{
		Run:    report.Run{WorkflowUID: string(wf.UID), ModelVersionUID: workflow.Argument(wf, contract.ParamModelVersionUID), Image: image},
		Source: &report.Source{Files: 3, Bytes: 50 << 20, Layers: 2},
		Build:  &report.Build{SentBytes: 50 << 20},
		Image:  &report.Image{Reference: image, Digest: digest, Bytes: 30 << 20, Layers: 3, PullSecret: contract.DefaultPushSecret},
	})
	if err != nil {
		return err
	}
	now := metav1.Now()
	// The template exports the output of the pod globally.
	output := wfv1.Parameter{Name: contract.OutputReport, GlobalName: contract.OutputReport, Value: wfv1.AnyStringPtr(string(text))}
	outputs := &wfv1.Outputs{Parameters: []wfv1.Parameter{output}}
	status := wfv1.WorkflowStatus{Phase: wfv1.WorkflowSucceeded, StartedAt: now, FinishedAt: now, Outputs: outputs, Nodes: wfv1.Nodes{
		wf.Name: {
			ID: wf.Name, Name: wf.Name, DisplayName: wf.Name, TemplateName: contract.EntrypointTemplate, Type: wfv1.NodeTypePod,
			Phase: wfv1.NodeSucceeded, StartedAt: now, FinishedAt: now, Outputs: outputs,
		},
	}}
	patch, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"labels": map[string]string{"workflows.argoproj.io/phase": string(wfv1.WorkflowSucceeded), "workflows.argoproj.io/completed": "true"}},
		"status":   status,
	})
	if err != nil {
		return err
	}
	target := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Namespace: wf.Namespace, Name: wf.Name}}
	target.SetGroupVersionKind(wfv1.SchemeGroupVersion.WithKind("Workflow"))
	if err := c.Patch(ctx, target, client.RawPatch(types.MergePatchType, patch)); err != nil {
		return fmt.Errorf("finish Workflow %q: %w", wf.Name, err)
	}
	return nil
}
