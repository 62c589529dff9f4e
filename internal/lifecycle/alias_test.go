package lifecycle_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/lifecycle"
	"github.com/modelkiln/modelkiln/internal/workflow"
	"github.com/modelkiln/modelkiln/test/builders"
)

// aliasModel returns the Model model1 with one alias, production.
func aliasModel(version string, status ...v1alpha1.AliasStatus) *v1alpha1.Model {
	model := &v1alpha1.Model{ObjectMeta: metav1.ObjectMeta{Namespace: "team-a", Name: "model1", UID: "9d1f3c60-0000-4000-8000-000000000000"}}
	model.Annotations = map[string]string{v1alpha1.AnnotationPromotedBy + "production": "ann@example.com"}
	model.Spec.Aliases = []v1alpha1.Alias{{Name: "production", Version: version}}
	model.Status.Aliases = status
	return model
}

func atSecond(n int) metav1.Time {
	return metav1.NewTime(builders.Epoch.Add(time.Duration(n) * time.Second))
}

func TestNextAliases(t *testing.T) {
	built := func(name, digest string) *builders.ModelVersionWrapper {
		return builders.MakeModelVersion(name, "team-a").Built("modelhub/resnet:"+name, digest)
	}
	standsFor := func(version, digest string) v1alpha1.AliasStatus {
		return v1alpha1.AliasStatus{
			Name: "production", Version: version, VersionUID: string(builders.ModelVersionUID), Digest: digest, Image: "modelhub/resnet:" + version,
			Since: ptr.To(atSecond(0)), By: "bob@example.com", Pods: &v1alpha1.AliasPods{},
		}
	}
	unresolved := func(status v1alpha1.AliasStatus, message string) v1alpha1.AliasStatus {
		status.Reason, status.Message = v1alpha1.ReasonAliasUnresolved, message
		return status
	}
	const list = "kubectl get mv -n team-a -l model.kubedl.io/model-name=model1"
	promoted := v1alpha1.AliasStatus{
		Name: "production", Version: "v2", VersionUID: string(builders.ModelVersionUID), Digest: otherDigest, Image: "modelhub/resnet:v2",
		Since: ptr.To(atSecond(60)), By: "ann@example.com", Pods: &v1alpha1.AliasPods{},
		History: []v1alpha1.AliasRecord{{Version: "v1", Digest: builders.Digest, From: ptr.To(atSecond(0)), To: ptr.To(atSecond(60)), By: "bob@example.com"}},
	}
	promotedAgain := *promoted.DeepCopy()
	promotedAgain.Version, promotedAgain.Digest, promotedAgain.Image = "v1", builders.Digest, "modelhub/resnet:v1"
	promotedAgain.Since = ptr.To(atSecond(61))
	promotedAgain.History = append([]v1alpha1.AliasRecord{{Version: "v2", Digest: otherDigest, From: ptr.To(atSecond(60)), To: ptr.To(atSecond(61)), By: "ann@example.com"}}, promoted.History...)
	first := standsFor("v1", builders.Digest)
	first.Since, first.By = ptr.To(atSecond(60)), "ann@example.com"
	counted := standsFor("v1", builders.Digest)
	counted.Pods = &v1alpha1.AliasPods{Current: 3, Behind: 3}
	recreated := standsFor("v1", builders.Digest)
	recreated.VersionUID = "00000000-0000-4000-8000-000000000000"
	ofEarlierRelease := standsFor("v1", builders.Digest)
	ofEarlierRelease.VersionUID = ""
	rebuilt := standsFor("v1", otherDigest)
	rebuilt.Since, rebuilt.By = ptr.To(atSecond(60)), "ann@example.com"
	rebuilt.History = []v1alpha1.AliasRecord{{Version: "v1", Digest: builders.Digest, From: ptr.To(atSecond(0)), To: ptr.To(atSecond(60)), By: "bob@example.com"}}
	moved := standsFor("v1", builders.Digest)
	moved.Image = "pull.example.com/resnet:v1"

	for name, tt := range map[string]struct {
		model    *v1alpha1.Model
		versions []*v1alpha1.ModelVersion
		pods     map[string]int32
		want     v1alpha1.AliasStatus
	}{
		"a new alias": {
			model: aliasModel("v1"), versions: []*v1alpha1.ModelVersion{built("v1", builders.Digest).Obj()}, want: first,
		},
		"the same version": {
			model: aliasModel("v1", standsFor("v1", builders.Digest)), versions: []*v1alpha1.ModelVersion{built("v1", builders.Digest).Obj()},
			want: standsFor("v1", builders.Digest),
		},
		"the same version, which nodes pull from another host": {
			model: aliasModel("v1", standsFor("v1", builders.Digest)), versions: []*v1alpha1.ModelVersion{built("v1", builders.Digest).Built("pull.example.com/resnet:v1", builders.Digest).Obj()},
			want: moved,
		},
		"another version": {
			model: aliasModel("v2", standsFor("v1", builders.Digest)), versions: []*v1alpha1.ModelVersion{built("v2", otherDigest).Obj()}, want: promoted,
		},
		"another version in the same second": {
			model: aliasModel("v1", promoted), versions: []*v1alpha1.ModelVersion{built("v1", builders.Digest).Obj()}, want: promotedAgain,
		},
		"pods of this version and of others": {
			model: aliasModel("v1", standsFor("v1", builders.Digest)), versions: []*v1alpha1.ModelVersion{built("v1", builders.Digest).Obj()},
			pods: map[string]int32{builders.Digest: 3, otherDigest: 2, "": 1}, want: counted,
		},
		"a version that does not exist": {
			model: aliasModel("v2", standsFor("v1", builders.Digest)),
			want:  unresolved(standsFor("v1", builders.Digest), "ModelVersion v2 does not exist. To list those of the Model: "+list+". Until then the alias stands for v1"),
		},
		"a first version that does not exist": {
			model: aliasModel("v2"),
			want:  unresolved(v1alpha1.AliasStatus{Name: "production"}, "ModelVersion v2 does not exist. To list those of the Model: "+list+". Pods that serve the alias are rejected until then"),
		},
		"its own version, which was deleted": {
			model: aliasModel("v1", standsFor("v1", builders.Digest)),
			want:  unresolved(standsFor("v1", builders.Digest), "ModelVersion v1 does not exist. To list those of the Model: "+list+". Until then the alias stands for v1"),
		},
		"its own version, which was deleted and created again with another image": {
			model: aliasModel("v1", recreated), versions: []*v1alpha1.ModelVersion{built("v1", otherDigest).Obj()},
			want: unresolved(recreated, "ModelVersion v1 is not the one that was promoted, which was deleted. Promote another one, or remove the alias and add it again: kubectl edit mo -n team-a model1. Until then the alias stands for v1"),
		},
		"its own version, which was deleted and created again with the same image": {
			model: aliasModel("v1", recreated), versions: []*v1alpha1.ModelVersion{built("v1", builders.Digest).Obj()},
			want: standsFor("v1", builders.Digest),
		},
		"its own version, which was built again": {
			model: aliasModel("v1", standsFor("v1", builders.Digest)), versions: []*v1alpha1.ModelVersion{built("v1", otherDigest).Obj()}, want: rebuilt,
		},
		"a version whose UID was not recorded": {
			model: aliasModel("v1", ofEarlierRelease), versions: []*v1alpha1.ModelVersion{built("v1", builders.Digest).Obj()},
			want: standsFor("v1", builders.Digest),
		},
		"a version of another Model": {
			model: aliasModel("v2", standsFor("v1", builders.Digest)), versions: []*v1alpha1.ModelVersion{built("v2", otherDigest).Model("bert").Obj()},
			want: unresolved(standsFor("v1", builders.Digest), "ModelVersion v2 belongs to Model bert. To list those of this Model: "+list+". Until then the alias stands for v1"),
		},
		"a version that is being deleted": {
			model: aliasModel("v2", standsFor("v1", builders.Digest)), versions: []*v1alpha1.ModelVersion{built("v2", otherDigest).Deleting(builders.Epoch).Obj()},
			want: unresolved(standsFor("v1", builders.Digest), "ModelVersion v2 is being deleted. Promote another one: kubectl edit mo -n team-a model1. Until then the alias stands for v1"),
		},
		"a version that failed": {
			model: aliasModel("v2", standsFor("v1", builders.Digest)),
			versions: []*v1alpha1.ModelVersion{builders.MakeModelVersion("v2", "team-a").Status(v1alpha1.ModelVersionStatus{
				ImageBuildPhase: v1alpha1.ImageBuildFailed,
				Conditions:      []metav1.Condition{{Type: v1alpha1.ConditionReady, Reason: v1alpha1.ReasonSourceMissing}},
			}).Obj()},
			want: unresolved(standsFor("v1", builders.Digest), "ModelVersion v2 is not Ready (SourceMissing). To see why: kubectl describe mv -n team-a v2. Until then the alias stands for v1"),
		},
		"a version that has not started": {
			model: aliasModel("v2", standsFor("v1", builders.Digest)), versions: []*v1alpha1.ModelVersion{builders.MakeModelVersion("v2", "team-a").Obj()},
			want: unresolved(standsFor("v1", builders.Digest), "ModelVersion v2 is not Ready (its build has not started). To see why: kubectl describe mv -n team-a v2. Until then the alias stands for v1"),
		},
		"a version of KubeDL without a digest": {
			model: aliasModel("v2", standsFor("v1", builders.Digest)), versions: []*v1alpha1.ModelVersion{built("v2", "").Obj()},
			want: unresolved(standsFor("v1", builders.Digest), "KubeDL built ModelVersion v2 and did not record the digest of its image. Create a new ModelVersion. Until then the alias stands for v1"),
		},
		"a version that can be resolved again": {
			model: aliasModel("v1", unresolved(standsFor("v1", builders.Digest), "…")), versions: []*v1alpha1.ModelVersion{built("v1", builders.Digest).Obj()},
			want: standsFor("v1", builders.Digest),
		},
	} {
		t.Run(name, func(t *testing.T) {
			versions := map[string]*v1alpha1.ModelVersion{}
			for _, mv := range tt.versions {
				versions[mv.Name] = mv
			}
			before := tt.model.DeepCopy()
			got := lifecycle.NextAliases(lifecycle.ObservedAliases{Model: tt.model, Versions: versions, Pods: map[string]map[string]int32{"production": tt.pods}, Now: atSecond(60)}, workflow.Options{})
			assert.Equal(t, []v1alpha1.AliasStatus{tt.want}, got.Status)
			assert.Empty(t, got.Create)
			assert.Equal(t, before, tt.model, "the status is compared with the one before")
		})
	}
	t.Run("an alias that was removed", func(t *testing.T) {
		model := aliasModel("v1", standsFor("v1", builders.Digest))
		model.Spec.Aliases = nil
		assert.Empty(t, lifecycle.NextAliases(lifecycle.ObservedAliases{Model: model}, workflow.Options{}).Status)
	})
	t.Run("the history is bounded", func(t *testing.T) {
		model := aliasModel("v0")
		for i := range 30 {
			name := fmt.Sprintf("v%d", i)
			model.Spec.Aliases[0].Version = name
			versions := map[string]*v1alpha1.ModelVersion{name: built(name, fmt.Sprintf("sha256:%d", i)).Obj()}
			model.Status.Aliases = lifecycle.NextAliases(lifecycle.ObservedAliases{Model: model, Versions: versions, Now: atSecond(i)}, workflow.Options{}).Status
		}
		history := model.Status.Aliases[0].History
		assert.Len(t, history, 20)
		assert.Equal(t, [2]string{"v28", "v9"}, [2]string{history[0].Version, history[19].Version})
	})
}

func TestPromotedBy(t *testing.T) {
	for name, tt := range map[string]struct{ annotation, want string }{
		"a user":             {"ann@example.com", "ann@example.com"},
		"nobody":             {"", ""},
		"control characters": {"a\x1b[31m\nb", "a [31m b"},
		"a long name":        {strings.Repeat("é", 300), strings.Repeat("é", 255) + "…"},
	} {
		t.Run(name, func(t *testing.T) {
			model := aliasModel("v1")
			model.Annotations[v1alpha1.AnnotationPromotedBy+"production"] = tt.annotation
			assert.Equal(t, tt.want, lifecycle.PromotedBy(model, "production"))
			assert.Empty(t, lifecycle.PromotedBy(model, "canary"))
		})
	}
}
