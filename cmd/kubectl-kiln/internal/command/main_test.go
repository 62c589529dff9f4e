package command

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/inject"
)

// root is the directory of the repository.
const root = "../../../.."

// deadline is how long a test waits for what should happen at once.
const deadline = 30 * time.Second

// server is the API server of all tests: a real one, without controllers and without a
// kubelet.
var server *apiServer

type apiServer struct {
	*envtest.Environment
	client.WithWatch
	// people has the kubeconfig files of those who call the commands: the administrator of
	// the cluster, those with the shipped role edit, with view, with view of the whole
	// cluster, and with no role.
	people map[string]string
}

const (
	admin    = "admin"
	editor   = "editor"
	viewer   = "viewer"
	auditor  = "auditor"
	stranger = "stranger"
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	ctrl.SetLogger(logr.Discard())
	if os.Getenv("KUBEBUILDER_ASSETS") == "" {
		fmt.Fprintln(os.Stderr, "These tests need a kube-apiserver and an etcd: run them with make test, or set KUBEBUILDER_ASSETS to the directory that `go -C test/cluster run . assets` prints.")
		return 1
	}
	var err error
	if server, err = start(); err != nil {
		fmt.Fprintln(os.Stderr, "Could not start an API server:", err)
		return 1
	}
	defer func() { _ = server.Stop() }()
	return m.Run()
}

func start() (*apiServer, error) {
	argo, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/argoproj/argo-workflows/v3").Output()
	if err != nil {
		return nil, fmt.Errorf("find Argo's module: %w", err)
	}
	s := &apiServer{people: map[string]string{}, Environment: &envtest.Environment{Scheme: scheme, CRDDirectoryPaths: []string{
		filepath.Join(root, "deploy", "crd"), filepath.Join(strings.TrimSpace(string(argo)), "manifests", "base", "crds", "minimal"),
	}}}
	config, err := s.Start()
	if err != nil {
		return nil, err
	}
	if s.WithWatch, err = client.NewWithWatch(config, client.Options{Scheme: scheme}); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if err := s.createRoles(ctx); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "kiln")
	if err != nil {
		return nil, err
	}
	groups := map[string][]string{admin: {"system:masters"}}
	for _, person := range []string{admin, editor, viewer, auditor, stranger} {
		user, err := s.AddUser(envtest.User{Name: person, Groups: groups[person]}, nil)
		if err != nil {
			return nil, err
		}
		content, err := user.KubeConfig()
		if err != nil {
			return nil, err
		}
		s.people[person] = filepath.Join(dir, person)
		if err := os.WriteFile(s.people[person], content, 0o600); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// createRoles creates the roles that are shipped for users.
func (s *apiServer) createRoles(ctx context.Context) error {
	raw, err := os.ReadFile(filepath.Join(root, "deploy", "rbac", "users.yaml"))
	if err != nil {
		return err
	}
	documents := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(raw), 4096)
	for {
		object := &unstructured.Unstructured{}
		if err := documents.Decode(object); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if err := s.Create(ctx, object); err != nil {
			return err
		}
	}
}

// newNamespace creates a namespace in which the editor and the viewer have the shipped
// roles.
func newNamespace(t *testing.T, labels ...string) string {
	t.Helper()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "kiln-", Labels: map[string]string{}}}
	for _, label := range labels {
		key, value, _ := strings.Cut(label, "=")
		ns.Labels[key] = value
	}
	require.NoError(t, server.Create(t.Context(), ns))
	for role, people := range map[string][]string{"modelkiln-view": {editor, viewer}, "modelkiln-edit": {editor}} {
		binding := &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Namespace: ns.Name, Name: role}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role}}
		for _, person := range people {
			binding.Subjects = append(binding.Subjects, rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: person})
		}
		require.NoError(t, server.Create(t.Context(), binding))
	}
	return ns.Name
}

// grant gives a person permissions in a namespace.
func grant(t *testing.T, namespace, person string, rule rbacv1.PolicyRule) {
	t.Helper()
	meta := metav1.ObjectMeta{Namespace: namespace, Name: "granted-to-" + person}
	require.NoError(t, server.Create(t.Context(), &rbacv1.Role{ObjectMeta: meta, Rules: []rbacv1.PolicyRule{rule}}))
	require.NoError(t, server.Create(t.Context(), &rbacv1.RoleBinding{
		ObjectMeta: meta, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: meta.Name},
		Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: person}},
	}))
}

// call runs a command line as a person, in a namespace.
func call(t *testing.T, person, namespace string, args ...string) (code int, out, complaint string) {
	t.Helper()
	stdout, stderr := &buffer{}, &buffer{}
	code = callWith(t.Context(), person, namespace, stdout, stderr, args...)
	return code, stdout.String(), stderr.String()
}

func callWith(ctx context.Context, person, namespace string, stdout, stderr io.Writer, args ...string) int {
	args = append([]string{"--kubeconfig", server.people[person], "--namespace", namespace}, args...)
	return Main(ctx, args, genericiooptions.IOStreams{In: strings.NewReader(""), Out: stdout, ErrOut: stderr})
}

// succeeds runs a command line as the editor, and returns what it printed.
func succeeds(t *testing.T, namespace string, args ...string) string {
	t.Helper()
	code, out, complaint := call(t, editor, namespace, args...)
	require.Equal(t, exitOK, code, complaint)
	return out
}

// fails runs a command line as the editor, and returns why it failed.
func fails(t *testing.T, namespace string, args ...string) string {
	t.Helper()
	code, _, complaint := call(t, editor, namespace, args...)
	require.Equal(t, exitFailed, code, complaint)
	require.True(t, strings.HasPrefix(lastLine(complaint), "error: "), complaint)
	return complaint
}

func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return lines[len(lines)-1]
}

// buffer is a buffer that may be read while a command writes to it.
type buffer struct {
	mu sync.Mutex
	bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.String()
}

// newVersion creates a ModelVersion of the Model resnet, and its Model, with a status.
func newVersion(t *testing.T, namespace, name string, status v1alpha1.ModelVersionStatus) *v1alpha1.ModelVersion {
	t.Helper()
	model := &v1alpha1.Model{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "resnet"}}
	require.NoError(t, client.IgnoreAlreadyExists(server.Create(t.Context(), model)))
	mv := &v1alpha1.ModelVersion{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: map[string]string{v1alpha1.LabelModelName: "resnet"}},
		Spec: v1alpha1.ModelVersionSpec{
			ModelName: "resnet", ImageRepo: "registry.example.com/models/resnet", CreatedBy: "alice",
			Storage: v1alpha1.Storage{PersistentVolumeClaim: &v1alpha1.PersistentVolumeClaim{ClaimName: "training"}},
			Build:   &v1alpha1.Build{Engine: v1alpha1.Stream},
		},
	}
	require.NoError(t, server.Create(t.Context(), mv))
	setStatus(t, mv, status)
	return mv
}

func setStatus(t *testing.T, mv *v1alpha1.ModelVersion, status v1alpha1.ModelVersionStatus) {
	t.Helper()
	mv.Status = status
	if len(status.Conditions) > 0 {
		mv.Status.ObservedGeneration = mv.Generation
	}
	require.NoError(t, server.Status().Update(t.Context(), mv))
}

const digest = "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"

// ago returns a time before now.
func ago(d time.Duration) *metav1.Time {
	t := metav1.NewTime(time.Now().Add(-d))
	return &t
}

func condition(kind string, status metav1.ConditionStatus, reason, message string) metav1.Condition {
	return metav1.Condition{Type: kind, Status: status, Reason: reason, Message: message, LastTransitionTime: metav1.Now()}
}

func readyStatus() v1alpha1.ModelVersionStatus {
	return v1alpha1.ModelVersionStatus{
		Conditions: []metav1.Condition{condition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonSucceeded, "The image is in the registry")},
		Image:      "registry.example.com/models/resnet:v1c072", Digest: digest, ImageBuildPhase: v1alpha1.ImageBuildSucceeded, Message: "The image is in the registry",
		SizeBytes: 9 << 30, SentBytes: 1 << 30, ReusedBytes: 8 << 30, StartTime: ago(10 * time.Minute), FinishTime: ago(9 * time.Minute),
		Workflow: &v1alpha1.WorkflowStatus{Name: "mv-7-1c072-1", URL: "https://argo.example.com/workflows/ns/mv-7-1c072-1", Phase: "Succeeded"},
	}
}

func failedStatus(workflow string) v1alpha1.ModelVersionStatus {
	const message = "Step mount-check: model-00003-of-00005.safetensors has 2,113,929,216 of 4,999,802,720 bytes"
	return v1alpha1.ModelVersionStatus{
		Conditions: []metav1.Condition{
			condition(v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonSourceIncomplete, message),
			condition(v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonSourceIncomplete, message),
		},
		ImageBuildPhase: v1alpha1.ImageBuildFailed, Message: message, StartTime: ago(time.Hour), FinishTime: ago(time.Hour),
		Workflow: &v1alpha1.WorkflowStatus{Name: workflow, Phase: "Failed"},
	}
}

func buildingStatus(workflow string, percent int32) v1alpha1.ModelVersionStatus {
	message := "Workflow " + workflow + " runs step build"
	return v1alpha1.ModelVersionStatus{
		Conditions: []metav1.Condition{
			condition(v1alpha1.ConditionReady, metav1.ConditionUnknown, v1alpha1.ReasonWorkflowRunning, message),
			condition(v1alpha1.ConditionReconciling, metav1.ConditionTrue, v1alpha1.ReasonWorkflowRunning, message),
		},
		Image: "registry.example.com/models/resnet:v9f1a0", ImageBuildPhase: v1alpha1.ImageBuilding, Message: message, StartTime: ago(2 * time.Minute),
		Workflow: &v1alpha1.WorkflowStatus{Name: workflow, Phase: "Running", ProgressPercent: &percent, ProgressTime: ago(0)},
	}
}

// newWorkflow creates a Workflow of a ModelVersion with a status, as Argo writes it.
func newWorkflow(t *testing.T, mv *v1alpha1.ModelVersion, attempt int, status map[string]any) {
	t.Helper()
	wf := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{"workflowTemplateRef": map[string]any{"name": "modelkiln-build-stream", "clusterScope": true}}, "status": status}}
	wf.SetGroupVersionKind(workflowKind)
	wf.SetNamespace(mv.Namespace)
	wf.SetName(fmt.Sprintf("%s-1c072-%d", mv.Name, attempt))
	wf.SetLabels(map[string]string{v1alpha1.LabelModelVersionUID: string(mv.UID), v1alpha1.LabelAttempt: strconv.Itoa(attempt)})
	require.NoError(t, server.Create(t.Context(), wf))
}

// failedNode is the status of a Workflow whose pod ran on a node and was evicted.
func failedNode(node string) map[string]any {
	return map[string]any{
		"phase": "Failed", "startedAt": "2026-01-02T03:04:05Z", "finishedAt": "2026-01-02T03:05:05Z", "message": "child failed",
		"nodes": map[string]any{"a": map[string]any{"id": "a", "name": "a", "displayName": "a", "type": "Pod", "phase": "Failed", "hostNodeName": node, "message": "The node was low on resource: ephemeral-storage"}},
	}
}

// newPod creates a pod. It stays pending: no kubelet runs it.
func newPod(t *testing.T, namespace, name string, change func(*corev1.Pod)) *corev1.Pod {
	t.Helper()
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: map[string]string{}, Annotations: map[string]string{}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: "image"}}},
	}
	change(pod)
	require.NoError(t, server.Create(t.Context(), pod))
	return pod
}

// newServingPod creates a pod of the Deployment resnet that serves a ModelVersion, as the
// webhook admits it.
func newServingPod(t *testing.T, mv *v1alpha1.ModelVersion, name string) *corev1.Pod {
	t.Helper()
	return newPod(t, mv.Namespace, name, func(pod *corev1.Pod) {
		isController := true
		pod.Labels["pod-template-hash"] = "7c9f5b8d4"
		pod.OwnerReferences = []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "resnet-7c9f5b8d4", UID: "1", Controller: &isController}}
		served, problem := inject.Serving(pod, mv, inject.ServingInitContainer)
		require.Nil(t, problem)
		*pod = *served
	})
}

// fakeKubelet is a node whose kubelet does nothing but return logs.
type fakeKubelet struct {
	mu sync.Mutex
	// logs has what containers log, by container. A log ends when the channel is closed.
	logs map[string]chan string
}

// newFakeKubelet starts a kubelet and creates its node.
func newFakeKubelet(t *testing.T) (kubelet *fakeKubelet, node string) {
	t.Helper()
	kubelet = &fakeKubelet{logs: map[string]chan string{}}
	endpoint := httptest.NewTLSServer(kubelet)
	t.Cleanup(endpoint.Close)
	host, port, err := net.SplitHostPort(endpoint.Listener.Addr().String())
	require.NoError(t, err)
	number, err := strconv.Atoi(port)
	require.NoError(t, err)
	object := &corev1.Node{ObjectMeta: metav1.ObjectMeta{GenerateName: "node-"}}
	require.NoError(t, server.Create(t.Context(), object))
	object.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: host}}
	object.Status.DaemonEndpoints.KubeletEndpoint.Port = int32(number)
	require.NoError(t, server.Status().Update(t.Context(), object))
	t.Cleanup(func() { _ = server.Delete(context.WithoutCancel(t.Context()), object) })
	return kubelet, object.Name
}

// log returns the channel for what a container logs.
func (f *fakeKubelet) log(container string) chan string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.logs[container] == nil {
		f.logs[container] = make(chan string, 10)
	}
	return f.logs[container]
}

func (f *fakeKubelet) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	log := f.log(filepath.Base(r.URL.Path))
	for {
		select {
		case line, more := <-log:
			if !more {
				return
			}
			_, _ = io.WriteString(w, line)
			_ = http.NewResponseController(w).Flush()
		case <-r.Context().Done():
			return
		}
	}
}

// newBuildPod creates the pod of a Workflow on a node.
func newBuildPod(t *testing.T, namespace, workflow, name, node string) *corev1.Pod {
	t.Helper()
	return newPod(t, namespace, name, func(pod *corev1.Pod) {
		pod.Labels[labelWorkflow] = workflow
		pod.Spec.NodeName = node
		pod.Spec.Containers = nil
		for _, step := range steps {
			pod.Spec.Containers = append(pod.Spec.Containers, corev1.Container{Name: step, Image: "image"})
		}
	})
}

// runs sets the status of a pod: these containers run, or have run.
func runs(t *testing.T, pod *corev1.Pod, phase corev1.PodPhase, containers ...string) {
	t.Helper()
	pod.Status.Phase = phase
	pod.Status.ContainerStatuses = nil
	for _, name := range containers {
		pod.Status.ContainerStatuses = append(pod.Status.ContainerStatuses, corev1.ContainerStatus{Name: name, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}})
	}
	require.NoError(t, server.Status().Update(t.Context(), pod))
}
