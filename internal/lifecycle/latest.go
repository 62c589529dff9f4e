package lifecycle

import "github.com/modelkiln/modelkiln/api/v1alpha1"

// Latest returns what a Model's status says about its latest version, or nil when
// there is none.
func Latest(versions []v1alpha1.ModelVersion) *v1alpha1.LatestVersion {
	latest := latestOf(versions)
	if latest == nil {
		return nil
	}
	return &v1alpha1.LatestVersion{
		ModelVersion: latest.Name,
		ImageName:    latest.Status.Image,
		Digest:       latest.Status.Digest,
	}
}

// latestOf returns the newest ModelVersion, by creation, whose image was built, or
// nil when there is none. ModelVersions that are being built, failed or are
// being deleted do not count, so that the result never names an image that does
// not exist. Two that were created in the same second are ordered by name, so
// that the result does not depend on the order of the list.
func latestOf(versions []v1alpha1.ModelVersion) *v1alpha1.ModelVersion {
	var latest *v1alpha1.ModelVersion
	for i := range versions {
		mv := &versions[i]
		built := mv.Status.ImageBuildPhase == v1alpha1.ImageBuildSucceeded
		if built && mv.DeletionTimestamp.IsZero() && (latest == nil || isNewer(mv, latest)) {
			latest = mv
		}
	}
	return latest
}

func isNewer(a, b *v1alpha1.ModelVersion) bool {
	if a.CreationTimestamp.Equal(&b.CreationTimestamp) {
		return a.Name > b.Name
	}
	return b.CreationTimestamp.Before(&a.CreationTimestamp)
}
