package lifecycle_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/lifecycle"
	"github.com/modelkiln/modelkiln/internal/workflow"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
	"github.com/modelkiln/modelkiln/test/builders"
)

const (
	pushRepo = "registry.registry.svc.cluster.local:5000/modelhub/resnet"
	pullRepo = "localhost:30500/modelhub/resnet"
)

// newPullHostScenario returns the scenario of a ModelVersion whose image nodes pull
// from another host than builds push to.
func newPullHostScenario(t *testing.T) *scenario {
	t.Helper()
	s := newScenario(t)
	s.mv().Spec.ImageRepo = pushRepo
	s.opts.PullHosts = map[string]string{"registry.registry.svc.cluster.local:5000": "localhost:30500"}
	return s
}

// Pods, people and the Model see the pull host, and builds the push host.
func TestPullHost(t *testing.T) {
	s := newPullHostScenario(t)
	created := s.pass()
	require.NotNil(t, created)
	assert.Equal(t, pushRepo+":v1c072", workflow.Argument(created, contract.ParamImage))
	assert.Equal(t, pullRepo+":v1c072", s.mv().Status.Image)
	assert.Equal(t, pushRepo+":v1c072", s.mv().Status.PushedImage)

	s.updatePass(succeeding)
	status := s.mv().Status
	assert.Equal(t, v1alpha1.ImageBuildSucceeded, status.ImageBuildPhase)
	assert.Equal(t, "Image "+pullRepo+":v1c072 was pushed and verified in the registry", status.Message)
	assert.Equal(t, &v1alpha1.LatestVersion{ModelVersion: "mv-3", ImageName: pullRepo + ":v1c072", Digest: builders.Digest}, lifecycle.Latest([]v1alpha1.ModelVersion{*s.mv()}))
	assert.Nil(t, s.pass())
	assert.Equal(t, status, s.mv().Status, "nothing changes")
}

func TestPullHostRebuild(t *testing.T) {
	s := newPullHostScenario(t)
	s.succeeded()
	s.requestRebuild()
	created := s.pass()
	require.NotNil(t, created)
	assert.Equal(t, pushRepo+":v1c072", workflow.Argument(created, contract.ParamImage))
	assert.Equal(t, builders.Digest, workflow.Argument(created, contract.ParamKnownDigest))
	s.updatePass(lost)
	assert.Contains(t, s.mv().Status.Message, "The registry no longer has the image "+pullRepo+"@"+builders.Digest)
}

func TestPullHostRetry(t *testing.T) {
	s := newPullHostScenario(t)
	s.pass()
	s.updatePass(failing(contract.StepMountCheck, v1alpha1.ReasonTagTaken, "the tag holds another image"))
	assert.Equal(t, pullRepo+":v1c072d5e", s.mv().Status.Image, "the next automatic tag")
	assert.Equal(t, pushRepo+":v1c072d5e", workflow.Argument(s.observed.Workflows[1], contract.ParamImage))

	s.updatePass(failing(contract.StepMountCheck, v1alpha1.ReasonSourceEmpty, "/foo holds no file"))
	s.observed.Workflows = append(s.observed.Workflows, builders.FromWorkflow(s.observed.Workflows[1]).Resubmitted("x7k2p", builders.Epoch.Add(time.Hour)).Obj())
	s.updatePass(succeeding)
	assert.Equal(t, pullRepo+":v1c072d5e", s.mv().Status.Image)
	assert.Equal(t, v1alpha1.ImageBuildSucceeded, s.mv().Status.ImageBuildPhase, "a resubmit is followed")
}

// The image whose layers are reused is the one that was pushed.
func TestPullHostPreviousImage(t *testing.T) {
	s := newPullHostScenario(t)
	s.mv().Spec.Build = &v1alpha1.Build{Engine: v1alpha1.Stream}
	previous := builders.MakeModelVersion("mv-2", "default").Built(pullRepo+":v2", builders.Digest).Obj()
	previous.Status.PushedImage = pushRepo + ":v2"
	s.observed.Versions = []v1alpha1.ModelVersion{*previous}
	created := s.pass()
	require.NotNil(t, created)
	assert.Equal(t, pushRepo+"@"+builders.Digest, workflow.Argument(created, contract.ParamPreviousImage))

	s.observed.Workflows = append(s.observed.Workflows, builders.FromWorkflow(created).Resubmitted("x7k2p", builders.Epoch.Add(time.Hour)).Obj())
	assert.Equal(t, s.observed.Workflows[1], lifecycle.SelectWorkflow(s.observed, s.opts), "a resubmit with it is followed")
}

// A host that nodes know by another name from now on has it in the status of images
// that were pushed before, too.
func TestPullHostChanges(t *testing.T) {
	s := newPullHostScenario(t)
	configured := s.opts.PullHosts
	s.opts.PullHosts = nil
	s.succeeded()
	assert.Equal(t, pushRepo+":v1c072", s.mv().Status.Image)
	assert.Empty(t, s.mv().Status.PushedImage)

	for name, tc := range map[string]struct {
		hosts             map[string]string
		wantImage, pushed string
	}{
		"added":   {configured, pullRepo + ":v1c072", pushRepo + ":v1c072"},
		"changed": {map[string]string{"registry.registry.svc.cluster.local:5000": "registry.example.com"}, "registry.example.com/modelhub/resnet:v1c072", pushRepo + ":v1c072"},
		"removed": {nil, pushRepo + ":v1c072", ""},
	} {
		t.Run(name, func(t *testing.T) {
			s.opts.PullHosts = tc.hosts
			assert.Nil(t, s.pass())
			assert.Equal(t, tc.wantImage, s.mv().Status.Image)
			assert.Equal(t, tc.pushed, s.mv().Status.PushedImage)
			assert.Equal(t, builders.Digest, s.mv().Status.Digest)
		})
	}
	t.Run("of an image that KubeDL built", func(t *testing.T) {
		s := newPullHostScenario(t)
		s.observed.Version = builders.MakeModelVersion("mv-3", "default").Built(pushRepo+":v1", "").Obj()
		assert.Nil(t, s.pass())
		assert.Equal(t, pushRepo+":v1", s.mv().Status.Image, "its status is left alone")
	})
}
