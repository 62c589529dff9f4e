package step

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
)

func TestMountCheckPushSecret(t *testing.T) {
	// The host of the pod's registry is inserted below.
	const command = "kubectl create secret docker-registry regcred --docker-server=HOST --docker-username"
	tests := map[string]struct {
		content, required string
		reason, want      string
	}{
		"absent and optional": {},
		"absent and required": {required: "true", reason: v1alpha1.ReasonPushSecretMissing, want: "Secret regcred of type kubernetes.io/dockerconfigjson does not exist in this namespace: create it with " + command},
		"not a Docker configuration": {
			content: "user:password", reason: v1alpha1.ReasonPushSecretMissing,
			want: "a Docker configuration: create it with " + command,
		},
		"only a credential helper": {
			content: `{"credsStore": "osxkeychain"}`, required: "true", reason: v1alpha1.ReasonPushSecretMissing,
			want: `helper "osxkeychain"`,
		},
		"present": {content: `{"auths": {}}`, required: "true"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p := newPod(t)
			p.write(t, "source/a", "x")
			if tt.content != "" {
				p.write(t, "push-secret/config.json", tt.content)
			}
			code, printed := p.mountCheck(t, "--push-secret-required="+tt.required)
			if tt.reason == "" {
				require.Equal(t, exitOK, code, printed)
				return
			}
			p.assertFailed(t, "mount-check", tt.reason, strings.Replace(tt.want, "HOST", p.host, 1), code, printed)
		})
	}
}

func TestCreateSecretCommand(t *testing.T) {
	for image, want := range map[string]string{
		"registry.example.com:5000/team/resnet:v1": "registry.example.com:5000",
		"modelhub/resnet:v1":                       "https://index.docker.io/v1/",
		"not a reference":                          "HOST",
	} {
		flags := registryFlags{image: image}
		assert.Equal(t, "kubectl create secret docker-registry NAME --docker-server="+want+" --docker-username=USER --docker-password=PASSWORD", flags.createSecretCommand())
	}
}

func TestStatusReportPullSecret(t *testing.T) {
	const auth = `{"auth": "YW5uOnNlY3JldA=="}`
	for name, tt := range map[string]struct{ entry, want string }{
		"an entry for the registry":     {entry: "HOST", want: "regcred"},
		"an entry for another registry": {entry: "registry.example.com"},
		"no entry":                      {},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPod(t)
			p.write(t, "source/a", "x")
			content := `{"auths": {}}`
			if tt.entry != "" {
				content = `{"auths": {"` + strings.Replace(tt.entry, "HOST", p.host, 1) + `": ` + auth + `}}`
			}
			p.write(t, "push-secret/config.json", content)
			code, printed := p.allSteps(t)
			require.Equal(t, exitOK, code, printed)
			assert.Equal(t, tt.want, p.report(t).Image.PullSecret)
		})
	}
}

// rejectPushes returns a registry that responds to the start of an upload with a
// status code.
func rejectPushes(code int, inner http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			w.WriteHeader(code)
			return
		}
		inner.ServeHTTP(w, r)
	})
}

func TestMountCheckRegistryErrors(t *testing.T) {
	respond := func(code int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
	}
	requireTokensOf := func(realm string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("WWW-Authenticate", `Bearer realm="`+realm+`",service="test"`)
			w.WriteHeader(http.StatusUnauthorized)
		}
	}
	tests := map[string]struct {
		registry     func(inner http.Handler) http.Handler
		args         []string
		reason, want string
	}{
		"401 for every request": {
			registry: func(http.Handler) http.Handler { return respond(http.StatusUnauthorized) },
			reason:   v1alpha1.ReasonRegistryUnauthorized, want: "(401 Unauthorized); credentials: none (the push Secret does not exist)",
		},
		"403 for pushes": {
			registry: func(inner http.Handler) http.Handler { return rejectPushes(http.StatusForbidden, inner) },
			reason:   v1alpha1.ReasonRegistryUnauthorized, want: "denied the permissions that the build needs in models/resnet (403 Forbidden)",
		},
		"507 for pushes": {
			registry: func(inner http.Handler) http.Handler { return rejectPushes(http.StatusInsufficientStorage, inner) },
			reason:   v1alpha1.ReasonRegistryFull, want: "models/resnet (507 Insufficient Storage)",
		},
		"404 for pushes": {
			registry: func(inner http.Handler) http.Handler { return rejectPushes(http.StatusNotFound, inner) },
			reason:   v1alpha1.ReasonRepositoryMissing, want: "has no repository models/resnet, or the build may not push to it",
		},
		"418 for every request": {
			registry: func(http.Handler) http.Handler { return respond(http.StatusTeapot) },
			reason:   v1alpha1.ReasonRegistryUnreachable, want: "418",
		},
		"a web server with a page for every path": {
			registry: func(http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
					w.Header().Set("Content-Type", "text/html")
					_, _ = w.Write([]byte("<html>Welcome</html>"))
				})
			},
			reason: v1alpha1.ReasonRegistryUnreachable, want: "is not an image registry: correct the host",
		},
		"a service with an object for every path": {
			registry: func(http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`{"status": "ok"}`)) })
			},
			reason: v1alpha1.ReasonRegistryUnreachable, want: "is not an image registry: correct the host",
		},
		"404 for every request": {
			registry: func(http.Handler) http.Handler { return respond(http.StatusNotFound) },
			reason:   v1alpha1.ReasonRegistryUnreachable, want: "is not an image registry: correct the host",
		},
		"a token service whose name cannot be resolved": {
			registry: func(http.Handler) http.Handler { return requireTokensOf("http://tokens.invalid/token") },
			reason:   v1alpha1.ReasonRegistryUnreachable, want: "the host tokens.invalid, to which the registry 127.0.0.1",
		},
		"a token service at a private address": {
			registry: func(http.Handler) http.Handler { return requireTokensOf("http://10.1.2.3/token") },
			reason:   v1alpha1.ReasonRegistryUnreachable, want: "token service a host name",
		},
		"plain HTTP that is not configured": {
			args:   []string{"--plain-http=other:5000"},
			reason: v1alpha1.ReasonRegistryUnreachable, want: "add the host to the plain-HTTP registries",
		},
		"an invalid image reference": {
			args:   []string{"--image=a b"},
			reason: v1alpha1.ReasonInvalidSpec, want: "image reference",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p := newPod(t)
			p.write(t, "source/a", "x")
			if tt.registry != nil {
				p.registry.set(tt.registry(p.registry.get()))
			}
			code, printed := p.mountCheck(t, tt.args...)
			p.assertFailed(t, "mount-check", tt.reason, tt.want, code, printed)
			if tt.reason != v1alpha1.ReasonInvalidSpec {
				assert.Equal(t, int64(1), p.report(t).Source.Files, "the report has the size of the source")
			}
		})
	}
}
