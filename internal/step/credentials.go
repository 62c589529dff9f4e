package step

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/modelkiln/modelkiln/internal/step/console"
	"github.com/modelkiln/modelkiln/internal/step/kaniko"
)

// maxHost is the maximum number of bytes of a host.
const maxHost = 1 << 10

// credentials is the command that Kaniko runs when it needs credentials that the
// identity of the service account has. It follows the protocol of Docker's credential
// helpers: the host of the registry is on standard input.
type credentials struct {
	*paths
}

func defineCredentials(_ *flag.FlagSet, p *paths) action {
	return credentials{paths: p}.run
}

// run writes the credentials to standard output, which Kaniko reads.
func (c credentials) run(ctx context.Context, stdout io.Writer) error {
	host, err := io.ReadAll(io.LimitReader(os.Stdin, maxHost))
	if err != nil {
		return fmt.Errorf("read the host of the registry: %w", err)
	}
	found, err := kaniko.RequestCredentials(ctx, c.shared, strings.TrimSpace(string(host)))
	if err != nil {
		return err
	}
	console.Logf(stdout, "%s", found)
	return nil
}
