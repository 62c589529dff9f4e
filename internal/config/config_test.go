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
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/config"
	"github.com/modelkiln/modelkiln/internal/sourcepolicy"
	"github.com/modelkiln/modelkiln/internal/translate"
)

// load loads a configuration of this text.
func load(t *testing.T, text string) (config.Config, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "config.yaml")
	require.NoError(t, os.WriteFile(file, []byte(text), 0o644))
	return config.Load(file)
}

func TestWithoutAFileItIsTheDefault(t *testing.T) {
	got, err := config.Load("")
	require.NoError(t, err)
	assert.Equal(t, config.Default(), got)
}

func TestWhatTheFileDoesNotSayIsTheDefault(t *testing.T) {
	for name, text := range map[string]string{
		"an empty file":              "",
		"a file of comments":         "# nothing\n",
		"an empty document":          "{}",
		"a null where a list may be": "registries: null",
	} {
		t.Run(name, func(t *testing.T) {
			got, err := load(t, text)
			require.NoError(t, err)
			assert.Equal(t, config.Default(), got)
		})
	}
}

func TestTheFileGoesOverTheDefault(t *testing.T) {
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
	written := map[corev1.ResourceName]string{}
	for name, quantity := range got {
		written[name] = quantity.String()
	}
	assert.Equal(t, want, written)
}

func TestWhatIsWrongIsRefusedInWords(t *testing.T) {
	for name, tc := range map[string]struct{ text, want string }{
		"a field that is not known":                 {"alowedHostPaths: [/models]", `unknown field "alowedHostPaths"`},
		"a field of a registry that is not":         {"registries: [{host: registry.example.com, insecure: true}]", `unknown field "insecure"`},
		"a field that is there twice":               {"baseImage: a\nbaseImage: b", `key "baseImage" already set`},
		"what is no YAML":                           {"{", "parse configuration"},
		"a number where words belong":               {"deniedHostPaths: /models", "parse configuration"},
		"a default registry with a scheme":          {"defaultRegistry: https://registry.example.com", `defaultRegistry "https://registry.example.com" is not a host`},
		"a default registry with a path":            {"defaultRegistry: registry.example.com/team", "is not a host"},
		"a default registry with a space":           {`defaultRegistry: "registry.example.com "`, "is not a host"},
		"a default registry with two lines":         {`defaultRegistry: "registry.example.com\n"`, "is not a host"},
		"a default registry that Argo expands":      {`defaultRegistry: "{{workflow.uid}}"`, "is not a host"},
		"a port that is none":                       {"defaultRegistry: registry.example.com:https", "is not a host"},
		"a registry without a host":                 {"registries: [{plainHTTP: true}]", `registries[0]: host "" is not a host`},
		"a registry with a comma":                   {`registries: [{host: "a,b", plainHTTP: true}]`, `registries[0]: host "a,b" is not a host`},
		"a certificate where there is no TLS":       {"registries: [{host: localhost, plainHTTP: true, caBundle: x}]", "registries[0]: plainHTTP and caBundle are both set"},
		"a certificate that is none":                {"registries: [{host: localhost, caBundle: x}]", "caBundle holds no certificate"},
		"a word that would be a user on Docker Hub": {"defaultRegistry: registry", `defaultRegistry "registry" is not a host`},
		"a relative denied path":                    {"deniedHostPaths: [models]", `host path "models" is not an absolute, clean path: write it as /models`},
		"a denied path with a slash at its end":     {"deniedHostPaths: [/models/private/]", "write it as /models/private"},
		"a denied path with two slashes":            {"deniedHostPaths: [/models//private]", "write it as /models/private"},
		"an allowed path that goes up":              {"allowedHostPaths: [/models/../data]", "write it as /data"},
		"a relative allowed path":                   {"allowedHostPaths: [./models]", `host path "./models" is not an absolute, clean path: write it as /models`},
		"an NFS server with a slash":                {"allowedNFS: [nas/models]", `"nas/models" is not an NFS server or a directory of one: write it as nas.example.com or nas.example.com:/exports/models`},
		"an Elastic File System with a star":        {`allowedEFS: ["fs-*"]`, `"fs-*" is not an AWS Elastic File System, or a directory or access point of one: write it as fs-12345678, fs-12345678:/models or fs-12345678::fsap-12345678`},
		"an attribute without a name":               {`allowedEFSAttributes: [""]`, "allowedEFSAttributes holds an empty name"},
		"no base image":                             {`baseImage: ""`, "baseImage and workflowTemplate must not be empty"},
		"no workflow template":                      {`workflowTemplate: ""`, "baseImage and workflowTemplate must not be empty"},
		"an engine that is none":                    {"engine: Docker", `engine "Docker" is not one: write Kaniko or Stream`},
		"no engine":                                 {`engine: ""`, `engine "" is not one`},
		"a kind without a group":                    {"trainingKinds: [{apiVersion: v1, kind: Pod}]", "trainingKinds[0] is no kind: write it as {apiVersion: example.com/v1, kind: TrainingRun}"},
		"a kind without a name":                     {"trainingKinds: [{apiVersion: example.com/v1}]", "trainingKinds[0] is no kind"},
		"no link":                                   {"argoURL: argo.example.com", `argoURL "argo.example.com" is not a URL: write it as https://argo.example.com`},
		"less than no history":                      {"failedHistory: -1", "succeededHistory and failedHistory must not be below zero"},
		"no time":                                   {"deadlineSeconds: 0", "deadlineSeconds and pendingSeconds must be above zero"},
		"less than no time to start":                {"pendingSeconds: -1", "deadlineSeconds and pendingSeconds must be above zero"},
		"less than no time":                         {"deadlineSeconds: -1", "deadlineSeconds and pendingSeconds must be above zero"},
		"a layer size without a unit":               {"layerSize: 64", "layerSize 64 is too small: write 1Mi or more"},
		"a layer size below zero":                   {"layerSize: -64Mi", "layerSize -64Mi is too small"},
		"more layers than an image can have":        {"maxLayers: 127", "maxLayers 127 is not from 1 to 126"},
		"less than no layers":                       {"maxLayers: -1", "maxLayers -1 is not from 1 to 126"},
		"a way of serving that is none":             {"servingMount: Volume", `servingMount "Volume" is not known: write one of [Auto ImageVolume InitContainer]`},
		"a quantity that is none":                   {"requests: {cpu: much}", "parse configuration"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := load(t, tc.text)
			require.ErrorContains(t, err, tc.want)
		})
	}
}

func TestAllThatIsWrongIsSaidAtOnce(t *testing.T) {
	_, err := load(t, "defaultRegistry: a b\nregistries: [{host: c d}]\nallowedHostPaths: [e]\nallowedNFS: [f g]\nallowedEFS: [h i]\ndeadlineSeconds: 0")
	for _, want := range []string{`"a b"`, `"c d"`, `"e"`, `"f g"`, `"h i"`, "deadlineSeconds"} {
		require.ErrorContains(t, err, want)
	}
}

func TestAFileThatIsNotThereIsAnError(t *testing.T) {
	_, err := config.Load(filepath.Join(t.TempDir(), "none.yaml"))
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestHosts(t *testing.T) {
	for _, host := range []string{"localhost", "registry:5000", "registry.example.com", "Registry.Example.com:443", "10.0.0.7:5000"} {
		_, err := load(t, "defaultRegistry: "+host)
		require.NoError(t, err, host)
	}
}

func TestHostPathRulesReachTheBuilds(t *testing.T) {
	got, err := load(t, "allowedHostPaths: [/models]\ndeniedHostPaths: [/models/private]")
	require.NoError(t, err)
	assert.Equal(t, sourcepolicy.HostPathRules{Allowed: []string{"/models"}, Denied: []string{"/models/private"}}, got.Options().HostPaths)
}

func TestTheRulesForSharesReachTheBuilds(t *testing.T) {
	got, err := load(t, "allowedNFS: [\"nas.example.com:/models\"]\nallowedEFS: [fs-12345678]\nallowedEFSAttributes: [crossaccount]\nwritableEFS: true")
	require.NoError(t, err)
	assert.Equal(t, sourcepolicy.NFSRules{Allowed: []string{"nas.example.com:/models"}}, got.Options().NFS)
	assert.Equal(t, sourcepolicy.EFSRules{Allowed: []string{"fs-12345678"}, Attributes: []string{"crossaccount"}, Writable: true}, got.Options().EFS)
}

func TestRegistriesAreSpokenToAsTheyAreConfigured(t *testing.T) {
	certificate := authority(t)
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
	assert.Equal(t, []string{"localhost:5000", "registry.lab.example.com:5000"}, got.Options().PlainHTTPRegistries, "sorted, so that the same configuration gives the same Workflows")
	assert.Equal(t, certificate+"\n"+certificate+"\n", got.RegistryCA())
}

func TestWithoutPrivateAuthoritiesThereIsNoBundle(t *testing.T) {
	assert.Empty(t, config.Default().RegistryCA())
	assert.Equal(t, translate.Options{
		BaseImage: "docker.io/library/busybox:1.37.0", WorkflowTemplate: "modelkiln-build", Engine: v1alpha1.Kaniko, StreamTemplate: "modelkiln-build-stream", DeadlineSeconds: 21600, PendingTimeout: metav1.Duration{Duration: 15 * time.Minute}, ProgressInterval: metav1.Duration{Duration: 10 * time.Second}, History: translate.History{Succeeded: 3, Failed: 3},
		Requests: config.Default().Requests, Limits: config.Default().Limits, TrainingKinds: translate.TrainingKinds(),
	}, config.Default().Options())
}

// Who has chosen a template, as one that scans, has not chosen Stream's.
func TestStreamHasATemplateWhereThePlatformTeamHasChosenNoOther(t *testing.T) {
	for name, tc := range map[string]struct{ text, want string }{
		"by default":                      {"", "modelkiln-build-stream"},
		"beside a template of one's own":  {"workflowTemplate: scanned", ""},
		"where it is named":               {"streamWorkflowTemplate: streamed", "streamed"},
		"where both are templates of one": {"workflowTemplate: scanned\nstreamWorkflowTemplate: streamed", "streamed"},
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

func TestOtherKindsOfTrainingStandBesideTheKnownOnes(t *testing.T) {
	got, err := load(t, "trainingKinds: [{apiVersion: example.com/v1, kind: TrainingRun}]")
	require.NoError(t, err)
	want := append(translate.TrainingKinds(), schema.GroupVersionKind{Group: "example.com", Version: "v1", Kind: "TrainingRun"})
	assert.Equal(t, want, got.Options().TrainingKinds)
}

// authority is the certificate of an authority that nobody knows, PEM, without
// a line break at its end.
func authority(t *testing.T) string {
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

// What deploy/ installs says of itself that it is the default.
func TestTheInstalledConfigurationIsTheDefault(t *testing.T) {
	raw, err := os.ReadFile("../../deploy/manager/config.yaml")
	require.NoError(t, err)
	got, err := load(t, string(raw))
	require.NoError(t, err)
	assert.Equal(t, config.Default().Options(), got.Options())
}
