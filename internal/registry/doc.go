// Package registry talks to image registries: a client on top of
// go-containerregistry, and an uploader that resumes.
//
// The client adds what Modelkiln promises: credentials from one push secret with
// the kubelet's matching rules or, in the package identity, by the identity that a
// cloud gives to the pod; private certificate authorities; plain HTTP for the
// configured hosts and for no other; limits to redirects and silence; and errors that
// tell users what to do.
//
// The uploader is our own because a layer is read from the model's files while it
// is sent, so that its digest is known only at the end. go-containerregistry sends
// such a layer in a single request and cannot retry it; oras-go needs the digest
// before the first byte. The uploader sends a single request too, queries the registry
// for the offset after a failure, and reopens the Blob there. It makes requests
// smaller only for registries and proxies that require that.
package registry
