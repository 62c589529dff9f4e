package console

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestLogf(t *testing.T) {
	var log bytes.Buffer
	Logf(&log, "  cause: open %s: %v", "a\x1b[2J\nFAILED\u009b1m\u202e\xff模", "b\r")
	assert.Equal(t, "  cause: open a [2J FAILED 1m  模: b \n", log.String())
}
