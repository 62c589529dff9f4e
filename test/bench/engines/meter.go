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

// occasion is when an image is made.
type occasion string

const (
	first      occasion = "first"
	oneChanged occasion = "one-changed"
	unchanged  occasion = "unchanged"
)

var occasions = []occasion{first, oneChanged, unchanged}

// measurement is what it cost to make one image.
type measurement struct {
	maker string
	when  occasion
	wall  time.Duration
	// cpu is that of the maker, and not of the registry, which shares the cores.
	cpu time.Duration
	// memory is the largest resident set of any of its processes, in bytes.
	memory int64
	// read and written are the bytes of its system calls, sockets included, and
	// sent those that left for the registry.
	read, written, sent int64
}

// meter runs commands one after the other and adds up what they cost. What was
// written before is on the disk by then: Kaniko waits for the disk between its
// layers, and would wait for that.
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

// command is a program with its arguments.
type command struct {
	args []string
	dir  string
}

func (c *command) runMeasured(ctx context.Context, total *measurement) error {
	before, err := ownInput()
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, c.args[0], c.args[1:]...)
	cmd.Dir = c.dir
	began := time.Now()
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("%s: %w", c.args[0], err)
	}
	ended := make(chan struct{})
	largest := make(chan int64)
	go func() { largest <- largestSet(cmd.Process.Pid, ended) }()
	err = cmd.Wait()
	total.wall += time.Since(began)
	close(ended)
	total.memory = max(total.memory, <-largest)
	if err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(c.args, " "), err, out.String())
	}
	total.cpu += cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	after, err := ownInput()
	total.read += after[0] - before[0]
	total.written += after[1] - before[1]
	return err
}

// sampleEvery is how often a process is asked for the most memory that it had.
const sampleEvery = 10 * time.Millisecond

// largestSet is the largest resident set of a process or one that it has
// started, in bytes. What the system counts for a process that has ended begins
// with the memory of the one that has started it.
func largestSet(pid int, ended <-chan struct{}) (largest int64) {
	next := time.NewTicker(sampleEvery)
	defer next.Stop()
	for {
		for _, process := range append(descendants(pid), pid) {
			largest = max(largest, highWater(process))
		}
		select {
		case <-ended:
			return largest
		case <-next.C:
		}
	}
}

// descendants are the processes that a process has started, and theirs.
func descendants(pid int) (all []int) {
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		return nil
	}
	for _, thread := range threads {
		raw, err := os.ReadFile(thread)
		if err != nil {
			continue // It has ended since.
		}
		for word := range strings.FieldsSeq(string(raw)) {
			if child, err := strconv.Atoi(word); err == nil {
				all = append(append(all, child), descendants(child)...)
			}
		}
	}
	return all
}

// highWater is the largest resident set that a process had, or 0 if it is gone.
func highWater(pid int) int64 {
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

// ownInput is what this process, and those that it has waited for, have read and
// written (proc(5)).
func ownInput() (counts [2]int64, err error) {
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

// sentBytes is how many bytes have left through the interface that leads to the
// registry.
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
				return 0, fmt.Errorf("count what is sent: %w", err)
			}
			return strconv.ParseInt(strings.TrimSpace(string(raw)), 10, 64)
		}
	}
	return 0, fmt.Errorf("no interface has the address %s", local)
}
