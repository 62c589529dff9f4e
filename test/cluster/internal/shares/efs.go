package shares

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	registration "k8s.io/kubelet/pkg/apis/pluginregistration/v1"
)

// EFSDriverName is the name of the CSI driver that EFSDriver stands in for.
const EFSDriverName = "efs.csi.aws.com"

// EFSDriver is the node plugin of a CSI driver. For a path of a file system, it mounts the directory FILESYSTEM/PATH below
// Root. It validates access modes and attributes as strictly as the real driver and rejects the same requests.
type EFSDriver struct {
	csi.UnimplementedIdentityServer
	csi.UnimplementedNodeServer
	registration.UnimplementedRegistrationServer

	// Root is the directory that contains a directory for each file system.
	Root string
	// NodeID is the node's name.
	NodeID string
	// Endpoint is the path of the driver's CSI socket.
	Endpoint string
	// Bind mounts a directory.
	Bind Bind
	// Unmount unmounts a mount point.
	Unmount func(target string) error
}

// NewEFSDriver returns a driver that mounts and unmounts with system calls.
func NewEFSDriver(root, nodeID, endpoint string) *EFSDriver {
	return &EFSDriver{
		Root: root, NodeID: nodeID, Endpoint: endpoint, Bind: BindMount,
		Unmount: func(target string) error { return syscall.Unmount(target, 0) },
	}
}

// Serve serves CSI at the driver's endpoint and kubelet's plugin registration at registrationSocket until the context is
// done.
func (d *EFSDriver) Serve(ctx context.Context, registrationSocket string) error {
	server := grpc.NewServer()
	csi.RegisterIdentityServer(server, d)
	csi.RegisterNodeServer(server, d)
	registrar := grpc.NewServer()
	registration.RegisterRegistrationServer(registrar, d)

	// The endpoint comes first: kubelet calls it as soon as it discovers the registration socket.
	endpoint, err := listen(ctx, d.Endpoint)
	if err != nil {
		return err
	}
	register, err := listen(ctx, registrationSocket)
	if err != nil {
		return errors.Join(err, endpoint.Close())
	}
	served := make(chan error, 2)
	go func() { served <- server.Serve(endpoint) }()
	go func() { served <- registrar.Serve(register) }()
	defer server.Stop()
	defer registrar.Stop()
	select {
	case <-ctx.Done():
		return nil
	case err := <-served:
		return err
	}
}

// listen listens on a Unix socket. It removes a socket that a killed driver left behind.
func listen(ctx context.Context, socket string) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(socket), 0o755); err != nil {
		return nil, err
	}
	if err := os.Remove(socket); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return (&net.ListenConfig{}).Listen(ctx, "unix", socket)
}

// GetInfo implements kubelet's plugin registration.
func (d *EFSDriver) GetInfo(context.Context, *registration.InfoRequest) (*registration.PluginInfo, error) {
	return &registration.PluginInfo{
		Type: registration.CSIPlugin, Name: EFSDriverName, Endpoint: d.Endpoint, SupportedVersions: []string{"1.0.0"},
	}, nil
}

// NotifyRegistrationStatus implements kubelet's plugin registration. It logs a failed registration.
func (d *EFSDriver) NotifyRegistrationStatus(_ context.Context, result *registration.RegistrationStatus) (*registration.RegistrationStatusResponse, error) {
	if !result.GetPluginRegistered() {
		fmt.Fprintln(os.Stderr, "kubelet rejected the driver:", result.GetError())
	}
	return &registration.RegistrationStatusResponse{}, nil
}

// GetPluginInfo returns the driver's name.
func (d *EFSDriver) GetPluginInfo(context.Context, *csi.GetPluginInfoRequest) (*csi.GetPluginInfoResponse, error) {
	return &csi.GetPluginInfoResponse{Name: EFSDriverName, VendorVersion: "stand-in"}, nil
}

// GetPluginCapabilities reports no optional capabilities.
func (d *EFSDriver) GetPluginCapabilities(context.Context, *csi.GetPluginCapabilitiesRequest) (*csi.GetPluginCapabilitiesResponse, error) {
	return &csi.GetPluginCapabilitiesResponse{}, nil
}

// Probe reports that the driver is ready.
func (d *EFSDriver) Probe(context.Context, *csi.ProbeRequest) (*csi.ProbeResponse, error) {
	return &csi.ProbeResponse{}, nil
}

// NodeGetInfo returns the node's name.
func (d *EFSDriver) NodeGetInfo(context.Context, *csi.NodeGetInfoRequest) (*csi.NodeGetInfoResponse, error) {
	return &csi.NodeGetInfoResponse{NodeId: d.NodeID}, nil
}

// NodeGetCapabilities reports no optional capabilities, so volumes are published without being staged first.
func (d *EFSDriver) NodeGetCapabilities(context.Context, *csi.NodeGetCapabilitiesRequest) (*csi.NodeGetCapabilitiesResponse, error) {
	return &csi.NodeGetCapabilitiesResponse{}, nil
}

// NodePublishVolume mounts a volume for a pod.
func (d *EFSDriver) NodePublishVolume(_ context.Context, request *csi.NodePublishVolumeRequest) (*csi.NodePublishVolumeResponse, error) {
	readOnly, err := checkCapability(request.GetVolumeCapability())
	if err != nil {
		return nil, err
	}
	subPath, err := checkAttributes(request.GetVolumeContext())
	if err != nil {
		return nil, err
	}
	parts := strings.Split(request.GetVolumeId(), ":")
	if !strings.HasPrefix(parts[0], "fs-") || len(parts) > 3 {
		return nil, status.Errorf(codes.InvalidArgument, "volume ID %q is not of the form fs-12345678:/path:fsap-12345678", request.GetVolumeId())
	}
	if len(parts) > 1 && parts[1] != "" {
		subPath = parts[1]
	}
	dir, err := exportedDir(d.Root, parts[0], subPath)
	if err != nil {
		return nil, status.Errorf(codes.Internal, "could not mount %q: %v", request.GetVolumeId(), err)
	}
	target := request.GetTargetPath()
	if err := os.MkdirAll(target, 0o755); err != nil {
		return nil, status.Error(codes.Internal, err.Error())
	}
	if err := d.Bind(dir, target, readOnly || request.GetReadonly()); err != nil {
		return nil, status.Errorf(codes.Internal, "could not mount %q: %v", request.GetVolumeId(), errors.Join(err, os.Remove(target)))
	}
	return &csi.NodePublishVolumeResponse{}, nil
}

// checkCapability rejects the volume capabilities that the real driver rejects. It reports whether the mount options
// contain ro.
func checkCapability(capability *csi.VolumeCapability) (readOnly bool, err error) {
	mode := capability.GetAccessMode().GetMode()
	if mode != csi.VolumeCapability_AccessMode_SINGLE_NODE_WRITER && mode != csi.VolumeCapability_AccessMode_MULTI_NODE_MULTI_WRITER {
		return false, status.Errorf(codes.InvalidArgument, "Volume capability not supported: invalid access mode: %s", mode)
	}
	if capability.GetMount() == nil {
		return false, status.Error(codes.InvalidArgument, "Volume capability access type must be mount")
	}
	return slices.Contains(capability.GetMount().GetMountFlags(), "ro"), nil
}

// checkAttributes rejects the volume attributes that the real driver rejects. It returns the path among them.
func checkAttributes(attributes map[string]string) (path string, err error) {
	for name, value := range attributes {
		switch strings.ToLower(name) {
		case "path":
			path = value
		case "encryptintransit", "crossaccount", "mounttargetip", "storage.kubernetes.io/csiprovisioneridentity":
		default:
			return "", status.Errorf(codes.InvalidArgument, "Volume context property %s not supported.", name)
		}
	}
	return path, nil
}

// NodeUnpublishVolume unmounts a pod's volume. It succeeds if the volume is not mounted.
func (d *EFSDriver) NodeUnpublishVolume(_ context.Context, request *csi.NodeUnpublishVolumeRequest) (*csi.NodeUnpublishVolumeResponse, error) {
	target := request.GetTargetPath()
	err := d.Unmount(target)
	if err != nil && !errors.Is(err, syscall.EINVAL) && !errors.Is(err, fs.ErrNotExist) {
		return nil, status.Errorf(codes.Internal, "could not unmount %q: %v", target, err)
	}
	if err := os.Remove(target); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, status.Error(codes.Internal, err.Error())
	}
	return &csi.NodeUnpublishVolumeResponse{}, nil
}
