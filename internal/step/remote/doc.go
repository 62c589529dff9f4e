// Package remote reads models that are not mounted: objects of a store that has the API
// of Amazon S3, and repositories of a hub that has the API of Hugging Face. It streams
// them, so that a build needs no disk.
//
// A file is read as parts, several at once, and a part whose connection was cut is
// resumed where it ended. Each request names the version of the file that was listed, by
// the commit of a repository, or by the ETag or the time of an object; another version is
// a failure with the reason SourceChanging. In a bucket with versioning, all parts of an
// object must also have one version ID. Sums that the store lists are compared with
// what was read.
//
// A build contacts only hosts that the rules of internal/sourcepolicy allow, redirects
// included, and the token service of the cloud whose identity the pod has. A host whose
// address is that of a metadata service of a cloud is refused.
package remote
