package backendtcp

import (
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/project-receptor/receptor/plug/plugtest"
	"github.com/project-receptor/receptor/plug/schema"
	"github.com/project-receptor/receptor/plug/wire"
)

func listenLoopback(t *testing.T, addr string) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// wantPassed checks that what is said on one side is heard on the other.
func wantPassed(t *testing.T, to io.Writer, from io.Reader) {
	t.Helper()
	const frame = "\x05\x00hello"
	if _, err := io.WriteString(to, frame); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(frame))
	if _, err := io.ReadFull(from, got); err != nil || string(got) != frame {
		t.Fatalf("heard %q, %v", got, err)
	}
}

func TestKinds(t *testing.T) {
	t.Parallel()
	if _, err := New().Hello(""); err != nil {
		t.Error(err)
	}
	for line, want := range map[string]string{
		"2222":      "tcp-listener port=2222",
		"localhost": `tcp-listener: parameter port: expected a number from 0 to 65535, got "localhost"`,
	} {
		it, err := plugtest.ItemOf(New().Kinds, kindListener, map[string]any{schema.Bare: line})
		got := it.Item
		if err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%s: got %s, want %s", line, got, want)
		}
	}
}

func TestListener(t *testing.T) {
	t.Parallel()
	for name, bindaddr := range map[string]string{"by default": "", "by name": "localhost", "IPv6": "::1"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			core, s := plugtest.Attached(t, New())
			raw := map[string]any{"port": "0"}
			if bindaddr != "" {
				raw["bindaddr"] = bindaddr
			}
			it := s.Item(kindListener, raw)
			addr := s.StartItem(it)
			_, port, err := net.SplitHostPort(addr)
			if err != nil || port == "0" {
				t.Fatalf("address %q, %v", addr, err)
			}
			if bindaddr == "" {
				addr = net.JoinHostPort("127.0.0.1", port)
			}
			for range 2 {
				peer, err := net.Dial("tcp", addr)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = peer.Close() })
				d := core.Link()
				b := d.LinkBody()
				if b.Dir != "in" || b.Medium != "tcp" || b.Remote != peer.LocalAddr().String() || b.Item != it.Item {
					t.Errorf("LINK %+v", b)
				}
				link := d.OpenLink("l")
				wantPassed(t, peer, link)
				wantPassed(t, link, peer)
			}
			s.Configure() // the item goes, and its port with it
			if c, err := net.Dial("tcp", addr); err == nil {
				_ = c.Close()
				t.Error("the port still answers")
			}
		})
	}
}

func TestListenerPortInUse(t *testing.T) {
	t.Parallel()
	taken := listenLoopback(t, "127.0.0.1:0")
	_, port, err := net.SplitHostPort(taken.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	_, s := plugtest.Attached(t, New())
	it := s.Item(kindListener, map[string]any{"port": port, "bindaddr": "127.0.0.1"})
	s.Configure(it)
	want := "listen tcp 127.0.0.1:" + port + ": bind: address already in use"
	if st := s.WaitItem(it.Item, wire.StateFailed); st.Err != want {
		t.Errorf("got %q, want %q", st.Err, want)
	}
	if err := taken.Close(); err != nil { // it heals by itself
		t.Fatal(err)
	}
	s.WaitItem(it.Item, wire.StateUp)
}

// While the core is away connections wait, and the port stays.
func TestListenerOutlivesCore(t *testing.T) {
	t.Parallel()
	core, s := plugtest.Attached(t, New())
	it := s.Item(kindListener, map[string]any{"port": 0, "bindaddr": "127.0.0.1"})
	addr := s.StartItem(it)
	core.Kill()
	core.Start()
	s = core.Session() // no core for the items before it tells its configuration
	peer, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = peer.Close() })
	s.Configure(it)
	link := core.Link().OpenLink("l")
	t.Cleanup(func() { _ = link.Close() })
	wantPassed(t, peer, link)
}

func TestPeerRedials(t *testing.T) {
	t.Parallel()
	l := listenLoopback(t, "127.0.0.1:0")
	core, s := plugtest.Attached(t, New())
	it := s.Item(kindPeer, map[string]any{"address": l.Addr().String()})
	s.Configure(it)
	for range 2 {
		peer, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		d := core.Link()
		if b := d.LinkBody(); b.Dir != "out" || b.Remote != l.Addr().String() {
			t.Errorf("LINK %+v", b)
		}
		link := d.OpenLink("l")
		wantPassed(t, peer, link)
		wantPassed(t, link, peer)
		if st := s.WaitItem(it.Item, wire.StateUp); st.Addr != l.Addr().String() {
			t.Errorf("status %+v", st)
		}
		if err := peer.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestPeerCannotConnect(t *testing.T) {
	t.Parallel()
	l := listenLoopback(t, "127.0.0.1:0")
	addr := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	core, s := plugtest.Attached(t, New())
	it := s.Item(kindPeer, map[string]any{"address": addr})
	s.Configure(it)
	if st := s.WaitItem(it.Item, wire.StateDegraded); !strings.Contains(st.Err, "connection refused") || st.Addr != addr {
		t.Errorf("status %+v", st)
	}
	l = listenLoopback(t, addr)
	peer, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = peer.Close() })
	link := core.Link().OpenLink("l")
	t.Cleanup(func() { _ = link.Close() })
	wantPassed(t, peer, link)
	s.WaitItem(it.Item, wire.StateUp)
}

func TestPeerWithoutRedial(t *testing.T) {
	t.Parallel()
	l := listenLoopback(t, "127.0.0.1:0")
	core, s := plugtest.Attached(t, New())
	it := s.Item(kindPeer, map[string]any{"address": l.Addr().String(), "redial": "no"})
	s.Configure(it)
	peer, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	link := core.Link().OpenLink("l")
	t.Cleanup(func() { _ = link.Close() })
	if err := peer.Close(); err != nil {
		t.Fatal(err)
	}
	if st := s.WaitItem(it.Item, wire.StateDegraded); st.Err != "the link has ended" {
		t.Errorf("status %+v", st)
	}
	// It would come within half a second; then the state would be up again.
	if err := l.(*net.TCPListener).SetDeadline(time.Now().Add(time.Second / 2)); err != nil {
		t.Fatal(err)
	}
	if c, err := l.Accept(); err == nil {
		_ = c.Close()
		t.Error("it has dialled again")
	}
}

// A link that the core refuses is told in the item's state.
func TestPeerRefusedByCore(t *testing.T) {
	t.Parallel()
	l := listenLoopback(t, "127.0.0.1:0")
	core, s := plugtest.Attached(t, New())
	it := s.Item(kindPeer, map[string]any{"address": l.Addr().String(), "redial": "no"}) // so that the state stays
	s.Configure(it)
	peer, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = peer.Close() })
	core.Link().Refuse(wire.NewError(wire.CodeDenied, "no links for you"))
	if st := s.WaitItem(it.Item, wire.StateDegraded); st.Err != "open link: denied: no links for you" {
		t.Errorf("status %+v", st)
	}
	if _, err := peer.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("the other node sees %v, want the end", err)
	}
}

// A listener of all addresses is reached over IPv6 and IPv4.
func TestListenerOfBothFamilies(t *testing.T) {
	t.Parallel()
	if l, err := net.Listen("tcp", "[::1]:0"); err != nil {
		t.Skipf("this host has no IPv6: %v", err)
	} else if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	core, s := plugtest.Attached(t, New())
	all := s.Item(kindListener, map[string]any{"port": 0, "bindaddr": "::"})
	s.Configure(all)
	_, port, err := net.SplitHostPort(s.WaitItem(all.Item, wire.StateUp).Addr)
	if err != nil {
		t.Fatal(err)
	}
	for _, host := range []string{"127.0.0.1", "::1"} {
		c, err := net.Dial("tcp", net.JoinHostPort(host, port))
		if err != nil {
			t.Fatalf("%s: %v", host, err)
		}
		link := core.Link().OpenLink("l" + host)
		wantPassed(t, c, link)
		_ = link.Close()
		_ = c.Close()
	}
}

// A peer finds a listener over either family, whatever else its name stands for.
func TestPeerOfEitherFamily(t *testing.T) {
	t.Parallel()
	addresses, err := net.LookupHost("localhost")
	if err != nil || !slices.Contains(addresses, "127.0.0.1") || !slices.Contains(addresses, "::1") {
		t.Skipf("localhost is not both families here: %v, %v", addresses, err)
	}
	core, s := plugtest.Attached(t, New())
	for _, host := range []string{"127.0.0.1", "::1"} { // and nobody at the other
		l := listenLoopback(t, net.JoinHostPort(host, "0"))
		_, port, err := net.SplitHostPort(l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		peer := s.Item(kindPeer, map[string]any{"address": net.JoinHostPort("localhost", port)})
		s.Configure(peer)
		c, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		link := core.Link().OpenLink("p" + host)
		wantPassed(t, link, c)
		_ = link.Close()
		_ = c.Close()
	}
}
