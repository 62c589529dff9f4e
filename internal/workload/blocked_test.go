package workload_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/workload"
	"github.com/modelkiln/modelkiln/test/builders"
)

func TestBecameReady(t *testing.T) {
	since := metav1.NewTime(builders.Epoch)
	after := func(d time.Duration) time.Time { return builders.Epoch.Add(d) }
	mv := func(status metav1.ConditionStatus) *builders.ModelVersionWrapper {
		return builders.MakeModelVersion("resnet-1", "team-a").Status(v1alpha1.ModelVersionStatus{
			Conditions: []metav1.Condition{{Type: v1alpha1.ConditionReady, Status: status, LastTransitionTime: since}},
		})
	}
	assert.True(t, workload.BecameReady(mv(metav1.ConditionTrue).Obj(), after(time.Second)))
	assert.True(t, workload.BecameReady(mv(metav1.ConditionTrue).Obj(), after(1000*time.Second)), "a controller's longest wait")
	assert.True(t, workload.BecameReady(mv(metav1.ConditionTrue).Obj(), after(-time.Second)), "two machines' clocks")
	assert.False(t, workload.BecameReady(mv(metav1.ConditionTrue).Obj(), after(20*time.Minute)))
	assert.False(t, workload.BecameReady(mv(metav1.ConditionFalse).Obj(), after(time.Second)))
	assert.False(t, workload.BecameReady(mv(metav1.ConditionTrue).Deleting(builders.Epoch).Obj(), after(time.Second)))
	assert.False(t, workload.BecameReady(builders.MakeModelVersion("resnet-1", "team-a").Obj(), after(time.Second)))
}

func TestBlockerOf(t *testing.T) {
	mv := builders.MakeModelVersion("resnet-1", "team-a").Built("registry.example.com:5000/modelhub/resnet:v1", builders.Digest).Model("resnet").Obj()
	pods := func(label, value string) corev1.PodTemplateSpec {
		return corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{label: value}}}
	}
	aliased := func(alias string) corev1.PodTemplateSpec {
		template := pods(v1alpha1.LabelServeModel, "resnet")
		template.Labels[v1alpha1.LabelServeAlias] = alias
		return template
	}
	isLatest, isProduction := map[string]bool{"": true}, map[string]bool{"": false, "production": true}
	ours, models := pods(v1alpha1.LabelServeVersion, "resnet-1"), pods(v1alpha1.LabelServeModel, "resnet")
	replicas := func(template corev1.PodTemplateSpec, wanted *int32, existing int32) *appsv1.ReplicaSet {
		return &appsv1.ReplicaSet{Spec: appsv1.ReplicaSetSpec{Template: template, Replicas: wanted}, Status: appsv1.ReplicaSetStatus{Replicas: existing}}
	}
	job := func(spec batchv1.JobSpec, status batchv1.JobStatus) *batchv1.Job {
		spec.Template = ours
		return &batchv1.Job{Spec: spec, Status: status}
	}
	daemons := func(wanted, existing int32) *appsv1.DaemonSet {
		return &appsv1.DaemonSet{Spec: appsv1.DaemonSetSpec{Template: ours}, Status: appsv1.DaemonSetStatus{DesiredNumberScheduled: wanted, CurrentNumberScheduled: existing}}
	}
	notified := replicas(ours, nil, 0)
	notified.Annotations = map[string]string{v1alpha1.AnnotationModelReady: workload.ReadyMark(mv)}
	notifiedOfAnother := replicas(ours, nil, 0)
	notifiedOfAnother.Annotations = map[string]string{v1alpha1.AnnotationModelReady: "resnet-0@sha256:0"}
	deleting := replicas(ours, nil, 0)
	deleting.DeletionTimestamp = ptr.To(metav1.NewTime(builders.Epoch))
	for name, tt := range map[string]struct {
		workload metav1.Object
		aliases  map[string]bool
		want     bool
	}{
		"a ReplicaSet without a pod":                     {workload: replicas(ours, nil, 0), want: true},
		"a ReplicaSet with some of its pods":             {workload: replicas(ours, ptr.To[int32](3), 2), want: true},
		"a ReplicaSet with all of its pods":              {workload: replicas(ours, ptr.To[int32](3), 3)},
		"a ReplicaSet of no replicas":                    {workload: replicas(ours, ptr.To[int32](0), 0)},
		"a ReplicaSet that is being deleted":             {workload: deleting},
		"a ReplicaSet that was notified":                 {workload: notified},
		"a ReplicaSet that was notified of another one":  {workload: notifiedOfAnother, want: true},
		"a ReplicaSet of another version":                {workload: replicas(pods(v1alpha1.LabelServeVersion, "resnet-2"), nil, 0)},
		"a ReplicaSet without the label":                 {workload: replicas(corev1.PodTemplateSpec{}, nil, 0)},
		"a ReplicaSet of the Model, with the latest":     {workload: replicas(models, nil, 0), aliases: isLatest, want: true},
		"a ReplicaSet of the Model, with another latest": {workload: replicas(models, nil, 0)},
		"a ReplicaSet of another Model, with the latest": {workload: replicas(pods(v1alpha1.LabelServeModel, "bert"), nil, 0), aliases: isLatest},
		"a ReplicaSet of an alias of the version":        {workload: replicas(aliased("production"), nil, 0), aliases: isProduction, want: true},
		"a ReplicaSet of another alias":                  {workload: replicas(aliased("canary"), nil, 0), aliases: isProduction},
		"a ReplicaSet of an alias, with the latest":      {workload: replicas(aliased("production"), nil, 0), aliases: isLatest},
		"a ReplicaSet of the Model, with an alias":       {workload: replicas(models, nil, 0), aliases: isProduction},
		"a StatefulSet without a pod":                    {workload: &appsv1.StatefulSet{Spec: appsv1.StatefulSetSpec{Template: ours}}, want: true},
		"a StatefulSet with its pod":                     {workload: &appsv1.StatefulSet{Spec: appsv1.StatefulSetSpec{Template: ours}, Status: appsv1.StatefulSetStatus{Replicas: 1}}},
		"a DaemonSet that is not on every node":          {workload: daemons(2, 1), want: true},
		"a DaemonSet that is on every node":              {workload: daemons(2, 2)},
		"a Job without a pod":                            {workload: job(batchv1.JobSpec{}, batchv1.JobStatus{}), want: true},
		"a Job with its pod":                             {workload: job(batchv1.JobSpec{}, batchv1.JobStatus{Active: 1})},
		"a Job with some of its pods":                    {workload: job(batchv1.JobSpec{Parallelism: ptr.To[int32](3), Completions: ptr.To[int32](9)}, batchv1.JobStatus{Active: 2}), want: true},
		"a Job whose last pods run":                      {workload: job(batchv1.JobSpec{Parallelism: ptr.To[int32](3), Completions: ptr.To[int32](9)}, batchv1.JobStatus{Active: 1, Succeeded: 8})},
		"a Job that is suspended":                        {workload: job(batchv1.JobSpec{Suspend: ptr.To(true)}, batchv1.JobStatus{})},
		"a Job that is complete":                         {workload: job(batchv1.JobSpec{}, batchv1.JobStatus{CompletionTime: ptr.To(metav1.NewTime(builders.Epoch))})},
		"a Job that has failed":                          {workload: job(batchv1.JobSpec{}, batchv1.JobStatus{Conditions: []batchv1.JobCondition{{Type: batchv1.JobFailed, Status: corev1.ConditionTrue}}})},
		"a workload of another kind":                     {workload: &appsv1.Deployment{Spec: appsv1.DeploymentSpec{Template: ours}}},
	} {
		t.Run(name, func(t *testing.T) {
			var unblocked workload.Unblocked
			assert.True(t, unblocked.IsEmpty())
			assert.Nil(t, unblocked.BlockerOf(tt.workload))

			unblocked.Add(builders.MakeModelVersion("bert-2", "team-a").Model("bert").Obj(), nil)
			unblocked.Add(mv, tt.aliases)
			assert.False(t, unblocked.IsEmpty())
			want := map[bool]*v1alpha1.ModelVersion{true: mv}[tt.want]
			assert.Equal(t, want, unblocked.BlockerOf(tt.workload))
		})
	}
}
