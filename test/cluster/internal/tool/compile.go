// Package tool compiles the programs of the cluster from pinned Go modules, once for each version.
package tool

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"

	"github.com/modelkiln/modelkiln/test/cluster/internal/checkout"
	"github.com/modelkiln/modelkiln/test/cluster/internal/golang"
	"github.com/modelkiln/modelkiln/test/cluster/internal/logfile"
	"github.com/modelkiln/modelkiln/test/cluster/internal/progress"
)

// Ensure compiles the named tools that are not in the cache and returns all of them by name.
func Ensure(ctx context.Context, co checkout.Checkout, report *progress.Reporter, names ...string) (map[string]Tool, error) {
	tools := make(map[string]Tool, len(names))
	for _, name := range names {
		t, err := Find(co, name)
		if err != nil {
			return nil, err
		}
		if err := ensure(ctx, co, report, t); err != nil {
			return nil, err
		}
		tools[name] = t
	}
	return tools, nil
}

func ensure(ctx context.Context, co checkout.Checkout, report *progress.Reporter, t Tool) error {
	if exists(t.Dir) {
		return nil
	}
	parent := filepath.Dir(t.Dir)
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return fmt.Errorf("cannot create the directory %s for compiled programs: %w", parent, err)
	}
	unlock, err := lock(filepath.Join(parent, "."+t.name+".lock"))
	if err != nil {
		return err
	}
	defer unlock()
	if exists(t.Dir) { // another checkout compiled it while this one waited for the lock
		return nil
	}

	// While the lock is held, other work directories can only be leftovers of killed compilations.
	leftovers, _ := filepath.Glob(filepath.Join(parent, "."+t.name+"-build-*"))
	for _, leftover := range leftovers {
		_ = os.RemoveAll(leftover)
	}
	work, err := os.MkdirTemp(parent, "."+t.name+"-build-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(work) }()

	if err := os.MkdirAll(co.Output("log"), 0o755); err != nil {
		return err
	}
	report.Logf("compiling %s %s (once; takes %s on two cores)", t.name, t.Version, t.compileTime)
	return report.During("compiling "+t.name, func() error {
		b := builder{ctx: ctx, tool: t, work: work, log: co.Log("compile-" + t.name)}
		return b.run()
	})
}

// builder compiles one tool in a work directory, so that an incomplete tool never appears in the cache.
type builder struct {
	ctx  context.Context
	tool Tool
	work string
	log  string
}

func (b builder) run() error {
	if err := os.RemoveAll(b.log); err != nil {
		return err
	}
	if err := os.MkdirAll(b.bin(), 0o755); err != nil {
		return err
	}
	build := b.tool.build
	if build == nil {
		build = func(b builder) error { return b.goBuild(b.tool.source, "tool") }
	}
	if err := build(b); err != nil {
		return err
	}
	for link, program := range b.tool.links {
		if err := os.Symlink(program, filepath.Join(b.bin(), link)); err != nil {
			return err
		}
	}
	return os.Rename(b.bin(), b.tool.Dir)
}

// bin returns the directory that is renamed to the tool's directory once it is complete.
func (b builder) bin() string {
	return filepath.Join(b.work, "bin")
}

// goBuild compiles packages of the module at dir.
func (b builder) goBuild(dir string, packages ...string) error {
	build := golang.Build{Dir: dir, Packages: packages, Output: b.bin()}
	if b.tool.versionFlags != nil {
		build.Variables = b.tool.versionFlags(b.tool.Version)
	}
	return b.withLog(func(log io.Writer) error {
		build.Stderr = log
		return build.Run(b.ctx)
	})
}

// withLog runs a step with the log file as its error output. The step's error contains the last lines of the log.
func (b builder) withLog(step func(log io.Writer) error) error {
	log, err := os.OpenFile(b.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	if err := step(log); err != nil {
		if b.ctx.Err() != nil {
			return b.ctx.Err()
		}
		return fmt.Errorf("cannot compile %s %s (%w); the last lines of its log %s are:\n%s", b.tool.name, b.tool.Version, err, b.log, logfile.Tail(b.log, 10))
	}
	return nil
}

// lock waits until no other process compiles the same tool. The kernel releases the lock when this process exits.
func lock(path string) (unlock func(), err error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX); err != nil {
		_ = file.Close()
		return nil, err
	}
	return func() { _ = file.Close() }, nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
