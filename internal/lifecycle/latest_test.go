package lifecycle_test

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/lifecycle"
	"github.com/modelkiln/modelkiln/test/builders"
)

func TestLatest(t *testing.T) {
	version := func(name string, minute int) *builders.ModelVersionWrapper {
		return builders.MakeModelVersion(name, "default").Created(builders.Epoch.Add(time.Duration(minute) * time.Minute))
	}
	built := func(name string, minute int) *builders.ModelVersionWrapper {
		return version(name, minute).Built("modelhub/resnet:"+name, builders.Digest)
	}
	latest := func(name string) *v1alpha1.LatestVersion {
		return &v1alpha1.LatestVersion{ModelVersion: name, ImageName: "modelhub/resnet:" + name, Digest: builders.Digest}
	}

	for name, tc := range map[string]struct {
		versions []*builders.ModelVersionWrapper
		want     *v1alpha1.LatestVersion
	}{
		"no versions": {nil, nil},
		"none built": {
			[]*builders.ModelVersionWrapper{version("a", 0), version("b", 1).Phase(v1alpha1.ImageBuilding), version("c", 2).Phase(v1alpha1.ImageBuildFailed)}, nil,
		},
		"newest by creation": {
			[]*builders.ModelVersionWrapper{built("a", 0), built("b", 2), built("c", 1)}, latest("b"),
		},
		"newer one building": {
			[]*builders.ModelVersionWrapper{built("a", 0), version("b", 1).Phase(v1alpha1.ImageBuilding)}, latest("a"),
		},
		"newer one failed": {
			[]*builders.ModelVersionWrapper{built("a", 0), version("b", 1).Phase(v1alpha1.ImageBuildFailed)}, latest("a"),
		},
		"newer one being deleted": {
			[]*builders.ModelVersionWrapper{built("a", 0), built("b", 1).Deleting(builders.Epoch)}, latest("a"),
		},
		"older one built later": {
			[]*builders.ModelVersionWrapper{built("new", 1), built("old", 0)}, latest("new"),
		},
		"last by name in the same second": {
			[]*builders.ModelVersionWrapper{built("b", 0), built("a", 0), built("c", 0).Phase(v1alpha1.ImageBuildFailed)}, latest("b"),
		},
		"built by KubeDL, without a digest": {
			[]*builders.ModelVersionWrapper{version("kubedl", 0).Built("modelhub/resnet:v1c072", "")},
			&v1alpha1.LatestVersion{ModelVersion: "kubedl", ImageName: "modelhub/resnet:v1c072"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var versions []v1alpha1.ModelVersion
			for _, w := range tc.versions {
				versions = append(versions, *w.Obj())
			}
			assert.Equal(t, tc.want, lifecycle.Latest(versions))

			slices.Reverse(versions)
			assert.Equal(t, tc.want, lifecycle.Latest(versions), "the order of the list does not matter")
		})
	}
}

func TestLatestAfterDeletion(t *testing.T) {
	old := builders.MakeModelVersion("old", "default").Built("modelhub/resnet:old", builders.Digest).Obj()
	newer := builders.MakeModelVersion("new", "default").Created(builders.Epoch.Add(time.Hour)).Built("modelhub/resnet:new", builders.Digest).Obj()

	before := lifecycle.Latest([]v1alpha1.ModelVersion{*old, *newer})
	after := lifecycle.Latest([]v1alpha1.ModelVersion{*old})

	assert.Equal(t, "new", before.ModelVersion)
	assert.Equal(t, "old", after.ModelVersion)
}
