//go:build linux

// Command bench-junk measures what connections that are no neighbours take from a
// stream that stands: goodput without any, with so many a second to a program that
// accepts and closes, which is what the machine and their maker take, and with as
// many to the listener that the stream's link came in by. They take turns in one
// run, so that ratios mean something on a shared machine. In the end a node joins
// in the midst of them.
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
	switch {
	case len(os.Args) > 1 && os.Args[1] == "flood":
		err = flood(ctx, os.Args[2:])
	case len(os.Args) > 1 && os.Args[1] == "stranger":
		err = stranger(ctx)
	default:
		err = bench(ctx)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench-junk:", err)
		os.Exit(1)
	}
}

// settings are the flags.
type settings struct {
	bin     string
	medium  string
	sort    string
	rate    int
	sources int
	nice    int
	rounds  int
	turn    time.Duration
}

func bench(ctx context.Context) error {
	var s settings
	flag.StringVar(&s.bin, "bin", "bin", "directory of the built programs")
	flag.StringVar(&s.medium, "medium", "tcp", "of the links: tcp or ws")
	flag.StringVar(&s.sort, "sort", "", "of the junk; empty: all sorts, taking turns")
	flag.IntVar(&s.rate, "rate", 10_000, "connections a second")
	flag.IntVar(&s.sources, "sources", 1, "addresses that they come from; 0: that of the nodes")
	flag.IntVar(&s.nice, "nice", 0, "of their maker")
	flag.IntVar(&s.rounds, "rounds", 3, "turns of each kind")
	flag.DurationVar(&s.turn, "turn", 4*time.Second, "time of a turn")
	flag.Parse()
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	l, err := lab.New(lab.Programs{Dir: s.bin})
	if err != nil {
		return err
	}
	return errors.Join(s.compare(ctx, l), l.Close())
}

// turn is what was measured in one.
type turn struct {
	goodput float64            // bytes a second
	made    float64            // connections a second
	cpu     map[string]float64 // seconds a second, by process
}

func (s *settings) compare(ctx context.Context, l *lab.Lab) error {
	m, err := startMesh(ctx, l, s.medium)
	if err != nil {
		return err
	}
	other, err := startStranger(ctx)
	if err != nil {
		return err
	}
	defer other.Kill()
	x, err := startTransfer(ctx, m.entry, m.sink)
	if err != nil {
		return err
	}
	defer x.close()
	targets := []struct{ name, addr string }{{"no junk", ""}, {"to a stranger", other.addr}, {"to the node", m.link}}
	turns := make([][]turn, len(targets))
	for range s.rounds {
		for i, to := range targets {
			t, err := s.measure(ctx, m, other, x, to.addr)
			if err != nil {
				return fmt.Errorf("junk %s: %w", to.name, err)
			}
			turns[i] = append(turns[i], t)
		}
	}
	fmt.Printf("%s, junk: %s, medians of %d turns of %v\n%-14s %8s %8s %8s %8s   %s\n", s.medium, s.describe(), s.rounds, s.turn,
		"", "MB/s", "of none", "of other", "conn/s", "CPU of each process, of one core")
	none, stranger := median(turns[0]).goodput, median(turns[1]).goodput
	for i, to := range targets {
		t := median(turns[i])
		fmt.Printf("%-14s %8.1f %7.0f%% %7.0f%% %8.0f  ", to.name, t.goodput/1e6, 100*t.goodput/none, 100*t.goodput/stranger, t.made)
		for _, name := range m.names() {
			fmt.Printf(" %s %.2f", name, t.cpu[name])
		}
		fmt.Println()
	}
	return s.join(ctx, l, m)
}

func (s *settings) describe() string {
	sort := s.sort
	if sort == "" {
		sort = "all sorts"
	}
	return fmt.Sprintf("%s, %d/s, from %d addresses, nice %d", sort, s.rate, s.sources, s.nice)
}

// measure is one turn, with junk to an address; empty: none.
func (s *settings) measure(ctx context.Context, m *mesh, other *child, x *transfer, to string) (t turn, err error) {
	var f *child
	if to != "" {
		if f, err = s.startFlood(ctx, to); err != nil {
			return t, err
		}
		defer f.Kill()
	}
	if err := lab.Pause(ctx, s.turn/4); err != nil { // the junk that stays is to be there
		return t, err
	}
	pids := m.pids(other, f)
	before, err := cpuOf(pids)
	if err != nil {
		return t, err
	}
	start, bytes := time.Now(), x.bytes.Load()
	made := f.made()
	if err := lab.Pause(ctx, s.turn); err != nil {
		return t, err
	}
	took := time.Since(start).Seconds()
	t.goodput, t.made = float64(x.bytes.Load()-bytes)/took, float64(f.made()-made)/took
	after, err := cpuOf(pids)
	if err != nil {
		return t, err
	}
	t.cpu = map[string]float64{}
	for name := range after {
		t.cpu[name] = (after[name] - before[name]) / took
	}
	return t, x.err()
}

// join has a node join in the midst of the junk, and tells how long that took.
func (s *settings) join(ctx context.Context, l *lab.Lab, m *mesh) error {
	f, err := s.startFlood(ctx, m.link)
	if err != nil {
		return err
	}
	defer f.Kill()
	if err := lab.Pause(ctx, s.turn/4); err != nil {
		return err
	}
	start := time.Now()
	if _, err := l.Start("receptor", m.peer("newcomer")...); err != nil {
		return err
	}
	if err := l.WaitRoute(ctx, "newcomer", "victim", "healthy"); err != nil {
		return err
	}
	fmt.Printf("a node that was started meanwhile had its routes after %.1f s\n", time.Since(start).Seconds())
	return nil
}

// median is the turn in the middle by goodput.
func median(ts []turn) turn {
	ts = slices.Clone(ts)
	slices.SortFunc(ts, func(a, b turn) int { return int(a.goodput - b.goodput) })
	return ts[len(ts)/2]
}
