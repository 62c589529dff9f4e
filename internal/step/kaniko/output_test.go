package kaniko

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func fixed(secrets ...string) func() []string { return func() []string { return secrets } }

func TestOutputRemovesColoursAndSecrets(t *testing.T) {
	var to bytes.Buffer
	o := newOutput(&to, fixed("pa$$word"))
	for _, part := range []string{"\x1b[36mINF", "O\x1b[0m[0000] Retrie", "ving\r\nwith pa$$word at https://ann:x@host/\n", "at \"https://host/a?signature=b%2Fc\": EOF\n", "the rest"} {
		_, err := o.Write([]byte(part))
		require.NoError(t, err)
	}
	o.flush()
	assert.Equal(t, "INFO[0000] Retrieving\nwith *** at https://***@host/\nat \"https://host/a?***\": EOF\nthe rest\n", to.String())
}

func TestOutputRedactsSecretWithSecretPrefix(t *testing.T) {
	for _, secrets := range [][]string{{"token", "token-and-more"}, {"token-and-more", "token"}} {
		var to bytes.Buffer
		o := newOutput(&to, fixed(secrets...))
		_, err := fmt.Fprintln(o, "token, and token-and-more")
		require.NoError(t, err)
		assert.Equal(t, "***, and ***\n", to.String(), secrets)
	}
}

func TestOutputWritesLongLine(t *testing.T) {
	var to bytes.Buffer
	o := newOutput(&to, noSecrets)
	_, err := o.Write(bytes.Repeat([]byte("x"), maxLine+1))
	require.NoError(t, err)
	assert.Equal(t, maxLine+2, to.Len())
}

type closed struct{}

func (closed) Write([]byte) (int, error) { return 0, errors.New("closed") }

func TestOutputIgnoresLogErrors(t *testing.T) {
	o := newOutput(closed{}, noSecrets)
	_, err := fmt.Fprintln(o, "error building image: x")
	require.NoError(t, err)
	assert.Equal(t, "error building image: x", o.errorMessage())
}

func TestErrorMessage(t *testing.T) {
	usage := strings.Join([]string{
		"Usage:", "  executor [flags]", "  executor [command]", "", "Available Commands:", "  version     Print the version number", "",
		"Flags:", "      --build-arg multi-arg type   This flag allows", "  -v, --verbosity string            Log level", "",
		`Use "executor [command] --help" for more information about a command.`, "",
	}, "\n")
	tests := map[string]struct{ printed, want string }{
		"nothing": {printed: "", want: ""},
		"an error of the build": {
			printed: "\x1b[36mINFO\x1b[0m[0001] Retrieving image\nerror building image: error building stage: failed to get filesystem\n",
			want:    "error building image: error building stage: failed to get filesystem",
		},
		"an error before the usage text": {
			printed: "Error: error resolving dockerfile path: please provide a valid path\n" + usage,
			want:    "error resolving dockerfile path: please provide a valid path",
		},
		"an error after the usage text": {
			printed: "Error: unknown flag: --x\n" + usage + "unknown flag: --x\n",
			want:    "unknown flag: --x",
		},
		"a logged error": {
			printed: "\x1b[31mERRO\x1b[0m[0007] Couldn't eval\nINFO[0008] Cleaning\n",
			want:    "Couldn't eval",
		},
		"no error": {printed: "INFO[0008] Cleaning\n\n", want: "INFO[0008] Cleaning"},
		"a panic": {
			printed: "panic: runtime error: index out of range\n\ngoroutine 1 [running]:\nmain.main()\n",
			want:    "panic: runtime error: index out of range",
		},
		"more lines than are kept": {
			printed: "error one\n" + strings.Repeat("INFO[0000] x\n", keptLines) + "error two\n",
			want:    "error two",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			o := newOutput(&bytes.Buffer{}, noSecrets)
			_, err := o.Write([]byte(tt.printed))
			require.NoError(t, err)
			o.flush()
			assert.Equal(t, tt.want, o.errorMessage())
		})
	}
}
