package step

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/layer"
	"github.com/modelkiln/modelkiln/internal/registry"
	"github.com/modelkiln/modelkiln/internal/report"
	"github.com/modelkiln/modelkiln/internal/sourcepolicy"
	"github.com/modelkiln/modelkiln/internal/step/failure"
	"github.com/modelkiln/modelkiln/internal/step/source"
)

// Kinds of storage, as the workflow's parameter names them.
const (
	kindLocal = "localStorage"
	kindNFS   = "nfs"
	kindClaim = "persistentVolumeClaim"
)

// mountCheck is the first step: it finds out everything that can stop a build
// before anything is copied, and plans the rest.
type mountCheck struct {
	*places
	registryFlags
	storageKind, storagePath, subPath string
	nfsServer, nfsPath                string
	hostPaths                         sourcepolicy.HostPathRules
	nfs                               sourcepolicy.NFSRules
	baseImage                         string
	pushSecretRequired                bool
	engine                            string
	limits                            layer.Limits
	workflowUID, modelVersionUID      string
	mount, mountinfo, program         string
}

func defineMountCheck(flags *flag.FlagSet, at *places) action {
	m := &mountCheck{places: at, limits: layer.Limits{Size: layer.DefaultSize}}
	m.defineRegistry(flags)
	flags.StringVar(&m.storageKind, "storage-kind", "", kindLocal+", "+kindNFS+" or "+kindClaim)
	flags.StringVar(&m.storagePath, "storage-path", "", "for localStorage, the `folder` on the node")
	flags.StringVar(&m.subPath, "sub-path", "", "the `folder` within the volume; empty is all of it")
	flags.StringVar(&m.nfsServer, "nfs-server", "", "for nfs, the `server`")
	flags.StringVar(&m.nfsPath, "nfs-path", "", "for nfs, the `folder` that the server exports")
	flags.Func("denied-paths", "further `folders` of the node that are never packaged, separated by commas", list(&m.hostPaths.Denied))
	flags.Func("allowed-paths", "the only `folders` of the node that are packaged, separated by commas; empty is every one that is not denied", list(&m.hostPaths.Allowed))
	flags.Func("bind-mounted-paths", "`folders` of the node that are bind mounts of folders elsewhere, separated by commas", list(&m.hostPaths.BindMounted))
	flags.Func("allowed-nfs", "the only `servers` and folders of NFS servers that are packaged, separated by commas; empty is every one", list(&m.nfs.Allowed))
	flags.StringVar(&m.baseImage, "base-image", "", "the image to put the model on, or scratch")
	flags.Func("push-secret-required", "`true` when the push secret must exist", boolean(&m.pushSecretRequired))
	flags.StringVar(&m.engine, "engine", string(v1alpha1.Kaniko), string(v1alpha1.Kaniko)+" or "+string(v1alpha1.Stream))
	flags.Func("layer-size", "the `size` from which a file has a layer of its own, and that smaller ones are put together to, as in 64Mi", m.layerSize)
	flags.IntVar(&m.limits.Layers, "max-layers", layer.DefaultLayers, "the largest `number` of layers for the model")
	flags.StringVar(&m.workflowUID, "workflow-uid", "", "the UID of the Workflow")
	flags.StringVar(&m.modelVersionUID, "model-version-uid", "", "the UID of the ModelVersion, if there is one")
	flags.StringVar(&m.mount, "source", "/source", "the `folder` where the storage is mounted")
	flags.StringVar(&m.mountinfo, "mountinfo", "/proc/self/mountinfo", "the `file` with this process's mounts")
	flags.StringVar(&m.program, "program", "", "the `file` to run in the builder's container; empty is this program")
	return m.run
}

func (m *mountCheck) run(ctx context.Context, out io.Writer) error {
	err := m.check(ctx, out)
	var unreadable *failure.Error
	if m.streams() && errors.As(err, &unreadable) && unreadable.Reason == v1alpha1.ReasonSourceUnreadable {
		return failure.New(unreadable.Reason, "%s; the engine Stream is not root: let everyone read it, or build with the engine Kaniko", unreadable.Sentence).Because(unreadable.Cause)
	}
	return err
}

// layerSize reads the size of layers.
func (m *mountCheck) layerSize(value string) error {
	quantity, err := resource.ParseQuantity(value)
	if err != nil || quantity.Value() < layer.MinSize {
		return errors.New("write a size of 1Mi or more, as in 64Mi")
	}
	m.limits.Size = quantity.Value()
	return nil
}

// streams says that the image is made without Kaniko, and without root.
func (m *mountCheck) streams() bool { return m.engine == string(v1alpha1.Stream) }

func (m *mountCheck) check(ctx context.Context, out io.Writer) error {
	// What another run has left, as a failure that was retried, is not ours.
	err := report.Write(m.shared, report.Report{Run: report.Run{
		WorkflowUID: m.workflowUID, ModelVersionUID: m.modelVersionUID, Image: m.image,
	}})
	if err != nil {
		return err
	}
	if err := m.installProgram(); err != nil {
		return err
	}
	storage, err := m.checkStorage(out)
	if err != nil {
		return err
	}
	config, err := m.checkSecret(out)
	if err != nil {
		return err
	}
	tag, err := config.Tag(m.image)
	if err != nil {
		return failure.New(v1alpha1.ReasonInvalidSpec, "the image cannot be pushed: %v", err)
	}
	root, err := storage.Check()
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }()
	plan, err := makePlan(ctx, root, storage, out)
	if err != nil {
		return err
	}
	found := sourceReport(plan)
	if err := addToReport(m.shared, func(r *report.Report) { r.Source = found }); err != nil {
		return err
	}
	held, err := tagCheck{
		config: config, tag: tag, versionUID: m.modelVersionUID, plan: plan, root: root, out: out, anySize: m.streams(),
	}.run(ctx)
	if err != nil {
		return err
	}
	work := job{Storage: storage, Plan: plan}
	if held.Digest != "" {
		found.AlreadyPushed, found.Layers = true, len(held.Layers)
	} else {
		if err := m.putOnBase(ctx, config, &work, out); err != nil {
			return err
		}
		found.Layers = len(work.Plan.Layers)
	}
	if err := m.leave(work, held); err != nil {
		return err
	}
	return addToReport(m.shared, func(r *report.Report) { r.Source = found })
}

// putOnBase finds the base image, and makes do with the layers that it leaves
// to the model.
func (m *mountCheck) putOnBase(ctx context.Context, config registry.Config, work *job, out io.Writer) error {
	base, err := findBase(ctx, config, m.baseImage)
	if err != nil {
		return err
	}
	limits := m.limits
	limits.Layers = max(1, min(limits.Layers, layer.Budget(base.Layers)))
	work.Base, work.Plan = base, work.Plan.WithLimits(limits)
	say(out, "the base image is %s, of %d layers; the model has %d", base.Reference, base.Layers, len(work.Plan.Layers))
	return nil
}

// leave leaves for the later steps what they work by.
func (m *mountCheck) leave(work job, held expected) error {
	if err := writeExpected(m.shared, held); err != nil {
		return err
	}
	return writeJSON(filepath.Join(m.shared, jobFile), work)
}

// installProgram puts this program where the builder's container, whose image
// does not have it, can run it. Stream's has it.
func (m *mountCheck) installProgram() error {
	if m.streams() {
		return nil
	}
	from := m.program
	if from == "" {
		self, err := os.Executable()
		if err != nil {
			return fmt.Errorf("find this program: %w", err)
		}
		from = self
	}
	if err := copyProgram(from, filepath.Join(m.shared, programFile)); err != nil {
		return fmt.Errorf("put this program on the shared volume: %w", err)
	}
	return nil
}

func copyProgram(from, to string) error {
	program, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { _ = program.Close() }()
	installed, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(installed, program)
	return errors.Join(err, installed.Chmod(0o755), installed.Close())
}

// checkStorage checks that what is mounted is what was asked for.
func (m *mountCheck) checkStorage(out io.Writer) (source.Storage, error) {
	storage := source.Storage{Mount: m.mount, SubPath: m.subPath}
	switch m.storageKind {
	case kindClaim:
		storage.Name = "the claim"
		if m.subPath != "" {
			storage.Name = fmt.Sprintf("the sub-path %s of the claim", m.subPath)
		}
		return storage, nil
	case kindNFS:
		storage.Name = fmt.Sprintf("the path %s of the NFS server %s", m.nfsPath, m.nfsServer)
		if err := m.nfs.Check(m.nfsServer, m.nfsPath); err != nil {
			return storage, failure.New(v1alpha1.ReasonSourceForbidden, "%v", err)
		}
		return storage, nil
	case kindLocal:
		storage.Name = fmt.Sprintf("the path %s on the node", m.storagePath)
		return storage, m.checkHostPath(storage, out)
	default:
		return storage, failure.New(v1alpha1.ReasonStorageKindUnsupported, "the storage kind %q is not supported: use %s, %s or %s", m.storageKind, kindLocal, kindNFS, kindClaim)
	}
}

// checkHostPath checks that the folder of the node that is mounted is the one
// that was asked for, and may be packaged.
func (m *mountCheck) checkHostPath(storage source.Storage, out io.Writer) error {
	mounts, err := os.ReadFile(m.mountinfo)
	if err != nil {
		return fmt.Errorf("read what is mounted: %w", err)
	}
	if err := m.hostPaths.CheckMounted(string(mounts), m.mount, m.storagePath); err != nil {
		return failure.New(v1alpha1.ReasonSourceForbidden, "%v", err)
	}
	say(out, "%s is what is mounted", storage.Name)
	return nil
}

// checkSecret checks that the push credentials are there if they have to be.
func (m *mountCheck) checkSecret(out io.Writer) (registry.Config, error) {
	config, err := m.config()
	if err != nil {
		return config, err
	}
	_, err = os.Stat(m.credentialsFile())
	switch {
	case err == nil:
		say(out, "the push credentials are those of %s", m.account())
	case !errors.Is(err, fs.ErrNotExist):
		return config, fmt.Errorf("find the push credentials: %w", err)
	case m.pushSecretRequired:
		return config, failure.New(v1alpha1.ReasonPushSecretMissing, "there is no %s of type kubernetes.io/dockerconfigjson in this namespace: make it with %s", m.account(), secretCommand(m.pushSecret))
	default:
		say(out, "there is no %s, so the push is anonymous", m.account())
	}
	return config, nil
}

// makePlan lists the model's folder, plans its layers and checks that all of
// the model is there.
func makePlan(ctx context.Context, root *os.Root, storage source.Storage, out io.Writer) (layer.Plan, error) {
	found, err := source.List(ctx, root)
	if err != nil {
		return layer.Plan{}, err
	}
	plan, err := layer.NewPlan(found)
	if errors.Is(err, layer.ErrEmpty) {
		return layer.Plan{}, failure.New(v1alpha1.ReasonSourceEmpty, "%s holds no file: put the model there, or name the folder where it is", storage.Name)
	}
	if err != nil {
		return layer.Plan{}, failure.New(v1alpha1.ReasonSourceUnsafe, "%s holds something that cannot be packaged: %v", storage.Name, err)
	}
	say(out, "%s holds %d files, %s", storage.Name, plan.Files, size(plan.Bytes))
	if plan.Skipped > 0 {
		say(out, "%d things without content are left out: sockets, pipes, devices, a lost+found", plan.Skipped)
	}
	if err := source.CheckComplete(ctx, root, plan); err != nil {
		return layer.Plan{}, err
	}
	say(out, "no file is known to be missing or cut short")
	return plan, nil
}

func sourceReport(plan layer.Plan) *report.Source {
	return &report.Source{Files: plan.Files, Bytes: plan.Bytes, Layers: len(plan.Layers), Skipped: plan.Skipped}
}
