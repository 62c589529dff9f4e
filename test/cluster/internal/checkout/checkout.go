// Package checkout locates the files in the source tree and in the user's cache that the cluster reads and writes.
package checkout

import (
	"fmt"
	"os"
	"path/filepath"
)

// Checkout is one clone of the repository.
type Checkout struct {
	// Root is the absolute path of the clone with symbolic links resolved, so that a clone has exactly one path.
	Root string
	// Cache is the directory of compiled programs. All clones of a user share it, so that a second clone reuses them.
	Cache string
}

// Find returns the clone that contains dir.
func Find(dir string) (Checkout, error) {
	root, err := filepath.Abs(dir)
	if err != nil {
		return Checkout{}, err
	}
	if root, err = filepath.EvalSymlinks(root); err != nil {
		return Checkout{}, err
	}
	for !IsRoot(root) {
		if root == filepath.Dir(root) {
			return Checkout{}, fmt.Errorf("%s is not in a clone of the Modelkiln repository; change to one and try again", dir)
		}
		root = filepath.Dir(root)
	}
	cache, err := cacheDir()
	if err != nil {
		return Checkout{}, err
	}
	return Checkout{Root: root, Cache: cache}, nil
}

// IsRoot reports whether a directory is the root of a clone.
func IsRoot(root string) bool {
	_, err := os.Stat(filepath.Join(root, "test", "cluster", "go.mod"))
	return err == nil
}

func cacheDir() (string, error) {
	if dir := os.Getenv("MODELKILN_CACHE"); dir != "" {
		return filepath.Abs(dir)
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("no cache directory for compiled programs; set HOME or MODELKILN_CACHE")
	}
	return filepath.Join(dir, "modelkiln"), nil
}

// Source returns the path of a file under test/cluster.
func (c Checkout) Source(elem ...string) string {
	return filepath.Join(append([]string{c.Root, "test", "cluster"}, elem...)...)
}

// Output returns the path of a file under .cluster, which contains the files for users and tests of the cluster.
func (c Checkout) Output(elem ...string) string {
	return filepath.Join(append([]string{c.Root, ".cluster"}, elem...)...)
}

// Log returns the path of a log file.
func (c Checkout) Log(name string) string {
	return c.Output("log", name+".log")
}
