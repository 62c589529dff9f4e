package shares

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	registration "k8s.io/kubelet/pkg/apis/pluginregistration/v1"
)

// publish is a request as kubelet makes it for the operator's PersistentVolumes, but for what change changes.
func publish(target string, change func(*csi.NodePublishVolumeRequest)) *csi.NodePublishVolumeRequest {
	request := &csi.NodePublishVolumeRequest{
		VolumeId:   "fs-12345678:/models",
		TargetPath: target,
		VolumeCapability: &csi.VolumeCapability{
			AccessMode: &csi.VolumeCapability_AccessMode{Mode: csi.VolumeCapability_AccessMode_MULTI_NODE_MULTI_WRITER},
			AccessType: &csi.VolumeCapability_Mount{Mount: &csi.VolumeCapability_MountVolume{MountFlags: []string{"ro"}}},
		},
	}
	change(request)
	return request
}

func TestAVolumeIsMountedAsTheRealDriverWould(t *testing.T) {
	root := t.TempDir()
	models := filepath.Join(root, "fs-12345678", "models")
	require.NoError(t, os.MkdirAll(models, 0o755))
	tests := map[string]struct {
		change       func(*csi.NodePublishVolumeRequest)
		want         string // the folder that is mounted
		wantWritable bool
		wantErr      string
	}{
		"a folder": {change: func(*csi.NodePublishVolumeRequest) {}, want: models},
		"a file system": {
			change: func(r *csi.NodePublishVolumeRequest) { r.VolumeId = "fs-12345678" },
			want:   filepath.Dir(models),
		},
		"an access point": {
			change: func(r *csi.NodePublishVolumeRequest) { r.VolumeId = "fs-12345678::fsap-1" },
			want:   filepath.Dir(models),
		},
		"a folder that an attribute names": {
			change: func(r *csi.NodePublishVolumeRequest) {
				r.VolumeId, r.VolumeContext = "fs-12345678", map[string]string{"path": "/models", "encryptInTransit": "true"}
			},
			want: models,
		},
		"for writing, where nothing says otherwise": {
			change: func(r *csi.NodePublishVolumeRequest) { r.VolumeCapability.GetMount().MountFlags = nil },
			want:   models, wantWritable: true,
		},
		"not for many readers": {
			change: func(r *csi.NodePublishVolumeRequest) {
				r.VolumeCapability.AccessMode.Mode = csi.VolumeCapability_AccessMode_MULTI_NODE_READER_ONLY
			},
			wantErr: "invalid access mode: MULTI_NODE_READER_ONLY",
		},
		"not as a device": {
			change: func(r *csi.NodePublishVolumeRequest) {
				r.VolumeCapability.AccessType = &csi.VolumeCapability_Block{Block: &csi.VolumeCapability_BlockVolume{}}
			},
			wantErr: "access type must be mount",
		},
		"not with an attribute that is unknown": {
			change:  func(r *csi.NodePublishVolumeRequest) { r.VolumeContext = map[string]string{"tls": "true"} },
			wantErr: "Volume context property tls not supported",
		},
		"not what is no file system": {
			change:  func(r *csi.NodePublishVolumeRequest) { r.VolumeId = "models" },
			wantErr: "is not of the form",
		},
		"not a file system that is not there": {
			change:  func(r *csi.NodePublishVolumeRequest) { r.VolumeId = "fs-87654321" },
			wantErr: "no such file or directory",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var got []mounted
			driver := &EFSDriver{Root: root, Bind: record(&got)}
			target := filepath.Join(t.TempDir(), "volume", "mount")
			_, err := driver.NodePublishVolume(t.Context(), publish(target, tt.change))
			if tt.wantErr != "" {
				require.ErrorContains(t, err, tt.wantErr)
				assert.Empty(t, got)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, []mounted{{tt.want, target, !tt.wantWritable}}, got)
			assert.DirExists(t, target)
		})
	}
}

func TestAVolumeIsUnmounted(t *testing.T) {
	for name, tt := range map[string]struct {
		unmount error
		want    codes.Code
	}{
		"when it is mounted":     {nil, codes.OK},
		"when it no longer is":   {syscall.EINVAL, codes.OK},
		"not when it is in use":  {syscall.EBUSY, codes.Internal},
		"when it is not there":   {syscall.ENOENT, codes.OK},
		"not when that may fail": {errors.New("denied"), codes.Internal},
	} {
		t.Run(name, func(t *testing.T) {
			target := filepath.Join(t.TempDir(), "mount")
			require.NoError(t, os.Mkdir(target, 0o755))
			driver := &EFSDriver{Unmount: func(string) error { return tt.unmount }}
			_, err := driver.NodeUnpublishVolume(t.Context(), &csi.NodeUnpublishVolumeRequest{TargetPath: target})
			assert.Equal(t, tt.want, status.Code(err), "%v", err)
			if tt.want == codes.OK {
				assert.NoDirExists(t, target)
			}
		})
	}
}

// kubelet finds a socket, asks whose it is, and then speaks CSI at the endpoint that it is told.
func TestKubeletGetsToKnowTheDriver(t *testing.T) {
	const deadline, tick = 10 * time.Second, 10 * time.Millisecond
	folder := t.TempDir()
	socket := filepath.Join(folder, "registry", "efs.sock")
	driver := NewEFSDriver(folder, "kind-control-plane", filepath.Join(folder, "plugins", "csi.sock"))
	// What a killed driver leaves.
	require.NoError(t, os.MkdirAll(filepath.Dir(socket), 0o755))
	require.NoError(t, os.WriteFile(socket, nil, 0o600))
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- driver.Serve(ctx, socket) }()

	registrar := registration.NewRegistrationClient(dial(t, socket))
	var info *registration.PluginInfo
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		var err error
		info, err = registrar.GetInfo(ctx, &registration.InfoRequest{}, grpc.WaitForReady(true))
		require.NoError(c, err)
	}, deadline, tick)
	assert.Equal(t, [2]string{registration.CSIPlugin, "efs.csi.aws.com"}, [2]string{info.GetType(), info.GetName()})
	_, err := registrar.NotifyRegistrationStatus(ctx, &registration.RegistrationStatus{PluginRegistered: true})
	require.NoError(t, err)

	connection := dial(t, info.GetEndpoint())
	node, err := csi.NewNodeClient(connection).NodeGetInfo(ctx, &csi.NodeGetInfoRequest{})
	require.NoError(t, err)
	assert.Equal(t, "kind-control-plane", node.GetNodeId())
	plugin, err := csi.NewIdentityClient(connection).GetPluginInfo(ctx, &csi.GetPluginInfoRequest{})
	require.NoError(t, err)
	assert.Equal(t, "efs.csi.aws.com", plugin.GetName())

	stop()
	require.NoError(t, <-ended)
}

func dial(t *testing.T, socket string) *grpc.ClientConn {
	t.Helper()
	connection, err := grpc.NewClient("unix://"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, connection.Close()) })
	return connection
}
