// Package node isolates the processes of the one-node cluster from the rest of the machine: in a control group with which
// they are found and killed, and in namespaces that the kernel removes with their last process.
package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/modelkiln/modelkiln/test/cluster/internal/logfile"
)

// Name is the node's name, as in KubeDL's examples.
const Name = "kind-control-plane"

// Node is a node that is starting or running.
type Node struct {
	state *State
	// logs returns the path of a program's log.
	logs func(name string) string
	// exited receives, for each program, the result of waiting for it.
	exited map[string]chan error
}

// Program is one of the node's own programs.
type Program struct {
	Name string
	Argv []string
	// Path is the program's PATH.
	Path string
}

// Create creates the node's control groups and namespaces. Nothing of an earlier node may remain.
func Create(ctx context.Context, checkout, settingsDigest string, network Network, logs func(string) string) (*Node, error) {
	n := &Node{
		state:  &State{Checkout: checkout, SettingsDigest: settingsDigest, Network: network, Processes: map[string]Process{}},
		logs:   logs,
		exited: map[string]chan error{},
	}
	for dir := range privateDirs {
		if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
			n.state.CreatedDirs = append(n.state.CreatedDirs, dir)
		}
	}
	if err := n.state.save(); err != nil {
		return nil, err
	}
	for dir, private := range privateDirs {
		if err := errors.Join(os.MkdirAll(dir, 0o755), os.MkdirAll(private, 0o755)); err != nil {
			return nil, err
		}
	}
	if err := createCgroups(); err != nil {
		return nil, err
	}
	if err := n.hold(ctx); err != nil {
		return nil, err
	}
	return n, connect(network, n.state.Processes[holderName].PID)
}

// hold starts the process that holds the namespaces.
func (n *Node) hold(ctx context.Context) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	if err := n.spawn(holderName, []string{self, HoldCommand}, os.Getenv("PATH")); err != nil {
		return err
	}
	holder := n.state.Processes[holderName]
	return n.WaitFor(ctx, "the node's namespaces", 10*time.Second, func(context.Context) error {
		if !isHolding(holder.PID) {
			return errors.New("they are not set up yet")
		}
		return nil
	})
}

// Start starts a program in the node. The program writes to its log and keeps running after this process exits.
func (n *Node) Start(program Program) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	holder := strconv.Itoa(n.state.Processes[holderName].PID)
	return n.spawn(program.Name, append([]string{self, EnterCommand, holder}, program.Argv...), program.Path)
}

func (n *Node) spawn(name string, argv []string, path string) error {
	log, err := logfile.Create(n.logs(name))
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()

	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir = "/"
	cmd.Env = []string{"PATH=" + path, "HOME=/root"}
	cmd.Stdout, cmd.Stderr = log, log
	// In its own session, the program does not receive the terminal's signals or its hangup.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("cannot start %s: %w", name, err)
	}
	process, err := findProcess(cmd.Process.Pid)
	if err != nil {
		return fmt.Errorf("%s exited immediately; see %s", name, n.logs(name))
	}
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }()
	n.exited[name] = exited
	n.state.Processes[name] = process
	return n.state.save()
}

// WaitFor polls ready until it returns no error. It fails after the timeout, or immediately when a program of the node
// exits.
func (n *Node) WaitFor(ctx context.Context, what string, timeout time.Duration, ready func(context.Context) error) error {
	deadline := time.Now().Add(timeout)
	for {
		err := ready(ctx)
		if err == nil {
			return nil
		}
		if exited := n.firstExited(); exited != nil {
			return exited
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s did not become ready within %s (%w); see the logs in %s", what, timeout, err, filepath.Dir(n.logs("")))
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// firstExited returns an error about a program that has exited, or nil if all are running.
func (n *Node) firstExited() error {
	for name, exited := range n.exited {
		select {
		case err := <-exited:
			if err == nil {
				err = errors.New("exit status 0")
			}
			return fmt.Errorf("%s exited (%w); the last lines of its log %s are:\n%s", name, err, n.logs(name), logfile.Tail(n.logs(name), 5))
		default:
		}
	}
	return nil
}

// MarkComplete records that all programs of the node are running.
func (n *Node) MarkComplete() error {
	if exited := n.firstExited(); exited != nil {
		return exited
	}
	n.state.Complete = true
	return n.state.save()
}

// Destroy kills the processes of a cluster, if there are any, and removes everything that the cluster created except its
// logs. It reports whether it found anything.
func Destroy() (found bool, err error) {
	const timeout = 20 * time.Second
	if found, err = exists(); err != nil || !found {
		return false, err
	}
	// The record may be lost or damaged. The control group is authoritative.
	state, _ := LoadState()
	if err := killProcesses(timeout); err != nil {
		return true, err
	}
	if err := removeCgroups(timeout); err != nil {
		return true, err
	}
	if err := disconnect(); err != nil {
		return true, err
	}
	for _, dir := range state.dirsToRemove() {
		// If something else uses the directory by now, it is not empty and stays.
		_ = os.Remove(dir)
	}
	if err := removeDataDir(); err != nil {
		return true, fmt.Errorf("cannot remove the cluster's data directory %s: %w", DataDir, err)
	}
	return true, nil
}

// removeDataDir removes the cluster's data. It removes the record last, so that the next run can complete the removal if
// this one is killed.
func removeDataDir() error {
	entries, err := os.ReadDir(DataDir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := checkNoMounts(); err != nil {
		return err
	}
	for _, entry := range entries {
		path := filepath.Join(DataDir, entry.Name())
		if path == statePath {
			continue
		}
		if err := os.RemoveAll(path); err != nil {
			return err
		}
	}
	return os.RemoveAll(DataDir)
}

// exists reports whether any part of a cluster exists, running or not.
func exists() (bool, error) {
	all, err := cgroups()
	if err != nil {
		return false, err
	}
	if len(all) > 0 {
		return true, nil
	}
	if _, err := os.Stat(DataDir); err == nil {
		return true, nil
	}
	return connected(), nil
}
