package translate

import (
	"fmt"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
)

// Problem is why a version cannot be built as it is: a reason of the API and
// one sentence.
type Problem struct {
	Reason  string
	Message string
}

// Error is the sentence.
func (p *Problem) Error() string { return p.Message }

// storageArguments is what a storage kind adds to a build's arguments, and the
// node that it binds the build to (empty when any will do). It is total: a
// kind that cannot be built from gives a Problem.
func storageArguments(s v1alpha1.Storage, opts Options) (args map[string]string, nodeName string, problem *Problem) {
	switch {
	case s.LocalStorage != nil:
		return localStorageArguments(*s.LocalStorage, opts)
	case s.PersistentVolumeClaim != nil:
		return map[string]string{
			ParamStorageKind: "persistentVolumeClaim",
			ParamClaimName:   s.PersistentVolumeClaim.ClaimName,
			ParamSubPath:     s.PersistentVolumeClaim.SubPath,
		}, "", nil
	case s.NFS != nil:
		return nil, "", unsupported("nfs")
	case s.AWSEfs != nil:
		return nil, "", unsupported("AWSEfs")
	default:
		return nil, "", &Problem{v1alpha1.ReasonInvalidSpec, "storage names no kind: create a new ModelVersion with one of localStorage, nfs, AWSEfs or persistentVolumeClaim"}
	}
}

func localStorageArguments(s v1alpha1.LocalStorage, opts Options) (map[string]string, string, *Problem) {
	if s.Path == "" || s.NodeName == "" {
		return nil, "", &Problem{v1alpha1.ReasonInvalidSpec, "localStorage needs path and nodeName: create a new ModelVersion that names the folder and the node whose disk holds it"}
	}
	if err := opts.HostPaths.Check(s.Path); err != nil {
		return nil, "", &Problem{v1alpha1.ReasonSourceForbidden, err.Error()}
	}
	return map[string]string{
		ParamStorageKind: "localStorage",
		ParamStoragePath: s.Path,
		ParamNodeName:    s.NodeName,
	}, s.NodeName, nil
}

func unsupported(kind string) *Problem {
	return &Problem{v1alpha1.ReasonStorageKindUnsupported, fmt.Sprintf("Storage kind %s is not supported yet: use localStorage or persistentVolumeClaim", kind)}
}
