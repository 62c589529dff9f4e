package step

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strconv"
)

// packSocket is where the build step listens for the commands that Kaniko runs,
// on the volume that the steps share.
const packSocket = "pack.sock"

// manifestRequest asks for the list of the model's files, as a number asks for
// that layer.
const manifestRequest = "manifest"

// packed is the answer when it was done.
const packed = "packed"

// noLayer is the value of --layer when it is not given.
const noLayer = -1

// pack is what Kaniko runs, once for each layer and once for the manifest. It
// asks the build step, which has started Kaniko, to put something into the image,
// and ends when it is there.
type pack struct {
	*places
	layer    int
	manifest bool
}

func definePack(flags *flag.FlagSet, at *places) action {
	p := &pack{places: at}
	flags.IntVar(&p.layer, "layer", noLayer, "the `number` of the layer, from 0")
	flags.BoolVar(&p.manifest, "manifest", false, "the list of the model's files")
	return p.run
}

func (p *pack) run(ctx context.Context, _ io.Writer) error {
	var dialer net.Dialer
	connection, err := dialer.DialContext(ctx, "unix", filepath.Join(p.shared, packSocket))
	if err != nil {
		return fmt.Errorf("ask the build step, which Kaniko runs under: %w", err)
	}
	defer func() { _ = connection.Close() }()
	request := strconv.Itoa(p.layer)
	if p.manifest {
		request = manifestRequest
	}
	if _, err := fmt.Fprintln(connection, request); err != nil {
		return fmt.Errorf("ask the build step: %w", err)
	}
	answer, err := io.ReadAll(connection)
	if err != nil {
		return fmt.Errorf("ask the build step: %w", err)
	}
	if string(answer) != packed {
		return errors.New("the build step says why when Kaniko has ended")
	}
	return nil
}
