package argo

import (
	"strings"
	"testing"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/argoproj/argo-workflows/v3/workflow/common"
	"github.com/argoproj/argo-workflows/v3/workflow/util"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/utils/ptr"
)

// baseline are the capabilities that the Pod Security Standard baseline allows a
// container to add.
var baseline = []corev1.Capability{
	"AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE",
	"SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT",
}

// In a namespace with the Pod Security Standard baseline, builds from all storage
// except directories of nodes, which it forbids, are possible.
func TestPodMeetsBaseline(t *testing.T) {
	for _, name := range []string{"claim-with-sub-path", "nfs", "efs"} {
		t.Run(name, func(t *testing.T) {
			got, err := pod(template(t), arguments(t, goldenWorkflows(t)[name]))
			require.NoError(t, err)
			assertBaseline(t, got)
		})
	}
}

// The engine Stream can build from a claim in a namespace with the Pod Security
// Standard restricted.
func TestStreamPodMeetsRestricted(t *testing.T) {
	args := arguments(t, goldenWorkflows(t)["claim-with-sub-path"])
	got, err := pod(streamTemplate(t), args)
	require.NoError(t, err)
	assertBaseline(t, got)
	shared := streamTemplate(t).Spec.Templates[0].SecurityContext
	assert.Equal(t, &corev1.PodSecurityContext{RunAsNonRoot: ptr.To(true), SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault}}, shared)
	for _, container := range got.Containers {
		assert.False(t, *container.SecurityContext.AllowPrivilegeEscalation, container.Name)
		assert.Equal(t, &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}}, container.SecurityContext.Capabilities, container.Name)
	}
}

// OpenShift's restricted-v2 refuses a pod that names a user.
func TestStreamNamesNoUser(t *testing.T) {
	args := arguments(t, goldenWorkflows(t)["stream"])
	args["workflow.parameters.assigned-user"] = "true"
	got, err := pod(streamTemplate(t), args)
	require.NoError(t, err)
	for _, container := range got.Containers {
		assert.Nil(t, container.SecurityContext.RunAsUser, container.Name)
		assert.True(t, *container.SecurityContext.RunAsNonRoot, container.Name)
	}
}

// With the token of the service account, a step could report results for other
// Workflows of its namespace. The API server mounts it in no container that has
// another volume in its place.
func TestStepsHaveNoToken(t *testing.T) {
	for name, of := range map[string]*wfv1.ClusterWorkflowTemplate{"Kaniko": template(t), "Stream": streamTemplate(t)} {
		t.Run(name, func(t *testing.T) {
			pod := of.Spec.Templates[0]
			assert.Contains(t, pod.Volumes, corev1.Volume{Name: "no-token", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{SizeLimit: ptr.To(resource.MustParse("1Mi"))}}})
			assert.Contains(t, pod.ContainerSet.VolumeMounts, corev1.VolumeMount{Name: "no-token", MountPath: "/var/run/secrets/kubernetes.io/serviceaccount", ReadOnly: true})
			for _, volume := range pod.Volumes {
				assert.Nil(t, volume.Projected, "%s: a projected volume can hold a token", volume.Name)
				if volume.Secret != nil {
					assert.Contains(t, []string{"push-secret", "signing-secret"}, volume.Name)
				}
			}
			assert.Equal(t, corev1.SeccompProfileTypeRuntimeDefault, pod.SecurityContext.SeccompProfile.Type)
		})
	}
}

// Argo creates the containers init and wait itself, with its image's user, which is
// root, and the capabilities of the container runtime.
func TestArgoContainersAreUnprivileged(t *testing.T) {
	for name, tt := range map[string]struct {
		of       *wfv1.ClusterWorkflowTemplate
		assigned string
		wantUser *int64
	}{
		"Kaniko":                               {template(t), "", ptr.To[int64](65532)},
		"Stream":                               {streamTemplate(t), "", ptr.To[int64](65532)},
		"Stream where the namespace has users": {streamTemplate(t), "true", nil},
	} {
		t.Run(name, func(t *testing.T) {
			want := &corev1.SecurityContext{
				RunAsNonRoot: ptr.To(true), RunAsUser: tt.wantUser, AllowPrivilegeEscalation: ptr.To(false),
				Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
			}
			created := corev1.PodSpec{
				InitContainers: []corev1.Container{{Name: common.InitContainerName}},
				Containers:     []corev1.Container{{Name: common.WaitContainerName}},
			}
			patch, err := expand(&wfv1.Template{PodSpecPatch: tt.of.Spec.PodSpecPatch}, common.Parameters{"workflow.parameters.assigned-user": tt.assigned})
			require.NoError(t, err)
			got, err := util.ApplyPodSpecPatch(created, patch.PodSpecPatch)
			require.NoError(t, err)
			require.Len(t, got.InitContainers, 1)
			require.Len(t, got.Containers, 1)
			assert.Equal(t, want, got.InitContainers[0].SecurityContext)
			assert.Equal(t, want, got.Containers[0].SecurityContext)
		})
	}
}

// What is stored in the volumes of a pod is bounded. The storage replaces the volume
// source.
func TestVolumesHaveSizeLimits(t *testing.T) {
	for name, of := range map[string]*wfv1.ClusterWorkflowTemplate{"Kaniko": template(t), "Stream": streamTemplate(t)} {
		t.Run(name, func(t *testing.T) {
			for _, volume := range of.Spec.Templates[0].Volumes {
				if volume.EmptyDir != nil {
					assert.NotNil(t, volume.EmptyDir.SizeLimit, volume.Name)
				}
			}
		})
	}
}

// The containers of Modelkiln's own image write to the volumes only. They have no limit of
// ephemeral storage: kubelet evicts a pod that uses more than the sum of the limits that
// its containers have, whatever uses it.
func TestContainersWriteToVolumesOnly(t *testing.T) {
	for name, tt := range map[string]struct {
		of      *wfv1.ClusterWorkflowTemplate
		writing []string
	}{
		"Kaniko": {template(t), []string{"build"}},
		"Stream": {streamTemplate(t), nil},
	} {
		t.Run(name, func(t *testing.T) {
			var writing []string
			for _, container := range tt.of.Spec.Templates[0].ContainerSet.Containers {
				if !ptr.Deref(container.SecurityContext.ReadOnlyRootFilesystem, false) {
					writing = append(writing, container.Name)
				}
				assert.NotContains(t, container.Resources.Limits, corev1.ResourceEphemeralStorage, container.Name)
			}
			assert.Equal(t, tt.writing, writing)
		})
	}
}

// Nothing joins the build in its pod, and autoscalers do not interrupt it.
func TestPodMetadata(t *testing.T) {
	for name, of := range map[string]*wfv1.ClusterWorkflowTemplate{"Kaniko": template(t), "Stream": streamTemplate(t)} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, "false", of.Spec.PodMetadata.Labels["sidecar.istio.io/inject"])
			assert.Equal(t, map[string]string{
				"linkerd.io/inject":                              "disabled",
				"sidecar.istio.io/inject":                        "false",
				"cluster-autoscaler.kubernetes.io/safe-to-evict": "false",
				"karpenter.sh/do-not-disrupt":                    "true",
			}, of.Spec.PodMetadata.Annotations)
		})
	}
}

func assertBaseline(t *testing.T, got *corev1.PodSpec) {
	t.Helper()
	assert.False(t, got.HostNetwork || got.HostPID || got.HostIPC)
	for _, volume := range got.Volumes {
		assert.Nil(t, volume.HostPath, volume.Name)
	}
	for _, container := range got.Containers {
		t.Run(container.Name, func(t *testing.T) {
			security := container.SecurityContext
			assert.Nil(t, security.Privileged)
			assert.Nil(t, security.ProcMount)
			assert.Nil(t, security.SeccompProfile)
			assert.Empty(t, container.Ports)
			if security.Capabilities != nil {
				assert.Subset(t, baseline, security.Capabilities.Add)
			}
		})
	}
}

// Users who can start a build must not be able to choose which directories of
// nodes and of NFS servers can be packaged.
func TestSourcePolicyFlagsAreLiteral(t *testing.T) {
	args := template(t).Spec.Templates[0].ContainerSet.Containers[0].Args
	for _, flag := range []string{"--allowed-paths", "--denied-paths", "--bind-mounted-paths", "--allowed-nfs", "--allowed-s3", "--allowed-hugging-face"} {
		var found []string
		for _, arg := range args {
			if strings.HasPrefix(arg, flag+"=") {
				found = append(found, arg)
			}
		}
		require.Len(t, found, 1, flag)
		assert.NotContains(t, found[0], "{{")
	}
}
