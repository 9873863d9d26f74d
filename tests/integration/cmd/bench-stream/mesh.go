package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/project-receptor/receptor/tests/integration/lab"
)

// mesh is two nodes, each with its core and its plugs as processes of their own:
// at the near one ports, at the far one services behind them.
type mesh struct {
	name  string // in what is printed
	sink  string // address that leads to the sink
	echo  string // address that leads to the echo
	deaf  string // address that leads to what never reads
	procs map[string][]int
}

// startMesh starts the nodes, whose names end in name, and waits until they are joined.
func startMesh(ctx context.Context, l *lab.Lab, name string, w way, ends map[string]*role) (*mesh, error) {
	var ports [4]int
	for i := range ports {
		var err error
		free := lab.FreePort
		if i == 0 {
			free = w.medium.free
		}
		if ports[i], err = free(); err != nil {
			return nil, err
		}
	}
	m := &mesh{
		name: w.name, sink: lab.Local(ports[1]), echo: lab.Local(ports[2]), deaf: lab.Local(ports[3]),
		procs: map[string][]int{},
	}
	near, far := "near-"+name, "far-"+name
	items := map[string][]string{
		near: {
			"--" + w.medium.listener, "port=" + strconv.Itoa(ports[0]), "bindaddr=127.0.0.1",
			"--tcp-server", "port=" + strconv.Itoa(ports[1]), "bindaddr=127.0.0.1", "remotenode=" + far, "remoteservice=sink",
			"--tcp-server", "port=" + strconv.Itoa(ports[2]), "bindaddr=127.0.0.1", "remotenode=" + far, "remoteservice=echo",
			"--tcp-server", "port=" + strconv.Itoa(ports[3]), "bindaddr=127.0.0.1", "remotenode=" + far, "remoteservice=deaf",
		},
		far: {
			"--" + w.medium.peer, "address=" + w.medium.scheme + lab.Local(ports[0]),
			"--tcp-client", "service=sink", "address=" + ends["sink"].addr,
			"--tcp-client", "service=echo", "address=" + ends["echo"].addr,
			"--tcp-client", "service=deaf", "address=" + ends["deaf"].addr,
		},
	}
	for _, node := range []string{near, far} {
		if err := m.startNode(l, node, w.mode, []string{w.medium.program, "receptor-proxy-tcp"}, items[node]...); err != nil {
			return nil, err
		}
	}
	if err := l.WaitRoute(ctx, near, far); err != nil {
		return nil, err
	}
	return m, l.WaitStatus(ctx, far, func(s *lab.Status) bool {
		for _, service := range []string{"sink", "echo", "deaf"} {
			if s.Item("tcp-client service="+service).State != "up" {
				return false
			}
		}
		return true
	})
}

// startNode starts a core with items, and its plugs.
func (m *mesh) startNode(l *lab.Lab, node, mode string, programs []string, items ...string) error {
	core, err := l.Start("receptor-core", append([]string{"--node", "id=" + node}, items...)...)
	if err != nil {
		return err
	}
	m.procs["cores"] = append(m.procs["cores"], core.PID())
	for _, program := range programs {
		args := []string{"--socket", l.PlugSocket(node)}
		if mode == relay {
			args = append(args, "--no-handoff")
		}
		plug, err := l.Start(program, args...)
		if err != nil {
			return err
		}
		m.procs["plugs"] = append(m.procs["plugs"], plug.PID())
	}
	return nil
}

// memory is the resident memory of the mesh's processes in bytes, by group.
func (m *mesh) memory() (map[string]int64, error) {
	sums := map[string]int64{}
	for name, pids := range m.procs {
		for _, pid := range pids {
			data, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "statm"))
			if err != nil {
				return nil, err
			}
			fields := strings.Fields(string(data))
			if len(fields) < 2 {
				return nil, fmt.Errorf("memory of process %d: %q", pid, data)
			}
			pages, err := strconv.ParseInt(fields[1], 10, 64)
			if err != nil {
				return nil, err
			}
			sums[name] += pages * int64(os.Getpagesize())
		}
	}
	return sums, nil
}
