package integration

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/project-receptor/receptor/tests/integration/lab"
)

// soak is long for a few seconds in make test, and an hour in make soak.
var soak = flag.Duration("soak", 20*time.Second, "how long TestLegacySoak watches its mesh")

const (
	soakLook   = 2 * time.Second // between looks
	soakReport = time.Minute     // between lines about what each program uses
	soakSlack  = 20              // descriptors more or less at a look
	soakWarm   = 5 * time.Minute // until what a program uses no longer grows
)

// soakRing is two models and two of ours in a ring by turns, all of them programs.
type soakRing struct {
	*lab.Lab
	t       *testing.T
	ctx     context.Context
	started time.Time
	entries []string                     // addresses that lead to an echo of a model
	models  map[string]*lab.Process      // by node
	ours    map[string]*lab.Process      // the launchers
	links   map[string]map[string]string // since when each of ours has its links
}

func newSoakRing(t *testing.T) *soakRing {
	t.Helper()
	l, ctx := newLabFor(t, programs, *soak+patience)
	r := &soakRing{Lab: l, t: t, ctx: ctx, started: time.Now(), models: map[string]*lab.Process{}, ours: map[string]*lab.Process{}}
	ab, bc, cd, da := freePort(t), freePort(t), freePort(t), freePort(t)
	ours := func(id, echoAt string, args ...string) {
		entry := freePort(t)
		r.entries = append(r.entries, lab.Local(entry))
		p, err := l.Start("receptor", append(append([]string{"--node", "id=" + id}, args...),
			"--tcp-server", "bindaddr=127.0.0.1", "port="+strconv.Itoa(entry), "remotenode="+echoAt, "remoteservice=echo")...)
		must(t, err)
		r.ours[id] = p
	}
	ours("b", "c", append(listens(ab), dials(bc)...)...)
	ours("d", "a", append(listens(cd), dials(da, "cost=2.5")...)...)
	model := func(id string, args ...string) {
		p, err := l.Start("legacy-node", append([]string{
			"-id", id, "-redial-pace", "0.1", "-report", "10s",
			"-control-socket", r.socket(id), "-control-service", "control", "-echo", "echo",
		}, args...)...)
		must(t, err)
		must(t, p.WaitOutput(ctx, "is up"))
		r.models[id] = p
	}
	model("a", "-tcp-listener", lab.Local(da), "-tcp-peer", lab.Local(ab), "-node-cost", "d=2.5")
	model("c", "-tcp-listener", lab.Local(bc), "-tcp-peer", lab.Local(cd))
	return r
}

// socket is the control socket of a model.
func (r *soakRing) socket(model string) string { return filepath.Join(r.Dir, model+".sock") }

func (r *soakRing) status(node string) (*lab.Status, error) {
	if r.models[node] != nil {
		return r.StatusAt(r.ctx, r.socket(node))
	}
	return r.Status(r.ctx, node)
}

// settle waits for the best ways and notes the links.
func (r *soakRing) settle() {
	for node := range bestWays() {
		for {
			s, err := r.status(node)
			if err == nil && maps.Equal(s.RoutingTable, bestWays()[node]) {
				break
			}
			if perr := lab.Pause(r.ctx, lab.PollEvery); perr != nil {
				r.t.Fatalf("%s never has its routes: %v, %v", node, err, perr)
			}
		}
	}
	r.links = map[string]map[string]string{}
	for _, node := range []string{"b", "d"} {
		s, err := r.status(node)
		must(r.t, err)
		r.links[node] = linksOf(s)
	}
}

// linksOf is since when a node has a link to each neighbour.
func linksOf(s *lab.Status) map[string]string {
	since := map[string]string{}
	for _, l := range s.Links {
		since[l.Peer+" "+l.State] = l.Since.String()
	}
	return since
}

// look expects that nothing has changed, and that pings and streams pass.
func (r *soakRing) look() {
	r.t.Helper()
	for node, best := range bestWays() {
		s, err := r.status(node)
		must(r.t, err)
		if !maps.Equal(s.RoutingTable, best) {
			r.t.Fatalf("%v after the start, the routes of %s are %v, expected %v", time.Since(r.started), node, s.RoutingTable, best)
		}
		if links := r.links[node]; links != nil && !maps.Equal(links, linksOf(s)) {
			r.t.Fatalf("%v after the start, the links of %s are %v, they were %v", time.Since(r.started), node, linksOf(s), links)
		}
	}
	for _, entry := range r.entries {
		must(r.t, lab.RoundTrip(r.ctx, entry))
	}
	for socket, to := range map[string]string{r.socket("a"): "c", r.Socket("b"): "d", r.socket("c"): "b"} {
		if out, err := r.PingAt(r.ctx, socket, to); err != nil {
			r.t.Fatalf("%v after the start: ping %s: %q, %v", time.Since(r.started), to, out, err)
		}
	}
}

// report prints what each program uses, and returns it.
func (r *soakRing) report() map[string]lab.Usage {
	r.t.Helper()
	all := map[string]lab.Usage{}
	lines := []string{}
	add := func(name string, pid int, goroutines string) {
		u, err := lab.UsageOf(pid)
		must(r.t, err)
		all[name] = u
		lines = append(lines, fmt.Sprintf("%-24s goroutines %4s  threads %3d  descriptors %3d  RSS %6d KiB", name, goroutines, u.Threads, u.Descriptors, u.RSS))
	}
	for id, p := range r.models {
		counts := regexp.MustCompile(`goroutines (\d+)`).FindAllStringSubmatch(p.Output(), -1)
		add("legacy-node "+id, p.PID(), counts[len(counts)-1][1])
	}
	for node, p := range r.ours {
		children, err := lab.Children(p.PID())
		must(r.t, err)
		for _, c := range children {
			goroutines := "-"
			if c.Program == "receptor-core" {
				s, err := r.status(node)
				must(r.t, err)
				goroutines = strconv.Itoa(s.Goroutines)
			}
			add(c.Program+" "+node, c.PID, goroutines)
		}
	}
	slices.Sort(lines)
	r.t.Logf("%v\n%s", time.Since(r.started), strings.Join(lines, "\n"))
	return all
}

// Nothing changes in a mixed ring that nobody touches, whatever passes through
// it, and no program needs ever more.
func TestLegacySoak(t *testing.T) {
	r := newSoakRing(t)
	r.settle()
	r.report()
	var warm map[string]lab.Usage
	looks, reported := 0, time.Now()
	for settled := time.Now(); time.Since(settled) < *soak; looks++ {
		r.look()
		must(t, lab.Pause(r.ctx, soakLook))
		if time.Since(reported) < soakReport {
			continue
		}
		reported = time.Now()
		if usage := r.report(); warm == nil && time.Since(settled) > soakWarm {
			warm = usage
		}
	}
	usage := r.report()
	for name, w := range warm {
		if u := usage[name]; u.Descriptors > w.Descriptors+soakSlack {
			t.Errorf("%s has %d descriptors, and had %d after %v", name, u.Descriptors, w.Descriptors, soakWarm)
		}
	}
	t.Logf("nothing has changed at %d looks in %v", looks, *soak)
}
