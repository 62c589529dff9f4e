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

// The middle of the first turn of each spiral.
const (
	onTheFirst  = `{"x": 0, "y": 0.2667}`
	onTheSecond = `{"x": 0, "y": -0.2667}`
)

func TestAModelThatWasWrittenAnswersLikeTheOneThatWasTrained(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, TrainInto(dir, func(Progress) {}))
	network, err := Load(dir)
	require.NoError(t, err)
	server := httptest.NewServer(Server(network))
	t.Cleanup(server.Close)

	tests := map[string]struct {
		body string
		code int
		want string
	}{
		"a point of the first spiral":  {body: onTheFirst, code: http.StatusOK, want: `{"spiral":0,`},
		"a point of the second spiral": {body: onTheSecond, code: http.StatusOK, want: `{"spiral":1,`},
		"no point":                     {body: "x=1", code: http.StatusBadRequest, want: "send a point, such as"},
		"a field that is not known":    {body: `{"z": 1}`, code: http.StatusBadRequest, want: "send a point, such as"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			code, got := post(t, server.URL, tt.body)
			assert.Equal(t, tt.code, code)
			assert.True(t, strings.HasPrefix(got, tt.want), got)
		})
	}
}

func post(t *testing.T, url, body string) (code int, answer string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(body))
	require.NoError(t, err)
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return response.StatusCode, string(content)
}

func TestAModelThatIsNotWholeIsRefused(t *testing.T) {
	whole := (&Network{}).filled().safetensors()
	tests := map[string]struct {
		content string
		want    string
	}{
		"nothing":                  {content: "", want: "it is cut off"},
		"a header that is cut off": {content: string(whole[:20]), want: "it is cut off"},
		"a header that is no JSON": {content: "\x02\x00\x00\x00\x00\x00\x00\x00no", want: "read its header"},
		"weights that are cut off": {content: string(whole[:len(whole)-1]), want: "it does not hold all of"},
		"a model of another kind":  {content: "\x02\x00\x00\x00\x00\x00\x00\x00{}", want: "it does not hold all of layer1.weight"},
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

// filled is the network with weights that are all 0.
func (n *Network) filled() *Network {
	n.resize()
	return n
}
