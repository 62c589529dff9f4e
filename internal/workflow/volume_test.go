package workflow_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/config"
	"github.com/modelkiln/modelkiln/internal/sourcepolicy"
	"github.com/modelkiln/modelkiln/internal/workflow"
	"github.com/modelkiln/modelkiln/test/builders"
	"github.com/modelkiln/modelkiln/test/golden"
)

// newVolume returns the storage that the operator creates for a ModelVersion.
func newVolume(t *testing.T, mv *v1alpha1.ModelVersion, opts workflow.Options) *workflow.Volume {
	t.Helper()
	_, problem := workflow.New(mv, workflow.Attempt{Number: 1}, opts)
	require.Nil(t, problem)
	return workflow.StorageVolume(mv, opts)
}

// Each ModelVersion in testdata/workflow that needs a volume has the claim and the
// PersistentVolume that the operator creates next to it.
func TestVolumeGolden(t *testing.T) {
	created := 0
	for name, file := range golden.Cases(t, "workflow", ".modelversion.yaml") {
		t.Run(name, func(t *testing.T) {
			var mv v1alpha1.ModelVersion
			golden.ReadYAML(t, file, &mv)
			volume := newVolume(t, &mv, loadOptions(t, golden.Beside(file, ".modelversion.yaml", ".config.yaml")))
			assert.Equal(t, mv.Spec.Storage.AWSEfs != nil, volume != nil, "only AWSEfs needs a volume")
			if volume == nil {
				return
			}
			created++
			golden.AssertYAML(t, strings.Replace(file, ".modelversion.", ".claim.", 1), volume.Claim)
			golden.AssertYAML(t, strings.Replace(file, ".modelversion.", ".volume.", 1), volume.Persistent)
		})
	}
	assert.Positive(t, created)
}

func TestVolumeIsReadOnlyByDefault(t *testing.T) {
	opts := config.Default().Options()
	for writable, want := range map[bool][]string{false: {"ro"}, true: nil} {
		opts.EFS = sourcepolicy.EFSRules{Allowed: []string{"fs-12345678"}, Writable: writable}
		volume := newVolume(t, builders.MakeModelVersion("resnet", "team-a").AWSEfs("fs-12345678").Obj(), opts)
		assert.Equal(t, want, volume.Persistent.Spec.MountOptions)
	}
}

func TestVolumeNameIsUnique(t *testing.T) {
	opts := config.Default().Options()
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
		volume := newVolume(t, mv.AWSEfs("fs-12345678").Obj(), opts)
		assert.False(t, seen[volume.Claim.Name], "%s is used twice", volume.Claim.Name)
		seen[volume.Claim.Name] = true
		assert.Equal(t, volume.Claim.Name, volume.Persistent.Name)
		assert.Equal(t, workflow.VolumeName(mv.Obj()), volume.Claim.Name)
		assert.Empty(t, validation.IsDNS1123Label(volume.Claim.Name))
		for key, value := range volume.Claim.Labels {
			assert.Empty(t, validation.IsValidLabelValue(value), key)
		}
	}
}

// An existing PersistentVolume binds, is deleted as left over, or blocks the claim.
func TestVolumeExists(t *testing.T) {
	opts := config.Default().Options()
	opts.EFS = sourcepolicy.EFSRules{Allowed: []string{"fs-12345678"}}
	mv := builders.MakeModelVersion("mv-3", "default").AWSEfs("fs-12345678").Obj()
	const claimUID, anotherUID types.UID = "0a1b2c3d-4e5f-4a6b-8c7d-9e0f1a2b3c4d", "11111111-4e5f-4a6b-8c7d-9e0f1a2b3c4d"
	for name, tc := range map[string]struct {
		claim                     types.UID
		edit                      func(*corev1.PersistentVolume)
		wantBinds, wantIsLeftOver bool
	}{
		"binds before the claim exists":                  {"", func(*corev1.PersistentVolume) {}, true, false},
		"binds when it is not bound":                     {claimUID, func(*corev1.PersistentVolume) {}, true, false},
		"binds when it is bound to the claim":            {claimUID, func(v *corev1.PersistentVolume) { v.Spec.ClaimRef.UID = claimUID }, true, false},
		"is left over when it is bound to another claim": {claimUID, func(v *corev1.PersistentVolume) { v.Spec.ClaimRef.UID = anotherUID }, false, true},
		"is left over when its claim is gone":            {"", func(v *corev1.PersistentVolume) { v.Spec.ClaimRef.UID = anotherUID }, false, true},
		"is left over when a user removed its claimRef":  {claimUID, func(v *corev1.PersistentVolume) { v.Spec.ClaimRef = nil }, false, true},
		"blocks while it is being deleted":               {claimUID, func(v *corev1.PersistentVolume) { v.DeletionTimestamp = &mv.CreationTimestamp }, false, false},
		"blocks when another ModelVersion owns it":       {claimUID, func(v *corev1.PersistentVolume) { v.Labels = nil }, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			volume := newVolume(t, mv, opts)
			existing, wanted := volume.Persistent.DeepCopy(), volume.For(tc.claim)
			tc.edit(existing)
			assert.Equal(t, tc.wantBinds, workflow.Binds(existing, wanted))
			assert.Equal(t, tc.wantIsLeftOver, workflow.IsLeftOver(existing, wanted))
			assert.Empty(t, volume.Persistent.Spec.ClaimRef.UID, "the wanted volume is not changed")
		})
	}
}
