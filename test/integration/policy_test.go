package integration

import (
	"context"
	"errors"
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
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/config"
	"github.com/modelkiln/modelkiln/internal/sourcepolicy"
	"github.com/modelkiln/modelkiln/internal/workflow"
)

const (
	deployPolicy = "../../deploy/policy"
	// sentinel is a directory that the lists of these tests deny. A ModelVersion
	// with that path shows whether the API server enforces the policy.
	sentinel = "/sentinel"
)

// applyPolicy enforces the policy of deploy/policy with these lists until the
// end of the test, and returns once the API server does so. The policy then
// stays installed without lists: after the last policy with a ConfigMap is
// deleted, the API server no longer reads ConfigMaps for policies.
func applyPolicy(t *testing.T, lists map[string]string) {
	t.Helper()
	s := newSandbox(t, shared)
	createAtSentinel := func() error {
		ctx := context.WithoutCancel(t.Context())
		return s.client.Create(ctx, newObject(t, s.namespace, localVersion, set(localPath, sentinel)), client.DryRunAll)
	}
	for _, file := range []string{"bounds.yaml", "policy.yaml"} {
		objects, err := readManifests(filepath.Join(deployPolicy, file))
		require.NoError(t, err)
		for _, o := range objects {
			if err := s.client.Create(t.Context(), o, client.FieldValidation(metav1.FieldValidationStrict)); !apierrors.IsAlreadyExists(err) {
				require.NoError(t, err)
			}
		}
	}
	data := map[string]string{"deniedHostPaths": sentinel}
	maps.Copy(data, lists)
	s.setPolicyLists(data)
	t.Cleanup(func() {
		s.setPolicyLists(nil)
		require.Eventually(t, func() bool { return createAtSentinel() == nil }, deadline, tick, "the policy is still enforced")
	})
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		assert.True(c, apierrors.IsForbidden(createAtSentinel()), "the policy is not enforced")
	}, deadline, tick)
}

// setPolicyLists replaces the data of the policy's ConfigMap.
func (s sandbox) setPolicyLists(lists map[string]string) {
	s.t.Helper()
	ctx := context.WithoutCancel(s.t.Context())
	bounds := &corev1.ConfigMap{}
	require.NoError(s.t, s.client.Get(ctx, client.ObjectKey{Namespace: operatorNamespace, Name: "modelkiln-bounds"}, bounds))
	bounds.Data = lists
	require.NoError(s.t, s.client.Update(ctx, bounds))
}

// entries returns the value of a list in the ConfigMap.
func entries(list ...string) string { return strings.Join(list, "\n") + "\n" }

// assertSameDecision checks that the policy and the operator's configuration
// with the same entries both allow a ModelVersion, or both reject it and name
// the same list.
func (s sandbox) assertSameDecision(t *testing.T, mv *unstructured.Unstructured, list string, allowed bool, operatorErr error) {
	t.Helper()
	err := s.client.Create(t.Context(), mv, client.DryRunAll)
	if allowed {
		require.NoError(t, err)
		assert.NoError(t, operatorErr)
		return
	}
	require.True(t, apierrors.IsForbidden(err), "%v", err)
	require.ErrorContains(t, err, "("+list+")")
	assert.ErrorContains(t, operatorErr, list)
}

func TestPolicyHostPaths(t *testing.T) {
	rules := sourcepolicy.HostPathRules{Allowed: []string{"/models", "/data/team"}, Denied: []string{"/models/private"}}
	s := newSandbox(t, shared)
	applyPolicy(t, map[string]string{
		s.namespace + ".allowedHostPaths": entries(rules.Allowed...),
		s.namespace + ".deniedHostPaths":  entries(rules.Denied...),
	})
	for path, list := range map[string]string{
		"/models/resnet": "", "/data/team/a": "", "/models/privateer": "",
		"/models-secret": "allowedHostPaths", "/models-secret/a": "allowedHostPaths", "/model": "allowedHostPaths", "/": "allowedHostPaths",
		"/data": "allowedHostPaths", "/data/teams": "allowedHostPaths", "/Models": "allowedHostPaths", "/a/models": "allowedHostPaths",
	} {
		t.Run(path, func(t *testing.T) {
			// The operator rejects / as a system directory before it reads the
			// list.
			operatorErr := rules.Check(path)
			if path == "/" {
				operatorErr = fmt.Errorf("%w (%s)", operatorErr, list)
			}
			s.assertSameDecision(t, newObject(t, s.namespace, localVersion, set(localPath, path)), list, list == "", operatorErr)
		})
	}
	for _, path := range []string{"/models", "/models/private", "/models/private/a"} {
		t.Run("denied "+path, func(t *testing.T) {
			require.Error(t, rules.Check(path))
			err := s.client.Create(t.Context(), newObject(t, s.namespace, localVersion, set(localPath, path)), client.DryRunAll)
			assert.ErrorContains(t, err, path+" is, is inside, or contains a directory that is never packaged from namespace "+s.namespace+" (deniedHostPaths): move the model to a separate directory")
		})
	}
}

func TestPolicyNFS(t *testing.T) {
	rules := sourcepolicy.NFSRules{Allowed: []string{"nas.example.com", "Other.example.com:/exports/models", "root.example.com:/", "fd00::1:/x"}}
	s := newSandbox(t, shared)
	applyPolicy(t, map[string]string{s.namespace + ".allowedNFS": entries(rules.Allowed...)})
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
		t.Run(tc.server+":"+tc.path, func(t *testing.T) {
			mv := newObject(t, s.namespace, nfsVersion, set("spec.storage.nfs", map[string]any{"server": tc.server, "path": tc.path}))
			s.assertSameDecision(t, mv, "allowedNFS", tc.allowed, rules.Check(tc.server, tc.path))
		})
	}
}

func TestPolicyRemote(t *testing.T) {
	stores := sourcepolicy.S3Rules{Allowed: []string{"minio.example.com:9000", "s3.amazonaws.com/models", "https://r2.example.com/a/b", "http://plain.example.com"}}
	hubs := sourcepolicy.HuggingFaceRules{Allowed: []string{"huggingface.co/mistralai", "hub.example.com"}}
	s := newSandbox(t, shared)
	applyPolicy(t, map[string]string{
		s.namespace + ".allowedS3":          entries(stores.Allowed...),
		s.namespace + ".allowedHuggingFace": entries(hubs.Allowed...),
	})
	for _, tc := range []struct {
		endpoint, bucket, prefix string
		allowed                  bool
	}{
		{"https://minio.example.com:9000", "any", "a/b", true},
		{"https://MinIO.example.com:9000", "any", "a/b", true},
		{"http://minio.example.com:9000", "any", "a/b", false},
		{"https://minio.example.com", "any", "a/b", false},
		{"", "models", "llama", true},
		{"https://s3.amazonaws.com", "models", "llama", true},
		{"", "models-secret", "llama", false},
		{"https://r2.example.com", "a", "b", true},
		{"https://r2.example.com", "a", "bb", false},
		{"https://r2.example.com", "a", "b/c", true},
		{"http://plain.example.com", "x", "y", true},
		{"https://plain.example.com", "x", "y", false},
		{"https://minio.example.com.evil.example.com:9000", "any", "a", false},
	} {
		t.Run(tc.endpoint+" "+tc.bucket+" "+tc.prefix, func(t *testing.T) {
			storage := map[string]any{"bucket": tc.bucket, "prefix": tc.prefix}
			endpoint := sourcepolicy.DefaultS3Endpoint
			if tc.endpoint != "" {
				storage["endpoint"], endpoint = tc.endpoint, tc.endpoint
			}
			mv := newObject(t, s.namespace, nfsVersion, set("spec.storage", map[string]any{"s3": storage}))
			s.assertSameDecision(t, mv, "allowedS3", tc.allowed, stores.Check(endpoint, tc.bucket, tc.prefix))
		})
	}
	for _, tc := range []struct {
		endpoint, repo string
		allowed        bool
	}{
		{"", "mistralai/Mistral-7B-v0.3", true},
		{"", "mistralai2/Mistral-7B-v0.3", false},
		{"https://hub.example.com", "any/model", true},
		{"http://hub.example.com", "any/model", false},
		{"https://other.example.com", "mistralai/Mistral-7B-v0.3", false},
	} {
		t.Run(tc.endpoint+" "+tc.repo, func(t *testing.T) {
			storage := map[string]any{"repo": tc.repo}
			endpoint := sourcepolicy.DefaultHuggingFaceEndpoint
			if tc.endpoint != "" {
				storage["endpoint"], endpoint = tc.endpoint, tc.endpoint
			}
			mv := newObject(t, s.namespace, nfsVersion, set("spec.storage", map[string]any{"huggingFace": storage}))
			s.assertSameDecision(t, mv, "allowedHuggingFace", tc.allowed, hubs.Check(endpoint, tc.repo))
		})
	}
}

func TestPolicyEFS(t *testing.T) {
	rules := sourcepolicy.EFSRules{
		Allowed:    []string{"fs-1", "fs-2:/models", "fs-3::fsap-1", "fs-4:/models:fsap-1", "fs-5:/"},
		Attributes: []string{"CrossAccount"},
	}
	s := newSandbox(t, shared)
	applyPolicy(t, map[string]string{
		s.namespace + ".allowedEFS":           entries(rules.Allowed...),
		s.namespace + ".allowedEFSAttributes": entries(rules.Attributes...),
	})
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
		t.Run(fmt.Sprintf("%s %v", tc.handle, tc.attributes), func(t *testing.T) {
			s.assertSameDecision(t, s.newEFSVersion(t, tc.handle, tc.attributes), "allowedEFS", tc.allowed, rules.Check(tc.handle, tc.attributes))
		})
	}
	t.Run("an attribute that selects another server", func(t *testing.T) {
		for _, attributes := range []map[string]string{{"mountTargetIP": "10.0.0.7"}, {"encryptInTransit": "false"}, {"ENCRYPTINTRANSIT": "0"}} {
			s.assertSameDecision(t, s.newEFSVersion(t, "fs-1", attributes), "allowedEFSAttributes", false, rules.Check("fs-1", attributes))
		}
	})
	t.Run("a path with two dots", func(t *testing.T) {
		attributes := map[string]string{"path": "/models/../secret"}
		require.Error(t, rules.Check("fs-2", attributes))
		err := s.client.Create(t.Context(), s.newEFSVersion(t, "fs-2", attributes), client.DryRunAll)
		assert.True(t, apierrors.IsForbidden(err), "%v", err)
	})
}

// The lists of the other storage kinds do not apply to claims.
func TestPolicyClaims(t *testing.T) {
	s := newSandbox(t, shared)
	applyPolicy(t, map[string]string{
		s.namespace + ".allowedHostPaths":     entries("/models"),
		s.namespace + ".allowedNFS":           entries("nas.example.com"),
		s.namespace + ".allowedEFS":           entries("fs-1"),
		s.namespace + ".allowedEFSAttributes": entries("CrossAccount"),
	})
	assert.NoError(t, s.client.Create(t.Context(), newObject(t, s.namespace, claimVersion), client.DryRunAll))
}

// operatorProblem returns why the operator does not build a ModelVersion, or nil.
func operatorProblem(t *testing.T, o *unstructured.Unstructured, edit func(*config.Config)) error {
	t.Helper()
	var mv v1alpha1.ModelVersion
	require.NoError(t, runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, &mv))
	cfg := config.Default()
	edit(&cfg)
	if _, problem := workflow.New(&mv, workflow.Attempt{Number: 1}, cfg.Options()); problem != nil {
		return errors.New(problem.Message)
	}
	return nil
}

func TestPolicyImageRepos(t *testing.T) {
	allowed := []string{"registry.example.com/team", "registry:5000", "docker.io/library", "docker.io/team-c", "default.example.com/a"}
	s, hub := newSandbox(t, shared), newSandbox(t, shared)
	applyPolicy(t, map[string]string{
		"defaultRegistry":                    "default.example.com",
		s.namespace + ".allowedImageRepos":   entries(allowed...),
		hub.namespace + ".allowedImageRepos": entries(allowed...),
		hub.namespace + ".defaultRegistry":   "",
	})
	for _, tc := range []struct {
		repo string
		hub  bool
		want bool
	}{
		{repo: "registry.example.com/team", want: true},
		{repo: "registry.example.com/team/resnet", want: true},
		{repo: "registry.example.com/team-b/resnet"},
		{repo: "registry.example.com/resnet"},
		{repo: "registry.example.com.evil.example/team"},
		{repo: "registry:5000/resnet", want: true},
		{repo: "registry:500/resnet"},
		{repo: "registry/resnet"},
		{repo: "docker.io/resnet", want: true},
		{repo: "docker.io/team-c/resnet", want: true},
		{repo: "docker.io/team-d/resnet"},
		{repo: "a/resnet", want: true},
		{repo: "a", want: true},
		{repo: "team-c/resnet"},
		{repo: "resnet", hub: true, want: true},
		{repo: "team-c/resnet", hub: true, want: true},
		{repo: "a/resnet", hub: true},
		{repo: "localhost/resnet", hub: true},
	} {
		t.Run(fmt.Sprintf("%s hub=%t", tc.repo, tc.hub), func(t *testing.T) {
			s, registry := s, "default.example.com"
			if tc.hub {
				s, registry = hub, ""
			}
			mv := newObject(t, s.namespace, localVersion, set("spec.imageRepo", tc.repo))
			s.assertSameDecision(t, mv, "allowedImageRepos", tc.want, operatorProblem(t, mv, func(c *config.Config) {
				c.DefaultRegistry, c.AllowedImageRepos = registry, allowed
			}))
		})
	}
}

func TestPolicyBaseImages(t *testing.T) {
	pinned := "@sha256:" + strings.Repeat("a", 64)
	allowed := []string{"registry.example.com/base", "registry:5000", "docker.io/library/python", "docker.io/library/busybox:1.37.0", "other.example.com/a" + pinned}
	s := newSandbox(t, shared)
	applyPolicy(t, map[string]string{s.namespace + ".allowedBaseImages": entries(allowed...)})
	for image, want := range map[string]bool{
		"scratch": true, "registry.example.com/base": true, "registry.example.com/base:3": true, "registry.example.com/base/python:3" + pinned: true,
		"registry.example.com/base-b:3": false, "registry:5000/a": true, "registry:5000/a:1": true, "registry:5001/a": false, "python": true, "python:3": true,
		"library/python:3": true, "docker.io/python:3": true, "docker.io/library/python:3": true, "team/python:3": false, "busybox:1.37.0": true,
		"busybox:1.37.1": false, "busybox:1.37.0" + pinned: false, "other.example.com/a" + pinned: true, "other.example.com/a:1": false,
		"evil.example.com/python:3": false,
	} {
		t.Run(image, func(t *testing.T) {
			mv := newObject(t, s.namespace, localVersion, build("baseImage", image))
			s.assertSameDecision(t, mv, "allowedBaseImages", want, operatorProblem(t, mv, func(c *config.Config) { c.AllowedBaseImages = allowed }))
		})
	}
}

func TestPolicyScheduling(t *testing.T) {
	s := newSandbox(t, shared)
	applyPolicy(t, map[string]string{
		s.namespace + ".allowedTolerations":   entries("nvidia.com/gpu", "dedicated"),
		s.namespace + ".allowedNodeSelectors": entries("disktype"),
	})
	for name, tc := range map[string]struct {
		build change
		list  string // empty: allowed
	}{
		"no build":          {},
		"an allowed taint":  {build: build("tolerations", []any{map[string]any{"key": "dedicated", "value": "ml"}})},
		"every taint":       {build("tolerations", []any{map[string]any{"key": "dedicated"}, map[string]any{"operator": "Exists"}}), "allowedTolerations"},
		"another taint":     {build("tolerations", []any{map[string]any{"key": "node-role.kubernetes.io/control-plane", "operator": "Exists"}}), "allowedTolerations"},
		"an allowed label":  {build: build("nodeSelector", map[string]any{"disktype": "ssd"})},
		"another label too": {build("nodeSelector", map[string]any{"disktype": "ssd", "kubernetes.io/hostname": "a"}), "allowedNodeSelectors"},
	} {
		t.Run(name, func(t *testing.T) {
			mv := newObject(t, s.namespace, localVersion, tc.build)
			s.assertSameDecision(t, mv, tc.list, tc.list == "", operatorProblem(t, mv, func(c *config.Config) {
				c.AllowedTolerations, c.AllowedNodeSelectors = []string{"nvidia.com/gpu", "dedicated"}, []string{"disktype"}
			}))
		})
	}
}

// Fields under spec.build can be changed after creation, to what the lists allow.
func TestPolicyUpdates(t *testing.T) {
	s := newSandbox(t, shared)
	s.create(localVersion, build("baseImage", "registry.example.com/base:3"))
	applyPolicy(t, map[string]string{
		s.namespace + ".allowedStorage":       "",
		s.namespace + ".allowedHostPaths":     "",
		s.namespace + ".allowedImageRepos":    "",
		s.namespace + ".allowedBaseImages":    entries("docker.io/library"),
		s.namespace + ".allowedTolerations":   entries("dedicated"),
		s.namespace + ".allowedNodeSelectors": "",
	})
	for name, tc := range map[string]struct{ patch, want string }{
		"a label":             {`{"metadata":{"labels":{"a":"b"}}}`, ""},
		"the author":          {`{"spec":{"createdBy":"somebody"}}`, ""},
		"another build field": {`{"spec":{"build":{"deadlineSeconds":600}}}`, ""},
		"no base image":       {`{"spec":{"build":{"baseImage":null}}}`, ""},
		"an allowed image":    {`{"spec":{"build":{"baseImage":"python:3"}}}`, ""},
		"an allowed taint":    {`{"spec":{"build":{"tolerations":[{"key":"dedicated"}]}}}`, ""},
		"another image":       {`{"spec":{"build":{"baseImage":"registry.example.com/base:4"}}}`, "models may not be added to the base image registry.example.com/base:4 in namespace " + s.namespace + " (allowedBaseImages): set spec.build.baseImage to one in docker.io/library, remove it, or ask the platform team to allow it"},
		"every taint":         {`{"spec":{"build":{"tolerations":[{"operator":"Exists"}]}}}`, "builds in namespace " + s.namespace + ` may not tolerate taints with the key "" (allowedTolerations): use only dedicated in spec.build.tolerations, remove it, or ask the platform team to allow it`},
		"another node":        {`{"spec":{"build":{"nodeSelector":{"a":"b"}}}}`, "builds in namespace " + s.namespace + ` may not select nodes by the label "a" (allowedNodeSelectors): remove it, or ask the platform team to allow it`},
		"the finalizers":      {`{"metadata":{"finalizers":[]}}`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			err := s.client.Patch(t.Context(), s.version(resnet), mergePatch(tc.patch), client.DryRunAll)
			if tc.want == "" {
				require.NoError(t, err)
				return
			}
			require.True(t, apierrors.IsForbidden(err), "%v", err)
			assert.ErrorContains(t, err, tc.want)
		})
	}
}

func (s sandbox) newEFSVersion(t *testing.T, handle string, attributes map[string]string) *unstructured.Unstructured {
	t.Helper()
	storage := map[string]any{"volumeHandle": handle}
	if attributes != nil {
		given := map[string]any{}
		for name, value := range attributes {
			given[name] = value
		}
		storage["attributes"] = given
	}
	return newObject(t, s.namespace, efsVersion, set("spec.storage.AWSEfs", storage))
}

func TestPolicyMessages(t *testing.T) {
	bounded, closed, invalid, large := newSandbox(t, shared), newSandbox(t, shared), newSandbox(t, shared), newSandbox(t, shared)
	var many []string
	for i := range 400 {
		many = append(many, fmt.Sprintf("/models/%s/%d", letters(100), i))
	}
	applyPolicy(t, map[string]string{
		"allowedStorage":                       entries("persistentVolumeClaim", "localStorage"),
		"allowedHostPaths":                     "/models\n\n  /data  \r\n",
		closed.namespace + ".allowedStorage":   entries("nfs", "AWSEfs"),
		closed.namespace + ".allowedNFS":       "",
		closed.namespace + ".allowedEFS":       " \n",
		invalid.namespace + ".deniedHostPaths": entries("/models/private/"),
		large.namespace + ".allowedHostPaths":  entries(many...),
	})
	const prefix = `modelversions.model.kubedl.io "resnet-1" is forbidden: ValidatingAdmissionPolicy 'modelkiln-bounds' with binding 'modelkiln-bounds' denied request: `
	for name, tc := range map[string]struct {
		sandbox  sandbox
		manifest string
		change   change
		want     string // empty: allowed
	}{
		"spaces around an entry are ignored": {bounded, localVersion, set(localPath, "/data/a"), ""},
		"a path outside the list": {
			bounded, localVersion, set(localPath, "/models-secret"),
			"/models-secret is not in a directory that may be packaged from namespace " + bounded.namespace + " (allowedHostPaths): move the model below /models or /data, or ask the platform team to allow it",
		},
		"a storage kind outside the list": {
			bounded, nfsVersion, change{},
			"storage of kind nfs is not allowed in namespace " + bounded.namespace + " (allowedStorage): use persistentVolumeClaim or localStorage, or ask the platform team to allow it",
		},
		"a storage kind outside the namespace's own list": {
			closed, claimVersion, change{},
			"storage of kind persistentVolumeClaim is not allowed in namespace " + closed.namespace + " (allowedStorage): use nfs or AWSEfs, or ask the platform team to allow it",
		},
		"an NFS server with an empty list": {
			closed, nfsVersion, change{},
			"nas.example.com:/exports/resnet is not among the NFS servers and directories that may be packaged from namespace " + closed.namespace + " (allowedNFS): ask the platform team to allow it",
		},
		"a file system with an empty list": {
			closed, efsVersion, change{},
			"fs-12345678 is not among the file systems, directories and access points of AWS EFS that may be packaged from namespace " + closed.namespace + " (allowedEFS): ask the platform team to allow it",
		},
		"an invalid entry": {
			invalid, localVersion, change{},
			"allowedHostPaths or deniedHostPaths in the ConfigMap of the policy modelkiln-bounds contains an entry that is not an absolute path without '..', '.', '//' or a trailing slash, for example /models; ask the platform team to fix it",
		},
		"the last entry of a long list applies": {large, localVersion, set(localPath, many[len(many)-1]+"/b"), ""},
		// The API server limits the length of messages.
		"a list too long for the message": {
			large, localVersion, set(localPath, "/models/"+letters(1000)),
			"spec.storage.localStorage.path is not in a directory that may be packaged from this namespace (allowedHostPaths): move the model to one of those, or ask the platform team to allow it",
		},
	} {
		t.Run(name, func(t *testing.T) {
			err := tc.sandbox.client.Create(t.Context(), newObject(t, tc.sandbox.namespace, tc.manifest, tc.change), client.DryRunAll)
			if tc.want == "" {
				require.NoError(t, err)
				return
			}
			require.True(t, apierrors.IsForbidden(err), "%v", err)
			assert.EqualError(t, err, prefix+tc.want)
		})
	}
	t.Run("an existing ModelVersion can be changed", func(t *testing.T) {
		s := bounded.withT(t)
		s.create(localVersion)
		s.setPolicyLists(map[string]string{"allowedHostPaths": "/elsewhere", "deniedHostPaths": sentinel})
		require.EventuallyWithT(t, func(c *assert.CollectT) {
			assert.ErrorContains(c, s.client.Create(t.Context(), newObject(t, s.namespace, localVersion, set("metadata.name", "another")), client.DryRunAll), "/elsewhere")
		}, deadline, tick)
		s.annotate(resnet, "example.com/note", "mine")
	})
	t.Run("an unknown key rejects every ModelVersion", func(t *testing.T) {
		s := bounded.withT(t)
		s.setPolicyLists(map[string]string{"team-a.allowedHostPath": "/models"})
		require.EventuallyWithT(t, func(c *assert.CollectT) {
			assert.EqualError(c, s.client.Create(t.Context(), newObject(t, s.namespace, claimVersion), client.DryRunAll),
				prefix+"the ConfigMap modelkiln-bounds in namespace modelkiln-system contains the unknown key team-a.allowedHostPath (known keys: allowedStorage, allowedHostPaths, deniedHostPaths, allowedNFS, allowedEFS, allowedEFSAttributes, allowedS3, allowedHuggingFace, allowedImageRepos, allowedBaseImages, allowedTolerations, allowedNodeSelectors, defaultRegistry, optionally prefixed with NAMESPACE.); ask the platform team to fix it")
		}, deadline, tick)
	})
}

// deploy/policy ships without lists, which allows everything.
func TestPolicyWithoutLists(t *testing.T) {
	s := newSandbox(t, shared)
	objects, err := readManifests(filepath.Join(deployPolicy, "bounds.yaml"))
	require.NoError(t, err)
	data, _, err := unstructured.NestedMap(objects[0].Object, "data")
	require.NoError(t, err)
	assert.Empty(t, data)

	applyPolicy(t, nil)
	for _, manifest := range []string{localVersion, nfsVersion, efsVersion, claimVersion} {
		assert.NoError(t, s.client.Create(t.Context(), newObject(t, s.namespace, manifest), client.DryRunAll))
	}
}
