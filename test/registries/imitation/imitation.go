// Package imitation stands before a real registry and behaves as registries and
// proxies do that nobody can run in a test. Each imitation is named for what it
// imitates, and each of its habits has a source.
package imitation

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/modelkiln/modelkiln/test/registries/proxy"
)

// Imitation is a registry or a proxy that others run.
type Imitation struct {
	Name   string
	Habits []Habit
	// Behave returns the behavior, which lasts as long as the test. The registry is
	// the host and port of the one behind the imitation. Hosts to which the imitation
	// sends uploads have the given behavior too.
	Behave func(t *testing.T, registry string, uploads proxy.Behavior) proxy.Behavior
}

// Habit is something that an imitation does in another way than most registries.
type Habit struct {
	// Does is a description, in Markdown.
	Does string
	// Source is the URL of a report or of documentation.
	Source string
}

// always is for a behavior that needs neither a test nor another server.
func always(behave func() proxy.Behavior) func(*testing.T, string, proxy.Behavior) proxy.Behavior {
	return func(*testing.T, string, proxy.Behavior) proxy.Behavior { return behave() }
}

// refuse responds with an error of the distribution specification.
func refuse(w http.ResponseWriter, status int, code, format string, args ...any) bool {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"errors": []map[string]string{{"code": code, "message": fmt.Sprintf(format, args...)}}})
	return true
}

// set is a set of strings that requests share.
type set struct{ of sync.Map }

func (s *set) add(key string) { s.of.Store(key, nil) }

// has reports whether the set has a key.
func (s *set) has(key string) bool {
	_, found := s.of.Load(key)
	return found
}

// pushedManifests records the manifests that the registry has accepted, by
// repository and tag or digest.
func pushedManifests() (*set, proxy.Behavior) {
	pushed := &set{}
	return pushed, proxy.Edit(func(r *http.Request, code int, header http.Header) int {
		if r.Method == http.MethodPut && proxy.Tag(r) != "" && code == http.StatusCreated {
			pushed.add(proxy.Repository(r) + ":" + proxy.Tag(r))
			pushed.add(proxy.Repository(r) + ":" + header.Get("Docker-Content-Digest"))
		}
		return code
	})
}

// isPushed reports whether the manifest that a request is for was pushed.
func (s *set) isPushed(r *http.Request) bool { return s.has(proxy.Repository(r) + ":" + proxy.Tag(r)) }

// exists reports whether the registry has what is at a path. The headers are those
// of another request.
func exists(registry http.Handler, like *http.Request, path string) bool {
	get := like.Clone(like.Context())
	get.Method, get.Body, get.ContentLength = http.MethodGet, http.NoBody, 0
	get.URL.Path, get.URL.RawQuery = path, ""
	recorder := httptest.NewRecorder()
	registry.ServeHTTP(recorder, get)
	return recorder.Code == http.StatusOK
}
