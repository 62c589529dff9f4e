package node

import (
	"fmt"
	"os"
	"strings"
	"syscall"
)

// Process identifies a process of the node. The start time distinguishes it from a later process with the same ID.
type Process struct {
	PID       int    `json:"pid"`
	StartTime string `json:"started"`
}

// findProcess returns the identity of a running process.
func findProcess(pid int) (Process, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return Process{}, err
	}
	state, started, err := parseStat(string(stat))
	if err != nil {
		return Process{}, err
	}
	if state == "Z" {
		return Process{}, syscall.ESRCH
	}
	return Process{PID: pid, StartTime: started}, nil
}

// parseStat returns the state and the start time from the content of /proc/PID/stat. The second field, the program's name,
// may contain spaces and parentheses, so fields are counted from the last closing parenthesis.
func parseStat(line string) (state, started string, err error) {
	fields := strings.Fields(line[strings.LastIndex(line, ")")+1:])
	if len(fields) < 20 {
		return "", "", fmt.Errorf("%q does not have the format of /proc/PID/stat", line)
	}
	return fields[0], fields[19], nil
}

// Alive reports whether the process is still running.
func (p Process) Alive() bool {
	now, err := findProcess(p.PID)
	return err == nil && now == p
}
