package spirals

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Points in the middle of the first turn of each spiral.
const (
	onFirstSpiral  = `{"x": 0, "y": 0.2667}`
	onSecondSpiral = `{"x": 0, "y": -0.2667}`
)

func TestHandlerWithATrainedModel(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, TrainInto(dir, func(Progress) {}))
	network, err := Load(dir)
	require.NoError(t, err)
	server := httptest.NewServer(Handler(network))
	t.Cleanup(server.Close)

	tests := map[string]struct {
		body string
		code int
		want string
	}{
		"a point on the first spiral":  {body: onFirstSpiral, code: http.StatusOK, want: `{"spiral":0,`},
		"a point on the second spiral": {body: onSecondSpiral, code: http.StatusOK, want: `{"spiral":1,`},
		"not JSON":                     {body: "x=1", code: http.StatusBadRequest, want: "the request must be a point, such as"},
		"an unknown field":             {body: `{"z": 1}`, code: http.StatusBadRequest, want: "the request must be a point, such as"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			code, got := post(t, server.URL, tt.body)
			assert.Equal(t, tt.code, code)
			assert.True(t, strings.HasPrefix(got, tt.want), got)
		})
	}
}

func post(t *testing.T, url, body string) (code int, responseBody string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(body))
	require.NoError(t, err)
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	content, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, string(content)
}

func TestLoadErrors(t *testing.T) {
	complete := (&Network{}).zeroed().safetensors()
	tests := map[string]struct {
		content string
		want    string
	}{
		"an empty file":            {content: "", want: "the file is truncated"},
		"a truncated header":       {content: string(complete[:20]), want: "the file is truncated"},
		"a header that is no JSON": {content: "\x02\x00\x00\x00\x00\x00\x00\x00no", want: "parse the header"},
		"truncated weights":        {content: string(complete[:len(complete)-1]), want: "are incomplete"},
		"another architecture":     {content: "\x02\x00\x00\x00\x00\x00\x00\x00{}", want: "the values of layer1.weight are incomplete"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			require.NoError(t, os.WriteFile(filepath.Join(dir, weightsFile), []byte(tt.content), 0o600))
			_, err := Load(dir)
			require.ErrorContains(t, err, tt.want)
		})
	}
	t.Run("no model", func(t *testing.T) {
		_, err := Load(t.TempDir())
		require.ErrorIs(t, err, os.ErrNotExist)
	})
}

// zeroed returns the network with all weights set to 0.
func (n *Network) zeroed() *Network {
	n.resize()
	return n
}
