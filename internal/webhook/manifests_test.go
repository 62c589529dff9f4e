package webhook

import (
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/webhook/certs"
)

// deploy/webhook has the names and paths that the operator uses.
func TestManifests(t *testing.T) {
	const reapply = "applying the manifest again must not remove it"
	var service corev1.Service
	readManifest(t, "service.yaml", &service)
	var secret corev1.Secret
	readManifest(t, "secret.yaml", &secret)
	assert.Equal(t, certs.ServiceName, service.Name)
	assert.Equal(t, certs.SecretName, secret.Name)
	assert.Nil(t, secret.Data, reapply)
	checkClient := func(t *testing.T, config admissionregistrationv1.WebhookClientConfig) {
		t.Helper()
		assert.Nil(t, config.CABundle, reapply)
		require.NotNil(t, config.Service)
		assert.Equal(t, [2]string{service.Namespace, service.Name}, [2]string{config.Service.Namespace, config.Service.Name})
		assert.Equal(t, service.Spec.Ports[0].Port, *config.Service.Port)
	}

	t.Run("pods", func(t *testing.T) {
		var configuration admissionregistrationv1.MutatingWebhookConfiguration
		readManifest(t, "configuration.yaml", &configuration)
		assert.Equal(t, certs.PodsConfigurationName, configuration.Name)
		paths := map[string]string{}
		for _, hook := range configuration.Webhooks {
			checkClient(t, hook.ClientConfig)
			path := *hook.ClientConfig.Service.Path
			if path == CreatorPath || path == CopiesPath {
				assert.Equal(t, admissionregistrationv1.Ignore, *hook.FailurePolicy, "ModelVersions and Workflows must not depend on the operator")
				continue
			}
			if path == PromoterPath {
				assert.Len(t, hook.MatchConditions, 1, "other changes of Models must not depend on the operator")
				continue
			}
			require.Len(t, hook.ObjectSelector.MatchExpressions, 1)
			label := hook.ObjectSelector.MatchExpressions[0]
			assert.Equal(t, metav1.LabelSelectorOpExists, label.Operator, "other pods must not depend on the operator")
			assert.Empty(t, hook.ObjectSelector.MatchLabels)
			paths[label.Key] = *hook.ClientConfig.Service.Path
		}
		assert.Equal(t, map[string]string{
			v1alpha1.LabelTrainVersion: TrainingPath,
			v1alpha1.LabelServeVersion: ServingPath,
			v1alpha1.LabelServeModel:   ServingPath,
		}, paths)
	})
	t.Run("workloads", func(t *testing.T) {
		var configuration admissionregistrationv1.ValidatingWebhookConfiguration
		readManifest(t, "workloads.yaml", &configuration)
		assert.Equal(t, certs.WorkloadsConfigurationName, configuration.Name)
		require.Len(t, configuration.Webhooks, 2)
		deletion := configuration.Webhooks[1]
		checkClient(t, deletion.ClientConfig)
		assert.Equal(t, DeletionPath, *deletion.ClientConfig.Service.Path)
		assert.Len(t, deletion.MatchConditions, 2, "deletions that are forced, or by Kubernetes itself, must not depend on the operator")
		hook := configuration.Webhooks[0]
		checkClient(t, hook.ClientConfig)
		assert.Equal(t, WorkloadsPath, *hook.ClientConfig.Service.Path)
		assert.Equal(t, map[string]string{v1alpha1.LabelVersionsFromWorkloads: "true"}, hook.NamespaceSelector.MatchLabels)
		assert.Len(t, hook.MatchConditions, 2, "other workloads must not depend on the operator")
	})
}

func readManifest(t *testing.T, name string, into any) {
	t.Helper()
	raw, err := os.ReadFile("../../deploy/webhook/" + name)
	require.NoError(t, err)
	require.NoError(t, yaml.UnmarshalStrict(raw, into))
}
