package main

import (
	"context"
	"os"
	"os/exec"
	"strconv"
	"strings"

	"github.com/project-receptor/receptor/tests/integration/lab"
)

// role is this program again, as one end of a transfer.
type role struct {
	*lab.Process
	addr string
}

// startRole starts this program as a server that prints where it listens.
func startRole(ctx context.Context, name string) (*role, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p, err := lab.Start(name, exec.Command(self, name))
	if err != nil {
		return nil, err
	}
	if err := p.WaitOutput(ctx, "\n"); err != nil {
		p.Kill()
		return nil, err
	}
	line, _, _ := strings.Cut(p.Output(), "\n")
	return &role{Process: p, addr: line}, nil
}

// transfer runs a source against addr, with the bytes shared out to that many
// streams at once, and returns its time and the CPU time that
// the source, the sink and the processes between them took.
func transfer(ctx context.Context, source, addr string, size int64, streams int, sink *lab.Process, between map[string][]int) (result, error) {
	self, err := os.Executable()
	if err != nil {
		return result{}, err
	}
	groups := map[string][]int{"ends": {sink.PID()}}
	for name, pids := range between {
		groups[name] = pids
	}
	before, err := cpuSeconds(groups)
	if err != nil {
		return result{}, err
	}
	cmd := exec.CommandContext(ctx, self, source, addr, strconv.FormatInt(size, 10), strconv.Itoa(streams))
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return result{}, err
	}
	seconds, err := strconv.ParseFloat(strings.TrimSpace(string(out)), 64)
	if err != nil {
		return result{}, err
	}
	after, err := cpuSeconds(groups)
	if err != nil {
		return result{}, err
	}
	r := result{seconds: seconds, cpu: map[string]float64{}}
	for name := range groups {
		r.cpu[name] = after[name] - before[name]
	}
	r.cpu["ends"] += (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds()
	return r, nil
}

// cpuSeconds reads user and system time of groups of processes.
func cpuSeconds(groups map[string][]int) (map[string]float64, error) {
	sums := map[string]float64{}
	for name, pids := range groups {
		for _, pid := range pids {
			seconds, err := lab.CPUSeconds(pid)
			if err != nil {
				return nil, err
			}
			sums[name] += seconds
		}
	}
	return sums, nil
}
