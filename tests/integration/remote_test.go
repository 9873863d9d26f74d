package integration

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/project-receptor/receptor/tests/integration/lab"
	"github.com/project-receptor/receptor/workceptor/client"
)

var remoteOutput = flag.Int64("remote-output", 64<<20, "bytes of output in TestRemoteOutputThroughKills")

// remoteLine is three nodes in a line, each by one receptor command: a submits, b is
// on the way, c runs units. Its clients are those of a.
type remoteLine struct {
	*workLab
	far    *client.Client // of c
	procs  map[string]*lab.Process
	starts map[string]func()
}

// startRemoteLine starts it; c has these items.
func startRemoteLine(t *testing.T, items ...string) *remoteLine {
	t.Helper()
	return startRemoteLineFor(t, patience, items...)
}

// startRemoteLineFor is startRemoteLine for a test that may take so long.
func startRemoteLineFor(t *testing.T, most time.Duration, items ...string) *remoteLine {
	t.Helper()
	w := newWorkLabFor(t, "a", most)
	r := &remoteLine{workLab: w, far: workClient(w.Lab, "c"), procs: map[string]*lab.Process{}, starts: map[string]func(){}}
	ab, bc := freePort(t), freePort(t)
	for node, args := range map[string][]string{
		"a": {"--tcp-listener", "bindaddr=127.0.0.1", "port=" + strconv.Itoa(ab)},
		"b": {"--tcp-peer", "address=" + lab.Local(ab), "--tcp-listener", "bindaddr=127.0.0.1", "port=" + strconv.Itoa(bc)},
		"c": append([]string{"--tcp-peer", "address=" + lab.Local(bc)}, items...),
	} {
		args = append([]string{"--node", "id=" + node, "--control-service", "service=control"}, args...)
		r.starts[node] = func() { r.procs[node] = w.start("receptor", args...) }
		r.starts[node]()
	}
	must(t, w.WaitRoute(w.ctx, "a", "c"))
	must(t, w.WaitRoute(w.ctx, "b", "a", "c"))
	must(t, w.WaitRoute(w.ctx, "c", "a"))
	return r
}

// kill kills the core of a node, and waits for the next one.
func (r *remoteLine) kill(node string) {
	r.t.Helper()
	killProgram(r.ctx, r.t, r.procs[node], "receptor-core")
}

// submit has c run a unit.
func (r *remoteLine) submit(ctx context.Context, typ, payload string) string {
	r.t.Helper()
	u, err := r.c.Submit(ctx, client.Job{Node: "c", Type: typ, Payload: strings.NewReader(payload)})
	must(r.t, err)
	return u.ID
}

// The cores of the executing node, the hop and the submitting node are killed in turn
// while output flows (T2): the job runs once, and whoever follows it, and whoever asks
// later, has every byte.
func TestRemoteOutputThroughKills(t *testing.T) {
	t.Parallel()
	const blocks = 240
	files := t.TempDir()
	block := *remoteOutput / blocks
	size := block * blocks
	source, sum := lab.Source(size, 1)
	f, err := os.Create(filepath.Join(files, "output"))
	must(t, err)
	_, err = io.Copy(f, source)
	must(t, errors.Join(err, f.Close()))
	want := hex.EncodeToString(sum.Sum(nil))

	most := patience * time.Duration(1+size>>27)
	r := startRemoteLineFor(t, most, "--work-command", "worktype=blocks", "command=sh", fmt.Sprintf(
		`params=-c "cd %s; echo run >> runs; i=0; while [ $i -lt %d ]; do dd if=output bs=%d skip=$i count=1 status=none; i=$((i+1)); sleep 0.02; done"`,
		files, blocks, block))
	unit := r.submit(r.ctx, "blocks", "")

	var followers sync.WaitGroup
	defer followers.Wait()
	at := make(chan int64, 1<<20) // as far as the follower at a has got
	follow := func(who string, c *client.Client, at chan<- int64) {
		followers.Go(func() {
			h := sha256.New()
			u, err := c.Results(r.ctx, unit, client.From{Stderr: client.Skip}, func(p client.Chunk) error {
				h.Write(p.Data)
				if at != nil {
					at <- p.Offset + int64(len(p.Data))
				}
				return nil
			})
			if got := hex.EncodeToString(h.Sum(nil)); err != nil || u.State != client.Succeeded || got != want || u.Stdout.SHA256 != want {
				t.Errorf("at %s: digest %s and %s, want %s; the unit is %+v, %v", who, got, u.Stdout.SHA256, want, u, err)
			}
			if at != nil {
				close(at)
			}
		})
	}
	follow("a", r.c, at)
	follow("b", r.via("b"), nil)
	run := func(verb string) (end func()) {
		c := exec.CommandContext(r.ctx, r.Programs.Path("receptorctl"), "--socket", r.Socket("a"), "work", verb, unit)
		var said strings.Builder
		h := sha256.New()
		c.Stdout, c.Stderr, c.Env = h, &said, r.Env()
		must(t, c.Start())
		return func() {
			err := c.Wait()
			if got := hex.EncodeToString(h.Sum(nil)); err != nil || got != want {
				t.Errorf("receptorctl work %s: digest %s, want %s; %v\n%s", verb, got, want, err, said.String())
			}
		}
	}
	ended := run("follow")

	kills := []string{"c", "b", "a"}
	for n := range at {
		if len(kills) > 0 && n >= size/8*int64(2*(4-len(kills))-1) {
			t.Logf("killing the core of %s after %d bytes of %d", kills[0], n, size)
			r.kill(kills[0])
			kills = kills[1:]
		}
	}
	if len(kills) > 0 {
		t.Errorf("not killed: %v", kills)
	}
	followers.Wait()
	ended()
	run("results")() // later
	if runs, err := os.ReadFile(filepath.Join(files, "runs")); err != nil || string(runs) != "run\n" {
		t.Errorf("it ran: %q, %v", runs, err)
	}
	r.forgotten()
}

// forgotten waits until c has nothing of any unit any more.
func (r *remoteLine) forgotten() {
	r.t.Helper()
	for {
		l, err := r.far.List(r.ctx)
		must(r.t, err)
		if len(l.Units) == 0 {
			return
		}
		must(r.t, lab.Pause(r.ctx, pause))
	}
}

// Cores are killed while units are submitted (T3): whatever was cut, before an answer
// or after, each is one unit, and runs once.
func TestRemoteSubmissionsThroughKills(t *testing.T) {
	t.Parallel()
	files := t.TempDir()
	r := startRemoteLine(t, "--work-command", "worktype=count", "command=sh", "maxconcurrent=2",
		fmt.Sprintf(`params=-c "read n; echo run $n >> %s/runs; echo unit $n"`, files))
	const units = 60
	ids := make([]string, units)
	var submitters sync.WaitGroup
	submitted := make(chan struct{}, units)
	next := make(chan int)
	for range 4 {
		submitters.Go(func() {
			for n := range next {
				u, err := r.persist(client.Job{Node: "c", Type: "count", Payload: strings.NewReader(fmt.Sprintln(n)), Submission: fmt.Sprint("count", n)})
				if err != nil {
					t.Errorf("submit %d: %v", n, err)
				}
				ids[n] = u.ID
				submitted <- struct{}{}
			}
		})
	}
	go func() {
		defer close(next)
		for n := range units {
			next <- n
		}
	}()
	for n := range units {
		<-submitted
		if n%10 == 4 { // others are under way
			r.kill([]string{"c", "b", "a"}[n/10%3])
		}
	}
	submitters.Wait()
	for n, id := range ids {
		if out, u := r.results(id); out != fmt.Sprintf("unit %d\n", n) || u.State != client.Succeeded {
			t.Errorf("unit %d has written %q, and is %+v", n, out, u)
		}
	}
	ran := map[string]int{}
	b, err := os.ReadFile(filepath.Join(files, "runs"))
	must(t, err)
	for line := range strings.Lines(string(b)) {
		ran[line]++
	}
	for n := range units {
		if runs := ran[fmt.Sprintf("run %d\n", n)]; runs != 1 {
			t.Errorf("unit %d ran %d times", n, runs)
		}
	}
	if l, err := r.c.List(r.ctx); err != nil || len(l.Units) != units {
		t.Errorf("%d units are listed at a, %v", len(l.Units), err)
	}
	r.forgotten()
}

// Cancel and release of units whose node is gone return at once (T4). When it is back
// their processes are ended.
func TestRemoteNodeIsGone(t *testing.T) {
	t.Parallel()
	r := startRemoteLine(t, "--work-command", "worktype=wait", "command=sleep", "params=600")
	var ids []string
	for range 3 {
		id := r.submit(r.ctx, "wait", "")
		r.await(id, running)
		ids = append(ids, id)
	}
	must(t, r.procs["c"].Stop())
	r.await(ids[0], func(u client.Status) bool { return !u.NodeUnknownSince.IsZero() })
	if n := len(r.units()); n != 3 {
		t.Fatalf("%d units outlive their node", n)
	}

	for i, verb := range []string{"cancel", "release", "force-release"} {
		ctx, cancel := context.WithTimeout(r.ctx, atOnce)
		out, err := r.Ctl(ctx, "a", "work", verb, ids[i])
		cancel()
		if err != nil {
			t.Errorf("%s: %v", verb, err)
		}
		t.Logf("%s: %s", verb, out)
	}
	if _, err := os.Stat(filepath.Join(r.Dir, "state", "a", "units", ids[2])); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("of the unit that was released by force there is still something on the disk: %v", err)
	}
	if u, err := r.c.Status(r.ctx, ids[0]); err != nil || u.State != client.Running || !u.CancelAsked {
		t.Errorf("nobody knows whether it was canceled, and it is %+v, %v", u, err)
	}

	r.starts["c"]()
	r.await(ids[0], func(u client.Status) bool { return u.State == client.Canceled })
	for len(r.units()) > 0 {
		must(t, lab.Pause(r.ctx, pause))
	}
	r.forgotten()
	for {
		l, err := r.c.List(r.ctx)
		must(t, err)
		if len(l.Units) == 1 {
			break
		}
		must(t, lab.Pause(r.ctx, pause))
	}
}

// atOnce is ten times what a program with the race detector takes, on a busy machine,
// to ask and be answered.
const atOnce = 10 * time.Second

// A node and a type of work that nobody knows are told of with the reason at once. Where
// a node was just started the type is waited for, and the unit fails then.
func TestRemoteUnknown(t *testing.T) {
	t.Parallel()
	r := startRemoteLine(t, "--work-command", "worktype=cat", "command=cat")
	const unknown = "unknown work type nothing"
	early := r.submit(r.ctx, "nothing", "")
	if u := r.await(early, func(u client.Status) bool { return u.State == client.Failed }); !strings.Contains(u.Detail, unknown) {
		t.Errorf("in the first moments of c: %+v", u)
	}
	for _, u := range []struct{ node, typ, reason string }{
		{"nobody", "cat", "no way to node nobody"},
		{"c", "nothing", unknown},
	} {
		ctx, cancel := context.WithTimeout(r.ctx, atOnce)
		_, err := r.Ctl(ctx, "a", "work", "submit", "--node", u.node, "-n", u.typ)
		cancel()
		if err == nil || !strings.Contains(err.Error(), "exit status 101") || !strings.Contains(err.Error(), u.reason) {
			t.Errorf("type %s at %s: %v", u.typ, u.node, err)
		}
	}
	l, err := r.c.List(r.ctx)
	must(t, err)
	for _, u := range l.Units {
		if u.State != client.Failed {
			t.Errorf("it is left: %+v", u)
		}
	}
	r.forgotten()
}
