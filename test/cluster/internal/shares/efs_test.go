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

// publishRequest returns the request that kubelet sends for the operator's PersistentVolumes, modified by change.
func publishRequest(target string, change func(*csi.NodePublishVolumeRequest)) *csi.NodePublishVolumeRequest {
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

func TestNodePublishVolume(t *testing.T) {
	root := t.TempDir()
	models := filepath.Join(root, "fs-12345678", "models")
	require.NoError(t, os.MkdirAll(models, 0o755))
	tests := map[string]struct {
		change       func(*csi.NodePublishVolumeRequest)
		want         string // the directory that is mounted
		wantWritable bool
		wantErr      string
	}{
		"a directory": {change: func(*csi.NodePublishVolumeRequest) {}, want: models},
		"the root of a file system": {
			change: func(r *csi.NodePublishVolumeRequest) { r.VolumeId = "fs-12345678" },
			want:   filepath.Dir(models),
		},
		"an access point": {
			change: func(r *csi.NodePublishVolumeRequest) { r.VolumeId = "fs-12345678::fsap-1" },
			want:   filepath.Dir(models),
		},
		"the path attribute": {
			change: func(r *csi.NodePublishVolumeRequest) {
				r.VolumeId, r.VolumeContext = "fs-12345678", map[string]string{"path": "/models", "encryptInTransit": "true"}
			},
			want: models,
		},
		"writable without the mount option ro": {
			change: func(r *csi.NodePublishVolumeRequest) { r.VolumeCapability.GetMount().MountFlags = nil },
			want:   models, wantWritable: true,
		},
		"an unsupported access mode": {
			change: func(r *csi.NodePublishVolumeRequest) {
				r.VolumeCapability.AccessMode.Mode = csi.VolumeCapability_AccessMode_MULTI_NODE_READER_ONLY
			},
			wantErr: "invalid access mode: MULTI_NODE_READER_ONLY",
		},
		"a block volume": {
			change: func(r *csi.NodePublishVolumeRequest) {
				r.VolumeCapability.AccessType = &csi.VolumeCapability_Block{Block: &csi.VolumeCapability_BlockVolume{}}
			},
			wantErr: "access type must be mount",
		},
		"an unknown attribute": {
			change:  func(r *csi.NodePublishVolumeRequest) { r.VolumeContext = map[string]string{"tls": "true"} },
			wantErr: "Volume context property tls not supported",
		},
		"an invalid volume ID": {
			change:  func(r *csi.NodePublishVolumeRequest) { r.VolumeId = "models" },
			wantErr: "is not of the form",
		},
		"a file system that does not exist": {
			change:  func(r *csi.NodePublishVolumeRequest) { r.VolumeId = "fs-87654321" },
			wantErr: "no such file or directory",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var got []mounted
			driver := &EFSDriver{Root: root, Bind: record(&got)}
			target := filepath.Join(t.TempDir(), "volume", "mount")
			_, err := driver.NodePublishVolume(t.Context(), publishRequest(target, tt.change))
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

func TestNodeUnpublishVolume(t *testing.T) {
	for name, tt := range map[string]struct {
		unmount error
		want    codes.Code
	}{
		"a mounted volume":             {nil, codes.OK},
		"a volume that is unmounted":   {syscall.EINVAL, codes.OK},
		"a volume that is in use":      {syscall.EBUSY, codes.Internal},
		"a target that does not exist": {syscall.ENOENT, codes.OK},
		"any other error":              {errors.New("denied"), codes.Internal},
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

// kubelet discovers the registration socket, requests the driver's name and endpoint there, and calls CSI at that endpoint.
func TestServe(t *testing.T) {
	const deadline, tick = 10 * time.Second, 10 * time.Millisecond
	dir := t.TempDir()
	socket := filepath.Join(dir, "registry", "efs.sock")
	driver := NewEFSDriver(dir, "kind-control-plane", filepath.Join(dir, "plugins", "csi.sock"))
	// A killed driver leaves its socket behind.
	require.NoError(t, os.MkdirAll(filepath.Dir(socket), 0o755))
	require.NoError(t, os.WriteFile(socket, nil, 0o600))
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- driver.Serve(ctx, socket) }()

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
	require.NoError(t, <-served)
}

func dial(t *testing.T, socket string) *grpc.ClientConn {
	t.Helper()
	connection, err := grpc.NewClient("unix://"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, connection.Close()) })
	return connection
}
