package step

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/registry"
	"github.com/modelkiln/modelkiln/internal/report"
	"github.com/modelkiln/modelkiln/internal/sign"
	"github.com/modelkiln/modelkiln/internal/step/console"
	"github.com/modelkiln/modelkiln/internal/step/failure"
	"github.com/modelkiln/modelkiln/internal/step/handoff"
	"github.com/modelkiln/modelkiln/internal/step/modelimage"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
)

// Files of the Secret with the signing key: those that cosign creates, and that of a
// Secret of type kubernetes.io/tls.
const (
	cosignKey      = "cosign.key"
	cosignPassword = "cosign.password"
	tlsKey         = "tls.key"
)

// maxKeyFile is the largest number of bytes that are read of such a file.
const maxKeyFile = 64 << 10

// signing are the flags by which status-report signs.
type signing struct {
	secret, secretDir     string
	required              bool
	formats, attestations []string
	builderID             string
	namespace             string
	workflow, workflowUID string
	started               time.Time
	// lineage are facts that lineage.Encode has encoded.
	lineage string
}

func (s *signing) define(flags *flag.FlagSet) {
	flags.StringVar(&s.secret, "signing-secret", "", "the `name` of the Secret with the signing key, used in messages and in the report only")
	flags.StringVar(&s.secretDir, "signing-secret-dir", "/signing-secret", "the `directory` where that Secret is mounted; nothing is signed without a key in it")
	flags.Func("signing-required", "whether the image must be signed, `true or false`", boolean(&s.required))
	s.formats = []string{string(v1alpha1.BundleSignature), string(v1alpha1.TagSignature)}
	flags.Func("signing-formats", fmt.Sprintf("the `formats` of the image's signature, separated by commas: %s, %s", v1alpha1.BundleSignature, v1alpha1.TagSignature), listOf(&s.formats, s.formats))
	s.attestations = []string{string(v1alpha1.ProvenanceAttestation), string(v1alpha1.FilesAttestation)}
	flags.Func("signing-attest", fmt.Sprintf("what is `attested` beside the image, separated by commas: %s, %s; or %s", v1alpha1.ProvenanceAttestation, v1alpha1.FilesAttestation, contract.AttestNothing), listOf(&s.attestations, append([]string{contract.AttestNothing}, s.attestations...)))
	flags.StringVar(&s.builderID, "builder-id", "", "the `URI` that names the platform in provenances; "+sign.DefaultBuilderID+" if empty")
	flags.StringVar(&s.namespace, "namespace", "", "the `namespace` of the Workflow")
	flags.StringVar(&s.workflow, "workflow-name", "", "the `name` of the Workflow")
	flags.StringVar(&s.workflowUID, "workflow-uid", "", "the `UID` of the Workflow")
	flags.StringVar(&s.lineage, "lineage", "", "what is `known` about the making of the model, as the operator encodes it: facts as JSON, URL query-escaped")
	flags.Func("workflow-created", "the `time`, in the format of RFC 3339, at which the Workflow was created", timestamp(&s.started))
}

// listOf returns the parser of a flag whose value is a comma-separated list of allowed
// values. An empty one leaves the default.
func listOf(into *[]string, allowed []string) func(string) error {
	return func(value string) error {
		var items []string
		if err := list(&items)(value); err != nil || len(items) == 0 {
			return err
		}
		if slices.ContainsFunc(items, func(item string) bool { return !slices.Contains(allowed, item) }) {
			return fmt.Errorf("must be of %s", strings.Join(allowed, ", "))
		}
		*into = items
		return nil
	}
}

// key returns the signing key, or nil if there is none and none is required.
func (s *signing) key(log io.Writer) (*sign.Key, error) {
	for _, file := range []string{cosignKey, tlsKey} {
		text, err := readKeyFile(filepath.Join(s.secretDir, file))
		if err != nil {
			return nil, err
		}
		if text == nil {
			continue
		}
		password, err := readKeyFile(filepath.Join(s.secretDir, cosignPassword))
		if err != nil {
			return nil, err
		}
		key, err := sign.ParseKey(text, password)
		if err != nil {
			return nil, failure.New(v1alpha1.ReasonSigningKeyMissing, "the key %s in Secret %s %v: replace it with %s", file, s.secret, err, s.createCommand())
		}
		return key, nil
	}
	if s.required {
		return nil, failure.New(v1alpha1.ReasonSigningKeyMissing, "there is no Secret %s in this namespace with a signing key, %s or %s, and images must be signed: create it with %s", s.secret, cosignKey, tlsKey, s.createCommand())
	}
	if s.secret != "" {
		console.Logf(log, "not signed: there is no Secret %s with a key", s.secret)
	}
	return nil, nil
}

// createCommand returns the command that creates the Secret.
func (s *signing) createCommand() string {
	return fmt.Sprintf("cosign generate-key-pair k8s://%s/%s", cmp.Or(s.namespace, "NAMESPACE"), cmp.Or(s.secret, contract.DefaultSigningSecret))
}

// readKeyFile returns the content of a file, or nil if it does not exist.
func readKeyFile(name string) ([]byte, error) {
	file, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the signing key: %w", err)
	}
	defer func() { _ = file.Close() }()
	content, err := io.ReadAll(io.LimitReader(file, maxKeyFile))
	if err != nil {
		return nil, fmt.Errorf("read the signing key: %w", err)
	}
	return content, nil
}

// signed is what is signed.
type signed struct {
	repository *registry.Repository
	// reference is the repository and the tag, and image is the repository and the digest.
	reference string
	image     sign.Image
	// subject is the manifest or index that the tag refers to, and images are its images.
	subject v1.Descriptor
	images  []modelimage.Variant
	plan    handoff.Plan
	// files are those that the image lists; listed is false if it lists no digests. list is
	// the SHA-256, in hexadecimal, of the list that this build has written into every image.
	files  sign.Files
	listed bool
	list   string
	// found is true if an earlier build has pushed the image, and stored if no build has:
	// it was in the registry before, and the account may only read it.
	found, stored bool
	// report is that of the earlier steps.
	report report.Report
}

// sign signs what was verified, and returns what the report says of that. What the
// registry already has is not added again.
func (s *signing) sign(ctx context.Context, key *sign.Key, of signed, log io.Writer) (*report.Signature, error) {
	var err error
	if of.files, of.listed, err = of.readFiles(); err != nil {
		return nil, err
	}
	if of.listed {
		if of.image.List, err = of.listDigest(); err != nil {
			return nil, err
		}
	}
	signature, bundle, err := s.signature(key, of.image)
	if err != nil {
		return nil, err
	}
	if of.stored {
		signature.Formats = nil
		console.Logf(log, "signed with the key of Secret %s, %s: nothing is added to the registry", s.secret, signature.KeyID)
		return signature, nil
	}
	artifacts, err := s.attest(ctx, key, of, signature, log)
	if err != nil {
		return nil, err
	}
	if err := s.store(ctx, key, of, append(bundle, artifacts...)); err != nil {
		return nil, err
	}
	console.Logf(log, "signed with the key of Secret %s, %s: %s", s.secret, signature.KeyID, strings.Join(append(slices.Clone(signature.Formats), signature.Attestations...), ", "))
	return signature, nil
}

// signHeld signs an image that the registry does not return, by the digest that was pushed.
// The statements about its content are left to an attempt that can read it.
func (s *signing) signHeld(ctx context.Context, key *sign.Key, repository *registry.Repository, want handoff.Expectation) (*report.Signature, error) {
	digest, err := v1.NewHash(want.Digest)
	if err != nil {
		return nil, fmt.Errorf("read the digest that was pushed: %w", err)
	}
	of := signed{
		repository: repository, subject: v1.Descriptor{MediaType: want.MediaType, Size: want.Size, Digest: digest},
		image: sign.Image{Repository: repository.Name(), Digest: want.Digest},
	}
	if want.ListsDigests {
		of.image.List = want.ManifestSHA256
	}
	signature, bundle, err := s.signature(key, of.image)
	if err != nil {
		return nil, err
	}
	return signature, s.store(ctx, key, of, bundle)
}

// signature signs an image, and returns what the report says of that, and the signature as
// the registry stores it in the format Bundle, if that is one of the formats.
func (s *signing) signature(key *sign.Key, image sign.Image) (*report.Signature, []registry.Artifact, error) {
	bundle, err := key.SignImage(image)
	if err != nil {
		return nil, nil, err
	}
	signature := &report.Signature{Secret: s.secret, KeyID: key.Public().ID(), Formats: s.formats, Bundle: string(bundle)}
	if !slices.Contains(s.formats, string(v1alpha1.BundleSignature)) {
		return signature, nil, nil
	}
	return signature, []registry.Artifact{artifactOf(bundle, sign.BundleType, sign.SignPredicate)}, nil
}

// store stores what is signed beside the image, and the signature in the format Tag, if that
// is one of the formats.
func (s *signing) store(ctx context.Context, key *sign.Key, of signed, artifacts []registry.Artifact) error {
	if err := of.repository.Attach(ctx, of.subject, artifacts); err != nil {
		return cannotSign(err)
	}
	if slices.Contains(s.formats, string(v1alpha1.TagSignature)) {
		simple, err := key.SignSimple(of.image)
		if err != nil {
			return err
		}
		if err := of.repository.AddSignature(ctx, of.subject.Digest, simple.Payload, sign.SimplePayloadType, map[string]string{sign.SimpleAnnotation: simple.Signature}); err != nil {
			return cannotSign(err)
		}
	}
	return nil
}

// cannotSign returns the failure of storing signatures. The image stays what it is.
func cannotSign(err error) error {
	var e *registry.Error
	if !errors.As(err, &e) {
		return err
	}
	message := e.Message
	if e.Kind == registry.TagImmutable {
		message += ". Signatures of one image share a tag that begins with sha256-, so exempt these tags from the rule instead"
	}
	f := failure.New(v1alpha1.ReasonSigningFailed, "the image is in the registry, and its signature cannot be stored: %s", message).WithCause(e.Cause)
	f.Transient = e.Transient
	return f
}

// attest returns the attestations, and adds their names to the signature.
func (s *signing) attest(ctx context.Context, key *sign.Key, of signed, signature *report.Signature, log io.Writer) ([]registry.Artifact, error) {
	var artifacts []registry.Artifact
	if slices.Contains(s.attestations, string(v1alpha1.FilesAttestation)) {
		if !of.listed {
			console.Logf(log, "the files are not signed: the image does not list their SHA-256 (spec.build.fileDigests)")
		} else {
			bundle, err := key.SignFiles(of.modelName(), of.files)
			if err != nil {
				return nil, err
			}
			artifacts = append(artifacts, artifactOf(bundle, sign.FilesType, sign.FilesPredicate))
			signature.Attestations = append(signature.Attestations, string(v1alpha1.FilesAttestation))
		}
	}
	if slices.Contains(s.attestations, string(v1alpha1.ProvenanceAttestation)) {
		provenances, err := s.provenances(ctx, key, of, signature, log)
		if err != nil {
			return nil, err
		}
		artifacts = append(artifacts, provenances...)
	}
	return artifacts, nil
}

// readFiles returns the files that the image lists. listed is false if it lists no digests.
func (of signed) readFiles() (files sign.Files, listed bool, err error) {
	manifest, err := modelimage.ReadManifest(of.images[0].Image)
	var invalid *modelimage.InvalidError
	if of.stored && errors.As(err, &invalid) {
		return files, false, nil // Another program may have pushed it.
	}
	if err != nil {
		return files, false, failure.OfContent(of.repository, err)
	}
	files, listed = sign.NewFiles(manifest)
	return files, listed, nil
}

// listDigest returns the SHA-256, in hexadecimal, of the list of files that the images for
// all platforms have, or "" if they have several.
func (of signed) listDigest() (digest string, err error) {
	if of.list != "" {
		return of.list, nil
	}
	for i, variant := range of.images {
		got, err := modelimage.ManifestDigest(variant.Image)
		if err != nil {
			return "", failure.OfContent(of.repository, err)
		}
		if i > 0 && got != digest {
			return "", nil
		}
		digest = got
	}
	return digest, nil
}

// modelName returns what the files are called that are signed.
func (of signed) modelName() string {
	return cmp.Or(of.labels()[v1alpha1.LabelModelName], "model")
}

// labels returns the labels of the first image, which were compared before.
func (of signed) labels() map[string]string { return labelsOf(of.images[0]) }

func labelsOf(variant modelimage.Variant) map[string]string {
	config, err := variant.Image.ConfigFile()
	if err != nil {
		return nil
	}
	return config.Config.Labels
}

// artifactOf returns a bundle as it is stored, with the annotations by which cosign finds
// it, and the name of the file as which tools save it (specs/BUNDLE_SPEC.md in
// github.com/sigstore/cosign). They have no time, so that a retry stores nothing else.
func artifactOf(bundle []byte, artifactType, predicateType string) registry.Artifact {
	fileName := "model.sig"
	if artifactType == sign.BundleType {
		sum := sha256.Sum256(bundle)
		fileName = "sha256-" + hex.EncodeToString(sum[:]) + ".sigstore.json"
	}
	return registry.Artifact{Type: artifactType, Content: bundle, FileName: fileName, Annotations: map[string]string{
		"dev.sigstore.bundle.content": "dsse-envelope", annotationPredicate: predicateType,
	}}
}

// annotationPredicate is the annotation with the type of the statement in a bundle.
const annotationPredicate = "dev.sigstore.bundle.predicateType"
