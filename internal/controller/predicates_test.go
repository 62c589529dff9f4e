package controller

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/test/builders"
)

func TestCanBeLatest(t *testing.T) {
	building := func() *builders.ModelVersionWrapper {
		return builders.MakeModelVersion("resnet-1", "team").Phase(v1alpha1.ImageBuilding)
	}
	built := func() *builders.ModelVersionWrapper {
		return builders.MakeModelVersion("resnet-1", "team").Built("modelhub/resnet:v1", builders.Digest)
	}
	for name, tc := range map[string]struct {
		before, after client.Object
		want          bool
	}{
		"becomes Ready":         {building().Obj(), built().Obj(), true},
		"another image":         {built().Obj(), builders.MakeModelVersion("resnet-1", "team").Built("modelhub/resnet:v1", "sha256:0e5a").Obj(), true},
		"is being deleted":      {built().Obj(), built().Deleting(builders.Epoch).Obj(), true},
		"a new message":         {built().Obj(), built().Rebuild("1").Obj(), false},
		"a build goes on":       {building().Obj(), building().Rebuild("1").Obj(), false},
		"a build that failed":   {building().Obj(), builders.MakeModelVersion("resnet-1", "team").Phase(v1alpha1.ImageBuildFailed).Obj(), false},
		"a failed one is built": {builders.MakeModelVersion("resnet-1", "team").Phase(v1alpha1.ImageBuildFailed).Obj(), built().Obj(), true},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, tc.want, canBeLatest().Update(event.UpdateEvent{ObjectOld: tc.before, ObjectNew: tc.after}))
		})
	}
	assert.True(t, canBeLatest().Create(event.CreateEvent{Object: built().Obj()}))
	assert.False(t, canBeLatest().Create(event.CreateEvent{Object: building().Obj()}))
	assert.True(t, canBeLatest().Delete(event.DeleteEvent{Object: built().Obj()}))
	assert.False(t, canBeLatest().Delete(event.DeleteEvent{Object: building().Obj()}))
}
