// Command release makes what a release of Modelkiln consists of.
package main

import (
	"fmt"
	"os"

	"github.com/modelkiln/modelkiln/test/release/chart"
)

func main() {
	if err := chart.Generate("../.."); err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1)
	}
}
