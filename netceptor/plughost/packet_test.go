package plughost

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"slices"
	"testing"

	"github.com/project-receptor/receptor/netceptor"
	"github.com/project-receptor/receptor/plug/packetconn"
	"github.com/project-receptor/receptor/plug/plugtest"
	"github.com/project-receptor/receptor/plug/schema"
	"github.com/project-receptor/receptor/plug/session"
	"github.com/project-receptor/receptor/plug/wire"
)

// packetKind is a kind of packet services for tests.
func packetKind() wire.Kind {
	return wire.Kind{Kind: "pack", Role: wire.RolePacket, Params: []wire.Param{{Name: "n", Type: schema.TypeInt, Key: true}}}
}

// packetEnd is a plug's end of a packet service.
type packetEnd struct {
	*packetconn.Conn
	t     *testing.T
	bound wire.PBound
	got   chan packetRecord
}

type packetRecord struct {
	h    wire.RecordHeader
	data string
}

// packetRig is a host with a plug that has two items of packet services.
func packetRig(t *testing.T, c Config) (*rig, *plugtest.FakePlug) {
	t.Helper()
	r := newRig(t, "alpha", c)
	r.SetItems([]Item{{Kind: "pack", Params: map[string]any{"n": 1}}, {Kind: "pack", Params: map[string]any{"n": 2}}})
	p := r.attach("packer", packetKind())
	p.WaitConfig("two items", func(c wire.Config) bool { return len(c.Items) == 2 })
	return r, p
}

// pbind opens a packet service.
func pbind(t *testing.T, r *rig, req wire.PBind) (*packetEnd, error) {
	t.Helper()
	conn, err := r.dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	e := &packetEnd{Conn: packetconn.New(conn), t: t, got: make(chan packetRecord, 2*wire.MaxFlows)}
	if err := session.OpenFor(t.Context(), conn, wire.TypePBind, req, &e.bound); err != nil {
		_ = conn.Close()
		return nil, err
	}
	written, read := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(written)
		_ = e.Write()
	}()
	go func() {
		defer close(read)
		defer close(e.got)
		for e.Read(func(h wire.RecordHeader, b []byte) error {
			e.got <- packetRecord{h, string(b)}
			return nil
		}) == nil {
		}
	}()
	t.Cleanup(func() {
		_ = e.Close()
		<-written
		<-read
	})
	return e, nil
}

func mustBind(t *testing.T, r *rig, req wire.PBind) *packetEnd {
	t.Helper()
	e, err := pbind(t, r, req)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// want expects the next record to be of that type and flow, and returns its payload.
func (e *packetEnd) want(typ wire.RecordType, flow uint32) string {
	e.t.Helper()
	r, ok := <-e.got
	if !ok || r.h.Type != typ || r.h.Peer != flow {
		e.t.Fatalf("got %+v %q (%v), want type %d of flow %d", r.h, r.data, ok, typ, flow)
	}
	return r.data
}

func (e *packetEnd) wantPeer(flow uint32) (p wire.Peer) {
	e.t.Helper()
	if err := json.Unmarshal([]byte(e.want(wire.RecordPeer, flow)), &p); err != nil {
		e.t.Fatal(err)
	}
	return p
}

func (e *packetEnd) wantGone(flow uint32) (g wire.Gone) {
	e.t.Helper()
	if b := e.want(wire.RecordGone, flow); b != "" {
		if err := json.Unmarshal([]byte(b), &g); err != nil {
			e.t.Fatal(err)
		}
	}
	return g
}

// peer makes a flow.
func (e *packetEnd) peer(flow uint32, p wire.Peer) {
	e.t.Helper()
	b, err := json.Marshal(p)
	if err != nil {
		e.t.Fatal(err)
	}
	if err := e.Control(wire.RecordPeer, flow, b); err != nil {
		e.t.Fatal(err)
	}
}

// Datagrams go from a flow with a service of its own to a bound service, and back.
func TestPackets(t *testing.T) {
	t.Parallel()
	r, p := packetRig(t, Config{})
	echo := mustBind(t, r, wire.PBind{Session: p.Welcome.Session, Item: "pack n=1", Service: "echo"})
	near := mustBind(t, r, wire.PBind{Session: p.Welcome.Session, Item: "pack n=2"})
	if echo.bound.Service != "echo" || echo.bound.Node != "alpha" || len(near.bound.Service) != 8 || near.bound.MTU != maxDatagram {
		t.Fatalf("bound %+v and %+v", echo.bound, near.bound)
	}
	near.peer(7, wire.Peer{Local: wire.LocalFresh, Node: "alpha", Service: "echo"})
	near.Send(7, 0, []byte("there"))
	fresh := near.wantPeer(7)
	if fresh.Local == near.bound.Service || len(fresh.Local) != 8 || fresh.Service != "echo" || fresh.MTU != maxDatagram {
		t.Errorf("flow %+v", fresh)
	}
	from := echo.wantPeer(2)
	if from.Node != "alpha" || from.Service != fresh.Local || from.Local != "echo" {
		t.Errorf("the flow at the far end: %+v", from)
	}
	if got := echo.want(wire.RecordData, 2); got != "there" {
		t.Errorf("got %q", got)
	}
	echo.Send(2, 0, []byte("back"))
	if got := near.want(wire.RecordData, 7); got != "back" {
		t.Errorf("got %q", got)
	}
	// A flow that the plug makes from the service itself, and one that it gives up.
	near.peer(9, wire.Peer{Node: "alpha", Service: "echo"})
	near.wantPeer(9)
	near.Send(9, 0, nil)
	if from := echo.wantPeer(4); from.Service != near.bound.Service {
		t.Errorf("the second flow at the far end: %+v", from)
	}
	if got := echo.want(wire.RecordData, 4); got != "" {
		t.Errorf("got %q", got)
	}
	if err := near.Control(wire.RecordGone, 7, nil); err != nil {
		t.Fatal(err)
	}
	near.peer(11, wire.Peer{Node: "alpha", Service: "echo"}) // taken after that
	near.wantPeer(11)
	echo.Send(2, 0, []byte("to nobody"))
	if g := echo.wantGone(2); g.Code != wire.CodeUnreachable {
		t.Errorf("gone: %+v", g)
	}
	// What nobody has bound.
	near.peer(13, wire.Peer{Local: wire.LocalFresh, Node: "alpha", Service: "nobody"})
	near.wantPeer(13)
	near.Send(13, 0, []byte("hello?"))
	if g := near.wantGone(13); g.Code != wire.CodeUnreachable {
		t.Errorf("gone: %+v", g)
	}
}

// A datagram for a flow of its own is of the service that the flow is with.
func TestPacketsOfOthers(t *testing.T) {
	t.Parallel()
	r, p := packetRig(t, Config{})
	near := mustBind(t, r, wire.PBind{Session: p.Welcome.Session, Item: "pack n=1"})
	other := mustBind(t, r, wire.PBind{Session: p.Welcome.Session, Item: "pack n=2"})
	near.peer(1, wire.Peer{Local: wire.LocalFresh, Node: "alpha", Service: "somebody"[:8]})
	local := near.wantPeer(1).Local
	other.peer(1, wire.Peer{Node: "alpha", Service: local})
	other.wantPeer(1)
	other.Send(1, 0, []byte("not from whom it expects"))
	r.eventually("the stranger to be counted", func() bool { return r.Counters()["packets_of_others"] > 0 })
	if len(near.got) != 0 {
		t.Errorf("got %+v", <-near.got)
	}
}

func TestPBindRefused(t *testing.T) {
	t.Parallel()
	r, p := packetRig(t, Config{Policy: Policy{Rules: []Rule{{
		User: fmt.Sprint(me().UID), Roles: map[string]RoleRule{wire.RolePacket: {Bind: []string{"ok*"}}, wire.RoleStream: {}},
	}}}})
	secret := p.Welcome.Session
	stream := r.attach("other", tcpServer())
	for name, c := range map[string]struct {
		req  wire.PBind
		code string
	}{
		"wrong secret": {wire.PBind{Session: "x", Item: "pack n=1", Service: "ok"}, wire.CodeDenied},
		"no item":      {wire.PBind{Session: secret, Service: "ok"}, wire.CodeDenied},
		"another's":    {wire.PBind{Session: stream.Welcome.Session, Item: "pack n=1", Service: "ok"}, wire.CodeDenied},
		"policy":       {wire.PBind{Session: secret, Item: "pack n=1", Service: "dns"}, wire.CodeDenied},
		"policy fresh": {wire.PBind{Session: secret, Item: "pack n=1"}, wire.CodeDenied},
		"too long":     {wire.PBind{Session: secret, Item: "pack n=1", Service: "ok3456789"}, wire.CodeInvalid},
	} {
		_, err := pbind(t, r, c.req)
		if told := (*wire.Error)(nil); !errors.As(err, &told) || told.Code != c.code {
			t.Errorf("%s: %v, want %s", name, err, c.code)
		}
	}
	mustBind(t, r, wire.PBind{Session: secret, Item: "pack n=1", Service: "ok"})
	_, err := pbind(t, r, wire.PBind{Session: secret, Item: "pack n=2", Service: "ok"})
	if told := (*wire.Error)(nil); !errors.As(err, &told) || told.Code != wire.CodeExists {
		t.Errorf("a service that another item has: %v", err)
	}
}

// The next process of a plug has its service at once, though the connection of the one
// before has not ended yet.
func TestPBindAgain(t *testing.T) {
	t.Parallel()
	r, p := packetRig(t, Config{})
	req := wire.PBind{Session: p.Welcome.Session, Item: "pack n=1", Service: "again"}
	older := mustBind(t, r, req)
	newer := mustBind(t, r, req)
	if _, more := <-older.got; more {
		t.Error("the older connection got something")
	}
	near := mustBind(t, r, wire.PBind{Session: p.Welcome.Session, Item: "pack n=2"})
	near.peer(1, wire.Peer{Node: "alpha", Service: "again"})
	near.Send(1, 0, []byte("whose?"))
	newer.wantPeer(2)
	if got := newer.want(wire.RecordData, 2); got != "whose?" {
		t.Errorf("got %q", got)
	}
}

// Of too many flows the one that was idle longest goes.
func TestPacketFlowsAreBounded(t *testing.T) {
	t.Parallel()
	r, p := packetRig(t, Config{})
	e := mustBind(t, r, wire.PBind{Session: p.Welcome.Session, Item: "pack n=1"})
	for i := range uint32(wire.MaxFlows) {
		e.peer(2*i+1, wire.Peer{Node: "beta", Service: fmt.Sprint(i)})
		e.wantPeer(2*i + 1)
	}
	e.Send(1, 0, []byte("not idle"))
	e.peer(2*wire.MaxFlows+1, wire.Peer{Node: "beta", Service: "more"})
	e.wantGone(3)
	e.wantPeer(2*wire.MaxFlows + 1)
	if n := r.Counters()["packet_flows_evicted"]; n != 1 {
		t.Errorf("%d flows evicted", n)
	}
}

// Whoever breaks the protocol loses that connection, and nobody else anything.
func TestHostilePackets(t *testing.T) {
	t.Parallel()
	r, p := packetRig(t, Config{})
	h := newHealthy(t, r)
	header := func(h wire.RecordHeader, b string) []byte { return append(h.Append(nil), b...) }
	for name, b := range map[string][]byte{
		"even handle": header(wire.RecordHeader{Type: wire.RecordPeer, Peer: 2, Length: 2}, "{}"),
		"no JSON":     header(wire.RecordHeader{Type: wire.RecordPeer, Peer: 1, Length: 2}, "xx"),
		"handle 0":    header(wire.RecordHeader{Type: wire.RecordData}, ""),
		"END":         header(wire.RecordHeader{Type: wire.RecordEnd, Peer: 1}, ""),
	} {
		conn, err := r.dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		patient(t, conn)
		var bound wire.PBound
		if err := session.OpenFor(t.Context(), conn, wire.TypePBind, wire.PBind{Session: p.Welcome.Session, Item: "pack n=1", Service: "svc"}, &bound); err != nil {
			t.Fatal(err)
		}
		write(t, conn, b)
		if n, err := conn.Read(make([]byte, 1)); n != 0 || err == nil || errors.Is(err, net.ErrClosed) {
			t.Errorf("%s: read %d, %v", name, n, err)
		}
		_ = conn.Close()
	}
	e := mustBind(t, r, wire.PBind{Session: p.Welcome.Session, Item: "pack n=1", Service: "svc"})
	e.Send(99, 0, []byte("no such flow"))
	for flow, peer := range map[uint32]wire.Peer{
		1: {Service: "x"}, 3: {Node: "beta"}, 5: {Node: "beta", Service: "longer than 8"}, 7: {Local: "control", Node: "alpha", Service: "x"},
	} {
		e.peer(flow, peer)
		if g := e.wantGone(flow); g.Code == "" {
			t.Errorf("flow %+v is gone without a reason", peer)
		}
	}
	r.eventually("the datagram without a flow to be counted", func() bool { return r.Counters()["packets_without_flow"] == 1 })
	h.works()
}

// linkedNode is another node, linked to that of a host.
func linkedNode(t *testing.T, r *rig, id string) *netceptor.Node {
	t.Helper()
	n := newNode(t, id)
	link(t, n, r.node, "")
	return n
}

func newNode(t *testing.T, id string) *netceptor.Node {
	t.Helper()
	n, err := netceptor.New(netceptor.Config{NodeID: id})
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = n.Close() })
	return n
}

// link links two nodes, as over a medium.
func link(t *testing.T, n, o *netceptor.Node, medium string) {
	t.Helper()
	a, b := net.Pipe()
	for node, conn := range map[*netceptor.Node]net.Conn{n: a, o: b} {
		if _, err := node.AddLink(conn, netceptor.LinkConfig{Cost: 1, Medium: medium}); err != nil {
			t.Fatal(err)
		}
	}
}

// A plug hears whether large datagrams go the way of a flow in one piece, and again
// when a medium that fragments them may have come between.
func TestPeerTellsOfTheWayAgain(t *testing.T) {
	t.Parallel()
	r, p := packetRig(t, Config{})
	beta, gamma, delta := newNode(t, "beta"), newNode(t, "gamma"), newNode(t, "delta")
	link(t, r.node, beta, "tcp")
	link(t, beta, gamma, "ws")
	e := mustBind(t, r, wire.PBind{Session: p.Welcome.Session, Item: "pack n=1", Service: "net"})
	e.peer(7, wire.Peer{Node: "gamma", Service: "far"})
	told := func(want ...string) {
		t.Helper()
		for { // what was true for a while may be told, too
			peer := e.wantPeer(7)
			if slices.Equal(peer.Caps, want) {
				return
			}
		}
	}
	told("modern", "whole")
	link(t, beta, delta, "udp")
	link(t, gamma, delta, "udp")
	told("modern")
}

// PEERS tells of the services that match, with the way there, as they come and go.
func TestPeers(t *testing.T) {
	t.Parallel()
	r, p := packetRig(t, Config{})
	other := linkedNode(t, r, "beta")
	e := mustBind(t, r, wire.PBind{
		Session: p.Welcome.Session, Item: "pack n=1", Service: "net", Advertise: true,
		Tags: map[string]string{"type": "IP Router", "network": "n"}, Watch: map[string]string{"type": "IP Router", "network": ""},
	})
	if peers := p.WaitPeers(e.bound.Object, func([]wire.PeerMatch) bool { return true }); len(peers) != 0 {
		t.Errorf("at first: %+v", peers) // its own is none
	}
	if _, err := other.ListenPacket("far", netceptor.ListenOptions{Advertise: true, Tags: map[string]string{"type": "IP Router", "network": "n", "route": "10.0.0.0/8"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := other.ListenPacket("none", netceptor.ListenOptions{Advertise: true, Tags: map[string]string{"type": "IP Router"}}); err != nil {
		t.Fatal(err)
	}
	peers := p.WaitPeers(e.bound.Object, func(all []wire.PeerMatch) bool { return len(all) == 1 && all[0].Cost > 0 })
	if m := peers[0]; m.Node != "beta" || m.Service != "far" || m.Cost != 1 || m.Tags["route"] != "10.0.0.0/8" || m.MTU != maxDatagram || len(m.Caps) != 1 {
		t.Errorf("peers %+v", peers)
	}
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	p.WaitPeers(e.bound.Object, func(all []wire.PeerMatch) bool { return len(all) == 1 && all[0].Cost < 0 })
}
