//go:build slow

package registries

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/stretchr/testify/require"

	"github.com/modelkiln/modelkiln/test/registries/proxy"
)

// giteaModule is the directory of the module that pins Gitea.
const giteaModule = "tools/gitea"

func init() {
	builds = append(builds, build{dir: giteaModule, arguments: []string{"-tags=sqlite,sqlite_unlock_notify", "tool"}, cgo: true})
}

// TestSlowMatrix is TestMatrix with the registries that take longer to compile:
//
//	go test -tags slow -run TestSlowMatrix ./test/registries -update
func TestSlowMatrix(t *testing.T) {
	runMatrix(t, "slow", []row{{name: "Gitea 1.24, token, HTTPS", start: startGitea}})
}

// giteaSettings are the settings of a Gitea without a web interface. Their
// placeholders are its directory, the directory of its module, which has the
// templates and texts without which it does not start, its address, its port and
// the address that clients know.
const giteaSettings = `
RUN_MODE = prod
I_AM_BEING_UNSAFE_RUNNING_AS_ROOT = true
WORK_PATH = %[1]s
[server]
HTTP_ADDR = %[3]s
HTTP_PORT = %[4]s
ROOT_URL = https://%[5]s/
STATIC_ROOT_PATH = %[2]s
APP_DATA_PATH = %[1]s/data
DISABLE_SSH = true
OFFLINE_MODE = true
[database]
DB_TYPE = sqlite3
PATH = %[1]s/gitea.db
[security]
INSTALL_LOCK = true
SECRET_KEY = only-for-this-test
[repository]
ROOT = %[1]s/repositories
[indexer]
ISSUE_INDEXER_TYPE = db
[log]
LEVEL = error
`

// startGitea starts the package registry of Gitea behind HTTPS. Its owner is the one
// user.
func startGitea(t *testing.T) *target {
	t.Helper()
	certificate, authority := proxy.Certificate(t, net.ParseIP(localhost))
	registry := freeAddress(t)
	g := &target{authority: authority, closed: true, repository: registryUser + "/resnet"}
	g.host = proxy.Start(t, localhost, registry, g.meter(), certificate).Host
	g.pullHost = g.host
	g.options = []remote.Option{remote.WithTransport(trusting(t, authority)), remote.WithAuth(&authn.Basic{Username: registryUser, Password: registryPassword})}
	startGiteaAt(t, registry, g.host)
	return g
}

// startGiteaAt starts Gitea at an address. Clients know it by another one.
func startGiteaAt(t *testing.T, registry, known string) {
	t.Helper()
	module, err := exec.Command("go", "list", "-C", giteaModule, "-m", "-f", "{{.Dir}}", "code.gitea.io/gitea").Output()
	require.NoError(t, err)
	dir := t.TempDir()
	address, port, err := net.SplitHostPort(registry)
	require.NoError(t, err)
	settings := filepath.Join(dir, "app.ini")
	require.NoError(t, os.WriteFile(settings, fmt.Appendf(nil, giteaSettings, dir, strings.TrimSpace(string(module)), address, port, known), 0o600))
	for _, arguments := range [][]string{
		{"migrate"},
		{"admin", "user", "create", "--username", registryUser, "--password", registryPassword, "--email", "kiln@example.com", "--must-change-password=false"},
	} {
		printed, err := exec.CommandContext(t.Context(), program("gitea"), append(arguments, "--config", settings)...).CombinedOutput()
		require.NoError(t, err, "%s", printed)
	}
	process := exec.Command(program("gitea"), "web", "--config", settings)
	startServer(t, process, filepath.Join(dir, "log"), registry)
	t.Cleanup(func() {
		require.NoError(t, process.Process.Kill())
		_ = process.Wait() // It was killed.
	})
}
