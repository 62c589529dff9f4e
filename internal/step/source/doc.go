// Package source reads the directory that holds a model. It reads only beneath
// the mount point of the storage, so that no symbolic link leads out of it, and
// never writes.
package source
