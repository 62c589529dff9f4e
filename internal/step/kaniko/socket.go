package kaniko

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"

	"github.com/modelkiln/modelkiln/internal/step/handoff"
)

const (
	// socketFile is the Unix socket, in the directory that the steps share, on
	// which the packer serves the commands that Kaniko runs.
	socketFile = "pack.sock"
	// finishRequest requests the check of the last layer. A number requests that
	// layer.
	finishRequest = "finish"
	// packedResponse is the response to a request that was carried out.
	packedResponse = "packed"
)

// RequestLayer asks the packer to put a layer of the model into the image, and
// returns when it is there.
func RequestLayer(ctx context.Context, shared handoff.Dir, number int) error {
	return request(ctx, shared, strconv.Itoa(number))
}

// RequestFinish asks the packer to check the layer that Kaniko has archived last.
func RequestFinish(ctx context.Context, shared handoff.Dir) error {
	return request(ctx, shared, finishRequest)
}

func request(ctx context.Context, shared handoff.Dir, message string) error {
	var dialer net.Dialer
	connection, err := dialer.DialContext(ctx, "unix", shared.Path(socketFile))
	if err != nil {
		return fmt.Errorf("connect to the build step, which has to be running: %w", err)
	}
	defer func() { _ = connection.Close() }()
	if _, err := fmt.Fprintln(connection, message); err != nil {
		return fmt.Errorf("send a request to the build step: %w", err)
	}
	response, err := io.ReadAll(connection)
	if err != nil {
		return fmt.Errorf("read the response of the build step: %w", err)
	}
	if string(response) != packedResponse {
		return errors.New("the build step logs the reason when Kaniko has ended")
	}
	return nil
}

func listen(ctx context.Context, shared handoff.Dir) (net.Listener, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "unix", shared.Path(socketFile))
	if err != nil {
		return nil, fmt.Errorf("listen for the commands that Kaniko runs: %w", err)
	}
	return listener, nil
}

// serve passes the requests on a socket to handle, one after the other, since
// Kaniko runs one command at a time. A request whose handling fails gets no
// response. It returns when the listener is closed.
func serve(ctx context.Context, listener net.Listener, handle func(ctx context.Context, message string) error) {
	for {
		connection, err := listener.Accept()
		if err != nil {
			return
		}
		respond(ctx, connection, handle)
	}
}

func respond(ctx context.Context, connection net.Conn, handle func(ctx context.Context, message string) error) {
	defer func() { _ = connection.Close() }()
	defer context.AfterFunc(ctx, func() { _ = connection.Close() })()
	message, err := bufio.NewReader(connection).ReadString('\n')
	if err != nil {
		return
	}
	if handle(ctx, strings.TrimSuffix(message, "\n")) == nil {
		_, _ = io.WriteString(connection, packedResponse)
	}
}
