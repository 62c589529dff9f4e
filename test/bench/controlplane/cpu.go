package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// tick is the unit of CPU times in /proc (sysconf(_SC_CLK_TCK)).
const tick = time.Second / 100

// cpuOf returns the CPU time so far of all children of this process with one of these
// names.
func cpuOf(names ...string) (time.Duration, error) {
	files, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return 0, fmt.Errorf("list the processes: %w", err)
	}
	total := time.Duration(0)
	for _, file := range files {
		// A process that has ended meanwhile cannot be read, and is none of ours.
		if raw, err := os.ReadFile(file); err == nil {
			total += cpuOfChild(string(raw), os.Getpid(), names)
		}
	}
	return total, nil
}

// cpuOfChild returns the user and system time in the content of a file stat, or zero for
// that of another process. See proc_pid_stat(5).
func cpuOfChild(stat string, parent int, names []string) time.Duration {
	before, after, _ := strings.Cut(stat, ") ")
	_, name, _ := strings.Cut(before, "(")
	fields := strings.Fields(after)
	if len(fields) < 13 || fields[1] != strconv.Itoa(parent) {
		return 0
	}
	for _, wanted := range names {
		if name == wanted[:min(len(wanted), 15)] {
			user, _ := strconv.Atoi(fields[11])
			system, _ := strconv.Atoi(fields[12])
			return time.Duration(user+system) * tick
		}
	}
	return 0
}
