// Command notices writes the licenses that images and archives must contain to the
// directory kodata of each program, from which ko adds them to the image:
// Modelkiln's own, and the licenses and notices of Go and of all modules that are
// linked into the program. It fails if a module has no license.
//
// Its arguments are the directories of the programs. The flag -platforms lists for
// which platforms they are compiled.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "notices:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("notices", flag.ContinueOnError)
	platforms := flags.String("platforms", imagePlatforms, "the operating systems and architectures, separated by commas")
	if err := flags.Parse(args); err != nil {
		return err
	}
	license, err := goLicense(ctx)
	if err != nil {
		return err
	}
	for _, program := range flags.Args() {
		packages, err := linkedPackages(ctx, program, strings.Split(*platforms, ","))
		if err != nil {
			return err
		}
		found, err := legalFiles(packages)
		if err != nil {
			return fmt.Errorf("%s: %w", program, err)
		}
		found[filepath.Join(thirdParty, "go", "LICENSE")] = license
		if err := write(filepath.Join(program, "kodata"), found); err != nil {
			return fmt.Errorf("%s: %w", program, err)
		}
	}
	return nil
}

// write replaces the content of a directory with copies of files. The keys are
// paths in the directory.
func write(dir string, files map[string]string) error {
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	for path, source := range files {
		content, err := os.ReadFile(source)
		if err != nil {
			return err
		}
		target := filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(target, content, 0o644); err != nil {
			return err
		}
	}
	return nil
}
