// Command two-spirals trains a small model, and answers questions by it. It is
// what training pods and servers run on the test cluster.
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

  train   train a model and write it to the folder that ` + v1alpha1.ModelPathEnv + ` names
  serve   answer for the model in that folder, at port 8080:
          POST / {"x": 0.1, "y": 0.2} tells which spiral the point is on`

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
	folder := os.Getenv(v1alpha1.ModelPathEnv)
	if folder == "" {
		return errors.New(v1alpha1.ModelPathEnv + " is not set: no ModelVersion's storage is mounted, or no model")
	}
	switch args[0] {
	case "train":
		return train(folder)
	case "serve":
		return serve(ctx, folder)
	default:
		return errors.New(usage)
	}
}

func train(folder string) error {
	var last spirals.Progress
	err := spirals.TrainInto(folder, func(p spirals.Progress) {
		last = p
		fmt.Printf("epoch %4d  loss %.4f  accuracy %5.1f %%\n", p.Epoch, p.Loss, 100*p.Accuracy)
	})
	if err != nil {
		return err
	}
	fmt.Printf("trained into %s, accuracy %.1f %%\n", folder, 100*last.Accuracy)
	return nil
}

// serve answers until it is told to end.
func serve(ctx context.Context, folder string) error {
	network, err := spirals.Load(folder)
	if err != nil {
		return err
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("serve: %w", err)
	}
	server := &http.Server{Handler: spirals.Server(network), ReadHeaderTimeout: 5 * time.Second}
	go func() {
		<-ctx.Done()
		_ = server.Close()
	}()
	fmt.Printf("serving the model in %s at %s\n", folder, address)
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve: %w", err)
	}
	return nil
}
