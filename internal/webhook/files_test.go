package webhook

import (
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/inject"
	"github.com/modelkiln/modelkiln/internal/sign"
	"github.com/modelkiln/modelkiln/internal/workflow"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
	"github.com/modelkiln/modelkiln/test/builders"
)

// buildTemplate returns a template whose step mount-check has an image and a command.
func buildTemplate(name, image string, command ...any) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "argoproj.io/v1alpha1", "kind": "ClusterWorkflowTemplate", "metadata": map[string]any{"name": name},
		"spec": map[string]any{"templates": []any{
			map[string]any{"name": "build", "dag": map[string]any{}},
			map[string]any{"name": "pod", "containerSet": map[string]any{"containers": []any{
				map[string]any{"name": "scan", "image": "scanner"},
				map[string]any{"name": contract.StepMountCheck, "image": image, "command": command},
			}}},
		}},
	}}
}

// signedVersion returns a ModelVersion whose signature has the digest of the list of files.
func signedVersion(t *testing.T, list string) *v1alpha1.ModelVersion {
	t.Helper()
	bundle, err := builders.NewSigningKey(t).SignImage(sign.Image{Repository: "modelhub/resnet", Digest: builders.Digest, List: list})
	require.NoError(t, err)
	mv := builders.MakeModelVersion("v1", "team-a").Built("modelhub/resnet:v1", builders.Digest).Obj()
	mv.Status.Signature = &v1alpha1.SignatureStatus{Bundle: string(bundle)}
	return mv
}

func TestServingVerifiesFiles(t *testing.T) {
	list := strings.Repeat("ef", 32)
	const step = "registry.example.com/modelkiln-step:v1"
	for name, tt := range map[string]struct {
		label     string
		list      string
		templates []client.Object
		assigned  bool
		image     string
		want      string
	}{
		"not demanded": {list: list},
		"demanded":     {label: "files", list: list, templates: []client.Object{buildTemplate("modelkiln-build", step, "/ko-app/modelkiln-step"), buildTemplate("other", "other", "other")}, image: step},
		"in a namespace with a template of its own": {
			label: "files", list: list, image: "scanned/modelkiln-step:v1", assigned: true,
			templates: []client.Object{buildTemplate("modelkiln-build", step, "/ko-app/modelkiln-step"), buildTemplate("scanned", "scanned/modelkiln-step:v1", "/bin/modelkiln-step")},
		},
		"another value":  {label: "image", list: list, want: `ModelVersion "v1": the pod's label model.kubedl.io/verify is "image": set it to "files", or remove it`},
		"without a list": {label: "files", want: `ModelVersion "v1": its files cannot be verified, which the pod's label model.kubedl.io/verify demands: its signature does not say which files the image has`},
		"without a template": {
			label: "files", list: list, templates: []client.Object{buildTemplate("other", step, "/ko-app/modelkiln-step")},
			want: `ModelVersion "v1": the ClusterWorkflowTemplate modelkiln-build, which names the image that verifies files, does not exist, or its container mount-check has no image and command: ask the platform team to install it`,
		},
		"with a template whose image is an expression": {
			label: "files", list: list, templates: []client.Object{buildTemplate("modelkiln-build", "{{workflow.parameters.step}}", "/ko-app/modelkiln-step")},
			want: "its container mount-check has no image and command",
		},
		"with a template without a command": {
			label: "files", list: list, templates: []client.Object{buildTemplate("modelkiln-build", step)}, want: "its container mount-check has no image and command",
		},
	} {
		t.Run(name, func(t *testing.T) {
			namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "team-a"}}
			options := workflow.Options{WorkflowTemplate: "modelkiln-build"}
			if tt.assigned {
				namespace.Annotations = map[string]string{"openshift.io/sa.scc.uid-range": "1000/1"}
				options.NamespaceTemplates = map[string]string{"team-a": "scanned"}
			}
			c := fake.NewClientBuilder().WithScheme(testScheme(t)).WithObjects(append(tt.templates, namespace, signedVersion(t, tt.list))...).
				WithIndex(buildTemplate("", ""), "metadata.name", func(o client.Object) []string { return []string{o.GetName()} }).Build()
			serving := &Serving{Live: c, Client: c, Mount: inject.ServingImageVolume, Options: options}
			pod := &corev1.Pod{
				ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{v1alpha1.LabelServeVersion: "v1"}},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "serve"}}},
			}
			if tt.label != "" {
				pod.Labels[v1alpha1.LabelVerify] = tt.label
			}
			before := pod.DeepCopy()
			ctx := admission.NewContextWithRequest(context.WithValue(t.Context(), warningsKey{}, &[]string{}), admission.Request{AdmissionRequest: admissionv1.AdmissionRequest{Namespace: "team-a"}})

			err := serving.Default(ctx, pod)

			if tt.want != "" {
				require.ErrorContains(t, err, tt.want)
				assert.Equal(t, before, pod)
				return
			}
			require.NoError(t, err)
			if tt.image == "" {
				assert.Empty(t, pod.Spec.InitContainers)
				return
			}
			require.Len(t, pod.Spec.InitContainers, 1)
			got := pod.Spec.InitContainers[0]
			assert.Equal(t, tt.image, got.Image)
			assert.Contains(t, got.Args, "--list-digest=sha256:"+list)
			assert.Equal(t, tt.assigned, got.SecurityContext.RunAsUser == nil, "the namespace assigns the user")
		})
	}
}
