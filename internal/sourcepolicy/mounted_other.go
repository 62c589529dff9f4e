//go:build !linux

package sourcepolicy

import "errors"

// CheckMounted returns an error: the directories of nodes are mounted on Linux only. On
// other systems, the steps run for kubectl kiln package, which mounts nothing.
func (r HostPathRules) CheckMounted(_, _, _ string) error {
	return errors.New("the mounts of a node can be checked on Linux only")
}
