package command

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/inject"
	"github.com/modelkiln/modelkiln/internal/sign"
	"github.com/modelkiln/modelkiln/test/builders"
)

// signatureBy returns the signature of an image, as the operator writes it into a status.
func signatureBy(t *testing.T, key *sign.Key, digest string) *v1alpha1.SignatureStatus {
	t.Helper()
	bundle, err := key.SignImage(sign.Image{Repository: "registry.example.com/models/resnet", Digest: digest})
	require.NoError(t, err)
	return &v1alpha1.SignatureStatus{SecretName: "modelkiln-signing", KeyID: key.Public().ID(), Bundle: string(bundle)}
}

// inFile returns the name of a file with a public key.
func inFile(t *testing.T, key *sign.Key) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "cosign.pub")
	require.NoError(t, os.WriteFile(name, key.Public().PEM(), 0o600))
	return name
}

// grantSecret lets the editor read a Secret.
func grantSecret(t *testing.T, namespace, name string) {
	t.Helper()
	role := &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Rules: []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"secrets"}, ResourceNames: []string{name}, Verbs: []string{"get"}}}}
	require.NoError(t, server.Create(t.Context(), role))
	require.NoError(t, server.Create(t.Context(), &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: name},
		Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: editor}},
	}))
}

func newSecret(t *testing.T, namespace string, data map[string][]byte) {
	t.Helper()
	require.NoError(t, server.Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "modelkiln-signing"}, Data: data}))
}

func TestTree_signature(t *testing.T) {
	t.Parallel()
	key, other := builders.NewSigningKey(t), builders.NewSigningKey(t)
	tests := map[string]struct {
		signed *v1alpha1.SignatureStatus
		secret map[string][]byte
		// granted is whether the user may read the Secret.
		granted bool
		files   []string
		want    string
	}{
		"not signed":             {nil, nil, false, nil, "no\n"},
		"no permission":          {signatureBy(t, key, digest), nil, false, nil, "with key " + key.Public().ID() + ", not verified (--key cosign.pub): you have no permission to read Secret NS/modelkiln-signing\n"},
		"no Secret":              {signatureBy(t, key, digest), nil, true, nil, "not verified (--key cosign.pub): the Secret NS/modelkiln-signing does not exist\n"},
		"no public key":          {signatureBy(t, key, digest), map[string][]byte{"tls.key": []byte("k")}, true, nil, "not verified (--key cosign.pub): the Secret NS/modelkiln-signing has no cosign.pub\n"},
		"a broken public key":    {signatureBy(t, key, digest), map[string][]byte{"cosign.pub": []byte("k")}, true, nil, "not verified (--key cosign.pub): cosign.pub in Secret NS/modelkiln-signing is not in PEM format"},
		"by the Secret":          {signatureBy(t, key, digest), map[string][]byte{"cosign.pub": key.Public().PEM()}, true, nil, "verified with the key in Secret NS/modelkiln-signing\n"},
		"by another Secret":      {signatureBy(t, key, digest), map[string][]byte{"cosign.pub": other.Public().PEM()}, true, nil, "NOT VALID with the key in Secret NS/modelkiln-signing: it was not made with one of these keys, or was changed\n"},
		"by a file":              {signatureBy(t, key, digest), nil, false, []string{inFile(t, key)}, "verified with the key in "},
		"by the second file":     {signatureBy(t, key, digest), nil, false, []string{inFile(t, other), inFile(t, key)}, "verified with the key in "},
		"by another file":        {signatureBy(t, key, digest), nil, false, []string{inFile(t, other)}, "NOT VALID with the key in "},
		"of another image":       {signatureBy(t, key, digestOf("x")), nil, false, []string{inFile(t, key)}, "cosign.pub: it is that of another image\n"},
		"a file before a Secret": {signatureBy(t, key, digest), map[string][]byte{"cosign.pub": key.Public().PEM()}, true, []string{inFile(t, other)}, "NOT VALID with the key in "},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ns := newNamespace(t)
			status := readyStatus()
			status.Signature = tt.signed
			newVersion(t, ns, "mv-1", status)
			if tt.granted {
				grantSecret(t, ns, "modelkiln-signing")
			}
			if tt.secret != nil {
				newSecret(t, ns, tt.secret)
			}
			args := []string{"tree", "mv/mv-1"}
			for _, file := range tt.files {
				args = append(args, "--key", file)
			}
			line := inColumns(lineWith(t, succeeds(t, ns, args...), "signed"))
			assert.Contains(t, strings.ReplaceAll(line, ns+"/", "NS/"), tt.want)
		})
	}
}

func TestTree_attestations(t *testing.T) {
	t.Parallel()
	ns := newNamespace(t)
	status := readyStatus()
	status.Signature = signatureBy(t, builders.NewSigningKey(t), digest)
	status.Signature.Attestations = []v1alpha1.Attestation{v1alpha1.ProvenanceAttestation, v1alpha1.TrainingAttestation}
	newVersion(t, ns, "mv-1", status)
	assert.Contains(t, inColumns(succeeds(t, ns, "tree", "mv/mv-1")), "├── attested  Provenance, Training  in the registry, not verified here\n")
}

func TestTree_unusableKey(t *testing.T) {
	t.Parallel()
	ns := newNamespace(t)
	newVersion(t, ns, "mv-1", readyStatus())
	private := filepath.Join(t.TempDir(), "cosign.key")
	require.NoError(t, os.WriteFile(private, []byte("-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\n-----END ENCRYPTED SIGSTORE PRIVATE KEY-----\n"), 0o600))
	assert.Contains(t, fails(t, ns, "tree", "mv/mv-1", "--key", private), `the public key in `+private+` is not in PEM format with the type "PUBLIC KEY": name a file such as cosign.pub`)
	assert.Contains(t, fails(t, ns, "verify", "mv-1", "--key", private+".none"), "the public key cannot be read: ")
}

// Pods are verified as the webhook verifies them, and what their annotations say counts for
// nothing.
func TestVerify_pod(t *testing.T) {
	t.Parallel()
	ns, host := newNamespace(t), newRegistry(t, "")
	key, other := builders.NewSigningKey(t), builders.NewSigningKey(t)
	mv := newBuiltVersion(t, ns, "v1", host+"/models/resnet", smallModel)
	status := mv.Status
	status.Signature = signatureBy(t, key, status.Digest)
	setStatus(t, mv, status)
	newServingPod(t, mv, "server")

	out := succeeds(t, ns, "verify", "pod/server", "--key", inFile(t, key), "--deep")
	assert.Contains(t, out, "ok    pod server mounts the image of ModelVersion v1: "+mv.Status.Digest+"\nok    the signature is valid with the key in ")
	assert.Contains(t, out, "ok    all 2 files, 9 B, are as in the list of the image\n")
	assert.Contains(t, succeeds(t, ns, "verify", "server"), "-     the image is signed with key "+key.Public().ID()+", and the signature was not verified: you have no permission to read Secret "+ns+"/modelkiln-signing\n      name the public key: --key cosign.pub\n")

	code, out, complaint := call(t, editor, ns, "verify", "server", "--key", inFile(t, other))
	assert.Equal(t, exitFailed, code)
	assert.Contains(t, out, "FAIL  the signature is not valid with the key in ")
	assert.Contains(t, out, "cosign.pub: it was not made with one of these keys, or was changed\n      according to the status, the key "+key.Public().ID()+" has signed; to sign again, run: kubectl kiln retry v1 -n "+ns+"\n")
	assert.Equal(t, "error: server does not verify: 1 of the checks failed\n", complaint)

	status.Signature = nil
	setStatus(t, mv, status)
	assert.Contains(t, succeeds(t, ns, "verify", "server"), "-     the image is not signed\n")
	code, out, _ = call(t, editor, ns, "verify", "server", "--key", inFile(t, key))
	assert.Equal(t, exitFailed, code)
	assert.Contains(t, out, "FAIL  the image is not signed\n")
}

func TestVerify_otherPods(t *testing.T) {
	t.Parallel()
	ns := newNamespace(t)
	mv, gone := newVersionOf(t, ns, "v1"), newVersionOf(t, ns, "gone")
	newServingPod(t, gone, "orphan")
	require.NoError(t, server.Delete(t.Context(), gone))
	newPod(t, ns, "other", func(*corev1.Pod) {})
	claims := func(pod *corev1.Pod) {
		pod.Labels[v1alpha1.LabelServedVersionUID] = string(mv.UID)
		pod.Annotations[v1alpha1.AnnotationServedVersion] = "v1"
		pod.Annotations[v1alpha1.AnnotationServedImage] = mv.Status.Image + "@" + mv.Status.Digest
	}
	newPod(t, ns, "mounts-nothing", claims)
	newPod(t, ns, "mounts-another", func(pod *corev1.Pod) {
		another := mv.DeepCopy()
		another.Status.Digest = digestOf("another")
		served, problem := inject.Serving(pod, another, inject.ServingInitContainer)
		require.Nil(t, problem)
		*pod = *served
		claims(pod)
	})
	assert.Contains(t, fails(t, ns, "verify", "pod/orphan"), "error: the ModelVersion that pod orphan serves was deleted: nothing says what its image has to be\n")
	assert.Contains(t, fails(t, ns, "verify", "other"), "error: pod other serves no ModelVersion: ")
	for pod, want := range map[string]string{
		"mounts-nothing": "FAIL  the pod mounts no image of a model, though its annotation names v1\n      create the pod again, so that the webhook gives it the model\n",
		"mounts-another": "FAIL  the pod mounts registry.example.com/models/resnet@" + digestOf("another") + ", and the digest of v1 is " + mv.Status.Digest + "\n",
	} {
		t.Run(pod, func(t *testing.T) {
			code, out, _ := call(t, editor, ns, "verify", pod, "--registry-host", "127.0.0.1:1")
			assert.Equal(t, exitFailed, code)
			assert.Contains(t, out, want)
			assert.Contains(t, succeeds(t, ns, "tree", pod), "warning")
		})
	}
}
