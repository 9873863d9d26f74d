package integration

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/project-receptor/receptor/tests/integration/lab"
)

// replace starts a successor of a process of a plug, as an operator does, waits until it
// is attached, and returns its number.
func (p *pair) replace(plug string, pid int) int {
	p.t.Helper()
	node, program, _ := strings.Cut(plug, " ")
	cmd := exec.CommandContext(p.ctx, p.of[node].Path(program), "replace", strconv.Itoa(pid))
	cmd.Env = p.Env()
	// A file: its successor would keep a pipe open.
	out, err := os.Create(p.t.TempDir() + "/out")
	must(p.t, err)
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, out
	failed := cmd.Run()
	said, err := os.ReadFile(out.Name())
	must(p.t, errors.Join(failed, err))
	takes := regexp.MustCompile(`(?m)^` + program + `: process ([0-9]+) takes over from process ` + strconv.Itoa(pid) + `$`).FindSubmatch(said)
	if takes == nil { // its successor's log is there, too
		p.t.Fatalf("replace of process %d says %q", pid, said)
	}
	next, err := strconv.Atoi(string(takes[1]))
	must(p.t, err)
	process, err := os.FindProcess(next)
	must(p.t, err)
	p.t.Cleanup(func() {
		if p.t.Failed() {
			p.t.Logf("--- successor %d\n%s", next, said)
		}
		_ = process.Kill() // it may have ended
	})
	must(p.t, p.WaitStatus(p.ctx, node, func(s *lab.Status) bool {
		return slices.ContainsFunc(s.Plugs, func(plug lab.Plug) bool { return plug.PID == next })
	}))
	return next
}

// A proxy that relays is replaced, and its successor, too: what each of them relays goes
// on, whoever comes later is served, and each ends when it has nothing left.
func TestReplacedRelayGoesOn(t *testing.T) {
	t.Parallel()
	echo, err := lab.Serve(lab.Echo)
	must(t, err)
	defer echo.Close()
	p := startPair(t, echo.Addr(), "--no-handoff")
	for _, plug := range []string{nearProxy, farProxy} {
		first := p.dial(t)
		must(t, lab.Exchange(first, "of the first process"))
		old := p.procs[plug]
		second := p.replace(plug, old.PID())
		p.waitUp()
		must(t, lab.WaitRoundTrip(p.ctx, p.entry))
		through := p.dial(t)
		must(t, lab.Exchange(through, "of the second"))
		p.replace(plug, second)
		p.waitUp()
		must(t, lab.WaitRoundTrip(p.ctx, p.entry))
		must(t, lab.Exchange(first, "still there"))
		must(t, lab.Exchange(through, "still there, too"))
		select {
		case <-old.Done():
			t.Errorf("%s has ended under a connection: %s", plug, old.Output())
		default:
		}
		must(t, first.Close())
		status, err := old.ExitCode(p.ctx)
		if err != nil || status != 0 {
			t.Errorf("%s, which has nothing left: %d, %v", plug, status, err)
		}
		must(t, lab.Exchange(through, "still there without it"))
		must(t, through.Close())
		for {
			if _, err := os.Stat(fmt.Sprintf("/proc/%d/exe", second)); err != nil {
				break // or it waits for its parent
			}
			must(t, lab.Pause(p.ctx, pause))
		}
	}
}

// A backend that relays its links is replaced, at either end: they end and form again, no
// stream does, and connections of the moment wait.
func TestReplacedBackendCostsAMoment(t *testing.T) {
	for _, medium := range []string{"udp", "ws"} {
		t.Run(medium, func(t *testing.T) {
			t.Parallel()
			echo, err := lab.Serve(lab.Echo)
			must(t, err)
			defer echo.Close()
			port := freePort(t)
			if medium == "udp" {
				port = freeUDPPort(t)
			}
			p := startPairOver(t, programs, echo.Addr(), medium, port)
			for _, node := range []string{"near", "far"} {
				plug := node + " receptor-backend-" + medium
				b, l := startBulk(p.ctx, t, p.entry), startLoop(p.ctx, p.entry)
				must(t, l.More(p.ctx, 5))
				old := p.procs[plug]
				p.replace(plug, old.PID())
				must(t, l.More(p.ctx, 5))
				l.end(t, 0)
				b.end(t)
				if status, err := old.ExitCode(p.ctx); err != nil || status != 0 {
					t.Errorf("%s, which has nothing left: %d, %v", plug, status, err)
				}
				t.Logf("%s: longest pause %v", plug, max(b.Pause, l.Slowest).Round(time.Millisecond))
			}
		})
	}
}
