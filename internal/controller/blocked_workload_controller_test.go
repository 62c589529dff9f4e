package controller

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/test/builders"
)

// fakeWorkloads is an API server with one ModelVersion and some ReplicaSets that wait
// for it, one of which it does not let anybody patch.
type fakeWorkloads struct {
	client.Client
	version   *v1alpha1.ModelVersion
	workloads []string
	denied    string
	patched   []string
}

func (f *fakeWorkloads) Status() client.SubResourceWriter { return fakeStatusWriter{fake: f} }

func (f *fakeWorkloads) Get(_ context.Context, key client.ObjectKey, o client.Object, _ ...client.GetOption) error {
	if mv, isVersion := o.(*v1alpha1.ModelVersion); isVersion {
		f.version.DeepCopyInto(mv)
		return nil
	}
	return apierrors.NewNotFound(schema.GroupResource{}, key.Name)
}

func (f *fakeWorkloads) List(_ context.Context, list client.ObjectList, _ ...client.ListOption) error {
	if sets, areReplicaSets := list.(*appsv1.ReplicaSetList); areReplicaSets {
		for _, name := range f.workloads {
			set := appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{Name: name}}
			set.Spec.Template.Labels = map[string]string{v1alpha1.LabelServeVersion: f.version.Name}
			sets.Items = append(sets.Items, set)
		}
	}
	return nil
}

// fakeStatusWriter patches the status of fakeWorkloads.
type fakeStatusWriter struct {
	client.SubResourceWriter
	fake *fakeWorkloads
}

func (f fakeStatusWriter) Patch(_ context.Context, o client.Object, _ client.Patch, _ ...client.SubResourcePatchOption) error {
	if o.GetName() == f.fake.denied {
		return errors.New("denied by a policy")
	}
	f.fake.patched = append(f.fake.patched, o.GetName())
	return nil
}

func TestBlockedWorkloadThatCannotBePatched(t *testing.T) {
	mv := builders.MakeModelVersion("resnet-1", "team").Built("modelhub/resnet:v1", builders.Digest).Obj()
	mv.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue, LastTransitionTime: metav1.NewTime(builders.Epoch)}}
	server := &fakeWorkloads{version: mv, workloads: []string{"a", "b", "c"}, denied: "a"}
	r := &BlockedWorkloadReconciler{Client: server, Live: server, Recorder: events.NewFakeRecorder(10), Now: func() time.Time { return builders.Epoch.Add(time.Minute) }}
	requests := r.namespaceOfReady(t.Context(), mv)
	require.Equal(t, []ctrl.Request{{NamespacedName: client.ObjectKey{Namespace: "team"}}}, requests)
	_, err := r.Reconcile(t.Context(), requests[0])
	require.ErrorContains(t, err, "denied by a policy", "it is tried again")
	assert.Equal(t, []string{"b", "c"}, server.patched)

	server.denied = ""
	_, err = r.Reconcile(t.Context(), requests[0])
	require.NoError(t, err)
	assert.Equal(t, []string{"b", "c", "a", "b", "c"}, server.patched, "the version was not forgotten")
	_, err = r.Reconcile(t.Context(), requests[0])
	require.NoError(t, err)
	assert.Len(t, server.patched, 5, "a version is looked at once")
}
