// Package kaniko is the engine Kaniko. It knows how Kaniko is configured and run,
// what its error messages mean, and where it writes the layers that it pushes.
//
// Kaniko's executor builds from a Dockerfile whose RUN instructions start
// "modelkiln-step pack". That command asks the process that started Kaniko, over a
// Unix socket, to put the next layer's files into the image. Kaniko pushes nothing:
// its archives of the layers are uploaded as those of the engine Stream are, and the
// image is assembled of them for every platform.
//
// It was written against the source of chainguard-dev/kaniko v1.25.5 and
// osscontainertools/kaniko v1.28, and uses only what both have.
package kaniko
