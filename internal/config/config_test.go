package config_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/config"
	"github.com/modelkiln/modelkiln/internal/inject"
	"github.com/modelkiln/modelkiln/internal/sourcepolicy"
	"github.com/modelkiln/modelkiln/internal/workflow"
	"github.com/modelkiln/modelkiln/internal/workload"
)

// load writes a configuration file and loads it.
func load(t *testing.T, text string) (config.Config, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "config.yaml")
	require.NoError(t, os.WriteFile(file, []byte(text), 0o644))
	return config.Load(file)
}

func TestLoad(t *testing.T) {
	t.Run("without a file returns the defaults", func(t *testing.T) {
		got, err := config.Load("")
		require.NoError(t, err)
		assert.Equal(t, config.Default(), got)
	})
	for name, text := range map[string]string{
		"an empty file":          "",
		"only comments":          "# nothing\n",
		"an empty document":      "{}",
		"null instead of a list": "registries: null",
	} {
		t.Run("returns the defaults for "+name, func(t *testing.T) {
			got, err := load(t, text)
			require.NoError(t, err)
			assert.Equal(t, config.Default(), got)
		})
	}
	t.Run("fails if the file does not exist", func(t *testing.T) {
		_, err := config.Load(filepath.Join(t.TempDir(), "none.yaml"))
		require.ErrorIs(t, err, os.ErrNotExist)
	})
	t.Run("reports all problems at once", func(t *testing.T) {
		_, err := load(t, "defaultRegistry: a b\nregistries: [{host: c d}]\nallowedHostPaths: [e]\nallowedNFS: [f g]\nallowedEFS: [h i]\ndeadlineSeconds: 0")
		for _, want := range []string{`"a b"`, `"c d"`, `"e"`, `"f g"`, `"h i"`, "deadlineSeconds"} {
			require.ErrorContains(t, err, want)
		}
	})
	t.Run("suggests the new names of renamed fields", func(t *testing.T) {
		_, err := load(t, "succeededHistory: 1\nfailedHistory: 2")
		require.ErrorContains(t, err, "failedHistory was renamed to failedWorkflowsHistoryLimit")
		require.ErrorContains(t, err, "succeededHistory was renamed to successfulWorkflowsHistoryLimit")
	})
	for _, host := range []string{"localhost", "registry:5000", "registry.example.com", "Registry.Example.com:443", "10.0.0.7:5000"} {
		t.Run("accepts the registry host "+host, func(t *testing.T) {
			_, err := load(t, "defaultRegistry: "+host)
			require.NoError(t, err)
		})
	}
}

func TestLoadOverridesDefaults(t *testing.T) {
	got, err := load(t, `
defaultRegistry: registry.example.com:5000
baseImage: registry.example.com/busybox:1.37.0
workflowTemplate: our-build
deadlineSeconds: 60
requests:
  cpu: "2"
limits:
  ephemeral-storage: 60Gi
`)
	require.NoError(t, err)
	opts := got.Options()
	assert.Equal(t, "registry.example.com:5000", opts.DefaultRegistry)
	assert.Equal(t, "registry.example.com/busybox:1.37.0", opts.BaseImage)
	assert.Equal(t, "our-build", opts.WorkflowTemplate)
	assert.EqualValues(t, 60, opts.DeadlineSeconds)
	assertQuantities(t, map[corev1.ResourceName]string{"cpu": "2", "memory": "256Mi"}, opts.Requests)
	assertQuantities(t, map[corev1.ResourceName]string{"ephemeral-storage": "60Gi", "memory": "1Gi"}, opts.Limits)
	assertQuantities(t, map[corev1.ResourceName]string{"cpu": "500m", "memory": "256Mi"}, config.Default().Requests)
}

func assertQuantities(t *testing.T, want map[corev1.ResourceName]string, got map[corev1.ResourceName]resource.Quantity) {
	t.Helper()
	formatted := map[corev1.ResourceName]string{}
	for name, quantity := range got {
		formatted[name] = quantity.String()
	}
	assert.Equal(t, want, formatted)
}

func TestLoadRejects(t *testing.T) {
	for name, tc := range map[string]struct{ text, want string }{
		"an unknown field":                      {"alowedHostPaths: [/models]", `unknown field "alowedHostPaths"`},
		"an unknown field of a registry":        {"registries: [{host: registry.example.com, insecure: true}]", `unknown field "insecure"`},
		"a duplicate field":                     {"baseImage: a\nbaseImage: b", `key "baseImage" already set`},
		"malformed YAML":                        {"{", "parse configuration"},
		"a string instead of a list":            {"deniedHostPaths: /models", "parse configuration"},
		"a default registry with a scheme":      {"defaultRegistry: https://registry.example.com", `defaultRegistry "https://registry.example.com" is not a registry host`},
		"a default registry with a path":        {"defaultRegistry: registry.example.com/team", "is not a registry host"},
		"a default registry with a space":       {`defaultRegistry: "registry.example.com "`, "is not a registry host"},
		"a default registry with two lines":     {`defaultRegistry: "registry.example.com\n"`, "is not a registry host"},
		"a default registry that Argo expands":  {`defaultRegistry: "{{workflow.uid}}"`, "is not a registry host"},
		"a port that is not a number":           {"defaultRegistry: registry.example.com:https", "is not a registry host"},
		"a registry without a host":             {"registries: [{plainHTTP: true}]", `registries[0]: host "" is not a registry host`},
		"a registry with a comma":               {`registries: [{host: "a,b", plainHTTP: true}]`, `registries[0]: host "a,b" is not a registry host`},
		"a certificate for plain HTTP":          {"registries: [{host: localhost, plainHTTP: true, caBundle: x}]", "registries[0]: plainHTTP and caBundle are both set"},
		"a malformed certificate":               {"registries: [{host: localhost, caBundle: x}]", "caBundle contains no certificate"},
		"a default registry without a dot":      {"defaultRegistry: registry", `defaultRegistry "registry" is not a registry host`},
		"a relative denied path":                {"deniedHostPaths: [models]", `host path "models" is not an absolute path without detours: use /models`},
		"a denied path with a trailing slash":   {"deniedHostPaths: [/models/private/]", "use /models/private"},
		"a denied path with two slashes":        {"deniedHostPaths: [/models//private]", "use /models/private"},
		"an allowed path that goes up":          {"allowedHostPaths: [/models/../data]", "use /data"},
		"a relative allowed path":               {"allowedHostPaths: [./models]", `host path "./models" is not an absolute path without detours: use /models`},
		"an NFS server with a slash":            {"allowedNFS: [nas/models]", `"nas/models" is not an NFS server or a directory of one: write it as nas.example.com or nas.example.com:/exports/models`},
		"an object store with a trailing slash": {"allowedS3: [minio.example.com/]", `"minio.example.com/" is not a host, or a path below one: write it as minio.example.com:9000, s3.amazonaws.com/models or huggingface.co/mistralai`},
		"a hub with an account":                 {`allowedHuggingFace: ["https://user@huggingface.co"]`, "is not a host, or a path below one"},
		"an Elastic File System with a star":    {`allowedEFS: ["fs-*"]`, `"fs-*" is not an AWS Elastic File System, or a directory or access point of one: write it as fs-12345678, fs-12345678:/models or fs-12345678::fsap-12345678`},
		"an attribute without a name":           {`allowedEFSAttributes: [""]`, "allowedEFSAttributes contains an empty name"},
		"a repository without a registry":       {"allowedImageRepos: [team/resnet]", `"team/resnet" is not a registry or a repository with its registry: write it as registry.example.com or registry.example.com/team-a`},
		"a namespace with a wildcard":           {`namespaces: ["team-*"]`, `namespaces contains "team-*", which is not the name of a namespace`},
		"a toleration of everything":            {`allowedTolerations: [""]`, `allowedTolerations contains "", which is not a key: use the form nvidia.com/gpu`},
		"a node selector with a value":          {`allowedNodeSelectors: ["disktype=ssd"]`, `allowedNodeSelectors contains "disktype=ssd", which is not a key`},
		"a base image without a registry":       {`allowedBaseImages: ["busybox:1.37.0"]`, `"busybox:1.37.0" is not a registry, repository or image with its registry`},
		"a base image with a space":             {"baseImage: A B", `baseImage "A B" is not an image reference: use the form registry.example.com/library/busybox:1.37, or scratch`},
		"a request above its limit":             {"requests: {memory: 2Gi}", "requests.memory 2Gi is above limits.memory 1Gi"},
		"no base image":                         {`baseImage: ""`, "baseImage and workflowTemplate must not be empty"},
		"no workflow template":                  {`workflowTemplate: ""`, "baseImage and workflowTemplate must not be empty"},
		"an unknown engine":                     {"engine: Docker", `engine "Docker" is not supported: use Kaniko or Stream`},
		"an unknown value of fileDigests":       {"fileDigests: true", `fileDigests`},
		"an unknown format of signatures":       {"signing: {formats: [PGP]}", `signing.formats contains "PGP"`},
		"a format of signatures, twice":         {"signing: {formats: [Tag, Tag]}", `signing.formats contains "Tag"`},
		"an unknown mode of verification":       {"verification: {serving: Enforce}", `verification.serving "Enforce" is not supported: use one of [Off Warn Require]`},
		"verification without keys":             {"verification: {serving: Require}", "verification.keys is empty"},
		"a key without namespaces":              {"verification: {keys: [{publicKey: x}]}", "verification.keys[0]: namespaces is empty"},
		"a key that is none":                    {`verification: {keys: [{namespaces: ["*"], publicKey: x}]}`, `publicKey is not in PEM format with the type "PUBLIC KEY": use the content of cosign.pub`},
		"a key for a wrong namespace":           {`verification: {keys: [{namespaces: [Team], publicKey: x}]}`, `namespaces contains "Team", which is not the name of a namespace`},
		"an unknown attestation":                {"signing: {attest: [BOM]}", `signing.attest contains "BOM"`},
		"a builder that is no URI":              {"signing: {builderID: prod}", `signing.builderID "prod" is not a URI`},
		"no engine":                             {`engine: ""`, `engine "" is not supported`},
		"a kind without a group":                {"trainingKinds: [{apiVersion: v1, kind: Pod}]", "trainingKinds[0] needs an apiVersion with a group, and a kind, for example {apiVersion: ray.io/v1, kind: RayJob}"},
		"a kind without a name":                 {"trainingKinds: [{apiVersion: example.com/v1}]", "trainingKinds[0] needs an apiVersion with a group, and a kind"},
		"a kind of which nothing is known":      {"trainingKinds: [{apiVersion: example.com/v1, kind: TrainingRun}]", `trainingKinds[0]: it is not known how a TrainingRun of example.com completes and fails. Add CEL expressions to the entry, for example completed: 'status.conditions.exists(`},
		"a kind that never ends":                {"trainingKinds: [{apiVersion: apps/v1, kind: Deployment}]", "trainingKinds[0]: it is not known how a Deployment of apps completes"},
		"an unknown kind of a known group":      {"trainingKinds: [{apiVersion: argoproj.io/v1alpha1, kind: CronWorkflow}]", "it is not known how a CronWorkflow of argoproj.io completes"},
		"an unknown kind with failed alone":     {"trainingKinds: [{apiVersion: example.com/v1, kind: TrainingRun, failed: status.failed}]", "it is not known how a TrainingRun of example.com completes"},
		"a kind twice":                          {"trainingKinds: [{apiVersion: ray.io/v1, kind: RayJob}, {apiVersion: ray.io/v1alpha1, kind: RayJob}]", "trainingKinds[1] repeats the kind RayJob of ray.io: keep one version of it"},
		"an expression that is not CEL":         {"trainingKinds: [{apiVersion: example.com/v1, kind: TrainingRun, completed: 'status.phase ='}]", `the CEL expression "status.phase =" is not valid CEL: ERROR`},
		"an expression of an unknown variable":  {"trainingKinds: [{apiVersion: example.com/v1, kind: TrainingRun, completed: self.done}]", "undeclared reference to 'self'"},
		"an expression that is a text":          {"trainingKinds: [{apiVersion: example.com/v1, kind: TrainingRun, completed: '\"Succeeded\"'}]", "has a value of type string: write a condition, for example"},
		"a malformed URL":                       {"argoURL: argo.example.com", `argoURL "argo.example.com" is not a URL: use the form https://argo.example.com`},
		"a negative history limit":              {"failedWorkflowsHistoryLimit: -1", "successfulWorkflowsHistoryLimit and failedWorkflowsHistoryLimit must be zero or more"},
		"a deadline of zero":                    {"deadlineSeconds: 0", "deadlineSeconds and pendingSeconds must be greater than zero"},
		"a negative time to start":              {"pendingSeconds: -1", "deadlineSeconds and pendingSeconds must be greater than zero"},
		"a negative deadline":                   {"deadlineSeconds: -1", "deadlineSeconds and pendingSeconds must be greater than zero"},
		"a layer size without a unit":           {"layerSize: 64", "layerSize 64 is too small: use 1Mi or more"},
		"a negative layer size":                 {"layerSize: -64Mi", "layerSize -64Mi is too small"},
		"more layers than an image can have":    {"maxLayers: 127", "maxLayers 127 must be from 1 to 126"},
		"a negative number of layers":           {"maxLayers: -1", "maxLayers -1 must be from 1 to 126"},
		"an unknown serving mount":              {"servingMount: Volume", `servingMount "Volume" is not supported: use one of [Auto ImageVolume InitContainer]`},
		"a malformed quantity":                  {"requests: {cpu: much}", "parse configuration"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := load(t, tc.text)
			require.ErrorContains(t, err, tc.want)
		})
	}
}

func TestOptionsHostPaths(t *testing.T) {
	got, err := load(t, "allowedHostPaths: [/models]\ndeniedHostPaths: [/models/private]")
	require.NoError(t, err)
	assert.Equal(t, sourcepolicy.HostPathRules{Allowed: []string{"/models"}, Denied: []string{"/models/private"}}, got.Options().HostPaths)
}

func TestOptionsShares(t *testing.T) {
	got, err := load(t, "allowedNFS: [\"nas.example.com:/models\"]\nallowedEFS: [fs-12345678]\nallowedEFSAttributes: [crossaccount]\nwritableEFS: true")
	require.NoError(t, err)
	assert.Equal(t, sourcepolicy.NFSRules{Allowed: []string{"nas.example.com:/models"}}, got.Options().NFS)
	assert.Equal(t, sourcepolicy.EFSRules{Allowed: []string{"fs-12345678"}, Attributes: []string{"crossaccount"}, Writable: true}, got.Options().EFS)
}

func TestOptionsRemote(t *testing.T) {
	got, err := load(t, "allowedS3: [minio.example.com/models]\nallowedHuggingFace: [huggingface.co]\ncompletenessCheckRequired: true")
	require.NoError(t, err)
	assert.Equal(t, sourcepolicy.S3Rules{Allowed: []string{"minio.example.com/models"}}, got.Options().S3)
	assert.Equal(t, sourcepolicy.HuggingFaceRules{Allowed: []string{"huggingface.co"}}, got.Options().HuggingFace)
	assert.True(t, got.Options().CompletenessRequired)
}

func TestOptionsImages(t *testing.T) {
	got, err := load(t, "allowedImageRepos: [registry.example.com/models]\nallowedBaseImages: [\"docker.io/library/busybox:1.37.0\"]")
	require.NoError(t, err)
	assert.Equal(t, workflow.ImageRules{Repos: []string{"registry.example.com/models"}, BaseImages: []string{"docker.io/library/busybox:1.37.0"}}, got.Options().Images)
}

func TestOptionsRegistries(t *testing.T) {
	certificate := newCA(t)
	got, err := load(t, `
registries:
  - host: registry.lab.example.com:5000
    plainHTTP: true
  - host: registry.example.com
    caBundle: |
      `+indent(certificate)+`
  - host: localhost:5000
    plainHTTP: true
  - host: other.example.com
    caBundle: "`+strings.ReplaceAll(certificate, "\n", `\n`)+`"
`)
	require.NoError(t, err)
	assert.Equal(t, []string{"localhost:5000", "registry.lab.example.com:5000"}, got.Options().PlainHTTPRegistries, "sorted, so that the same configuration creates the same Workflows")
	assert.Equal(t, certificate+"\n"+certificate+"\n", got.RegistryCA())
}

func TestDefaultOptions(t *testing.T) {
	assert.Empty(t, config.Default().RegistryCA())
	assert.Equal(t, workflow.Options{
		BaseImage: "docker.io/library/busybox:1.37.0@sha256:bdf57e528e45e4433820e045b29b4597825a1c9e38353532d90a01445013f82e", WorkflowTemplate: "modelkiln-build", Engine: v1alpha1.Kaniko, StreamTemplate: "modelkiln-build-stream", DeadlineSeconds: 21600, PendingTimeout: 15 * time.Minute, ProgressInterval: 10 * time.Second, History: workflow.History{Succeeded: 3, Failed: 3},
		Requests: config.Default().Requests, Limits: config.Default().Limits, TrainingKinds: workload.TrainingKinds(),
		PullHosts: map[string]string{},
	}, config.Default().Options())
}

// A platform team that chose a custom template, for example one that scans images,
// has not chosen Stream's.
func TestOptionsStreamTemplate(t *testing.T) {
	for name, tc := range map[string]struct{ text, want string }{
		"by default":             {"", "modelkiln-build-stream"},
		"with a custom template": {"workflowTemplate: scanned", ""},
		"if it is set":           {"streamWorkflowTemplate: streamed", "streamed"},
		"if both are set":        {"workflowTemplate: scanned\nstreamWorkflowTemplate: streamed", "streamed"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := load(t, tc.text)
			require.NoError(t, err)
			assert.Equal(t, tc.want, got.Options().StreamTemplate)
		})
	}
	got, err := load(t, "engine: Stream\nnamespaceStreamWorkflowTemplates: {vision: scanned-stream}")
	require.NoError(t, err)
	assert.Equal(t, v1alpha1.Stream, got.Options().Engine)
	assert.Equal(t, map[string]string{"vision": "scanned-stream"}, got.Options().NamespaceStreamTemplates)
}

func TestOptionsTrainingKinds(t *testing.T) {
	got, err := load(t, "trainingKinds: [{apiVersion: argoproj.io/v1alpha1, kind: Workflow}, {apiVersion: example.com/v1, kind: TrainingRun, completed: status.done}, {apiVersion: kubeflow.org/v2, kind: TFJob}]")
	require.NoError(t, err)
	var kinds []string
	for _, kind := range got.Options().TrainingKinds {
		kinds = append(kinds, kind.GroupVersion().String()+" "+kind.Kind)
	}
	assert.Equal(t, []string{
		"batch/v1 Job", "jobset.x-k8s.io/v1alpha2 JobSet", "kubeflow.org/v1 PyTorchJob", "trainer.kubeflow.org/v1alpha1 TrainJob",
		"argoproj.io/v1alpha1 Workflow", "example.com/v1 TrainingRun", "kubeflow.org/v2 TFJob",
	}, kinds)
	state, _ := got.Options().TrainingKinds[5].StateOf(&unstructured.Unstructured{Object: map[string]any{"status": map[string]any{"done": true}}})
	assert.Equal(t, workload.Completed, state)
}

// newCA returns the certificate of a new CA in PEM form, without a trailing newline.
func newCA(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), IsCA: true}
	raw, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	return strings.TrimSpace(string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: raw})))
}

func indent(text string) string {
	return strings.ReplaceAll(text, "\n", "\n      ")
}

// deploy/manager/config.yaml says that it has the default values.
func TestDefaultIsInstalled(t *testing.T) {
	raw, err := os.ReadFile("../../deploy/manager/config.yaml")
	require.NoError(t, err)
	got, err := load(t, string(raw))
	require.NoError(t, err)
	assert.Equal(t, config.Default().Options(), got.Options())
}

func TestVerificationRules(t *testing.T) {
	key := publicKey(t)
	text := "verification:\n  serving: Require\n  keys:\n  - namespaces: [team-a, \"*\"]\n    publicKey: |\n      " + strings.ReplaceAll(strings.TrimSpace(key), "\n", "\n      ")
	c, err := load(t, text)
	require.NoError(t, err)
	rules := c.Verification.Rules()
	assert.Equal(t, inject.VerificationRequire, rules.Mode)
	require.Len(t, rules.Keys, 1)
	assert.Equal(t, []string{"team-a", "*"}, rules.Keys[0].Namespaces)
	assert.Equal(t, key, string(rules.Keys[0].Key.PEM()))

	for _, off := range []string{"Off", `"Off"`} {
		c, err := load(t, "verification: {serving: "+off+"}")
		require.NoError(t, err)
		assert.Equal(t, inject.VerificationOff, c.Verification.Rules().Mode)
	}
}

func publicKey(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	require.NoError(t, err)
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

func TestSigningOptions(t *testing.T) {
	c, err := load(t, "fileDigests: Skip\nsigning: {required: true, formats: [Tag], attest: [], builderID: \"https://kiln.example.com/prod\"}")
	require.NoError(t, err)
	opts := c.Options()
	assert.Equal(t, v1alpha1.SkipFileDigests, opts.FileDigests)
	assert.Equal(t, workflow.Signing{Required: true, Formats: []v1alpha1.SignatureFormat{v1alpha1.TagSignature}, Attest: []v1alpha1.Attestation{}, BuilderID: "https://kiln.example.com/prod"}, opts.Signing)
}
