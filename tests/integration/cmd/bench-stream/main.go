// Command bench-stream measures streams through two nodes, with all plugs as
// separate processes: linked over TCP, handing sockets over and relaying, and over
// the other media; beside raw quic-go over
// UDP loopback between two processes (same cipher and windows, segment offload on)
// and bare TCP loopback between two processes. They take turns in one run, so that
// ratios mean something on a shared machine. CPU is that of all processes in the
// way, per GB. Datagrams go through the UDP proxies, beside bare UDP.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
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

// The modes in which plugs carry bytes.
const (
	handoff = "handoff"
	relay   = "relay"
)

// medium is what two nodes are linked over.
type medium struct {
	name           string
	program        string              // its backend
	listener, peer string              // the kinds of its items
	scheme         string              // of the peer's address; empty: host:port
	free           func() (int, error) // a port that nobody listens on
}

// ways are the ways in which two nodes are joined: over each medium, and in both
// modes where there is a difference.
func ways() []way {
	tcp := medium{"tcp", "receptor-backend-tcp", "tcp-listener", "tcp-peer", "", lab.FreePort}
	return []way{
		{handoff, handoff, tcp},
		{relay, relay, tcp},
		{"udp", handoff, medium{"udp", "receptor-backend-udp", "udp-listener", "udp-peer", "", lab.FreeUDPPort}},
		{"ws", handoff, medium{"ws", "receptor-backend-ws", "ws-listener", "ws-peer", "ws://", lab.FreePort}},
	}
}

// way is one of them, with its name in what is printed.
type way struct {
	name, mode string
	medium     medium
}

// result is one transfer.
type result struct {
	seconds float64
	cpu     map[string]float64 // seconds by group of processes
}

func bench(ctx context.Context) error {
	bin := flag.String("bin", "bin", "directory of the built programs")
	stall := flag.Bool("stall", false, "only what streams lose while others stand still")
	onlyDatagrams := flag.Bool("datagrams", false, "only datagrams through the UDP proxies")
	size := flag.Int64("size", 1<<30, "bytes of a transfer")
	rounds := flag.Int("rounds", 5, "transfers of each kind, taking turns; 0: only what streams cost that carry little")
	flag.Parse()
	ctx, cancel := context.WithTimeout(ctx, 30*time.Minute)
	defer cancel()

	l, err := lab.New(lab.Programs{Dir: *bin})
	if err != nil {
		return err
	}
	if !*onlyDatagrams {
		err = compare(ctx, l, *size, *rounds, *stall)
	}
	if err == nil && !*stall && *rounds > 0 {
		err = datagrams(ctx, l, *rounds)
	}
	return errors.Join(err, l.Close())
}

// kind is one way to carry bytes.
type kind struct {
	name    string
	streams int
	run     func() (result, error)
	results []result
}

func compare(ctx context.Context, l *lab.Lab, size int64, rounds int, onlyStall bool) error {
	ends := map[string]*role{}
	for _, name := range []string{"sink", "echo", "deaf", "quic-sink"} {
		r, err := startRole(ctx, name)
		if err != nil {
			return err
		}
		defer r.Kill()
		ends[name] = r
	}
	var meshes []*mesh
	for _, w := range ways() {
		m, err := startMesh(ctx, l, w.name, w, ends)
		if err != nil {
			return err
		}
		meshes = append(meshes, m)
	}
	if rounds > 0 && !onlyStall {
		if err := bulk(ctx, meshes, ends, size, rounds); err != nil {
			return err
		}
	}
	if rounds > 0 {
		if err := stalls(ctx, meshes, ends["sink"].Process, size, rounds); err != nil {
			return err
		}
	}
	if onlyStall {
		return nil
	}
	echo := ends["echo"]
	bare := &mesh{name: "bare TCP", echo: echo.addr} // what the ends do by themselves
	for _, m := range append([]*mesh{bare}, meshes...) {
		s, err := measureSmall(ctx, m.echo, m.procs, echo.PID())
		if err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
		fmt.Printf("%-8s echo p50 %v p99 %v; new streams %.0f/s, CPU of each: cores %.0f µs, plugs %.0f µs, ends %.0f µs\n",
			m.name, s.p50.Round(time.Microsecond), s.p99.Round(time.Microsecond), s.perSecond,
			s.perOpen["cores"]*1e6, s.perOpen["plugs"]*1e6, s.perOpen["ends"]*1e6)
	}
	for _, w := range ways() {
		if w.medium.name != "tcp" {
			continue // what a stream holds is not a matter of the medium
		}
		m, err := startMesh(ctx, l, "idle-"+w.name, w, ends)
		if err != nil {
			return err
		}
		per, err := memoryPerStream(ctx, m)
		if err != nil {
			return fmt.Errorf("memory of open streams, %s: %w", w.name, err)
		}
		fmt.Printf("%-8s resident memory of an open stream, both nodes: cores %.1f kB, plugs %.1f kB\n",
			w.name, float64(per["cores"])/1000, float64(per["plugs"])/1000)
	}
	return nil
}

// bulk lets the ways to carry bytes take turns and prints their medians.
func bulk(ctx context.Context, meshes []*mesh, ends map[string]*role, size int64, rounds int) error {
	raw := &kind{name: "raw quic-go over UDP loopback", streams: 1, run: func() (result, error) {
		return transfer(ctx, "quic-source", ends["quic-sink"].addr, size, 1, ends["quic-sink"].Process, nil)
	}}
	kinds := []*kind{raw, {name: "bare TCP loopback", streams: 1, run: func() (result, error) {
		return transfer(ctx, "source", ends["sink"].addr, size, 1, ends["sink"].Process, nil)
	}}}
	for _, m := range meshes {
		for _, streams := range []int{1, 8} {
			kinds = append(kinds, &kind{name: "receptor, 2 nodes, " + m.name, streams: streams, run: func() (result, error) {
				return transfer(ctx, "source", m.sink, size, streams, ends["sink"].Process, m.procs)
			}})
		}
	}
	for round := range rounds {
		for _, k := range kinds {
			r, err := k.run()
			if err != nil {
				return fmt.Errorf("%s, %d streams: %w", k.name, k.streams, err)
			}
			fmt.Printf("round %d  %-32s streams %d %7.2f Gbit/s\n", round+1, k.name, k.streams, gbits(size, r.seconds))
			k.results = append(k.results, r)
		}
	}
	fmt.Printf("\nmedians of %d rounds of %d MiB\n", rounds, size>>20)
	fmt.Printf("%-32s %7s %8s %8s %9s   %s\n", "", "streams", "Gbit/s", "of raw", "CPU s/GB", "of which")
	for _, k := range kinds {
		m := median(k.results)
		fmt.Printf("%-32s %7d %8.2f %8.2f %9.2f   %s\n", k.name, k.streams, gbits(size, m.seconds),
			median(raw.results).seconds/m.seconds, total(m.cpu)/gb(size), perGroup(m.cpu, size))
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
