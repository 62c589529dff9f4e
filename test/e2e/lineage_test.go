//go:build e2e

package e2e

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
)

// writesCard writes a model whose card names another base model than the pod was given.
const writesCard = `test -n "$(ls /base)" && echo weights > /kubedl-model/model.bin && printf -- '---\nlicense: apache-2.0\nbase_model: meta-llama/Llama-3.1-8B\n---\n' > /kubedl-model/README.md`

// Kubelet reports the images of pods, the webhook names the ModelVersion that a pod is
// given, and the steps read the model card.
func TestLineage(t *testing.T) {
	t.Parallel()
	ns := live.namespace(t)
	base := live.built(t, makeVersion("base", ns, model(t)).New())
	mv := makeVersion("tuned", ns, newDirectory(t)).TrainedBy("batch/v1", "Job", "tune").New()
	mv.Spec.Lineage = &v1alpha1.Lineage{Datasets: []v1alpha1.Resource{{URI: "s3://data/faces/v3"}}}
	live.create(t, mv)
	job := live.training("tune", ns, "tuned", writesCard)
	job.Annotations = map[string]string{v1alpha1.AnnotationLineage: "run: {name: x1}"}
	job.Spec.Template.Labels[v1alpha1.LabelServeVersion] = "base"
	job.Spec.Template.Annotations = map[string]string{v1alpha1.AnnotationMountPath: "/base"}
	live.create(t, job)

	mv = live.ready(t, mv)

	require.NotNil(t, mv.Status.Lineage)
	find := func(origin v1alpha1.LineageOrigin, kind v1alpha1.LineageKind) v1alpha1.LineageFact {
		facts := mv.Status.Lineage.Facts
		i := slices.IndexFunc(facts, func(fact v1alpha1.LineageFact) bool { return fact.Origin == origin && fact.Kind == kind })
		require.GreaterOrEqual(t, i, 0, "%s %s in %v", origin, kind, facts)
		return facts[i]
	}
	assert.Equal(t, "s3://data/faces/v3", find(v1alpha1.DeclaredFact, v1alpha1.DatasetFact).URI)
	assert.Equal(t, "Job tune", find(v1alpha1.DeclaredFact, v1alpha1.RunFact).Source)
	workload := find(v1alpha1.ObservedFact, v1alpha1.WorkloadFact)
	assert.Equal(t, [2]string{"Job tune", "uid:" + string(job.UID)}, [2]string{workload.Name, workload.Digest})
	image := find(v1alpha1.ObservedFact, v1alpha1.ImageFact)
	assert.Regexp(t, `/library/busybox@sha256:[0-9a-f]{64}$`, image.URI)
	assert.Regexp(t, `^sha256:[0-9a-f]{64}$`, image.Digest)
	given := find(v1alpha1.ObservedFact, v1alpha1.BaseModelFact)
	assert.Equal(t, [2]string{"ModelVersion base", base.Status.Digest}, [2]string{given.Name, given.Digest})
	assert.Equal(t, "File README.md: meta-llama/Llama-3.1-8B", given.Contradicts)
	assert.Equal(t, "apache-2.0", find(v1alpha1.FileFact, v1alpha1.LicenseFact).Value)
	assert.Equal(t, "Observed: ModelVersion base "+base.Status.Digest, find(v1alpha1.FileFact, v1alpha1.BaseModelFact).Contradicts)
}
