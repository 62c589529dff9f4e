package step

import (
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
)

func TestPushSecrets(t *testing.T) {
	const command = "kubectl create secret docker-registry regcred --docker-server=HOST"
	tests := map[string]struct {
		content, required string
		reason, want      string
	}{
		"absent, and may be":   {},
		"absent, and required": {required: "true", reason: v1alpha1.ReasonPushSecretMissing, want: "there is no Secret regcred of type kubernetes.io/dockerconfigjson in this namespace: make it with " + command},
		"not a Docker configuration": {
			content: "user:password", reason: v1alpha1.ReasonPushSecretMissing,
			want: "Secret regcred does not contain a Docker configuration: make it with " + command,
		},
		"only the name of a helper": {
			content: `{"credsStore": "osxkeychain"}`, required: "true", reason: v1alpha1.ReasonPushSecretMissing,
			want: `the credential helper "osxkeychain"`,
		},
		"there": {content: `{"auths": {}}`, required: "true"},
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
				require.Equal(t, exitDone, code, printed)
				return
			}
			p.assertFailed(t, "mount-check", tt.reason, tt.want, code, printed)
		})
	}
}

func TestTheSecretThatTheRegistryWasAskedWithIsReported(t *testing.T) {
	const auth = `{"auth": "YW5uOnNlY3JldA=="}`
	for name, tt := range map[string]struct{ entry, want string }{
		"when it has an entry for the registry": {entry: "HOST", want: "regcred"},
		"not when it has one for another":       {entry: "registry.example.com"},
		"not when it has none":                  {},
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
			require.Equal(t, exitDone, code, printed)
			assert.Equal(t, tt.want, p.report(t).Image.PullSecret)
		})
	}
}

// pushesMeet is a registry that answers the beginning of a push with a code.
func pushesMeet(code int, inner http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			w.WriteHeader(code)
			return
		}
		inner.ServeHTTP(w, r)
	})
}

func TestRegistriesThatRefuse(t *testing.T) {
	answer := func(code int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
	}
	tokensAt := func(realm string) http.HandlerFunc {
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
		"nobody gets in": {
			registry: func(http.Handler) http.Handler { return answer(http.StatusUnauthorized) },
			reason:   v1alpha1.ReasonRegistryUnauthorized, want: "(401 Unauthorized); credentials: none (there is no push secret)",
		},
		"nobody may push": {
			registry: func(inner http.Handler) http.Handler { return pushesMeet(http.StatusForbidden, inner) },
			reason:   v1alpha1.ReasonRegistryUnauthorized, want: "denied the permissions that the build needs in models/resnet (403 Forbidden)",
		},
		"a quota is used up": {
			registry: func(inner http.Handler) http.Handler { return pushesMeet(http.StatusInsufficientStorage, inner) },
			reason:   v1alpha1.ReasonRegistryFull, want: "rejected the upload to models/resnet (507): raise the registry's request size limit or storage quota",
		},
		"no repository is made by a push": {
			registry: func(inner http.Handler) http.Handler { return pushesMeet(http.StatusNotFound, inner) },
			reason:   v1alpha1.ReasonRegistryUnauthorized, want: "has no repository models/resnet that the build may push to",
		},
		"no registry at all": {
			registry: func(http.Handler) http.Handler { return answer(http.StatusTeapot) },
			reason:   v1alpha1.ReasonRegistryUnreachable, want: "418",
		},
		"a web server that has a page for everything": {
			registry: func(http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
					w.Header().Set("Content-Type", "text/html")
					_, _ = w.Write([]byte("<html>Welcome</html>"))
				})
			},
			reason: v1alpha1.ReasonRegistryUnreachable, want: "responded, but is not an image registry: correct the host",
		},
		"a service that has an object for everything": {
			registry: func(http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`{"status": "ok"}`)) })
			},
			reason: v1alpha1.ReasonRegistryUnreachable, want: "responded, but is not an image registry: correct the host",
		},
		"a web server that has nothing": {
			registry: func(http.Handler) http.Handler { return answer(http.StatusNotFound) },
			reason:   v1alpha1.ReasonRegistryUnreachable, want: "responded, but is not an image registry: correct the host",
		},
		"a token service that nobody knows": {
			registry: func(http.Handler) http.Handler { return tokensAt("http://tokens.invalid/token") },
			reason:   v1alpha1.ReasonRegistryUnreachable, want: "the host tokens.invalid, to which the registry 127.0.0.1",
		},
		"a token service at a private address": {
			registry: func(http.Handler) http.Handler { return tokensAt("http://10.1.2.3/token") },
			reason:   v1alpha1.ReasonRegistryUnreachable, want: "give the token service a host name",
		},
		"plain HTTP that is not named": {
			args:   []string{"--plain-http=other:5000"},
			reason: v1alpha1.ReasonRegistryUnreachable, want: "add the host to the plain-HTTP registries",
		},
		"no image reference": {
			args:   []string{"--image=a b"},
			reason: v1alpha1.ReasonInvalidSpec, want: "is not an image reference",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p := newPod(t)
			p.write(t, "source/a", "x")
			if tt.registry != nil {
				p.registry.set(tt.registry(p.registry.handler()))
			}
			code, printed := p.mountCheck(t, tt.args...)
			p.assertFailed(t, "mount-check", tt.reason, tt.want, code, printed)
			if tt.reason != v1alpha1.ReasonInvalidSpec {
				assert.Equal(t, int64(1), p.report(t).Source.Files, "what was found out is reported all the same")
			}
		})
	}
}

// A proxy in front of a registry that takes no request above 2 MiB.
func TestAFileThatTheRegistryCannotTakeIsKnownBeforeItIsCopied(t *testing.T) {
	const limit = 2 << 20
	noise := make([]byte, 2*limit)
	_, _ = rand.NewChaCha8([32]byte{}).Read(noise)
	tests := map[string]struct {
		content []byte
		want    string
	}{
		"a file that cannot be compressed":       {noise, "takes no upload as large as the file weights.bin will be, 3.6 MiB or more: have its limit"},
		"a file that is small when it is packed": {make([]byte, 2*limit), ""},
		"a file below the limit":                 {noise[:limit/4*3], ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p := newPod(t)
			registry := p.registry.handler()
			p.registry.set(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.ContentLength > limit {
					w.WriteHeader(http.StatusRequestEntityTooLarge)
					return
				}
				registry.ServeHTTP(w, r)
			}))
			p.write(t, "source/weights.bin", string(tt.content))
			code, printed := p.mountCheck(t)
			if tt.want == "" {
				require.Equal(t, exitDone, code, printed)
				return
			}
			p.assertFailed(t, "mount-check", v1alpha1.ReasonRegistryFull, tt.want, code, printed)
		})
	}
}
