//go:build linux

package packages

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
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

// buildOlder makes them as that version did, with its units and scripts, or skips the
// test where a shallow clone lacks it.
func buildOlder(t *testing.T) {
	t.Helper()
	versions, err := skew.Versions()
	must(t, err)
	dir := t.TempDir()
	_, err = versions[0].Build(t.Context(), dir, func(tree string, then lab.Programs) error {
		programs := filepath.Join(dir, "packaged")
		if err := os.Mkdir(programs, 0o755); err != nil {
			return err
		}
		if err := os.Symlink(then.Dir, filepath.Join(programs, "linux-"+runtime.GOARCH)); err != nil {
			return err
		}
		cmd := exec.CommandContext(t.Context(), "go", "run", "./tests/tools/cmd/packages", "-nfpm", filepath.Join(built.dir, "nfpm"),
			"-programs", programs, "-out", filepath.Join(built.debs, older), "-release", "0")
		cmd.Dir = tree
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("packages of %s: %w\n%s", versions[0].Short(), err, out)
		}
		return nil
	})
	if errors.Is(err, skew.ErrAbsent) {
		t.Skipf("skipped: %v", err)
	}
	must(t, err)
	t.Logf("packages of %s are built", versions[0].Short())
}

// How a service goes over to what was installed.
const (
	byReload  = "reload"
	byStart   = "start"
	byNothing = "-" // there is no service
)

// upgrade installs one package, of this tree or the older one, over what is installed,
// and has its service go over to it as the package's script has systemd do it: it is
// reloaded if the unit that runs can be, and started again else. It tells which.
func (h *host) upgrade(ctx context.Context, pkg, from string) (by string) {
	h.t.Helper()
	h.installFrom(from, pkg)
	at := slices.IndexFunc(h.runs, func(s *service) bool { return s.Name == pkg })
	if at < 0 {
		return byNothing
	}
	s := h.runs[at]
	h.runs = slices.Delete(h.runs, at, at+1)
	if s.unit.one("ExecReload") != "" && readUnit(h.t, h, pkg).one("ExecReload") != "" {
		h.reload(ctx, s)
		return byReload
	}
	must(h.t, s.Stop())
	h.start(pkg)
	return byStart
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
	t        *testing.T
	ctx      context.Context
	edge     *host
	net      *lab.Host // the edge's
	sites    []*site
	launched *lab.Process // a node that the launcher runs on the edge
}

// What the traffic goes through, from the edge to the site with links over TCP, if it is
// not a proxy of streams to a site, named by its medium.
const (
	tunneled = "tunnel"   // network interfaces
	terminal = "terminal" // a session of the command service
	launched = "launched" // the proxy of a node that the launcher runs
)

// promise is what the users of a package notice when it is replaced.
type promise struct {
	pkg     string
	through string // what the traffic goes through: a medium, or one of the above
	ends    bool   // where it starts again streams that run are reset, and new ones until all is there again
	reloads bool   // it can be reloaded, which ends nothing
}

var promises = []promise{
	{pkg: "receptor-backend-tcp", through: "tcp", reloads: true},
	{pkg: "receptor-backend-udp", through: "udp", reloads: true},
	{pkg: "receptor-backend-ws", through: "ws", reloads: true},
	{pkg: "receptor-proxy-tcp", through: "tcp", reloads: true},
	{pkg: "receptor-proxy-udp", through: "tcp", reloads: true},
	{pkg: "receptor-proxy-tun", through: tunneled},
	{pkg: "receptor-worker-command", through: "tcp"},
	{pkg: "receptor-command-service", through: terminal, ends: true, reloads: true},
	{pkg: "receptorctl", through: "tcp"},
	{pkg: "receptor", through: launched},
	{pkg: "receptor-core", through: "tcp", ends: true},
}

// Each package is upgraded, replaced by itself and downgraded under connections, a
// stream that lasts, datagrams and a running unit, on all hosts that have it. What is
// promised in docs/operators.md, section "Upgrading", holds.
func TestUpgradeUnderLoad(t *testing.T) {
	network, err := lab.NewNetwork()
	if err != nil {
		t.Skip("skipped: ", err)
	}
	t.Cleanup(func() { must(t, network.Close()) })
	if _, err := os.Stat("/dev/net/tun"); err != nil {
		t.Skip("skipped: this system makes no TUN devices: ", err)
	}
	buildOlder(t)
	ctx, cancel := context.WithTimeout(t.Context(), 3*patience)
	defer cancel()
	u := newUpgrading(t, ctx, network)
	record := []string{fmt.Sprintf("%-24s %-10s %-8s %11s %7s %6s %13s  %s", "package", "", "by", "connections", "failed", "reset", "longest pause", "what lasts")}
	for _, stage := range []struct{ name, from string }{{"upgraded", ""}, {replacedByItself, ""}, {"downgraded", older}} {
		for _, p := range promises {
			if p.reloads || stage.name != replacedByItself {
				record = append(record, u.replace(p, stage.name, stage.from))
			}
		}
	}
	t.Log("\n" + strings.Join(record, "\n"))
	if err := u.launched.Stop(); err != nil {
		t.Error(err)
	}
	nothingLeft(t, u.hosts())
}

// replacedByItself is the stage in which this tree's services are reloaded: those of the
// older version need not know how.
const replacedByItself = "replaced"

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
	u.edge = newHost(t, "edge", u.net)
	var all []string // which the launcher needs
	for _, p := range promises {
		all = append(all, p.pkg)
	}
	u.edge.installFrom(older, all...)
	items := tunnel(0, "tcp") + "\n- control-service: {}\n"
	for i, medium := range []string{"tcp", "udp", "ws"} {
		there := at(medium)
		wire, err := network.Wire(u.net, there)
		must(t, err)
		s := &site{host: newHost(t, medium, there), medium: medium, entry: fmt.Sprintf("127.0.0.1:%d", 4000+i)}
		programs := append(slices.Clone(base), "receptor-backend-"+medium)
		address, config := wire.B+":27199", "\n- control-service: {}\n- tcp-client: {service: app, address: \"127.0.0.1:4001\"}\n"
		config += fmt.Sprintf("- %s-listener: {port: 27199}\n", medium)
		switch medium {
		case "ws":
			address = "ws://" + address
		case "tcp":
			u.launch(address)
			programs = append(programs, "receptor-proxy-udp", "receptor-proxy-tun", "receptor-worker-command", "receptor-command-service")
			config += tunnel(1, "edge") + "\n- command-service: {service: lines, command: /bin/cat}\n"
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
		listener, err := there.Listen("0.0.0.0:4001") // also for what comes out of the tunnel
		must(t, err)
		app := lab.ServeListener(listener, lab.Echo)
		t.Cleanup(app.Close)
		s.writeConfig(medium, config)
		items += fmt.Sprintf("- %s-peer: {address: %q}\n- tcp-server: {port: %d, bindaddr: 127.0.0.1, remotenode: %s, remoteservice: app}\n", medium, address, 4000+i, medium)
		u.sites = append(u.sites, s)
	}
	items += fmt.Sprintf("- tcp-server: {port: %d, bindaddr: 127.0.0.1, remotenode: tcp, remoteservice: lines}\n", linesPort)
	u.edge.writeConfig("edge", items+"- udp-server: {port: 4000, bindaddr: 127.0.0.1, remotenode: tcp, remoteservice: udpapp}\n")
	for _, h := range u.hosts() {
		h.startAll()
	}
	u.ready()
	return u
}

// Ports of the edge.
const (
	linesPort    = 4010 // to the command of the site
	launchedPort = 4020 // of the node that the launcher runs
)

// launch has the launcher run a node on the edge, with a link to a site of its own.
func (u *upgrading) launch(site string) {
	u.t.Helper()
	cmd := u.edge.command("receptor", "--node", "id=launched", "datadir=/tmp/launched", "--tcp-peer", "address="+site,
		"--tcp-server", fmt.Sprintf("port=%d", launchedPort), "bindaddr=127.0.0.1", "remotenode=tcp", "remoteservice=app")
	cmd.Env = append(cmd.Env, "RUNTIME_DIRECTORY=/run/launched")
	var err error
	u.launched, err = lab.Start("receptor", cmd)
	must(u.t, err)
	u.t.Cleanup(func() {
		if err := u.launched.Stop(); err != nil {
			u.t.Error(err)
		}
		if u.t.Failed() {
			u.t.Logf("--- the launcher\n%s", u.launched.Output())
		}
	})
}

// nothingLeft checks that with its services all that ran on a host has ended, and that
// the interface of the tunnel has gone.
func nothingLeft(t *testing.T, hosts []*host) {
	t.Helper()
	for _, h := range hosts {
		for _, s := range h.runs {
			must(t, s.Stop())
		}
		h.runs = nil
		out, err := exec.Command("ip", "netns", "pids", h.net.Name).CombinedOutput()
		must(t, err)
		for pid := range strings.FieldsSeq(string(out)) {
			if pid == strconv.Itoa(os.Getpid()) {
				continue // a thread that dialled there
			}
			line, _ := os.ReadFile("/proc/" + pid + "/cmdline") // it may have ended
			t.Errorf("process %s is left on %s: %q", pid, h.name, line)
		}
		links, err := h.net.IP("-o", "link", "show", "type", "tun")
		if err != nil || links != "" {
			t.Errorf("interfaces are left on %s: %s, %v", h.name, links, err)
		}
	}
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
			for _, other := range u.hosts() {
				if _, ok := s.RoutingTable[other.name]; !ok && other != h {
					return false
				}
			}
			return true
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

// dial connects through what a promise says to an application that echoes.
func (u *upgrading) dial(through string) lab.Dial {
	var entry string
	switch through {
	case tunneled:
		entry = ends[1] + ":4001"
	case terminal:
		entry = lab.Local(linesPort)
	case launched:
		entry = lab.Local(launchedPort)
	default:
		entry = u.sites[slices.IndexFunc(u.sites, func(s *site) bool { return s.medium == through })].entry
	}
	return func(ctx context.Context) (*net.TCPConn, error) { return u.net.Dial(ctx, entry) }
}

// replace replaces a package on all hosts that have it, under load, checks what is
// promised of that, and returns the line of the record.
func (u *upgrading) replace(p promise, stage, from string) string {
	u.t.Helper()
	dial := u.dial(p.through)
	c, err := dial(u.ctx)
	must(u.t, err)
	u.t.Cleanup(func() { c.Close() })
	end, _ := u.ctx.Deadline()
	must(u.t, c.SetDeadline(end))
	unit := u.startUnit()
	lasts := startLasting(c, p.through == terminal)
	l := lab.StartLoop(u.ctx, dial)
	by := byNothing
	for _, h := range u.hosts() {
		must(u.t, l.More(u.ctx, 5))
		if h.has(p.pkg) {
			by = h.upgrade(u.ctx, p.pkg, from)
		}
	}
	if p.reloads && stage == replacedByItself && by != byReload {
		u.t.Errorf("%s: the service is not reloaded", p.pkg)
	}
	mayEnd := p.ends && by == byStart
	u.ready()
	must(u.t, l.More(u.ctx, 5))
	if err := l.End(); err != nil {
		u.t.Errorf("%s, %s: of %d connections: %v", p.pkg, stage, l.Count.Load(), err)
	}
	if l.Resets > 0 && !mayEnd {
		u.t.Errorf("%s, %s: %d of %d connections were reset", p.pkg, stage, l.Resets, l.Count.Load())
	}
	ended := "goes on"
	pause, err := lasts()
	if err != nil {
		ended = "reset"
		if !mayEnd || !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) {
			u.t.Errorf("%s, %s: the stream that lasts: %v", p.pkg, stage, err)
		}
	}
	c.Close()
	u.ask()
	u.endUnit(unit)
	u.settled(p, dial)
	return fmt.Sprintf("%-24s %-10s %-8s %11d %7d %6d %13v  %s", p.pkg, stage, by, l.Count.Load(), l.Failed, l.Resets, max(pause, l.Slowest).Round(time.Millisecond), ended)
}

// startLasting starts what lasts on a connection: bytes without a pause, or, on a
// terminal, lines. What it returns ends it, and tells the longest pause.
func startLasting(c *net.TCPConn, onTerminal bool) (end func() (pause time.Duration, err error)) {
	if !onTerminal {
		b := lab.StartBulk(c)
		return func() (time.Duration, error) {
			err := b.End()
			return b.Pause, err
		}
	}
	stop, done := make(chan struct{}), make(chan error, 1)
	var pause time.Duration
	go func() {
		for n := 1; ; n++ {
			select {
			case <-stop:
				done <- nil
				return
			default:
			}
			asked := time.Now()
			if err := sayLine(c, fmt.Sprintf("line %d", n)); err != nil {
				done <- err
				return
			}
			pause = max(pause, time.Since(asked))
		}
	}()
	return func() (time.Duration, error) {
		close(stop)
		err := <-done
		return pause, err
	}
}

// sayLine types a line at a terminal, which shows it, and expects that the command
// there says it again.
func sayLine(c net.Conn, line string) error {
	if _, err := io.WriteString(c, line+"\n"); err != nil {
		return err
	}
	want := line + "\r\n" + line + "\r\n"
	got := make([]byte, len(want))
	if n, err := io.ReadFull(c, got); err != nil {
		return fmt.Errorf("after %q: %w", got[:n], err)
	}
	if string(got) != want {
		return fmt.Errorf("the terminal shows %q, expected %q", got, want)
	}
	return nil
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
		for _, s := range h.leaving {
			if code, err := s.ExitCode(u.ctx); err != nil || code != 0 {
				u.t.Errorf("%s on %s, which was replaced: exit status %d, %v", s.Name, h.name, code, err)
			}
		}
		h.leaving = nil
	}
	select {
	case <-u.launched.Done():
		u.t.Fatalf("%s: the launcher has ended:\n%s", p.pkg, u.launched.Output())
	default:
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
