package proxyudp

import (
	"context"
	"encoding/json"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/project-receptor/receptor/plug"
	"github.com/project-receptor/receptor/plug/packetconn"
	"github.com/project-receptor/receptor/plug/plugtest"
	"github.com/project-receptor/receptor/plug/schema"
	"github.com/project-receptor/receptor/plug/wire"
)

// start runs the plug against core until the test ends.
func start(t *testing.T, core *plugtest.FakeCore) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- plug.Run(ctx, New(), plug.Options{Dial: core.Dial}) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("Run: %v", err)
			}
		case <-time.After(plugtest.Patience):
			t.Error("Run does not return")
		}
	})
}

// configured is an item as a core sends it: with the defaults filled in.
func configured(t *testing.T, kind string, raw map[string]any) wire.ConfigItem {
	t.Helper()
	k := schema.Find(New().Kinds, kind)
	v, errs := schema.Check(k, kind, kind, raw)
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	return plugtest.NewItem(t, schema.Identity(k, v), k.Kind, v)
}

// record is one of the plug's.
type record struct {
	wire.RecordHeader
	payload string
}

// service is the core's end of a packet service.
type service struct {
	*packetconn.Conn
	t       *testing.T
	records chan record
}

// answer answers PBIND.
func answer(t *testing.T, core *plugtest.FakeCore, mtu int) *service {
	t.Helper()
	d := core.PacketBind()
	conn := d.OpenPackets(wire.PBound{Object: "o", Node: "here", Service: "s", MTU: mtu})
	s := &service{packetconn.New(conn), t, make(chan record, 1000)}
	var running sync.WaitGroup
	running.Go(func() { _ = s.Write() }) // until it is closed
	running.Go(func() {
		for s.Read(func(h wire.RecordHeader, b []byte) error {
			s.records <- record{h, string(b)}
			return nil
		}) == nil {
		}
	})
	t.Cleanup(func() {
		_ = s.Close()
		running.Wait()
	})
	return s
}

// next waits for a record, which must be of a type.
func (s *service) next(want wire.RecordType) record {
	s.t.Helper()
	select {
	case r := <-s.records:
		if r.Type != want {
			s.t.Fatalf("got record %d %q of flow %d, want type %d", r.Type, r.payload, r.Peer, want)
		}
		return r
	case <-time.After(plugtest.Patience):
		s.t.Fatalf("waited in vain for a record of type %d", want)
	}
	return record{}
}

// begin makes a flow of the core's.
func (s *service) begin(handle uint32, text string) {
	s.t.Helper()
	b, err := json.Marshal(wire.Peer{Local: "s", Node: "far", Service: "app"})
	if err == nil {
		err = s.Control(wire.RecordPeer, handle, b)
	}
	if err != nil || !s.Send(handle, 0, []byte(text)) {
		s.t.Fatalf("flow %d cannot be made, %v", handle, err)
	}
}

// udp is a socket of an application.
func udp(t *testing.T, addr string) net.PacketConn {
	t.Helper()
	c, err := net.ListenPacket("udp", addr)
	if err != nil {
		t.Skipf("no socket on %s: %v", addr, err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(plugtest.Patience)); err != nil {
		t.Fatal(err)
	}
	return c
}

// counts waits until the plug has counted.
func counts(s *plugtest.CoreSession, name string) {
	s.WaitStatus("counter "+name, func(st wire.Status) bool { return st.Counters[name] > 0 })
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
		"a long name": {"udp-client", map[string]any{"service": "ninechars", "address": "a:1"}, `item: parameter service: expected a service name of 1 to 8 bytes, got "ninechars"`},
		"no node":     {"udp-server", map[string]any{"port": "1234", "remoteservice": "s"}, "parameter remotenode"},
		"no duration": {"udp-client", map[string]any{"service": "s", "address": "a:1", "idletimeout": "soon"}, "parameter idletimeout"},
		"no port":     {"udp-server", map[string]any{"port": "65536", "remotenode": "n", "remoteservice": "s"}, "parameter port"},
	} {
		k := schema.Find(New().Kinds, tc.kind)
		v, errs := schema.Check(k, tc.kind, "item", tc.raw)
		got := schema.Identity(k, v)
		if len(errs) > 0 {
			got = errs[0].Error()
		}
		if wrong := strings.HasPrefix(tc.want, "parameter"); got != tc.want && (!wrong || !strings.Contains(got, tc.want)) {
			t.Errorf("%s: got %s, want %s", name, got, tc.want)
		}
	}
}

// serverOn configures a udp-server on a free port of an address.
func serverOn(t *testing.T, s *plugtest.CoreSession, bindaddr string) net.Addr {
	t.Helper()
	it := configured(t, kindServer, map[string]any{
		"port": 0, "bindaddr": bindaddr, "remotenode": "far", "remoteservice": "dns", "idletimeout": "1s",
	})
	s.Configure(it)
	addr, err := net.ResolveUDPAddr("udp", s.WaitItem(it.Item, wire.StateUp).Addr)
	if err != nil {
		t.Fatal(err)
	}
	return addr
}

func TestServerCountsAndForgets(t *testing.T) {
	t.Parallel()
	for name, loopback := range map[string]string{"IPv4": "127.0.0.1", "IPv6": "::1"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			app := udp(t, net.JoinHostPort(loopback, "0"))
			core := plugtest.NewCore(t)
			start(t, core)
			s := core.Session()
			addr := serverOn(t, s, loopback)
			send := func(text string) {
				t.Helper()
				if _, err := app.WriteTo([]byte(text), addr); err != nil {
					t.Fatal(err)
				}
			}
			send("before the service is bound")
			counts(s, countDetached)
			p := answer(t, core, 10)
			again := time.NewTicker(20 * time.Millisecond)
			defer again.Stop()
			for i := 0; i < 1000 && len(p.records) == 0; i++ { // until the plug has seen the answer
				send("0123456789")
				<-again.C
			}
			flow := p.next(wire.RecordPeer).Peer
			if got := p.next(wire.RecordData); got.Peer != flow || got.payload != "0123456789" {
				t.Errorf("got %+v", got)
			}
			p.Send(flow, 0, []byte("answer"))
			b := make([]byte, 100)
			if n, from, err := app.ReadFrom(b); err != nil || string(b[:n]) != "answer" || from.String() != addr.String() {
				t.Errorf("got %q from %v, %v", b[:n], from, err)
			}
			send("0123456789A")
			counts(s, countTooLong)
			for { // others may have come before
				if r := <-p.records; r.Type == wire.RecordGone && r.Peer == flow {
					break
				} else if r.Type == wire.RecordData && r.payload != "0123456789" {
					t.Errorf("got %q", r.payload)
				}
			}
		})
	}
}

// A flow to an address where nobody listens makes the item degraded, until somebody
// answers; a flow that is idle is forgotten.
func TestClientDegradedAndForgets(t *testing.T) {
	t.Parallel()
	target := udp(t, "127.0.0.1:0")
	address := target.LocalAddr().String()
	if err := target.Close(); err != nil {
		t.Fatal(err)
	}
	core := plugtest.NewCore(t)
	start(t, core)
	s := core.Session()
	it := configured(t, kindClient, map[string]any{"service": "s", "address": address, "idletimeout": "1s"})
	s.Configure(it)
	p := answer(t, core, 1000)
	s.WaitItem(it.Item, wire.StateUp)
	p.begin(2, "is anybody there?")
	if st := s.WaitItem(it.Item, wire.StateDegraded); !strings.Contains(st.Err, "refused") {
		t.Errorf("status %+v", st)
	}

	target = udp(t, address)
	p.begin(4, "and now?")
	b := make([]byte, 100)
	n, from, err := target.ReadFrom(b)
	if err != nil || string(b[:n]) != "and now?" {
		t.Fatalf("got %q, %v", b[:n], err)
	}
	if _, err := target.WriteTo([]byte("yes"), from); err != nil {
		t.Fatal(err)
	}
	s.WaitItem(it.Item, wire.StateUp)
	gone := make(map[uint32]bool)
	answered := false
	for !gone[2] || !gone[4] {
		select {
		case r := <-p.records:
			gone[r.Peer] = gone[r.Peer] || r.Type == wire.RecordGone
			answered = answered || r.Type == wire.RecordData && r.Peer == 4 && r.payload == "yes"
		case <-time.After(plugtest.Patience):
			t.Fatalf("flows that are idle: gone are %v", gone)
		}
	}
	if !answered {
		t.Error("there was no answer")
	}
}
