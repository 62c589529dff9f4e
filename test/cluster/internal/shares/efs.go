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

// EFSDriver is a CSI driver's part on a node. The folder FILESYSTEM/PATH below Root stands in for a file system's. It is
// as strict as the real one about access modes and attributes, so that what that would refuse is refused here.
type EFSDriver struct {
	csi.UnimplementedIdentityServer
	csi.UnimplementedNodeServer
	registration.UnimplementedRegistrationServer

	// Root holds a folder for each file system.
	Root string
	// NodeID is the node's name.
	NodeID string
	// Endpoint is the socket that kubelet calls the driver at.
	Endpoint string
	// Bind mounts a folder.
	Bind Bind
	// Unmount unmounts a mount point.
	Unmount func(target string) error
}

// NewEFSDriver is a driver that really mounts.
func NewEFSDriver(root, nodeID, endpoint string) *EFSDriver {
	return &EFSDriver{
		Root: root, NodeID: nodeID, Endpoint: endpoint, Bind: BindMount,
		Unmount: func(target string) error { return syscall.Unmount(target, 0) },
	}
}

// Serve answers kubelet, at the driver's own socket and at the one by which kubelet gets to know it, until the context
// ends.
func (d *EFSDriver) Serve(ctx context.Context, registrationSocket string) error {
	server := grpc.NewServer()
	csi.RegisterIdentityServer(server, d)
	csi.RegisterNodeServer(server, d)
	registrar := grpc.NewServer()
	registration.RegisterRegistrationServer(registrar, d)

	// kubelet looks at the second as soon as it is there, and calls the first then.
	endpoint, err := listen(ctx, d.Endpoint)
	if err != nil {
		return err
	}
	register, err := listen(ctx, registrationSocket)
	if err != nil {
		return errors.Join(err, endpoint.Close())
	}
	ended := make(chan error, 2)
	go func() { ended <- server.Serve(endpoint) }()
	go func() { ended <- registrar.Serve(register) }()
	defer server.Stop()
	defer registrar.Stop()
	select {
	case <-ctx.Done():
		return nil
	case err := <-ended:
		return err
	}
}

// listen listens at a socket, in the place of one that a killed driver has left.
func listen(ctx context.Context, socket string) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(socket), 0o755); err != nil {
		return nil, err
	}
	if err := os.Remove(socket); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return (&net.ListenConfig{}).Listen(ctx, "unix", socket)
}

// GetInfo tells kubelet what has registered.
func (d *EFSDriver) GetInfo(context.Context, *registration.InfoRequest) (*registration.PluginInfo, error) {
	return &registration.PluginInfo{
		Type: registration.CSIPlugin, Name: EFSDriverName, Endpoint: d.Endpoint, SupportedVersions: []string{"1.0.0"},
	}, nil
}

// NotifyRegistrationStatus is what kubelet made of it.
func (d *EFSDriver) NotifyRegistrationStatus(_ context.Context, result *registration.RegistrationStatus) (*registration.RegistrationStatusResponse, error) {
	if !result.GetPluginRegistered() {
		fmt.Fprintln(os.Stderr, "kubelet does not take the driver:", result.GetError())
	}
	return &registration.RegistrationStatusResponse{}, nil
}

// GetPluginInfo says who this is.
func (d *EFSDriver) GetPluginInfo(context.Context, *csi.GetPluginInfoRequest) (*csi.GetPluginInfoResponse, error) {
	return &csi.GetPluginInfoResponse{Name: EFSDriverName, VendorVersion: "stand-in"}, nil
}

// GetPluginCapabilities says that there is no more than what each driver has.
func (d *EFSDriver) GetPluginCapabilities(context.Context, *csi.GetPluginCapabilitiesRequest) (*csi.GetPluginCapabilitiesResponse, error) {
	return &csi.GetPluginCapabilitiesResponse{}, nil
}

// Probe says that the driver is there.
func (d *EFSDriver) Probe(context.Context, *csi.ProbeRequest) (*csi.ProbeResponse, error) {
	return &csi.ProbeResponse{}, nil
}

// NodeGetInfo says which node this is.
func (d *EFSDriver) NodeGetInfo(context.Context, *csi.NodeGetInfoRequest) (*csi.NodeGetInfoResponse, error) {
	return &csi.NodeGetInfoResponse{NodeId: d.NodeID}, nil
}

// NodeGetCapabilities says that volumes are mounted in one step.
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
	folder, err := folderOf(d.Root, parts[0], subPath)
	if err != nil {
		return nil, status.Errorf(codes.Internal, "could not mount %q: %v", request.GetVolumeId(), err)
	}
	target := request.GetTargetPath()
	if err := os.MkdirAll(target, 0o755); err != nil {
		return nil, status.Error(codes.Internal, err.Error())
	}
	if err := d.Bind(folder, target, readOnly || request.GetReadonly()); err != nil {
		return nil, status.Errorf(codes.Internal, "could not mount %q: %v", request.GetVolumeId(), errors.Join(err, os.Remove(target)))
	}
	return &csi.NodePublishVolumeResponse{}, nil
}

// checkCapability refuses what the real driver does, and tells whether the mount options say read-only.
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

// checkAttributes refuses attributes that the real driver does, and gives the folder that they name.
func checkAttributes(attributes map[string]string) (folder string, err error) {
	for name, value := range attributes {
		switch strings.ToLower(name) {
		case "path":
			folder = value
		case "encryptintransit", "crossaccount", "mounttargetip", "storage.kubernetes.io/csiprovisioneridentity":
		default:
			return "", status.Errorf(codes.InvalidArgument, "Volume context property %s not supported.", name)
		}
	}
	return folder, nil
}

// NodeUnpublishVolume unmounts what was mounted for a pod. That it is not there is fine.
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
