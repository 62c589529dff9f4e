// Package checkout knows the places in the source tree and in the user's cache that the cluster reads and writes.
package checkout

import (
	"fmt"
	"os"
	"path/filepath"
)

// Checkout is one clone of the repository.
type Checkout struct {
	// Root is the absolute path of the clone, without symbolic links, so that a clone has one name.
	Root string
	// Cache holds what was compiled. It is shared by all clones of a user, so that a second one compiles nothing again.
	Cache string
}

// Find looks for the clone that dir lies in.
func Find(dir string) (Checkout, error) {
	root, err := filepath.Abs(dir)
	if err != nil {
		return Checkout{}, err
	}
	if root, err = filepath.EvalSymlinks(root); err != nil {
		return Checkout{}, err
	}
	for !Is(root) {
		if root == filepath.Dir(root) {
			return Checkout{}, fmt.Errorf("%s is not in a checkout of Modelkiln; run this from inside one", dir)
		}
		root = filepath.Dir(root)
	}
	cache, err := cacheFolder()
	if err != nil {
		return Checkout{}, err
	}
	return Checkout{Root: root, Cache: cache}, nil
}

// Is tells whether a folder is the root of a clone.
func Is(root string) bool {
	_, err := os.Stat(filepath.Join(root, "test", "cluster", "go.mod"))
	return err == nil
}

func cacheFolder() (string, error) {
	if dir := os.Getenv("MODELKILN_CACHE"); dir != "" {
		return filepath.Abs(dir)
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("there is no folder to keep compiled programs in; set HOME, or MODELKILN_CACHE to a folder of your choice")
	}
	return filepath.Join(dir, "modelkiln"), nil
}

// Source is the path of a file under test/cluster.
func (c Checkout) Source(elem ...string) string {
	return filepath.Join(append([]string{c.Root, "test", "cluster"}, elem...)...)
}

// Output is the path of a file under .cluster, where the cluster leaves what people and tests use.
func (c Checkout) Output(elem ...string) string {
	return filepath.Join(append([]string{c.Root, ".cluster"}, elem...)...)
}

// Log is the path of a log file.
func (c Checkout) Log(name string) string {
	return c.Output("log", name+".log")
}
