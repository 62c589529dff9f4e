package integration

import (
	"net/http"
	"strings"
	"testing"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
)

// previousObjects are objects as the previous release has stored them: a ModelVersion in
// each phase, named for it, with its Model and its Workflows.
const previousObjects = "testdata/previous/objects"

// storePrevious stores the objects of the previous release, and returns their sandbox.
func storePrevious(t *testing.T, server *apiServer) sandbox {
	t.Helper()
	const namespace = "upgrade"
	require.NoError(t, server.admin.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}))
	for _, resource := range []string{"models", "modelversions", "workflows"} {
		objects, err := readManifests(previousObjects + "/" + resource + ".yaml")
		require.NoError(t, err)
		for _, object := range objects {
			server.store(t, resource, object)
		}
	}
	return sandbox{
		t: t, client: server.admin, namespace: namespace,
		argo:    fakeArgo{t: t, client: server.admin, namespace: namespace},
		kubelet: fakeKubelet{t: t, client: server.admin},
	}
}

// versionNames returns the names of all ModelVersions.
func (s sandbox) versionNames() []string {
	s.t.Helper()
	var list v1alpha1.ModelVersionList
	require.NoError(s.t, s.client.List(s.t.Context(), &list))
	names := make([]string, 0, len(list.Items))
	for i := range list.Items {
		names = append(names, list.Items[i].Name)
	}
	return names
}

// The documented order: CRDs, then templates and permissions, then the operator.
func TestUpgrade(t *testing.T) {
	t.Parallel()
	server := newAPIServer(t, previousCRDs, argoCRDs())
	s := storePrevious(t, server)
	before := map[string]*v1alpha1.ModelVersion{}
	for _, name := range s.versionNames() {
		before[name] = s.version(name)
	}
	workflows := s.argo.workflows()

	require.NoError(t, server.installCRDs(modelkilnCRDs))
	require.NoError(t, server.install(deployRBAC, workflowTemplates, kanikoTemplate))
	op := startOperator(t, server)
	for name := range before {
		s.annotate(name, "example.com/note", "1")
	}
	op.drainQueue(t, server)

	assert.Len(t, s.argo.workflows(), len(workflows), "nothing is built twice")
	for _, name := range []string{"failed", "failed-and-pruned", "forbidden", "pending", "queued", "ready", "ready-and-pruned", "rebuilds", "running", "terminated", "waits-for-template", "waits-for-training"} {
		now := s.version(name).Status
		now.LatestAttemptTime = nil // New.
		assert.Equal(t, before[name].Status, now, name)
	}
	for _, name := range []string{"ready", "ready-and-pruned", "rebuilds"} {
		s.awaitLatest(name, s.latestVersion(name))
	}
	assert.Equal(t, digest, s.awaitReason("ends-meanwhile", v1alpha1.ReasonSucceeded).Status.Digest)
	s.awaitReason("unrecorded", v1alpha1.ReasonWorkflowPending)

	for _, name := range []string{"pending", "queued", "running", "unrecorded"} {
		mv := s.completeBuild(s.argo.awaitAttempt(before[name], 1))
		assert.Equal(t, int64(1), mv.Status.Attempts, name)
		assert.Equal(t, digest, mv.Status.Digest, name)
	}
	second := s.argo.completeWorkflow(s.argo.awaitAttempt(before["rebuilds"], 2))
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		assert.Contains(c, s.version("rebuilds").Status.Message, "Workflow "+second.Name+" found it there again")
	}, deadline, tick)
	assert.Equal(t, digest, s.version("rebuilds").Status.Digest)
	terminated := s.argo.awaitAttempt(before["terminated"], 1)
	s.argo.finishWithoutReport(terminated, wfv1.WorkflowFailed, "Stopped with strategy 'Terminate'")
	assert.Equal(t, v1alpha1.ReasonSourceMissing, readyReason(s.awaitWorkflowPhase("terminated", terminated, wfv1.WorkflowFailed)))

	// What waited for something else than its build gets its first attempt.
	s.createTemplate("custom")
	s.completeJob(s.createJob("train"))
	for _, name := range []string{"waits-for-template", "waits-for-training"} {
		s.completeBuild(s.argo.awaitAttempt(before[name], 1))
	}
	s.annotate("failed-and-pruned", v1alpha1.AnnotationRebuild, "1")
	s.argo.awaitAttempt(before["failed-and-pruned"], 2)
	created := 0
	for _, r := range op.transport.writes(s.namespace) {
		if r.method == http.MethodPost && strings.HasSuffix(r.path, "/workflows") {
			created++
		}
	}
	assert.Equal(t, 3, created)
}

// The CRDs of the previous release hide the fields that they lack. They are lost when
// the object is next written, and not before.
func TestDowngrade(t *testing.T) {
	t.Parallel()
	server := newAPIServer(t, modelkilnCRDs)
	s := newSandbox(t, server)
	mv := s.create(localVersion, build("include", []any{"*.safetensors"}))
	s.create(storageless+"s3: {bucket: models, prefix: resnet/1}", set("metadata.name", "from-s3"))
	include := mv.Spec.Build.Include
	require.NotEmpty(t, include)

	require.NoError(t, server.installCRDs(previousCRDs))
	awaitInclude := func(want []v1alpha1.FilePattern) {
		require.EventuallyWithT(t, func(c *assert.CollectT) {
			now := &v1alpha1.ModelVersion{}
			s.get(c, resnet, now)
			assert.Equal(c, want, now.Spec.Build.Include)
		}, deadline, tick)
	}
	awaitInclude(nil)
	require.NoError(t, server.installCRDs(modelkilnCRDs))
	awaitInclude(include)

	require.NoError(t, server.installCRDs(previousCRDs))
	awaitInclude(nil)
	s.annotate(resnet, "example.com/note", "1")
	s.annotate("from-s3", "example.com/note", "1")
	require.NoError(t, server.installCRDs(modelkilnCRDs))
	awaitInclude(nil)
	assert.Empty(t, s.version("from-s3").Spec.Storage)
}
