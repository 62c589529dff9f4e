package command

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
)

// anyVersion are the commands that take a ModelVersion and do nothing else without one.
var anyVersion = [][]string{{"why"}, {"logs"}, {"wait"}, {"retry"}, {"open"}, {"delete"}, {"used-by"}, {"verify"}}

func TestUnknownName(t *testing.T) {
	t.Parallel()
	ns := newNamespace(t)
	for _, command := range anyVersion {
		complaint := fails(t, ns, append(command, "mv/mv-9")...)
		assert.Equal(t, fmt.Sprintf("error: ModelVersion mv-9 does not exist in namespace %s: list those that do with: kubectl kiln get -n %s\n", ns, ns), complaint, command)
	}
	assert.Equal(t, "error: namespace "+ns+" has no Model or ModelVersion or Pod with the name nothing: list ModelVersions with: kubectl kiln get -n "+ns+"\n", fails(t, ns, "tree", "nothing"))
	assert.Contains(t, fails(t, ns, "verify", "nothing"), "has no ModelVersion or Pod with the name nothing")
	assert.Contains(t, fails(t, ns, "tree", "mo/no-model"), "Model no-model does not exist in namespace "+ns)
	assert.Contains(t, fails(t, ns, "tree", "mv/no-version"), "ModelVersion no-version does not exist")
	assert.Contains(t, fails(t, ns, "tree", "pod/no-pod"), "Pod no-pod does not exist")
}

func TestNoRights(t *testing.T) {
	t.Parallel()
	ns := newNamespace(t)
	newVersion(t, ns, "mv-7", readyStatus())
	for _, command := range append(anyVersion, []string{"tree"}, []string{"get"}) {
		args := slices.Clone(command)
		if command[0] != "get" {
			args = []string{command[0], "mv-7"}
		}
		code, _, complaint := call(t, stranger, ns, args...)
		assert.Equal(t, exitFailed, code, command)
		assert.Contains(t, complaint, `User "stranger" cannot`, command)
		assert.Contains(t, complaint, "ask the platform team for a RoleBinding to the ClusterRole modelkiln-view in namespace "+ns, command)
		assert.Equal(t, 1, strings.Count(complaint, "\n"), "one sentence: %s", complaint)
	}
	code, _, complaint := call(t, viewer, ns, "retry", "mv-7")
	assert.Equal(t, exitFailed, code)
	assert.Contains(t, complaint, "ClusterRole modelkiln-edit")
}

func TestUnreachableCluster(t *testing.T) {
	t.Parallel()
	commands := [][]string{{"get"}, {"tree", "m"}, {"why", "m"}, {"logs", "m"}, {"wait", "m"}, {"retry", "m"}, {"doctor"}, {"version"}, {"open", "m"}, {"delete", "m"}, {"used-by", "m"}, {"verify", "m"}, {"diff", "m", "n"}, {"export", "m", "d"}, {"promote", "m", "a", "v"}, {"rollback", "m", "a"}, {"create", "n", "--model", "m", "--image", "i", "--claim", "c"}}
	for _, command := range commands {
		out, complaint := &buffer{}, &buffer{}
		code := Main(t.Context(), append([]string{"--server", "https://127.0.0.1:1", "--kubeconfig", server.people[editor], "--insecure-skip-tls-verify"}, command...), genericiooptions.IOStreams{Out: out, ErrOut: complaint})
		assert.Equal(t, exitFailed, code, command)
		assert.Contains(t, complaint.String(), "error: the cluster at https://127.0.0.1:1 cannot be reached: check the network, --context and KUBECONFIG", command)
	}
}

func TestUsage(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		args []string
		want string
	}{
		"unknown command":    {[]string{"bake"}, `unknown command "bake"`},
		"script of cobra":    {[]string{"completion", "bash"}, `unknown command "completion"`},
		"unknown flag":       {[]string{"get", "--colour"}, "unknown flag: --colour"},
		"missing argument":   {[]string{"why"}, "accepts 1 arg(s), received 0"},
		"two arguments":      {[]string{"get", "a", "b"}, "accepts at most 1 arg(s), received 2"},
		"other kind to get":  {[]string{"get", "mv/a"}, `"mv/a" is not a Model: write its name, or mo/NAME`},
		"other kind":         {[]string{"why", "pod/a"}, `"pod/a" is not a ModelVersion: write its name, or mv/NAME`},
		"kind in a tree":     {[]string{"tree", "svc/a"}, `"svc/a" has none of the forms NAME, mo/NAME, mv/NAME, pod/NAME`},
		"kind to verify":     {[]string{"verify", "mo/a"}, `"mo/a" has none of the forms NAME, mv/NAME, pod/NAME`},
		"used by nothing":    {[]string{"used-by"}, "name either a ModelVersion or, with --dataset, data"},
		"used by both":       {[]string{"uses", "a", "--dataset", "s3://data"}, "name either a ModelVersion or, with --dataset, data"},
		"used by no data":    {[]string{"uses", "--dataset", ""}, "name either a ModelVersion or, with --dataset, data"},
		"no name":            {[]string{"get", ""}, "the name of a Model is empty"},
		"no name of one":     {[]string{"delete", "mv/"}, "the name of a ModelVersion is empty"},
		"no name of any":     {[]string{"tree", "mv/"}, "the name is empty"},
		"unknown step":       {[]string{"logs", "a", "--step", "main"}, `"main" is not a step: choose one of mount-check, build, status-report`},
		"negative timeout":   {[]string{"wait", "a", "--timeout", "-1s"}, "--timeout must not be negative"},
		"negative promotion": {[]string{"promote", "m", "a", "v", "--timeout", "-1s"}, "--timeout must not be negative"},
		"no directory":       {[]string{"export", "a", "oci:"}, "name a directory for the files, or oci:DIRECTORY for the image"},
		"negative attempt":   {[]string{"logs", "a", "--attempt", "-1"}, "--attempt is the number of an attempt"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			code, out, complaint := call(t, editor, "default", tt.args...)
			assert.Equal(t, exitUsage, code)
			assert.Empty(t, out)
			assert.Contains(t, complaint, "error: "+tt.want)
		})
	}
}

func TestUsage_format(t *testing.T) {
	t.Parallel()
	ns := newNamespace(t)
	newVersion(t, ns, "mv-7", readyStatus())
	code, _, complaint := call(t, editor, ns, "get", "-o", "csv")
	assert.Equal(t, exitUsage, code)
	assert.Contains(t, complaint, `unable to match a printer suitable for the output format "csv"`)
}

// A typo in -o changes nothing.
func TestUsage_formatOfChanges(t *testing.T) {
	t.Parallel()
	ns := newNamespace(t)
	before := newVersion(t, ns, "mv-7", readyStatus())
	for _, args := range [][]string{{"create", "v1", "--model", "resnet", "--image", "models/resnet", "--claim", "c"}, {"retry", "mv-7"}, {"delete", "mv-7"}} {
		code, out, complaint := call(t, editor, ns, append(args, "-o", "csv")...)
		assert.Equal(t, exitUsage, code, args)
		assert.Empty(t, out, args)
		assert.Contains(t, complaint, `output format "csv"`, args)
	}
	list := &v1alpha1.ModelVersionList{}
	require.NoError(t, server.List(t.Context(), list, client.InNamespace(ns)))
	require.Len(t, list.Items, 1)
	assert.Equal(t, before.ResourceVersion, list.Items[0].ResourceVersion)
}

// Ctrl-C is no failure of the cluster, whatever the command waits for.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	ns := newNamespace(t)
	newVersion(t, ns, "mv-6", readyStatus())
	newVersion(t, ns, "mv-8", buildingStatus("mv-8-1c072-1", 50))
	tests := map[string]struct {
		args []string
		// shows is what the command prints before it waits; nothing if it is empty.
		shows string
	}{
		"wait":      {[]string{"wait", "mv-8"}, "Building"},
		"logs":      {[]string{"logs", "-f", "mv-8"}, ""},
		"promotion": {[]string{"promote", "resnet", "production", "mv-6"}, "nothing -> mv-6"},
		"a request": {[]string{"get"}, ""},
		"package":   {[]string{"package", newModel(t, smallModel), newRegistry(t, "") + "/models/resnet:v1"}, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			ctx, interrupt := context.WithCancel(t.Context())
			defer interrupt()
			out, complaint, ended := &buffer{}, &buffer{}, make(chan int, 1)
			if tt.shows == "" {
				interrupt()
			}
			go func() { ended <- callWith(ctx, editor, ns, out, complaint, tt.args...) }()
			require.Eventually(t, func() bool { return strings.Contains(out.String()+complaint.String(), tt.shows) }, deadline, 10*time.Millisecond)
			interrupt()
			assert.Equal(t, exitInterrupted, awaitCode(t, ended))
			assert.Equal(t, "error: interrupted", lastLine(complaint.String()))
			assert.NotContains(t, complaint.String(), "cannot be reached")
		})
	}
}

// A device such as /dev/null shows nothing to anyone, so that open starts no browser.
func TestIsTerminal(t *testing.T) {
	device, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	require.NoError(t, err)
	defer func() { _ = device.Close() }()
	assert.False(t, isTerminal(device))
	assert.False(t, isTerminal(&buffer{}))
}

func TestGet(t *testing.T) {
	t.Parallel()
	ns := newNamespace(t)
	assert.Empty(t, succeeds(t, ns, "get"))
	assert.Contains(t, succeeds(t, ns, "get", "-o", "json"), `"items": []`, "an empty list, and not null")
	assert.Empty(t, succeeds(t, ns, "get", "-o", "name"))
	newVersion(t, ns, "mv-5", failedStatus("mv-5-1c072-1"))
	newVersion(t, ns, "mv-7", readyStatus())
	newVersion(t, ns, "mv-8", buildingStatus("mv-8-1c072-1", 62))

	out := succeeds(t, ns, "get")
	lines := strings.Split(strings.TrimSpace(out), "\n")
	require.Len(t, lines, 4, out)
	assert.Equal(t, []string{"NAME", "MODEL", "STATE", "TAG", "SIZE", "SENT", "TIME", "PROGRESS", "CREATED-BY", "AGE"}, strings.Fields(lines[0]))
	assert.Regexp(t, `(?m)^mv-5 +resnet +Failed: SourceIncomplete `, out)
	assert.Regexp(t, `(?m)^mv-7 +resnet +Ready +v1c072 +9\.0 GiB +1\.0 GiB +60s +alice `, out)
	assert.Regexp(t, `(?m)^mv-8 +resnet +Building: WorkflowRunning +v9f1a0 .* 62% +alice `, out)
	assert.NotContains(t, out, "\x1b", "no colours")

	assert.Empty(t, succeeds(t, ns, "get", "other"))
	assert.NotContains(t, succeeds(t, ns, "get", "resnet", "--no-headers"), "NAME")
	names := strings.Fields(succeeds(t, ns, "get", "model.model.kubedl.io/resnet", "-o", "name"))
	assert.ElementsMatch(t, []string{"modelversion.model.kubedl.io/mv-5", "modelversion.model.kubedl.io/mv-7", "modelversion.model.kubedl.io/mv-8"}, names)

	var list struct {
		Kind  string
		Items []v1alpha1.ModelVersion
	}
	require.NoError(t, json.Unmarshal([]byte(succeeds(t, ns, "get", "-o", "json")), &list))
	assert.Equal(t, "List", list.Kind)
	require.Len(t, list.Items, 3)
	assert.Equal(t, "ModelVersion", list.Items[0].Kind)
	assert.Contains(t, succeeds(t, ns, "get", "-o", "yaml"), "kind: ModelVersion")

	code, _, complaint := call(t, editor, ns, "get", "-A")
	assert.Equal(t, exitFailed, code, "the shipped roles are for a namespace")
	assert.Contains(t, complaint, "at the cluster scope")
}

func TestTree(t *testing.T) {
	t.Parallel()
	ns := newNamespace(t)
	failed := newVersion(t, ns, "mv-5", failedStatus("mv-5-1c072-2"))
	newWorkflow(t, failed, 1, failedNode("gpu-3"))
	newWorkflow(t, failed, 2, failedNode("gpu-3"))
	ready := newVersion(t, ns, "mv-7", readyStatus())
	newServingPod(t, ready, "resnet-7c9f5b8d4-x2x1v")
	serving := newServingPod(t, ready, "resnet-7c9f5b8d4-z9k2p")
	serving.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	require.NoError(t, server.Status().Update(t.Context(), serving))
	newVersion(t, ns, "mv-8", buildingStatus("mv-8-1c072-1", 50))
	model := &v1alpha1.Model{}
	require.NoError(t, server.Get(t.Context(), client.ObjectKey{Namespace: ns, Name: "resnet"}, model))
	model.Status.LatestVersion = &v1alpha1.LatestVersion{ModelVersion: "mv-7"}
	model.Status.Aliases = []v1alpha1.AliasStatus{{Name: "production", Version: "mv-7"}}
	require.NoError(t, server.Status().Update(t.Context(), model))

	out := succeeds(t, ns, "tree", "resnet")
	assert.Regexp(t, `^Model resnet  latest mv-7  production → mv-7\n`, out)
	assert.Regexp(t, `├── mv-7 +Ready +v1c072 +9\.0 GiB +sent 1\.0 GiB, reused 8\.0 GiB +\S+ +Stream +alice +production\n│   └── serves +deployment/resnet +1/2 ready\n`, out)
	assert.Regexp(t, `── mv-5 +Failed +SourceIncomplete .*\n.*├── attempt +mv-5-1c072-2 +failed  Evicted .* on node gpu-3\n.*└── attempt +mv-5-1c072-1 `, out)
	assert.Regexp(t, `── mv-8 +Building +v9f1a0 +50% +about \S+ left `, out)

	out = succeeds(t, ns, "tree", "mv/mv-7")
	assert.Regexp(t, `^ModelVersion mv-7  Ready  v1c072  9\.0 GiB  sent 1\.0 GiB, reused 8\.0 GiB .* alice\n├── Model resnet  latest mv-7  production → mv-7\n├── alias +production\n├── image +registry.example.com/models/resnet:v1c072@`+digest+`  9\.0 GiB  sent`, out)
	assert.Regexp(t, `├── signed +no\n├── built +Workflow mv-7-1c072-1  20.* UTC  took 60s  Stream\n└── serves +deployment/resnet +1/2 ready\n$`, out)
	assert.Regexp(t, `^ModelVersion mv-7  Ready `, succeeds(t, ns, "tree", "mv-7"), "no Model has the name")

	out = succeeds(t, ns, "tree", "pod/resnet-7c9f5b8d4-x2x1v")
	assert.Regexp(t, `^Pod resnet-7c9f5b8d4-x2x1v  Pending\n├── serves +registry.example.com/models/resnet@sha256:\w+\n└── ModelVersion mv-7  Ready .*\n    ├── Model resnet  latest mv-7  production → mv-7\n`, out)
	assert.Regexp(t, `^Pod resnet-7c9f5b8d4-x2x1v  Pending\n`, succeeds(t, ns, "tree", "resnet-7c9f5b8d4-x2x1v"), "neither a Model nor a ModelVersion has the name")
	assert.Equal(t, "pod/resnet-7c9f5b8d4-x2x1v\nmodelversion.model.kubedl.io/mv-7\nmodel.model.kubedl.io/resnet\n", succeeds(t, ns, "tree", "resnet-7c9f5b8d4-x2x1v", "-o", "name"))

	require.NoError(t, server.Delete(t.Context(), ready))
	assert.Regexp(t, `└── mv-7 +was deleted\n$`, succeeds(t, ns, "tree", "pod/resnet-7c9f5b8d4-x2x1v"))
	newPod(t, ns, "other", func(*corev1.Pod) {})
	assert.Contains(t, fails(t, ns, "tree", "pod/other"), "pod other serves no ModelVersion")
	// The policy that reserves the annotations may not be installed.
	newPod(t, ns, "forged", func(pod *corev1.Pod) {
		pod.Annotations = map[string]string{v1alpha1.AnnotationServedVersion: "mv-7\n└── \x1b[2J", v1alpha1.AnnotationServedImage: "\x1b]0;title\a"}
	})
	assert.Regexp(t, `^Pod forged  Pending\n├── serves +no image of a model\n└── mv-7 └── \[2J +was deleted\n$`, succeeds(t, ns, "tree", "pod/forged"))
}

// What a user may read is shown, whatever they may not.
func TestTree_someRights(t *testing.T) {
	t.Parallel()
	ns := newNamespace(t)
	newVersion(t, ns, "mv-5", failedStatus("mv-5-1c072-1"))
	grant(t, ns, stranger, rbacv1.PolicyRule{APIGroups: []string{v1alpha1.GroupVersion.Group}, Resources: []string{"models", "modelversions"}, Verbs: []string{"get", "list"}})
	for _, args := range [][]string{{"tree", "resnet"}, {"tree", "mv-5"}} {
		code, out, complaint := call(t, stranger, ns, args...)
		require.Equal(t, exitOK, code, complaint)
		assert.Contains(t, out, "SourceIncomplete", args)
		assert.Regexp(t, `── serves +not known: pods is forbidden: User "stranger" cannot list .* ClusterRole modelkiln-view`, out, args)
		assert.Regexp(t, `── attempts +not known: workflows.argoproj.io is forbidden`, out, args)
	}
}

// Without Argo, it is Argo that has to be installed.
func TestExplain_missingKinds(t *testing.T) {
	c := &cluster{namespace: "team-a"}
	for kind, want := range map[string]string{
		"Workflow":     "the cluster does not have Argo's kinds: install Argo Workflows, then run: kubectl kiln doctor",
		"ModelVersion": "the cluster does not have the kind ModelVersion: install Modelkiln (deploy/README.md), then run: kubectl kiln doctor",
	} {
		err := c.explain(&meta.NoKindMatchError{GroupKind: schema.GroupKind{Kind: kind}}, kind, "")
		require.EqualError(t, err, want)
		assert.True(t, isUnreadable(err))
	}
}

func TestWhy(t *testing.T) {
	t.Parallel()
	ns := newNamespace(t)
	failed := newVersion(t, ns, "mv-5", failedStatus("mv-5-1c072-2"))
	newWorkflow(t, failed, 1, failedNode("gpu-2"))
	newWorkflow(t, failed, 2, map[string]any{"phase": "Failed", "message": "Stopped with strategy 'Terminate'"})
	newWorkflow(t, failed, 3, map[string]any{"phase": "Failed", "nodes": "many"})
	newVersion(t, ns, "mv-6", v1alpha1.ModelVersionStatus{})
	newVersion(t, ns, "mv-7", readyStatus())
	newVersion(t, ns, "mv-8", buildingStatus("mv-8-1c072-1", 62))

	out := succeeds(t, ns, "why", "mv/mv-5")
	assert.True(t, strings.HasPrefix(out, "mv-5 is not built: SourceIncomplete\n  Step mount-check: model-00003-of-00005.safetensors has 2,113,929,216 of 4,999,802,720 bytes\n"), out)
	assert.Regexp(t, `  attempt   mv-5-1c072-1  failed  Evicted .*  on node gpu-2\n            The pod of Workflow mv-5-1c072-1 was evicted: The node was low on resource`, out)
	assert.Regexp(t, `  attempt   mv-5-1c072-2  failed  WorkflowTerminated .*\n            Workflow mv-5-1c072-2 was terminated\n`, out)
	assert.Regexp(t, `  attempt   mv-5-1c072-3  failed  WorkflowInvalid\n            decode the Workflow: `, out)
	assert.True(t, strings.HasSuffix(out, fmt.Sprintf("  next      when the cause is fixed: kubectl kiln retry mv-5 -n %s\n  next      the log: kubectl kiln logs mv-5 -n %s\n", ns, ns)), out)

	assert.Equal(t, "mv-6 was not observed by the operator yet\n  next      kubectl kiln doctor -n "+ns+"\n", succeeds(t, ns, "why", "mv-6"))
	assert.Equal(t, "mv-7 is ready\n  The image is in the registry\n", succeeds(t, ns, "why", "mv-7"))
	out = succeeds(t, ns, "why", "mv-8")
	assert.Regexp(t, `^mv-8 is building: WorkflowRunning\n  Workflow mv-8-1c072-1 runs step build\n  progress  Building  62%  31\.0% a minute  about 1m1\ds left\n`, out)
}

func TestRetry(t *testing.T) {
	t.Parallel()
	ns := newNamespace(t)
	mv := newVersion(t, ns, "mv-5", failedStatus("mv-5-1c072-2"))
	assert.Equal(t, "modelversion.model.kubedl.io/mv-5 requested\n", succeeds(t, ns, "retry", "mv-5"))
	require.NoError(t, server.Get(t.Context(), client.ObjectKeyFromObject(mv), mv))
	first := mv.Annotations[v1alpha1.AnnotationRebuild]
	assert.NotEmpty(t, first)
	assert.Equal(t, "modelversion.model.kubedl.io/mv-5\n", succeeds(t, ns, "retry", "mv-5", "-o", "name"))
	require.NoError(t, server.Get(t.Context(), client.ObjectKeyFromObject(mv), mv))
	assert.NotEqual(t, first, mv.Annotations[v1alpha1.AnnotationRebuild], "every request has a value of its own")

	newVersion(t, ns, "old", v1alpha1.ModelVersionStatus{ImageBuildPhase: v1alpha1.ImageBuildFailed})
	assert.Contains(t, fails(t, ns, "retry", "old"), "KubeDL has finished ModelVersion old, and its result is final")
}

func TestLogs(t *testing.T) {
	t.Parallel()
	ns := newNamespace(t)
	kubelet, node := newFakeKubelet(t)
	mv := newVersion(t, ns, "mv-5", failedStatus("mv-5-1c072-2"))
	newWorkflow(t, mv, 1, failedNode(node))
	assert.Contains(t, fails(t, ns, "logs", "mv-5"), "the pods of Workflow mv-5-1c072-2 do not exist, or no longer: if Argo archives logs, read them with argo logs -n "+ns+" mv-5-1c072-2")

	runs(t, newBuildPod(t, ns, "mv-5-1c072-2", "second", node), corev1.PodFailed, "mount-check", "build")
	kubelet.log("mount-check") <- "5 weights files\n" + strings.Repeat("x", 10_000) + "\n"
	close(kubelet.log("mount-check"))
	kubelet.log("build") <- "layer 1 of 6"
	close(kubelet.log("build"))
	assert.Equal(t, "mount-check   │ 5 weights files\nmount-check   │ "+strings.Repeat("x", 10_000)+"\nbuild         │ layer 1 of 6\n", succeeds(t, ns, "logs", "mv-5"))

	assert.Contains(t, fails(t, ns, "logs", "mv-5", "--attempt", "1"), "the pods of Workflow mv-5-1c072-1 do not exist")
	assert.Contains(t, fails(t, ns, "logs", "mv-5", "--attempt", "7"), "ModelVersion mv-5 has no attempt 7, or its Workflow was deleted")
	newVersion(t, ns, "mv-6", v1alpha1.ModelVersionStatus{})
	assert.Contains(t, fails(t, ns, "logs", "mv-6"), "ModelVersion mv-6 has no attempt: the operator has not observed it")
}

func TestLogs_follow(t *testing.T) {
	t.Parallel()
	ns := newNamespace(t)
	kubelet, node := newFakeKubelet(t)
	mv := newVersion(t, ns, "mv-8", v1alpha1.ModelVersionStatus{})
	out, complaint, ended := inBackground(t, ns, "logs", "-f", "mv-8")

	setStatus(t, mv, buildingStatus("mv-8-1c072-1", 0))
	pod := newBuildPod(t, ns, "mv-8-1c072-1", "build-pod", node)
	runs(t, pod, corev1.PodRunning, "mount-check")
	kubelet.log("mount-check") <- "5 weights files\n"
	shows(t, out, "mount-check   │ 5 weights files\n")
	close(kubelet.log("mount-check"))
	runs(t, pod, corev1.PodRunning, "mount-check", "build")
	kubelet.log("build") <- "layer 1 of 6\n"
	shows(t, out, "build         │ layer 1 of 6\n")
	close(kubelet.log("build"))
	runs(t, pod, corev1.PodFailed, "mount-check", "build")
	setStatus(t, mv, failedStatus("mv-8-1c072-1"))

	assert.Equal(t, exitOK, awaitCode(t, ended), complaint)
	assert.Contains(t, complaint.String(), "mv-8 is not built: SourceIncomplete: ")
}

func TestVersion(t *testing.T) {
	t.Parallel()
	assert.Regexp(t, `^kubectl kiln  \S+  go1\.\S+  \w+/\w+.*\n$`, succeeds(t, "default", "version", "--client"))
	out := succeeds(t, "default", "version")
	assert.Regexp(t, `\nKubernetes    v1\.\d+`, out)
	for _, template := range []string{"modelkiln-build", "modelkiln-build-stream", "modelkiln-promote"} {
		assert.Contains(t, out, "template      "+template+"  ")
	}
}

func TestCompletion(t *testing.T) {
	t.Parallel()
	ns := newNamespace(t)
	newVersion(t, ns, "mv-7", readyStatus())
	assert.Contains(t, succeeds(t, ns, "__complete", "why", ""), "mv-7\n")
	newServingPod(t, newVersionOf(t, ns, "mv-8"), "server")
	newPod(t, ns, "other", func(*corev1.Pod) {})
	assert.Regexp(t, `^resnet\nmv/mv-\d\nmv/mv-\d\npod/server\n:`, succeeds(t, ns, "__complete", "tree", ""))
	assert.Regexp(t, `^mv-\d\nmv-\d\npod/server\n:`, succeeds(t, ns, "__complete", "verify", ""))
	assert.Contains(t, succeeds(t, ns, "__complete", "uses", ""), "mv-7\n")
	assert.Contains(t, succeeds(t, ns, "__complete", "export", "mv-7", ""), ":16\n", "directories")
	assert.Contains(t, succeeds(t, ns, "__complete", "package", ""), ":16\n", "directories")
	assert.Contains(t, succeeds(t, ns, "__complete", "create", ""), ":4\n", "no files")
	code, out, _ := call(t, stranger, ns, "__complete", "why", "")
	assert.Equal(t, exitOK, code)
	assert.NotContains(t, out, "forbidden")
}

func TestInvalidKubeconfig(t *testing.T) {
	t.Parallel()
	file := t.TempDir() + "/config"
	require.NoError(t, os.WriteFile(file, []byte("apiVersion: v1\nkind: Config\n"), 0o600))
	out, complaint := &buffer{}, &buffer{}
	code := Main(t.Context(), []string{"--kubeconfig", file, "--context", "other", "get"}, genericiooptions.IOStreams{Out: out, ErrOut: complaint})
	assert.Equal(t, exitFailed, code)
	assert.Contains(t, complaint.String(), "error: the kubeconfig file cannot be used: ")
	assert.Contains(t, complaint.String(), "context was not found for specified context: other")
}

func TestVersionTable_namespaces(t *testing.T) {
	mv := v1alpha1.ModelVersion{}
	mv.Namespace, mv.Name = "team-a", "mv-1"
	got := versionTable([]v1alpha1.ModelVersion{mv}, true, time.Now())
	assert.Equal(t, "Namespace", got.ColumnDefinitions[0].Name)
	assert.Equal(t, []any{"team-a", "mv-1"}, got.Rows[0].Cells[:2])
	assert.Len(t, got.Rows[0].Cells, len(got.ColumnDefinitions))
}

// A terminal gets no control characters, and a tree no lines and cells, from what users
// write into createdBy.
func TestVersionLine_hostileCreator(t *testing.T) {
	mv := &v1alpha1.ModelVersion{}
	mv.Name, mv.Spec.CreatedBy = "mv-1", "\x1b[2Jalice\n└── mv-2\tReady"
	assert.Equal(t, "mv-1\tUnknown\t\t\t\t\t\t [2Jalice └── mv-2 Ready", versionLine(mv, nil, time.Now()))
}
