package translate_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/sourcepolicy"
	"github.com/modelkiln/modelkiln/internal/translate"
	"github.com/modelkiln/modelkiln/test/builders"
)

// volumeOf is the storage that the operator makes for a version.
func volumeOf(t *testing.T, mv *v1alpha1.ModelVersion, opts translate.Options) *translate.Volume {
	t.Helper()
	step := translate.NextStep(translate.Observed{Version: mv, TemplateFound: true, TemplateMarked: true}, opts)
	require.NotNil(t, step.Create, step.Status.Message)
	return step.Volume
}

// What the operator makes for a version in testdata/workflow is beside it.
func TestAVersionBringsItsVolume(t *testing.T) {
	made := 0
	for name, file := range cases(t, "workflow", ".modelversion.yaml") {
		t.Run(name, func(t *testing.T) {
			var mv v1alpha1.ModelVersion
			read(t, file, &mv)
			volume := volumeOf(t, &mv, configured(t, file))
			assert.Equal(t, mv.Spec.Storage.AWSEfs != nil, volume != nil, "all other storage is there already")
			if volume == nil {
				return
			}
			made++
			golden(t, strings.Replace(file, ".modelversion.", ".claim.", 1), volume.Claim)
			golden(t, strings.Replace(file, ".modelversion.", ".volume.", 1), volume.Persistent)
		})
	}
	assert.Positive(t, made)
}

func TestAnElasticFileSystemIsWrittenToOnlyWhereThatIsAllowed(t *testing.T) {
	opts := options
	for writable, want := range map[bool][]string{false: {"ro"}, true: nil} {
		opts.EFS = sourcepolicy.EFSRules{Allowed: []string{"fs-12345678"}, Writable: writable}
		volume := volumeOf(t, builders.MakeModelVersion("resnet", "team-a").AWSEfs("fs-12345678").Obj(), opts)
		assert.Equal(t, want, volume.Persistent.Spec.MountOptions)
	}
}

func TestNoTwoVersionsShareAVolume(t *testing.T) {
	opts := options
	opts.EFS = sourcepolicy.EFSRules{Allowed: []string{"fs-12345678"}}
	long := strings.Repeat("a", 253)
	seen := map[string]bool{}
	for _, mv := range []*builders.ModelVersionWrapper{
		builders.MakeModelVersion("resnet", "team-a"),
		builders.MakeModelVersion("resnet", "team-b"),
		builders.MakeModelVersion("a-resnet", "team"),
		builders.MakeModelVersion("resnet", "team-a").UID("7f3a91c2-4d5e-4b6a-8c7d-9e0f1a2b3c4d"),
		builders.MakeModelVersion(long, "team-a"),
		builders.MakeModelVersion(long[1:], "team-a"),
	} {
		volume := volumeOf(t, mv.AWSEfs("fs-12345678").Obj(), opts)
		assert.False(t, seen[volume.Claim.Name], "%s is another's too", volume.Claim.Name)
		seen[volume.Claim.Name] = true
		assert.Equal(t, volume.Claim.Name, volume.Persistent.Name)
		assert.Equal(t, translate.VolumeName(mv.Obj()), volume.Claim.Name)
		assert.Empty(t, validation.IsDNS1123Label(volume.Claim.Name))
		for key, value := range volume.Claim.Labels {
			assert.Empty(t, validation.IsValidLabelValue(value), key)
		}
	}
}

// What is there already is taken, is in the way, or is deleted.
func TestAPersistentVolumeThatIsThere(t *testing.T) {
	opts := options
	opts.EFS = sourcepolicy.EFSRules{Allowed: []string{"fs-12345678"}}
	mv := builders.MakeModelVersion("mv-3", "default").AWSEfs("fs-12345678").Obj()
	const claim, another types.UID = "0a1b2c3d-4e5f-4a6b-8c7d-9e0f1a2b3c4d", "11111111-4e5f-4a6b-8c7d-9e0f1a2b3c4d"
	for name, tc := range map[string]struct {
		wantedFor                 types.UID
		edit                      func(*corev1.PersistentVolume)
		wantBinds, wantIsLeftOver bool
	}{
		"is taken before the claim is there":                   {"", func(*corev1.PersistentVolume) {}, true, false},
		"is taken before it is bound":                          {claim, func(*corev1.PersistentVolume) {}, true, false},
		"is taken when it is bound":                            {claim, func(v *corev1.PersistentVolume) { v.Spec.ClaimRef.UID = claim }, true, false},
		"is deleted when the claim is another":                 {claim, func(v *corev1.PersistentVolume) { v.Spec.ClaimRef.UID = another }, false, true},
		"is deleted when its claim is gone":                    {"", func(v *corev1.PersistentVolume) { v.Spec.ClaimRef.UID = another }, false, true},
		"is deleted when a person has taken the claim from it": {claim, func(v *corev1.PersistentVolume) { v.Spec.ClaimRef = nil }, false, true},
		"is in the way while it is being deleted":              {claim, func(v *corev1.PersistentVolume) { v.DeletionTimestamp = &mv.CreationTimestamp }, false, false},
		"is in the way when it is another version's":           {claim, func(v *corev1.PersistentVolume) { v.Labels = nil }, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			volume := volumeOf(t, mv, opts)
			there, wanted := volume.Persistent.DeepCopy(), volume.For(tc.wantedFor)
			tc.edit(there)
			assert.Equal(t, tc.wantBinds, translate.Binds(there, wanted))
			assert.Equal(t, tc.wantIsLeftOver, translate.IsLeftOver(there, wanted))
			assert.Empty(t, volume.Persistent.Spec.ClaimRef.UID, "what was asked for stays as it is")
		})
	}
}
