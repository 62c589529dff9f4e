package certs

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"k8s.io/client-go/rest"
)

// ServerClock returns the clock of an API server, which is in the header of each of
// its responses. Its resolution is one second.
func ServerClock(config *rest.Config, c *http.Client) (func(context.Context) (time.Time, error), error) {
	server, _, err := rest.DefaultServerUrlFor(config)
	if err != nil {
		return nil, fmt.Errorf("find the API server: %w", err)
	}
	url := server.JoinPath("version").String()
	return func(ctx context.Context) (time.Time, error) {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
		if err != nil {
			return time.Time{}, err
		}
		response, err := c.Do(request)
		if err != nil {
			return time.Time{}, err
		}
		if err := response.Body.Close(); err != nil {
			return time.Time{}, err
		}
		now, err := http.ParseTime(response.Header.Get("Date"))
		if err != nil {
			return time.Time{}, fmt.Errorf("read the header Date: %w", err)
		}
		return now, nil
	}, nil
}
