package argo

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"
)

// baseline are the capabilities that Pod Security's level "baseline" lets a
// container add.
var baseline = []corev1.Capability{
	"AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE",
	"SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT",
}

// A namespace of that level can build from everything but folders of nodes,
// which it forbids.
func TestABuildFromElsewhereThanANodeNeedsNoMoreThanBaseline(t *testing.T) {
	for _, name := range []string{"claim-with-sub-path", "nfs", "efs"} {
		t.Run(name, func(t *testing.T) {
			got, err := pod(template(t), arguments(t, goldenWorkflows(t)[name]))
			require.NoError(t, err)
			assertBaseline(t, got)
		})
	}
}

// Stream builds in a namespace of the level restricted, from a claim.
func TestStreamNeedsNoMoreThanRestricted(t *testing.T) {
	args := arguments(t, goldenWorkflows(t)["claim-with-sub-path"])
	got, err := pod(streamTemplate(t), args)
	require.NoError(t, err)
	assertBaseline(t, got)
	shared := streamTemplate(t).Spec.Templates[0].SecurityContext
	assert.Equal(t, &corev1.PodSecurityContext{RunAsNonRoot: ptr.To(true), RunAsUser: ptr.To(int64(65532)), SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault}}, shared)
	for _, container := range got.Containers {
		assert.False(t, *container.SecurityContext.AllowPrivilegeEscalation, container.Name)
		assert.Equal(t, &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}}, container.SecurityContext.Capabilities, container.Name)
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

// Whoever may start a build may not choose which folders of nodes and of NFS
// servers may be packaged.
func TestTheRulesForFoldersAreLiteral(t *testing.T) {
	args := template(t).Spec.Templates[0].ContainerSet.Containers[0].Args
	for _, flag := range []string{"--allowed-paths", "--denied-paths", "--bind-mounted-paths", "--allowed-nfs"} {
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
