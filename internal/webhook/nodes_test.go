package webhook

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/version"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/inject"
	"github.com/modelkiln/modelkiln/test/builders"
)

// fakeCache is a cache that reads from a fake client.
type fakeCache struct {
	cache.Cache
	reader client.Reader
}

func (fakeCache) GetInformer(context.Context, client.Object, ...cache.InformerGetOption) (cache.Informer, error) {
	return nil, nil
}

func (c fakeCache) List(ctx context.Context, list client.ObjectList, opts ...client.ListOption) error {
	return c.reader.List(ctx, list, opts...)
}

// fakeServer is an API server of a version.
type fakeServer struct{ minor string }

func (s fakeServer) ServerVersionWithContext(context.Context) (*version.Info, error) {
	return &version.Info{Major: "1", Minor: s.minor}, nil
}

func TestServingAuto(t *testing.T) {
	node := func(name, runtime string) *corev1.Node {
		return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}, Status: corev1.NodeStatus{NodeInfo: corev1.NodeSystemInfo{KubeletVersion: "v1.35.0", ContainerRuntimeVersion: runtime}}}
	}
	forbidden := apierrors.NewForbidden(schema.GroupResource{Resource: "nodes"}, "", nil)
	const copies = "an init container copies the model, and its image is not mounted: "
	for name, tt := range map[string]struct {
		minor       string
		nodes       []client.Object
		notStarted  bool
		err         error
		wantMounted bool
		want        []string // The warnings.
	}{
		"all nodes mount images":  {minor: "35", nodes: []client.Object{node("a", "containerd://2.2.1"), node("b", "cri-o://1.35.0")}, wantMounted: true},
		"one node does not":       {minor: "35", nodes: []client.Object{node("a", "containerd://2.2.1"), node("b", "containerd://2.1.9")}, want: []string{copies + "node b runs containerd://2.1.9, and image volumes with a subPath need containerd 2.2 (of k3s and RKE2 2.3) or CRI-O 1.33"}},
		"no nodes":                {minor: "35", wantMounted: true},
		"an older API server":     {minor: "34", nodes: []client.Object{node("a", "containerd://2.2.1")}},
		"nodes may not be listed": {minor: "35", err: forbidden, want: []string{copies + "the operator may not list the nodes"}},
		"nodes are not known yet": {minor: "35", notStarted: true, want: []string{copies + "the operator has not read the nodes yet"}},
	} {
		t.Run(name, func(t *testing.T) {
			mv := builders.MakeModelVersion("v1", "team-a").Built("modelhub/resnet:v1", builders.Digest).Obj()
			c := fake.NewClientBuilder().WithScheme(testScheme(t)).WithObjects(append(tt.nodes, mv)...).WithInterceptorFuncs(interceptor.Funcs{
				List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, opts ...client.ListOption) error {
					if tt.err != nil {
						return tt.err
					}
					return c.List(ctx, list, opts...)
				},
			}).Build()
			nodes := &Nodes{Live: c, Cache: fakeCache{reader: c}}
			assert.False(t, nodes.NeedLeaderElection())
			require.Error(t, nodes.Ready(httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/readyz", nil)))
			if !tt.notStarted {
				require.NoError(t, nodes.Start(t.Context()))
				require.NoError(t, nodes.Ready(httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/readyz", nil)))
			}
			serving := &Serving{Live: c, Client: c, Server: fakeServer{tt.minor}, Nodes: nodes, Mount: inject.ServingAuto}
			pod := &corev1.Pod{
				ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{v1alpha1.LabelServeVersion: "v1"}},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "serve"}}},
			}
			var warnings []string
			ctx := context.WithValue(t.Context(), warningsKey{}, &warnings)
			ctx = admission.NewContextWithRequest(ctx, admission.Request{AdmissionRequest: admissionv1.AdmissionRequest{Namespace: "team-a"}})
			require.NoError(t, serving.Default(ctx, pod))
			assert.Equal(t, tt.wantMounted, pod.Spec.Volumes[0].Image != nil)
			assert.Equal(t, tt.want, warnings)
		})
	}
}
