package integration

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/project-receptor/receptor/tests/integration/lab"
	"github.com/project-receptor/receptor/tests/integration/skew"
	"github.com/project-receptor/receptor/workceptor/client"
)

// corePrograms come with the core, in one module; the others are plugs.
var corePrograms = []string{"receptor", "receptor-core"}

// Plugs of earlier versions work with this core, and these plugs with the cores of
// earlier versions: bytes, half-closes and resets arrive, kills and replacements
// stay unnoticed, be it a newer plug that comes or an older one that comes back.
// And so do nodes of both with each other.
func TestSkew(t *testing.T) {
	ours, err := plain()
	must(t, err)
	versions, err := skew.Versions()
	must(t, err)
	for _, v := range versions {
		t.Run(v.Short(), func(t *testing.T) {
			then := builtAt(t, v)
			t.Run("old plugs", func(t *testing.T) { testSkew(t, then.plugs, ours, then.plugs) })
			t.Run("old core", func(t *testing.T) { testSkew(t, then.core, then.core, then.plugs) })
			for _, medium := range []string{"tcp", "udp", "ws"} {
				t.Run(medium+", near with old plugs", func(t *testing.T) { crossed(t, then.plugs, then.core, medium) })
				t.Run(medium+", near with the old core", func(t *testing.T) { crossed(t, then.core, then.plugs, medium) })
			}
			t.Run("units", func(t *testing.T) { unitsAcross(t, then) })
		})
	}
}

// earlier are the programs of an earlier version with those of this tree.
type earlier struct {
	all   lab.Programs
	core  lab.Programs // its core, with plugs of this tree
	plugs lab.Programs // its plugs, with the core of this tree
}

var built sync.Map // of skew.Version: func() (earlier, error)

// builtAt builds an earlier version, once for all tests.
func builtAt(t *testing.T, v skew.Version) earlier {
	t.Helper()
	once, _ := built.LoadOrStore(v, sync.OnceValues(func() (m earlier, err error) {
		ours, err := plain()
		if err != nil {
			return m, err
		}
		dir := filepath.Join(programs.Dir, "skew-"+v.Short())
		if err := os.Mkdir(dir, 0o755); err != nil {
			return m, err
		}
		if m.all, err = v.Build(context.Background(), dir); err != nil {
			return m, err
		}
		if m.plugs, err = m.all.Mix(filepath.Join(dir, "old-plugs"), ours, append(corePrograms, "receptorctl")...); err != nil {
			return m, err
		}
		m.core, err = ours.Mix(filepath.Join(dir, "old-core"), m.all, corePrograms...)
		return m, err
	}))
	m, err := once.(func() (earlier, error))()
	if errors.Is(err, skew.ErrAbsent) {
		t.Skipf("skipped: %v", err)
	}
	must(t, err)
	return m
}

// testSkew runs the main scenarios with programs p, and replaces old plugs at its
// core by new ones, and those by old ones again.
func testSkew(t *testing.T, p, newPlugs, oldPlugs lab.Programs) {
	const size = 16 << 20
	line := overLine(p)
	relayed := func(t *testing.T, target string) *way {
		return &startPairOf(t, p, target, "--no-handoff").way
	}
	for _, s := range []struct {
		name  string
		start wayTo
	}{{"hand-off", line}, {"relay", relayed}} {
		t.Run(s.name, func(t *testing.T) {
			t.Run("half-close", func(t *testing.T) { halfClose(t, s.start, size) })
			t.Run("far reset", func(t *testing.T) { farReset(t, s.start) })
			t.Run("near reset", func(t *testing.T) { nearReset(t, s.start) })
		})
	}
	t.Run("kill in transfer", func(t *testing.T) { killPlugsInTransfer(t, p, 8*size) })
	t.Run("replace", func(t *testing.T) {
		echo, err := lab.Serve(lab.Echo)
		must(t, err)
		defer echo.Close()
		pair := startPairOf(t, p, echo.Addr())
		as := func(plugs lab.Programs, do func()) func() {
			return func() { pair.of["near"] = plugs; do() }
		}
		restart, kill := func() { pair.restart(nearProxy) }, func() { pair.kill(nearProxy) }
		takeOver := func() { pair.takeOver(nearProxy, "tcp-server") }
		for _, r := range []replacement{
			{"any by old", 1, 0, as(oldPlugs, restart)},
			{"old by old", 1, 0, as(oldPlugs, restart)},
			{"old killed", 1, 1, as(oldPlugs, kill)},
			{"old by new takes over", 1, 0, as(newPlugs, takeOver)},
			{"new killed", 1, 1, as(newPlugs, kill)},
			{"new by old takes over", 1, 0, as(oldPlugs, takeOver)},
			{"old by new", 1, 0, as(newPlugs, restart)},
		} {
			t.Run(r.name, func(t *testing.T) { r.underTraffic(t, &pair.way) })
		}
	})
}

// crossed links a near node to a far one, whose cores and plugs are of two versions
// each: a stream with bytes both ways, datagrams and a unit of the far node go through,
// also after core and plugs of either were restarted.
func crossed(t *testing.T, near, far lab.Programs, medium string) {
	t.Parallel()
	ours, err := plain()
	must(t, err)
	w := newWorkLabOf(t, ours, "near", patience)
	echo, err := lab.Serve(lab.Echo)
	must(t, err)
	t.Cleanup(echo.Close)
	link := freePort(t)
	if medium == "udp" {
		link = freeUDPPort(t)
	}
	datagrams := freeUDPPort(t)
	of := parts{
		of: map[string]lab.Programs{"near": near, "far": far}, medium: medium, change: w.marked,
		plugs: []string{"receptor-proxy-udp", "receptor-worker-command"},
		items: map[string][]string{
			"near": {
				"--control-service", "service=control",
				"--udp-server", "bindaddr=127.0.0.1", "port=" + strconv.Itoa(datagrams), "remotenode=far", "remoteservice=udp",
			},
			"far": {
				"--control-service", "service=control",
				"--udp-client", "service=udp", "address=" + answerUDP(t, "127.0.0.1:0"),
				"--work-command", "worktype=shout", "command=tr", "params=a-z A-Z",
			},
		},
	}
	p := startParts(t, w.Lab, w.ctx, echo.Addr(), link, of)
	p.carries(t, 4<<20)
	apps, err := net.Dial("udp", lab.Local(datagrams))
	must(t, err)
	defer apps.Close()
	all := func() {
		t.Helper()
		must(t, lab.WaitRoundTrip(w.ctx, p.entry))
		p.itemUp("near", "udp-server")
		for _, size := range []int{1, 1400, 9000, 60000} {
			must(t, ask(w.ctx, apps, bytes.Repeat([]byte{byte(size)}, size)))
		}
		must(t, p.WaitStatus(w.ctx, "near", func(s *lab.Status) bool { return len(s.Advertisement("far", "control").WorkCommands) > 0 }))
		out, err := w.Ctl(w.ctx, "near", "work", "submit", "shout", "--node", "far", "--payload-literal", "there and back", "--follow", "--rm")
		if err != nil || !strings.HasPrefix(out, "THERE AND BACK\n") {
			t.Errorf("a unit of the far node: %q, %v", out, err)
		}
	}
	all()
	for _, program := range append([]string{"receptor-backend-" + medium, "receptor-proxy-tcp", "receptor-core"}, of.plugs...) {
		for _, node := range []string{"near", "far"} {
			must(t, p.procs[node+" "+program].Stop())
			if program == "receptor-core" {
				p.core(node)
			} else {
				p.plug(node, program)
			}
		}
		all()
	}
}

// carries sends so many bytes there and back, and compares them.
func (w *way) carries(t *testing.T, size int64) {
	t.Helper()
	b := startBulk(w.ctx, t, w.entry)
	for b.Bytes.Load() < size {
		select {
		case <-b.Done:
			t.Fatalf("bulk stream: %v", b.Err)
		case <-time.After(pause):
		}
	}
	b.end(t)
}

// itemUp waits until an item of a node is up.
func (p *pair) itemUp(node, item string) {
	p.t.Helper()
	must(p.t, p.WaitStatus(p.ctx, node, func(s *lab.Status) bool { return s.Item(item).State == "up" }))
}

// unitsAcross runs a unit while its core, its worker and both are replaced by those of
// the other version, there and back: it runs once, and what it writes is read whole.
func unitsAcross(t *testing.T, then earlier) {
	t.Parallel()
	ours, err := plain()
	must(t, err)
	w := newWorkLabOf(t, ours, "a", patience)
	core := func(of lab.Programs) *lab.Process {
		p, err := w.StartOf(of, w.marked, "receptor-core", "--node", "id=a", "--local-only", "--work-command", "worktype=sh", "command=sh", `args=["-c", "`+strings.ReplaceAll(lines, `"`, `\"`)+`"]`)
		must(t, err)
		return p
	}
	worker := func(of lab.Programs) *lab.Process {
		p, err := w.StartOf(of, w.marked, "receptor-worker-command", "--socket", w.PlugSocket("a"))
		must(t, err)
		return p
	}
	for name, versions := range map[string][2]lab.Programs{"upgraded": {then.all, ours}, "downgraded": {ours, then.all}} {
		t.Run(name, func(t *testing.T) {
			from, to := versions[0], versions[1]
			c, p := core(from), worker(from)
			defer func() { must(t, c.Stop()); must(t, p.Stop()) }()
			w.offered("sh")
			files := t.TempDir()
			unit := w.submit("sh", files+"\n")
			w.await(unit, running)
			supervisor := w.supervisors()[unit]
			read := make(chan string, 1)
			go func() {
				var out strings.Builder
				_, err := w.c.Results(w.ctx, unit, client.From{}, func(c client.Chunk) error {
					out.Write(c.Data)
					return nil
				})
				if err != nil {
					t.Error(err)
				}
				read <- out.String()
			}()
			var want strings.Builder
			for n := 1; n <= 30; n++ {
				switch n {
				case 5: // the worker alone
					must(t, p.Stop())
					p = worker(to)
				case 10:
					p.Kill()
					p = worker(from)
				case 15: // the core alone
					must(t, c.Stop())
					c = core(to)
				case 20:
					c.Kill()
					c = core(from)
				case 25: // both
					must(t, p.Stop())
					must(t, c.Stop())
					c, p = core(to), worker(to)
				}
				must(t, os.WriteFile(filepath.Join(files, fmt.Sprintf("go%d", n)), nil, 0o600))
				fmt.Fprintf(&want, "line %d\n", n)
			}
			if out := <-read; out != want.String() {
				t.Errorf("a unit across versions has written %q", out)
			}
			if u, err := w.c.Status(w.ctx, unit); err != nil || u.State != client.Succeeded || supervisor == 0 {
				t.Errorf("%+v, %v; its supervisor was %d", u, err, supervisor)
			}
			released, err := w.c.Release(w.ctx, unit, false)
			if err != nil || !released {
				t.Errorf("release: %v, %v", released, err)
			}
		})
	}
}
