package sourcepolicy

import (
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
)

// efsPathAttribute is the volume attribute that names the directory if the
// volume handle names none.
const efsPathAttribute = "path"

// efsEncryptionAttribute is the volume attribute by which the driver encrypts what it
// transfers, which is its default. Any other value than "true" switches that off.
const efsEncryptionAttribute = "encryptInTransit"

// isHarmlessEFSAttribute reports whether an attribute can neither select anything
// that Check does not see nor expose the files. Others can: mounttargetip, for
// example, names another server. The driver compares names in lower case.
func isHarmlessEFSAttribute(name, value string) bool {
	return strings.EqualFold(name, efsPathAttribute) || strings.EqualFold(name, efsEncryptionAttribute) && value == "true"
}

// EFSRules are what a platform team allows of AWS Elastic File System, in the
// terms of the CSI driver efs.csi.aws.com: a volume handle and attributes. The
// zero value allows nothing, because the operator creates the PersistentVolume
// itself and no Pod Security Standard level restricts what a PersistentVolume
// refers to.
type EFSRules struct {
	// Allowed lists what may be packaged: file systems with everything in them, as
	// fs-12345678; directories with everything inside them, as
	// fs-12345678:/models; and access points, as fs-12345678::fsap-12345678. If
	// empty, nothing is allowed.
	Allowed []string
	// Attributes lists the volume attributes that ModelVersions may set in addition
	// to path, and to encryptInTransit with the value true.
	Attributes []string
	// Writable allows pods to write to the volume, as training does. Otherwise
	// every mount is read-only.
	Writable bool
}

// efsVolume is a parsed volume handle.
type efsVolume struct {
	fileSystem, dir, accessPoint string
}

// The driver passes the access point as a mount option, where a comma would
// begin another option.
var efsHandlePattern = regexp.MustCompile(`^([A-Za-z0-9-]+)(?::([^:[:cntrl:]]*)(?::([A-Za-z0-9-]*))?)?$`)

// parseEFSHandle parses a handle, [FileSystemId]:[Subpath]:[AccessPointId], of
// which the last two are optional. The directory is empty if the handle names
// none, and absolute otherwise: the driver mounts a relative one from the root
// too.
func parseEFSHandle(handle string) (efsVolume, error) {
	parts := efsHandlePattern.FindStringSubmatch(handle)
	if parts == nil {
		return efsVolume{}, fmt.Errorf("volumeHandle %q is not valid: write it as fs-12345678, fs-12345678:/path or fs-12345678::fsap-12345678", handle)
	}
	v := efsVolume{fileSystem: parts[1], accessPoint: parts[3]}
	if parts[2] == "" {
		return v, nil
	}
	dir, err := cleanEFSDir(parts[2])
	v.dir = dir
	return v, err
}

// cleanEFSDir returns a directory as a clean absolute path.
func cleanEFSDir(dir string) (string, error) {
	if slices.Contains(strings.Split(dir, "/"), "..") {
		return "", fmt.Errorf("the directory %q contains '..': write the path without it, such as /models/resnet", dir)
	}
	return path.Join("/", dir), nil
}

// Check returns an error if what a volume handle and attributes name may not be
// packaged. The error is a message for the user who wrote them.
func (r EFSRules) Check(handle string, attributes map[string]string) error {
	v, err := parseEFSHandle(handle)
	if err != nil {
		return err
	}
	if err := r.checkAttributes(attributes); err != nil {
		return err
	}
	dirs, err := mountableDirs(v, attributes)
	if err != nil {
		return err
	}
	if len(r.Allowed) == 0 {
		return fmt.Errorf("%s cannot be packaged because this cluster allows no AWS EFS volume (allowedEFS is empty): copy the model to another kind of storage, or ask the platform team to allow it", handle)
	}
	for _, dir := range dirs {
		v.dir = dir
		if !slices.ContainsFunc(r.Allowed, func(entry string) bool { return efsEntryAllows(entry, v) }) {
			return fmt.Errorf("%s is not an AWS EFS file system, directory or access point that this cluster allows (allowedEFS): move the model to %s, or ask the platform team to allow it", handle, strings.Join(r.Allowed, " or "))
		}
	}
	return nil
}

func (r EFSRules) checkAttributes(attributes map[string]string) error {
	for _, name := range slices.Sorted(maps.Keys(attributes)) {
		matches := func(allowed string) bool { return strings.EqualFold(allowed, name) }
		if !isHarmlessEFSAttribute(name, attributes[name]) && !slices.ContainsFunc(r.Attributes, matches) {
			return fmt.Errorf("this cluster does not allow the volume attribute %q with this value (allowedEFSAttributes): remove it, or ask the platform team to allow it", name)
		}
	}
	return nil
}

// mountableDirs returns the directories that the driver may mount, each of which
// must be allowed: the handle's, or else those of the path attribute, in any
// case, because the driver's map iteration order is unspecified.
func mountableDirs(v efsVolume, attributes map[string]string) ([]string, error) {
	if v.dir != "" {
		return []string{v.dir}, nil
	}
	var dirs []string
	for name, value := range attributes {
		if !strings.EqualFold(name, efsPathAttribute) {
			continue
		}
		dir, err := cleanEFSDir(value)
		if err != nil {
			return nil, err
		}
		dirs = append(dirs, dir)
	}
	if dirs == nil {
		return []string{"/"}, nil
	}
	return dirs, nil
}

// efsEntryAllows reports whether an entry of Allowed allows a volume. A directory
// in an entry is one of the file system, not of an access point, which has its
// own root.
func efsEntryAllows(entry string, v efsVolume) bool {
	allowed, err := parseEFSHandle(entry)
	if err != nil || allowed.fileSystem != v.fileSystem {
		return false
	}
	if allowed.accessPoint == "" && allowed.dir == "" {
		return true
	}
	return allowed.accessPoint == v.accessPoint && (allowed.dir == "" || isWithin(v.dir, allowed.dir))
}

// CheckEFSEntry returns an error if an entry of EFSRules.Allowed is malformed.
func CheckEFSEntry(entry string) error {
	if _, err := parseEFSHandle(entry); err != nil {
		return fmt.Errorf("%q is not an AWS Elastic File System, or a directory or access point of one: write it as fs-12345678, fs-12345678:/models or fs-12345678::fsap-12345678", entry)
	}
	return nil
}
