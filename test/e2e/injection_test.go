//go:build e2e

package e2e

import (
	"context"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/modelkiln/modelkiln/internal/workflow/contract"
	"github.com/modelkiln/modelkiln/test/registries/content"
)

// Values that close the text around them and open something of their own: a
// JSON string, the expression that creates the pod, a line of a Dockerfile, a
// shell's word, Argo's and Kubernetes' substitutions.
const (
	closesJSON       = `/foo","type":""},"securityContext":{"privileged":true},"x":{"y":"`
	closesExpression = `'}) + toJson({'hostNetwork':true,'hostPID':true})}} {{='`
	closesLine       = "x\nRUN touch /broken\nENV A=B"
	usesArgo         = `{{workflow.serviceAccountName}}{{=1+1}}{{inputs.parameters.x}}`
	expandsToJSON    = `{{='"],"securityContext":{"privileged":true},"args":["x'}}`
	usesKubernetes   = `$(ARGO_CONTAINER_NAME)$(PATH)$$`
	usesShell        = "$(touch /kiln/broken)`touch /kiln/broken`;touch /kiln/broken"
)

// attempt is one attempt to break out of a parameter.
type attempt struct {
	parameter, value string
	// succeeds is whether the value is harmless where it ends up, so that the
	// build succeeds; label then has it unchanged.
	succeeds bool
	label    string
}

// attempts are some of each kind. test/argo has Argo's own code expand many
// more, in every parameter of both templates.
var attempts = map[string]attempt{
	"created-by closes the line":          {parameter: contract.ParamCreatedBy, value: closesLine, succeeds: true},
	"created-by closes the line, encoded": {parameter: contract.ParamCreatedBy, value: "x%0ARUN+touch+%2Fbroken", succeeds: true},
	"created-by asks Argo, encoded":       {parameter: contract.ParamCreatedBy, value: "%7B%7Bworkflow.uid%7D%7D", succeeds: true, label: "{{workflow.uid}}"},
	"created-by asks a shell":             {parameter: contract.ParamCreatedBy, value: strings.ReplaceAll(usesShell, ";", ""), succeeds: true, label: strings.ReplaceAll(usesShell, ";", "")},
	"created-by asks Kubernetes":          {parameter: contract.ParamCreatedBy, value: usesKubernetes, succeeds: true},
	"model closes the expression":         {parameter: contract.ParamModel, value: closesExpression},
	"created-by expands to JSON":          {parameter: contract.ParamCreatedBy, value: expandsToJSON, succeeds: true},
	"sub-path expands to JSON":            {parameter: contract.ParamSubPath, value: expandsToJSON},
	"storage-path closes JSON":            {parameter: contract.ParamStoragePath, value: closesJSON},
	"storage-path asks Argo":              {parameter: contract.ParamStoragePath, value: "/foo" + usesArgo},
	"storage-path goes up":                {parameter: contract.ParamStoragePath, value: "/models/../etc/ssl"},
	"sub-path asks a shell":               {parameter: contract.ParamSubPath, value: usesShell},
	"image is a flag":                     {parameter: contract.ParamImage, value: "--no-push"},
	"base-image closes the line":          {parameter: contract.ParamBaseImage, value: closesLine},
	"base-image names a stage":            {parameter: contract.ParamBaseImage, value: "scratch AS x"},
	"push-secret closes JSON":             {parameter: contract.ParamPushSecret, value: closesJSON},
	"node-selector closes the expression": {parameter: contract.ParamNodeSelector, value: "a=b" + closesExpression},
	"tolerations close JSON":              {parameter: contract.ParamTolerations, value: `a=b:NoSchedule"}],"hostPID":true,"x":[{"y":"`},
	"requests close JSON":                 {parameter: contract.ParamRequests, value: `cpu=1m"},"securityContext":{"privileged":true},"x":{"y":"`},
	"storage-kind is none":                {parameter: contract.ParamStorageKind, value: "hostPath"},
}

// Users who can start a build only choose strings: nothing else runs, and the
// pod has the shape of every build's pod.
func TestParameterInjection(t *testing.T) {
	t.Parallel()
	s := live.submitter(t)
	dir := model(t)
	usual := s.shapeOfUsualPod(t, dir)
	for name, tt := range attempts {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			image := live.registry + "/e2e/" + s.namespace + "/" + content.Sum(name)[:8] + ":v1"
			parameters := map[string]string{contract.ParamImage: image, contract.ParamRequests: "cpu=100m,memory=64Mi"}
			parameters[tt.parameter] = tt.value

			workflow, err := s.submit(t.Context(), dir, parameters)
			if err != nil {
				t.Logf("argo refuses it: %v", err)
				require.False(t, tt.succeeds)
				return
			}
			wf, pod := live.finishedOrStuck(t, s.namespace, workflow)
			if pod != nil {
				want := usual
				if tt.parameter == contract.ParamStorageKind {
					want = withoutStorage(usual)
				}
				assert.Equal(t, want, shapeOf(pod.Spec))
				assertHostPath(t, pod.Spec, parameters, dir)
			}
			t.Logf("%s: %s", wf.Status.Phase, wf.Status.Message)
			if !tt.succeeds {
				assertCleanEnd(t, wf)
				return
			}
			require.Equal(t, wfv1.WorkflowSucceeded, wf.Status.Phase, wf.Status.Message)
			img := content.OfImage(t, image)
			assert.Equal(t, dir.entries(t), img.Model)
			assertNothingElse(t, img)
			if tt.label != "" {
				assert.Contains(t, img.Config.Labels, labelOf(tt.parameter))
				assert.Equal(t, tt.label, img.Config.Labels[labelOf(tt.parameter)])
			}
		})
	}
}

func labelOf(parameter string) string { return "model.kubedl.io/" + parameter }

// shapeOfUsualPod returns the shape of the pod of a build with ordinary
// parameters.
func (s submitter) shapeOfUsualPod(t *testing.T, dir directory) corev1.PodSpec {
	t.Helper()
	name, err := s.submit(t.Context(), dir, nil)
	require.NoError(t, err)
	wf := live.finished(t, s.namespace, name)
	require.Equal(t, wfv1.WorkflowSucceeded, wf.Status.Phase, wf.Status.Message)
	pods, err := live.podsOf(t.Context(), s.namespace, name)
	require.NoError(t, err)
	require.Len(t, pods, 1)
	return shapeOf(pods[0].Spec)
}

// withoutStorage returns the shape of a pod of an unknown kind of storage, which mounts
// nothing.
func withoutStorage(shape corev1.PodSpec) corev1.PodSpec {
	shape = *shape.DeepCopy()
	for i := range shape.Volumes {
		if v := &shape.Volumes[i]; v.Name == "source" {
			v.VolumeSource = corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{SizeLimit: ptr.To(resource.MustParse("1Mi"))}}
		}
	}
	return shape
}

// shapeOf returns what no parameter may change of a pod: everything but the
// values of the parameters.
func shapeOf(pod corev1.PodSpec) corev1.PodSpec {
	shape := *pod.DeepCopy()
	shape.NodeName, shape.NodeSelector, shape.Affinity, shape.Tolerations = "", nil, nil, nil
	// Argo gives a pod the rest of the deadline.
	shape.ActiveDeadlineSeconds = nil
	shape.ActiveDeadlineSeconds = nil
	volumes := map[string]string{}
	for i := range shape.Volumes {
		v := &shape.Volumes[i]
		if strings.HasPrefix(v.Name, "kube-api-access-") {
			volumes[v.Name] = "kube-api-access"
			v.Name = volumes[v.Name]
		}
		if v.HostPath != nil {
			v.HostPath.Path = ""
		}
		if v.Secret != nil {
			v.Secret.SecretName = ""
		}
	}
	for _, list := range [][]corev1.Container{shape.InitContainers, shape.Containers} {
		for i := range list {
			shapeOfContainer(&list[i], volumes)
		}
	}
	return shape
}

func shapeOfContainer(c *corev1.Container, volumes map[string]string) {
	c.Resources = corev1.ResourceRequirements{}
	for i := range c.Args {
		c.Args[i], _, _ = strings.Cut(c.Args[i], "=")
	}
	for i := range c.Env {
		c.Env[i].Value = ""
	}
	for i := range c.VolumeMounts {
		if name, renamed := volumes[c.VolumeMounts[i].Name]; renamed {
			c.VolumeMounts[i].Name = name
		}
	}
}

// assertHostPath checks that the only path on the node that a pod mounts is
// exactly the parameter's.
func assertHostPath(t *testing.T, pod corev1.PodSpec, parameters map[string]string, dir directory) {
	t.Helper()
	want := string(dir)
	if asked, found := parameters[contract.ParamStoragePath]; found {
		want = asked
	}
	for _, v := range pod.Volumes {
		if v.HostPath != nil {
			assert.Equal(t, want, v.HostPath.Path)
			assert.Equal(t, corev1.HostPathDirectory, *v.HostPath.Type)
		}
	}
}

// finishedOrStuck returns a Workflow when it has finished, with its pod if
// there is one. It terminates a Workflow that waits for what will never exist.
func (c *cluster) finishedOrStuck(t *testing.T, namespace, name string) (*wfv1.Workflow, *corev1.Pod) {
	t.Helper()
	wf := &wfv1.Workflow{}
	var pods []corev1.Pod
	require.EventuallyWithT(t, func(collect *assert.CollectT) {
		require.NoError(collect, c.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: name}, wf))
		var err error
		pods, err = c.podsOf(t.Context(), namespace, name)
		require.NoError(collect, err)
		done := wf.Status.Phase.Completed() || abandoned(wf) || slices.ContainsFunc(pods, func(pod corev1.Pod) bool { return c.cannotStart(t.Context(), pod) })
		require.True(collect, done, "%s %s", wf.Status.Phase, wf.Status.Message)
	}, buildTime, 5*tick)
	switch {
	case abandoned(wf):
		// Argo's controller reports that it is unhealthy while one exists.
		run(t, "argo", "delete", "-n", namespace, name)
	case !wf.Status.Phase.Completed():
		run(t, "argo", "terminate", "-n", namespace, name)
		wf = c.finished(t, namespace, name)
	}
	if len(pods) == 0 {
		return wf, nil
	}
	return wf, &pods[0]
}

// abandoned reports whether Argo 3.7 has seen a Workflow and will never start
// it, which its status does not say: Argo could not put its parameters into the
// template.
func abandoned(wf *wfv1.Workflow) bool {
	return wf.Status.Phase == wfv1.WorkflowUnknown && len(wf.Status.StoredTemplates) > 0 && time.Since(wf.CreationTimestamp.Time) > noticeTime
}

// cannotStart reports whether a pod waits for what will never exist: a node
// with these labels, or a directory or Secret of that name.
func (c *cluster) cannotStart(ctx context.Context, pod corev1.Pod) bool {
	events, err := try(ctx, "kubectl", "get", "events", "-n", pod.Namespace, "--field-selector", "involvedObject.name="+pod.Name, "-o", "jsonpath={.items[*].message}")
	if err != nil {
		return false
	}
	for _, message := range []string{"didn't match", "hostPath type check failed", `failed for volume "push-secret"`} {
		if strings.Contains(events, message) {
			return true
		}
	}
	return false
}

// assertCleanEnd checks that a build failed and that the step that failed says
// why.
func assertCleanEnd(t *testing.T, wf *wfv1.Workflow) {
	t.Helper()
	assert.NotEqual(t, wfv1.WorkflowSucceeded, wf.Status.Phase)
	if wf.Status.Outputs == nil {
		return
	}
	for _, node := range wf.Status.Nodes {
		// A step did not accept its arguments; its log says more. The
		// Workflow's own message may be of a container that was ended because
		// of it.
		if strings.Contains(node.Message, "exited with non-zero code: 2") || strings.Contains(node.Message, "Error (exit code 2)") {
			return
		}
	}
	left := reportOf(t, wf)
	require.NotNil(t, left.Failure, "%+v", left)
	t.Logf("%s: %s: %s", left.Failure.Step, left.Failure.Reason, left.Failure.Message)
}

// Kubernetes and Argo do not expand a path that has their own signs in it.
func TestDirectoryNames(t *testing.T) {
	t.Parallel()
	ns := live.namespace(t)
	parent := newDirectory(t)
	for name, path := range map[string]string{
		"signs": `a $(id) ` + "`id`" + ` $HOME ${HOME} 'b' \d;e&f|g $(ARGO_CONTAINER_NAME) $$(PATH) $$$ ","type":""}`,
		"flags": "--shared=/tmp",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := directory(parent.at(path))
			require.NoError(t, os.MkdirAll(string(dir), 0o755))
			dir.write(t, "model.bin", name)
			mv := live.built(t, makeVersion(name, ns, dir).New())
			assertNothingElse(t, assertImage(t, mv, dir))
		})
	}
}
