package registries

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/report"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
	"github.com/modelkiln/modelkiln/test/registries/content"
)

// pod is what the steps of one build share: the directories that the template of
// the engine Stream mounts, and its parameters.
type pod struct {
	// dir has a directory for each volume of the pod.
	dir string
	// model is the directory with the model's files.
	model string
	// registry is the host and port of the registry to push to.
	registry             string
	repository, tag, uid string
	// version is the name of the ModelVersion, and known the digest that an earlier
	// attempt reported.
	version, known           string
	baseImage, previousImage string
	// engine is what mount-check is for, and buildEngine that of the build step.
	engine, buildEngine v1alpha1.BuildEngine
	compression         v1alpha1.Compression
	changeDetection     v1alpha1.ChangeDetection
	pushSecretRequired  bool
	// storage is where the model is stored; nil if its directory is mounted. secretDir has
	// the Secret for it.
	storage   storage
	secretDir string
	// signingDir has the Secret with the signing key; empty is none. workflowUID is in
	// provenances.
	signingDir, workflowUID string
	// encrypted is whether the registry is accessed over HTTPS.
	encrypted bool
}

// layerSize is the size from which a file has a layer of its own: less than the
// default, so that images are small.
const layerSize = 4 << 20

// newPod returns the pod of a build that pushes to a registry. The model is empty.
func newPod(t *testing.T, registry string) *pod {
	t.Helper()
	p := &pod{
		dir: tempDir(t), model: tempDir(t), registry: registry, repository: "models/resnet", tag: "v1", uid: "7d2c1c07-2f0e-4d4f-8d54-3f1a1c1f0a52", version: "resnet-v1", workflowUID: "wf-1",
		baseImage: "scratch", engine: v1alpha1.Stream, buildEngine: v1alpha1.Stream, compression: v1alpha1.NoCompression, changeDetection: v1alpha1.ChangesInContent,
	}
	for _, mount := range []string{"kiln", "push-secret", "registry-ca"} {
		require.NoError(t, os.Mkdir(p.path(mount), 0o755))
	}
	return p
}

// setEngine has all steps be those of an engine.
func (p *pod) setEngine(engine v1alpha1.BuildEngine) {
	p.engine, p.buildEngine = engine, engine
	if engine == v1alpha1.Kaniko {
		p.compression = v1alpha1.Zstd
	}
}

// next returns the pod of another ModelVersion with the same model, which knows
// this one's image.
func (p *pod) next(t *testing.T) *pod {
	t.Helper()
	following := newPod(t, p.registry)
	following.tag, following.version, following.uid = "v2", "resnet-v2", "another"
	following.compression, following.changeDetection = p.compression, p.changeDetection
	following.previousImage, following.model = p.registry+"/"+p.repository+"@"+content.Digest(t, p.image()), p.model
	return following
}

func (p *pod) path(name string) string { return filepath.Join(p.dir, name) }

// source returns the path of a file of the model.
func (p *pod) source(name string) string { return filepath.Join(p.model, name) }

func (p *pod) image() string { return p.registry + "/" + p.repository + ":" + p.tag }

// write writes a file of the model.
func (p *pod) write(t *testing.T, name, text string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(p.source(name)), 0o755))
	require.NoError(t, os.WriteFile(p.source(name), []byte(text), 0o644))
}

// writePushSecret puts a Secret with the registry's password where the pod mounts it.
func (p *pod) writePushSecret(t *testing.T, password string) {
	t.Helper()
	auth := base64.StdEncoding.EncodeToString([]byte(registryUser + ":" + password))
	require.NoError(t, os.WriteFile(p.path("push-secret/config.json"), fmt.Appendf(nil, `{"auths":{%q:{"auth":%q}}}`, p.registry, auth), 0o600))
}

// steps are the commands of the pod's containers, in their order.
var steps = []string{contract.StepMountCheck, contract.StepBuild, contract.StepStatusReport}

// command returns the process of a step, with the arguments that the template
// gives it.
func (p *pod) command(t *testing.T, step string) *exec.Cmd {
	t.Helper()
	args := []string{
		step, "--shared=" + p.path("kiln"), "--termination-log=" + p.path("termination-log"), "--image=" + p.image(),
		"--push-secret=regcred", "--push-secret-dir=" + p.path("push-secret"), "--registry-ca=" + p.path("registry-ca/ca.crt"),
		"--model-version-uid=" + p.uid,
	}
	if !p.encrypted {
		args = append(args, "--plain-http="+p.registry)
	}
	switch step {
	case contract.StepMountCheck:
		args = append(args, "--model=resnet", "--model-version="+p.version, "--known-digest="+p.known, "--engine="+string(p.engine),
			"--base-image="+p.baseImage, fmt.Sprintf("--push-secret-required=%t", p.pushSecretRequired), fmt.Sprintf("--layer-size=%d", layerSize), "--workflow-uid="+p.workflowUID)
		args = append(args, p.storageArguments()...)
	case contract.StepBuild:
		args = append(args, "--base-image="+p.baseImage, "--model=resnet", "--model-version="+p.version, "--created-by=user1", "--compression="+string(p.compression), "--source-secret-dir="+p.secretDir)
		if p.buildEngine == v1alpha1.Kaniko {
			return p.kanikoContainer(t, append([]string{p.path("kiln/modelkiln-step")}, args...))
		}
		args[0] = "stream"
		args = append(args, "--previous-image="+p.previousImage, "--change-detection="+string(p.changeDetection))
	case contract.StepStatusReport:
		args = append(args, "--signing-secret=modelkiln-signing", "--signing-secret-dir="+p.signingDir, "--namespace=default", "--workflow-name=resnet-v1-1", "--workflow-uid="+p.workflowUID)
	}
	return exec.CommandContext(t.Context(), program("modelkiln-step"), args...)
}

// storageArguments returns the arguments that say where the model is.
func (p *pod) storageArguments() []string {
	if p.storage == nil {
		return directoryStorage{}.arguments(p)
	}
	return p.storage.arguments(p)
}

// run runs a step to its end and returns its exit code and log.
func (p *pod) run(t *testing.T, step string) (code int, log string) {
	t.Helper()
	command := p.command(t, step)
	var out bytes.Buffer
	command.Stdout, command.Stderr = &out, &out
	err := command.Run()
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		require.NoError(t, err)
	}
	return command.ProcessState.ExitCode(), out.String()
}

// runAll runs the steps one after the other up to one that fails, as Argo does,
// and returns the report and the logs.
func (p *pod) runAll(t *testing.T) (left report.Report, logs string) {
	t.Helper()
	for _, step := range steps {
		code, log := p.run(t, step)
		logs += log
		left = p.report(t)
		if code != 0 {
			require.NotNil(t, left.Failure, logs)
			assert.Equal(t, 1, code, logs)
			assert.Equal(t, step, left.Failure.Step, logs)
			return left, logs
		}
	}
	assert.Nil(t, left.Failure, logs)
	return left, logs
}

func (p *pod) report(t *testing.T) report.Report {
	t.Helper()
	left, err := report.Read(p.path("kiln"))
	require.NoError(t, err)
	return left
}

// builds runs the steps, all of which must succeed, and checks that the image
// holds the model.
func (p *pod) builds(t *testing.T) (report.Report, content.Image) {
	t.Helper()
	left, logs := p.runAll(t)
	require.Nil(t, left.Failure, logs)
	image := content.OfImage(t, p.image())
	assert.Equal(t, content.OfDirectory(t, p.model), image.Model)
	assert.Equal(t, image.Digest, left.Image.Digest)
	return left, image
}

// fails runs the steps, of which this one must fail for this reason, and returns the
// failure.
func (p *pod) fails(t *testing.T, step, reason string) report.Failure {
	t.Helper()
	left, logs := p.runAll(t)
	require.NotNil(t, left.Failure, logs)
	assert.Equal(t, step, left.Failure.Step, logs)
	assert.Equal(t, reason, left.Failure.Reason, left.Failure.Message)
	return *left.Failure
}

// pushImage pushes an image of one random layer, over plain HTTP unless the registry
// has HTTPS.
func pushImage(t *testing.T, reference string, config v1.Config, options ...remote.Option) {
	t.Helper()
	image, err := random.Image(1000, 1)
	require.NoError(t, err)
	image, err = mutate.Config(image, config)
	require.NoError(t, err)
	ref, err := name.ParseReference(reference, name.Insecure)
	require.NoError(t, err)
	require.NoError(t, remote.Write(ref, image, append(options, remote.WithContext(t.Context()))...))
}
