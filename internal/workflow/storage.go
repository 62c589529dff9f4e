package workflow

import (
	"cmp"
	"regexp"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/sourcepolicy"
	"github.com/modelkiln/modelkiln/internal/text"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
)

// A source is what a kind of storage adds to a build.
type source struct {
	// arguments locate the files, by parameter name. They do not depend
	// on the operator's options.
	arguments map[string]string
	// volume is what the operator creates before the build, or nil.
	volume *Volume
	// problem is why the files may not be packaged, or nil. It does not say where to
	// correct the storage, which may be part of a ModelVersion or of a workload.
	problem *Problem
}

// sourceOf returns what a ModelVersion's storage adds to its build. A kind of
// storage is a case here, a function below, and a branch in the template.
func sourceOf(mv *v1alpha1.ModelVersion, opts Options) source {
	s := mv.Spec.Storage
	switch {
	case s.LocalStorage != nil:
		return localStorage(*s.LocalStorage, mv.Status.NodeName, opts)
	case s.NFS != nil:
		return nfsExport(*s.NFS, opts)
	case s.AWSEfs != nil:
		return elasticFileSystem(mv, *s.AWSEfs, opts)
	case s.PersistentVolumeClaim != nil:
		return claim(*s.PersistentVolumeClaim)
	case s.S3 != nil:
		return objectStore(*s.S3, opts)
	case s.HuggingFace != nil:
		return hub(*s.HuggingFace, opts)
	case s.Image != nil:
		return existingImage(mv)
	default:
		return source{problem: &Problem{v1alpha1.ReasonInvalidSpec, "storage names no kind: set one of localStorage, nfs, AWSEfs, persistentVolumeClaim, s3, huggingFace or image"}}
	}
}

// StorageVolume returns the storage that the operator creates before a
// ModelVersion's build, or nil.
func StorageVolume(mv *v1alpha1.ModelVersion, opts Options) *Volume {
	return sourceOf(mv, opts).volume
}

// TrainingProblem returns why a ModelVersion's storage may not be mounted for
// training, or nil.
func TrainingProblem(mv *v1alpha1.ModelVersion, opts Options) *Problem {
	return ofVersion(StorageProblem(mv, opts))
}

// StorageProblem returns what TrainingProblem does for a ModelVersion that does not
// exist yet, so that its storage can be corrected. A training may write to a directory
// of no particular node, although it cannot be packaged from there.
func StorageProblem(mv *v1alpha1.ModelVersion, opts Options) *Problem {
	if dir := mv.Spec.Storage.LocalStorage; dir != nil && dir.Path != "" && dir.NodeName == "" {
		return forbidden(opts.HostPaths.Check(dir.Path))
	}
	return sourceOf(mv, opts).problem
}

// ofVersion returns the Problem of a storage, if any, for a ModelVersion, whose storage
// is immutable.
func ofVersion(problem *Problem) *Problem {
	if problem == nil {
		return nil
	}
	return &Problem{problem.Reason, problem.Message + ". The storage of a ModelVersion cannot be changed: create a new ModelVersion"}
}

// NeedsChiefNode reports whether the files are on a node that the spec does not
// name: the one on which the chief of the training ran.
func NeedsChiefNode(mv *v1alpha1.ModelVersion) bool {
	dir := mv.Spec.Storage.LocalStorage
	return dir != nil && dir.NodeName == "" && mv.Spec.TrainedBy != nil
}

// LacksChiefNode reports whether that node is not known yet.
func LacksChiefNode(mv *v1alpha1.ModelVersion) bool {
	return NeedsChiefNode(mv) && mv.Status.NodeName == ""
}

// localStorage is a directory on a node, which the pod mounts directly. Where
// the spec names no node, it is the one that was found.
func localStorage(s v1alpha1.LocalStorage, found string, opts Options) source {
	s.NodeName = cmp.Or(s.NodeName, found)
	return source{
		arguments: map[string]string{
			contract.ParamStorageKind: contract.StorageLocal,
			contract.ParamStoragePath: s.Path,
			contract.ParamNodeName:    s.NodeName,
		},
		problem: problemOf(s.Path != "" && s.NodeName != "", "localStorage needs path and nodeName: name the directory and the node that has it", opts.HostPaths.Check(s.Path)),
	}
}

// nfsExport is a directory of an NFS server, which the pod mounts directly.
func nfsExport(s v1alpha1.NFS, opts Options) source {
	return source{
		arguments: map[string]string{
			contract.ParamStorageKind: contract.StorageNFS,
			contract.ParamNFSServer:   s.Server,
			contract.ParamNFSPath:     s.Path,
		},
		problem: problemOf(s.Server != "" && s.Path != "", "nfs needs server and path: name the NFS server and the directory that it exports", opts.NFS.Check(s.Server, s.Path)),
	}
}

// elasticFileSystem is an AWS Elastic File System, which the pod reaches
// through a claim that the operator creates.
func elasticFileSystem(mv *v1alpha1.ModelVersion, s v1alpha1.AWSEfs, opts Options) source {
	volume := efsVolume(mv, s, opts)
	return source{
		arguments: map[string]string{
			contract.ParamStorageKind: contract.StorageClaim,
			contract.ParamClaimName:   volume.Claim.Name,
		},
		volume:  volume,
		problem: problemOf(s.VolumeHandle != "", "AWSEfs needs volumeHandle: name the file system, for example fs-12345678", opts.EFS.Check(s.VolumeHandle, attributes(s))),
	}
}

// claim is a claim in the ModelVersion's namespace, which the pod mounts.
func claim(s v1alpha1.PersistentVolumeClaim) source {
	return source{
		arguments: map[string]string{
			contract.ParamStorageKind: contract.StorageClaim,
			contract.ParamClaimName:   s.ClaimName,
			contract.ParamSubPath:     s.SubPath,
		},
		problem: problemOf(s.ClaimName != "", "persistentVolumeClaim needs claimName: name the claim that holds the files", nil),
	}
}

// objectStore is a prefix of a bucket, which the steps read themselves.
func objectStore(s v1alpha1.S3, opts Options) source {
	return source{
		arguments: map[string]string{
			contract.ParamStorageKind:  contract.StorageS3,
			contract.ParamEndpoint:     s.Endpoint,
			contract.ParamRegion:       s.Region,
			contract.ParamBucket:       s.Bucket,
			contract.ParamPrefix:       s.Prefix,
			contract.ParamSourceSecret: s.CredentialsSecretName,
		},
		problem: problemOf(s.Bucket != "" && s.Prefix != "", "s3 needs bucket and prefix: name the bucket and the prefix of the model's objects", opts.S3.Check(cmp.Or(s.Endpoint, sourcepolicy.DefaultS3Endpoint), s.Bucket, s.Prefix)),
	}
}

// hub is a repository of a hub, which the steps read themselves.
func hub(s v1alpha1.HuggingFace, opts Options) source {
	return source{
		arguments: map[string]string{
			contract.ParamStorageKind:  contract.StorageHub,
			contract.ParamEndpoint:     s.Endpoint,
			contract.ParamRepo:         s.Repo,
			contract.ParamRevision:     s.Revision,
			contract.ParamSourceSecret: s.TokenSecretName,
		},
		problem: problemOf(s.Repo != "", "huggingFace needs repo: name the repository, for example mistralai/Mistral-7B-v0.3", opts.HuggingFace.Check(cmp.Or(s.Endpoint, sourcepolicy.DefaultHuggingFaceEndpoint), s.Repo)),
	}
}

// imageDigest matches the digests that storage.image can name.
var imageDigest = regexp.MustCompile(`\Asha256:[0-9a-f]{64}\z`)

// existingImage is the image that the tag holds already.
func existingImage(mv *v1alpha1.ModelVersion) source {
	digest := mv.Spec.Storage.Image.Digest
	return source{
		arguments: map[string]string{
			contract.ParamStorageKind: contract.StorageImage,
			contract.ParamImageDigest: digest,
		},
		problem: problemOf(imageDigest.MatchString(digest) && mv.Spec.ImageTag != "", "image needs digest, and spec.imageTag: name the tag that holds the image, and the digest that crane digest IMAGE prints", nil),
	}
}

// problemOf returns the Problem of storage that lacks fields, or that a rule excludes, or
// nil.
func problemOf(isComplete bool, needs string, why error) *Problem {
	if !isComplete {
		return &Problem{v1alpha1.ReasonInvalidSpec, needs}
	}
	return forbidden(why)
}

// forbidden returns the Problem of files that the platform team's rules exclude, or nil.
// The rules repeat names, which the API server has not checked if they are from the
// template of a workload.
func forbidden(why error) *Problem {
	if why == nil {
		return nil
	}
	return &Problem{v1alpha1.ReasonSourceForbidden, text.Printable(why.Error())}
}
