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

// kindLocalStorage is the storage kind of a folder on a node.
const kindLocalStorage = "localStorage"

// storageArguments is what a storage kind adds to a build's arguments. A kind
// that cannot be built from adds nothing.
func storageArguments(s v1alpha1.Storage) map[string]string {
	switch {
	case s.LocalStorage != nil:
		return map[string]string{
			ParamStorageKind: kindLocalStorage,
			ParamStoragePath: s.LocalStorage.Path,
			ParamNodeName:    s.LocalStorage.NodeName,
		}
	case s.PersistentVolumeClaim != nil:
		return map[string]string{
			ParamStorageKind: "persistentVolumeClaim",
			ParamClaimName:   s.PersistentVolumeClaim.ClaimName,
			ParamSubPath:     s.PersistentVolumeClaim.SubPath,
		}
	default:
		return nil
	}
}

// storageProblem is why a version cannot be built from its storage, or nil.
func storageProblem(s v1alpha1.Storage, opts Options) *Problem {
	switch {
	case s.LocalStorage != nil:
		return localStorageProblem(*s.LocalStorage, opts)
	case s.PersistentVolumeClaim != nil:
		return nil
	case s.NFS != nil:
		return unsupported("nfs")
	case s.AWSEfs != nil:
		return unsupported("AWSEfs")
	default:
		return &Problem{v1alpha1.ReasonInvalidSpec, "storage names no kind: create a new ModelVersion with one of localStorage, nfs, AWSEfs or persistentVolumeClaim"}
	}
}

func localStorageProblem(s v1alpha1.LocalStorage, opts Options) *Problem {
	if s.Path == "" || s.NodeName == "" {
		return &Problem{v1alpha1.ReasonInvalidSpec, "localStorage needs path and nodeName: create a new ModelVersion that names the folder and the node whose disk holds it"}
	}
	if err := opts.HostPaths.Check(s.Path); err != nil {
		return &Problem{v1alpha1.ReasonSourceForbidden, err.Error() + ". Create a new ModelVersion for files in another folder"}
	}
	return nil
}

func unsupported(kind string) *Problem {
	return &Problem{v1alpha1.ReasonStorageKindUnsupported, fmt.Sprintf("Storage kind %s is not supported yet: create a new ModelVersion with localStorage or persistentVolumeClaim", kind)}
}
