package proxyudp

import (
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/project-receptor/receptor/plug/plugtest"
	"github.com/project-receptor/receptor/plug/wire"
)

// mtu is what the core of these tests says that fits.
const mtu = 1000

// serving starts an inbound proxy on a free port of an address.
func serving(t *testing.T, at string) (*plugtest.FakeCore, *plugtest.CoreSession, wire.ConfigItem, string) {
	t.Helper()
	core, s := plugtest.Attached(t, New())
	it := s.Item("udp-inbound-proxy", map[string]any{
		"port": 0, "bindaddr": at, "remotenode": "far", "remoteservice": "dns", "idletimeout": "1h",
	})
	return core, s, it, s.StartItem(it)
}

// opened answers PBIND of the item, and returns when the plug has taken it, which is
// some time after it was sent: what applications send before is dropped. It has made a
// flow, whose handle it returns.
func opened(t *testing.T, core *plugtest.FakeCore, it wire.ConfigItem, addr string) (*plugtest.PacketService, uint32) {
	t.Helper()
	d := core.PacketBind()
	if b := d.PBindBody(); b.Item != it.Item || b.Service != "" || b.Advertise {
		t.Errorf("PBIND %+v", b)
	}
	p := d.OpenPackets(wire.PBound{Object: "p1", Node: "fake", Service: "own", MTU: mtu})
	probe := dial(t, addr)
	found := make(chan struct{})
	var asking sync.WaitGroup
	asking.Go(func() {
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for {
			_, _ = probe.Write([]byte("probe")) // the datagrams are missed otherwise
			select {
			case <-found:
				_, _ = probe.Write([]byte("end"))
				return
			case <-tick.C:
			}
		}
	})
	defer asking.Wait()
	flow := wantFlow(t, p, "probe")
	close(found)
	for r := p.Next(); r.Bytes != "end"; r = p.Next() {
		if r.Type != wire.RecordData || r.Flow != flow {
			t.Fatalf("got %+v of the probe", r)
		}
	}
	return p, flow
}

// application is a UDP socket of one.
type application struct {
	*net.UDPConn
	t *testing.T
}

func dial(t *testing.T, addr string) application {
	t.Helper()
	c, err := net.Dial("udp", addr)
	return newApplication(t, c, err)
}

func listen(t *testing.T, addr string) application {
	t.Helper()
	c, err := net.ListenPacket("udp", addr)
	if err != nil {
		t.Fatal(err)
	}
	return newApplication(t, c.(*net.UDPConn), nil)
}

func newApplication(t *testing.T, c net.Conn, err error) application {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(plugtest.Patience)); err != nil {
		t.Fatal(err)
	}
	return application{c.(*net.UDPConn), t}
}

func (a application) send(text string) {
	a.t.Helper()
	if _, err := a.Write([]byte(text)); err != nil {
		a.t.Fatal(err)
	}
}

// hear waits for a datagram.
func (a application) hear() (text string, from net.Addr) {
	a.t.Helper()
	b := make([]byte, maxDatagram)
	n, from, err := a.ReadFrom(b)
	if err != nil {
		a.t.Fatal(err)
	}
	return string(b[:n]), from
}

func (a application) wantHeard(want string) {
	a.t.Helper()
	if got, _ := a.hear(); got != want {
		a.t.Fatalf("heard %.40q, want %.40q", got, want)
	}
}

// wantFlow checks that a flow of its own begins with a datagram, and returns its handle.
func wantFlow(t *testing.T, p *plugtest.PacketService, text string) uint32 {
	t.Helper()
	r := p.Next()
	want := wire.Peer{Local: wire.LocalFresh, Node: "far", Service: "dns"}
	if r.Type != wire.RecordPeer || r.Flow%2 != 1 || r.Peer.Local != want.Local || r.Peer.Node != want.Node || r.Peer.Service != want.Service {
		t.Fatalf("got %+v, want PEER %+v", r, want)
	}
	wantData(t, p, r.Flow, text)
	return r.Flow
}

func wantData(t *testing.T, p *plugtest.PacketService, flow uint32, text string) {
	t.Helper()
	if r := p.Next(); r.Type != wire.RecordData || r.Flow != flow || r.Bytes != text {
		t.Fatalf("got %v of flow %d, %.40q; want %.40q of flow %d", r.Type, r.Flow, r.Bytes, text, flow)
	}
}

func TestKinds(t *testing.T) {
	t.Parallel()
	if _, err := New().Hello(""); err != nil {
		t.Error(err)
	}
	for name, tc := range map[string]struct {
		kind string
		raw  map[string]any
		want string
	}{
		"a server":    {"udp-server", map[string]any{"port": "1234", "remotenode": "n", "remoteservice": "s"}, "udp-server port=1234"},
		"an inbound":  {"udp-inbound-proxy", map[string]any{"port": "1234", "remotenode": "n", "remoteservice": "s"}, "udp-server port=1234 bindaddr=localhost"},
		"a client":    {"udp-client", map[string]any{"service": "s", "address": "a:1"}, "udp-client service=s"},
		"an outbound": {"udp-outbound-proxy", map[string]any{"service": "s", "address": "a:1"}, "udp-client service=s"},
		"a mistake":   {"udp-client", map[string]any{"service": "ninechars", "address": "a:1"}, `udp-client: parameter service: expected a service name of 1 to 8 bytes, got "ninechars"`},
	} {
		it, err := plugtest.ItemOf(New().Kinds, tc.kind, tc.raw)
		got := it.Item
		if err != nil {
			got = err.Error()
		}
		if got != tc.want {
			t.Errorf("%s: got %s, want %s", name, got, tc.want)
		}
	}
}

// Each application has a flow, and hears what is for it and nothing else; an empty
// datagram is one as well, and what cannot arrive is counted.
func TestServer(t *testing.T) {
	t.Parallel()
	for _, at := range []string{"localhost", "127.0.0.1", "::1"} {
		t.Run(at, func(t *testing.T) {
			t.Parallel()
			core, s, it, addr := serving(t, at)
			p, _ := opened(t, core, it, addr)
			one, other := dial(t, addr), dial(t, addr)
			one.send("question")
			first := wantFlow(t, p, "question")
			other.send("")
			second := wantFlow(t, p, "")
			if first == second {
				t.Error("two applications have one flow")
			}
			p.Send(second, "for the other")
			p.Send(first, "answer")
			p.Send(first, "")
			other.wantHeard("for the other")
			one.wantHeard("answer")
			one.wantHeard("")

			one.send(strings.Repeat("x", mtu+1))
			one.send(strings.Repeat("y", mtu))
			wantData(t, p, first, strings.Repeat("y", mtu))
			s.WaitCount(countTooLong, 1)
		})
	}
}

// A service that is not there is seen in the state until it answers, and the next
// datagram makes another flow to it.
func TestServerTargetUnreachable(t *testing.T) {
	t.Parallel()
	core, s, it, addr := serving(t, "127.0.0.1")
	p, _ := opened(t, core, it, addr)
	app := dial(t, addr)
	app.send("anybody there?")
	gone := wantFlow(t, p, "anybody there?")
	p.Gone(gone, wire.Gone{Code: wire.CodeUnreachable, Msg: "no route to node far"})
	if st := s.WaitItem(it.Item, wire.StateDegraded); !strings.Contains(st.Err, "no route to node far") || st.Addr != addr {
		t.Errorf("status %+v", st)
	}
	app.send("and now?")
	flow := wantFlow(t, p, "and now?")
	if flow == gone {
		t.Error("the flow that is gone goes on")
	}
	p.Send(flow, "yes")
	app.wantHeard("yes")
	s.WaitItem(it.Item, wire.StateUp)
}

// A core that dies takes its flows with it, not the port.
func TestServerOutlivesCore(t *testing.T) {
	t.Parallel()
	core, _, it, addr := serving(t, "127.0.0.1")
	p, _ := opened(t, core, it, addr)
	app := dial(t, addr)
	app.send("before")
	wantFlow(t, p, "before")
	core.Kill()
	core.Start()
	s := core.Session()
	s.Configure(it)
	p, _ = opened(t, core, it, addr)
	if st := s.WaitItem(it.Item, wire.StateUp); st.Addr != addr {
		t.Errorf("status %+v", st)
	}
	app.send("after")
	flow := wantFlow(t, p, "after")
	p.Send(flow, "answer")
	app.wantHeard("answer")
}

// A flow that carries nothing is forgotten on both sides; the next datagram makes another.
func TestServerIdle(t *testing.T) {
	t.Parallel()
	core, s := plugtest.Attached(t, New())
	it := s.Item(kindServer, map[string]any{
		"port": 0, "bindaddr": "127.0.0.1", "remotenode": "far", "remoteservice": "dns", "idletimeout": "1s",
	})
	addr := s.StartItem(it)
	p, flow := opened(t, core, it, addr)
	if r := p.Next(); r.Type != wire.RecordGone || r.Flow != flow {
		t.Fatalf("got %+v, want GONE", r)
	}
	dial(t, addr).send("y")
	wantFlow(t, p, "y")
}

// clientOf starts an outbound proxy to an address.
func clientOf(t *testing.T, address string) (*plugtest.CoreSession, wire.ConfigItem, *plugtest.PacketService) {
	t.Helper()
	core, s := plugtest.Attached(t, New())
	it := s.Item("udp-outbound-proxy", map[string]any{"service": "dns", "address": address})
	s.Configure(it)
	d := core.PacketBind()
	b := d.PBindBody()
	if b.Item != it.Item || b.Service != "dns" || !b.Advertise || b.Tags["type"] != "UDP Proxy" || b.Tags["address"] != address {
		t.Errorf("PBIND %+v", b)
	}
	p := d.OpenPackets(wire.PBound{Object: "p1", Node: "fake", Service: "dns", MTU: mtu})
	s.WaitItem(it.Item, wire.StateUp)
	return s, it, p
}

// Each service elsewhere is an address of its own to the application, whose answers
// find their way back.
func TestClient(t *testing.T) {
	t.Parallel()
	for _, at := range []string{"127.0.0.1:0", "[::1]:0"} {
		t.Run(at, func(t *testing.T) {
			t.Parallel()
			app := listen(t, at)
			s, _, p := clientOf(t, app.LocalAddr().String())
			from := map[string]net.Addr{}
			for i, text := range []string{"one", "", "three"} {
				flow := uint32(2*i + 2)
				p.Peer(flow, wire.Peer{Local: "dns", Node: "far", Service: "x" + text, MTU: mtu})
				p.Send(flow, text)
				got, addr := app.hear()
				if got != text {
					t.Fatalf("heard %q, want %q", got, text)
				}
				from[addr.String()] = addr
				for _, answer := range []string{strings.Repeat("x", mtu+1), "re: " + text} {
					if _, err := app.WriteTo([]byte(answer), addr); err != nil {
						t.Fatal(err)
					}
				}
				wantData(t, p, flow, "re: "+text)
			}
			if len(from) != 3 {
				t.Errorf("3 services came from %v", from)
			}
			s.WaitCount(countTooLong, 3)
		})
	}
}

// An application that was not there and is again hears the first datagram that is for
// it, and is heard at once: what its system said of those before is no matter.
func TestClientTargetReturns(t *testing.T) {
	t.Parallel()
	app := listen(t, "127.0.0.1:0")
	address := app.LocalAddr().String()
	s, it, p := clientOf(t, address)
	p.Peer(2, wire.Peer{Local: "dns", Node: "far", Service: "x", MTU: mtu})
	p.Send(2, "before")
	_, from := app.hear()
	if err := app.Close(); err != nil {
		t.Fatal(err)
	}
	p.Send(2, "lost")
	if st := s.WaitItem(it.Item, wire.StateDegraded); !strings.Contains(st.Err, "connection refused") {
		t.Errorf("status %+v", st)
	}
	p.Send(2, "lost as well")
	app = listen(t, address)
	p.Send(2, "question")
	for {
		text, again := app.hear()
		if text != "question" {
			continue // it was not lost
		}
		if again.String() != from.String() {
			t.Errorf("the flow has come from %v, and now from %v", from, again)
		}
		break
	}
	if _, err := app.WriteTo([]byte("answer"), from); err != nil {
		t.Fatal(err)
	}
	wantData(t, p, 2, "answer")
	s.WaitItem(it.Item, wire.StateUp)
}

// What the system says of the datagram before does not take the next one along.
func TestSendAfterRefusal(t *testing.T) {
	t.Parallel()
	app := listen(t, "127.0.0.1:0")
	address := app.LocalAddr().String()
	out := target{conn: dial(t, address)}
	if err := app.Close(); err != nil {
		t.Fatal(err)
	}
	if reason := out.send([]byte("lost")); reason != "" {
		t.Errorf("the first was dropped: %s", reason)
	}
	app = listen(t, address)
	if reason := out.send([]byte("question")); reason != "" {
		t.Errorf("the second was dropped: %s", reason)
	}
	app.wantHeard("question")
}
