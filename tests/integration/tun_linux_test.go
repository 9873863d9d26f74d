package integration

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/project-receptor/receptor/plug/plugtest/check"
	"github.com/project-receptor/receptor/plug/wire"
	"github.com/project-receptor/receptor/tests/integration/lab"
)

// tunDevice makes a file through which anybody may ask the kernel for TUN devices, as
// udev has it on installed systems; the capability is what it takes.
func tunDevice(t *testing.T) string {
	t.Helper()
	if _, err := os.Stat("/dev/net/tun"); err != nil {
		t.Skip("skipped: this kernel has no TUN devices: ", err)
	}
	dir, err := os.MkdirTemp("", "receptor-tun")
	must(t, err)
	t.Cleanup(func() { must(t, os.RemoveAll(dir)) })
	must(t, os.Chmod(dir, 0o755))
	name := filepath.Join(dir, "tun")
	if err := unix.Mknod(name, unix.S_IFCHR|0o666, int(unix.Mkdev(10, 200))); err != nil {
		t.Skip("skipped: needs to make a device file: ", err)
	}
	must(t, os.Chmod(name, 0o666))
	return name
}

// handSite is a node on a host whose core and plugs are started by hand: the core as one
// user without any right, the helper by root, as another with one capability.
type handSite struct {
	*lab.Lab
	t      *testing.T
	ctx    context.Context
	host   *lab.Host
	tun    string // the device file
	dir    string
	config string

	core, helper *lab.Process
}

func newHandSite(t *testing.T, l *lab.Lab, ctx context.Context, h *lab.Host, tun, node, items string) *handSite {
	t.Helper()
	s := &handSite{Lab: l, t: t, ctx: ctx, host: h, tun: tun, dir: filepath.Join(l.Dir, node)}
	must(t, os.Chmod(l.Dir, 0o755))
	must(t, os.Mkdir(s.dir, 0o755))
	for name, group := range map[string]int{"plugs": plugGroup, "state": coreUser} {
		d := filepath.Join(s.dir, name)
		must(t, os.Mkdir(d, 0o750))
		must(t, os.Chown(d, coreUser, group))
	}
	s.config = filepath.Join(s.dir, "node.yml")
	must(t, os.WriteFile(s.config, fmt.Appendf(nil, `---
- node:
    id: %s
    datadir: %s
- plugs-policy:
    socket: %s
    group: "%d"
    rules:
      - {user: "%d", kinds: ["tcp-*"]}
      - {user: "%d", roles: {packet: {bind: ["vpn"]}}}
%s`, node, filepath.Join(s.dir, "state"), s.socket(), plugGroup, backendUser, proxyUser, items), 0o644))
	s.startCore()
	s.start(asOn(backendUser), "receptor-backend-tcp", "--socket", s.socket())
	return s
}

func (s *handSite) socket() string { return filepath.Join(s.dir, "plugs", "plug.sock") }

func (s *handSite) start(change func(*exec.Cmd), program string, args ...string) *lab.Process {
	s.t.Helper()
	p, err := s.StartAs(func(c *exec.Cmd) {
		c.Args[0] = c.Path
		s.host.Run(c)
		change(c)
	}, program, args...)
	must(s.t, err)
	return p
}

// asOn is as, once ip has entered the host: setpriv becomes the user there.
func asOn(uid int) func(*exec.Cmd) {
	return func(c *exec.Cmd) {
		// ip netns exec HOST PROGRAM ...
		c.Args = slices.Insert(c.Args, 4, "setpriv", "--reuid", strconv.Itoa(uid), "--regid", strconv.Itoa(uid),
			"--groups", strconv.Itoa(plugGroup), "--inh-caps=-all", "--bounding-set=-all", "--")
	}
}

func (s *handSite) startCore() {
	s.t.Helper()
	s.core = s.start(asOn(coreUser), "receptor-core", "-c", s.config)
}

// startHelper starts the helper by root, with the device file where it looks for it.
func (s *handSite) startHelper(args ...string) {
	s.t.Helper()
	s.helper = s.start(func(c *exec.Cmd) {
		withDevice(s.t, c, s.tun)
	}, "receptor-proxy-tun", append([]string{"--socket", s.socket(), "--user", fmt.Sprintf("%d:%d", proxyUser, plugGroup)}, args...)...)
}

// withDevice has a command find that device file where it looks for it.
func withDevice(t *testing.T, c *exec.Cmd, tun string) {
	t.Helper()
	unshare, err := exec.LookPath("unshare")
	must(t, err)
	c.Args = slices.Concat([]string{"unshare", "--mount", "sh", "-c", `mount --bind "$0" /dev/net/tun && exec "$@"`, tun}, []string{c.Path}, c.Args[1:])
	c.Path = unshare
}

func (s *handSite) waitItem(state, reason string) lab.Item {
	s.t.Helper()
	var item lab.Item
	must(s.t, waitFor(s.ctx, func() (ok bool) {
		var err error
		item, err = s.item() // fails if the core is not there yet
		return err == nil && item.State == state && strings.Contains(item.Err, reason)
	}))
	return item
}

// item is the state of the tunnel.
func (s *handSite) item() (lab.Item, error) {
	st, err := s.StatusAt(s.ctx, filepath.Join(filepath.Dir(s.socket()), "control.sock"))
	if err != nil {
		return lab.Item{}, err
	}
	return st.Item("tun-proxy service=vpn"), nil
}

// rights are what /proc says of a process.
func rights(t *testing.T, p *lab.Process) map[string]string {
	t.Helper()
	b, err := os.ReadFile("/proc/" + strconv.Itoa(p.PID()) + "/status")
	must(t, err)
	all := map[string]string{}
	for line := range strings.Lines(string(b)) {
		key, value, _ := strings.Cut(line, ":")
		all[key] = strings.Join(strings.Fields(value), " ")
	}
	return all
}

const (
	noCapability = "0000000000000000"
	onlyNetAdmin = "0000000000001000"
)

// ping asks for an echo until it comes.
func ping(ctx context.Context, h *lab.Host, to string) error {
	network, request, reply := "ip4:icmp", byte(8), byte(0)
	if strings.Contains(to, ":") {
		network, request, reply = "ip6:ipv6-icmp", 128, 129
	}
	var c *net.IPConn
	err := h.Do(func() (err error) {
		c, err = net.DialIP(network, nil, &net.IPAddr{IP: net.ParseIP(to)})
		return err
	})
	if err != nil {
		return err
	}
	defer c.Close()
	id := uint16(os.Getpid())
	b := make([]byte, 2000)
	for n := uint16(1); ctx.Err() == nil; n++ {
		m := []byte{request, 0, 0, 0, byte(id >> 8), byte(id), byte(n >> 8), byte(n)}
		if request == 8 { // the system fills in that of ICMPv6
			sum := uint32(request)<<8 + uint32(id) + uint32(n)
			binary.BigEndian.PutUint16(m[2:], ^uint16(sum>>16+sum&0xffff))
		}
		if _, err := c.Write(m); err != nil {
			if err := lab.Pause(ctx, 100*time.Millisecond); err != nil {
				return err
			}
			continue // there is no route yet
		}
		for end := time.Now().Add(time.Second); ; {
			if err := c.SetReadDeadline(end); err != nil {
				return err
			}
			got, _, err := c.ReadFrom(b) // which leaves the IP header out
			if err != nil {
				break
			}
			if got == 8 && b[0] == reply && binary.BigEndian.Uint16(b[4:]) == id && binary.BigEndian.Uint16(b[6:]) == n {
				return nil
			}
		}
	}
	return fmt.Errorf("no echo from %s: %w", to, ctx.Err())
}

// narrowed sends datagrams that may not be cut into fragments until the host has heard
// what fits, and returns that.
func narrowed(ctx context.Context, h *lab.Host, to string) (mtu int, err error) {
	c, err := h.DialUDP(to)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, err
	}
	level, discover, ask, do := unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_MTU, unix.IP_PMTUDISC_DO
	if c.RemoteAddr().(*net.UDPAddr).IP.To4() == nil {
		level, discover, ask, do = unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_MTU, unix.IPV6_PMTUDISC_DO
	}
	var failed error
	if err := raw.Control(func(fd uintptr) { failed = unix.SetsockoptInt(int(fd), level, discover, do) }); err != nil || failed != nil {
		return 0, errors.Join(err, failed)
	}
	for {
		_, err := c.Write(make([]byte, 1340))
		if errors.Is(err, syscall.EMSGSIZE) {
			if err := raw.Control(func(fd uintptr) { mtu, failed = unix.GetsockoptInt(int(fd), level, ask) }); err != nil || failed != nil {
				return 0, errors.Join(err, failed)
			}
			return mtu, nil
		}
		if err := lab.Pause(ctx, 50*time.Millisecond); err != nil {
			return 0, err
		}
	}
}

// across is what applications on two hosts do with each other's address.
func across(t *testing.T, ctx context.Context, near, far *lab.Host, to string, size int64) {
	t.Helper()
	must(t, ping(ctx, near, to))
	l, err := far.Listen(net.JoinHostPort(to, "0"))
	must(t, err)
	app := lab.ServeListener(l, lab.Echo)
	t.Cleanup(app.Close)
	conn, err := near.Dial(ctx, app.Addr())
	must(t, err)
	x := transferOver(t, conn)
	start := time.Now()
	must(t, waitFor(ctx, func() bool { return x.bytes.Load() >= size }))
	x.finish(t)
	t.Logf("%d KiB there and back with %s in %.1f s", x.bytes.Load()>>10, to, time.Since(start).Seconds())
	u, err := far.ListenUDP(net.JoinHostPort(to, "0"))
	must(t, err)
	answerOn(t, u)
	asker, err := near.DialUDP(u.LocalAddr().String())
	must(t, err)
	defer asker.Close()
	for _, n := range []int{1, 1000, 8000} { // the last is many packets
		must(t, ask(ctx, asker, []byte(strings.Repeat("q", n-1)+"?")))
	}
}

// interfaceOf is an interface of a host; its index is 0 if there is none.
func interfaceOf(t *testing.T, h *lab.Host, name string) (i net.Interface) {
	t.Helper()
	must(t, h.Do(func() error {
		found, err := net.InterfaceByName(name)
		if err == nil {
			i = *found
		}
		return nil
	}))
	return i
}

// waitRoute waits until a host has a route, or has it not.
func waitRoute(t *testing.T, ctx context.Context, h *lab.Host, network, device string, there bool) {
	t.Helper()
	must(t, waitFor(ctx, func() bool {
		four, err := h.IP("route")
		must(t, err)
		six, err := h.IP("-6", "route")
		must(t, err)
		return strings.Contains(four+six, network+" dev "+device) == there
	}))
}

// A tunnel between two hosts. Of all processes only the helper has a capability, and
// only that one; the core has none and is not root. The helper comes back with interface
// and routes after it was killed; the interface stays when the core is.
func TestTunProxy(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	tun := tunDevice(t)
	l, ctx := newLab(t)
	near, err := n.Host("near")
	must(t, err)
	far, err := n.Host("far")
	must(t, err)
	wire, err := n.Wire(near, far)
	must(t, err)
	a := newHandSite(t, l, ctx, near, tun, "near", `- tcp-listener:
    port: 2001
- tun-proxy:
    interface: receptor0
    service: vpn
    remotenode: far
    remoteservice: vpn
    ifaddress: 10.91.0.1, fd91::1
    destaddress: 10.91.0.2, fd91::2
    route: 10.92.0.0/16, fd92::/64
`)
	b := newHandSite(t, l, ctx, far, tun, "far", `- tcp-peer:
    address: `+wire.A+`:2001
- ip-tunnel:
    interface: tun7
    service: vpn
    remotenode: near
    remoteservice: vpn
    ifaddress: 10.91.0.2, fd91::2
    destaddress: 10.91.0.1, fd91::1
    mtu: 1300
`)

	// Without the capability it says which is missing, and how it is given.
	powerless := a.start(asOn(proxyUser), "receptor-proxy-tun", "--socket", a.socket())
	a.waitItem("failed", "CAP_NET_ADMIN is missing")
	for _, w := range []string{"setcap cap_net_admin+ep", "AmbientCapabilities=CAP_NET_ADMIN"} {
		if !strings.Contains(powerless.Output(), w) {
			t.Errorf("without the capability the helper does not say %s", w)
		}
	}
	must(t, powerless.Stop())

	a.startHelper()
	b.startHelper("--allow-route", "10.91.0.0/16", "--allow-route", "fd91::/16", "--allow-interface", "tun7")
	if got := a.waitItem("up", "").Addr; got != "receptor0" {
		t.Errorf("the interface is %s", got)
	}
	b.waitItem("up", "")
	for _, to := range []string{"10.91.0.2:9", "[fd91::2]:9"} { // the far interface takes less
		mtu, err := narrowed(ctx, near, to)
		must(t, err)
		if mtu != 1300 {
			t.Errorf("packets to %s may have %d bytes, expected 1300", to, mtu)
		}
	}
	across(t, ctx, near, far, "10.91.0.2", 4<<20)
	across(t, ctx, near, far, "fd91::2", 4<<20)

	for _, p := range l.Processes() {
		if p == powerless {
			continue // it has ended
		}
		r := rights(t, p)
		want := noCapability
		if p.Name == "receptor-proxy-tun" {
			want = onlyNetAdmin
			if r["NoNewPrivs"] != "1" {
				t.Errorf("%s could be given privileges", p.Name)
			}
		}
		for _, set := range []string{"CapPrm", "CapEff", "CapBnd"} {
			if r[set] != want {
				t.Errorf("%s: %s is %s, expected %s", p.Name, set, r[set], want)
			}
		}
		if strings.HasPrefix(r["Uid"], "0 ") {
			t.Errorf("%s is root", p.Name)
		}
	}

	waitRoute(t, ctx, near, "10.92.0.0/16", "receptor0", true)
	waitRoute(t, ctx, near, "fd92::/64", "receptor0", true)
	a.helper.Kill()
	if i := interfaceOf(t, near, "receptor0"); i.Index != 0 {
		t.Error("the interface has outlived the helper")
	}
	a.startHelper()
	waitRoute(t, ctx, near, "10.92.0.0/16", "receptor0", true)
	waitRoute(t, ctx, near, "fd92::/64", "receptor0", true)
	must(t, ping(ctx, near, "10.91.0.2"))

	before := interfaceOf(t, near, "receptor0")
	a.core.Kill()
	a.startCore()
	must(t, ping(ctx, near, "10.91.0.2"))
	must(t, ping(ctx, far, "fd91::1"))
	if after := interfaceOf(t, near, "receptor0"); before.Index == 0 || after.Index != before.Index {
		t.Errorf("the interface had number %d before the core was killed, and has %d", before.Index, after.Index)
	}

	b.helper.Kill()
	b.startHelper()
	must(t, ping(ctx, near, "10.91.0.2"))
	a.waitItem("up", "")
	b.core.Kill()
	a.waitItem("degraded", "there is no way to far/vpn")
	waitRoute(t, ctx, near, "10.92.0.0/16", "receptor0", false)
	waitRoute(t, ctx, near, "fd92::/64", "receptor0", false)
	b.startCore()
	waitRoute(t, ctx, near, "10.92.0.0/16", "receptor0", true)
}

// Three sites whose networks reach each other, over IPv4 and IPv6, two of them through
// the third. The network of one that is gone is, too, and comes back with it.
func TestIPRouter(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	_ = tunDevice(t)
	l, ctx := newLab(t)
	hosts := map[string]*lab.Host{}
	items := map[string][]string{}
	for i, name := range []string{"hub", "east", "west"} {
		h, err := n.Host(name)
		must(t, err)
		hosts[name] = h
		for _, address := range []string{fmt.Sprintf("10.61.%d.1/32", i), fmt.Sprintf("fd61:%d::1/128", i)} { // of the site
			_, err := h.IP("address", "add", address, "dev", "lo")
			must(t, err)
		}
		items[name] = []string{
			"--node", "id=" + name, "--ip-router", "networkname=sites", "interface=receptor0",
			fmt.Sprintf("localnet=10.60.%d.0/30,fd60:%d::/126", i, i), fmt.Sprintf("routes=10.61.%d.0/24,fd61:%d::/64", i, i),
		}
		if name == "hub" {
			items[name] = append(items[name], "--tcp-listener", "1001")
			continue
		}
		wire, err := n.Wire(hosts["hub"], h)
		must(t, err)
		items[name] = append(items[name], "--tcp-peer", wire.A+":1001")
	}
	start := func(name string) *lab.Process {
		t.Helper()
		p, err := l.StartAs(func(c *exec.Cmd) { hosts[name].Run(c) }, "receptor", items[name]...)
		must(t, err)
		return p
	}
	start("hub")
	start("east")
	west := start("west")
	east := hosts["east"]
	waitRoute(t, ctx, east, "10.61.2.0/24", "receptor0", true)
	waitRoute(t, ctx, east, "fd61:2::/64", "receptor0", true)
	across(t, ctx, east, hosts["west"], "10.61.2.1", 1<<20)
	across(t, ctx, east, hosts["west"], "fd61:2::1", 1<<20)
	waitRoute(t, ctx, hosts["west"], "10.61.0.0/24", "receptor0", true)
	across(t, ctx, hosts["west"], hosts["hub"], "10.61.0.1", 1<<20)

	waitRoute(t, ctx, east, "10.61.0.0/24", "receptor0", true)
	must(t, west.Stop())
	for _, network := range []string{"10.61.2.0/24", "10.60.2.0/30", "fd61:2::/64"} {
		waitRoute(t, ctx, east, network, "receptor0", false)
	}
	must(t, ping(ctx, east, "10.61.0.1"))
	start("west")
	waitRoute(t, ctx, east, "10.61.2.0/24", "receptor0", true)
	must(t, ping(ctx, east, "10.61.2.1"))
	must(t, ping(ctx, east, "fd61:2::1"))
}

// The helper keeps the rules of the plug protocol, as far as they can be looked at
// without a UDP application.
func TestTunPlugConforms(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	_ = tunDevice(t)
	h, err := n.Host("check")
	must(t, err)
	cmd := exec.CommandContext(t.Context(), programs.Path("receptor-plugcheck"), "packet", "--medium", check.MediumNone, "--dial-kind", "tun-proxy",
		"--parallel", "4", "--timeout", "3m", "--json", "--exec", programs.Path("receptor-proxy-tun"))
	h.Run(cmd)
	out, err := cmd.Output()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	wantConform(t, string(out), wire.RolePacket, check.MediumNone)
}

// A helper whose file has the capability keeps that one only, too. It takes no limits
// from whoever has started it.
func TestTunCapabilityOfFile(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	setcap, err := exec.LookPath("setcap")
	if err != nil {
		t.Skip("skipped: needs the program setcap")
	}
	l, ctx := newLab(t)
	h, err := n.Host("file")
	must(t, err)
	tun := tunDevice(t)
	s := newHandSite(t, l, ctx, h, tun, "file", "- tun-proxy:\n    service: vpn\n    remotenode: other\n    remoteservice: vpn\n")
	must(t, os.Chmod(l.Dir, 0o755))
	program := filepath.Join(s.dir, "receptor-proxy-tun")
	must(t, exec.CommandContext(ctx, "cp", programs.Path("receptor-proxy-tun"), program).Run())
	must(t, os.Chmod(program, 0o755))
	if out, err := exec.CommandContext(ctx, setcap, "cap_net_admin+ep", program).CombinedOutput(); err != nil {
		t.Skipf("skipped: files have no capabilities here: %v: %s", err, out)
	}
	start := func(args ...string) *lab.Process {
		t.Helper()
		cmd := exec.Command("setpriv", append([]string{
			"--reuid", strconv.Itoa(proxyUser), "--regid", strconv.Itoa(proxyUser), "--groups", strconv.Itoa(plugGroup), program, "--socket", s.socket(),
		}, args...)...)
		cmd.Env = l.Env()
		h.Run(cmd)
		withDevice(t, cmd, tun)
		p, err := lab.Start("receptor-proxy-tun", cmd)
		must(t, err)
		t.Cleanup(p.Kill)
		return p
	}
	refused := start("--allow-route", "0.0.0.0/0")
	code, err := refused.ExitCode(ctx)
	must(t, err)
	if code != 2 || !strings.Contains(refused.Output(), "limits are not up to whoever starts it") {
		t.Errorf("exit status %d: %s", code, refused.Output())
	}
	p := start()
	s.waitItem("up", "")
	r := rights(t, p)
	if r["CapPrm"] != onlyNetAdmin || r["CapEff"] != onlyNetAdmin || r["NoNewPrivs"] != "1" || !strings.HasPrefix(r["Uid"], strconv.Itoa(proxyUser)+" ") {
		t.Errorf("rights %v", r)
	}
	must(t, p.Stop())
}
