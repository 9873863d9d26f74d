// Command bench-work measures units of work on one node, and on one two links away, over
// the programs as they are installed: receptor-core, its plugs, a supervisor for each
// unit. The client is workceptor/client, in this process, over the control socket.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/project-receptor/receptor/tests/integration/lab"
	"github.com/project-receptor/receptor/workceptor/client"
)

func main() {
	if len(os.Args) == 4 && os.Args[1] == "ticker" {
		ticker(os.Args[2], os.Args[3])
		return
	}
	if len(os.Args) == 3 && os.Args[1] == "output" {
		output(os.Args[2])
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := bench(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "bench-work:", err)
		os.Exit(1)
	}
}

// ticker is a unit that writes the time, so many times, so far apart.
func ticker(times, pause string) {
	n, _ := strconv.Atoi(times)
	d, _ := time.ParseDuration(pause)
	for range n {
		time.Sleep(d)
		fmt.Println(time.Now().UnixNano())
	}
}

// output is a unit that writes so many bytes, in the pieces in which the server of the
// stream does it.
func output(bytes string) {
	n, _ := strconv.ParseInt(bytes, 10, 64)
	_, _ = io.CopyN(os.Stdout, zeros{}, n) // what is missing the reader counts
}

// sizes say how much is measured.
type sizes struct {
	units, lines, running, clients int
	result                         int64
	rounds                         int
	span                           time.Duration
}

func bench(ctx context.Context) (err error) {
	bin := flag.String("bin", "bin", "directory of the built programs")
	var s sizes
	flag.IntVar(&s.units, "units", 200, "units from submit to result, one after the other")
	flag.IntVar(&s.lines, "lines", 200, "lines that are followed")
	flag.Int64Var(&s.result, "result", 200_000_000, "bytes of a result")
	flag.IntVar(&s.rounds, "rounds", 3, "results of that size")
	flag.IntVar(&s.clients, "clients", 32, "clients that submit at a time")
	flag.IntVar(&s.running, "running", 1000, "units that run at a time")
	flag.DurationVar(&s.span, "span", 10*time.Second, "how long submits are counted, and the core with running units is watched")
	flag.Parse()
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	l, err := lab.New(lab.Programs{Dir: *bin})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	b, err := start(ctx, l, s)
	if err != nil {
		return err
	}
	// Units outlive all programs of the node: they are not left behind.
	defer func() { err = errors.Join(err, b.cleanUp(context.WithoutCancel(ctx))) }()
	for _, measure := range []func(context.Context) error{b.submitToResult, b.program, b.followedLine, b.largeResult, b.submits, b.runningUnits} {
		if err := measure(ctx); err != nil {
			return err
		}
	}
	return b.remote(ctx)
}

// work is a node with units.
type work struct {
	*lab.Lab
	sizes
	core, plug int // process IDs
	client     client.Client
	node       string // where units are run; empty: at the node that is asked
}

func start(ctx context.Context, l *lab.Lab, s sizes) (*work, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	core, err := l.Start("receptor-core", append([]string{
		"--node", "id=alpha",
		"--work-command", "worktype=sleep", "command=sleep", "params=1000",
		"--work-command", "worktype=queued", "command=sleep", "params=1000", "maxconcurrent=1",
	}, measured(self, s)...)...)
	if err != nil {
		return nil, err
	}
	plug, err := l.Start("receptor-worker-command", "--socket", l.PlugSocket("alpha"))
	if err != nil {
		return nil, err
	}
	b := &work{Lab: l, sizes: s, core: core.PID(), plug: plug.PID()}
	b.client.Dial = func(ctx context.Context) (io.ReadWriteCloser, error) {
		return new(net.Dialer).DialContext(ctx, "unix", l.Socket("alpha"))
	}
	return b, l.WaitStatus(ctx, "alpha", func(s *lab.Status) bool {
		up := 0
		for _, i := range s.Items {
			if i.State == "up" {
				up++
			}
		}
		return up == 5
	})
}

// measured are the types of work that are measured at both nodes.
func measured(self string, s sizes) []string {
	return []string{
		"--work-command", "worktype=true", "command=true",
		"--work-command", "worktype=ticker", "command=" + self, fmt.Sprintf("params=ticker %d 10ms", s.lines),
		"--work-command", "worktype=large", "command=" + self, fmt.Sprintf("params=output %d", s.result),
	}
}

// run submits a unit and reads its results. It returns how long that took, up to the
// end of the unit with its digests; then the unit is released.
func (b *work) run(ctx context.Context, typ string, each func(client.Chunk) error) (time.Duration, error) {
	start := time.Now()
	u, err := b.client.Submit(ctx, client.Job{Node: b.node, Type: typ})
	if err != nil {
		return 0, err
	}
	end, err := b.client.Results(ctx, u.ID, client.From{}, each)
	took := time.Since(start)
	if err == nil && end.State != client.Succeeded {
		err = fmt.Errorf("unit %s of type %s is %s: %s", u.ID, typ, end.State, end.Detail)
	}
	if err != nil {
		return 0, err
	}
	_, err = b.client.Release(ctx, u.ID, false)
	return took, err
}

// submitToResult is what a unit takes that does nothing, all of it: submit, the end,
// and that there is no output.
func (b *work) submitToResult(ctx context.Context) error {
	var took, submits []time.Duration
	for range b.units {
		start := time.Now()
		u, err := b.client.Submit(ctx, client.Job{Node: b.node, Type: "true"})
		if err != nil {
			return err
		}
		submits = append(submits, time.Since(start))
		end, err := b.client.Results(ctx, u.ID, client.From{}, nil)
		took = append(took, time.Since(start))
		if err != nil || end.State != client.Succeeded {
			return fmt.Errorf("unit %s is %s: %w", u.ID, end.State, err)
		}
		if _, err := b.client.Release(ctx, u.ID, false); err != nil {
			return err
		}
	}
	what, asked := "local true, submit to result", "at most 10 ms; legacy 750 ms"
	if b.node != "" {
		what, asked = "remote true, submit to result", "at most 25 ms; legacy 1,000 to 1,300 ms"
	}
	report(what, took, asked)
	report("  of which until its worker has it", submits, "")
	return nil
}

// program is the same as a user has it, with a process of receptorctl for each.
func (b *work) program(ctx context.Context) error {
	var took []time.Duration
	for range max(1, b.units/4) {
		start := time.Now()
		if _, err := b.Ctl(ctx, "alpha", "work", "submit", "-n", "-f", "true"); err != nil {
			return err
		}
		took = append(took, time.Since(start))
	}
	report("receptorctl work submit --follow, the process", took, "")
	return nil
}

// followedLine is the time from a unit's write to the follower's hands.
func (b *work) followedLine(ctx context.Context) error {
	u, err := b.client.Submit(ctx, client.Job{Node: b.node, Type: "ticker"})
	if err != nil {
		return err
	}
	var took []time.Duration
	for r, err := range b.client.Responses(ctx, u.ID, client.From{}, nil) {
		if err != nil {
			return err
		}
		at, err := strconv.ParseInt(string(r.Line), 10, 64)
		if err != nil {
			return err
		}
		took = append(took, time.Since(time.Unix(0, at)))
	}
	if len(took) != b.lines {
		return fmt.Errorf("%d lines of %d", len(took), b.lines)
	}
	what, asked := "new line at a follower", "at most 10 ms"
	if b.node != "" {
		what, asked = "new line at a follower two links away", "at most 15 ms"
	}
	report(what, took, asked)
	return nil
}

// largeResult is the rate of a result that is read while it is written.
func (b *work) largeResult(ctx context.Context) error {
	var rates []float64
	for range b.rounds {
		rate, err := b.resultRate(ctx)
		if err != nil {
			return err
		}
		rates = append(rates, rate)
	}
	b.reportRate("result", rates, "from submit to end   (legacy 24)")
	return nil
}

// resultRate is that of one result, checked against its digest, in MB/s.
func (b *work) resultRate(ctx context.Context) (float64, error) {
	n := int64(0)
	took, err := b.run(ctx, "large", func(c client.Chunk) error {
		n += int64(len(c.Data))
		return nil
	})
	if err == nil && n != b.result {
		err = fmt.Errorf("%d bytes of %d", n, b.result)
	}
	return float64(n) / 1e6 / took.Seconds(), err
}

func (b *work) reportRate(what string, rates []float64, note string) {
	fmt.Printf("%-48s %8.0f MB/s median of %d, %s\n", fmt.Sprintf("%s of %d MB", what, b.result/1_000_000), median(rates), len(rates), note)
}

func median(of []float64) float64 {
	sorted := slices.Sorted(slices.Values(of))
	return sorted[len(sorted)/2]
}

// submits counts units that are on the disk, each before its client hears of it. They
// wait for a slot, so that no process is started for them.
func (b *work) submits(ctx context.Context) error {
	var count atomic.Int64
	until, cancel := context.WithTimeout(ctx, b.span)
	defer cancel()
	errs := make(chan error, b.clients)
	start := time.Now()
	var all sync.WaitGroup
	for range b.clients {
		all.Go(func() {
			for until.Err() == nil {
				if _, err := b.client.Submit(ctx, client.Job{Type: "queued"}); err != nil {
					errs <- err
					return
				}
				count.Add(1)
			}
		})
	}
	all.Wait()
	took := time.Since(start)
	select {
	case err := <-errs:
		return err
	default:
	}
	fmt.Printf("%-48s %8.0f /s                                     (at least 1,000)\n",
		fmt.Sprintf("durable submits with %d clients", b.clients), float64(count.Load())/took.Seconds())
	return b.list(ctx)
}

// list lists what there is now, and then releases it.
func (b *work) list(ctx context.Context) error {
	start := time.Now()
	l, err := b.client.List(ctx)
	if err != nil {
		return err
	}
	fmt.Printf("%-48s %8s\n", fmt.Sprintf("list of %d units", len(l.Units)), ms(time.Since(start)))
	return b.releaseAll(ctx, l.Units)
}

func (b *work) releaseAll(ctx context.Context, units []client.Status) error {
	next := make(chan string, len(units))
	for _, u := range units {
		next <- u.ID
	}
	close(next)
	errs := make(chan error, b.clients)
	var all sync.WaitGroup
	for range b.clients {
		all.Go(func() {
			for id := range next {
				if _, err := b.client.Release(ctx, id, false); err != nil {
					errs <- err
					return
				}
			}
		})
	}
	all.Wait()
	close(errs)
	return <-errs
}

// cleanUp releases what there is, after a failure, too.
func (b *work) cleanUp(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	l, err := b.client.List(ctx)
	if err != nil {
		return err
	}
	return b.releaseAll(ctx, l.Units)
}

// runningUnits watches the core while units run that say nothing.
func (b *work) runningUnits(ctx context.Context) error {
	errs := make(chan error, b.clients)
	start := time.Now()
	var all sync.WaitGroup
	for i := range b.clients {
		all.Go(func() {
			for n := i; n < b.running; n += b.clients {
				if _, err := b.client.Submit(ctx, client.Job{Type: "sleep"}); err != nil {
					errs <- err
					return
				}
			}
		})
	}
	all.Wait()
	started := time.Since(start)
	close(errs)
	if err := <-errs; err != nil {
		return err
	}
	l, err := b.client.List(ctx)
	if err != nil {
		return err
	}
	for _, u := range l.Units {
		if u.State != client.Running {
			return fmt.Errorf("unit %s is %s", u.ID, u.State)
		}
	}
	var before, after [2]float64
	for i, pid := range []int{b.core, b.plug} {
		if before[i], err = lab.CPUSeconds(pid); err != nil {
			return err
		}
	}
	if err := lab.Pause(ctx, b.span); err != nil {
		return err
	}
	for i, pid := range []int{b.core, b.plug} {
		if after[i], err = lab.CPUSeconds(pid); err != nil {
			return err
		}
	}
	percent := func(i int) float64 { return 100 * (after[i] - before[i]) / b.span.Seconds() }
	fmt.Printf("%-48s %8.2f %% of a core, the plug %.2f %%             (under 5 %%); started in %.1f s\n",
		fmt.Sprintf("%d running units, the core's CPU", len(l.Units)), percent(0), percent(1), started.Seconds())
	return b.releaseAll(ctx, l.Units)
}

// report prints the median, and the time that 95 of 100 have kept to.
func report(what string, took []time.Duration, asked string) {
	slices.Sort(took)
	if asked != "" {
		asked = "(" + asked + ")"
	}
	fmt.Printf("%-48s %8s median, %s for 95 %% of %-4d     %s\n", what, ms(took[len(took)/2]), ms(took[len(took)*95/100]), len(took), asked)
}

func ms(d time.Duration) string { return fmt.Sprintf("%.1f ms", d.Seconds()*1e3) }
