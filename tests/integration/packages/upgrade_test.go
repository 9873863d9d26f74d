//go:build linux

package packages

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/project-receptor/receptor/tests/integration/lab"
	"github.com/project-receptor/receptor/tests/integration/skew"
)

// older are the packages of the programs of an earlier version, in a folder beside
// those of this tree.
const older = "older"

// buildOlder makes them, or skips the test where a shallow clone lacks that version.
func buildOlder(t *testing.T) {
	t.Helper()
	versions, err := skew.Versions()
	must(t, err)
	dir := t.TempDir()
	then, err := versions[0].Build(t.Context(), dir)
	if errors.Is(err, skew.ErrAbsent) {
		t.Skipf("skipped: %v", err)
	}
	must(t, err)
	programs := filepath.Join(dir, "packaged")
	must(t, os.Mkdir(programs, 0o755))
	must(t, os.Symlink(then.Dir, filepath.Join(programs, "linux-"+runtime.GOARCH)))
	cmd := exec.CommandContext(t.Context(), "go", "run", "./tests/tools/cmd/packages", "-nfpm", filepath.Join(built.dir, "nfpm"),
		"-programs", programs, "-out", filepath.Join(built.debs, older), "-release", "0")
	for _, p := range promises {
		cmd.Args = append(cmd.Args, p.pkg)
	}
	cmd.Dir = built.repo.Dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("packages of %s: %v\n%s", versions[0].Short(), err, out)
	}
}

// upgrade installs one package, of this tree or the older one, over what is installed,
// and has its service start again as the package's script has systemd do it.
func (h *host) upgrade(pkg, from string) {
	h.t.Helper()
	h.installFrom(from, pkg)
	at := slices.IndexFunc(h.runs, func(s *service) bool { return s.Name == pkg })
	if at < 0 {
		return // it has no service
	}
	must(h.t, h.runs[at].Stop())
	h.runs = slices.Delete(h.runs, at, at+1)
	h.start(pkg)
}

// installFrom installs packages of one of the folders.
func (h *host) installFrom(from string, packages ...string) {
	h.t.Helper()
	args := []string{"dpkg", "--no-triggers", "--force-unsafe-io", "-i"}
	for _, p := range packages {
		files, err := filepath.Glob(filepath.Join(built.debs, from, p+"_*.deb"))
		if err != nil || len(files) != 1 {
			h.t.Fatalf("package %s: files %v, %v", p, files, err)
		}
		args = append(args, filepath.Join("/run/debs", from, filepath.Base(files[0])))
	}
	h.run(args...)
}

// site is a host with applications, linked to the edge over one medium.
type site struct {
	*host
	medium string
	entry  string // on the edge
}

// upgrading is an edge and three sites, of packages that are replaced one by one.
type upgrading struct {
	t     *testing.T
	ctx   context.Context
	edge  *host
	net   *lab.Host // the edge's
	sites []*site
}

// promise is what the users of a package notice when it is replaced.
type promise struct {
	pkg    string
	medium string // of the links that the traffic takes
	ends   bool   // streams that run are reset, and new ones until all is there again
	away   bool   // links go for a moment: new streams that have no other way are reset
	resets bool   // new streams may be reset when the process of the older version goes
}

var promises = []promise{
	{pkg: "receptor-backend-tcp", medium: "tcp"},
	{pkg: "receptor-backend-udp", medium: "udp", away: true},
	{pkg: "receptor-backend-ws", medium: "ws", away: true},
	{pkg: "receptor-proxy-tcp", medium: "tcp", resets: true}, // it gave its services up as it stopped
	{pkg: "receptor-proxy-udp", medium: "tcp"},
	{pkg: "receptor-worker-command", medium: "tcp"},
	{pkg: "receptorctl", medium: "tcp"},
	{pkg: "receptor-core", medium: "tcp", ends: true},
}

// Each package is upgraded and downgraded under connections, a bulk stream, datagrams
// and a running unit, on all hosts that have it. What is promised in docs/operators.md,
// section "Upgrading", holds.
func TestUpgradeUnderLoad(t *testing.T) {
	network, err := lab.NewNetwork()
	if err != nil {
		t.Skip("skipped: ", err)
	}
	t.Cleanup(func() { must(t, network.Close()) })
	buildOlder(t)
	ctx, cancel := context.WithTimeout(t.Context(), 3*patience)
	defer cancel()
	u := newUpgrading(t, ctx, network)
	record := []string{fmt.Sprintf("%-24s %-10s %11s %7s %6s %13s  %s", "package", "", "connections", "failed", "reset", "longest pause", "bulk stream")}
	for _, from := range []string{"", older} {
		for _, p := range promises {
			record = append(record, u.replace(p, from))
		}
	}
	t.Log("\n" + strings.Join(record, "\n"))
}

// newUpgrading starts all hosts with the older packages.
func newUpgrading(t *testing.T, ctx context.Context, network *lab.Network) *upgrading {
	t.Helper()
	at := func(name string) *lab.Host {
		h, err := network.Host(name)
		must(t, err)
		return h
	}
	u := &upgrading{t: t, ctx: ctx, net: at("edge")}
	base := []string{"receptor-core", "receptorctl", "receptor-proxy-tcp"}
	u.edge = newHost(t, "edge", u.net, "receptorctl")
	u.edge.installFrom(older, append(slices.Clone(base), "receptor-backend-tcp", "receptor-backend-udp", "receptor-backend-ws", "receptor-proxy-udp")...)
	items := "\n- control-service: {}\n"
	for i, medium := range []string{"tcp", "udp", "ws"} {
		there := at(medium)
		wire, err := network.Wire(u.net, there)
		must(t, err)
		s := &site{host: newHost(t, medium, there, "receptorctl"), medium: medium, entry: fmt.Sprintf("127.0.0.1:%d", 4000+i)}
		programs := append(slices.Clone(base), "receptor-backend-"+medium)
		address, config := wire.B+":27199", "\n- control-service: {}\n- tcp-client: {service: app, address: \"127.0.0.1:4001\"}\n"
		config += fmt.Sprintf("- %s-listener: {port: 27199}\n", medium)
		switch medium {
		case "ws":
			address = "ws://" + address
		case "tcp":
			programs = append(programs, "receptor-proxy-udp", "receptor-worker-command")
			config += "- udp-client: {service: udpapp, address: \"127.0.0.1:4001\"}\n- work-command: {worktype: sh, command: /bin/sh, params: -s}\n"
			app, err := there.ListenUDP("127.0.0.1:4001")
			must(t, err)
			var echoing sync.WaitGroup
			echoing.Go(func() { echoDatagrams(app) })
			t.Cleanup(func() {
				app.Close()
				echoing.Wait()
			})
		}
		s.installFrom(older, programs...)
		listener, err := there.Listen("127.0.0.1:4001")
		must(t, err)
		app := lab.ServeListener(listener, lab.Echo)
		t.Cleanup(app.Close)
		s.writeConfig(medium, config)
		items += fmt.Sprintf("- %s-peer: {address: %q}\n- tcp-server: {port: %d, bindaddr: 127.0.0.1, remotenode: %s, remoteservice: app}\n", medium, address, 4000+i, medium)
		u.sites = append(u.sites, s)
	}
	u.edge.writeConfig("edge", items+"- udp-server: {port: 4000, bindaddr: 127.0.0.1, remotenode: tcp, remoteservice: udpapp}\n")
	for _, h := range u.hosts() {
		h.startAll()
	}
	u.ready()
	return u
}

// writeConfig writes a configuration that both versions know. Who may use which socket is
// not what is tested here.
func (h *host) writeConfig(node, items string) {
	h.t.Helper()
	text := "---\n- node: {id: " + node + "}\n- plugs-policy:\n    mode: \"0666\"\n    rules: [{roles: {link: {}, stream: {}, packet: {}, worker: {}}}]\n" + items
	must(h.t, os.WriteFile(h.file("/etc/receptor/receptor.yml"), []byte(text), 0o644))
}

func (u *upgrading) hosts() []*host {
	hosts := []*host{u.edge}
	for _, s := range u.sites {
		hosts = append(hosts, s.host)
	}
	return hosts
}

// ready waits until all sites are reached, and all items are there.
func (u *upgrading) ready() {
	u.t.Helper()
	for _, h := range u.hosts() {
		h.wait(u.ctx, "all items and ways", func(s *lab.Status) bool {
			for _, i := range s.Items {
				if i.State != "up" {
					return false
				}
			}
			return len(s.RoutingTable) >= len(u.sites)
		})
	}
}

// echoDatagrams answers each with itself, until the socket is closed.
func echoDatagrams(c *net.UDPConn) {
	b := make([]byte, 1<<16)
	for {
		n, from, err := c.ReadFromUDPAddrPort(b)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil {
			_, _ = c.WriteToUDPAddrPort(b[:n], from) // whoever has asked asks again
		}
	}
}

// replace replaces a package on all hosts that have it, under load, checks what is
// promised of that, and returns the line of the record.
func (u *upgrading) replace(p promise, from string) string {
	u.t.Helper()
	way := u.sites[slices.IndexFunc(u.sites, func(s *site) bool { return s.medium == p.medium })]
	dial := func(ctx context.Context) (*net.TCPConn, error) { return u.net.Dial(ctx, way.entry) }
	bulk := func() *lab.Bulk {
		c, err := dial(u.ctx)
		must(u.t, err)
		u.t.Cleanup(func() { c.Close() })
		end, _ := u.ctx.Deadline()
		must(u.t, c.SetDeadline(end))
		return lab.StartBulk(c)
	}
	unit := u.startUnit()
	b, l := bulk(), lab.StartLoop(u.ctx, dial)
	old := from == "" // what goes is of the older version
	for _, h := range u.hosts() {
		must(u.t, l.More(u.ctx, 5))
		if h.has(p.pkg) {
			h.upgrade(p.pkg, from)
		}
	}
	u.ready()
	must(u.t, l.More(u.ctx, 5))
	if err := l.End(); err != nil {
		u.t.Errorf("%s: of %d connections: %v", p.pkg, l.Count.Load(), err)
	}
	if l.Resets > 0 && !p.ends && !p.away && (!p.resets || !old) {
		u.t.Errorf("%s: %d of %d connections were reset", p.pkg, l.Resets, l.Count.Load())
	}
	ended := "goes on"
	if err := b.End(); err != nil {
		ended = "reset"
		if !p.ends || !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) {
			u.t.Errorf("%s: bulk stream: %v", p.pkg, err)
		}
	}
	u.ask()
	u.endUnit(unit)
	u.settled(p, dial)
	version := "upgraded"
	if !old {
		version = "downgraded"
	}
	return fmt.Sprintf("%-24s %-10s %11d %7d %6d %13v  %s", p.pkg, version, l.Count.Load(), l.Failed, l.Resets, max(b.Pause, l.Slowest).Round(time.Millisecond), ended)
}

// settled checks that what was installed runs, and that everything is as before.
func (u *upgrading) settled(p promise, dial lab.Dial) {
	u.t.Helper()
	for _, h := range u.hosts() {
		for _, s := range h.runs {
			if s.Name == p.pkg {
				s.check(s.PID(), p.pkg, p.pkg)
			}
		}
	}
	l := lab.StartLoop(u.ctx, dial)
	must(u.t, l.More(u.ctx, 5))
	if err := l.End(); err != nil || l.Resets > 0 {
		u.t.Errorf("%s, afterwards: of %d connections %d were reset, %v", p.pkg, l.Count.Load(), l.Resets, err)
	}
}

// has tells whether a package is installed.
func (h *host) has(pkg string) bool {
	_, err := os.Stat(h.file("/usr/share/doc/" + pkg))
	return err == nil
}

// ask asks the application of datagrams until it answers, as resolvers do.
func (u *upgrading) ask() {
	u.t.Helper()
	c, err := u.net.DialUDP("127.0.0.1:4000")
	must(u.t, err)
	defer c.Close()
	question := []byte(time.Now().String())
	answer := make([]byte, 1<<10)
	for {
		if _, err := c.Write(question); err != nil {
			u.t.Errorf("a question: %v", err) // of one before, that nobody took: so the port was not kept
			return
		}
		must(u.t, c.SetReadDeadline(time.Now().Add(time.Second)))
		n, err := c.Read(answer)
		if err == nil && bytes.Equal(answer[:n], question) {
			return
		}
		must(u.t, u.ctx.Err())
	}
}

// runningUnit is a unit of the site that has workers, submitted at the edge, which
// ends when a file is there.
type runningUnit struct {
	id, file string
	pid      int // of its process
}

func (u *upgrading) startUnit() *runningUnit {
	u.t.Helper()
	far := u.sites[0].host
	r := &runningUnit{file: fmt.Sprintf("/tmp/go-%d", time.Now().UnixNano())}
	script := "echo $$ > " + r.file + ".pid; echo started; until [ -e " + r.file + " ]; do sleep 0.05; done; echo ended"
	for {
		out, err := u.edge.ctl("receptor", "work", "submit", "sh", "--node", "tcp", "--payload-literal", script)
		if err == nil {
			r.id = strings.TrimSpace(out[strings.LastIndex(out, ":")+1:])
			break
		}
		if !strings.Contains(out, "unknown work type") && !strings.Contains(out, "no route") {
			u.t.Fatalf("work submit: %v\n%s", err, out)
		}
		must(u.t, lab.Pause(u.ctx, 50*time.Millisecond))
	}
	for {
		text, err := os.ReadFile(far.file(r.file + ".pid"))
		if _, err := fmt.Sscan(string(text), &r.pid); err == nil {
			return r
		}
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			u.t.Fatal(err)
		}
		must(u.t, lab.Pause(u.ctx, 20*time.Millisecond))
	}
}

// endUnit expects that the unit still runs, ends it, and reads all that it wrote.
func (u *upgrading) endUnit(r *runningUnit) {
	u.t.Helper()
	if err := syscall.Kill(r.pid, 0); err != nil {
		u.t.Errorf("the process of unit %s: %v", r.id, err)
	}
	must(u.t, os.WriteFile(u.sites[0].file(r.file), nil, 0o644))
	out, err := u.edge.ctl("receptor", "work", "results", r.id)
	if err != nil || out != "started\nended\n" {
		u.t.Errorf("results of unit %s: %q, %v", r.id, out, err)
	}
}
