package ledger

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"

	"github.com/project-receptor/receptor/worker-command/internal/proc"
	"github.com/project-receptor/receptor/worker-command/internal/unit"
)

var (
	chaosSeed  = flag.Uint64("seed", 0, "seed of the chaos test; 0: a new one")
	chaosUnits = flag.Int("units", 60, "units of the chaos test")
)

// plugProcess is the test's own program as a plug without a core: it is asked on its
// standard input, one JSON object a line, and tells reports on its standard output.
func plugProcess(dir, files string) error {
	var mu sync.Mutex
	out := json.NewEncoder(os.Stdout)
	tell := func(v any) {
		mu.Lock()
		defer mu.Unlock()
		_ = out.Encode(v) // whoever listens is gone else, and kills this
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	ctx := context.Background()
	l, err := Open(ctx, Options{
		Dir: dir, Supervisor: self, Logger: hclog.NewNullLogger(),
		Report: func(r Report) { tell(answer{Report: &r}) },
	})
	if err != nil {
		return err
	}
	in := json.NewDecoder(os.Stdin)
	for {
		var q question
		if err := in.Decode(&q); err != nil {
			return err
		}
		if q.Recover != nil {
			tell(answer{Recovered: l.Recover(ctx, q.Recover), Asked: q.Recover})
			continue
		}
		go func() {
			s, err := chaosStart(files, q.Start)
			if err == nil {
				_, err = l.Start(ctx, s)
			}
			if err != nil {
				tell(answer{Err: q.Start + ": " + err.Error()})
			}
		}()
	}
}

type question struct {
	Start   string
	Recover []string
}

type answer struct {
	Report    *Report
	Recovered []Report
	Asked     []string
	Err       string
}

// chaosScript counts its own runs, and writes for about half a second.
const chaosScript = `echo run >> $0.runs; i=0; while [ $i -lt 40 ]; do echo "$0 says $i"; i=$((i+1)); sleep 0.01; done; (sleep 0.02; echo "$0 is done") & wait`

func chaosOutput(id string) string {
	var b strings.Builder
	for i := range 40 {
		fmt.Fprintf(&b, "%s says %d\n", id, i)
	}
	fmt.Fprintf(&b, "%s is done\n", id)
	return b.String()
}

func chaosStart(files, id string) (Start, error) {
	s := Start{Spec: unit.Spec{
		Record: unit.Record{Unit: id, Type: "test"}, Path: "/bin/sh", Args: []string{"sh", "-c", chaosScript, id},
		Env: []string{"PATH=" + os.Getenv("PATH"), "CHAOS=" + files}, Directory: files, Grace: time.Second,
	}}
	var err error
	if s.Stdin, err = os.Open(os.DevNull); err != nil {
		return s, err
	}
	s.Stdout, err = os.OpenFile(filepath.Join(files, id+".stdout"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	return s, err
}

// chaos is a core, as far as a plug is concerned, and whoever kills it.
type chaos struct {
	t           *testing.T
	dir, files  string
	random      *rand.Rand
	killed      map[string]bool // units whose supervisors were
	plugs       int             // that were killed
	states      map[string]Report
	waiting     []string // to be started
	asked       map[string]bool
	cmd         *exec.Cmd
	in          *json.Encoder
	answers     chan answer
	plugRunning bool
}

// Whatever is killed at whatever moment: no unit is run twice, none is missing, what
// has ended has written all, and what is lost lost its supervisor and is gone.
func TestChaos(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes a while")
	}
	t.Parallel()
	seed := *chaosSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano()) //nolint:gosec // any number will do
	}
	t.Logf("-seed %d", seed)
	c := &chaos{
		t: t, dir: filepath.Join(t.TempDir(), "state"), files: t.TempDir(), random: rand.New(rand.NewPCG(seed, 0)), //nolint:gosec // to be repeated
		killed: map[string]bool{}, states: map[string]Report{}, asked: map[string]bool{},
	}
	for i := range *chaosUnits {
		c.waiting = append(c.waiting, fmt.Sprintf("unit%03d", i))
	}
	all := slices.Clone(c.waiting)
	t.Cleanup(func() {
		c.killPlug()
		if _, err := proc.KillMarked("CHAOS=" + c.files); err != nil {
			t.Error(err)
		}
	})
	c.startPlug()
	for deadline := time.Now().Add(3 * patience); len(c.states) < len(all) || len(c.open()) > 0; {
		if time.Now().After(deadline) {
			t.Fatalf("still open: %v", c.open())
		}
		c.step()
	}
	c.check(all)
}

// open are the units that the plug was asked to start, and has not told the end of.
func (c *chaos) open() (ids []string) {
	for _, id := range slices.Sorted(maps.Keys(c.asked)) {
		if !c.states[id].State.final() {
			ids = append(ids, id)
		}
	}
	return ids
}

// step is a moment: something is started, what is told is taken, something is killed.
func (c *chaos) step() {
	if !c.plugRunning {
		c.startPlug()
	}
	if len(c.waiting) > 0 && len(c.open()) < 12 {
		id := c.waiting[0]
		c.waiting = c.waiting[1:]
		c.asked[id] = true
		_ = c.in.Encode(question{Start: id}) // killed: it is asked later
	}
	moment := time.After(time.Duration(c.random.IntN(12)) * time.Millisecond)
	for took := false; !took; {
		select {
		case a, ok := <-c.answers:
			if !ok {
				c.t.Fatal("the plug ended by itself")
			}
			c.take(a)
		case <-moment:
			took = true
		}
	}
	switch dice := c.random.IntN(100); {
	case dice < 4:
		c.killPlug()
		c.plugs++
	case dice < 10:
		c.killSupervisor()
	}
}

func (c *chaos) take(a answer) {
	switch {
	case a.Err != "":
		c.t.Errorf("the plug says: %s", a.Err)
	case a.Report != nil:
		c.states[a.Report.Unit] = *a.Report
	}
	known := map[string]bool{}
	for _, r := range a.Recovered {
		known[r.Unit] = true
		c.states[r.Unit] = r
	}
	for _, id := range a.Asked {
		if !known[id] { // it has not run
			if r := c.states[id]; r.State == Running {
				c.t.Errorf("unit %s, which ran, is not known any more", id)
			}
			delete(c.asked, id)
			c.waiting = append(c.waiting, id)
		}
	}
}

func (c *chaos) startPlug() {
	self, err := os.Executable()
	if err != nil {
		c.t.Fatal(err)
	}
	c.cmd = exec.Command(self, "plug", c.dir, c.files)
	c.cmd.Stderr = os.Stderr
	stdin, err := c.cmd.StdinPipe()
	if err != nil {
		c.t.Fatal(err)
	}
	stdout, err := c.cmd.StdoutPipe()
	if err != nil {
		c.t.Fatal(err)
	}
	if err := c.cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	c.plugRunning = true
	c.in, c.answers = json.NewEncoder(stdin), make(chan answer, 10_000)
	go func(to chan<- answer) { // until the plug ends
		defer close(to)
		for in := bufio.NewScanner(stdout); in.Scan(); {
			var a answer
			if json.Unmarshal(in.Bytes(), &a) != nil {
				return // cut off
			}
			to <- a
		}
	}(c.answers)
	if open := c.open(); len(open) > 0 {
		_ = c.in.Encode(question{Recover: open}) // killed: likewise
	}
}

func (c *chaos) killPlug() {
	if !c.plugRunning {
		return
	}
	c.plugRunning = false
	if err := c.cmd.Process.Kill(); err != nil {
		c.t.Error(err)
	}
	for a := range c.answers { // what it had said
		c.take(a)
	}
	_ = c.cmd.Wait() // killed
}

// killSupervisor kills one, whatever it is at.
func (c *chaos) killSupervisor() {
	open := c.open()
	if len(open) == 0 {
		return
	}
	id := open[c.random.IntN(len(open))]
	pid := supervisorOf(id, c.dir)
	if pid == 0 {
		return
	}
	p, err := proc.Find(pid)
	if err != nil {
		return // it has ended
	}
	was, err := proc.Signal(p, unix.SIGKILL)
	if err != nil {
		c.t.Error(err)
	}
	c.killed[id] = c.killed[id] || was
}

// supervisorOf finds the supervisor of a unit by its arguments, and the state directory
// that it has.
func supervisorOf(id, dir string) int {
	processes, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return 0
	}
	for _, path := range processes {
		args, err := os.ReadFile(path)
		if err != nil || !bytes.HasSuffix(args, []byte("\x00unit\x00"+id+"\x00")) {
			continue
		}
		if at, err := os.Readlink(filepath.Join(filepath.Dir(path), "fd", fmt.Sprint(unit.DirFD))); err != nil || at != dir {
			continue
		}
		var pid int
		if _, err := fmt.Sscanf(path, "/proc/%d/", &pid); err == nil {
			return pid
		}
	}
	return 0
}

func (c *chaos) check(all []string) {
	lost := 0
	for _, id := range all {
		r := c.states[id]
		out, err := os.ReadFile(filepath.Join(c.files, id+".stdout"))
		if err != nil {
			c.t.Error(err)
		}
		runs := 0
		if data, err := os.ReadFile(filepath.Join(c.files, id+".runs")); err == nil {
			runs = strings.Count(string(data), "run\n")
		}
		want := chaosOutput(id)
		switch {
		case r.State == Exited && r.Code == 0 && r.Signal == "":
			if runs != 1 || string(out) != want || r.Stdout != int64(len(want)) {
				c.t.Errorf("%s: %d runs, %d of %d bytes, %+v", id, runs, len(out), len(want), r)
			}
		case r.State == Lost && c.killed[id]:
			lost++
			if runs > 1 || !strings.HasPrefix(want, string(out)) {
				c.t.Errorf("%s: lost, with %d runs, %q", id, runs, out)
			}
		default:
			c.t.Errorf("%s: %d runs, its supervisor killed: %v, %+v", id, runs, c.killed[id], r)
		}
	}
	c.t.Logf("%d units, %d plugs killed, %d supervisors killed, %d units lost", len(all), c.plugs, len(c.killed), lost)
	if n, err := proc.KillMarked("CHAOS=" + c.files); n != 0 || err != nil {
		c.t.Errorf("%d processes were left, %v", n, err)
	}
}
