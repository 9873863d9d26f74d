package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// Network is hosts with wires between them: network namespaces and veth pairs, all
// of its own. Nothing outside of them is touched. It is for one goroutine.
type Network struct {
	name  string
	hosts []*Host
	wires int
}

// Host is a network namespace.
type Host struct {
	Name    string // of the namespace
	network *Network
}

// Wire is a wire between two hosts: A and B are the addresses of its ends.
type Wire struct {
	A, B string
	ends [2]struct {
		host   *Host
		device string
	}
}

// networks counts those of this process, for their names.
var networks atomic.Int64

// NewNetwork makes a network without hosts. An error says what a test that cannot
// have one is to say when it is skipped.
func NewNetwork() (*Network, error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("needs root, to make network namespaces")
	}
	for _, program := range []string{"ip", "nft", "tc"} {
		if _, err := exec.LookPath(program); err != nil {
			return nil, fmt.Errorf("needs the program %s", program)
		}
	}
	n := &Network{name: fmt.Sprintf("rl%d-%d", os.Getpid(), networks.Add(1))}
	if _, err := n.Host("probe"); err != nil {
		return nil, fmt.Errorf("needs network namespaces: %w", errors.Join(err, n.Close()))
	}
	return n, nil
}

// Close ends the network. Nothing may run on its hosts any more.
func (n *Network) Close() error {
	var errs []error
	for _, h := range n.hosts {
		errs = append(errs, command("", "ip", "netns", "delete", h.Name))
	}
	n.hosts = nil
	return errors.Join(errs...)
}

// command runs a program.
func command(input, program string, args ...string) error {
	cmd := exec.Command(program, args...)
	cmd.Stdin = strings.NewReader(input)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w: %s", program, strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

// Host makes a host, which has a loopback.
func (n *Network) Host(name string) (*Host, error) {
	h := &Host{Name: n.name + "-" + name, network: n}
	if err := command("", "ip", "netns", "add", h.Name); err != nil {
		return nil, err
	}
	n.hosts = append(n.hosts, h)
	return h, errors.Join(
		command("", "ip", "-n", h.Name, "link", "set", "lo", "up"),
		h.nft("add table inet lab\nadd chain inet lab in { type filter hook input priority 0; }\n"),
	)
}

// nft gives rules of the host's own.
func (h *Host) nft(rules string) error {
	return command(rules, "ip", "netns", "exec", h.Name, "nft", "-f", "-")
}

// IP runs the program ip with the host's network, and returns what it prints.
func (h *Host) IP(args ...string) (string, error) {
	out, err := exec.Command("ip", append([]string{"-n", h.Name}, args...)...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("ip %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return string(out), nil
}

// Run has a command run on the host, as the same process.
func (h *Host) Run(cmd *exec.Cmd) {
	cmd.Args = append([]string{"ip", "netns", "exec", h.Name, cmd.Path}, cmd.Args[1:]...)
	ip, err := exec.LookPath("ip")
	if err != nil {
		cmd.Err = err
	}
	cmd.Path = ip
}

// Do runs f on a thread that is on the host.
func (h *Host) Do(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // for good: the thread ends with the goroutine
		fd, err := unix.Open("/run/netns/"+h.Name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err == nil {
			err = errors.Join(unix.Setns(fd, unix.CLONE_NEWNET), unix.Close(fd))
		}
		if err == nil {
			err = f()
		}
		done <- err
	}()
	return <-done
}

// Listen listens on the host.
func (h *Host) Listen(address string) (l net.Listener, err error) {
	err = h.Do(func() (err error) {
		l, err = net.Listen("tcp", address)
		return err
	})
	return l, err
}

// Dial connects from the host to an address, which has to be a number, until it can.
func (h *Host) Dial(ctx context.Context, address string) (c *net.TCPConn, err error) {
	err = h.Do(func() (err error) {
		c, err = DialWait(ctx, address)
		return err
	})
	return c, err
}

// ListenUDP takes a UDP port on the host.
func (h *Host) ListenUDP(address string) (c *net.UDPConn, err error) {
	at, err := net.ResolveUDPAddr("udp", address)
	if err != nil {
		return nil, err
	}
	err = h.Do(func() (err error) {
		c, err = net.ListenUDP("udp", at)
		return err
	})
	return c, err
}

// DialUDP makes a UDP socket on the host that speaks to an address, which has to be
// a number.
func (h *Host) DialUDP(address string) (c *net.UDPConn, err error) {
	to, err := net.ResolveUDPAddr("udp", address)
	if err != nil {
		return nil, err
	}
	err = h.Do(func() (err error) {
		c, err = net.DialUDP("udp", nil, to)
		return err
	})
	return c, err
}

// Wire makes a wire between two hosts.
func (n *Network) Wire(a, b *Host) (*Wire, error) {
	n.wires++
	w := &Wire{A: fmt.Sprintf("10.77.%d.1", n.wires), B: fmt.Sprintf("10.77.%d.2", n.wires)}
	w.ends[0].host, w.ends[1].host = a, b
	for i := range w.ends {
		w.ends[i].device = fmt.Sprintf("w%d%c", n.wires, 'a'+i)
	}
	err := command("", "ip", "-n", a.Name, "link", "add", w.ends[0].device, "type", "veth", "peer", "name", w.ends[1].device, "netns", b.Name)
	if err != nil {
		return nil, err
	}
	for i, address := range []string{w.A, w.B} {
		e := w.ends[i]
		err = errors.Join(
			err,
			command("", "ip", "-n", e.host.Name, "address", "add", address+"/24", "dev", e.device),
			command("", "ip", "-n", e.host.Name, "link", "set", e.device, "up"),
			e.host.nft(fmt.Sprintf("add chain inet lab %[1]s\nadd rule inet lab in iifname %[1]s jump %[1]s\n", e.device)),
		)
	}
	return w, err
}

// Lose has so many packets in a hundred lost, each way: 100 cuts the wire, without
// a word to anybody.
func (w *Wire) Lose(percent int) error {
	if percent >= 100 {
		return w.rule("drop")
	}
	return w.rule(fmt.Sprintf("numgen random mod 100 < %d drop", percent))
}

// Reset cuts the wire for TCP, which both ends are told at once: resets still pass.
func (w *Wire) Reset() error { return w.rule("tcp flags & rst == 0 reject with tcp reset") }

// rule is the only one there is then for what comes in at both ends.
func (w *Wire) rule(rule string) error {
	var errs []error
	for _, e := range w.ends {
		errs = append(errs, e.host.nft(fmt.Sprintf("flush chain inet lab %[1]s\nadd rule inet lab %[1]s %[2]s\n", e.device, rule)))
	}
	return errors.Join(errs...)
}

// Unplug takes one end of the wire, 0 or 1, out of its host, which knows of no way there then; the
// other end only hears nothing more.
func (w *Wire) Unplug(end int) error { return w.link(end, "down") }

// Plug puts it in again.
func (w *Wire) Plug(end int) error { return w.link(end, "up") }

func (w *Wire) link(end int, state string) error {
	e := w.ends[end]
	return command("", "ip", "-n", e.host.Name, "link", "set", "dev", e.device, state)
}

// Slow bounds what the wire carries, each way, such as "10mbit".
func (w *Wire) Slow(rate string) error {
	var errs []error
	for _, e := range w.ends {
		errs = append(errs, command("", "tc", "-n", e.host.Name, "qdisc", "replace", "dev", e.device, "root", "tbf", "rate", rate, "burst", "64kb", "latency", "50ms"))
	}
	return errors.Join(errs...)
}

// Narrow bounds the size of packets on the wire, each way.
func (w *Wire) Narrow(mtu int) error {
	var errs []error
	for _, e := range w.ends {
		errs = append(errs, command("", "ip", "-n", e.host.Name, "link", "set", e.device, "mtu", strconv.Itoa(mtu)))
	}
	return errors.Join(errs...)
}
