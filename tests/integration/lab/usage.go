package lab

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Usage is what a process uses.
type Usage struct {
	Descriptors int
	RSS         int // KiB
	Threads     int
}

// UsageOf reads it from /proc.
func UsageOf(pid int) (Usage, error) {
	dir := filepath.Join("/proc", strconv.Itoa(pid))
	fds, err := os.ReadDir(filepath.Join(dir, "fd"))
	if err != nil {
		return Usage{}, err
	}
	u := Usage{Descriptors: len(fds)}
	f, err := os.Open(filepath.Join(dir, "status"))
	if err != nil {
		return Usage{}, err
	}
	defer f.Close()
	for in := bufio.NewScanner(f); in.Scan(); {
		key, value, _ := strings.Cut(in.Text(), ":")
		field := map[string]*int{"VmRSS": &u.RSS, "Threads": &u.Threads}[key]
		if field == nil {
			continue
		}
		if *field, err = strconv.Atoi(strings.Fields(value)[0]); err != nil {
			return Usage{}, fmt.Errorf("%s of %d: %w", key, pid, err)
		}
	}
	return u, nil
}
