package step

import (
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/test/clouds"
)

const ecrHost = "123456789012.dkr.ecr.eu-west-1.amazonaws.com"

// cloud is a cloud whose identity a pod has.
type cloud interface {
	SetLifetimeFunc(lifetime func() time.Duration)
	Issued() []string
}

// clouded are the clouds, each with a registry in front of the pod's that requires its
// tokens.
var clouded = map[string]func(t *testing.T, p *pod) cloud{
	"ECR": func(t *testing.T, p *pod) cloud {
		a := clouds.StartAmazon(t)
		a.ProjectRole(t)
		p.host = ecrHost
		hosts.Serve(t, p.host, a.ElasticContainerRegistry(p.registry))
		return a
	},
	"Artifact Registry": func(t *testing.T, p *pod) cloud {
		g := clouds.StartGoogle(t)
		p.host = "us-docker.pkg.dev"
		hosts.Serve(t, p.host, g.ArtifactRegistry(p.registry))
		return g
	},
	"ACR": func(t *testing.T, p *pod) cloud {
		a := clouds.StartAzure(t)
		a.Project(t)
		p.host = "models.azurecr.io"
		hosts.Serve(t, p.host, a.ContainerRegistry(p.registry))
		return a
	},
}

func TestBuildByIdentity(t *testing.T) {
	for name, start := range clouded {
		for engine, streams := range map[string]bool{"Kaniko": false, "Stream": true} {
			t.Run(name+", "+engine, func(t *testing.T) {
				p := newPod(t)
				p.streams = streams
				p.write(t, "source/a", "x")
				cloud := start(t, p)

				code, checked := p.mountCheck(t)
				require.Equal(t, exitOK, code, checked)
				assert.Contains(t, checked, "Secret regcred does not exist: the push is by the identity of the service account modelkiln-build, if it has one for")
				assert.Contains(t, checked, " of the service account modelkiln-build, which needs ")
				// Copying takes longer than a token is valid that was issued before it ended.
				t.Setenv(changeScript, "sleep 2; touch "+p.path("copied"))
				cloud.SetLifetimeFunc(func() time.Duration {
					if _, err := os.Stat(p.path("copied")); err == nil || streams {
						return time.Hour
					}
					return time.Second
				})

				code, built := p.build(t)
				require.Equal(t, exitOK, code, built)
				code, reported := p.statusReport(t)
				require.Equal(t, exitOK, code, reported)

				assert.Empty(t, p.report(t).Image.PullSecret)
				assert.NoDirExists(t, p.path("kiln/docker-config"), "the credentials are removed after the build")
				require.Greater(t, len(cloud.Issued()), 1)
				for _, token := range cloud.Issued() {
					assert.NotContains(t, checked+built+reported, token)
				}
				assert.NotContains(t, checked+built+reported, "eyJ", "no token in any form")
			})
		}
	}
}

// The base image and the target have credentials of different kinds.
func TestBuildByIdentityWithPrivateBase(t *testing.T) {
	for _, identityForBase := range []bool{false, true} {
		p := newPod(t)
		p.write(t, "source/a", "x")
		p.base = p.host + "/base/nonroot:1"
		p.push(t, randomImage(t), p.base)
		plain := p.host
		_ = clouded["ECR"](t, p)
		if identityForBase {
			p.base, p.host = ecrHost+"/base/nonroot:1", plain
		}
		args := []string{"--plain-http=" + plain + "," + ecrHost}

		code, printed := p.mountCheck(t, args...)
		require.Equal(t, exitOK, code, printed)
		code, printed = p.run(t, "build", append(p.buildArgs(), args...)...)
		require.Equal(t, exitOK, code, printed)
		code, printed = p.run(t, "status-report", append(append(p.registryArgs(), "--model-version-uid="+p.uid), args...)...)
		require.Equal(t, exitOK, code, printed)
	}
}

func TestMountCheckWithoutIdentity(t *testing.T) {
	for name, streams := range map[string]bool{"Kaniko": false, "Stream": true} {
		t.Run(name, func(t *testing.T) {
			p := newPod(t)
			p.streams = streams
			p.write(t, "source/a", "x")
			_ = clouded["ECR"](t, p)
			clouds.NoIdentity(t)

			code, printed := p.mountCheck(t)

			p.assertFailed(t, "mount-check", v1alpha1.ReasonRegistryUnauthorized, "the service account modelkiln-build has no identity of AWS: kubectl annotate serviceaccount modelkiln-build eks.amazonaws.com/role-arn=ROLE_ARN, or create a Secret", code, printed)
		})
	}
}

func TestMountCheckWithRefusedIdentity(t *testing.T) {
	p := newPod(t)
	p.write(t, "source/a", "x")
	amazon, _ := clouded["ECR"](t, p).(*clouds.Amazon)
	amazon.Session.Refuse(clouds.AccessDenied)

	code, printed := p.mountCheck(t)

	p.assertFailed(t, "mount-check", v1alpha1.ReasonRegistryUnauthorized, "AWS refused the AWS role "+clouds.Role+" of the service account modelkiln-build (AccessDenied: Not authorized", code, printed)
	assert.Contains(t, p.report(t).Failure.Message, "correct the role's trust policy, or create a Secret")
	assert.NotContains(t, printed, "eyJ")
}

// A token service that does not respond is not the user's fault.
func TestMountCheckWithoutTokenService(t *testing.T) {
	p := newPod(t)
	p.write(t, "source/a", "x")
	google, _ := clouded["Artifact Registry"](t, p).(*clouds.Google)
	google.Refuse(func(w http.ResponseWriter) { w.WriteHeader(http.StatusServiceUnavailable) })

	code, printed := p.mountCheck(t)

	p.assertFailed(t, "mount-check", v1alpha1.ReasonRegistryUnreachable, "Google Cloud issued no token", code, printed)
	assert.True(t, p.report(t).Failure.Transient)
}

// The identity is refused while Kaniko builds.
func TestBuildByIdentityRefusedAtPush(t *testing.T) {
	p := newPod(t)
	p.write(t, "source/a", "x")
	amazon, _ := clouded["ECR"](t, p).(*clouds.Amazon)
	code, printed := p.mountCheck(t)
	require.Equal(t, exitOK, code, printed)
	amazon.SetLifetime(time.Second)
	t.Setenv(changeScript, "sleep 2; touch "+p.path("copied"))
	amazon.Session.RefuseIf(func() bool {
		_, err := os.Stat(p.path("copied"))
		return err == nil
	}, clouds.AccessDenied)

	code, printed = p.build(t)

	p.assertFailed(t, "build", v1alpha1.ReasonRegistryUnauthorized, "AWS refused the AWS role", code, printed)
	assert.NotContains(t, printed, "eyJ")
}

// A secret for the registry works where there is no identity, without waiting for one.
func TestBuildWithSecretWithoutIdentity(t *testing.T) {
	p := newPod(t)
	p.write(t, "source/a", "x")
	google, _ := clouded["Artifact Registry"](t, p).(*clouds.Google)
	hosts.Serve(t, p.host, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, password, _ := r.BasicAuth(); user != "_json_key" || password != "key" {
			w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		p.registry.ServeHTTP(w, r)
	}))
	p.write(t, "push-secret/config.json", `{"auths": {"us-docker.pkg.dev": {"username": "_json_key", "password": "key"}}}`)

	code, printed := p.allSteps(t)

	require.Equal(t, exitOK, code, printed)
	assert.Equal(t, "regcred", p.report(t).Image.PullSecret)
	assert.Zero(t, google.Requests())
}
