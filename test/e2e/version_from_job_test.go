//go:build e2e

package e2e

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/test/registries/content"
)

// allowVersions allows the workloads of a namespace to create ModelVersions.
func (c *cluster) allowVersions(t *testing.T, name string) {
	t.Helper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
	patch := client.RawPatch("application/merge-patch+json", fmt.Appendf(nil, `{"metadata":{"labels":{%q:"true"}}}`, v1alpha1.LabelVersionsFromWorkloads))
	require.NoError(t, c.Patch(t.Context(), namespace, patch))
}

// jobWithSpec returns a Job with the spec of a ModelVersion in its annotation.
func (c *cluster) jobWithSpec(t *testing.T, name, namespace, command string, mv *v1alpha1.ModelVersion) *batchv1.Job {
	t.Helper()
	spec, err := yaml.Marshal(mv.Spec)
	require.NoError(t, err)
	job := c.training(name, namespace, "", command)
	job.Annotations = map[string]string{v1alpha1.AnnotationModelVersion: string(spec)}
	return job
}

// versionOf returns the ModelVersion of a Job, by name.
func versionOf(job *batchv1.Job) *v1alpha1.ModelVersion {
	return &v1alpha1.ModelVersion{ObjectMeta: metav1.ObjectMeta{Namespace: job.Namespace, Name: "mv-" + job.Name + "-" + string(job.UID)[:5]}}
}

// awaitVersionOf returns the ModelVersion of a Job when it exists.
func (c *cluster) awaitVersionOf(t *testing.T, job *batchv1.Job) *v1alpha1.ModelVersion {
	t.Helper()
	mv := versionOf(job)
	require.EventuallyWithT(t, func(collect *assert.CollectT) {
		require.NoError(collect, c.Get(t.Context(), client.ObjectKeyFromObject(mv), mv))
	}, noticeTime, tick)
	return mv
}

const trains = `echo weights > "$KUBEDL_MODEL_PATH/model.bin"`

func TestVersionFromJob(t *testing.T) {
	t.Parallel()
	ns := live.namespace(t)
	live.allowVersions(t, ns)
	dir := newDirectory(t)
	// The node is the one where the pod runs.
	spec := makeVersion("none", ns, dir).LocalStorage(string(dir), "").CreatedBy("").New()
	job := live.jobWithSpec(t, "train", ns, trains, spec)
	live.create(t, job)

	mv := live.ready(t, live.awaitVersionOf(t, job))

	assert.Equal(t, content.File("weights\n"), assertImage(t, mv, dir).Model["model.bin"])
	assert.Equal(t, "train", mv.Spec.CreatedBy)
	assert.Equal(t, nodeName, mv.Status.NodeName)
}

func TestVersionFromCronJob(t *testing.T) {
	t.Parallel()
	ns := live.namespace(t)
	live.allowVersions(t, ns)
	template := live.jobWithSpec(t, "nightly", ns, trains, makeVersion("none", ns, newDirectory(t)).New())
	nightly := &batchv1.CronJob{
		ObjectMeta: metav1.ObjectMeta{Name: "nightly", Namespace: ns},
		Spec: batchv1.CronJobSpec{
			Schedule: "0 3 * * *", Suspend: ptr.To(true),
			JobTemplate: batchv1.JobTemplateSpec{ObjectMeta: metav1.ObjectMeta{Annotations: template.Annotations}, Spec: template.Spec},
		},
	}
	live.create(t, nightly)
	var runs []*batchv1.Job
	for _, name := range []string{"nightly-1", "nightly-2"} {
		// This is what kubectl create job --from does.
		run := &batchv1.Job{
			ObjectMeta: metav1.ObjectMeta{
				Name: name, Namespace: ns, Annotations: nightly.Spec.JobTemplate.Annotations,
				OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(nightly, batchv1.SchemeGroupVersion.WithKind("CronJob"))},
			},
			Spec: nightly.Spec.JobTemplate.Spec,
		}
		live.create(t, run)
		runs = append(runs, run)
	}
	for _, run := range runs {
		live.ready(t, live.awaitVersionOf(t, run))
	}
}
