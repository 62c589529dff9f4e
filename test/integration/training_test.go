package integration

import (
	"context"
	"crypto/tls"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/manager"
	"github.com/modelkiln/modelkiln/internal/webhook"
)

const (
	deployWebhook = "../../deploy/webhook"
	// trainingCases are the pods that inject is tested with, and what
	// becomes of them.
	trainingCases = "../../internal/inject/testdata/training"
)

// withWebhook has the operator serve the webhook at a local address. The API
// server calls it there, since no Service leads anywhere here.
func withWebhook(address string) func(*settings) {
	return withManager(func(o *manager.Options) { o.WebhookAddress, o.WebhookHost = address, "127.0.0.1" })
}

// installWebhook installs deploy/webhook for an operator at a local address, for
// as long as the test runs.
func installWebhook(t *testing.T, server *apiServer, address string) {
	t.Helper()
	for _, file := range []string{"secret.yaml", "configuration.yaml", "workloads.yaml"} {
		objects, err := manifests(filepath.Join(deployWebhook, file))
		require.NoError(t, err)
		for _, o := range objects {
			if o.GetKind() != "Secret" {
				callAt(t, o, address)
			}
			require.NoError(t, server.admin.Create(t.Context(), o))
			t.Cleanup(func() { assert.NoError(t, server.admin.Delete(context.WithoutCancel(t.Context()), o)) })
		}
	}
}

// callAt puts an address in the place of the Service.
func callAt(t *testing.T, configuration *unstructured.Unstructured, address string) {
	t.Helper()
	hooks, _, err := unstructured.NestedSlice(configuration.Object, "webhooks")
	require.NoError(t, err)
	for _, hook := range hooks {
		path, _, err := unstructured.NestedString(hook.(map[string]any), "clientConfig", "service", "path")
		require.NoError(t, err)
		hook.(map[string]any)["clientConfig"] = map[string]any{"url": "https://" + address + path}
	}
	require.NoError(t, unstructured.SetNestedSlice(configuration.Object, hooks, "webhooks"))
}

// startWithWebhook starts an operator whose webhook is installed, and waits until
// the API server reaches it.
func startWithWebhook(t *testing.T, options ...func(*settings)) {
	t.Helper()
	address := freeAddress(t)
	installWebhook(t, shared, address)
	startOperator(t, shared, append(options, withWebhook(address))...)
	awaitWebhook(t)
}

// awaitWebhook waits until the API server asks the operator about training pods
// and has an answer.
func awaitWebhook(t *testing.T) {
	t.Helper()
	s := newScene(t, shared)
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		assert.ErrorContains(c, s.client.Create(t.Context(), trainingPod(s.namespace, "none")), "there is no ModelVersion")
	}, deadline, tick)
}

// trainingPod is a pod that asks for a version's storage.
func trainingPod(namespace, version string) *corev1.Pod {
	pod := plainPod(namespace)
	pod.Labels = map[string]string{v1alpha1.LabelTrainVersion: version}
	return pod
}

func plainPod(namespace string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, GenerateName: "train-"},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "train", Image: "registry.example.com/train"}}},
	}
}

func TestATrainingPodIsMadeWithItsVersionsStorage(t *testing.T) {
	startWithWebhook(t)
	for _, name := range []string{
		"local-storage", "nfs", "claim-with-sub-path", "what-the-pod-has-set", "everything-set-by-the-pod", "a-pod-that-is-particular-about-nodes",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t, shared)
			manifest, err := os.ReadFile(filepath.Join(trainingCases, name+".modelversion.yaml"))
			require.NoError(t, err)
			mv := object(t, s.namespace, string(manifest))
			mv.SetUID("")
			require.NoError(t, s.client.Create(t.Context(), mv))
			pod, want := &corev1.Pod{}, &corev1.Pod{}
			readPod(t, name+".pod.yaml", pod)
			readPod(t, name+".trained.yaml", want)
			pod.Namespace = s.namespace

			require.NoError(t, s.client.Create(t.Context(), pod))
			assert.Equal(t, want.Spec.Volumes, pod.Spec.Volumes)
			assert.Equal(t, want.Spec.Affinity, pod.Spec.Affinity)
			assertTrained(t, want.Spec.InitContainers, pod.Spec.InitContainers)
			assertTrained(t, want.Spec.Containers, pod.Spec.Containers)
		})
	}
}

func readPod(t *testing.T, name string, into *corev1.Pod) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(trainingCases, name))
	require.NoError(t, err)
	require.NoError(t, yaml.UnmarshalStrict(raw, into))
}

// assertTrained compares what the webhook gives to containers; the API server has
// filled in other fields.
func assertTrained(t *testing.T, want, got []corev1.Container) {
	t.Helper()
	require.Len(t, got, len(want))
	for i := range want {
		assert.Equal(t, want[i].Env, got[i].Env, want[i].Name)
		assert.Equal(t, want[i].VolumeMounts, got[i].VolumeMounts, want[i].Name)
	}
}

func TestATrainingPodThatIsRefusedIsToldWhy(t *testing.T) {
	startWithWebhook(t)
	s := newScene(t, shared)
	refused := func(t *testing.T, version, want string) {
		t.Helper()
		err := s.client.Create(t.Context(), trainingPod(s.namespace, version))
		require.True(t, apierrors.IsForbidden(err), "%v", err)
		assert.ErrorContains(t, err, want)
	}
	t.Run("its version does not exist", func(t *testing.T) {
		refused(t, "resnet-2", `there is no ModelVersion "resnet-2" in namespace `+s.namespace+`, which the pod's label model.kubedl.io/train-version names: apply it, and the pod can be made`)
	})
	t.Run("its version is another namespace's", func(t *testing.T) {
		other := newScene(t, shared)
		other.apply(localVersion, set("metadata.name", "elsewhere"))
		refused(t, "elsewhere", `there is no ModelVersion "elsewhere" in namespace `+s.namespace)
	})
	t.Run("the label is empty", func(t *testing.T) {
		refused(t, "", "label model.kubedl.io/train-version is empty")
	})
	t.Run("its version's storage is forbidden", func(t *testing.T) {
		s.apply(localVersion, set("metadata.name", "forbidden"), set(localPath, "/etc"))
		mv := s.awaitReason("forbidden", v1alpha1.ReasonSourceForbidden)
		refused(t, "forbidden", mv.Status.Message)
	})
	t.Run("its version is being deleted", func(t *testing.T) {
		s.apply(localVersion, set("metadata.name", "going"), set("metadata.finalizers", []any{"example.com/backup"}))
		require.NoError(t, s.client.Delete(t.Context(), s.version("going")))
		refused(t, "going", "is being deleted")
	})
}

func TestNoOtherPodDependsOnTheOperator(t *testing.T) {
	installWebhook(t, shared, freeAddress(t))
	s := newScene(t, shared)
	for _, label := range []string{v1alpha1.LabelTrainVersion, v1alpha1.LabelServeVersion, v1alpha1.LabelServeModel} {
		require.EventuallyWithT(t, func(c *assert.CollectT) {
			pod := plainPod(s.namespace)
			pod.Labels = map[string]string{label: resnet}
			assert.ErrorContains(c, s.client.Create(t.Context(), pod), "failed calling webhook", "without its model no pod trains or serves")
		}, deadline, tick)
	}

	require.NoError(t, s.client.Create(t.Context(), plainPod(s.namespace)))
	labelled := plainPod(s.namespace)
	labelled.Labels = map[string]string{v1alpha1.LabelModelVersion: resnet}
	assert.NoError(t, s.client.Create(t.Context(), labelled))
}

func TestEveryReplicaServesTheSameCertificate(t *testing.T) {
	addresses := []string{freeAddress(t), freeAddress(t)}
	installWebhook(t, shared, addresses[0])
	replicas := make([]*operator, 0, len(addresses))
	for _, address := range addresses {
		replicas = append(replicas, startOperator(t, shared, withWebhook(address), withManager(func(o *manager.Options) {
			o.LeaderElect, o.LeaderElectionNamespace = true, operatorNamespace
		})))
	}
	awaitWebhook(t)
	var certificate []byte
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		first, second := served(c, addresses[0]), served(c, addresses[1])
		require.NotNil(c, first)
		assert.Equal(c, first, second)
		certificate = first
	}, deadline, tick)

	// The next one serves it too.
	for _, replica := range replicas {
		replica.stop()
	}
	startOperator(t, shared, withWebhook(addresses[0]))
	awaitWebhook(t)
	assert.Equal(t, certificate, served(t, addresses[0]))
}

// served is the certificate that is served at an address.
func served(t require.TestingT, address string) []byte {
	connection, err := tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true}) //nolint:noctx // The test ends with its deadline.
	require.NoError(t, err)
	certificate := connection.ConnectionState().PeerCertificates[0].Raw
	require.NoError(t, connection.Close())
	return certificate
}

func TestACertificateThatIsLostIsMadeAnew(t *testing.T) {
	startWithWebhook(t)
	s := newScene(t, shared)
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: operatorNamespace, Name: webhook.SecretName}}
	require.NoError(t, s.client.Get(t.Context(), client.ObjectKeyFromObject(secret), secret))
	before := secret.Data[corev1.TLSCertKey]
	configuration := &admissionregistrationv1.MutatingWebhookConfiguration{}

	secret.Data = nil
	require.NoError(t, s.client.Update(t.Context(), secret))
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		require.NoError(c, s.client.Get(t.Context(), client.ObjectKeyFromObject(secret), secret))
		require.NotEmpty(c, secret.Data[corev1.TLSCertKey])
		require.NoError(c, s.client.Get(t.Context(), client.ObjectKey{Name: webhook.ConfigurationName}, configuration))
		assert.Contains(c, string(secret.Data[corev1.TLSCertKey]), string(configuration.Webhooks[0].ClientConfig.CABundle))
	}, deadline, tick)
	assert.NotEqual(t, before, secret.Data[corev1.TLSCertKey])
	awaitWebhook(t)

	// Whoever applies a configuration with another authority.
	before = configuration.Webhooks[0].ClientConfig.CABundle
	configuration.Webhooks[0].ClientConfig.CABundle = nil
	require.NoError(t, s.client.Update(t.Context(), configuration))
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		require.NoError(c, s.client.Get(t.Context(), client.ObjectKey{Name: webhook.ConfigurationName}, configuration))
		assert.Equal(c, before, configuration.Webhooks[0].ClientConfig.CABundle)
	}, deadline, tick)
}

func TestAnOperatorWithoutACertificateIsNotReady(t *testing.T) {
	probes, address := freeAddress(t), freeAddress(t)
	startOperator(t, shared, withWebhook(address), withManager(func(o *manager.Options) { o.ProbeAddress = probes }))
	answer := func(c require.TestingT, path string) int {
		status, _ := get(t, c, "http://"+probes+path, "")
		return status
	}
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		assert.Equal(c, http.StatusOK, answer(c, "/healthz"), "it runs")
	}, deadline, tick)
	assert.Equal(t, http.StatusInternalServerError, answer(t, "/readyz"))

	installWebhook(t, shared, address)
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		assert.Equal(c, http.StatusOK, answer(c, "/readyz"))
	}, deadline, tick)
}

func TestTheOperatorReadsNoSecretButItsOwn(t *testing.T) {
	who, err := client.New(shared.serviceAccountConfig(t, operatorNamespace, operatorAccount), client.Options{Scheme: testScheme()})
	require.NoError(t, err)
	assertRights(t, who, operatorNamespace, []rule{{resources: "secrets", verbs: "get,list,watch,create,update,patch,delete"}}, false)
	assertRights(t, who, "", []rule{{groups: "admissionregistration.k8s.io", resources: "mutatingwebhookconfigurations,validatingwebhookconfigurations", verbs: "get,list,watch,create,update,patch,delete"}}, false)

	own := client.MatchingFields{metav1.ObjectNameField: webhook.SecretName}
	require.NoError(t, who.List(t.Context(), &corev1.SecretList{}, client.InNamespace(operatorNamespace), own))
	err = who.List(t.Context(), &corev1.SecretList{}, client.InNamespace(newScene(t, shared).namespace), own)
	assert.True(t, apierrors.IsForbidden(err), "%v", err)
}

// What the namespace's Pod Security level forbids to a pod, the webhook does not
// bring in.
func TestPodSecurityLooksAtWhatTheWebhookHasAdded(t *testing.T) {
	startWithWebhook(t)
	s := newScene(t, shared)
	s.enforce("baseline")
	s.apply(localVersion)

	pod := trainingPod(s.namespace, resnet)
	require.NoError(t, s.client.Create(t.Context(), plainPod(s.namespace)))
	err := s.client.Create(t.Context(), pod)
	require.True(t, apierrors.IsForbidden(err), "%v", err)
	assert.ErrorContains(t, err, "hostPath volumes")
}
