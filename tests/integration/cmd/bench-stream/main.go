// Command bench-stream measures one stream through two nodes, with all plugs as
// separate processes, beside raw quic-go over UDP loopback between two processes
// (same cipher and windows, segment offload on) and bare TCP loopback between
// two processes. The three take turns in one run, so that ratios mean something
// on a shared machine. CPU is that of all processes in the way, per GB.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/project-receptor/receptor/tests/integration/lab"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var err error
	if len(os.Args) > 1 && roles[os.Args[1]] != nil {
		err = roles[os.Args[1]](ctx, os.Args[2:])
	} else {
		err = bench(ctx)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench-stream:", err)
		os.Exit(1)
	}
}

// result is one transfer.
type result struct {
	seconds float64
	cpu     map[string]float64 // seconds by group of processes
}

func bench(ctx context.Context) error {
	bin := flag.String("bin", "bin", "directory of the built programs")
	size := flag.Int64("size", 1<<30, "bytes of a transfer")
	rounds := flag.Int("rounds", 5, "transfers of each kind, taking turns")
	flag.Parse()
	ctx, cancel := context.WithTimeout(ctx, 20*time.Minute)
	defer cancel()

	l, err := lab.New(lab.Programs{Dir: *bin})
	if err != nil {
		return err
	}
	err = compare(ctx, l, *size, *rounds)
	return errors.Join(err, l.Close())
}

func compare(ctx context.Context, l *lab.Lab, size int64, rounds int) error {
	sink, err := startRole(ctx, "sink")
	if err != nil {
		return err
	}
	defer sink.Kill()
	quic, err := startRole(ctx, "quic-sink")
	if err != nil {
		return err
	}
	defer quic.Kill()
	mesh, err := startMesh(ctx, l, sink.addr)
	if err != nil {
		return err
	}

	kinds := []struct {
		name string
		run  func() (result, error)
	}{
		{"receptor, 2 nodes, all plugs separate", func() (result, error) {
			return transfer(ctx, "source", mesh.addr, size, sink.Process, mesh.groups())
		}},
		{"raw quic-go over UDP loopback", func() (result, error) {
			return transfer(ctx, "quic-source", quic.addr, size, quic.Process, nil)
		}},
		{"bare TCP loopback", func() (result, error) {
			return transfer(ctx, "source", sink.addr, size, sink.Process, nil)
		}},
	}
	results := make([][]result, len(kinds))
	for round := range rounds {
		for i, k := range kinds {
			r, err := k.run()
			if err != nil {
				return fmt.Errorf("%s: %w", k.name, err)
			}
			fmt.Printf("round %d  %-40s %6.2f Gbit/s\n", round+1, k.name, gbits(size, r.seconds))
			results[i] = append(results[i], r)
		}
	}

	fmt.Printf("\nmedians of %d rounds of %d MiB\n", rounds, size>>20)
	fmt.Printf("%-40s %8s %8s %10s   %s\n", "", "Gbit/s", "of raw", "CPU s/GB", "of which")
	raw := median(results[1]).seconds
	for i, k := range kinds {
		m := median(results[i])
		fmt.Printf("%-40s %8.2f %8.2f %10.2f   %s\n", k.name, gbits(size, m.seconds), raw/m.seconds, total(m.cpu)/gb(size), perGroup(m.cpu, size))
	}
	return nil
}

func gb(size int64) float64                     { return float64(size) / 1e9 }
func gbits(size int64, seconds float64) float64 { return float64(size) * 8 / seconds / 1e9 }

// median returns the result in the middle by time.
func median(rs []result) result {
	rs = slices.Clone(rs)
	slices.SortFunc(rs, func(a, b result) int { return int((a.seconds - b.seconds) * 1e9) })
	return rs[len(rs)/2]
}

func total(cpu map[string]float64) float64 {
	var t float64
	for _, s := range cpu {
		t += s
	}
	return t
}

func perGroup(cpu map[string]float64, size int64) string {
	var names []string
	for n := range cpu {
		names = append(names, n)
	}
	slices.Sort(names)
	var s string
	for _, n := range names {
		s += fmt.Sprintf("%s %.2f  ", n, cpu[n]/gb(size))
	}
	return s
}

// mesh is two nodes with a service on one and a port on the other.
type mesh struct {
	addr     string
	launcher []*lab.Process
}

func startMesh(ctx context.Context, l *lab.Lab, target string) (*mesh, error) {
	link, err := lab.FreePort()
	if err != nil {
		return nil, err
	}
	port, err := lab.FreePort()
	if err != nil {
		return nil, err
	}
	m := &mesh{addr: lab.Local(port)}
	for _, args := range [][]string{
		{
			"--node", "id=near", "--tcp-listener", "port=" + strconv.Itoa(link), "bindaddr=127.0.0.1",
			"--tcp-server", "port=" + strconv.Itoa(port), "bindaddr=127.0.0.1", "remotenode=far", "remoteservice=sink",
		},
		{"--node", "id=far", "--tcp-peer", "address=" + lab.Local(link), "--tcp-client", "service=sink", "address=" + target},
	} {
		p, err := l.Start("receptor", args...)
		if err != nil {
			return nil, err
		}
		m.launcher = append(m.launcher, p)
	}
	if err := l.WaitRoute(ctx, "near", "far"); err != nil {
		return nil, err
	}
	return m, l.WaitStatus(ctx, "far", func(s *lab.Status) bool { return s.Item("tcp-client service=sink").State == "up" })
}

// groups are the processes in the way, by what they are.
func (m *mesh) groups() map[string][]int {
	g := map[string][]int{}
	for _, p := range m.launcher {
		g["launchers"] = append(g["launchers"], p.PID())
		children, err := lab.Children(p.PID())
		if err != nil {
			continue // nothing to measure: the sum shows it
		}
		for _, c := range children {
			name := "plugs"
			if c.Program == "receptor-core" {
				name = "cores"
			}
			g[name] = append(g[name], c.PID)
		}
	}
	return g
}
