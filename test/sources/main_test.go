//go:build slow

package sources

import (
	"fmt"
	"os"
	"testing"
)

// gatewayVariable is the path of the Versity Gateway.
const gatewayVariable = "VERSITYGW"

func TestMain(m *testing.M) {
	if os.Getenv(gatewayVariable) == "" {
		fmt.Fprintf(os.Stderr, "%s is not set: run these tests with make test, which compiles the Versity Gateway\n", gatewayVariable)
		os.Exit(1)
	}
	os.Exit(m.Run())
}
