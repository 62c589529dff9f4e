package translate

import "github.com/modelkiln/modelkiln/api/v1alpha1"

// Latest is the newest version, by creation, whose image was built, or nil
// when there is none. Versions that run, failed or are being deleted do not
// count, so that the answer never points to an image that does not exist. Two
// versions of the same second are ordered by name, so that the answer does not
// depend on the list's order.
func Latest(versions []v1alpha1.ModelVersion) *v1alpha1.LatestVersion {
	var latest *v1alpha1.ModelVersion
	for i := range versions {
		mv := &versions[i]
		built := mv.Status.ImageBuildPhase == v1alpha1.ImageBuildSucceeded
		if built && mv.DeletionTimestamp.IsZero() && (latest == nil || newer(mv, latest)) {
			latest = mv
		}
	}
	if latest == nil {
		return nil
	}
	return &v1alpha1.LatestVersion{
		ModelVersion: latest.Name,
		ImageName:    latest.Status.Image,
		Digest:       latest.Status.Digest,
	}
}

func newer(a, b *v1alpha1.ModelVersion) bool {
	if a.CreationTimestamp.Equal(&b.CreationTimestamp) {
		return a.Name > b.Name
	}
	return b.CreationTimestamp.Before(&a.CreationTimestamp)
}
