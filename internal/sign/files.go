package sign

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"

	"github.com/modelkiln/modelkiln/internal/layer"
)

// FilesPredicate is the type of the statement by which OpenSSF Model Signing signs files
// (src/model_signing/_signing/signing.py in github.com/sigstore/model-transparency).
const FilesPredicate = "https://model_signing/signature/v1.0"

// FilesType is the artifact type, and the media type, of the signature over the files.
// It is another one than that of bundles: the signature of many files is large, and
// cosign downloads all bundles of an image.
const FilesType = "application/vnd.modelkiln.oms.v1+json"

// Files are the files of a model.
type Files struct {
	// Root is the SHA-256, in hexadecimal, of the digests of all files.
	Root string
	// Count is the number of files, and Bytes the sum of their sizes.
	Count, Bytes int64

	resources []resource
	// hasLinks is true if there is a symbolic link, to whatever: a verifier rejects all of
	// them unless the signature allows links.
	hasLinks bool
}

// resource is a file.
type resource struct {
	Name      string `json:"name"`
	Algorithm string `json:"algorithm"`
	Digest    string `json:"digest"`
}

// filesPredicate is the predicate of the statement about the files.
type filesPredicate struct {
	Serialization serialization `json:"serialization"`
	Resources     []resource    `json:"resources"`
}

// serialization says how a verifier lists the files.
type serialization struct {
	Method        string   `json:"method"`
	HashType      string   `json:"hash_type"`
	AllowSymlinks bool     `json:"allow_symlinks"`
	IgnorePaths   []string `json:"ignore_paths"`
}

// ignoredPaths are the paths at the top of a model that the verifier of OpenSSF Model
// Signing ignores by default. A signature that includes one of them does not verify.
var ignoredPaths = []string{".git", ".gitattributes", ".github", ".gitignore"}

// NewFiles returns the files that a manifest lists, as they are signed. ok is false if the
// manifest does not have the SHA-256 of every file.
func NewFiles(manifest layer.Manifest) (files Files, ok bool) {
	var index layer.Index // It takes as much memory as the entries.
	if slices.ContainsFunc(manifest.Entries, isLink) {
		index = manifest.Index()
	}
	root := sha256.New()
	files.resources = []resource{} // Not null, which no verifier reads.
	entries := slices.Clone(manifest.Entries)
	slices.SortFunc(entries, func(a, b layer.ManifestEntry) int { return comparePaths(a.Path, b.Path) })
	for _, e := range entries {
		top, _, _ := strings.Cut(e.Path, "/")
		if slices.Contains(ignoredPaths, top) {
			continue
		}
		files.hasLinks = files.hasLinks || isLink(e)
		file := follow(index, e)
		if file.Type != layer.File {
			continue
		}
		sum, err := hex.DecodeString(file.SHA256)
		if err != nil || len(sum) != sha256.Size {
			return Files{}, false
		}
		_, _ = root.Write(sum)
		files.resources = append(files.resources, resource{Name: e.Path, Algorithm: "sha256", Digest: file.SHA256})
		files.Count++
		files.Bytes += file.Size
	}
	files.Root = hex.EncodeToString(root.Sum(nil))
	return files, true
}

// comparePaths compares paths as Python's pathlib does, component by component: a slash
// comes before every other character.
func comparePaths(a, b string) int {
	for i := range min(len(a), len(b)) {
		switch {
		case a[i] == b[i]:
		case a[i] == '/':
			return -1
		case b[i] == '/':
			return 1
		default:
			return cmp.Compare(a[i], b[i])
		}
	}
	return cmp.Compare(len(a), len(b))
}

// follow returns what an entry is or leads to, if it is a link. A verifier hashes the files
// that links lead to, also by way of linked directories, and does not look into linked
// directories. A link that leads nowhere leads to no file.
func follow(index layer.Index, e layer.ManifestEntry) layer.ManifestEntry {
	if isLink(e) {
		e, _ = index.Resolve(e.Path)
	}
	return e
}

func isLink(e layer.ManifestEntry) bool { return e.Type == layer.Symlink }

// subject returns the files as what a statement is about.
func (f Files) subject(name string) subject {
	return subject{Name: name, Digest: map[string]string{"sha256": f.Root}}
}

// SignFiles returns the bundle that signs the files of a model with a name.
func (k *Key) SignFiles(name string, files Files) ([]byte, error) {
	return k.signStatement(newStatement(files.subject(name), FilesPredicate, filesPredicate{
		Serialization: serialization{Method: "files", HashType: "sha256", AllowSymlinks: files.hasLinks, IgnorePaths: ignoredPaths},
		Resources:     files.resources,
	}), k.public.omsHint())
}
