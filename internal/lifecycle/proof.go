package lifecycle

import (
	"errors"
	"fmt"
	"regexp"
	"slices"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/report"
	"github.com/modelkiln/modelkiln/internal/workflow"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
)

var digestPattern = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)

// checkProof returns nil when the report shows that this Workflow pushed, or
// found in the registry, the image that it was created for.
func checkProof(wf *wfv1.Workflow, run report.Report) error {
	root, found := wf.Status.Nodes[wf.Name]
	if (!found || root.Phase != wfv1.NodeSucceeded) && !HidesNodes(wf) {
		return errors.New("it did not run to completion")
	}
	return checkContent(wf, run)
}

// checkContent returns nil when a report is about what this Workflow was created for,
// and says that the registry holds it.
func checkContent(wf *wfv1.Workflow, run report.Report) error {
	switch {
	case run.Failure != nil:
		return fmt.Errorf("step %s reported a failure: %s", sentence(run.Failure.Step), sentence(run.Failure.Message))
	case run.Run.Image != workflow.Argument(wf, contract.ParamImage):
		return fmt.Errorf("its report is about another image, %q", sentence(run.Run.Image))
	case run.Run.ModelVersionUID != workflow.Argument(wf, contract.ParamModelVersionUID):
		return errors.New("its report is about another ModelVersion")
	case run.Source == nil || run.Image == nil:
		return errors.New("its report does not say what was packaged and pushed")
	case run.Source.Files < 0 || run.Source.Bytes < 0 || run.Image.Bytes < 0,
		run.Build != nil && (run.Build.SentBytes < 0 || run.Build.ReusedBytes < 0):
		return errors.New("its report has a negative count")
	}
	if known := workflow.Argument(wf, contract.ParamKnownRevision); known != "" && run.Source.Revision != known {
		return fmt.Errorf("its report says that the files are of the commit %q: the template must pass the parameter %s to mount-check", sentence(run.Source.Revision), contract.ParamKnownRevision)
	}
	return checkImage(wf, run.Image)
}

// checkImage returns nil when a report proves that the registry holds the image of a
// Workflow.
func checkImage(wf *wfv1.Workflow, image *report.Image) error {
	switch {
	case image.Reference != workflow.Argument(wf, contract.ParamImage):
		return fmt.Errorf("its report says that the registry holds %q", sentence(image.Reference))
	case !digestPattern.MatchString(image.Digest):
		return errors.New("its report has no digest")
	case !slices.Contains([]string{"", image.Digest}, workflow.Argument(wf, contract.ParamImageDigest)):
		return fmt.Errorf("its report says that the tag holds %s, which is not the requested digest", image.Digest)
	case image.PullSecret != "" && len(validation.IsDNS1123Subdomain(image.PullSecret)) > 0:
		return fmt.Errorf("its report names %q as a Secret", sentence(image.PullSecret))
	case image.ModelPath != workflow.Argument(wf, contract.ParamModelPath):
		return fmt.Errorf("its report says that the image has the model at %q: the template must pass the parameter %s to mount-check", sentence(image.ModelPath), contract.ParamModelPath)
	}
	return checkSignature(wf, image)
}

// maxBundle is the number of characters that a status holds of a signature.
const maxBundle = 8192

// checkSignature returns nil when a report says how the image was signed, if it had to
// be. Whether the signature is valid is verified where the image is served.
func checkSignature(wf *wfv1.Workflow, image *report.Image) error {
	signature := image.Signature
	if signature == nil {
		if workflow.Argument(wf, contract.ParamSigningRequired) == "true" {
			return fmt.Errorf("its report has no signature: the template must pass the parameters from %s to %s to status-report", contract.ParamSigningSecret, contract.ParamBuilderID)
		}
		return nil
	}
	known := func(name string) bool {
		return slices.Contains([]string{
			string(v1alpha1.BundleSignature), string(v1alpha1.TagSignature), string(v1alpha1.ProvenanceAttestation), string(v1alpha1.FilesAttestation),
			string(v1alpha1.TrainingAttestation),
		}, name)
	}
	for _, name := range slices.Concat(signature.Formats, signature.Attestations) {
		if !known(name) {
			return fmt.Errorf("its report says that the signature is %q", sentence(name))
		}
	}
	if len(signature.Bundle) > maxBundle || !digestPattern.MatchString(signature.KeyID) || len(validation.IsDNS1123Subdomain(signature.Secret)) > 0 || len(signature.Formats)+len(signature.Attestations) > 5 {
		return errors.New("its report does not describe a signature")
	}
	return nil
}

// report returns the report of this Workflow's run. A report that names
// another Workflow was carried over by a memoized resubmit and does not count.
func (r run) report() (report.Report, error) {
	output := r.reportOutput()
	if output == "" {
		return report.Report{}, errors.New("it has no report")
	}
	parsed, err := report.Parse(output)
	if err != nil {
		return report.Report{}, errors.New("its report cannot be parsed")
	}
	if parsed.Run.WorkflowUID != string(r.UID) {
		return report.Report{}, errors.New("its report is about another Workflow")
	}
	return parsed, nil
}

// reportOutput returns the Workflow's report output, where the latest try
// produced it. A Workflow that a user retries keeps its outputs until it has new
// ones, but not the nodes that produced them; one that Argo retries keeps both. Of a
// Workflow that hides its nodes, any output counts: one of an earlier try is about the
// same image, and does not prove a later push.
func (r run) reportOutput() string {
	output := ""
	for _, parameter := range outputParameters(r.Status.Outputs) {
		if parameter.Name == contract.OutputReport && parameter.Value != nil {
			output = parameter.Value.String()
		}
	}
	if HidesNodes(r.Workflow) {
		return output
	}
	for _, node := range r.nodes {
		for _, parameter := range outputParameters(node.Outputs) {
			if parameter.GlobalName == contract.OutputReport && parameter.Value != nil && parameter.Value.String() == output {
				return output
			}
		}
	}
	return ""
}
