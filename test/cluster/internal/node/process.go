package node

import (
	"fmt"
	"os"
	"strings"
	"syscall"
)

// Process is a process that was started here. Its start time tells it from a later one that was given the same number.
type Process struct {
	PID     int    `json:"pid"`
	Started string `json:"started"`
}

// observe gives the identity of a running process.
func observe(pid int) (Process, error) {
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
	return Process{PID: pid, Started: started}, nil
}

// parseStat takes the state and the start time from a line of /proc/PID/stat. The second field, the program's name, may
// hold spaces and brackets, so that fields are counted from the last closing bracket.
func parseStat(line string) (state, started string, err error) {
	fields := strings.Fields(line[strings.LastIndex(line, ")")+1:])
	if len(fields) < 20 {
		return "", "", fmt.Errorf("%q is not a line of /proc/PID/stat", line)
	}
	return fields[0], fields[19], nil
}

// Alive tells whether this very process still runs.
func (p Process) Alive() bool {
	now, err := observe(p.PID)
	return err == nil && now == p
}
