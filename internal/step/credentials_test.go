package step

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Kaniko matches the entries of a Docker configuration with Docker's rules. All
// steps must use the same credentials, whatever the push secret looks like.
func TestBuildUsesPushSecretWithKubeletRules(t *testing.T) {
	for name, key := range map[string]string{
		"host":             "HOST",
		"URL":              "http://HOST/v1/",
		"repository":       "HOST/models/resnet",
		"part of its path": "HOST/models",
		"glob":             "*.0.0.1:PORT",
	} {
		t.Run(name, func(t *testing.T) {
			p := newPod(t)
			p.write(t, "source/a", "x")
			inner := p.registry.get()
			p.registry.set(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if user, password, _ := r.BasicAuth(); user != "ann" || password != "secret" {
					w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
					w.WriteHeader(http.StatusUnauthorized)
					return
				}
				inner.ServeHTTP(w, r)
			}))
			entry := strings.NewReplacer("HOST", p.host, "PORT", strings.TrimPrefix(p.host, "127.0.0.1:")).Replace(key)
			p.write(t, "push-secret/config.json", fmt.Sprintf(`{"auths": {%q: {"username": "ann", "password": "secret"}}}`, entry))

			code, printed := p.allSteps(t)

			require.Equal(t, exitOK, code, printed)
			assert.Equal(t, "regcred", p.report(t).Image.PullSecret)
			assert.NoDirExists(t, p.path("kiln/docker-config"), "the credentials are removed after the build")
		})
	}
}
