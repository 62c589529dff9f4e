package integration

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/stretchr/testify/require"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/yaml"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
)

const (
	modelkilnCRDs     = "../../deploy/crd"
	deployRBAC        = "../../deploy/rbac"
	deployComponents  = "../../deploy/components"
	deployNamespaced  = "../../deploy/namespaced"
	workflowTemplates = "../../workflow-templates"
	kanikoTemplate    = workflowTemplates + "/kaniko"

	// The operator's namespace and service account in deploy/.
	operatorNamespace = "modelkiln-system"
	operatorAccount   = "modelkiln-controller-manager"
)

// argoCRDs returns the directory of Argo's minimal CRDs in the module that the
// operator is compiled against.
func argoCRDs() string {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/argoproj/argo-workflows/v3").Output()
	if err != nil {
		panic(fmt.Sprintf("find Argo's module: %v", err))
	}
	return filepath.Join(strings.TrimSpace(string(out)), "manifests", "base", "crds", "minimal")
}

// apiServer is a kube-apiserver with its etcd, and a client with all
// permissions.
type apiServer struct {
	environment *envtest.Environment
	config      *rest.Config
	admin       client.WithWatch
}

// newAPIServer starts an API server with these CRDs for one test.
func newAPIServer(t *testing.T, crdPaths ...string) *apiServer {
	t.Helper()
	return newAPIServerWith(t, nil, crdPaths...)
}

// newAPIServerWith starts an API server and an etcd with other settings.
func newAPIServerWith(t *testing.T, configure func(*envtest.ControlPlane), crdPaths ...string) *apiServer {
	t.Helper()
	server, err := startAPIServer(configure, crdPaths...)
	require.NoError(t, err)
	t.Cleanup(server.stop)
	return server
}

func startAPIServer(configure func(*envtest.ControlPlane), crdPaths ...string) (*apiServer, error) {
	environment := &envtest.Environment{Scheme: testScheme()}
	// OpenShift enables this plugin. A client needs permission to delete an object
	// to change its owner references, and to update the owner's finalizers to set
	// a reference that blocks the owner's deletion.
	environment.ControlPlane.GetAPIServer().Configure().Append("enable-admission-plugins", "OwnerReferencesPermissionEnforcement")
	if configure != nil {
		configure(&environment.ControlPlane)
	}
	config, err := environment.Start()
	if err != nil {
		return nil, err
	}
	admin, err := client.NewWithWatch(config, client.Options{Scheme: testScheme()})
	if err != nil {
		return nil, errors.Join(err, environment.Stop())
	}
	s := &apiServer{environment: environment, config: config, admin: admin}
	if err := s.installCRDs(crdPaths...); err != nil {
		return nil, errors.Join(err, environment.Stop())
	}
	return s, nil
}

func (s *apiServer) stop() {
	if err := s.environment.Stop(); err != nil {
		fmt.Fprintln(os.Stderr, "Could not stop the API server:", err)
	}
}

// installCRDs creates or updates the CRDs in these files and directories.
func (s *apiServer) installCRDs(paths ...string) error {
	_, err := envtest.InstallCRDs(s.config, envtest.CRDInstallOptions{Scheme: testScheme(), Paths: paths, ErrorIfPathMissing: true})
	return err
}

// install creates the operator's namespace and the objects in these
// directories.
func (s *apiServer) install(directories ...string) error {
	ctx, cancel := context.WithCancel(context.Background()) //nolint:forbidigo // Called before there is a test.
	defer cancel()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: operatorNamespace}}
	if err := s.admin.Create(ctx, namespace); err != nil {
		return err
	}
	for _, directory := range directories {
		files, err := filepath.Glob(filepath.Join(directory, "*.yaml"))
		if err != nil {
			return err
		}
		for _, file := range files {
			objects, err := readManifests(file)
			if err != nil {
				return err
			}
			for _, object := range objects {
				if kind := object.GetKind(); kind == "Kustomization" || kind == "Component" {
					continue
				}
				if err := s.admin.Create(ctx, object); err != nil {
					return fmt.Errorf("%s: %w", file, err)
				}
			}
		}
	}
	return nil
}

// store writes an object into etcd as another release has stored it, with its UID and
// its status.
func (s *apiServer) store(t *testing.T, resource string, object *unstructured.Unstructured) {
	t.Helper()
	raw, err := object.MarshalJSON()
	require.NoError(t, err)
	gvk := object.GroupVersionKind()
	key := fmt.Sprintf("/registry/%s/%s/%s/%s", gvk.Group, resource, object.GetNamespace(), object.GetName())
	_, err = s.etcd(t, "kv/put", map[string][]byte{"key": []byte(key), "value": raw})
	require.NoError(t, err)
}

// etcd calls a method of etcd's API, and returns the response or the error of etcd.
func (s *apiServer) etcd(t *testing.T, method string, arguments any) (map[string]any, error) {
	t.Helper()
	body, err := json.Marshal(arguments)
	require.NoError(t, err)
	url := s.environment.ControlPlane.Etcd.URL.JoinPath("v3", method).String()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, bytes.NewReader(body))
	require.NoError(t, err)
	resp, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", resp.Status, raw)
	}
	var got map[string]any
	require.NoError(t, json.Unmarshal(raw, &got))
	return got, nil
}

// readManifests reads the objects in a YAML file.
func readManifests(file string) ([]*unstructured.Unstructured, error) {
	raw, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var objects []*unstructured.Unstructured
	reader := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(raw)))
	for {
		document, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return objects, nil
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		object := &unstructured.Unstructured{}
		if err := yaml.Unmarshal(document, &object.Object); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		if object.Object != nil {
			objects = append(objects, object)
		}
	}
}

func testScheme() *runtime.Scheme {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, apiextensionsv1.AddToScheme, wfv1.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			panic(err)
		}
	}
	return scheme
}

// serviceAccountConfig returns the configuration of a client that
// authenticates as a service account.
func (s *apiServer) serviceAccountConfig(t *testing.T, namespace, name string) *rest.Config {
	t.Helper()
	config := rest.AnonymousClientConfig(s.config)
	config.BearerToken = s.token(t, namespace, name)
	config.QPS = -1 // As in cmd/modelkiln: the API server limits the rate.
	return config
}

// token returns a token of a service account, and creates the account if it
// does not exist.
func (s *apiServer) token(t *testing.T, namespace, name string) string {
	t.Helper()
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	err := s.admin.Get(t.Context(), client.ObjectKeyFromObject(account), account)
	if apierrors.IsNotFound(err) {
		err = s.admin.Create(t.Context(), account)
	}
	require.NoError(t, err)
	var request authenticationv1.TokenRequest
	require.NoError(t, s.admin.SubResource("token").Create(t.Context(), account, &request))
	return request.Status.Token
}

// createNamespace creates a namespace for one test. After the test it deletes
// the objects that other tests' operators would reconcile.
func (s *apiServer) createNamespace(t *testing.T) string {
	t.Helper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "test-"}}
	require.NoError(t, s.admin.Create(t.Context(), namespace))
	// Users may not delete what is in use.
	controller := s.userClient(t, "system:serviceaccount:kube-system:namespace-controller")
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		for _, kind := range []client.Object{&v1alpha1.ModelVersion{}, &v1alpha1.Model{}, &wfv1.Workflow{}} {
			if err := controller.DeleteAllOf(ctx, kind, client.InNamespace(namespace.Name)); err != nil && !meta.IsNoMatchError(err) {
				t.Errorf("clean up namespace %s: %v", namespace.Name, err)
			}
		}
		s.removeFinalizers(ctx, t, namespace.Name)
	})
	return namespace.Name
}

// removeFinalizers removes the finalizers of a namespace's ModelVersions. The
// operator that would remove them has stopped by then.
func (s *apiServer) removeFinalizers(ctx context.Context, t *testing.T, namespace string) {
	t.Helper()
	var list v1alpha1.ModelVersionList
	if err := s.admin.List(ctx, &list, client.InNamespace(namespace)); err != nil {
		t.Errorf("clean up namespace %s: %v", namespace, err)
	}
	for i := range list.Items {
		if err := client.IgnoreNotFound(s.admin.Patch(ctx, &list.Items[i], withoutFinalizers)); err != nil {
			t.Errorf("clean up namespace %s: %v", namespace, err)
		}
	}
}

// withoutFinalizers is a patch that removes all finalizers.
var withoutFinalizers = client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"finalizers":null}}`))

// operatorClient returns a client with the operator's own permissions.
func (s *apiServer) operatorClient(t *testing.T) client.Client {
	t.Helper()
	return s.clientFor(t, operatorNamespace, operatorAccount)
}

func (s *apiServer) clientFor(t *testing.T, namespace, account string) client.Client {
	t.Helper()
	c, err := client.New(s.serviceAccountConfig(t, namespace, account), client.Options{Scheme: testScheme()})
	require.NoError(t, err)
	return c
}

// rule is a set of permissions; its fields are lists separated by commas.
type rule struct {
	groups    string
	resources string
	verbs     string
}

// clientWithRules returns a client that has these permissions in a namespace
// and no others.
func (s *apiServer) clientWithRules(t *testing.T, namespace, name string, rules []rule) client.Client {
	t.Helper()
	role := &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	for _, r := range rules {
		role.Rules = append(role.Rules, rbacv1.PolicyRule{
			APIGroups: strings.Split(r.groups, ","), Resources: strings.Split(r.resources, ","), Verbs: strings.Split(r.verbs, ","),
		})
	}
	require.NoError(t, s.admin.Create(t.Context(), role))
	return s.clientWithRoles(t, namespace, name, rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: name})
}

// clientWithRoles returns a client that has these roles in a namespace and no
// other permissions there.
func (s *apiServer) clientWithRoles(t *testing.T, namespace, name string, roles ...rbacv1.RoleRef) client.Client {
	t.Helper()
	s.bindRoles(t, namespace, name, roles...)
	return s.clientFor(t, namespace, name)
}

// bindRoles grants roles in a namespace to a service account of it.
func (s *apiServer) bindRoles(t *testing.T, namespace, account string, roles ...rbacv1.RoleRef) {
	t.Helper()
	for _, role := range roles {
		require.NoError(t, s.admin.Create(t.Context(), &rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, GenerateName: account + "-"},
			RoleRef:    role,
			Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: namespace, Name: account}},
		}))
	}
}
