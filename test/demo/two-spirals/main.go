// Command two-spirals trains a small model and serves it. Training pods and
// model servers on the test cluster run it.
package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/test/demo/spirals"
)

const usage = `usage: two-spirals train | serve

  train   train a model and write it to the directory ` + v1alpha1.ModelPathEnv + `
  serve   serve the model in that directory on port 8080:
          POST / {"x": 0.1, "y": 0.2} returns the spiral of the point`

const address = ":8080"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "two-spirals:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) != 1 {
		return errors.New(usage)
	}
	dir := os.Getenv(v1alpha1.ModelPathEnv)
	if dir == "" {
		return errors.New(v1alpha1.ModelPathEnv + " is not set: neither the storage of a ModelVersion nor a model is mounted")
	}
	switch args[0] {
	case "train":
		return train(dir)
	case "serve":
		return serve(ctx, dir)
	default:
		return errors.New(usage)
	}
}

func train(dir string) error {
	var last spirals.Progress
	err := spirals.TrainInto(dir, func(p spirals.Progress) {
		last = p
		fmt.Printf("epoch %4d  loss %.4f  accuracy %5.1f %%\n", p.Epoch, p.Loss, 100*p.Accuracy)
	})
	if err != nil {
		return err
	}
	fmt.Printf("wrote the model to %s, accuracy %.1f %%\n", dir, 100*last.Accuracy)
	return nil
}

// serve serves the model in dir until the context is done.
func serve(ctx context.Context, dir string) error {
	network, err := spirals.Load(dir)
	if err != nil {
		return err
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("serve: %w", err)
	}
	server := &http.Server{Handler: spirals.Handler(network), ReadHeaderTimeout: 5 * time.Second}
	go func() {
		<-ctx.Done()
		_ = server.Close()
	}()
	fmt.Printf("serving the model in %s on %s\n", dir, address)
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve: %w", err)
	}
	return nil
}
