package registry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// emptyConfig is the media type of the config of an artifact
// (https://github.com/opencontainers/image-spec/blob/main/manifest.md#guidelines-for-artifact-usage).
const emptyConfig types.MediaType = "application/vnd.oci.empty.v1+json"

// annotationTitle is the annotation of a blob with the name of a file
// (https://github.com/opencontainers/image-spec/blob/main/annotations.md).
const annotationTitle = "org.opencontainers.image.title"

// Artifact is something that is stored beside an image and refers to it.
type Artifact struct {
	// Type is its artifact type, and the media type of Content.
	Type    string
	Content []byte
	// FileName is the name of the file as which tools save the content.
	FileName string
	// Annotations are those of its manifest.
	Annotations map[string]string
}

// Attach stores artifacts that refer to an image or index, which the registry has. What
// it has of them is not stored again. If the registry has no referrers API, one write
// adds all of them to the index at the tag that takes its place.
func (r *Repository) Attach(ctx context.Context, subject v1.Descriptor, artifacts []Artifact) error {
	present, hasAPI, err := r.referrers(ctx, subject.Digest)
	if err != nil {
		return err
	}
	var attached []v1.Descriptor
	for _, artifact := range artifacts {
		manifest, descriptor, err := artifact.manifest(subject)
		if err != nil {
			return err
		}
		attached = append(attached, descriptor)
		if lists(present, descriptor) && (hasAPI || r.hasManifest(ctx, descriptor.Digest)) {
			continue
		}
		if err := r.store(ctx, artifact, manifest, descriptor); err != nil {
			return err
		}
	}
	if hasAPI {
		return nil
	}
	return r.addReferrers(ctx, subject.Digest, present, attached)
}

func lists(referrers []v1.Descriptor, artifact v1.Descriptor) bool {
	return slices.ContainsFunc(referrers, func(d v1.Descriptor) bool { return d.Digest == artifact.Digest })
}

// maxIndexWrites is how often the index of referrers is written.
const maxIndexWrites = 3

// addReferrers adds artifacts to the index at the tag that takes the place of the API.
// Clients write the whole index, so that one that has read it before, such as a scanner that
// begins at the same time, removes what was added since. It is read again for that.
func (r *Repository) addReferrers(ctx context.Context, subject v1.Hash, present, artifacts []v1.Descriptor) error {
	for range maxIndexWrites {
		all := slices.Clone(present)
		for _, artifact := range artifacts {
			if !lists(all, artifact) {
				all = append(all, artifact)
			}
		}
		if len(all) == len(present) {
			return nil
		}
		if err := r.putReferrers(ctx, subject, all); err != nil {
			return err
		}
		// A policy of the registry may hold back what was written.
		if stored, _, err := r.referrers(ctx, subject); err == nil {
			present = stored
		} else {
			present = all
		}
	}
	return nil // A cache may respond with what was there before.
}

// hasManifest reports whether the registry has a manifest. An index at a tag does not prove
// that: what it lists may have been deleted since.
func (r *Repository) hasManifest(ctx context.Context, digest v1.Hash) bool {
	_, err := r.Fetch(ctx, r.name.Digest(digest.String()))
	return err == nil
}

// maxLookedUp is the number of referrers of an image that are looked up one by one.
const maxLookedUp = 1000

// putReferrers writes the index of referrers at the tag that takes the place of the API. A
// registry that verifies indexes rejects one with a manifest that was deleted, as other
// clients may have left it. It is written without those then.
func (r *Repository) putReferrers(ctx context.Context, subject v1.Hash, referrers []v1.Descriptor) error {
	err := r.putIndex(ctx, referrersTag(subject), referrers)
	var rejected *Error
	if !errors.As(err, &rejected) || rejected.Transient || len(referrers) > maxLookedUp {
		return err
	}
	stored := slices.DeleteFunc(slices.Clone(referrers), func(d v1.Descriptor) bool {
		_, err := r.Fetch(ctx, r.name.Digest(d.Digest.String()))
		return IsNotFound(err)
	})
	if len(stored) == len(referrers) {
		return err
	}
	return r.putIndex(ctx, referrersTag(subject), stored)
}

func (r *Repository) putIndex(ctx context.Context, tag string, manifests []v1.Descriptor) error {
	index, err := json.Marshal(v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex, Manifests: manifests})
	if err != nil {
		return fmt.Errorf("encode the index of referrers: %w", err)
	}
	return r.putManifest(ctx, tag, types.OCIImageIndex, index)
}

// manifest returns the manifest of an artifact, and its descriptor as an index has it.
func (a Artifact) manifest(subject v1.Descriptor) ([]byte, v1.Descriptor, error) {
	empty, content := a.blobs()
	config, err := descriptorOf(empty)
	if err != nil {
		return nil, v1.Descriptor{}, err
	}
	blob, err := descriptorOf(content)
	if err != nil {
		return nil, v1.Descriptor{}, err
	}
	blob.Annotations = map[string]string{annotationTitle: a.FileName}
	manifest, err := json.Marshal(v1.Manifest{
		SchemaVersion: 2, MediaType: types.OCIManifestSchema1, ArtifactType: a.Type, Config: config, Layers: []v1.Descriptor{blob},
		Annotations: a.Annotations, Subject: &v1.Descriptor{MediaType: subject.MediaType, Size: subject.Size, Digest: subject.Digest},
	})
	if err != nil {
		return nil, v1.Descriptor{}, fmt.Errorf("encode the manifest of an artifact: %w", err)
	}
	digest, size, err := v1.SHA256(bytes.NewReader(manifest))
	return manifest, v1.Descriptor{MediaType: types.OCIManifestSchema1, Size: size, Digest: digest, ArtifactType: a.Type, Annotations: a.Annotations}, err
}

// blobs returns the config and the content of an artifact.
func (a Artifact) blobs() (config, content v1.Layer) {
	return static.NewLayer([]byte("{}"), emptyConfig), static.NewLayer(a.Content, types.MediaType(a.Type))
}

func descriptorOf(blob v1.Layer) (d v1.Descriptor, err error) {
	if d.MediaType, err = blob.MediaType(); err != nil {
		return d, err
	}
	if d.Size, err = blob.Size(); err != nil {
		return d, err
	}
	d.Digest, err = blob.Digest()
	return d, err
}

// store stores an artifact: its blobs first, and then its manifest.
func (r *Repository) store(ctx context.Context, a Artifact, manifest []byte, descriptor v1.Descriptor) error {
	config, content := a.blobs()
	for _, blob := range []v1.Layer{config, content} {
		if err := remote.WriteLayer(r.name, blob, r.options(ctx)...); err != nil {
			return r.explain(err)
		}
	}
	return r.putManifest(ctx, descriptor.Digest.String(), descriptor.MediaType, manifest)
}

// options are those of a request that logs in itself.
func (r *Repository) options(ctx context.Context) []remote.Option {
	return []remote.Option{remote.WithContext(ctx), remote.WithTransport(r.anonymous), remote.WithAuthFromKeychain(r.keychain)}
}

// putManifest stores a manifest under a tag or its digest. go-containerregistry would
// update the index of referrers once for each artifact.
func (r *Repository) putManifest(ctx context.Context, reference string, mediaType types.MediaType, manifest []byte) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, r.url("/manifests/"+reference), bytes.NewReader(manifest))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", string(mediaType))
	resp, err := (&http.Client{Transport: r.authenticated}).Do(req)
	if err != nil {
		return r.explain(err)
	}
	defer func() { _ = resp.Body.Close() }()
	return r.explain(transport.CheckError(resp, http.StatusCreated, http.StatusOK, http.StatusAccepted))
}

// referrersTag returns the tag of the index of what refers to an image, where the registry
// has no API for that
// (https://github.com/opencontainers/distribution-spec/blob/main/spec.md#referrers-tag-schema).
func referrersTag(subject v1.Hash) string { return subject.Algorithm + "-" + subject.Hex }

// Referrers returns what refers to an image or index, with artifact types and
// annotations, as far as the first page of the registry lists it.
func (r *Repository) Referrers(ctx context.Context, subject v1.Hash) ([]v1.Descriptor, error) {
	referrers, _, err := r.referrers(ctx, subject)
	return referrers, err
}

func (r *Repository) referrers(ctx context.Context, subject v1.Hash) (referrers []v1.Descriptor, hasAPI bool, err error) {
	index, err := r.listReferrers(ctx, subject)
	if err != nil {
		return nil, false, err
	}
	if hasAPI = index != nil; !hasAPI {
		if index, err = r.taggedReferrers(ctx, subject); err != nil || index == nil {
			return nil, false, err
		}
	}
	var manifest v1.IndexManifest
	if err := json.Unmarshal(index, &manifest); err != nil {
		return nil, false, r.notAnIndex(subject)
	}
	return manifest.Manifests, hasAPI, nil
}

// listReferrers returns the response of the referrers API, or nil if the registry does not
// have it. Some registries respond to any path below a repository with a page.
func (r *Repository) listReferrers(ctx context.Context, subject v1.Hash) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.url("/referrers/"+subject.String()), http.NoBody)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", string(types.OCIImageIndex))
	resp, err := (&http.Client{Transport: r.authenticated}).Do(req)
	if err != nil {
		return nil, r.explain(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if slices.Contains([]int{http.StatusNotFound, http.StatusBadRequest, http.StatusMethodNotAllowed, http.StatusNotAcceptable}, resp.StatusCode) {
		return nil, nil
	}
	if err := transport.CheckError(resp, http.StatusOK); err != nil {
		return nil, r.explain(err)
	}
	mediaType, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if mediaType != string(types.OCIImageIndex) {
		return nil, nil
	}
	index, err := io.ReadAll(&limitedBody{ReadCloser: resp.Body, left: MaxDocument})
	return index, r.explain(err)
}

// taggedReferrers returns the index at the tag that takes the place of the referrers API,
// or nil if there is none.
func (r *Repository) taggedReferrers(ctx context.Context, subject v1.Hash) ([]byte, error) {
	descriptor, err := r.Fetch(ctx, r.name.Tag(referrersTag(subject)))
	if IsNotFound(err) || IsUnauthorized(err) {
		// Some registries deny access to a tag that does not exist.
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if descriptor.MediaType != types.OCIImageIndex {
		return nil, r.notAnIndex(subject)
	}
	return descriptor.Manifest, nil
}

func (r *Repository) notAnIndex(subject v1.Hash) *Error {
	return &Error{Kind: Unsupported, Message: fmt.Sprintf("the registry %s has something else than an index of referrers at the tag %s of %s: delete the tag", r.name.RegistryStr(), referrersTag(subject), r.name.RepositoryStr())}
}

// ReadArtifact returns the content of an artifact with one blob of at most maxSize bytes.
// Anything else has none.
func (r *Repository) ReadArtifact(ctx context.Context, digest v1.Hash, maxSize int64) ([]byte, error) {
	descriptor, err := r.Fetch(ctx, r.name.Digest(digest.String()))
	if err != nil {
		return nil, err
	}
	var manifest v1.Manifest
	if err := json.Unmarshal(descriptor.Manifest, &manifest); err != nil || len(manifest.Layers) != 1 || manifest.Layers[0].Size > maxSize {
		return nil, nil // It is something else.
	}
	blob, err := r.puller.Layer(ctx, r.name.Digest(manifest.Layers[0].Digest.String()))
	if err != nil {
		return nil, r.explain(err)
	}
	// The reader verifies the digest.
	reader, err := blob.Compressed()
	if err != nil {
		return nil, r.explain(err)
	}
	defer func() { _ = reader.Close() }()
	content, err := io.ReadAll(io.LimitReader(reader, maxSize+1))
	if int64(len(content)) > maxSize {
		return nil, nil
	}
	return content, r.explain(err)
}

// SignatureTag returns the tag at which signatures of an image are that refer to it by
// nothing else (specs/SIGNATURE_SPEC.md in github.com/sigstore/cosign).
func SignatureTag(subject v1.Hash) string { return referrersTag(subject) + ".sig" }
