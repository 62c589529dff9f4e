// Command sigstore verifies bundles of Sigstore with sigstore-go, as other clients than
// Modelkiln do, for the tests in test/registries. It is a module of its own, so that the
// steps do not depend on those of Sigstore.
//
//	sigstore image KEY DIGEST BUNDLE        the signature of an image
//	sigstore provenance KEY DIGEST BUNDLE   the provenance of an image
//	sigstore training KEY DIGEST BUNDLE     the provenance of the training of the model in
//	                                        an image, or of the files with a digest
//	sigstore files KEY DIRECTORY BUNDLE     the signature over the files in a directory
package main

import (
	"crypto"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/verify"
	"github.com/sigstore/sigstore/pkg/cryptoutils"
	"github.com/sigstore/sigstore/pkg/signature"
)

// predicates are the types of statements.
var predicates = map[string]string{
	"image":      "https://sigstore.dev/cosign/sign/v1",
	"provenance": "https://slsa.dev/provenance/v1",
	"training":   "https://slsa.dev/provenance/v1",
	"files":      "https://model_signing/signature/v1.0",
}

// buildTypes are the types of builds in provenances.
var buildTypes = map[string]string{
	"provenance": "https://github.com/modelkiln/modelkiln/blob/main/api/docs/verify.md#provenance",
	"training":   "https://github.com/modelkiln/modelkiln/blob/main/api/docs/verify.md#training",
}

func main() {
	if len(os.Args) != 5 || predicates[os.Args[1]] == "" {
		fmt.Fprintln(os.Stderr, "usage: sigstore image|provenance|training|files KEY DIGEST|DIRECTORY BUNDLE")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2], os.Args[3], os.Args[4]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(kind, key, subject, file string) error {
	if kind != "files" {
		_, err := verified(kind, key, strings.TrimPrefix(subject, "sha256:"), file)
		return err
	}
	found, digest, err := list(subject)
	if err != nil {
		return err
	}
	result, err := verified(kind, key, digest, file)
	if err != nil {
		return err
	}
	return compare(found, result.Statement.GetPredicate().AsMap())
}

// verified returns what a bundle says about a subject with a digest.
func verified(kind, key, digest, file string) (*verify.VerificationResult, error) {
	text, err := os.ReadFile(key)
	if err != nil {
		return nil, err
	}
	public, err := cryptoutils.UnmarshalPEMToPublicKey(text)
	if err != nil {
		return nil, err
	}
	verifier, err := signature.LoadVerifier(public, crypto.SHA256)
	if err != nil {
		return nil, err
	}
	trusted := root.NewTrustedPublicKeyMaterial(func(string) (root.TimeConstrainedVerifier, error) {
		return root.NewExpiringKey(verifier, time.Time{}, time.Time{}), nil
	})
	signed, err := bundle.LoadJSONFromPath(file)
	if err != nil {
		return nil, err
	}
	client, err := verify.NewVerifier(trusted, verify.WithNoObserverTimestamps())
	if err != nil {
		return nil, err
	}
	sum, err := hex.DecodeString(digest)
	if err != nil {
		return nil, err
	}
	result, err := client.Verify(signed, verify.NewPolicy(verify.WithArtifactDigest("sha256", sum), verify.WithKey()))
	if err != nil {
		return nil, err
	}
	if got := result.Statement.GetPredicateType(); got != predicates[kind] {
		return nil, fmt.Errorf("the statement has the type %s", got)
	}
	definition, _ := result.Statement.GetPredicate().AsMap()["buildDefinition"].(map[string]any)
	if got, _ := definition["buildType"].(string); got != buildTypes[kind] {
		return nil, fmt.Errorf("the provenance has the build type %s", got)
	}
	return result, nil
}

// ignored are the paths that the verifier of OpenSSF Model Signing ignores by default.
var ignored = []string{".git", ".gitattributes", ".github", ".gitignore"}

// resource is a file and its SHA-256.
type resource struct{ name, digest string }

// files are the files in a directory, and whether it has symbolic links.
type files struct {
	resources []resource
	hasLinks  bool
}

// list hashes the files in a directory as the verifier of OpenSSF Model Signing does
// (src/model_signing/_serialization/file.py in github.com/sigstore/model-transparency),
// and returns the digest of all digests. Links are followed to files.
func list(directory string) (found files, digest string, err error) {
	err = filepath.WalkDir(directory, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(directory, path)
		if err != nil || slices.Contains(ignored, strings.Split(name, "/")[0]) {
			return err
		}
		found.hasLinks = found.hasLinks || d.Type() == fs.ModeSymlink
		info, err := os.Stat(path)
		if err != nil || !info.Mode().IsRegular() {
			return err
		}
		file, err := os.Open(path)
		if err != nil {
			return err
		}
		defer file.Close()
		sum := sha256.New()
		if _, err := io.Copy(sum, file); err != nil {
			return err
		}
		found.resources = append(found.resources, resource{name, hex.EncodeToString(sum.Sum(nil))})
		return nil
	})
	// Python compares paths component by component.
	slices.SortFunc(found.resources, func(a, b resource) int {
		return slices.Compare(strings.Split(a.name, "/"), strings.Split(b.name, "/"))
	})
	all := sha256.New()
	for _, r := range found.resources {
		sum, _ := hex.DecodeString(r.digest)
		all.Write(sum)
	}
	return found, hex.EncodeToString(all.Sum(nil)), err
}

// compare returns an error if a statement lists other files than a directory has: the
// same digests could be those of files with other names. All links of a directory are
// rejected unless the statement allows them.
func compare(found files, predicate map[string]any) error {
	serialization, _ := predicate["serialization"].(map[string]any)
	if found.hasLinks && serialization["allow_symlinks"] != true {
		return errors.New("the directory has symbolic links")
	}
	listed, _ := predicate["resources"].([]any)
	var signed []resource
	for _, item := range listed {
		fields, _ := item.(map[string]any)
		name, _ := fields["name"].(string)
		digest, _ := fields["digest"].(string)
		if fields["algorithm"] != "sha256" {
			return fmt.Errorf("%q is hashed by %v", name, fields["algorithm"])
		}
		signed = append(signed, resource{name, digest})
	}
	if !slices.Equal(found.resources, signed) {
		return errors.New("the directory has other files")
	}
	return nil
}
