package lab

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Child is a process that a process of ours has started.
type Child struct {
	PID     int
	Program string // base name of its executable
}

// Children lists the children of a process, from /proc.
func Children(parent int) ([]Child, error) {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil, err
	}
	var children []Child
	for _, name := range stats {
		data, err := os.ReadFile(name)
		if err != nil {
			continue // ended meanwhile
		}
		// pid (comm) state ppid ...; comm may hold anything, so look behind its end.
		text := string(data)
		fields := strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
		if len(fields) < 2 || fields[0] == "Z" || fields[1] != strconv.Itoa(parent) {
			continue
		}
		pid, err := strconv.Atoi(strings.Fields(text)[0])
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		exe, err := os.Readlink(filepath.Join(filepath.Dir(name), "exe"))
		if err != nil {
			continue
		}
		children = append(children, Child{PID: pid, Program: filepath.Base(exe)})
	}
	return children, nil
}
