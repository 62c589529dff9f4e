package webhook

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"
)

func TestLimiterConcurrentRequests(t *testing.T) {
	limiter := NewLimiter()
	started, finish := make(chan struct{}), make(chan struct{})
	server := httptest.NewServer(limiter.Wrap(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		started <- struct{}{}
		<-finish
	})))
	t.Cleanup(server.Close)
	post := func() *http.Response {
		response, err := http.Post(server.URL, "application/json", bytes.NewReader([]byte("{}"))) //nolint:noctx // The test ends with its deadline.
		if !assert.NoError(t, err) {
			return &http.Response{}
		}
		assert.NoError(t, response.Body.Close())
		return response
	}
	var handled sync.WaitGroup
	for range maxHandled {
		handled.Go(func() { assert.Equal(t, http.StatusOK, post().StatusCode) })
		<-started
	}

	rejected := post()
	assert.Equal(t, http.StatusTooManyRequests, rejected.StatusCode)
	assert.Equal(t, "1", rejected.Header.Get("Retry-After"), "the API server repeats the request only then")

	// Those that wait get their turn.
	var waiting sync.WaitGroup
	waiting.Go(func() { assert.Equal(t, http.StatusOK, post().StatusCode) })
	require.Eventually(t, func() bool { return len(limiter.admitted) == maxHandled+1 }, maxWait, maxWait/100)
	finish <- struct{}{}
	<-started
	close(finish)
	handled.Wait()
	waiting.Wait()
	assert.Empty(t, limiter.admitted)
	assert.Empty(t, limiter.handled)
}

func TestLimiterWaitingRequests(t *testing.T) {
	limiter := NewLimiter()
	for range cap(limiter.admitted) {
		limiter.admitted <- struct{}{}
	}
	_, admitted := limiter.acquire(t.Context())
	assert.False(t, admitted)
	assert.Len(t, limiter.admitted, maxHandled+maxWaiting)
}

func TestLimiterSize(t *testing.T) {
	read := 0
	server := httptest.NewServer(NewLimiter().Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		read = len(body)
		if err != nil {
			w.WriteHeader(http.StatusBadRequest)
		}
	})))
	t.Cleanup(server.Close)
	for name, tt := range map[string]struct {
		body io.Reader
		want int
	}{
		"at the limit":       {bytes.NewReader(make([]byte, maxBody)), http.StatusOK},
		"above the limit":    {bytes.NewReader(make([]byte, maxBody+1)), http.StatusRequestEntityTooLarge},
		"of an unknown size": {io.MultiReader(bytes.NewReader(make([]byte, maxBody+1))), http.StatusBadRequest},
	} {
		t.Run(name, func(t *testing.T) {
			response, err := http.Post(server.URL, "application/json", tt.body) //nolint:noctx // The test ends with its deadline.
			require.NoError(t, err)
			require.NoError(t, response.Body.Close())
			assert.Equal(t, tt.want, response.StatusCode)
			assert.LessOrEqual(t, read, maxBody)
		})
	}
}

// A pod of three megabytes with a million empty containers would take more memory than
// the operator may use.
func TestLimiterValues(t *testing.T) {
	decoded := false
	handler := admission.HandlerFunc(func(context.Context, admission.Request) admission.Response {
		decoded = true
		return admission.Allowed("")
	})
	server := httptest.NewServer(NewLimiter().Wrap(&admission.Webhook{Handler: handler}))
	t.Cleanup(server.Close)
	for name, tt := range map[string]struct {
		containers int
		want       string
	}{
		"at the limit":    {maxValues/2 - 5, `"allowed":true`},
		"above the limit": {maxValues / 2, "the request has more than 20000 fields and list items"},
	} {
		t.Run(name, func(t *testing.T) {
			decoded = false
			review := `{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"1","object":{"spec":{"containers":[` + strings.Repeat("{},", tt.containers-1) + `{}]}}}}`
			response, err := http.Post(server.URL, "application/json", strings.NewReader(review)) //nolint:noctx // The test ends with its deadline.
			require.NoError(t, err)
			answer, err := io.ReadAll(response.Body)
			require.NoError(t, err)
			require.NoError(t, response.Body.Close())
			assert.Contains(t, string(answer), tt.want)
			assert.Equal(t, tt.containers < maxValues/2, decoded)
		})
	}
}

// A server that is about to stop cancels the context of its requests.
func TestLimiterServerStops(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	var err error
	handler := NewLimiter().Wrap(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		stop()
		err = r.Context().Err()
		_, bounded := r.Context().Deadline()
		assert.True(t, bounded)
	}))
	server := httptest.NewUnstartedServer(handler)
	server.Config.BaseContext = func(net.Listener) context.Context { return ctx }
	server.Start()
	defer server.Close()
	resp, requestErr := server.Client().Post(server.URL, "application/json", strings.NewReader("{}"))
	require.NoError(t, requestErr)
	require.NoError(t, resp.Body.Close())
	assert.Equal(t, http.StatusOK, resp.StatusCode)
	assert.True(t, resp.Close, "the next request is sent over another connection")
	assert.NoError(t, err)
}
