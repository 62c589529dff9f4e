package integration

import (
	"testing"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
)

// userClient returns the client of a user with all permissions, and in these groups.
func userClient(t *testing.T, name string, groups ...string) client.Client {
	t.Helper()
	return shared.userClient(t, name, groups...)
}

func (s *apiServer) userClient(t *testing.T, name string, groups ...string) client.Client {
	t.Helper()
	config := rest.CopyConfig(s.config)
	config.Impersonate = rest.ImpersonationConfig{UserName: name, Groups: append(groups, "system:masters")}
	c, err := client.New(config, client.Options{Scheme: testScheme()})
	require.NoError(t, err)
	return c
}

// createdBy is a change that claims that a user created the ModelVersion.
func createdBy(user string) change {
	return set("metadata.annotations", map[string]any{v1alpha1.AnnotationCreatedByUser: user})
}

func assertForbidden(t require.TestingT, err error, text string) {
	assert.True(t, apierrors.IsForbidden(err), "%v", err)
	assert.ErrorContains(t, err, text)
}

const writtenByOperator = "the annotation model.kubedl.io/created-by-user names the user who created the ModelVersion, and is written by the operator: remove it from the manifest"

func TestWebhookCreator(t *testing.T) {
	startWithWebhook(t)
	ann := userClient(t, "ann@example.com")
	for name, claim := range map[string]change{"nothing claimed": {}, "another user claimed": createdBy("bob@example.com")} {
		t.Run(name, func(t *testing.T) {
			s := newSandbox(t, shared)
			o := newObject(t, s.namespace, localVersion, claim)
			require.NoError(t, ann.Create(t.Context(), o))
			assert.Equal(t, "ann@example.com", o.GetAnnotations()[v1alpha1.AnnotationCreatedByUser])
			require.EventuallyWithT(t, func(c *assert.CollectT) {
				assert.Equal(c, "ann@example.com", s.version(resnet).Status.CreatedByUser)
			}, deadline, tick)
		})
	}
	t.Run("the annotation may be removed when the status has a copy", func(t *testing.T) {
		s := newSandbox(t, shared)
		require.NoError(t, ann.Create(t.Context(), newObject(t, s.namespace, localVersion)))
		wf := s.argo.awaitOnlyWorkflow()
		annotate := func(value any, opts ...client.PatchOption) error {
			o := newObject(t, s.namespace, localVersion)
			require.NoError(t, s.client.Get(t.Context(), client.ObjectKeyFromObject(o), o))
			before := o.DeepCopy()
			set("metadata.annotations", map[string]any{}).apply(t, o)
			if value != nil {
				createdBy(value.(string)).apply(t, o)
			}
			return ann.Patch(t.Context(), o, client.MergeFrom(before), opts...)
		}
		require.EventuallyWithT(t, func(c *assert.CollectT) {
			assertForbidden(c, annotate("bob@example.com", client.DryRunAll), writtenByOperator)
		}, deadline, tick, "the API server loads the policy after a moment")
		require.NoError(t, annotate("ann@example.com"))
		require.EventuallyWithT(t, func(c *assert.CollectT) {
			assert.NoError(c, annotate(nil))
		}, deadline, tick)
		assertForbidden(t, annotate("ann@example.com"), writtenByOperator)
		assert.Equal(t, "ann@example.com", s.completeBuild(wf).Status.CreatedByUser)
	})
	t.Run("a manifest with a mistake gets the API server's message", func(t *testing.T) {
		s := newSandbox(t, shared)
		err := ann.Create(t.Context(), newObject(t, s.namespace, localVersion, set("spec.imageTag", int64(1))))
		assert.ErrorContains(t, err, "spec.imageTag: Invalid value")
	})
}

// ModelVersions do not depend on the operator.
func TestWebhookCreatorUnavailable(t *testing.T) {
	installWebhook(t, shared, freeAddress(t))
	ann := userClient(t, "ann@example.com")
	create := func(s sandbox, claim change) error {
		return ann.Create(s.t.Context(), newObject(s.t, s.namespace, localVersion, set("metadata.generateName", "resnet-"), remove("metadata.name"), claim))
	}
	s := newSandbox(t, shared)
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		assertForbidden(c, create(s, createdBy("bob@example.com")), writtenByOperator)
	}, deadline, tick)
	assert.NoError(t, create(s, change{}))
	assert.NoError(t, create(s, createdBy("ann@example.com")))

	o := newObject(t, s.namespace, localVersion, createdBy("ann@example.com"))
	require.NoError(t, ann.Create(t.Context(), o))
	before := o.DeepCopy()
	remove("metadata.annotations").apply(t, o)
	assertForbidden(t, ann.Patch(t.Context(), o, client.MergeFrom(before)), "cannot be removed before the operator has copied it to the status: try again in a moment")
}

func TestWebhookServedAnnotations(t *testing.T) {
	startWithWebhook(t)
	s := newSandbox(t, shared)
	s.createReady()
	serving := servingPod(s.namespace, map[string]string{v1alpha1.LabelServeVersion: resnet})
	require.NoError(t, s.client.Create(t.Context(), serving))
	other := plainPod(s.namespace)
	require.NoError(t, s.client.Create(t.Context(), other))
	annotate := func(pod *corev1.Pod, key string, value any, opts ...client.PatchOption) error {
		s.refresh(t, pod)
		before := pod.DeepCopy()
		delete(pod.Annotations, key)
		if value != nil {
			pod.SetAnnotations(map[string]string{key: value.(string)})
		}
		return s.client.Patch(t.Context(), pod, client.MergeFrom(before), opts...)
	}
	const leave = "name what the pod serves, and are written by the operator"

	require.EventuallyWithT(t, func(c *assert.CollectT) {
		assertForbidden(c, annotate(serving, v1alpha1.AnnotationServedImage, "registry.example.com/evil", client.DryRunAll), leave)
	}, deadline, tick, "the API server loads the policy after a moment")
	assertForbidden(t, annotate(serving, v1alpha1.AnnotationServedVersion, nil), leave)
	assertForbidden(t, annotate(other, v1alpha1.AnnotationServedVersion, resnet), leave)
	copied := plainPod(s.namespace)
	copied.Annotations = map[string]string{v1alpha1.AnnotationServedVersion: resnet}
	assertForbidden(t, s.client.Create(t.Context(), copied), leave)

	require.NoError(t, annotate(other, "example.com/a", "b"))
	s.refresh(t, serving)
	serving.Labels["example.com/a"] = "b"
	assert.NoError(t, s.client.Update(t.Context(), serving))
}

// A pod that says that its files are verified is one in which they are.
func TestWebhookVerifyLabelWithoutModel(t *testing.T) {
	startWithWebhook(t)
	s := newSandbox(t, shared)
	s.createReady()
	labelled := plainPod(s.namespace)
	labelled.Labels = map[string]string{v1alpha1.LabelVerify: "files"}
	const both = "create the pod with both labels"
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		assertForbidden(c, s.client.Create(t.Context(), labelled.DeepCopy(), client.DryRunAll), both)
	}, deadline, tick, "the API server loads the policy after a moment")

	serving := servingPod(s.namespace, map[string]string{v1alpha1.LabelServeVersion: resnet})
	require.NoError(t, s.client.Create(t.Context(), serving))
	before := serving.DeepCopy()
	serving.Labels[v1alpha1.LabelVerify] = "files"
	assertForbidden(t, s.client.Patch(t.Context(), serving, client.MergeFrom(before)), both)
}

// A copy of a build's Workflow is a new build, whatever its user claims that it has
// done and which templates it carries.
func TestWebhookCopies(t *testing.T) {
	startWithWebhook(t)
	s := newSandbox(t, shared)
	for _, file := range []string{"failed-in-mount-check.resubmit.yaml", "failed-in-mount-check.resubmit-memoized.yaml"} {
		t.Run(file, func(t *testing.T) {
			wf := s.readWorkflow("argo/testdata/commands/" + file)
			wf.Status.StoredTemplates = map[string]wfv1.Template{"cluster/modelkiln-build/build": {Name: "build"}}
			other := wf.DeepCopy()
			require.NoError(t, s.client.Create(t.Context(), wf))
			assert.Empty(t, wf.Status)

			delete(other.Labels, v1alpha1.LabelModelVersionUID)
			other.Name, other.GenerateName = "", "other-"
			require.NoError(t, s.client.Create(t.Context(), other))
			assert.NotEmpty(t, other.Status.StoredTemplates, "Workflows of others are not changed")
		})
	}
}
