package workflow

import (
	"fmt"
	"strings"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/text"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
)

// Annotations that the Argo UI shows on a Workflow, as Markdown.
const (
	annotationTitle       = "workflows.argoproj.io/title"
	annotationDescription = "workflows.argoproj.io/description"
)

// maxCause is how many characters of a message a description has.
const maxCause = 1000

// Describe returns the metadata by which a ModelVersion's Workflow says in the Argo UI
// why it has failed, or nil if it has that already. Without a reason, a Workflow that has
// said so, and runs again or has succeeded since, gets the metadata with which it was
// created; its label is empty then. No other one is changed.
func Describe(mv *v1alpha1.ModelVersion, wf *wfv1.Workflow, reason, message string) *wfv1.Workflow {
	about := purpose(Argument(wf, contract.ParamStorageKind), Argument(wf, contract.ParamImage))
	if reason != "" {
		about = fmt.Sprintf("Failed with %s: %s", code(reason), code(message))
	}
	label, want := labelValue(reason), description(mv, about)
	if wf.Labels[v1alpha1.LabelReason] == label && (reason == "" || wf.Annotations[annotationDescription] == want) {
		return nil
	}
	return &wfv1.Workflow{ObjectMeta: metav1.ObjectMeta{
		Name: wf.Name, Namespace: wf.Namespace, ResourceVersion: wf.ResourceVersion,
		Labels:      map[string]string{v1alpha1.LabelReason: label},
		Annotations: map[string]string{annotationDescription: want},
	}}
}

// purpose returns what a Workflow does.
func purpose(storageKind, image string) string {
	if storageKind == contract.StorageImage {
		return "Verifies the image " + code(image)
	}
	return "Packages the model as the image " + code(image)
}

// description returns what the Argo UI shows below a Workflow's title.
func description(mv *v1alpha1.ModelVersion, about string) string {
	return fmt.Sprintf("%s. Details: `kubectl describe mv -n %s %s`", about, mv.Namespace, mv.Name)
}

// code returns a text as code in Markdown: what users wrote, such as names of files,
// becomes no link and no image there. A template that refers to the annotation, as
// {{workflow.annotations}} does, expands nothing in it.
func code(s string) string {
	s = strings.ReplaceAll(text.OneLine(s, maxCause), "`", "'")
	for range 2 { // Four braces in a row become two pairs.
		s = strings.NewReplacer("{{", "{ {", "}}", "} }").Replace(s)
	}
	return "`" + s + "`"
}
