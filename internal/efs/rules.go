// Package efs decides which AWS Elastic File Systems may be packaged into an
// image, by what the CSI driver efs.csi.aws.com is told of them: a volume handle
// and attributes. The operator makes the PersistentVolume itself, and no Pod
// Security level bounds what a PersistentVolume leads to: the platform team
// does, here.
//
// Everything here is a pure function over strings.
package efs

import (
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
)

// attributePath is the attribute that names the folder, where the handle names
// none.
const attributePath = "path"

// harmless are the attributes, in lower case as the driver reads them, that
// lead to nothing that is not asked about. Others do, such as mounttargetip,
// which names another server.
var harmless = []string{attributePath, "encryptintransit"}

// Rules are what a platform team allows. The zero value allows nothing.
type Rules struct {
	// Allowed lists what may be packaged: file systems, as fs-12345678, with
	// all that lies in them; folders, as fs-12345678:/models, with all that lies
	// in them; and access points, as fs-12345678::fsap-12345678. Empty allows
	// nothing.
	Allowed []string
	// Attributes lists the volume attributes that versions may set beside path
	// and encryptInTransit.
	Attributes []string
	// Writable says that pods may write to what is mounted, as training does.
	// Otherwise whatever is mounted, is so read-only.
	Writable bool
}

// volume is a handle, taken apart.
type volume struct {
	fileSystem, folder, accessPoint string
}

// The driver puts the access point among the options of a mount, where a comma
// would begin another option.
var handlePattern = regexp.MustCompile(`^([A-Za-z0-9-]+)(?::([^:[:cntrl:]]*)(?::([A-Za-z0-9-]*))?)?$`)

// parse takes a handle apart, [FileSystemId]:[Subpath]:[AccessPointId], the last
// two optional. The folder is empty where the handle names none, and otherwise
// absolute: the driver mounts a relative one from the root too.
func parse(handle string) (volume, error) {
	parts := handlePattern.FindStringSubmatch(handle)
	if parts == nil {
		return volume{}, fmt.Errorf("volumeHandle %q is not written as fs-12345678, fs-12345678:/path or fs-12345678::fsap-12345678", handle)
	}
	v := volume{fileSystem: parts[1], accessPoint: parts[3]}
	if parts[2] == "" {
		return v, nil
	}
	folder, err := clean(parts[2])
	v.folder = folder
	return v, err
}

// clean is a folder as an absolute path without detours.
func clean(folder string) (string, error) {
	if slices.Contains(strings.Split(folder, "/"), "..") {
		return "", fmt.Errorf("the folder %q goes up with '..': name the folder itself, as in /models/resnet", folder)
	}
	return path.Join("/", folder), nil
}

// Check says whether what a handle and attributes name may be packaged. The
// error is a sentence for the person who wrote them.
func (r Rules) Check(handle string, attributes map[string]string) error {
	v, err := parse(handle)
	if err != nil {
		return err
	}
	if err := r.checkAttributes(attributes); err != nil {
		return err
	}
	folders, err := folders(v, attributes)
	if err != nil {
		return err
	}
	if len(r.Allowed) == 0 {
		return fmt.Errorf("%s may not be packaged, because nothing of AWS EFS is allowed on this cluster (allowedEFS is empty): copy the model to another kind of storage, or have the platform team allow it", handle)
	}
	for _, folder := range folders {
		v.folder = folder
		if !slices.ContainsFunc(r.Allowed, func(entry string) bool { return allows(entry, v) }) {
			return fmt.Errorf("%s is not among the file systems, folders and access points of AWS EFS that may be packaged on this cluster (allowedEFS): put the model into %s, or have the platform team allow it", handle, strings.Join(r.Allowed, " or "))
		}
	}
	return nil
}

func (r Rules) checkAttributes(attributes map[string]string) error {
	for _, name := range slices.Sorted(maps.Keys(attributes)) {
		known := func(allowed string) bool { return strings.EqualFold(allowed, name) }
		if !slices.ContainsFunc(slices.Concat(harmless, r.Attributes), known) {
			return fmt.Errorf("the volume attribute %q is not among those that versions may set on this cluster (allowedEFSAttributes): leave it out, or have the platform team allow it", name)
		}
	}
	return nil
}

// folders are the folders that the driver may mount, each of which has to be
// allowed: the handle's, or else those of the attribute, in whatever case it is
// written and in whatever order the driver puts them together.
func folders(v volume, attributes map[string]string) ([]string, error) {
	if v.folder != "" {
		return []string{v.folder}, nil
	}
	var all []string
	for name, value := range attributes {
		if !strings.EqualFold(name, attributePath) {
			continue
		}
		folder, err := clean(value)
		if err != nil {
			return nil, err
		}
		all = append(all, folder)
	}
	if all == nil {
		return []string{"/"}, nil
	}
	return all, nil
}

// allows says that an entry of the list allows a volume. A folder is one of the
// file system, and not of an access point, which has a root of its own.
func allows(entry string, v volume) bool {
	allowed, err := parse(entry)
	if err != nil || allowed.fileSystem != v.fileSystem {
		return false
	}
	if allowed.accessPoint == "" && allowed.folder == "" {
		return true
	}
	inside := allowed.folder == "" || allowed.folder == "/" || v.folder == allowed.folder || strings.HasPrefix(v.folder, allowed.folder+"/")
	return allowed.accessPoint == v.accessPoint && inside
}

// CheckEntry says whether an entry of a list of what is allowed is one.
func CheckEntry(entry string) error {
	if _, err := parse(entry); err != nil {
		return fmt.Errorf("%q is not an AWS Elastic File System, a folder or an access point of one: write it as fs-12345678, fs-12345678:/models or fs-12345678::fsap-12345678", entry)
	}
	return nil
}
