package registry

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// credentialsWithKeys returns credentials with an entry for each key, whose
// password is the key.
func credentialsWithKeys(t *testing.T, keys ...string) Credentials {
	t.Helper()
	auths := map[string]map[string]string{}
	for _, key := range keys {
		auths[key] = map[string]string{"username": "u", "password": key}
	}
	content, err := json.Marshal(map[string]any{"auths": auths})
	require.NoError(t, err)
	return credentialsFor(t, string(content))
}

// passwordFor returns the password for an image's repository; "" is anonymous.
func passwordFor(t *testing.T, c Credentials, image string) string {
	t.Helper()
	repository, err := name.NewRepository(image)
	require.NoError(t, err)
	auth, err := c.Resolve(t.Context(), repository)
	require.NoError(t, err)
	config, err := auth.Authorization()
	require.NoError(t, err)
	assert.Equal(t, config.Password != "", c.Has(repository))
	return config.Password
}

func TestCredentialsResolve(t *testing.T) {
	tests := map[string]struct {
		keys  []string
		image string
		want  string
	}{
		"host":                                 {keys: []string{"reg.example.com"}, image: "reg.example.com/models/resnet", want: "reg.example.com"},
		"another host":                         {keys: []string{"reg.example.com"}, image: "reg.example.org/models/resnet"},
		"host with another as suffix":          {keys: []string{"example.com"}, image: "reg.example.com/models/resnet"},
		"URL":                                  {keys: []string{"https://reg.example.com/v1/"}, image: "reg.example.com/models/resnet", want: "https://reg.example.com/v1/"},
		"URL of version 2 without a slash":     {keys: []string{"http://reg.example.com/v2"}, image: "reg.example.com/models/resnet", want: "http://reg.example.com/v2"},
		"path that starts like a version":      {keys: []string{"reg.example.com/v1models"}, image: "reg.example.com/v1models/resnet", want: "reg.example.com/v1models"},
		"host has precedence over its URL":     {keys: []string{"https://reg.example.com/v1/", "reg.example.com"}, image: "reg.example.com/models/resnet", want: "reg.example.com"},
		"repository":                           {keys: []string{"reg.example.com", "reg.example.com/models/resnet"}, image: "reg.example.com/models/resnet", want: "reg.example.com/models/resnet"},
		"longest path first":                   {keys: []string{"reg.example.com", "reg.example.com/models", "reg.example.com/models/team"}, image: "reg.example.com/models/team/resnet", want: "reg.example.com/models/team"},
		"path for another repository":          {keys: []string{"reg.example.com", "reg.example.com/models/team"}, image: "reg.example.com/models/resnet", want: "reg.example.com"},
		"only a path for another repository":   {keys: []string{"reg.example.com/private"}, image: "reg.example.com/models/resnet"},
		"URL with a path":                      {keys: []string{"https://reg.example.com/v2/models/"}, image: "reg.example.com/models/resnet", want: "https://reg.example.com/v2/models/"},
		"port":                                 {keys: []string{"reg.example.com", "reg.example.com:5000"}, image: "reg.example.com:5000/models/resnet", want: "reg.example.com:5000"},
		"another port":                         {keys: []string{"reg.example.com", "reg.example.com:5001"}, image: "reg.example.com:5000/models/resnet"},
		"no port":                              {keys: []string{"reg.example.com:443"}, image: "reg.example.com/models/resnet"},
		"glob":                                 {keys: []string{"*.example.com"}, image: "reg.example.com/models/resnet", want: "*.example.com"},
		"glob for a part of a label":           {keys: []string{"*.dkr.ecr.eu-*-1.amazonaws.com"}, image: "1234.dkr.ecr.eu-central-1.amazonaws.com/models/resnet", want: "*.dkr.ecr.eu-*-1.amazonaws.com"},
		"glob with a port":                     {keys: []string{"*.example.com:5000"}, image: "reg.example.com:5000/models/resnet", want: "*.example.com:5000"},
		"glob with another port":               {keys: []string{"*.example.com:5001"}, image: "reg.example.com:5000/models/resnet"},
		"glob with a path":                     {keys: []string{"*.example.com", "*.example.com/models"}, image: "reg.example.com/models/resnet", want: "*.example.com/models"},
		"glob does not match dots":             {keys: []string{"*.example.com"}, image: "a.b.example.com/models/resnet"},
		"glob does not match a missing label":  {keys: []string{"*.example.com"}, image: "example.com/models/resnet"},
		"host has precedence over a glob":      {keys: []string{"*.example.com/models/resnet", "reg.example.com"}, image: "reg.example.com/models/resnet", want: "reg.example.com"},
		"malformed keys are ignored":           {keys: []string{"", "[", "https://", "reg.example.com"}, image: "reg.example.com/models/resnet", want: "reg.example.com"},
		"Docker Hub by its URL":                {keys: []string{"https://index.docker.io/v1/"}, image: "busybox", want: "https://index.docker.io/v1/"},
		"Docker Hub by its URL without slash":  {keys: []string{"https://index.docker.io/v1"}, image: "docker.io/team/resnet", want: "https://index.docker.io/v1"},
		"Docker Hub by its index":              {keys: []string{"index.docker.io"}, image: "team/resnet", want: "index.docker.io"},
		"Docker Hub by its short name":         {keys: []string{"docker.io"}, image: "busybox", want: "docker.io"},
		"Docker Hub, a team":                   {keys: []string{"https://index.docker.io/v1/", "docker.io/team"}, image: "team/resnet", want: "docker.io/team"},
		"Docker Hub, another team":             {keys: []string{"https://index.docker.io/v1/", "docker.io/team"}, image: "other/resnet", want: "https://index.docker.io/v1/"},
		"Docker Desktop's tokens":              {keys: []string{"https://index.docker.io/v1/access-token"}, image: "busybox"},
		"path that ends inside a name":         {keys: []string{"reg.example.com/models/team"}, image: "reg.example.com/models/team-b/resnet", want: "reg.example.com/models/team"},
		"host before a path inside a name":     {keys: []string{"reg.example.com", "reg.example.com/models/team"}, image: "reg.example.com/models/team-b/resnet", want: "reg.example.com"},
		"glob before a path inside a name":     {keys: []string{"*.example.com", "reg.example.com/mod"}, image: "reg.example.com/models/resnet", want: "*.example.com"},
		"longest path inside a name":           {keys: []string{"reg.example.com/m", "reg.example.com/mod"}, image: "reg.example.com/models/resnet", want: "reg.example.com/mod"},
		"path with a slash at the end":         {keys: []string{"reg.example.com", "reg.example.com/models/"}, image: "reg.example.com/models/resnet", want: "reg.example.com/models/"},
		"another registry without credentials": {keys: []string{"https://index.docker.io/v1/"}, image: "reg.example.com/models/resnet"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, tt.want, passwordFor(t, credentialsWithKeys(t, tt.keys...), tt.image))
		})
	}
}

func TestCredentialsResolveIgnoresEmptyEntries(t *testing.T) {
	c := credentialsFor(t, `{"auths": {"reg.example.com/models": {}, "reg.example.com": {"username": "u", "password": "p"}}}`)
	assert.Equal(t, "p", passwordFor(t, c, "reg.example.com/models/resnet"))
}

// A Secret with very many entries is read and matched in a moment.
func TestCredentialsResolveOfManyEntries(t *testing.T) {
	keys := make([]string, 0, 10_000)
	for i := range 10_000 {
		keys = append(keys, fmt.Sprintf("https://*%d.example.com/models/%s/", i, strings.Repeat("a*", 20)))
	}
	started := time.Now()
	c := credentialsWithKeys(t, append(keys, "reg.example.com")...)
	assert.Equal(t, "reg.example.com", passwordFor(t, c, "reg.example.com/models/"+strings.Repeat("a", 200)))
	assert.Less(t, time.Since(started), 10*time.Second)
}

// FuzzParseKey gives hostile keys to the parser.
func FuzzParseKey(f *testing.F) {
	for _, seed := range []string{"reg.example.com", "https://index.docker.io/v1/", "*.example.com:5000/a", "[::1]:5000", "%zz", "a\x00b"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, key string) {
		host, dir, ok := parseKey(key)
		if !ok {
			return
		}
		assert.NotEmpty(t, host)
		assert.True(t, dir == "" || strings.HasPrefix(dir, "/"), "%q", dir)
	})
}
