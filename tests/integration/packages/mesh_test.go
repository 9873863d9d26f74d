//go:build linux

package packages

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/project-receptor/receptor/tests/integration/lab"
	table "github.com/project-receptor/receptor/tests/tools/packages"
)

// patience is ten times what the slowest step here takes on two busy cores.
const patience = 2 * time.Minute

// authority makes certificates with the installed launcher.
type authority struct {
	t   *testing.T
	dir string
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t, t.TempDir()}
	a.receptor("--cert-init", "commonname=mesh", "bits=2048", "outcert=ca.pem", "outkey=ca.key")
	return a
}

func (a *authority) receptor(args ...string) {
	a.t.Helper()
	cmd := exec.Command(filepath.Join(built.programs, "receptor"), args...)
	cmd.Dir = a.dir
	if out, err := cmd.CombinedOutput(); err != nil {
		a.t.Fatalf("receptor %v: %v\n%s", args, err, out)
	}
}

// give gives a host the key and certificate of a node, as the sample configuration
// expects them: for the group of those that read keys.
func (a *authority) give(h *host, node string, addresses ...string) {
	a.t.Helper()
	args := []string{"--cert-makereq", "commonname=" + node, "bits=2048", "nodeid=" + node, "outreq=" + node + ".csr", "outkey=" + node + ".key"}
	for _, address := range addresses {
		args = append(args, "ipaddress="+address)
	}
	a.receptor(args...)
	a.receptor("--cert-signreq", "req="+node+".csr", "cacert=ca.pem", "cakey=ca.key", "outcert="+node+".pem", "verify=true")
	group, _ := h.id("group", "receptor-tls")
	for from, to := range map[string]string{"ca.pem": "ca.pem", node + ".pem": "node.pem", node + ".key": "node.key"} {
		text, err := os.ReadFile(filepath.Join(a.dir, from))
		must(a.t, err)
		path := h.file("/etc/receptor/tls/" + to)
		must(a.t, os.WriteFile(path, text, 0o640))
		must(a.t, os.Chmod(path, 0o640))
		must(a.t, os.Chown(path, 0, group))
	}
}

// configure makes the installed sample the configuration of a node, by the profiles
// that it shows and more items.
func (h *host) configure(node, items string, changes ...string) {
	h.t.Helper()
	text := h.sample(node)
	_, profiles, ok := strings.Cut(text, "#\n# - tls-server:\n")
	profiles, _, ok2 := strings.Cut(profiles, "#\n# - tcp-listener:\n")
	if !ok || !ok2 {
		h.t.Fatal("the sample configuration shows no profiles of TLS")
	}
	text = strings.NewReplacer(changes...).Replace(text)
	h.write(text + strings.ReplaceAll("# - tls-server:\n"+profiles, "# ", "") + items)
}

// sample is the installed sample configuration, with an ID for the node.
func (h *host) sample(node string) string {
	h.t.Helper()
	sample, err := os.ReadFile(h.file("/etc/receptor/receptor.yml"))
	must(h.t, err)
	text := strings.Replace(string(sample), "# id: alpha", "id: "+node, 1)
	if text == string(sample) {
		h.t.Fatal("the sample configuration has no place for the node ID")
	}
	return text
}

// write writes the configuration, and has it checked.
func (h *host) write(text string) {
	h.t.Helper()
	must(h.t, os.WriteFile(h.file("/etc/receptor/receptor.yml"), []byte(text), 0o644))
	h.run("receptor-core", "-c", "/etc/receptor/receptor.yml", "--check")
}

// status asks the node of a host, as a member of the operators' group.
func (h *host) status() (*lab.Status, error) {
	out, err := h.ctl("receptor", "status", "--json")
	if err != nil {
		return nil, fmt.Errorf("%w: %s", err, out)
	}
	s := &lab.Status{}
	return s, json.Unmarshal([]byte(out), s)
}

// wait waits until the status of a host's node is right.
func (h *host) wait(ctx context.Context, what string, ok func(*lab.Status) bool) {
	h.t.Helper()
	for {
		s, err := h.status()
		if err == nil && ok(s) {
			return
		}
		if ctx.Err() != nil {
			text, _ := json.MarshalIndent(s, "", " ")
			h.t.Fatalf("%s: waited for %s: %v\n%s", h.name, what, err, text)
		}
		if err := lab.Pause(ctx, 50*time.Millisecond); err != nil {
			continue // the last look says what there is
		}
	}
}

// Hosts with just what they need. Nodes, backends, proxies and worker are
// services of different users, as their units say; links have TLS, as the sample
// configuration wants them. The hop has a core and a backend and nothing that could
// run a job.
func TestMeshOfInstalledPackages(t *testing.T) {
	network, err := lab.NewNetwork()
	if err != nil {
		t.Skip("skipped: ", err)
	}
	t.Cleanup(func() {
		if err := network.Close(); err != nil {
			t.Error(err)
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	at := func(name string) *lab.Host {
		h, err := network.Host(name)
		must(t, err)
		return h
	}
	edgeNet, hopNet, siteNet, sideNet := at("edge"), at("hop"), at("site"), at("side")
	wire := func(a, b *lab.Host) *lab.Wire {
		w, err := network.Wire(a, b)
		must(t, err)
		return w
	}
	edgeHop, hopSite, edgeSite, edgeSide := wire(edgeNet, hopNet), wire(hopNet, siteNet), wire(edgeNet, siteNet), wire(edgeNet, sideNet)

	// Of all but the launcher: the edge has no need of what runs jobs.
	var ends, jobs []string
	for _, p := range table.In(built.repo) {
		switch p.Name {
		case "receptor":
		case "receptor-worker-command", "receptor-command-service":
			jobs = append(jobs, p.Name)
		default:
			ends = append(ends, p.Name)
		}
	}
	edge := newHost(t, "edge", edgeNet, ends...)
	site := newHost(t, "site", siteNet, slices.Concat(ends, jobs)...)
	hop := newHost(t, "hop", hopNet, "receptor-core", "receptor-backend-tcp")

	side := newHost(t, "side", sideNet, "receptor-core", "receptorctl", "receptor-backend-udp")

	a := newAuthority(t)
	a.give(edge, "edge")
	a.give(hop, "hop", edgeHop.B)
	a.give(site, "site", hopSite.B, edgeSite.B)
	a.give(side, "side")
	// The cheapest way leads over the hop. The sample is as it is, but where there is a
	// link over UDP, which has no TLS.
	hop.configure("hop", `
- tcp-listener: {port: 27199, tls: mesh}
- tcp-peer: {address: "`+hopSite.B+`:27199", tls: mesh}
- control-service: {}
- work-command: {worktype: shout, command: /usr/bin/tr}
`)
	site.configure("site", tunnel(1, "edge")+`
- tcp-listener: {port: 27199, tls: mesh}
- ws-listener: {port: 27198, tls: mesh, cost: 10}
- control-service: {}
- tcp-client: {service: app, address: "127.0.0.1:4001"}
- udp-client: {service: udpapp, address: "127.0.0.1:4001"}
- work-command: {worktype: shout, command: /usr/bin/tr, params: a-z A-Z}
- work-command: {worktype: linger, command: /usr/bin/sleep, params: "100000"}
- command-service: {service: shell, command: /usr/bin/id -un}
`)
	side.configure("side", "- udp-listener: {port: 27197}\n", "requiretls: true ", "requiretls: false")
	edge.configure("edge", tunnel(0, "site")+`
- tcp-peer: {address: "`+edgeHop.B+`:27199", tls: mesh}
- ws-peer: {address: "wss://`+edgeSite.B+`:27198/", tls: mesh, cost: 10}
- udp-peer: {address: "`+edgeSide.B+`:27197"}
- control-service: {}
- tcp-server: {port: 4000, bindaddr: 127.0.0.1, remotenode: site, remoteservice: app}
- udp-server: {port: 4000, bindaddr: 127.0.0.1, remotenode: site, remoteservice: udpapp}
`, "requiretls: true ", "requiretls: false")
	hosts := []*host{edge, hop, site, side}
	for _, h := range hosts {
		h.startAll()
	}

	listener, err := siteNet.Listen("127.0.0.1:4001")
	must(t, err)
	app := lab.ServeListener(listener, lab.Echo)
	t.Cleanup(app.Close)
	edge.wait(ctx, "all links, and the way over the hop", func(s *lab.Status) bool {
		return s.RoutingTable["site"] == "hop" && len(s.Links) == 3 && !slices.ContainsFunc(s.Links, func(l lab.Link) bool { return l.State != "established" })
	})
	site.wait(ctx, "the way over the hop", func(s *lab.Status) bool { return s.RoutingTable["edge"] == "hop" })
	conn, err := edgeNet.Dial(ctx, "127.0.0.1:4000")
	must(t, err)
	roundTrip(ctx, t, conn)
	udpApp, err := siteNet.ListenUDP("127.0.0.1:4001")
	must(t, err)
	datagrams(ctx, t, edgeNet, udpApp)
	for _, h := range hosts {
		for _, s := range h.runs {
			s.check(s.PID(), s.Name, s.Name)
		}
	}
	t.Run("IP", func(t *testing.T) { throughTunnel(ctx, t, edge, site) })
	t.Run("a command on a terminal", func(t *testing.T) { runCommand(ctx, t, edge, site) })
	t.Run("units of work", func(t *testing.T) { runUnits(ctx, t, edge, site) })
	t.Run("the hop runs no job", func(t *testing.T) { hopRunsNothing(ctx, t, edge, hop) })
	t.Run("a plug is no operator", func(t *testing.T) {
		if out, err := edge.ctl("receptor-plug", "status"); err == nil || !strings.Contains(out, "permission denied") {
			t.Errorf("who may attach plugs gets status: %v, %s", err, out)
		}
	})
}

// startAll starts all services that are installed on the host: plugs first, since any
// order will do.
func (h *host) startAll() {
	h.t.Helper()
	units, err := filepath.Glob(h.file("/usr/lib/systemd/system/receptor-*.service"))
	must(h.t, err)
	if len(units) == 0 {
		h.t.Fatalf("%s: no unit is installed", h.name)
	}
	slices.SortFunc(units, func(a, b string) int { return strings.Compare(b, a) })
	for _, u := range units {
		h.start(strings.TrimSuffix(filepath.Base(u), ".service"))
	}
}

// roundTrip sends bytes through the mesh, to what sends them back.
func roundTrip(ctx context.Context, t *testing.T, c *net.TCPConn) {
	t.Helper()
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	_, err := c.Write([]byte("hello"))
	must(t, errors.Join(err, c.CloseWrite()))
	if b, err := io.ReadAll(c); err != nil || string(b) != "hello" {
		t.Errorf("a stream through the mesh brought %q, %v", b, err)
	}
}

// datagrams sends datagrams through the mesh until one has arrived: any may be lost.
func datagrams(ctx context.Context, t *testing.T, from *lab.Host, app *net.UDPConn) {
	t.Helper()
	defer app.Close()
	c, err := from.DialUDP("127.0.0.1:4000")
	must(t, err)
	defer c.Close()
	b := make([]byte, 100)
	for ctx.Err() == nil {
		_, err := c.Write([]byte("hello"))
		must(t, err)
		must(t, app.SetReadDeadline(time.Now().Add(100*time.Millisecond)))
		if n, err := app.Read(b); err == nil && string(b[:n]) == "hello" {
			return
		}
	}
	t.Error("no datagram has come through the mesh")
}

// ends are the addresses of the tunnel.
var ends = []string{"10.88.0.1", "10.88.0.2"}

// tunnel is one end of it.
func tunnel(end int, to string) string {
	return fmt.Sprintf("\n- tun-proxy: {service: tun, remotenode: %s, remoteservice: tun, ifaddress: %s, destaddress: %s}", to, ends[end], ends[1-end])
}

// installed skips a test of a package that is not on the host.
func (h *host) installed(t *testing.T, name string) {
	t.Helper()
	if !slices.ContainsFunc(h.runs, func(s *service) bool { return s.Name == name }) {
		t.Skip("skipped: there is no ", name)
	}
}

// throughTunnel sends bytes through network interfaces that the proxy makes, whose
// user may make such and nothing else.
func throughTunnel(ctx context.Context, t *testing.T, edge, site *host) {
	site.installed(t, "receptor-proxy-tun")
	if _, err := os.Stat("/dev/net/tun"); err != nil {
		t.Skip("skipped: this system makes no TUN devices: ", err)
	}
	up := func(s *lab.Status) bool {
		return slices.ContainsFunc(s.Items, func(i lab.Item) bool { return i.Kind == "tun-proxy" && i.State == "up" })
	}
	site.wait(ctx, "the tunnel", up)
	edge.wait(ctx, "the tunnel", up)
	listener, err := site.net.Listen(ends[1] + ":4002")
	must(t, err)
	app := lab.ServeListener(listener, lab.Echo)
	defer app.Close()
	conn, err := edge.net.Dial(ctx, ends[1]+":4002")
	must(t, err)
	roundTrip(ctx, t, conn)
}

// runCommand has a command run at the site for the edge, as the service's user.
func runCommand(ctx context.Context, t *testing.T, edge, site *host) {
	site.installed(t, "receptor-command-service")
	site.wait(ctx, "the command service", func(s *lab.Status) bool {
		return slices.ContainsFunc(s.Items, func(i lab.Item) bool { return i.Kind == "command-service" && i.State == "up" })
	})
	if out, err := edge.ctl("receptor", "connect", "site", "shell"); err != nil || strings.TrimSpace(out) != "receptor-command-service" {
		t.Errorf("connect: %v, %q", err, out)
	}
}

// runUnits has the site run units for the edge, and looks at the processes of one.
func runUnits(ctx context.Context, t *testing.T, edge, site *host) {
	site.wait(ctx, "the worker", func(s *lab.Status) bool { return s.Item("work-command worktype=linger").State == "up" })
	out, err := edge.ctl("receptor", "work", "submit", "shout", "--node", "site", "--payload-literal", "hello", "--follow")
	if err != nil || !strings.Contains(out, "HELLO") {
		t.Errorf("work submit: %v\n%s", err, out)
	}
	out, err = site.ctl("receptor", "work", "submit", "linger", "--no-payload")
	if err != nil {
		t.Fatalf("work submit: %v\n%s", err, out)
	}
	id := regexp.MustCompile(`\b[A-Za-z0-9]{8}\b`).FindString(out[strings.Index(out, ":")+1:])
	job := site.processOf(ctx, "/usr/bin/sleep")
	worker := site.service("receptor-worker-command")
	for key, got := range statusOf(t, job) {
		if want, ok := worker.expected()[key]; ok && got != want {
			t.Errorf("a process of a unit has %s %q, expected %q", key, got, want)
		}
	}
	worker.check(site.processOf(ctx, "/usr/bin/receptor-work-supervisor"), "receptor-worker-command", "receptor-work-supervisor")
	if out, err := site.ctl("receptor", "work", "cancel", id); err != nil {
		t.Errorf("work cancel %s: %v\n%s", id, err, out)
	}
	for _, err := os.Stat(fmt.Sprintf("/proc/%d", job)); err == nil; _, err = os.Stat(fmt.Sprintf("/proc/%d", job)) {
		must(t, lab.Pause(ctx, 20*time.Millisecond))
	}
}

// processOf waits for a process that runs a program of the host, and returns its number.
func (h *host) processOf(ctx context.Context, program string) int {
	h.t.Helper()
	file, err := os.Stat(h.file(program))
	must(h.t, err)
	for {
		links, err := filepath.Glob("/proc/[0-9]*/exe")
		must(h.t, err)
		for _, l := range links {
			if exe, err := os.Stat(l); err == nil && os.SameFile(exe, file) {
				pid, err := strconv.Atoi(filepath.Base(filepath.Dir(l)))
				must(h.t, err)
				return pid
			}
		}
		must(h.t, lab.Pause(ctx, 20*time.Millisecond))
	}
}

// service is a service of the host that runs.
func (h *host) service(name string) *service {
	return h.runs[slices.IndexFunc(h.runs, func(s *service) bool { return s.Name == name })]
}

// hopRunsNothing shows that nothing on the hop can run a job, though its configuration
// has one: by what is there, and by trying.
func hopRunsNothing(ctx context.Context, t *testing.T, edge, hop *host) {
	want := []string{"/usr/bin/receptor-backend-tcp", "/usr/bin/receptor-core"}
	var programs []string
	for pkg := range strings.FieldsSeq(hop.run("dpkg-query", "-W", "-f", "${Package}\n", "receptor*")) {
		for file := range strings.Lines(hop.run("dpkg", "-L", pkg)) {
			file = strings.TrimSpace(file)
			if i, err := os.Stat(hop.file(file)); err == nil && i.Mode().IsRegular() && i.Mode()&0o111 != 0 {
				programs = append(programs, file)
			}
		}
	}
	if slices.Sort(programs); !slices.Equal(programs, want) {
		t.Errorf("programs of packages on the hop: %v, expected %v", programs, want)
	}
	for _, p := range want {
		if executes(t, hop.file(p)) {
			t.Errorf("%s can start programs", p)
		}
	}
	if launcher := filepath.Join(built.programs, "receptor"); !executes(t, launcher) {
		t.Errorf("%s starts programs, but is not seen to: nothing is shown by that the others are not", launcher)
	}
	const refused = "unknown work type shout"
	out, err := edge.ctl("receptor", "work", "submit", "shout", "--node", "hop", "--payload-literal", "hello", "--follow")
	if err == nil || !strings.Contains(out, refused) {
		t.Errorf("a unit for the hop: %v, %s; expected %q", err, out, refused)
	}
	// There is no receptorctl on the hop; this is from elsewhere, at its own socket.
	ctl := func(args ...string) ([]byte, error) {
		socket := hop.file("/run/receptor/node/control.sock")
		return exec.CommandContext(ctx, filepath.Join(built.programs, "receptorctl"), append([]string{"--socket", socket}, args...)...).CombinedOutput()
	}
	if text, err := ctl("work", "submit", "shout", "--payload-literal", "hello"); err == nil || !strings.Contains(string(text), refused) {
		t.Errorf("a unit at the hop itself: %v, %s; expected %q", err, text, refused)
	}
	text, err := ctl("status", "--json")
	must(t, err)
	var s lab.Status
	must(t, json.Unmarshal(text, &s))
	at := slices.IndexFunc(s.Items, func(i lab.Item) bool { return i.Kind == "work-command" })
	if at < 0 || s.Items[at].State != "waiting" {
		t.Errorf("the hop's items are %+v, expected work-command to wait for a worker", s.Items)
	}
}

// executes tells whether a program has code that starts programs.
func executes(t *testing.T, file string) bool {
	t.Helper()
	text, err := os.ReadFile(file)
	must(t, err)
	return bytes.Contains(text, []byte("os/exec.(*Cmd).Start"))
}
