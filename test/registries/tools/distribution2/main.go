// Command distribution2 serves the registry of distribution 2.8 as its own
// command does: registry serve CONFIG. That command itself cannot be compiled: it
// needs rsc.io/letsencrypt, which the Go module proxy does not have. Cloud storage
// is left out.
package main

import (
	"context"
	"fmt"
	"net/http"
	"os"

	"github.com/docker/distribution/configuration"
	"github.com/docker/distribution/registry/handlers"

	_ "github.com/docker/distribution/registry/auth/htpasswd"             // as in its own main
	_ "github.com/docker/distribution/registry/auth/token"                // as in its own main
	_ "github.com/docker/distribution/registry/storage/driver/filesystem" // as in its own main
)

func main() {
	if err := serve(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func serve(args []string) error {
	if len(args) != 2 || args[0] != "serve" {
		return fmt.Errorf("usage: distribution2 serve CONFIG")
	}
	file, err := os.Open(args[1])
	if err != nil {
		return err
	}
	defer file.Close()
	config, err := configuration.Parse(file)
	if err != nil {
		return err
	}
	return http.ListenAndServe(config.HTTP.Addr, handlers.NewApp(context.Background(), config))
}
