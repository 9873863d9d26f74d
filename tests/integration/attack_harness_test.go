package integration

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/project-receptor/receptor/plug/plugtest"
	"github.com/project-receptor/receptor/plug/wire"
	"github.com/project-receptor/receptor/tests/integration/lab"
)

// The nodes of the attacks, and their hashes as existing nodes compute them.
const (
	victim, victimHash   = "alpha", 0x65efb30772de1513
	healthy, healthyHash = "beta", 0x28501aba8f06ebda
	evil, evilHash       = "foo", 0xef7a78b67f92bdf7
)

// evilKind is a kind of item of the victim that only a plug of the test serves.
const evilKind = "evil-peer"

// stand is a victim with its plugs, a healthy neighbour, and streams both ways
// between their applications. The victim's programs are started one by one, so
// that nothing would start them again.
type stand struct {
	*lab.Lab
	ctx      context.Context
	programs []*lab.Process // of the victim
	link     string         // the victim's listener
	ws       string         // its listener for WebSocket
	behind   string         // the healthy neighbour's listener
	entries  []string       // of streams through the mesh
	plug     *plugtest.FakePlug
	epoch    uint64 // of the last evil neighbour
}

func newStand(t *testing.T) *stand { return newStandOf(t, programs) }

// newStandOf is newStand with other programs.
func newStandOf(t *testing.T, p lab.Programs) *stand {
	t.Helper()
	return newStandOver(t, p, "tcp", freePort(t))
}

// newStandOver is newStandOf with the victim's listener, which the healthy neighbour
// uses as well, of that medium and port.
func newStandOver(t *testing.T, p lab.Programs, medium string, link int) *stand {
	t.Helper()
	l, ctx := newLabOf(t, p)
	app, err := lab.Serve(lab.Echo)
	must(t, err)
	t.Cleanup(app.Close)
	ws, behind, there, back := freePort(t), freePort(t), freePort(t), freePort(t)
	s := &stand{
		Lab: l, ctx: ctx, link: lab.Local(link), ws: lab.Local(ws), behind: lab.Local(behind), entries: []string{lab.Local(there), lab.Local(back)},
		epoch: uint64(time.Now().Unix()) << 24,
	}
	for name, args := range map[string][]string{
		"receptor-core": {
			"--node", "id=" + victim, "--" + medium + "-listener", "bindaddr=127.0.0.1", "port=" + strconv.Itoa(link), "--" + evilKind, "--control-service", "service=control",
			"--ws-listener", "bindaddr=127.0.0.1", "port=" + strconv.Itoa(ws), "path=/mesh",
			"--tcp-server", "bindaddr=127.0.0.1", "port=" + strconv.Itoa(there), "remotenode=" + healthy, "remoteservice=app",
			"--tcp-client", "service=app", "address=" + app.Addr(),
		},
		"receptor-backend-" + medium: {"--socket", l.PlugSocket(victim)},
		"receptor-backend-ws":        {"--socket", l.PlugSocket(victim)},
		"receptor-proxy-tcp":         {"--socket", l.PlugSocket(victim)},
	} {
		p, err := l.Start(name, args...)
		must(t, err)
		s.programs = append(s.programs, p)
	}
	_, err = l.Start("receptor", "--node", "id="+healthy, "--"+medium+"-peer", "address="+s.link, "--tcp-listener", "bindaddr=127.0.0.1", "port="+strconv.Itoa(behind),
		"--tcp-server", "bindaddr=127.0.0.1", "port="+strconv.Itoa(back), "remotenode="+victim, "remoteservice=app",
		"--tcp-client", "service=app", "address="+app.Addr())
	must(t, err)
	must(t, l.WaitRoute(ctx, victim, healthy))
	must(t, l.WaitRoute(ctx, healthy, victim))
	for _, entry := range s.entries {
		must(t, lab.WaitRoundTrip(ctx, entry))
	}
	s.plug = plugtest.AttachPlug(t, plugtest.Unix(l.PlugSocket(victim)), plugtest.PlugOptions{
		Hello: plugtest.Hello("evil", wire.Kind{Kind: evilKind, Role: wire.RoleLink, Params: []wire.Param{}}),
	})
	return s
}

// medium is a way to the victim for link bytes.
type medium struct {
	name string
	dial func(t *testing.T) net.Conn
}

// media are all ways: over the backend's listener, and as a plug. What there is
// over WebSocket besides has a test of its own.
func (s *stand) media() []medium {
	return []medium{
		{"TCP", func(t *testing.T) net.Conn {
			c, err := lab.DialWait(s.ctx, s.link)
			must(t, err)
			return c
		}},
		{"plug socket", func(t *testing.T) net.Conn {
			c, _, err := s.plug.Link(s.ctx, wire.Link{Item: evilKind, Dir: "out"})
			must(t, err)
			return c
		}},
	}
}

// counters are the victim's.
func (s *stand) status(t *testing.T) *lab.Status {
	t.Helper()
	st, err := s.Status(s.ctx, victim)
	must(t, err)
	return st
}

// expectRise waits until each counter has risen by so much since before, and
// fails if one has risen by more.
func (s *stand) expectRise(t *testing.T, before *lab.Status, want map[string]uint64) {
	t.Helper()
	rise := func(st *lab.Status) map[string]uint64 {
		risen := make(map[string]uint64)
		for name := range want {
			risen[name] = st.Counters[name] - before.Counters[name]
		}
		return risen
	}
	var last map[string]uint64
	err := s.WaitStatus(s.ctx, victim, func(st *lab.Status) bool {
		last = rise(st)
		for name, n := range want {
			if last[name] < n {
				return false
			}
		}
		return true
	})
	if err != nil {
		t.Fatalf("counters rose by %v, want %v: %v", last, want, err)
	}
	if last := rise(s.status(t)); !maps.Equal(last, want) {
		t.Errorf("counters rose by %v, want %v", last, want)
	}
}

// expectUnhurt checks that the victim's programs still run, and serve their
// healthy neighbour.
func (s *stand) expectUnhurt(t *testing.T) {
	t.Helper()
	for _, p := range s.programs {
		select {
		case <-p.Done():
			t.Fatalf("%s has ended", p.Name)
		default:
		}
	}
	if out, err := s.Ctl(s.ctx, healthy, "ping", victim, "--count", "1"); err != nil {
		t.Errorf("ping of the healthy neighbour: %v %s", err, out)
	}
	for _, entry := range s.entries {
		if err := lab.RoundTrip(s.ctx, entry); err != nil {
			t.Errorf("stream of the healthy neighbour: %v", err)
		}
	}
	st := s.status(t)
	if st.Counters["panics"] != 0 {
		t.Errorf("%d panics", st.Counters["panics"])
	}
	if via := st.RoutingTable[healthy]; via != healthy {
		t.Errorf("the way to the healthy neighbour is over %q", via)
	}
}

// evilPeer is a neighbour that says what it likes.
type evilPeer struct {
	t     *testing.T
	conn  net.Conn
	epoch uint64
	seq   uint64
	ext   json.RawMessage // of its own updates; nil: like an existing node
	read  chan struct{}   // closed when the victim has closed the connection
}

// silent connects without a word.
func (s *stand) silent(t *testing.T, m medium) *evilPeer {
	t.Helper()
	s.epoch++
	p := &evilPeer{t: t, conn: m.dial(t), epoch: s.epoch, read: make(chan struct{})}
	go func() {
		defer close(p.read)
		_, _ = io.Copy(io.Discard, p.conn) // it ends when either side closes
	}()
	t.Cleanup(func() {
		p.conn.Close()
		<-p.read
	})
	return p
}

// neighbour connects and becomes a neighbour.
func (s *stand) neighbour(t *testing.T, m medium) *evilPeer {
	t.Helper()
	return s.neighbourSaying(t, m, nil)
}

// neighbourSaying is neighbour, with what ours say beyond existing nodes.
func (s *stand) neighbourSaying(t *testing.T, m medium, ext json.RawMessage) *evilPeer {
	t.Helper()
	p := s.silent(t, m)
	p.ext = ext
	p.own(nil)
	must(t, s.WaitStatus(s.ctx, victim, func(st *lab.Status) bool {
		return slices.ContainsFunc(st.Links, func(l lab.Link) bool { return l.Peer == evil && l.State == "established" })
	}))
	p.own(map[string]float64{victim: 1})
	must(t, s.WaitStatus(s.ctx, victim, func(st *lab.Status) bool { return st.KnownCosts[evil][victim] == 1 }))
	return p
}

// bytes writes bytes as they are. The victim may close meanwhile.
func (p *evilPeer) bytes(b ...byte) { _, _ = p.conn.Write(b) }

// send writes one message.
func (p *evilPeer) send(msg ...byte) {
	p.bytes(append(binary.LittleEndian.AppendUint16(nil, uint16(len(msg))), msg...)...)
}

// data writes a data message.
func (p *evilPeer) data(hops byte, from uint64, fromService string, to uint64, toService, payload string) {
	msg := []byte{0, hops, 0, 0}
	msg = binary.BigEndian.AppendUint64(msg, from)
	msg = binary.BigEndian.AppendUint64(msg, to)
	for _, name := range []string{fromService, toService} {
		var service [8]byte
		copy(service[:], name)
		msg = append(msg, service[:]...)
	}
	p.send(append(msg, payload...)...)
}

// update is a routing update as it is on the wire.
type update struct {
	NodeID, UpdateID            string
	UpdateEpoch, UpdateSequence uint64
	Connections                 map[string]float64
	ForwardingNode              string
	SuspectedDuplicate          uint64
	Ext                         json.RawMessage `json:",omitempty"`
}

// route sends an update; it fills in what is empty.
func (p *evilPeer) route(u update) {
	p.seq++
	if u.UpdateID == "" {
		u.UpdateID = fmt.Sprintf("%x.%d", p.epoch, p.seq)
	}
	if u.ForwardingNode == "" {
		u.ForwardingNode = evil
	}
	if u.UpdateEpoch == 0 {
		u.UpdateEpoch, u.UpdateSequence = p.epoch, p.seq
	}
	body, err := json.Marshal(u)
	must(p.t, err)
	p.send(append([]byte{1}, body...)...)
}

// own sends an update about itself.
func (p *evilPeer) own(links map[string]float64) {
	p.route(update{NodeID: evil, Connections: links, Ext: p.ext})
}

// expectClosed waits until the victim has closed the connection.
func (s *stand) expectClosed(t *testing.T, p *evilPeer) {
	t.Helper()
	select {
	case <-p.read:
	case <-s.ctx.Done():
		t.Error("the victim has not closed the link")
	}
}
