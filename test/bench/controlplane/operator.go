package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// operator is a process.
type operator struct {
	cmd    *exec.Cmd
	log    bytes.Buffer
	exited chan error
}

// startOperator starts an operator without webhooks, metrics and probes, with the settings
// of Go's garbage collector in deploy/manager/deployment.yaml.
func startOperator(ctx context.Context, path, kubeconfig string) (*operator, error) {
	o := &operator{exited: make(chan error, 1)}
	o.cmd = exec.CommandContext(ctx, path, "--webhook-bind-address=0", "--metrics-bind-address=0", "--health-probe-bind-address=0", "--log-level=error")
	o.cmd.Env = append(os.Environ(), "KUBECONFIG="+kubeconfig, "GOMEMLIMIT=460MiB", "GOGC=15")
	o.cmd.Stdout, o.cmd.Stderr = &o.log, &o.log
	if err := o.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the operator: %w", err)
	}
	go func() { o.exited <- o.cmd.Wait() }()
	return o, nil
}

// stop stops the operator, and returns how much CPU time it has used.
func (o *operator) stop() (time.Duration, error) {
	_ = o.cmd.Process.Signal(syscall.SIGTERM)
	err := <-o.exited
	if err != nil {
		err = fmt.Errorf("the operator stopped: %w\n%s", err, o.log.String())
	}
	return o.cmd.ProcessState.UserTime() + o.cmd.ProcessState.SystemTime(), err
}

// memory returns the resident memory of the operator in bytes, now and at its peak.
func (o *operator) memory() (now, peak int64, err error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", o.cmd.Process.Pid))
	if err != nil {
		return 0, 0, fmt.Errorf("the operator does not run: %w\n%s", err, o.log.String())
	}
	for line := range strings.Lines(string(raw)) {
		for name, value := range map[string]*int64{"VmRSS:": &now, "VmHWM:": &peak} {
			if text, found := strings.CutPrefix(line, name); found {
				if _, err := fmt.Sscanf(text, "%d kB", value); err != nil {
					return 0, 0, fmt.Errorf("read the memory of the operator: %w", err)
				}
				*value <<= 10
			}
		}
	}
	return now, peak, nil
}
