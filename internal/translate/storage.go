package translate

import (
	"cmp"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
)

// Problem is why a version cannot be built as it is: a reason of the API and
// one sentence.
type Problem struct {
	Reason  string
	Message string
}

// source is what a kind of storage adds to a build.
type source struct {
	// arguments are the build's arguments that say where the files lie, by
	// parameter name. They do not depend on the operator's options.
	arguments map[string]string
	// volume is what the operator has to make before the build, or nil.
	volume *Volume
	// problem is why the files may not be packaged, or nil.
	problem *Problem
}

// sourceOf is what a version's storage adds to its build. A kind of storage is a
// case here, a function below, and a branch in the template.
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
	default:
		return source{problem: &Problem{v1alpha1.ReasonInvalidSpec, "storage names no kind: create a new ModelVersion with one of localStorage, nfs, AWSEfs or persistentVolumeClaim"}}
	}
}

// localStorage is a folder on a node, which the pod mounts itself. Where the
// spec names no node, it is the one that was found.
func localStorage(s v1alpha1.LocalStorage, chosen string, opts Options) source {
	s.NodeName = cmp.Or(s.NodeName, chosen)
	found := source{arguments: map[string]string{
		contract.ParamStorageKind: contract.StorageLocal,
		contract.ParamStoragePath: s.Path,
		contract.ParamNodeName:    s.NodeName,
	}}
	if s.Path == "" || s.NodeName == "" {
		found.problem = &Problem{v1alpha1.ReasonInvalidSpec, "localStorage needs path and nodeName: create a new ModelVersion that names the folder and the node whose disk holds it"}
	} else {
		found.problem = folderProblem(s.Path, opts)
	}
	return found
}

// folderProblem is why a folder of a node may not be mounted, or nil.
func folderProblem(path string, opts Options) *Problem {
	if err := opts.HostPaths.Check(path); err != nil {
		return forbidden(err)
	}
	return nil
}

// nfsExport is a folder of an NFS server, which the pod mounts itself.
func nfsExport(s v1alpha1.NFS, opts Options) source {
	found := source{arguments: map[string]string{
		contract.ParamStorageKind: contract.StorageNFS,
		contract.ParamNFSServer:   s.Server,
		contract.ParamNFSPath:     s.Path,
	}}
	if s.Server == "" || s.Path == "" {
		found.problem = &Problem{v1alpha1.ReasonInvalidSpec, "nfs needs server and path: create a new ModelVersion that names the NFS server and the folder that it exports"}
	} else if err := opts.NFS.Check(s.Server, s.Path); err != nil {
		found.problem = forbidden(err)
	}
	return found
}

// elasticFileSystem is one of AWS's, which the pod reaches through a claim that
// the operator makes.
func elasticFileSystem(mv *v1alpha1.ModelVersion, s v1alpha1.AWSEfs, opts Options) source {
	volume := efsVolume(mv, s, opts)
	found := source{volume: volume, arguments: map[string]string{
		contract.ParamStorageKind: contract.StorageClaim,
		contract.ParamClaimName:   volume.Claim.Name,
	}}
	if s.VolumeHandle == "" {
		found.problem = &Problem{v1alpha1.ReasonInvalidSpec, "AWSEfs needs volumeHandle: create a new ModelVersion that names the file system, as in fs-12345678"}
	} else if err := opts.EFS.Check(s.VolumeHandle, attributes(s)); err != nil {
		found.problem = forbidden(err)
	}
	return found
}

// claim is a claim of the version's namespace, which the pod mounts.
func claim(s v1alpha1.PersistentVolumeClaim) source {
	found := source{arguments: map[string]string{
		contract.ParamStorageKind: contract.StorageClaim,
		contract.ParamClaimName:   s.ClaimName,
		contract.ParamSubPath:     s.SubPath,
	}}
	if s.ClaimName == "" {
		found.problem = &Problem{v1alpha1.ReasonInvalidSpec, "persistentVolumeClaim needs claimName: create a new ModelVersion that names the claim that holds the files"}
	}
	return found
}

// forbidden is the problem of files that a rule does not let be packaged.
func forbidden(why error) *Problem {
	return &Problem{v1alpha1.ReasonSourceForbidden, why.Error() + ". Create a new ModelVersion for files in another place"}
}
