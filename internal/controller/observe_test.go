package controller

import (
	"context"
	"errors"
	"testing"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// fakePods is a reader of one pending pod of a Workflow.
type fakePods struct{ client.Reader }

func (fakePods) List(_ context.Context, list client.ObjectList, _ ...client.ListOption) error {
	list.(*corev1.PodList).Items = []corev1.Pod{{
		ObjectMeta: metav1.ObjectMeta{Name: "a", OwnerReferences: []metav1.OwnerReference{{UID: "wf", Controller: ptr.To(true)}}},
		Status:     corev1.PodStatus{Phase: corev1.PodPending},
	}}
	return nil
}

// listEvents lists as many events as are asked for.
func listEvents(list client.ObjectList, options []client.ListOption) error {
	o := client.ListOptions{}
	o.ApplyOptions(options)
	if o.Limit == 0 {
		return errors.New("all events are read")
	}
	list.(*corev1.EventList).Items = make([]corev1.Event, o.Limit)
	return nil
}

// fakeEvents and fakeAttachEvents have any number of events on each pod.
type (
	fakeEvents       struct{ client.Client }
	fakeAttachEvents struct{ cache.Cache }
)

func (fakeEvents) List(_ context.Context, list client.ObjectList, options ...client.ListOption) error {
	return listEvents(list, options)
}

func (fakeAttachEvents) List(_ context.Context, list client.ObjectList, options ...client.ListOption) error {
	return listEvents(list, options)
}

// A user creates more events on a pod than fit into the memory.
func TestMountMessagesAreBounded(t *testing.T) {
	r := &ModelVersionReconciler{Client: fakeEvents{}, Attach: fakeAttachEvents{}}
	messages, err := r.mountMessages(t.Context(), fakePods{}, &wfv1.Workflow{ObjectMeta: metav1.ObjectMeta{UID: "wf"}}, livePods)
	require.NoError(t, err)
	assert.Len(t, messages, 2*maxPodEvents)
}
