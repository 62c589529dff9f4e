package config_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"

	"github.com/modelkiln/modelkiln/internal/workflow"
)

func TestOptionsPods(t *testing.T) {
	got, err := load(t, `
buildPods:
  labels: {kueue.x-k8s.io/queue-name: builds, sidecar.istio.io/inject: "true", app.kubernetes.io/part-of: ml, spot: ""}
  annotations: {example.com/contact: "vision team, room 7", linkerd.io/inject: enabled, json: '{"a": {"b": 1} }'}
  env: {HTTPS_PROXY: "http://proxy.example.com:3128", no_proxy: ".svc,10.0.0.0/8", AWS_REGION: eu-central-1, EMPTY: ""}
  imagePullSecrets: [mirror, other.example]
  priorityClassName: builds
  otherRequests: {cpu: 50m}
  otherLimits: {cpu: 500m, memory: 512Mi}
  serviceAccountAnnotations: {eks.amazonaws.com/role-arn: "arn:aws:iam::123456789012:role/models"}
`)
	require.NoError(t, err)
	pods := got.Options().Pods
	assertQuantities(t, map[corev1.ResourceName]string{"cpu": "50m"}, pods.Requests)
	assertQuantities(t, map[corev1.ResourceName]string{"cpu": "500m", "memory": "512Mi"}, pods.Limits)
	pods.Requests, pods.Limits = nil, nil
	assert.Equal(t, workflow.Pods{
		Labels:            map[string]string{"kueue.x-k8s.io/queue-name": "builds", "sidecar.istio.io/inject": "true", "app.kubernetes.io/part-of": "ml", "spot": ""},
		Annotations:       map[string]string{"example.com/contact": "vision team, room 7", "linkerd.io/inject": "enabled", "json": `{"a": {"b": 1} }`},
		Env:               map[string]string{"HTTPS_PROXY": "http://proxy.example.com:3128", "no_proxy": ".svc,10.0.0.0/8", "AWS_REGION": "eu-central-1", "EMPTY": ""},
		ImagePullSecrets:  []string{"mirror", "other.example"},
		PriorityClassName: "builds",
	}, pods)
	assert.Equal(t, map[string]string{"eks.amazonaws.com/role-arn": "arn:aws:iam::123456789012:role/models"}, got.BuildPods.ServiceAccountAnnotations)
}

func TestLoadRejectsBuildPods(t *testing.T) {
	nine := make([]string, 9)
	for i := range nine {
		nine[i] = fmt.Sprintf("key-%d: a", i)
	}
	entries := "{" + strings.Join(nine, ", ") + "}"
	for name, tc := range map[string]struct{ text, want string }{
		"an unknown field":                            {"{label: {a: b}}", `unknown field "label"`},
		"too many labels":                             {"{labels: " + entries + "}", "buildPods.labels has 9 entries: set at most 8, and the others under podMetadata in the ClusterWorkflowTemplates"},
		"too many annotations":                        {"{annotations: " + entries + "}", "buildPods.annotations has 9 entries"},
		"a label with a malformed key":                {"{labels: {a/b/c: x}}", `buildPods.labels contains "a/b/c", which is not a key: use the form example.com/team or team`},
		"a label with a malformed value":              {`{labels: {team: "vision team"}}`, `buildPods.labels: the value "vision team" of team is not the value of a label`},
		"a label with a long value":                   {"{labels: {team: " + strings.Repeat("a", 64) + "}}", "is not the value of a label: use at most 63 letters"},
		"a label that Argo expands":                   {`{labels: {team: "{{workflow.uid}}"}}`, "is not the value of a label"},
		"the operator's own label":                    {"{labels: {app.kubernetes.io/component: other}}", "buildPods.labels contains app.kubernetes.io/component, which is reserved for Argo and Modelkiln: remove it"},
		"a label that the operator serves by":         {"{labels: {model.kubedl.io/serve-version: a}}", "which is reserved"},
		"Argo's label":                                {"{labels: {workflows.argoproj.io/workflow: a}}", "buildPods.labels contains workflows.argoproj.io/workflow, which is reserved"},
		"Argo's annotation":                           {"{annotations: {workflows.argoproj.io/node-id: a}}", "buildPods.annotations contains workflows.argoproj.io/node-id, which is reserved"},
		"the annotation of the default container":     {"{annotations: {kubectl.kubernetes.io/default-container: wait}}", "which is reserved"},
		"an annotation that Argo expands":             {`{annotations: {a: "{{workflow.uid}}"}}`, `buildPods.annotations: the value of a contains "{{" or "}}", which Argo would expand: remove it`},
		"an annotation of two lines":                  {`{annotations: {a: "b\nc=d"}}`, "buildPods.annotations: the value of a contains a line break or another control character: write it in one line"},
		"a very long annotation":                      {"{annotations: {a: " + strings.Repeat("b", 4097) + "}}", "the value of a has 4097 bytes: use at most 4096"},
		"a variable with a malformed name":            {"{env: {HTTPS-PROXY: a}}", `buildPods.env contains "HTTPS-PROXY", which is not the name of a variable: use letters, digits and '_', as in HTTPS_PROXY`},
		"a variable without a name":                   {`{env: {"": a}}`, "is not the name of a variable"},
		"a variable from a Secret":                    {"{env: {HTTPS_PROXY: {secretKeyRef: {name: a, key: b}}}}", "parse configuration"},
		"a list of variables":                         {"{env: [{name: HTTPS_PROXY, value: a}]}", "parse configuration"},
		"Argo's variable":                             {"{env: {ARGO_NODE_ID: a}}", "buildPods.env contains ARGO_NODE_ID, which is reserved for Kubernetes, Argo and the steps of builds: remove it"},
		"a variable of the steps":                     {"{env: {MODELKILN_DISK_LIMIT: a}}", "which is reserved"},
		"a variable of Kubernetes":                    {"{env: {KUBERNETES_SERVICE_HOST: a}}", "which is reserved"},
		"the place of the credentials":                {"{env: {DOCKER_CONFIG: /tmp}}", "which is reserved"},
		"the path of programs":                        {"{env: {PATH: /tmp}}", "which is reserved"},
		"certificates":                                {"{env: {SSL_CERT_FILE: /tmp/ca.crt}}", "buildPods.env contains SSL_CERT_FILE, which Kaniko sets: write the certificates into caBundle of the registry under registries"},
		"a secret":                                    {"{env: {AWS_SECRET_ACCESS_KEY: a}}", "buildPods.env: AWS_SECRET_ACCESS_KEY contains a secret, which everyone who can read Workflows could read"},
		"a proxy with a password":                     {`{env: {HTTPS_PROXY: "http://user:hunter2@proxy.example.com:3128"}}`, "buildPods.env: HTTPS_PROXY contains a secret"},
		"a proxy with a password without a scheme":    {`{env: {HTTPS_PROXY: "user:hunter2@proxy.example.com:3128"}}`, "contains a secret"},
		"a variable that Argo expands":                {`{env: {NO_PROXY: "{{=1}}"}}`, `buildPods.env: the value of NO_PROXY contains "{{" or "}}"`},
		"a variable of two lines":                     {`{env: {NO_PROXY: "a\nARGO_NODE_ID=b"}}`, "the value of NO_PROXY contains a line break"},
		"a Secret with a malformed name":              {`{imagePullSecrets: ["a,b"]}`, `buildPods.imagePullSecrets contains "a,b", which is not the name of a Secret`},
		"a Secret without a name":                     {`{imagePullSecrets: [""]}`, "is not the name of a Secret"},
		"a PriorityClass with a malformed name":       {"{priorityClassName: High}", `buildPods.priorityClassName "High" is not the name of a PriorityClass`},
		"a request above its limit":                   {"{otherRequests: {cpu: 2}, otherLimits: {cpu: 1}}", "buildPods.otherRequests.cpu 2 is above buildPods.otherLimits.cpu 1: lower the request or raise the limit"},
		"a limit below the template's request":        {"{otherLimits: {cpu: 50m}}", "buildPods.otherLimits.cpu 50m is below the template's request of 100m: set buildPods.otherRequests.cpu too"},
		"a negative limit":                            {"{otherLimits: {memory: -1Gi}}", "buildPods.otherLimits.memory -1Gi is negative"},
		"a disk limit of the others only":             {"{otherLimits: {ephemeral-storage: 2Gi}}", "buildPods.otherLimits.ephemeral-storage is set, and limits.ephemeral-storage is not: kubelet evicts a pod that uses more disk than the sum of its limits"},
		"a malformed resource":                        {`{otherLimits: {"a b": 1}}`, `buildPods.otherLimits contains "a b", which is not a resource: use cpu, memory or ephemeral-storage`},
		"an annotation that lets users into the UI":   {`{serviceAccountAnnotations: {workflows.argoproj.io/rbac-rule: "true"}}`, "buildPods.serviceAccountAnnotations contains workflows.argoproj.io/rbac-rule, which is reserved"},
		"a service account's annotation of two lines": {`{serviceAccountAnnotations: {a: "b\nc"}}`, "buildPods.serviceAccountAnnotations: the value of a contains a line break"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := load(t, "buildPods: "+tc.text)
			require.ErrorContains(t, err, tc.want)
			assert.NotContains(t, err.Error(), "hunter2")
		})
	}
	t.Run("everything at once", func(t *testing.T) {
		_, err := load(t, "buildPods: {labels: {a/b/c: x}, annotations: {d/e/f: x}, env: {g-h: x}, imagePullSecrets: [I], priorityClassName: J, otherLimits: {cpu: 1m}, serviceAccountAnnotations: {k/l/m: x}}")
		for _, want := range []string{"a/b/c", "d/e/f", "g-h", `"I"`, `"J"`, "otherLimits.cpu", "k/l/m"} {
			require.ErrorContains(t, err, want)
		}
	})
}

func TestOptionsPullHosts(t *testing.T) {
	got, err := load(t, "registries: [{host: \"registry.registry.svc.cluster.local:5000\", plainHTTP: true, pullHost: \"localhost:30500\"}, {host: registry.example.com}]")
	require.NoError(t, err)
	assert.Equal(t, map[string]string{"registry.registry.svc.cluster.local:5000": "localhost:30500"}, got.Options().PullHosts)

	for name, tc := range map[string]struct{ text, want string }{
		"a path":             {"{host: registry.example.com, pullHost: localhost/models}", `registries[0]: pullHost "localhost/models" is not another registry host: use the form localhost:30500`},
		"a scheme":           {`{host: registry.example.com, pullHost: "http://localhost:30500"}`, "is not another registry host"},
		"the same host":      {"{host: registry.example.com, pullHost: registry.example.com}", "or remove it if nodes pull from host"},
		"two different ones": {"{host: registry.example.com, pullHost: a.example.com}, {host: registry.example.com, pullHost: b.example.com}", `registries[1]: host "registry.example.com" has another pullHost above: nodes pull from one host only`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := load(t, "registries: ["+tc.text+"]")
			require.ErrorContains(t, err, tc.want)
		})
	}
}

func TestOptionsBaseImageMirrors(t *testing.T) {
	got, err := load(t, "baseImageMirrors: {docker.io: registry.example.com/dockerhub, \"ghcr.io\": \"mirror:5000\"}")
	require.NoError(t, err)
	assert.Equal(t, map[string]string{"docker.io": "registry.example.com/dockerhub", "ghcr.io": "mirror:5000"}, got.Options().BaseImageMirrors)

	for name, text := range map[string]string{
		"a repository":           "{docker.io/library: registry.example.com}",
		"a mirror with a scheme": `{docker.io: "https://registry.example.com"}`,
		"no mirror":              `{docker.io: ""}`,
		"a user of Docker Hub":   "{docker.io: mirrors}",
	} {
		t.Run(name, func(t *testing.T) {
			_, err := load(t, "baseImageMirrors: "+text)
			require.ErrorContains(t, err, "does not map a registry to another one: use the form docker.io: registry.example.com/dockerhub")
		})
	}
}
