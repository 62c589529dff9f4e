// Package node keeps the processes of the one-node cluster apart from the rest of the machine: in a control group by
// which they are found and ended, and in namespaces that the kernel removes with them.
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

// Node is a node that is being brought up, or runs.
type Node struct {
	state *State
	// logs gives the path of a program's log.
	logs func(name string) string
	// ended receives a program's way of ending, as long as this process lives to see it.
	ended map[string]chan error
}

// Program is one of the programs that the node is made of.
type Program struct {
	Name string
	Argv []string
	// Path is the PATH that the program finds others on.
	Path string
}

// Create makes the node's groups and namespaces. There must be nothing left of an earlier one.
func Create(ctx context.Context, checkout, setup string, network Network, logs func(string) string) (*Node, error) {
	n := &Node{
		state: &State{Checkout: checkout, Setup: setup, Network: network, Processes: map[string]Process{}},
		logs:  logs,
		ended: map[string]chan error{},
	}
	for folder := range privateFolders {
		if _, err := os.Stat(folder); errors.Is(err, os.ErrNotExist) {
			n.state.MadeFolders = append(n.state.MadeFolders, folder)
		}
	}
	if err := n.state.save(); err != nil {
		return nil, err
	}
	for folder, private := range privateFolders {
		if err := errors.Join(os.MkdirAll(folder, 0o755), os.MkdirAll(private, 0o755)); err != nil {
			return nil, err
		}
	}
	if err := makeCgroups(); err != nil {
		return nil, err
	}
	if err := n.hold(ctx); err != nil {
		return nil, err
	}
	return n, connect(network, n.state.Processes[holderName].PID)
}

// hold starts the process that keeps the namespaces.
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

// Start starts a program in the node. It runs on when this process ends, and writes to its log.
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
	// A session of its own keeps the terminal's signals, and its end, away from the program.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("cannot start %s: %w", name, err)
	}
	process, err := observe(cmd.Process.Pid)
	if err != nil {
		return fmt.Errorf("%s ended at once; see %s", name, n.logs(name))
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	n.ended[name] = ended
	n.state.Processes[name] = process
	return n.state.save()
}

// WaitFor waits until ready gives no error. It gives up when the time is over, and at once when a program of the node ends.
func (n *Node) WaitFor(ctx context.Context, what string, patience time.Duration, ready func(context.Context) error) error {
	deadline := time.Now().Add(patience)
	for {
		err := ready(ctx)
		if err == nil {
			return nil
		}
		if ended := n.firstEnded(); ended != nil {
			return ended
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s did not come up within %s (%w); the logs are in %s", what, patience, err, filepath.Dir(n.logs("")))
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (n *Node) firstEnded() error {
	for name, ended := range n.ended {
		select {
		case err := <-ended:
			if err == nil {
				err = errors.New("without a failure")
			}
			return fmt.Errorf("%s ended (%w); its log %s ends with:\n%s", name, err, n.logs(name), logfile.Tail(n.logs(name), 5))
		default:
		}
	}
	return nil
}

// Complete records that all programs of the node run.
func (n *Node) Complete() error {
	if ended := n.firstEnded(); ended != nil {
		return ended
	}
	n.state.Complete = true
	return n.state.save()
}

// Destroy ends what there is of a cluster, running or not, and removes what it left. It tells whether there was anything.
func Destroy() (found bool, err error) {
	const patience = 20 * time.Second
	if found, err = remains(); err != nil || !found {
		return false, err
	}
	// The record may be lost or damaged; the control group is what decides.
	state, _ := LoadState()
	if err := killMembers(patience); err != nil {
		return true, err
	}
	if err := removeCgroups(patience); err != nil {
		return true, err
	}
	if err := disconnect(); err != nil {
		return true, err
	}
	for _, folder := range state.foldersToRemove() {
		// A folder that something else has come to use is not empty, and stays.
		_ = os.Remove(folder)
	}
	if err := removeHome(); err != nil {
		return true, fmt.Errorf("cannot remove %s, where the cluster kept its data: %w", Home, err)
	}
	return true, nil
}

// removeHome removes the cluster's data, the record of it last, so that a run that is killed meanwhile is finished by the next.
func removeHome() error {
	entries, err := os.ReadDir(Home)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := refuseMounts(); err != nil {
		return err
	}
	for _, entry := range entries {
		path := filepath.Join(Home, entry.Name())
		if path == statePath {
			continue
		}
		if err := os.RemoveAll(path); err != nil {
			return err
		}
	}
	return os.RemoveAll(Home)
}

// remains tells whether there is anything of a cluster, running or not.
func remains() (bool, error) {
	all, err := groups()
	if err != nil {
		return false, err
	}
	if len(all) > 0 {
		return true, nil
	}
	if _, err := os.Stat(Home); err == nil {
		return true, nil
	}
	return connected(), nil
}
