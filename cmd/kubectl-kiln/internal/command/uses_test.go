package command

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
)

func TestUsedBy(t *testing.T) {
	t.Parallel()
	ns := newNamespace(t)
	mv := newVersionOf(t, ns, "mv-6", fact("Declared", v1alpha1.DatasetFact, at("s3://data/faces/v3")))
	code, out, complaint := call(t, viewer, ns, "used-by", "mv-6")
	assert.Equal(t, exitOK, code)
	assert.Empty(t, out)
	assert.Equal(t, "Nothing in namespace "+ns+" uses mv-6.\n", complaint)

	newServingPod(t, mv, "resnet-7c9f5b8d4-x2x1v")
	newPod(t, ns, "single", func(pod *corev1.Pod) { pod.Labels[v1alpha1.LabelServedVersionUID] = string(mv.UID) })
	newPod(t, ns, "other", func(pod *corev1.Pod) { pod.Labels[v1alpha1.LabelServedVersionUID] = "other" })
	tuned := newVersionOf(t, ns, "mv-7",
		fact("Declared", v1alpha1.BaseModelFact, named("ModelVersion mv-6")),
		fact("Observed", v1alpha1.BaseModelFact, func(f *v1alpha1.LineageFact) { f.Name, f.Digest = "ModelVersion mv-6", digestOf("mv-6") }))
	newVersionOf(t, ns, "mv-8", fact("Observed", v1alpha1.BaseModelFact, func(f *v1alpha1.LineageFact) { f.Name, f.Digest = "ModelVersion mv-6", digestOf("another") }))
	newVersionOf(t, ns, "mv-9", fact("File README.md", v1alpha1.BaseModelFact, named("ModelVersion mv-6")))
	newServingPod(t, tuned, "canary")
	twin := newVersionOf(t, ns, "copy")
	status := twin.Status
	status.Digest = digestOf("mv-6")
	setStatus(t, twin, status)
	setAlias(t, ns, "mv-7", "", "mv-6")
	model := resnet(t, ns)
	model.Status.LatestVersion = &v1alpha1.LatestVersion{ModelVersion: "mv-7", Digest: digestOf("mv-7")}
	model.Status.Aliases = append(model.Status.Aliases, v1alpha1.AliasStatus{Name: "recreated", Version: "mv-7", Digest: digestOf("before")})
	require.NoError(t, server.Status().Update(t.Context(), model))

	want := `NAME  USES  HOW
deployment/resnet  modelversion/mv-6  serves it, 0/1 ready
pod/single  modelversion/mv-6  serves it, 0/1 ready
modelversion/copy  modelversion/mv-6  has the same image
modelversion/mv-7  modelversion/mv-6  built on it (declared, observed)
model/resnet  modelversion/mv-7  latest version
model/resnet  modelversion/mv-7  alias production, before: mv-6
deployment/resnet  modelversion/mv-7  serves it, 0/1 ready
`
	assert.Equal(t, want, inColumns(succeeds(t, ns, "used-by", "mv/mv-6")))
	assert.Equal(t, want[strings.Index(want, "\n")+1:], inColumns(succeeds(t, ns, "uses", "mv-6", "--no-headers")))
	assert.Equal(t, []string{"modelversion.model.kubedl.io/copy", "modelversion.model.kubedl.io/mv-7", "pod/resnet-7c9f5b8d4-x2x1v", "pod/single", "pod/canary"}, strings.Fields(succeeds(t, ns, "used-by", "mv-6", "-o", "name")))

	code, out, complaint = call(t, editor, ns, "used-by", "--dataset", "s3://data/faces")
	assert.Equal(t, exitOK, code)
	assert.Equal(t, "Nobody states with which data 4 of 5 ModelVersions were trained.\nThe lineage of deleted ModelVersions is not known, and pods still serve them: 1.\n", complaint)
	assert.Equal(t, strings.Replace(want, "HOW\n", "HOW\nmodelversion/mv-6  s3://data/faces/v3  trained with it (declared)\n", 1), inColumns(out))

	code, out, complaint = call(t, editor, ns, "used-by", "--dataset", "s3://data/face")
	assert.Equal(t, exitOK, code)
	assert.Empty(t, out)
	assert.Contains(t, complaint, "Nothing in namespace "+ns+" uses s3://data/face.\n")
}

func TestUsedBy_allNamespaces(t *testing.T) {
	t.Parallel()
	here, there := newNamespace(t), newNamespace(t)
	// Other tests have namespaces too, and ModelVersions with the same images.
	data, original, copied := "s3://"+here, here+"-original", here+"-copy"
	newVersionOf(t, here, original, fact("Declared", v1alpha1.DatasetFact, at(data+"/v1")))
	newVersionOf(t, there, copied, fact("Observed", v1alpha1.BaseModelFact, func(f *v1alpha1.LineageFact) {
		f.URI, f.Digest = "registry.example.com/models/resnet", digestOf(original)
	}))
	code, _, complaint := call(t, editor, here, "uses", "--dataset", data, "-A")
	assert.Equal(t, exitFailed, code, "the shipped roles are for a namespace")
	assert.Contains(t, complaint, "at the cluster scope")

	binding := &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{GenerateName: "kiln-"}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "modelkiln-view"}}
	binding.Subjects = []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: auditor}}
	require.NoError(t, server.Create(t.Context(), binding))
	code, out, complaint := call(t, auditor, here, "uses", "--dataset", data, "-A")
	require.Equal(t, exitOK, code, complaint)
	assert.Equal(t, fmt.Sprintf("NAMESPACE  NAME  USES  HOW\n%s  modelversion/%s  %s/v1  trained with it (declared)\n%s  modelversion/%s  modelversion/%s  built on it (observed)\n", here, original, data, there, copied, original), inColumns(out))
	code, out, complaint = call(t, auditor, here, "uses", "--dataset", data, "-A", "-o", "json")
	require.Equal(t, exitOK, code, complaint)
	var list struct{ Items []v1alpha1.ModelVersion }
	require.NoError(t, json.Unmarshal([]byte(out), &list))
	require.Len(t, list.Items, 2)
	assert.Equal(t, there, list.Items[1].Namespace)
}

func TestWithin(t *testing.T) {
	tests := map[string]struct {
		uri, place string
		want       bool
	}{
		"the same":             {"s3://data/faces", "s3://data/faces", true},
		"below":                {"s3://data/faces/v3", "s3://data/faces", true},
		"below, with a slash":  {"s3://data/faces/v3", "s3://data/faces/", true},
		"a slash at the end":   {"s3://data/faces/", "s3://data/faces", true},
		"a revision":           {"hf://acme/faces@1a2b", "hf://acme/faces", true},
		"a query":              {"https://example.com/faces?v=1", "https://example.com/faces", true},
		"a bucket":             {"s3://data/faces", "s3://data", true},
		"the middle of a name": {"s3://data/faces-test", "s3://data/faces", false},
		"above":                {"s3://data", "s3://data/faces", false},
		"another scheme":       {"gs://data/faces", "s3://data/faces", false},
		"a name":               {"faces", "faces", true},
		"nothing":              {"", "s3://data", false},
		"slashes only":         {"/data", "/", false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) { assert.Equal(t, tt.want, within(tt.uri, tt.place)) })
	}
}

// versionsWith returns ModelVersions by name, each with the names of its base models. The
// digest of a ModelVersion is the text after a colon in its name.
func versionsWith(t *testing.T, described ...string) []v1alpha1.ModelVersion {
	t.Helper()
	versions := make([]v1alpha1.ModelVersion, len(described))
	for i, line := range described {
		name, listed, _ := strings.Cut(line, " < ")
		mv := &versions[i]
		mv.Name, mv.Status.Digest, _ = strings.Cut(name, ":")
		mv.UID, mv.Status.Lineage = types.UID(mv.Name), &v1alpha1.LineageStatus{}
		for base := range strings.FieldsSeq(listed) {
			f := v1alpha1.LineageFact{Origin: v1alpha1.DeclaredFact, Kind: v1alpha1.BaseModelFact}
			base, f.Digest, _ = strings.Cut(base, ":")
			if base != "" {
				f.Name = "ModelVersion " + base
			}
			mv.Status.Lineage.Facts = append(mv.Status.Lineage.Facts, f)
		}
	}
	return versions
}

func TestBuiltOn(t *testing.T) {
	tests := map[string]struct {
		versions []string
		want     []string
	}{
		"nothing":              {[]string{"a", "b"}, []string{"a"}},
		"two generations":      {[]string{"a", "b < a", "c < b"}, []string{"a", "b", "c"}},
		"two ways":             {[]string{"a", "b < a", "c < a", "d < b c"}, []string{"a", "b", "c", "d"}},
		"a circle":             {[]string{"a < b", "b < a"}, []string{"a", "b"}},
		"itself":               {[]string{"a < a"}, []string{"a"}},
		"by digest only":       {[]string{"a:1", "b < :1"}, []string{"a", "b"}},
		"by name and digest":   {[]string{"a:1", "b < a:1"}, []string{"a", "b"}},
		"the same image":       {[]string{"a:1", "b < x", "x:1"}, []string{"a", "x", "b"}},
		"of a deleted version": {[]string{"a:1", "b < a:2"}, []string{"a"}},
		"of no digest":         {[]string{"a", "b < :1", "c:1"}, []string{"a"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			versions := versionsWith(t, tt.versions...)
			var got []string
			for _, d := range builtOn(versions, []derivation{{version: &versions[0]}}) {
				got = append(got, d.version.Name)
			}
			assert.Equal(t, tt.want, got)
		})
	}
}

// Ten thousand ModelVersions with the same image, each built on all of its kind, cost no
// more than their facts.
func TestBuiltOn_manyOfOneImage(t *testing.T) {
	const many = 10_000
	lines := make([]string, many)
	for i := range lines {
		lines[i] = fmt.Sprintf("v%d:1 < :1", i)
	}
	versions := versionsWith(t, lines...)
	start := time.Now()
	assert.Len(t, builtOn(versions, []derivation{{version: &versions[0]}}), many)
	assert.Less(t, time.Since(start), deadline)
}

// A user can write any text into the owner of a pod.
func TestWorkloadOf(t *testing.T) {
	for name, tt := range map[string]struct {
		kind, owner, hash, want string
	}{
		"a Deployment":            {"ReplicaSet", "resnet-7c9f", "7c9f", "deployment/resnet"},
		"a ReplicaSet":            {"ReplicaSet", "resnet", "", "replicaset/resnet"},
		"no owner":                {want: "pod/server"},
		"a kind for the terminal": {"Job\x1b[2J", "a\n\u202eb", "", "job [2j/a b"},
		"a name for the terminal": {"ReplicaSet", "resnet\x1b[2J-7c9f", "7c9f", "deployment/resnet [2J"},
	} {
		t.Run(name, func(t *testing.T) {
			pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "server", Labels: map[string]string{"pod-template-hash": tt.hash}}}
			if isController := true; tt.kind != "" {
				pod.OwnerReferences = []metav1.OwnerReference{{Kind: tt.kind, Name: tt.owner, Controller: &isController}}
			}
			assert.Equal(t, tt.want, workloadOf(pod))
		})
	}
}
