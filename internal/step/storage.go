package step

import (
	"flag"
	"fmt"
	"io"
	"os"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/sourcepolicy"
	"github.com/modelkiln/modelkiln/internal/step/console"
	"github.com/modelkiln/modelkiln/internal/step/failure"
	"github.com/modelkiln/modelkiln/internal/step/source"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
)

// storageFlags are the flags of mount-check that say where the model's files are, which
// of them are packaged, and what the platform team allows.
type storageFlags struct {
	storageKind, storagePath, subPath string
	nfsServer, nfsPath                string
	hostPaths                         sourcepolicy.HostPathRules
	nfs                               sourcepolicy.NFSRules
	mount, mountinfo                  string
	include, exclude                  []string
	followLinks                       bool
}

func (f *storageFlags) defineStorage(flags *flag.FlagSet) {
	flags.StringVar(&f.storageKind, "storage-kind", "", fmt.Sprintf("the `kind` of storage: %s, %s or %s", contract.StorageLocal, contract.StorageNFS, contract.StorageClaim))
	flags.StringVar(&f.storagePath, "storage-path", "", "for localStorage, the `directory` on the node")
	flags.StringVar(&f.subPath, "sub-path", "", "for persistentVolumeClaim, the `directory` in the claim; the whole claim if empty")
	flags.StringVar(&f.nfsServer, "nfs-server", "", "for nfs, the `server`")
	flags.StringVar(&f.nfsPath, "nfs-path", "", "for nfs, the `directory` that the server exports")
	flags.Func("denied-paths", "the `directories` of nodes that are never packaged, in addition to system directories, separated by commas", list(&f.hostPaths.Denied))
	flags.Func("allowed-paths", "the only `directories` of nodes that may be packaged, separated by commas; all except system and denied directories if empty", list(&f.hostPaths.Allowed))
	flags.Func("bind-mounted-paths", "the `directories` of nodes that are bind mounts, as kind's extraMounts create them, separated by commas", list(&f.hostPaths.BindMounted))
	flags.Func("allowed-nfs", "the only NFS `servers`, or directories of servers as in nas.example.com:/models, that may be packaged, separated by commas; all if empty", list(&f.nfs.Allowed))
	flags.Func("include", "`patterns` of the files that are packaged, in the format of .gitignore, one a line; all if empty", lines(&f.include))
	flags.Func("exclude", "`patterns` of files and directories that are not packaged, in the format of .gitignore, one a line", lines(&f.exclude))
	flags.Func("symlinks", fmt.Sprintf("whether symbolic links are packaged as links or as what they lead to, `%s or %s`", v1alpha1.KeepSymlinks, v1alpha1.FollowSymlinks), choice(&f.followLinks, string(v1alpha1.KeepSymlinks), string(v1alpha1.FollowSymlinks)))
	flags.StringVar(&f.mount, "source", "/source", "the `directory` where the storage is mounted")
	flags.StringVar(&f.mountinfo, "mountinfo", "/proc/self/mountinfo", "the `file` that lists the mounts of this process")
}

// checkStorage checks that the mounted storage is the requested one, and that it
// may be packaged.
func (f *storageFlags) checkStorage(log io.Writer) (source.Storage, error) {
	storage := source.Storage{Mount: f.mount, SubPath: f.subPath}
	switch f.storageKind {
	case contract.StorageClaim:
		storage.Name = "the claim"
		if f.subPath != "" {
			storage.Name = fmt.Sprintf("the sub-path %s of the claim", f.subPath)
		}
		return storage, nil
	case contract.StorageNFS:
		storage.Name = fmt.Sprintf("the path %s of the NFS server %s", f.nfsPath, f.nfsServer)
		if err := f.nfs.Check(f.nfsServer, f.nfsPath); err != nil {
			return storage, failure.New(v1alpha1.ReasonSourceForbidden, "%v", err)
		}
		return storage, nil
	case contract.StorageLocal:
		storage.Name = fmt.Sprintf("the path %s on the node", f.storagePath)
		return storage, f.checkHostPath(storage, log)
	default:
		return storage, failure.New(v1alpha1.ReasonStorageKindUnsupported, "the storage kind %q is not supported: use %s, %s or %s", f.storageKind, contract.StorageLocal, contract.StorageNFS, contract.StorageClaim)
	}
}

// checkHostPath checks that the mounted directory of the node is the requested
// one, and that it may be packaged.
func (f *storageFlags) checkHostPath(storage source.Storage, log io.Writer) error {
	mounts, err := os.ReadFile(f.mountinfo)
	if err != nil {
		return fmt.Errorf("read the mounts: %w", err)
	}
	if err := f.hostPaths.CheckMounted(string(mounts), f.mount, f.storagePath); err != nil {
		return failure.New(v1alpha1.ReasonSourceForbidden, "%v", err)
	}
	console.Logf(log, "%s is mounted", storage.Name)
	return nil
}
