// Command bench-tun measures a TUN tunnel between two nodes that are linked over TCP,
// without and with TLS, or over UDP, where super-packets are cut, beside wireguard-go and the bare wire: between two hosts that it
// makes of network namespaces, with one wire between them. One TCP flow at a time, each
// way; they take turns in one run, so that ratios mean something on a shared machine.
// CPU is that of all processes of a tunnel, at both ends, for each GB that the
// application has received. It needs root.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/project-receptor/receptor/tests/integration/lab"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := bench(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "bench-tun:", err)
		os.Exit(1)
	}
}

// sizes say how much is measured.
type sizes struct {
	rounds  int
	seconds int // of a transfer
	mtu     int
}

func bench(ctx context.Context) (err error) {
	bin := flag.String("bin", "bin", "directory of the built programs")
	var s sizes
	flag.IntVar(&s.rounds, "rounds", 5, "transfers of each kind, taking turns")
	flag.IntVar(&s.seconds, "seconds", 5, "how long each is")
	flag.IntVar(&s.mtu, "mtu", 1420, "of the interfaces of all tunnels")
	only := flag.String("only", "", "tunnels to measure, whose names begin so, separated by commas; default all")
	flag.Parse()
	if err := missing(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 15*time.Minute)
	defer cancel()
	n, err := lab.NewNetwork()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, n.Close()) }()
	l, err := lab.New(lab.Programs{Dir: *bin})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	b := &ends{Lab: l}
	if b.near, err = n.Host("near"); err != nil {
		return err
	}
	if b.far, err = n.Host("far"); err != nil {
		return err
	}
	if b.wire, err = n.Wire(b.near, b.far); err != nil {
		return err
	}
	tunnels, err := b.tunnels(ctx, s, func(name string) bool {
		return slices.ContainsFunc(strings.Split(*only, ","), func(o string) bool { return strings.HasPrefix(name, o) })
	})
	if err != nil {
		return err
	}
	return compare(ctx, b, tunnels, s)
}

// missing tells what the machine lacks.
func missing() error {
	var errs []error
	for _, p := range [][2]string{{"wireguard-go", "wireguard-go"}, {"wg", "wireguard-tools"}, {"iperf3", "iperf3"}} {
		if _, err := exec.LookPath(p[0]); err != nil {
			errs = append(errs, fmt.Errorf("needs the program %s, of the Debian package %s", p[0], p[1]))
		}
	}
	if _, err := os.Stat("/dev/net/tun"); err != nil {
		errs = append(errs, fmt.Errorf("needs TUN devices: %w", err))
	}
	return errors.Join(errs...)
}

// ends are the two hosts, and what runs on them.
type ends struct {
	*lab.Lab
	near, far *lab.Host
	wire      *lab.Wire
}

// start starts a program on a host. The lab ends it.
func (e *ends) start(h *lab.Host, program string, args ...string) (*lab.Process, error) {
	return e.StartAs(h.Run, program, args...)
}

// compare lets the tunnels take turns and prints their medians.
func compare(ctx context.Context, e *ends, tunnels []*tunnel, s sizes) error {
	for round := range s.rounds {
		for _, t := range tunnels {
			for _, way := range ways {
				r, err := e.transfer(ctx, t, way, s.seconds)
				if err != nil {
					return fmt.Errorf("%s, %s: %w", t.name, way, err)
				}
				fmt.Printf("round %d  %-28s %-5s %7.2f Gbit/s, %5.0f segments sent again\n", round+1, t.name, way, r.gbits, r.again)
				t.results[way] = append(t.results[way], r)
			}
		}
	}
	fmt.Printf("\none TCP flow, MTU %d, medians of %d rounds of %d s\n", s.mtu, s.rounds, s.seconds)
	fmt.Printf("%-28s %-5s %8s %16s %9s   %s\n", "", "way", "Gbit/s", "of wireguard-go", "CPU s/GB", "of which")
	for _, t := range tunnels {
		for _, way := range ways {
			m, ratio := median(t.results[way]), "-"
			if i := slices.IndexFunc(tunnels, func(t *tunnel) bool { return t.name == wireguard }); i >= 0 {
				ratio = fmt.Sprintf("%.2f", m.gbits/median(tunnels[i].results[way]).gbits)
			}
			fmt.Printf("%-28s %-5s %8.2f %16s %9.2f   %s\n", t.name, way, m.gbits, ratio, m.total(), m.groups())
		}
	}
	return e.losses(ctx, tunnels)
}

// losses prints what the nodes have counted of packets that they did not carry.
func (e *ends) losses(ctx context.Context, tunnels []*tunnel) error {
	for _, t := range tunnels {
		for _, node := range t.nodes {
			s, err := e.Status(ctx, node)
			if err != nil {
				return err
			}
			counted := s.Counters
			for name, n := range s.Plug("proxy-tun").Counters {
				counted["proxy-tun "+name] = n
			}
			for _, name := range slices.Sorted(maps.Keys(counted)) {
				if n := counted[name]; n > 0 {
					fmt.Printf("%s, %s: %s %d\n", t.name, node, name, n)
				}
			}
		}
	}
	return nil
}
