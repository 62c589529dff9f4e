package kaniko

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"

	"github.com/modelkiln/modelkiln/internal/step/handoff"
)

const (
	// socketFile is the Unix socket, in the directory that the steps share, on
	// which the packer serves the commands that Kaniko runs.
	socketFile = "pack.sock"
	// manifestRequest requests the model's manifest. A number requests that
	// layer.
	manifestRequest = "manifest"
	// packedResponse is the response to a request that was carried out.
	packedResponse = "packed"
	// credentialsSocket is the Unix socket on which credentials are served.
	credentialsSocket = "credentials.sock"
)

// RequestLayer asks the packer to put a layer of the model into the image, and
// returns when it is there.
func RequestLayer(ctx context.Context, shared handoff.Dir, number int) error {
	return requestPacked(ctx, shared, strconv.Itoa(number))
}

// RequestManifest asks the packer to put the model's manifest into the image, and
// returns when it is there.
func RequestManifest(ctx context.Context, shared handoff.Dir) error {
	return requestPacked(ctx, shared, manifestRequest)
}

func requestPacked(ctx context.Context, shared handoff.Dir, message string) error {
	response, err := request(ctx, shared.Path(socketFile), message)
	if err == nil && response != packedResponse {
		err = errors.New("the build step returned an unknown response")
	}
	return err
}

// request returns the response to a request, which is not empty.
func request(ctx context.Context, socket, message string) (string, error) {
	var dialer net.Dialer
	connection, err := dialer.DialContext(ctx, "unix", socket)
	if err != nil {
		return "", fmt.Errorf("connect to the build step, which has to be running: %w", err)
	}
	defer func() { _ = connection.Close() }()
	if _, err := fmt.Fprintln(connection, message); err != nil {
		return "", fmt.Errorf("send a request to the build step: %w", err)
	}
	response, err := io.ReadAll(connection)
	if err != nil {
		return "", fmt.Errorf("read the response of the build step: %w", err)
	}
	if len(response) == 0 {
		return "", errors.New("the build step logs the reason when Kaniko has ended")
	}
	return string(response), nil
}

// listen listens on a socket that only this user can connect to.
func listen(ctx context.Context, socket string) (net.Listener, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "unix", socket)
	if err == nil {
		err = os.Chmod(socket, 0o600)
	}
	if err != nil {
		return nil, fmt.Errorf("listen for the commands that Kaniko runs: %w", err)
	}
	return listener, nil
}

// serve passes the requests on a socket to handle, one after the other, since
// Kaniko runs one command at a time. A request whose handling fails gets no
// response. It returns when the listener is closed.
func serve(ctx context.Context, listener net.Listener, handle func(ctx context.Context, message string) (string, error)) {
	for {
		connection, err := listener.Accept()
		if err != nil {
			return
		}
		respond(ctx, connection, handle)
	}
}

func respond(ctx context.Context, connection net.Conn, handle func(ctx context.Context, message string) (string, error)) {
	defer func() { _ = connection.Close() }()
	defer context.AfterFunc(ctx, func() { _ = connection.Close() })()
	message, err := bufio.NewReader(connection).ReadString('\n')
	if err != nil {
		return
	}
	if response, err := handle(ctx, strings.TrimSuffix(message, "\n")); err == nil {
		_, _ = io.WriteString(connection, response)
	}
}
