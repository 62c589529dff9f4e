package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// scenario is the state of the model and the registry before a build.
type scenario string

const (
	first      scenario = "first"
	oneChanged scenario = "one-changed"
	unchanged  scenario = "unchanged"
)

var scenarios = []scenario{first, oneChanged, unchanged}

// measurement is the cost of building one image.
type measurement struct {
	builder  string
	scenario scenario
	wall     time.Duration
	// cpu is the CPU time of the builder, without that of the registry.
	cpu time.Duration
	// memory is the peak resident set of its largest process, in bytes.
	memory int64
	// read and written are the bytes of its system calls, including sockets, and
	// sent the bytes that were sent to the registry.
	read, written, sent int64
}

// meter runs commands one after the other and returns their total cost. It syncs
// the file systems first: Kaniko waits for the disk between its layers, and would
// also wait for earlier writes.
func meter(ctx context.Context, registry string, commands []*command) (measurement, error) {
	var total measurement
	unix.Sync()
	sentBefore, err := sentBytes(registry)
	if err != nil {
		return total, err
	}
	for _, c := range commands {
		if err := c.runMeasured(ctx, &total); err != nil {
			return total, err
		}
	}
	sentAfter, err := sentBytes(registry)
	total.sent = sentAfter - sentBefore
	return total, err
}

// command is a program with its arguments and working directory.
type command struct {
	args []string
	dir  string
}

func (c *command) runMeasured(ctx context.Context, total *measurement) error {
	before, err := ioCounts()
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, c.args[0], c.args[1:]...)
	cmd.Dir = c.dir
	start := time.Now()
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("%s: %w", c.args[0], err)
	}
	exited := make(chan struct{})
	largest := make(chan int64)
	go func() { largest <- maxPeakRSS(cmd.Process.Pid, exited) }()
	err = cmd.Wait()
	total.wall += time.Since(start)
	close(exited)
	total.memory = max(total.memory, <-largest)
	if err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(c.args, " "), err, out.String())
	}
	total.cpu += cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	after, err := ioCounts()
	total.read += after[0] - before[0]
	total.written += after[1] - before[1]
	return err
}

// sampleInterval is the interval at which the peak memory of processes is read.
const sampleInterval = 10 * time.Millisecond

// maxPeakRSS returns the largest peak resident set, in bytes, of a process and
// its descendants. It samples, because the kernel's count for a process that has
// exited includes the memory of the process that forked it.
func maxPeakRSS(pid int, exited <-chan struct{}) (largest int64) {
	next := time.NewTicker(sampleInterval)
	defer next.Stop()
	for {
		for _, process := range append(descendants(pid), pid) {
			largest = max(largest, peakRSS(process))
		}
		select {
		case <-exited:
			return largest
		case <-next.C:
		}
	}
}

// descendants returns the IDs of a process's children and their descendants.
func descendants(pid int) (all []int) {
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		return nil
	}
	for _, thread := range threads {
		raw, err := os.ReadFile(thread)
		if err != nil {
			continue // The thread has exited.
		}
		for field := range strings.FieldsSeq(string(raw)) {
			if child, err := strconv.Atoi(field); err == nil {
				all = append(append(all, child), descendants(child)...)
			}
		}
	}
	return all
}

// peakRSS returns the peak resident set of a process, or 0 if it has exited.
func peakRSS(pid int) int64 {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(raw), "VmHWM:")
	var kibibytes int64
	if _, err := fmt.Sscan(rest, &kibibytes); err != nil {
		return 0
	}
	return kibibytes << 10
}

// ioCounts returns the bytes that this process and the children that it has
// waited for have read and written (proc(5)).
func ioCounts() (counts [2]int64, err error) {
	raw, err := os.ReadFile("/proc/self/io")
	if err != nil {
		return counts, fmt.Errorf("count bytes: %w", err)
	}
	for line := range strings.SplitSeq(string(raw), "\n") {
		name, value, _ := strings.Cut(line, ": ")
		for i, wanted := range []string{"rchar", "wchar"} {
			if name == wanted {
				if counts[i], err = strconv.ParseInt(value, 10, 64); err != nil {
					return counts, fmt.Errorf("count bytes: %w", err)
				}
			}
		}
	}
	return counts, nil
}

// sentBytes returns the transmitted bytes of the network interface that routes
// to the registry.
func sentBytes(registry string) (int64, error) {
	connection, err := net.Dial("udp", registry)
	if err != nil {
		return 0, fmt.Errorf("find the way to the registry: %w", err)
	}
	defer func() { _ = connection.Close() }()
	local, _, err := net.SplitHostPort(connection.LocalAddr().String())
	if err != nil {
		return 0, fmt.Errorf("find the way to the registry: %w", err)
	}
	interfaces, err := net.Interfaces()
	if err != nil {
		return 0, fmt.Errorf("find the way to the registry: %w", err)
	}
	for _, i := range interfaces {
		addresses, _ := i.Addrs()
		for _, address := range addresses {
			if !strings.HasPrefix(address.String(), local+"/") {
				continue
			}
			raw, err := os.ReadFile(filepath.Join("/sys/class/net", i.Name, "statistics/tx_bytes"))
			if err != nil {
				return 0, fmt.Errorf("count sent bytes: %w", err)
			}
			return strconv.ParseInt(strings.TrimSpace(string(raw)), 10, 64)
		}
	}
	return 0, fmt.Errorf("no interface has the address %s", local)
}
