package step

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"io"
	"os"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/layer"
	"github.com/modelkiln/modelkiln/internal/sourcepolicy"
	"github.com/modelkiln/modelkiln/internal/step/console"
	"github.com/modelkiln/modelkiln/internal/step/failure"
	"github.com/modelkiln/modelkiln/internal/step/handoff"
	"github.com/modelkiln/modelkiln/internal/step/remote"
	"github.com/modelkiln/modelkiln/internal/step/source"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
)

// storageKinds lists the kinds of storage for messages.
const storageKinds = contract.StorageLocal + ", " + contract.StorageNFS + ", " + contract.StorageClaim + ", " + contract.StorageS3 + ", " + contract.StorageHub + " or " + contract.StorageImage

// storageFlags are the flags of mount-check that say where the model's files are, which
// of them are packaged, and what the platform team allows.
type storageFlags struct {
	sourceFlags
	storageKind, storagePath, subPath string
	nfsServer, nfsPath                string
	endpoint                          string
	s3                                remote.S3
	hub                               remote.HuggingFace
	knownRevision                     string
	sourceSecret                      string
	imageDigest                       string
	hostPaths                         sourcepolicy.HostPathRules
	nfs                               sourcepolicy.NFSRules
	allowedS3, allowedHubs            []string
	mount, mountinfo                  string
	include, exclude                  []string
	followLinks                       bool
}

func (f *storageFlags) defineStorage(flags *flag.FlagSet) {
	f.defineSource(flags)
	flags.StringVar(&f.storageKind, "storage-kind", "", "the `kind` of storage: "+storageKinds)
	flags.StringVar(&f.storagePath, "storage-path", "", "for localStorage, the `directory` on the node")
	flags.StringVar(&f.subPath, "sub-path", "", "for persistentVolumeClaim, the `directory` in the claim; the whole claim if empty")
	flags.StringVar(&f.nfsServer, "nfs-server", "", "for nfs, the `server`")
	flags.StringVar(&f.nfsPath, "nfs-path", "", "for nfs, the `directory` that the server exports")
	flags.StringVar(&f.endpoint, "endpoint", "", fmt.Sprintf("for s3 and huggingFace, the `URL` of the server; %s or %s if empty", sourcepolicy.DefaultS3Endpoint, sourcepolicy.DefaultHuggingFaceEndpoint))
	flags.StringVar(&f.s3.Region, "region", "", "for s3, the `region` of the bucket; the server is asked for it if empty")
	flags.StringVar(&f.s3.Bucket, "bucket", "", "for s3, the `bucket`")
	flags.StringVar(&f.s3.Prefix, "prefix", "", "for s3, the `prefix` of the objects")
	flags.StringVar(&f.hub.Repo, "repo", "", "for huggingFace, the `repository`")
	flags.StringVar(&f.hub.Revision, "revision", "", "for huggingFace, the `branch`, tag or commit; main if empty")
	flags.StringVar(&f.knownRevision, "known-revision", "", "for huggingFace, the `commit` to which an earlier build of this ModelVersion resolved the revision")
	flags.StringVar(&f.sourceSecret, "source-secret", "", "for s3 and huggingFace, the `name` of the Secret with the credentials, which must exist; none if empty")
	flags.StringVar(&f.imageDigest, "image-digest", "", "for image, the `digest` that the tag must hold already")
	flags.Func("denied-paths", "the `directories` of nodes that are never packaged, in addition to system directories, separated by commas", list(&f.hostPaths.Denied))
	flags.Func("allowed-paths", "the only `directories` of nodes that may be packaged, separated by commas; all except system and denied directories if empty", list(&f.hostPaths.Allowed))
	flags.Func("bind-mounted-paths", "the `directories` of nodes that are bind mounts, as kind's extraMounts create them, separated by commas", list(&f.hostPaths.BindMounted))
	flags.Func("allowed-nfs", "the only NFS `servers`, or directories of servers as in nas.example.com:/models, that may be packaged, separated by commas; all if empty", list(&f.nfs.Allowed))
	flags.Func("allowed-s3", "the only `object stores`, buckets and prefixes, as in s3.amazonaws.com/models, that may be packaged, separated by commas; none if empty", list(&f.allowedS3))
	flags.Func("allowed-hugging-face", "the only `hubs`, organizations and repositories, as in huggingface.co/mistralai, that may be packaged, separated by commas; none if empty", list(&f.allowedHubs))
	flags.Func("include", "`patterns` of the files that are packaged, in the format of .gitignore, one a line; all if empty", lines(&f.include))
	flags.Func("exclude", "`patterns` of files and directories that are not packaged, in the format of .gitignore, one a line", lines(&f.exclude))
	flags.Func("symlinks", fmt.Sprintf("whether symbolic links are packaged as links or as what they lead to, `%s or %s`", v1alpha1.KeepSymlinks, v1alpha1.FollowSymlinks), choice(&f.followLinks, string(v1alpha1.KeepSymlinks), string(v1alpha1.FollowSymlinks)))
	flags.StringVar(&f.mount, "source", "/source", "the `directory` where the storage is mounted")
	flags.StringVar(&f.mountinfo, "mountinfo", "/proc/self/mountinfo", "the `file` that lists the mounts of this process")
}

// sourceFlags are the flags of the steps that read the model's files.
type sourceFlags struct{ sourceSecretDir string }

func (f *sourceFlags) defineSource(flags *flag.FlagSet) {
	flags.StringVar(&f.sourceSecretDir, "source-secret-dir", "/source-secret", "the `directory` where the Secret with the credentials for an object store or hub is mounted; without it, the identity of the service account is used, or none")
}

// opener opens the files that mount-check has checked.
func (f *sourceFlags) opener(plan handoff.Plan, caFile string) source.Opener {
	if plan.Remote == nil {
		return func(context.Context) (source.Files, error) { return plan.Storage.Open() }
	}
	r, access := *plan.Remote, f.access(*plan.Remote, caFile)
	return func(ctx context.Context) (source.Files, error) {
		files, err := remote.Open(ctx, &r.Location, access)
		if err != nil {
			return nil, err
		}
		return &source.Selected{Files: files, Patterns: &r.Patterns}, nil
	}
}

// access returns what it takes to read storage that is not mounted. The authorities of
// private registries are trusted for it, too.
func (f *sourceFlags) access(r handoff.Remote, caFile string) remote.Access {
	return remote.Access{
		S3Rules: sourcepolicy.S3Rules{Allowed: r.AllowedS3}, HFRules: sourcepolicy.HuggingFaceRules{Allowed: r.AllowedHuggingFace},
		SecretDir: f.sourceSecretDir, CAFile: caFile, UserAgent: "modelkiln-step",
	}
}

// checkStorage checks that the requested storage may be packaged and, if it is mounted,
// that it is what is mounted. The plan it returns names the storage only. An image that
// exists already needs no such check.
func (f *storageFlags) checkStorage(log io.Writer) (handoff.Plan, error) {
	patterns := layer.Patterns{Include: f.include, Exclude: f.exclude}
	mounted := source.Storage{Mount: f.mount, SubPath: f.subPath, Patterns: patterns, FollowLinks: f.followLinks}
	switch f.storageKind {
	case contract.StorageClaim:
		mounted.Name = "the claim"
		if f.subPath != "" {
			mounted.Name = fmt.Sprintf("the sub-path %s of the claim", f.subPath)
		}
		return handoff.Plan{Storage: mounted}, nil
	case contract.StorageNFS:
		mounted.Name = fmt.Sprintf("the path %s of the NFS server %s", f.nfsPath, f.nfsServer)
		return handoff.Plan{Storage: mounted}, forbidden(f.nfs.Check(f.nfsServer, f.nfsPath))
	case contract.StorageLocal:
		mounted.Name = fmt.Sprintf("the path %s on the node", f.storagePath)
		return handoff.Plan{Storage: mounted}, f.checkHostPath(mounted, log)
	case contract.StorageS3, contract.StorageHub:
		r, err := f.checkRemote(patterns)
		return handoff.Plan{Remote: r}, err
	case contract.StorageImage:
		return handoff.Plan{}, nil
	default:
		return handoff.Plan{}, failure.New(v1alpha1.ReasonStorageKindUnsupported, "the storage kind %q is not supported: use %s", f.storageKind, storageKinds)
	}
}

// forbidden returns the error of a rule as a failure, or nil.
func forbidden(err error) error {
	if err == nil {
		return nil
	}
	return failure.New(v1alpha1.ReasonSourceForbidden, "%v", err)
}

// checkHostPath checks that the mounted directory of the node is the requested
// one, and that it may be packaged.
func (f *storageFlags) checkHostPath(storage source.Storage, log io.Writer) error {
	mounts, err := os.ReadFile(f.mountinfo)
	if err != nil {
		return fmt.Errorf("read the mounts: %w", err)
	}
	if err := f.hostPaths.CheckMounted(string(mounts), f.mount, f.storagePath); err != nil {
		return forbidden(err)
	}
	console.Logf(log, "%s is mounted", storage.Name)
	return nil
}

// checkRemote checks that the location may be packaged, and that the Secret for it
// exists.
func (f *storageFlags) checkRemote(patterns layer.Patterns) (*handoff.Remote, error) {
	r := &handoff.Remote{Patterns: patterns, AllowedS3: f.allowedS3, AllowedHuggingFace: f.allowedHubs}
	var err error
	if f.storageKind == contract.StorageS3 {
		s3 := f.s3
		s3.Endpoint, r.Location.S3 = f.endpoint, &s3
		err = sourcepolicy.S3Rules{Allowed: f.allowedS3}.Check(cmp.Or(f.endpoint, sourcepolicy.DefaultS3Endpoint), s3.Bucket, s3.Prefix)
	} else {
		hub := f.hub
		hub.Endpoint, hub.Revision, r.Location.HuggingFace = f.endpoint, cmp.Or(f.knownRevision, hub.Revision), &hub
		err = sourcepolicy.HuggingFaceRules{Allowed: f.allowedHubs}.Check(cmp.Or(f.endpoint, sourcepolicy.DefaultHuggingFaceEndpoint), hub.Repo)
	}
	if err != nil {
		return nil, failure.New(v1alpha1.ReasonSourceForbidden, "%v. The list of the build is that of the template (--allowed-s3, --allowed-hugging-face)", err)
	}
	if keys, err := os.ReadDir(f.sourceSecretDir); f.sourceSecret != "" && (err != nil || len(keys) == 0) {
		return nil, failure.New(v1alpha1.ReasonSourceUnauthorized, "Secret %s, which has the credentials for %s, does not exist or is empty: create it in the namespace of the ModelVersion", f.sourceSecret, r.Location.Source())
	}
	return r, nil
}

// isMounted reports whether kubelet mounts the storage.
func (f *storageFlags) isMounted() bool {
	return f.storageKind != contract.StorageS3 && f.storageKind != contract.StorageHub && f.storageKind != contract.StorageImage
}

// openStorage opens the storage for the first time.
func (f *storageFlags) openStorage(ctx context.Context, plan *handoff.Plan, caFile string) (source.Files, error) {
	if plan.Remote == nil {
		return plan.Storage.Check()
	}
	// The later steps open the commit to which this resolves the revision, and use the
	// patterns that it finds.
	files, err := remote.Open(ctx, &plan.Remote.Location, f.access(*plan.Remote, caFile))
	if err != nil {
		return nil, err
	}
	return &source.Selected{Files: files, Patterns: &plan.Remote.Patterns, FindsPatterns: true}, nil
}
