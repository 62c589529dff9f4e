package sign_test

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/modelkiln/modelkiln/internal/sign"
	"github.com/modelkiln/modelkiln/test/golden"
)

var image = sign.Image{Repository: "registry.example.com/models/resnet", Digest: "sha256:" + strings.Repeat("ab", 32)}

// listed is the image with the digest of its list of files.
var listed = sign.Image{Repository: image.Repository, Digest: image.Digest, List: strings.Repeat("ef", 32)}

func readKey(t testing.TB, name string) *sign.Key {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name))
	require.NoError(t, err)
	key, err := sign.ParseKey(text, nil)
	require.NoError(t, err)
	return key
}

// pkcs8 returns a key in DER.
func pkcs8(t *testing.T, key any) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	return der
}

func inPEM(blockType string, content []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: blockType, Bytes: content})
}

func provenance() sign.Provenance {
	return sign.Provenance{
		BuilderID: "https://kiln.example.com/clusters/prod", Version: "v1.2.3",
		Request: sign.Request{
			Image: "registry.example.com/models/resnet:v1", Source: "the claim <models>", Exclude: []string{"*.tmp"},
			BaseImage: "busybox:1.37", ModelPath: "/kubedl-model", Model: "resnet", ModelVersion: "resnet-v1", ModelVersionUID: "1c07", CreatedBy: "Ann & Bob",
		},
		Dependencies: []sign.Dependency{{Name: "base-image", URI: "busybox:1.37", Digest: map[string]string{"sha256": strings.Repeat("cd", 32)}}},
		Invocation:   "ml/workflows/resnet-v1-1c072-1/7d2c", Started: time.Date(2026, 11, 29, 1, 2, 3, 0, time.UTC),
	}
}

func training(files *sign.Files) sign.Training {
	return sign.Training{
		BuilderID: "https://kiln.example.com/clusters/prod", Files: files, Model: "resnet", Omitted: 3, Invocation: "ml/Job/train-resnet/77aa",
		Parameters: map[string]map[string]string{"Declared": {"learning-rate": "3e-4", "epochs": "<90>"}},
		Dependencies: []sign.Dependency{{
			Name: "faces", URI: "s3://data/faces/v3", Digest: map[string]string{"sha256": strings.Repeat("ef", 32)},
			Annotations: map[string]string{"kind": "Dataset", "origin": "Declared"},
		}},
		Byproducts: []sign.Dependency{{Name: "mit", Annotations: map[string]string{"kind": "License", "origin": "File", "source": "README.md"}}},
		Started:    time.Date(2026, 11, 28, 1, 2, 3, 0, time.UTC), Finished: time.Date(2026, 11, 28, 2, 3, 4, 0, time.UTC),
	}
}

// The bundles are read by cosign, sigstore-go and model_signing: test/sigstore.
func TestBundles(t *testing.T) {
	key := readKey(t, "key.pem")
	files, ok := sign.NewFiles(manifest())
	require.True(t, ok)
	bundles := map[string]func() ([]byte, error){
		"image":      func() ([]byte, error) { return key.SignImage(image) },
		"image-list": func() ([]byte, error) { return key.SignImage(listed) },
		"files":      func() ([]byte, error) { return key.SignFiles("resnet", files) },
		"provenance": func() ([]byte, error) { return key.SignProvenance(image, provenance()) },
		"training":   func() ([]byte, error) { return key.SignTraining(image, training(&files)) },
	}
	for name, signed := range bundles {
		t.Run(name, func(t *testing.T) {
			bundle, err := signed()
			require.NoError(t, err)
			again, err := signed()
			require.NoError(t, err)
			assert.Equal(t, string(bundle), string(again), "a retry signs the same")
			golden.Assert(t, filepath.Join("testdata", name+".sigstore.json"), string(bundle)+"\n")
			golden.Assert(t, filepath.Join("testdata", name+".statement.json"), statementIn(t, bundle))
		})
	}
}

// statementIn returns the statement in a bundle, indented.
func statementIn(t *testing.T, bundle []byte) string {
	t.Helper()
	var text bytes.Buffer
	require.NoError(t, json.Indent(&text, payloadOf(t, bundle), "", "  "))
	return text.String() + "\n"
}

func payloadOf(t *testing.T, bundle []byte) []byte {
	t.Helper()
	var parsed struct {
		Envelope struct {
			Payload []byte `json:"payload"`
		} `json:"dsseEnvelope"`
	}
	require.NoError(t, json.Unmarshal(bundle, &parsed))
	return parsed.Envelope.Payload
}

// What nothing is known of is left out; the parameters are required.
func TestSignTrainingOfLittle(t *testing.T) {
	bundle, err := readKey(t, "key.pem").SignTraining(image, sign.Training{BuilderID: "https://kiln.example.com"})
	require.NoError(t, err)
	assert.JSONEq(t, `{
		"_type": "https://in-toto.io/Statement/v1", "predicateType": "https://slsa.dev/provenance/v1",
		"subject": [{"name": "`+image.Repository+`", "digest": {"sha256": "`+strings.TrimPrefix(image.Digest, "sha256:")+`"}}],
		"predicate": {
			"buildDefinition": {"buildType": "`+sign.TrainingType+`", "externalParameters": {}},
			"runDetails": {"builder": {"id": "https://kiln.example.com"}}
		}
	}`, string(payloadOf(t, bundle)))
}

func TestSignSimple(t *testing.T) {
	signature, err := readKey(t, "key.pem").SignSimple(image)
	require.NoError(t, err)
	golden.Assert(t, filepath.Join("testdata", "simple.json"), string(signature.Payload)+"\n"+signature.Signature+"\n")
}

func TestVerifyImage(t *testing.T) {
	key, other := readKey(t, "key.pem"), readKey(t, "other.pem")
	keys := []sign.PublicKey{other.Public(), key.Public()}
	signed, err := key.SignImage(image)
	require.NoError(t, err)
	attested, err := key.SignProvenance(image, provenance())
	require.NoError(t, err)
	trained, err := key.SignTraining(image, training(nil))
	require.NoError(t, err)
	files, _ := sign.NewFiles(manifest())
	overFiles, err := key.SignFiles("resnet", files)
	require.NoError(t, err)
	changed := bytes.Replace(signed, []byte(base64.StdEncoding.EncodeToString(payloadOf(t, signed))),
		[]byte(base64.StdEncoding.EncodeToString(bytes.ReplaceAll(payloadOf(t, signed), []byte("ab"), []byte("cd")))), 1)
	require.NotEqual(t, signed, changed)

	tests := map[string]struct {
		bundle []byte
		digest string
		keys   []sign.PublicKey
		want   string
	}{
		"signed":                      {bundle: signed, digest: image.Digest, keys: keys},
		"by another key":              {bundle: signed, digest: image.Digest, keys: keys[:1], want: "it was not made with one of these keys"},
		"without keys":                {bundle: signed, digest: image.Digest, want: "it was not made with one of these keys"},
		"another image":               {bundle: signed, digest: "sha256:" + strings.Repeat("cd", 32), keys: keys, want: "it is that of another image"},
		"no image":                    {bundle: signed, keys: keys, want: "it is that of another image"},
		"a statement that was edited": {bundle: changed, digest: "sha256:" + strings.Repeat("cd", 32), keys: keys, want: "it was not made with one of these keys, or was changed"},
		"an attestation of the image": {bundle: attested, digest: image.Digest, keys: keys, want: "it is a statement of another type"},
		"a provenance of a training":  {bundle: trained, digest: image.Digest, keys: keys, want: "it is a statement of another type"},
		"a signature over the files":  {bundle: overFiles, digest: image.Digest, keys: keys, want: "it is a statement of another type"},
		"nothing":                     {digest: image.Digest, keys: keys, want: "it is not a bundle"},
		"not JSON":                    {bundle: []byte("x"), digest: image.Digest, keys: keys, want: "it is not a bundle"},
		"of another media type":       {bundle: bytes.Replace(signed, []byte("v0.3"), []byte("v0.1"), 1), digest: image.Digest, keys: keys, want: "it is not a bundle"},
		"of another payload type":     {bundle: bytes.Replace(signed, []byte("in-toto+json"), []byte("x+json"), 1), digest: image.Digest, keys: keys, want: "it is not a bundle"},
		"without a signature":         {bundle: []byte(`{"mediaType":"` + sign.BundleType + `","dsseEnvelope":{"payloadType":"application/vnd.in-toto+json"}}`), digest: image.Digest, keys: keys, want: "it is not a bundle"},
		"too large":                   {bundle: make([]byte, sign.MaxBundle+1), digest: image.Digest, keys: keys, want: "it has more than"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			err := sign.VerifyImage(tt.bundle, tt.digest, tt.keys)
			if tt.want == "" {
				assert.NoError(t, err)
				return
			}
			assert.ErrorContains(t, err, tt.want)
		})
	}
	require.NoError(t, sign.VerifyProvenance(attested, image.Digest, key.Public()))
	require.ErrorContains(t, sign.VerifyProvenance(signed, image.Digest, key.Public()), "another type")
	require.ErrorContains(t, sign.VerifyProvenance(attested, image.Digest, other.Public()), "one of these keys")
	require.ErrorContains(t, sign.VerifyProvenance(trained, image.Digest, key.Public()), "it attests something else than how the image was built")
	withFiles, err := key.SignTraining(image, training(&files))
	require.NoError(t, err)
	assert.Error(t, sign.VerifyProvenance(withFiles, image.Digest, key.Public()))
}

func TestListDigest(t *testing.T) {
	key := readKey(t, "key.pem")
	signed := func(image sign.Image) []byte {
		bundle, err := key.SignImage(image)
		require.NoError(t, err)
		return bundle
	}
	attested, err := key.SignProvenance(listed, provenance())
	require.NoError(t, err)
	for name, tt := range map[string]struct {
		bundle     []byte
		digest     string
		want, fail string
	}{
		"signed with the list":    {bundle: signed(listed), digest: image.Digest, want: "sha256:" + listed.List},
		"signed without the list": {bundle: signed(image), digest: image.Digest},
		"another image":           {bundle: signed(listed), digest: "sha256:" + strings.Repeat("cd", 32), fail: "it is that of another image"},
		"an attestation":          {bundle: attested, digest: image.Digest, fail: "it is a statement of another type"},
		"a list without a digest": {bundle: signed(sign.Image{Digest: image.Digest, List: "$(HOME)"}), digest: image.Digest, fail: "its annotation model.kubedl.io/files is not a digest"},
		"no bundle":               {bundle: []byte("{}"), digest: image.Digest, fail: "it is not a bundle"},
		"no statement":            {bundle: bytes.Replace(signed(listed), []byte(`"payload":"`), []byte(`"payload":"eA==","p":"`), 1), digest: image.Digest, fail: "it is not a bundle"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := sign.ListDigest(tt.bundle, tt.digest)
			if tt.fail != "" {
				require.ErrorContains(t, err, tt.fail)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, tt.want, got)
		})
	}
	assert.NoError(t, sign.VerifyImage(signed(listed), image.Digest, []sign.PublicKey{key.Public()}))
}

// Only the bundle of the image verifies, whatever else a user writes.
func FuzzVerifyImage(f *testing.F) {
	key := readKey(f, "key.pem")
	signed, err := key.SignImage(image)
	require.NoError(f, err)
	for _, seed := range []string{string(signed), "", "{}", "null", `{"mediaType":"` + sign.BundleType + `"}`, strings.Replace(string(signed), `"sig":"`, `"sig":"A`, 1)} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if list, err := sign.ListDigest(text, image.Digest); err == nil && list != "" {
			assert.Regexp(t, "^sha256:[0-9a-f]{64}$", list)
		}
		if sign.VerifyImage(text, image.Digest, []sign.PublicKey{key.Public()}) == nil {
			assert.Equal(t, string(payloadOf(t, signed)), string(payloadOf(t, text)))
		}
	})
}

func BenchmarkVerifyImage(b *testing.B) {
	key := readKey(b, "key.pem")
	signed, err := key.SignImage(image)
	require.NoError(b, err)
	for b.Loop() {
		require.NoError(b, sign.VerifyImage(signed, image.Digest, []sign.PublicKey{key.Public()}))
	}
}
