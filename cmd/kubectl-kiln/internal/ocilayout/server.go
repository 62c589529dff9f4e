// Package ocilayout stores an image that is pushed as an OCI image layout, a directory
// (https://github.com/opencontainers/image-spec/blob/main/image-layout.md). It is a
// registry on the loopback interface, so that the code which pushes to registries writes
// layouts too. Unlike the registries of libraries, it keeps no layer in memory, and stores
// each one once.
package ocilayout

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/match"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Repository is the only repository of a Server.
const Repository = "model"

// user is the name under which clients log in.
const user = "kiln"

// RefName is the annotation of an image's name in a layout.
const RefName = "org.opencontainers.image.ref.name"

// maxManifest is the size in bytes up to which manifests are accepted, as registries do.
const maxManifest = 4 << 20

// Server is a registry for one push.
type Server struct {
	// Host is the address, host and port, which is accessed over plain HTTP.
	Host string

	dir      layout.Path
	password string
	http     *http.Server

	mu        sync.Mutex
	sessions  map[string]*session
	manifests map[string]v1.Descriptor
}

// session is the upload of one blob.
type session struct {
	file *os.File
	hash hash.Hash
	size int64
}

// Start creates a layout in a directory, or opens the one that it has, and starts a
// registry for it. Other users of the machine can connect to the registry, so it accepts
// only clients with its Credentials.
func Start(ctx context.Context, dir string) (*Server, error) {
	path, err := Open(dir)
	if err != nil {
		return nil, err
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen on the loopback interface: %w", err)
	}
	s := &Server{Host: listener.Addr().String(), dir: path, password: rand.Text(), sessions: map[string]*session{}, manifests: map[string]v1.Descriptor{}}
	s.http = &http.Server{Handler: s.handler(), ReadHeaderTimeout: time.Minute, BaseContext: func(net.Listener) context.Context { return ctx }}
	go func() { _ = s.http.Serve(listener) }()
	return s, nil
}

// Open creates a layout in a directory that does not exist or is empty, or opens the one
// that it has. The error of any other directory is a sentence.
func Open(dir string) (layout.Path, error) {
	entries, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, os.ErrNotExist) || (err == nil && len(entries) == 0):
		path, err := layout.Write(dir, empty.Index)
		if err != nil {
			return "", fmt.Errorf("create an OCI layout in %s: %w", dir, err)
		}
		return path, nil
	case err != nil:
		return "", fmt.Errorf("open %s: %w", dir, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "oci-layout")); err != nil {
		return "", fmt.Errorf("%s is not empty, and is no OCI layout: name another directory", dir)
	}
	return layout.FromPath(dir)
}

// Credentials returns those of the registry.
func (s *Server) Credentials() authn.AuthConfig {
	return authn.AuthConfig{Username: user, Password: s.password}
}

// Close stops the registry, and removes what was not uploaded completely.
func (s *Server) Close() error {
	err := s.http.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, upload := range s.sessions {
		delete(s.sessions, id)
		err = errors.Join(err, upload.file.Close(), os.Remove(upload.file.Name()))
	}
	return err
}

// Commit adds what was pushed with a tag to the index of the layout under a name. It
// replaces what has that name.
func (s *Server) Commit(tag, name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	pushed, found := s.manifests[tag]
	if !found {
		return fmt.Errorf("no image was pushed with the tag %s", tag)
	}
	pushed.Annotations = map[string]string{RefName: name}
	if err := s.dir.RemoveDescriptors(match.Name(name)); err != nil {
		return fmt.Errorf("update the index of %s: %w", s.dir, err)
	}
	if err := s.dir.AppendDescriptor(pushed); err != nil {
		return fmt.Errorf("update the index of %s: %w", s.dir, err)
	}
	return nil
}

func (s *Server) handler() http.Handler {
	const repository, uploads = "/v2/" + Repository, "/v2/" + Repository + "/blobs/uploads/"
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v2/{$}", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("GET "+repository+"/blobs/{digest}", s.getBlob)
	mux.HandleFunc("POST "+uploads+"{$}", s.start)
	mux.HandleFunc("GET "+uploads+"{id}", s.withSession(s.offset))
	mux.HandleFunc("PATCH "+uploads+"{id}", s.withSession(s.append))
	mux.HandleFunc("PUT "+uploads+"{id}", s.withSession(s.finish))
	mux.HandleFunc("DELETE "+uploads+"{id}", s.withSession(s.cancel))
	mux.HandleFunc("GET "+repository+"/manifests/{reference}", s.getManifest)
	mux.HandleFunc("PUT "+repository+"/manifests/{reference}", s.putManifest)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name, password, _ := r.BasicAuth()
		if name != user || subtle.ConstantTimeCompare([]byte(password), []byte(s.password)) != 1 {
			w.Header().Set("WWW-Authenticate", `Basic realm="kubectl kiln"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// blob returns the path of a blob.
func (s *Server) blob(digest v1.Hash) string {
	return filepath.Join(string(s.dir), "blobs", digest.Algorithm, digest.Hex)
}

func (s *Server) getBlob(w http.ResponseWriter, r *http.Request) {
	digest, err := v1.NewHash(r.PathValue("digest"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	file, err := os.Open(s.blob(digest))
	if err != nil {
		http.Error(w, "no such blob", http.StatusNotFound)
		return
	}
	defer func() { _ = file.Close() }()
	w.Header().Set("Docker-Content-Digest", digest.String())
	http.ServeContent(w, r, "", time.Time{}, file)
}

func (s *Server) start(w http.ResponseWriter, _ *http.Request) {
	dir := filepath.Join(string(s.dir), "blobs", "sha256")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		fail(w, err)
		return
	}
	file, err := os.CreateTemp(dir, "upload-")
	if err != nil {
		fail(w, err)
		return
	}
	id := rand.Text()
	s.mu.Lock()
	s.sessions[id] = &session{file: file, hash: sha256.New()}
	s.mu.Unlock()
	accept(w, id, 0)
}

// accept tells a client how much of a blob was received.
func accept(w http.ResponseWriter, id string, size int64) {
	w.Header().Set("Location", "/v2/"+Repository+"/blobs/uploads/"+id)
	w.Header().Set("Range", "0-"+strconv.FormatInt(max(0, size-1), 10))
	w.WriteHeader(http.StatusAccepted)
}

func fail(w http.ResponseWriter, err error) {
	// For registries, this is the code for a disk that is full.
	http.Error(w, err.Error(), http.StatusInsufficientStorage)
}

func (s *Server) withSession(handle func(http.ResponseWriter, *http.Request, string, *session)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		id := r.PathValue("id")
		s.mu.Lock()
		upload := s.sessions[id]
		s.mu.Unlock()
		if upload == nil {
			http.Error(w, "no such upload", http.StatusNotFound)
			return
		}
		handle(w, r, id, upload)
	}
}

func (s *Server) offset(w http.ResponseWriter, _ *http.Request, id string, upload *session) {
	accept(w, id, upload.size)
}

func (s *Server) append(w http.ResponseWriter, r *http.Request, id string, upload *session) {
	if err := upload.receive(r.Body); err != nil {
		fail(w, err)
		return
	}
	accept(w, id, upload.size)
}

func (u *session) receive(content io.Reader) error {
	received, err := io.Copy(io.MultiWriter(u.file, u.hash), content)
	u.size += received
	return err
}

func (s *Server) finish(w http.ResponseWriter, r *http.Request, id string, upload *session) {
	if err := upload.receive(r.Body); err != nil {
		fail(w, err)
		return
	}
	got := v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(upload.hash.Sum(nil))}
	if want := r.URL.Query().Get("digest"); want != got.String() {
		http.Error(w, fmt.Sprintf("the blob has the digest %s instead of %s", got, want), http.StatusBadRequest)
		return
	}
	s.forget(id)
	err := errors.Join(upload.file.Chmod(0o644), upload.file.Close())
	if err == nil {
		err = os.Rename(upload.file.Name(), s.blob(got))
	}
	if err != nil {
		fail(w, err)
		return
	}
	w.Header().Set("Docker-Content-Digest", got.String())
	w.Header().Set("Location", "/v2/"+Repository+"/blobs/"+got.String())
	w.WriteHeader(http.StatusCreated)
}

func (s *Server) cancel(w http.ResponseWriter, _ *http.Request, id string, upload *session) {
	s.forget(id)
	if err := errors.Join(upload.file.Close(), os.Remove(upload.file.Name())); err != nil {
		fail(w, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func (s *Server) forget(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.sessions, id)
}

func (s *Server) getManifest(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	pushed, found := s.manifests[r.PathValue("reference")]
	s.mu.Unlock()
	if !found {
		http.Error(w, "no such manifest", http.StatusNotFound)
		return
	}
	file, err := os.Open(s.blob(pushed.Digest))
	if err != nil {
		fail(w, err)
		return
	}
	defer func() { _ = file.Close() }()
	w.Header().Set("Content-Type", string(pushed.MediaType))
	w.Header().Set("Docker-Content-Digest", pushed.Digest.String())
	http.ServeContent(w, r, "", time.Time{}, file)
}

func (s *Server) putManifest(w http.ResponseWriter, r *http.Request) {
	content, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxManifest))
	if err != nil {
		http.Error(w, err.Error(), http.StatusRequestEntityTooLarge)
		return
	}
	sum := sha256.Sum256(content)
	digest := v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(sum[:])}
	if err := os.WriteFile(s.blob(digest), content, 0o644); err != nil {
		fail(w, err)
		return
	}
	s.mu.Lock()
	pushed := v1.Descriptor{MediaType: types.MediaType(r.Header.Get("Content-Type")), Digest: digest, Size: int64(len(content))}
	s.manifests[r.PathValue("reference")], s.manifests[digest.String()] = pushed, pushed
	s.mu.Unlock()
	w.Header().Set("Docker-Content-Digest", digest.String())
	w.WriteHeader(http.StatusCreated)
}
