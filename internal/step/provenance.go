package step

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/registry"
	"github.com/modelkiln/modelkiln/internal/report"
	"github.com/modelkiln/modelkiln/internal/sign"
	"github.com/modelkiln/modelkiln/internal/step/modelimage"
)

// provenances returns the provenance of the build, unless an earlier build has attested it,
// and that of the training, if something is known of it.
func (s *signing) provenances(ctx context.Context, key *sign.Key, of signed, signature *report.Signature, log io.Writer) ([]registry.Artifact, error) {
	var artifacts []registry.Artifact
	bundle, err := s.provenance(ctx, key, of)
	if err != nil {
		return nil, err
	}
	if bundle != nil {
		artifacts = append(artifacts, artifactOf(bundle, sign.BundleType, sign.ProvenancePredicate))
	}
	signature.Attestations = append(signature.Attestations, string(v1alpha1.ProvenanceAttestation))
	facts := s.facts(of.report, log)
	if len(facts) == 0 {
		return artifacts, nil
	}
	if bundle, err = s.training(key, of, facts); err != nil {
		return nil, err
	}
	signature.Attestations = append(signature.Attestations, string(v1alpha1.TrainingAttestation))
	return append(artifacts, artifactOf(bundle, sign.BundleType, sign.ProvenancePredicate)), nil
}

// maxProvenances is how many provenances of an image are read.
const maxProvenances = 16

// builder returns the URI of the platform.
func (s *signing) builder() string { return cmp.Or(s.builderID, sign.DefaultBuilderID) }

// provenance returns the bundle that attests how the image was built, or nil if an
// earlier build has attested it with the same key.
func (s *signing) provenance(ctx context.Context, key *sign.Key, of signed) ([]byte, error) {
	if of.found {
		attested, err := isAttested(ctx, key, of)
		if err != nil || attested {
			return nil, err
		}
	}
	labels := of.labels()
	p := sign.Provenance{
		BuilderID: s.builder(), Started: s.started,
		Invocation: strings.Join([]string{s.namespace, "workflows", s.workflow, s.workflowUID}, "/"),
		Request: sign.Request{
			Image: of.reference, Source: of.plan.StorageName(), Include: of.plan.Patterns().Include, Exclude: of.plan.Patterns().Exclude,
			BaseImage: labels[modelimage.LabelBaseName], ModelPath: "/" + of.plan.Model.ModelDir(),
			Model: labels[v1alpha1.LabelModelName], ModelVersion: labels[v1alpha1.LabelModelVersion],
			ModelVersionUID: labels[v1alpha1.LabelModelVersionUID], CreatedBy: labels[modelimage.LabelCreatedBy],
		},
		Dependencies: of.dependencies(),
	}
	if info, known := debug.ReadBuildInfo(); known {
		p.Version = info.Main.Version
	}
	return key.SignProvenance(of.image, p)
}

// dependencies returns what the image consists of: the base image of each platform, and
// the files, with the commit that they are from.
func (of signed) dependencies() []sign.Dependency {
	var dependencies []sign.Dependency
	for _, variant := range of.images {
		labels := labelsOf(variant)
		sum, found := strings.CutPrefix(labels[modelimage.LabelBaseDigest], "sha256:")
		isKnown := func(d sign.Dependency) bool { return d.Digest["sha256"] == sum }
		if found && !slices.ContainsFunc(dependencies, isKnown) {
			dependencies = append(dependencies, sign.Dependency{Name: "base-image", URI: labels[modelimage.LabelBaseName], Digest: map[string]string{"sha256": sum}})
		}
	}
	if remote := of.plan.Remote; remote != nil && remote.Location.Revision() != "" {
		dependencies = append(dependencies, sign.Dependency{Name: "source", URI: remote.Location.Source(), Digest: map[string]string{"gitCommit": remote.Location.Revision()}})
	}
	if of.listed {
		dependencies = append(dependencies, sign.Dependency{
			Name: "files", Digest: map[string]string{"sha256": of.files.Root},
			Annotations: map[string]string{"files": fmt.Sprint(of.files.Count), "bytes": fmt.Sprint(of.files.Bytes)},
		})
	}
	return dependencies
}

// isAttested reports whether the registry has a provenance of the image's build by the key.
func isAttested(ctx context.Context, key *sign.Key, of signed) (bool, error) {
	referrers, err := of.repository.Referrers(ctx, of.subject.Digest)
	if err != nil {
		return false, cannotSign(err)
	}
	read := 0
	for _, d := range referrers {
		if d.ArtifactType != sign.BundleType || d.Annotations[annotationPredicate] != sign.ProvenancePredicate || read == maxProvenances {
			continue
		}
		read++
		bundle, err := of.repository.ReadArtifact(ctx, d.Digest, sign.MaxBundle)
		if registry.IsNotFound(err) {
			continue // An index at a tag can list what was deleted.
		}
		if err != nil {
			return false, cannotSign(err)
		}
		if sign.VerifyProvenance(bundle, of.image.Digest, key.Public()) == nil {
			return true, nil
		}
	}
	return false, nil
}
