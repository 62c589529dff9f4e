package argo

import (
	"strings"
	"testing"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	argotemplate "github.com/argoproj/argo-workflows/v3/util/template"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
)

// defaultLabels and defaultAnnotations are those of a build's pod without arguments
// for them.
var (
	defaultLabels = map[string]string{
		"app.kubernetes.io/name": "modelkiln", "app.kubernetes.io/component": "build", "sidecar.istio.io/inject": "false",
		"azure.workload.identity/use": "true",
	}
	defaultAnnotations = map[string]string{
		"cluster-autoscaler.kubernetes.io/safe-to-evict": "false", "karpenter.sh/do-not-disrupt": "true",
		"linkerd.io/inject": "disabled", "sidecar.istio.io/inject": "false",
		// Argo's own, with the value that Argo gives it.
		"kubectl.kubernetes.io/default-container": "main",
	}
)

// forEachEngine runs a test for the template of each engine.
func forEachEngine(t *testing.T, test func(t *testing.T, tmpl *wfv1.ClusterWorkflowTemplate)) {
	t.Helper()
	t.Run("Kaniko", func(t *testing.T) { test(t, template(t)) })
	t.Run("Stream", func(t *testing.T) { test(t, streamTemplate(t)) })
}

func TestPodLabelsAndAnnotations(t *testing.T) {
	for name, tc := range map[string]struct {
		labels, annotations         string
		wantLabels, wantAnnotations map[string]string
	}{
		"none":          {"", "", nil, nil},
		"one":           {"team=vision", "example.com/contact=a, b = {c}", map[string]string{"team": "vision"}, map[string]string{"example.com/contact": "a, b = {c}"}},
		"empty values":  {"spot=", "note=", map[string]string{"spot": ""}, map[string]string{"note": ""}},
		"special value": {"", `json={"a":"b\n","c":[1]}`, nil, map[string]string{"json": `{"a":"b\n","c":[1]}`}},
		"as many as there is room for": {
			"a=1,b=2,c=3,d=4,e=5,f=6,g=7,h=8", "a=1\nb=2\nc=3\nd=4\ne=5\nf=6\ng=7\nh=8",
			map[string]string{"a": "1", "b": "2", "c": "3", "d": "4", "e": "5", "f": "6", "g": "7", "h": "8"},
			map[string]string{"a": "1", "b": "2", "c": "3", "d": "4", "e": "5", "f": "6", "g": "7", "h": "8"},
		},
		"other values of the defaults": {
			"sidecar.istio.io/inject=true",
			"cluster-autoscaler.kubernetes.io/safe-to-evict=true\nkarpenter.sh/do-not-disrupt=false\nlinkerd.io/inject=enabled\nsidecar.istio.io/inject=true",
			map[string]string{"sidecar.istio.io/inject": "true"},
			map[string]string{"cluster-autoscaler.kubernetes.io/safe-to-evict": "true", "karpenter.sh/do-not-disrupt": "false", "linkerd.io/inject": "enabled", "sidecar.istio.io/inject": "true"},
		},
		// Users who submit a build could otherwise have its pod taken for another's.
		"reserved keys": {
			"app.kubernetes.io/name=evil,workflows.argoproj.io/workflow=other,model.kubedl.io/serve-version=a,a=1",
			"kubectl.kubernetes.io/default-container=wait\nworkflows.argoproj.io/node-id=other\nmodel.kubedl.io/served-image=b\na=1",
			map[string]string{"a": "1"}, map[string]string{"a": "1"},
		},
		"keys that Argo would expand": {
			"{{=sprig.b64dec('d29ya2Zsb3dzLmFyZ29wcm9qLmlvL3dvcmtmbG93')}}=other,a=1",
			"{{=sprig.b64dec('d29ya2Zsb3dzLmFyZ29wcm9qLmlvL25vZGUtaWQ')}}=other\na={{workflow.uid}}\nb=1",
			map[string]string{"a": "1"}, map[string]string{"b": "1"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			forEachEngine(t, func(t *testing.T, tmpl *wfv1.ClusterWorkflowTemplate) {
				args := plainArguments(t, "persistentVolumeClaim")
				args["workflow.parameters.pod-labels"], args["workflow.parameters.pod-annotations"] = tc.labels, tc.annotations
				got, err := podOf(substituted(t, tmpl, args), args)
				require.NoError(t, err)
				assert.Equal(t, union(defaultLabels, tc.wantLabels), got.Labels)
				assert.Equal(t, union(defaultAnnotations, tc.wantAnnotations), got.Annotations)
			})
		})
	}
}

// union returns the entries of both maps; those of the second one override the others.
func union(a, b map[string]string) map[string]string {
	all := map[string]string{}
	for _, each := range []map[string]string{a, b} {
		for key, value := range each {
			all[key] = value
		}
	}
	return all
}

// substituted follows Argo's substituteGlobalVariables, which expands the whole spec
// before anything else. What depends on inputs remains.
func substituted(t *testing.T, tmpl *wfv1.ClusterWorkflowTemplate, args map[string]string) *wfv1.ClusterWorkflowTemplate {
	t.Helper()
	raw, err := argotemplate.Replace(wfv1.MustMarshallJSON(tmpl.Spec), argotemplate.ToAnyMap(args), true)
	require.NoError(t, err)
	expanded := tmpl.DeepCopy()
	expanded.Spec = wfv1.WorkflowSpec{}
	wfv1.MustUnmarshal([]byte(raw), &expanded.Spec)
	return expanded
}

// The environment reaches every container that accesses a registry, literally.
func TestPodEnv(t *testing.T) {
	forEachEngine(t, func(t *testing.T, tmpl *wfv1.ClusterWorkflowTemplate) {
		args := plainArguments(t, "persistentVolumeClaim")
		args["workflow.parameters.env"] = strings.Join([]string{
			"HTTPS_PROXY=http://proxy.example.com:3128", "NO_PROXY=.svc,.cluster.local,10.0.0.0/8", "ODD=$(HOME) $$ \"=\\",
			"ARGO_NODE_ID=other", "MODELKILN_DISK_LIMIT=0", "KUBERNETES_SERVICE_HOST=other", "SSL_CERT_FILE=/source/ca.crt",
		}, "\n")
		got, err := pod(tmpl, args)
		require.NoError(t, err)
		want := []corev1.EnvVar{
			{Name: "HTTPS_PROXY", Value: "http://proxy.example.com:3128"},
			{Name: "NO_PROXY", Value: ".svc,.cluster.local,10.0.0.0/8"},
			// Kubernetes expands $(NAME), and $$ to $.
			{Name: "ODD", Value: "$$(HOME) $$$$ \"=\\"},
		}
		for _, container := range got.Containers {
			var env []corev1.EnvVar
			for _, variable := range container.Env {
				if variable.Name != "MODELKILN_DISK_LIMIT" {
					env = append(env, variable)
				} else {
					assert.NotNil(t, variable.ValueFrom)
				}
			}
			switch container.Name {
			case "mount-check", "build", "status-report":
				assert.ElementsMatch(t, want, env, container.Name)
			default:
				assert.Empty(t, env, container.Name)
			}
		}
		assert.Empty(t, got.InitContainers[0].Env)
	})
}

// A ResourceQuota that counts limits requires them in every container.
func TestPodResources(t *testing.T) {
	forEachEngine(t, func(t *testing.T, tmpl *wfv1.ClusterWorkflowTemplate) {
		args := plainArguments(t, "persistentVolumeClaim")
		args["workflow.parameters.limits"] = "cpu=2,memory=1Gi"
		args["workflow.parameters.other-requests"] = "cpu=50m"
		args["workflow.parameters.other-limits"] = "cpu=500m,memory=600Mi"
		got, err := pod(tmpl, args)
		require.NoError(t, err)
		for _, container := range append(got.Containers, got.InitContainers...) {
			want := []string{"500m", "600Mi", "50m"}
			if container.Name == "build" {
				want = []string{"2", "1Gi", "500m"}
			}
			resources := container.Resources
			assert.Equal(t, want, []string{resources.Limits.Cpu().String(), resources.Limits.Memory().String(), resources.Requests.Cpu().String()}, container.Name)
		}
		requests := mountCheck(t, got).Resources.Requests
		assert.Equal(t, "64Mi", requests.Memory().String(), "what is not set is left to the template")
	})
}

func TestPodPriorityAndPullSecrets(t *testing.T) {
	forEachEngine(t, func(t *testing.T, tmpl *wfv1.ClusterWorkflowTemplate) {
		args := plainArguments(t, "persistentVolumeClaim")
		got, err := pod(tmpl, args)
		require.NoError(t, err)
		assert.Empty(t, got.PriorityClassName)
		assert.Empty(t, got.ImagePullSecrets)

		args["workflow.parameters.priority-class-name"] = "builds"
		args["workflow.parameters.image-pull-secrets"] = "mirror,other.example"
		got, err = pod(tmpl, args)
		require.NoError(t, err)
		assert.Equal(t, "builds", got.PriorityClassName)
		assert.Equal(t, []corev1.LocalObjectReference{{Name: "mirror"}, {Name: "other.example"}}, got.ImagePullSecrets)
	})
}
