package integration

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/modelkiln/modelkiln/internal/sourcepolicy"
)

const (
	deployPolicy = "../../deploy/policy"
	// sentinel is a folder that the lists of these tests deny, so that a version
	// there says whether the API server asks the policy.
	sentinel = "/sentinel"
)

// boundBy has the policy of deploy/policy go by these lists for as long as the
// test runs, and returns when the API server does so. The policy stays installed,
// with lists that bound nothing: an API server reads no ConfigMap for a policy any
// more once the last policy with one was taken away.
func boundBy(t *testing.T, lists map[string]string) {
	t.Helper()
	s := newScene(t, shared)
	atSentinel := func() error {
		ctx := context.WithoutCancel(t.Context())
		return s.client.Create(ctx, object(t, s.namespace, localVersion, set(localPath, sentinel)), client.DryRunAll)
	}
	for _, file := range []string{"bounds.yaml", "policy.yaml"} {
		objects, err := manifests(filepath.Join(deployPolicy, file))
		require.NoError(t, err)
		for _, o := range objects {
			if err := s.client.Create(t.Context(), o, client.FieldValidation(metav1.FieldValidationStrict)); !apierrors.IsAlreadyExists(err) {
				require.NoError(t, err)
			}
		}
	}
	data := map[string]string{"deniedHostPaths": sentinel}
	maps.Copy(data, lists)
	s.setLists(data)
	t.Cleanup(func() {
		s.setLists(nil)
		require.Eventually(t, func() bool { return atSentinel() == nil }, deadline, tick, "the policy still holds")
	})
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		assert.True(c, apierrors.IsForbidden(atSentinel()), "the policy does not hold")
	}, deadline, tick)
}

// setLists replaces what the policy reads.
func (s scene) setLists(lists map[string]string) {
	s.t.Helper()
	ctx := context.WithoutCancel(s.t.Context())
	bounds := &corev1.ConfigMap{}
	require.NoError(s.t, s.client.Get(ctx, client.ObjectKey{Namespace: operatorNamespace, Name: "modelkiln-bounds"}, bounds))
	bounds.Data = lists
	require.NoError(s.t, s.client.Update(ctx, bounds))
}

// entries are a list as the ConfigMap has it.
func entries(list ...string) string { return strings.Join(list, "\n") + "\n" }

// Every answer of the policy is the one that the operator's configuration with
// the same entries gives.
func TestThePolicyMeansWhatTheOperatorsConfigurationMeans(t *testing.T) {
	folders := sourcepolicy.HostPathRules{Allowed: []string{"/models", "/data/team"}, Denied: []string{"/models/private"}}
	servers := sourcepolicy.NFSRules{Allowed: []string{"nas.example.com", "Other.example.com:/exports/models", "root.example.com:/", "fd00::1:/x"}}
	systems := sourcepolicy.EFSRules{
		Allowed:    []string{"fs-1", "fs-2:/models", "fs-3::fsap-1", "fs-4:/models:fsap-1", "fs-5:/"},
		Attributes: []string{"CrossAccount"},
	}
	s := newScene(t, shared)
	boundBy(t, map[string]string{
		s.namespace + ".allowedHostPaths":     entries(folders.Allowed...),
		s.namespace + ".deniedHostPaths":      entries(folders.Denied...),
		s.namespace + ".allowedNFS":           entries(servers.Allowed...),
		s.namespace + ".allowedEFS":           entries(systems.Allowed...),
		s.namespace + ".allowedEFSAttributes": entries(systems.Attributes...),
	})
	answers := func(t *testing.T, version *unstructured.Unstructured, list string, allowed bool, operator error) {
		t.Helper()
		err := s.client.Create(t.Context(), version, client.DryRunAll)
		if allowed {
			require.NoError(t, err)
			assert.NoError(t, operator)
			return
		}
		require.True(t, apierrors.IsForbidden(err), "%v", err)
		require.ErrorContains(t, err, "("+list+")")
		assert.ErrorContains(t, operator, list)
	}

	for path, list := range map[string]string{
		"/models/resnet": "", "/data/team/a": "", "/models/privateer": "",
		"/models-secret": "allowedHostPaths", "/models-secret/a": "allowedHostPaths", "/model": "allowedHostPaths", "/": "allowedHostPaths",
		"/data": "allowedHostPaths", "/data/teams": "allowedHostPaths", "/Models": "allowedHostPaths", "/a/models": "allowedHostPaths",
	} {
		t.Run("folder "+path, func(t *testing.T) {
			// The operator says first what it has against / as a system folder.
			operator := folders.Check(path)
			if path == "/" {
				operator = fmt.Errorf("%w (%s)", operator, list)
			}
			answers(t, object(t, s.namespace, localVersion, set(localPath, path)), list, list == "", operator)
		})
	}
	for _, path := range []string{"/models", "/models/private", "/models/private/a"} {
		t.Run("denied folder "+path, func(t *testing.T) {
			require.Error(t, folders.Check(path))
			err := s.client.Create(t.Context(), object(t, s.namespace, localVersion, set(localPath, path)), client.DryRunAll)
			assert.ErrorContains(t, err, path+" is, is inside, or holds a folder that is never packaged from namespace "+s.namespace+" (deniedHostPaths): put the model into a folder of its own")
		})
	}
	for _, tc := range []struct {
		server, path string
		allowed      bool
	}{
		{"nas.example.com", "/a", true},
		{"NAS.example.com", "/", true},
		{"nas.example.com.evil.example.com", "/a", false},
		{"evil-nas.example.com", "/a", false},
		{"other.example.com", "/exports/models", true},
		{"other.example.com", "/exports/models/", true},
		{"other.example.com", "/exports/models/a", true},
		{"other.example.com", "/exports/models-secret", false},
		{"other.example.com", "/exports", false},
		{"other.example.com", "/", false},
		{"root.example.com", "/a", true},
		{"fd00::1", "/x/y", true},
		{"fd00::1", "/xy", false},
		{"10.0.0.7", "/a", false},
	} {
		t.Run("export "+tc.server+":"+tc.path, func(t *testing.T) {
			version := object(t, s.namespace, nfsVersion, set("spec.storage.nfs", map[string]any{"server": tc.server, "path": tc.path}))
			answers(t, version, "allowedNFS", tc.allowed, servers.Check(tc.server, tc.path))
		})
	}
	for _, tc := range []struct {
		handle     string
		attributes map[string]string
		allowed    bool
	}{
		{handle: "fs-1", allowed: true},
		{handle: "fs-1:/any:fsap-9", allowed: true},
		{handle: "fs-11"},
		{handle: "fs-2"},
		{handle: "fs-2:/models", allowed: true},
		{handle: "fs-2:models/a", allowed: true},
		{handle: "fs-2:/./models//a/", allowed: true},
		{handle: "fs-2:/models-secret"},
		{handle: "fs-2:/models:fsap-1"},
		{handle: "fs-2", attributes: map[string]string{"path": "/models/a"}, allowed: true},
		{handle: "fs-2", attributes: map[string]string{"path": "/models/a", "PATH": "/secret"}},
		{handle: "fs-2", attributes: map[string]string{"Path": "/secret"}},
		{handle: "fs-2", attributes: map[string]string{"path": ""}},
		{handle: "fs-2:/models", attributes: map[string]string{"path": "/secret"}, allowed: true},
		{handle: "fs-3::fsap-1", allowed: true},
		{handle: "fs-3:/a:fsap-1", allowed: true},
		{handle: "fs-3::fsap-2"},
		{handle: "fs-3"},
		{handle: "fs-4:/models/a:fsap-1", allowed: true},
		{handle: "fs-4:/:fsap-1"},
		{handle: "fs-5", allowed: true},
		{handle: "fs-5:/a", allowed: true},
		{handle: "fs-5::fsap-1"},
		{handle: "fs-1", attributes: map[string]string{"EncryptInTransit": "true", "crossaccount": "true"}, allowed: true},
	} {
		t.Run(fmt.Sprintf("file system %s %v", tc.handle, tc.attributes), func(t *testing.T) {
			answers(t, onFileSystem(t, s, tc.handle, tc.attributes), "allowedEFS", tc.allowed, systems.Check(tc.handle, tc.attributes))
		})
	}
	t.Run("an attribute that leads to another server", func(t *testing.T) {
		attributes := map[string]string{"mountTargetIP": "10.0.0.7"}
		answers(t, onFileSystem(t, s, "fs-1", attributes), "allowedEFSAttributes", false, systems.Check("fs-1", attributes))
	})
	t.Run("a folder that goes up", func(t *testing.T) {
		attributes := map[string]string{"path": "/models/../secret"}
		require.Error(t, systems.Check("fs-2", attributes))
		err := s.client.Create(t.Context(), onFileSystem(t, s, "fs-2", attributes), client.DryRunAll)
		assert.True(t, apierrors.IsForbidden(err), "%v", err)
	})
	t.Run("a claim is bounded by no list of the others", func(t *testing.T) {
		assert.NoError(t, s.client.Create(t.Context(), object(t, s.namespace, claimVersion), client.DryRunAll))
	})
}

func onFileSystem(t *testing.T, s scene, handle string, attributes map[string]string) *unstructured.Unstructured {
	t.Helper()
	storage := map[string]any{"volumeHandle": handle}
	if attributes != nil {
		given := map[string]any{}
		for name, value := range attributes {
			given[name] = value
		}
		storage["attributes"] = given
	}
	return object(t, s.namespace, efsVersion, set("spec.storage.AWSEfs", storage))
}

func TestThePolicySaysWhichRuleRefusesAVersionAndWhatToDo(t *testing.T) {
	bounded, closed, detour, large := newScene(t, shared), newScene(t, shared), newScene(t, shared), newScene(t, shared)
	var many []string
	for i := range 400 {
		many = append(many, fmt.Sprintf("/models/%s/%d", letters(100), i))
	}
	boundBy(t, map[string]string{
		"allowedStorage":                      entries("persistentVolumeClaim", "localStorage"),
		"allowedHostPaths":                    "/models\n\n  /data  \r\n",
		closed.namespace + ".allowedStorage":  entries("nfs", "AWSEfs"),
		closed.namespace + ".allowedNFS":      "",
		closed.namespace + ".allowedEFS":      " \n",
		detour.namespace + ".deniedHostPaths": entries("/models/private/"),
		large.namespace + ".allowedHostPaths": entries(many...),
	})
	const says = `modelversions.model.kubedl.io "resnet-1" is forbidden: ValidatingAdmissionPolicy 'modelkiln-bounds' with binding 'modelkiln-bounds' denied request: `
	for name, tc := range map[string]struct {
		scene    scene
		manifest string
		change   change
		want     string // empty: allowed
	}{
		"an entry with spaces around it": {bounded, localVersion, set(localPath, "/data/a"), ""},
		"a folder": {
			bounded, localVersion, set(localPath, "/models-secret"),
			"/models-secret is not among the folders that may be packaged from namespace " + bounded.namespace + " (allowedHostPaths): put the model below /models or /data, or have the platform team allow it",
		},
		"a kind of storage": {
			bounded, nfsVersion, change{},
			"storage of the kind nfs may not be used in namespace " + bounded.namespace + " (allowedStorage): use persistentVolumeClaim or localStorage, or have the platform team allow it",
		},
		"a kind of storage in a namespace with a list of its own": {
			closed, claimVersion, change{},
			"storage of the kind persistentVolumeClaim may not be used in namespace " + closed.namespace + " (allowedStorage): use nfs or AWSEfs, or have the platform team allow it",
		},
		"an NFS server where none is allowed": {
			closed, nfsVersion, change{},
			"nas.example.com:/exports/resnet is not among the NFS servers and folders that may be packaged from namespace " + closed.namespace + " (allowedNFS): have the platform team allow it",
		},
		"a file system where none is allowed": {
			closed, efsVersion, change{},
			"fs-12345678 is not among the file systems, folders and access points of AWS EFS that may be packaged from namespace " + closed.namespace + " (allowedEFS): have the platform team allow it",
		},
		"lists that cannot be read": {
			detour, localVersion, change{},
			"allowedHostPaths or deniedHostPaths in the ConfigMap that the policy modelkiln-bounds reads holds what is not an absolute path without '..', '.', '//' or a slash at its end: have the platform team write it as /models",
		},
		"the last entry of a long list": {large, localVersion, set(localPath, many[len(many)-1]+"/b"), ""},
		// The API server takes no sentence of the list's length.
		"a list that is too long to be told": {
			large, localVersion, set(localPath, "/models/"+letters(1000)),
			"spec.storage.localStorage.path is not among the folders that may be packaged from this namespace (allowedHostPaths): put the model into one of those, or have the platform team allow it",
		},
	} {
		t.Run(name, func(t *testing.T) {
			err := tc.scene.client.Create(t.Context(), object(t, tc.scene.namespace, tc.manifest, tc.change), client.DryRunAll)
			if tc.want == "" {
				require.NoError(t, err)
				return
			}
			require.True(t, apierrors.IsForbidden(err), "%v", err)
			assert.EqualError(t, err, says+tc.want)
		})
	}
	t.Run("and lets a version that is there be changed", func(t *testing.T) {
		s := bounded.in(t)
		s.apply(localVersion)
		s.setLists(map[string]string{"allowedHostPaths": "/elsewhere", "deniedHostPaths": sentinel})
		require.EventuallyWithT(t, func(c *assert.CollectT) {
			assert.ErrorContains(c, s.client.Create(t.Context(), object(t, s.namespace, localVersion, set("metadata.name", "another")), client.DryRunAll), "/elsewhere")
		}, deadline, tick)
		s.annotate(resnet, "example.com/note", "mine")
	})
	t.Run("and refuses all while a list's name is misspelt", func(t *testing.T) {
		s := bounded.in(t)
		s.setLists(map[string]string{"team-a.allowedHostPath": "/models"})
		require.EventuallyWithT(t, func(c *assert.CollectT) {
			assert.EqualError(c, s.client.Create(t.Context(), object(t, s.namespace, claimVersion), client.DryRunAll),
				says+"the ConfigMap modelkiln-bounds in namespace modelkiln-system has the key team-a.allowedHostPath, which is none of allowedStorage, allowedHostPaths, deniedHostPaths, allowedNFS, allowedEFS, allowedEFSAttributes, nor one of them behind the name of a namespace and a dot: have the platform team mend it")
		}, deadline, tick)
	})
}

// As it is shipped, it bounds nothing.
func TestThePolicyWithoutListsLetsEveryVersionIn(t *testing.T) {
	s := newScene(t, shared)
	objects, err := manifests(filepath.Join(deployPolicy, "bounds.yaml"))
	require.NoError(t, err)
	data, _, err := unstructured.NestedMap(objects[0].Object, "data")
	require.NoError(t, err)
	assert.Empty(t, data)

	boundBy(t, nil)
	for _, manifest := range []string{localVersion, nfsVersion, efsVersion, claimVersion} {
		assert.NoError(t, s.client.Create(t.Context(), object(t, s.namespace, manifest), client.DryRunAll))
	}
}
