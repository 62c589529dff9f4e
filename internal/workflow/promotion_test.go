package workflow_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/config"
	"github.com/modelkiln/modelkiln/internal/workflow"
	"github.com/modelkiln/modelkiln/test/builders"
	"github.com/modelkiln/modelkiln/test/golden"
)

// promotionOf returns the promotion of a ModelVersion to production.
func promotionOf(mv *v1alpha1.ModelVersion) workflow.Promotion {
	model := &v1alpha1.Model{ObjectMeta: metav1.ObjectMeta{Namespace: mv.Namespace, Name: mv.Spec.ModelName, UID: "9d1f3c60-0000-4000-8000-000000000000"}}
	return workflow.Promotion{Model: model, Alias: "production", Version: mv, Since: metav1.NewTime(builders.Epoch)}
}

// Each Model in testdata/promotion has the Workflow that moves its tag next to it, and the
// operator's configuration if the case needs one.
func TestNewPromotion(t *testing.T) {
	for name, file := range golden.Cases(t, "promotion", ".modelversion.yaml") {
		t.Run(name, func(t *testing.T) {
			var mv v1alpha1.ModelVersion
			golden.ReadYAML(t, file, &mv)
			promotion := promotionOf(&mv)
			promotion.UserAssigned = name == "every-setting"

			wf, problem := workflow.NewPromotion(promotion, loadOptions(t, golden.Beside(file, ".modelversion.yaml", ".config.yaml")))
			require.Nil(t, problem)
			golden.AssertYAML(t, strings.Replace(file, ".modelversion.", ".workflow.", 1), toUnstructured(t, wf))
		})
	}
}

func TestNewPromotionRejects(t *testing.T) {
	opts := config.Default().Options()
	opts.Images.Repos = []string{"registry.example.com/models"}
	mv := builders.MakeModelVersion("mv-3", "default").Built("modelhub/resnet:v1c072", builders.Digest).Obj()
	wf, problem := workflow.NewPromotion(promotionOf(mv), opts)
	assert.Nil(t, wf)
	require.NotNil(t, problem)
	assert.Equal(t, v1alpha1.ReasonImageForbidden, problem.Reason)
}

func TestPromotionName(t *testing.T) {
	mv := builders.MakeModelVersion("mv-3", "default").Obj()
	first := promotionOf(mv)
	// The policies recognize builds and promotions by this form.
	assert.Regexp(t, `^model1-production-9d1f3-[0-9]+$`, first.Name())
	next := first
	next.Since = metav1.NewTime(builders.Epoch.Add(time.Second))
	assert.NotEqual(t, first.Name(), next.Name())
	again := first
	again.Model = first.Model.DeepCopy()
	again.Model.UID = "00000000-0000-4000-8000-000000000000"
	assert.NotEqual(t, first.Name(), again.Name())
	long := first
	long.Model = first.Model.DeepCopy()
	long.Model.Name, long.Alias = strings.Repeat("m", 63), strings.Repeat("a", 63)
	assert.Regexp(t, `^m+-[0-9a-f]{8}-9d1f3-[0-9]+$`, long.Name())
	assert.LessOrEqual(t, len(long.Name()), 57, "Argo appends six characters to the names of resubmits")

	for name, want := range map[string]bool{first.Name(): true, first.Name() + "-x7k2p": true, first.Name() + "-x7k2p-b4m8q": true, first.Name() + "-canary-1c072-1": false, next.Name(): false, first.Name() + "0": false} {
		assert.Equal(t, want, workflow.IsOfPromotion(name, first.Name()), name)
	}
}

func TestPromotionImages(t *testing.T) {
	for name, tt := range map[string]struct{ pulled, pushed, wantPulled, wantPushed string }{
		"a repository":           {"modelhub/resnet:v1c072", "", "modelhub/resnet:production", "modelhub/resnet:production"},
		"a registry with a port": {"registry.example.com:5000/resnet:v1", "", "registry.example.com:5000/resnet:production", "registry.example.com:5000/resnet:production"},
		"another host for nodes": {"localhost:30500/resnet:v1", "registry.svc:5000/resnet:v1", "localhost:30500/resnet:production", "registry.svc:5000/resnet:production"},
	} {
		t.Run(name, func(t *testing.T) {
			mv := builders.MakeModelVersion("mv-3", "default").Built(tt.pulled, builders.Digest).Obj()
			mv.Status.PushedImage = tt.pushed
			assert.Equal(t, tt.wantPulled, workflow.PromotedImage(mv, "production"))
			assert.Equal(t, tt.wantPushed, promotionOf(mv).Image())
		})
	}
}
