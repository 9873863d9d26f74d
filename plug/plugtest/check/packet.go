package check

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/project-receptor/receptor/plug/plugtest"
	"github.com/project-receptor/receptor/plug/schema"
	"github.com/project-receptor/receptor/plug/wire"
)

const (
	// packetMTU is the largest datagram that is sure to arrive, as real cores have it:
	// less than UDP carries on loopback.
	packetMTU = 65471

	// smallMTU is that of a core that says otherwise.
	smallMTU = 1200

	// together is how many datagrams come in one write: what any socket has room for.
	together = 64

	// unread is how many datagrams come for a core that does not read, of unreadSize
	// bytes: more than what waits on the way.
	unread     = 4096
	unreadSize = 1000
)

func packetChecks() []Check {
	return playing([]Check{
		{ID: "packet/bind", About: "PBIND is for its item, and for its service if it has one; the item is up", run: packetBind},
		{ID: "packet/application", About: "an application's datagram makes a flow with a service of its own, and what comes back is the application's", run: func(s *stand) {
			s.eachWay(in, (*packetFlow).exchange)
		}},
		{ID: "packet/target", About: "a datagram of a flow reaches the target, and what that answers is of the flow", run: func(s *stand) {
			s.eachWay(out, (*packetFlow).exchange)
		}},
		{ID: "packet/apart", About: "two applications, and two flows, are kept apart", run: packetApart},
		{ID: "packet/sizes", About: "an empty datagram arrives, and one as long as mtu allows", run: packetSizes},
		{ID: "packet/too-long", About: "a datagram that is longer than mtu is not sent, and the next one is", run: packetTooLong},
		{ID: "packet/together", About: "many datagrams in one write arrive, in order, and one that comes in two pieces", run: packetTogether},
		{ID: "packet/gone", About: "GONE ends a flow only: the next datagram makes another", run: packetGone},
		{ID: "packet/unknown-handle", About: "DATA and GONE of a handle that is no flow's are ignored", run: packetUnknown},
		{ID: "packet/stall", About: "a core that does not read for a while ends nothing", run: packetStall},
		{ID: "packet/refused", About: "PBIND that is refused is in the item's state, with the reason, until it is not refused", run: packetRefused},
		{ID: "packet/again", About: "PBIND is sent again when its connection has ended", run: packetAgain},
		{ID: "packet/core-restart", About: "PBIND is sent again, with the new secret, when the core is back", run: packetCoreRestart},
		{ID: "packet/plug-restart", About: "a plug that is killed and started again serves as before, as another process", run: packetPlugRestart},
		{ID: "packet/kept", Handoff: true, About: "a socket that the core keeps is taken again: it is there all the time", run: packetKept},
		{ID: "packet/item-gone", About: "the service of an item that is gone ends, and its socket is closed", run: packetItemGone},
	}, "packet/bind", "packet/gone", "packet/unknown-handle", "packet/refused", "packet/again", "packet/core-restart", "packet/plug-restart", "packet/item-gone")
}

// packets is the core's end of a packet service.
type packets struct {
	*stand
	item wire.ConfigItem
	dir  string
	addr string         // of the plug's socket
	app  net.PacketConn // out: the target's
	mtu  int

	core  *plugtest.CoreSession
	conn  net.Conn
	from  *bufio.Reader
	bound wire.PBind
	made  map[uint32]wire.Peer // flows that the plug has made
	ours  map[uint32]bool      // those that we have
	gone  map[uint32]bool      // that we have ended
	last  uint32               // handle of ours

	probes int // made so far
}

// packetFlow is a flow, and the application's end of it.
type packetFlow struct {
	*packets
	handle uint32
	app    net.PacketConn
	to     net.Addr // whom the application talks to
	probe  []byte   // its first datagram
}

// probeText, with a number, is sent until it arrives, when a flow is made: what comes too
// early is lost.
const probeText = "receptor-plugcheck probe "

// serving attaches a plug with an item of a direction, and answers its PBIND.
func (s *stand) serving(dir string, mtu int) *packets {
	return s.servingWith(s.attach(), dir, mtu)
}

func (s *stand) servingWith(core *plugtest.CoreSession, dir string, mtu int) *packets {
	p := s.unserved(core, dir, mtu)
	p.again(core)
	return p
}

// unserved makes an item of a direction, which is not configured yet.
func (s *stand) unserved(core *plugtest.CoreSession, dir string, mtu int) *packets {
	p := &packets{stand: s, dir: dir, mtu: mtu}
	if dir == in {
		p.addr = s.freeAddr()
		p.item = s.item(core.Hello, in, p.addr)
		return p
	}
	p.app = s.udp()
	p.item = s.item(core.Hello, out, p.app.LocalAddr().String())
	return p
}

// udp is an application's socket.
func (s *stand) udp() net.PacketConn {
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	s.must(err, "open a UDP socket")
	s.own(c)
	return c
}

// again configures the item with a core, and answers PBIND.
func (p *packets) again(core *plugtest.CoreSession) {
	p.core = core
	p.configure(core, p.item)
	p.bind()
}

// bind waits for PBIND and answers it.
func (p *packets) bind() {
	d := p.stand.core.PacketBind()
	p.bound = d.PBindBody()
	service := p.service()
	p.oneOf("item in PBIND", p.bound.Item, p.item.Item)
	p.oneOf("service in PBIND", p.bound.Service, service)
	if service == "" {
		service = "fresh0"
	}
	p.conn = d.OpenRecords(wire.PBound{Object: "packets", Node: "fake", Service: service, MTU: p.mtu})
	p.own(p.conn)
	p.from = bufio.NewReaderSize(p.conn, 2*wire.MaxRecord)
	p.made, p.ours, p.gone = make(map[uint32]wire.Peer), make(map[uint32]bool), make(map[uint32]bool)
}

// service is what the item binds: of one that listens, any.
func (p *packets) service() string {
	if p.dir == in {
		return ""
	}
	return paramOfType(p.core.Hello, p.item, schema.TypeService)
}

// put appends a record.
func put(b []byte, t wire.RecordType, handle uint32, payload []byte) []byte {
	h := wire.RecordHeader{Length: uint16(len(payload)), Type: t, Peer: handle}
	return append(h.Append(b), payload...)
}

// send sends records.
func (p *packets) send(records []byte) {
	p.must(p.conn.SetWriteDeadline(deadline(p.trial)), "set a deadline")
	_, err := p.conn.Write(records)
	p.must(err, "write records to the plug")
}

func (p *packets) sendPeer(handle uint32, peer wire.Peer) {
	b, err := json.Marshal(peer)
	p.must(err, "encode PEER")
	p.send(put(nil, wire.RecordPeer, handle, b))
}

// end sends GONE.
func (p *packets) end(handle uint32, why wire.Gone) {
	b, err := json.Marshal(why)
	p.must(err, "encode GONE")
	p.send(put(nil, wire.RecordGone, handle, b))
	delete(p.made, handle)
	delete(p.ours, handle)
	p.gone[handle] = true
}

// deadline is that of the check.
func deadline(t *trial) time.Time {
	d, _ := t.ctx.Deadline()
	return d
}

// data waits for the next datagram of the plug, and answers its PEER meanwhile. None
// within d: ok is false.
func (p *packets) data(d time.Duration) (handle uint32, b []byte, ok bool) {
	end := time.Now().Add(d)
	for {
		h, b, ok := p.record(end)
		switch {
		case !ok:
			return 0, nil, false
		case h.Type == wire.RecordPeer:
			p.peer(h.Peer, b)
		case h.Type == wire.RecordGone:
			delete(p.made, h.Peer)
			delete(p.ours, h.Peer)
		case p.gone[h.Peer]: // it has crossed our GONE
		case p.made[h.Peer].Node == "" && !p.ours[h.Peer]:
			p.Fatalf("DATA: expected the handle of a flow, got %d", h.Peer)
		default:
			return h.Peer, b, true
		}
	}
}

// peer takes and answers a PEER of the plug.
func (p *packets) peer(handle uint32, b []byte) {
	var peer wire.Peer
	p.must(json.Unmarshal(b, &peer), "decode PEER")
	if handle%2 == 0 || p.made[handle].Node != "" {
		p.Fatalf("PEER of the plug: expected an odd handle that is free, got %d", handle)
	}
	if p.dir == in {
		p.oneOf("node in PEER", peer.Node, farNode)
		p.oneOf("service in PEER", peer.Service, paramOfType(p.core.Hello, p.item, schema.TypeService))
		p.oneOf("local in PEER", peer.Local, wire.LocalFresh)
	}
	p.made[handle] = peer
	delete(p.gone, handle)
	peer.Local, peer.MTU = "fresh"+strconv.Itoa(int(handle)), p.mtu
	p.sendPeer(handle, peer)
}

// record waits for a record that is as it should be.
func (p *packets) record(end time.Time) (h wire.RecordHeader, payload []byte, ok bool) {
	p.must(p.conn.SetReadDeadline(end), "set a deadline")
	b, err := p.from.Peek(wire.RecordSize)
	if err == nil {
		if h, _, err = wire.ParseRecordHeader(b); err == nil {
			err = h.CheckPacket()
		}
		p.must(err, "record of the plug")
		b, err = p.from.Peek(wire.RecordSize + int(h.Length))
	}
	if late := net.Error(nil); errors.As(err, &late) && late.Timeout() {
		return h, nil, false
	}
	p.must(err, "read records of the plug")
	payload = bytes.Clone(b[wire.RecordSize:])
	_, err = p.from.Discard(len(b))
	p.must(err, "read records of the plug")
	return h, payload, true
}

// flow makes a flow.
func (p *packets) flow() *packetFlow {
	f := &packetFlow{packets: p, app: p.app}
	if p.dir == in {
		f.app = p.udp()
	}
	f.open()
	return f
}

// open makes the flow, perhaps once more: by a datagram of the application's, or, where that
// only answers or is not here, by a PEER of ours.
func (f *packetFlow) open() {
	f.probes++
	f.probe = []byte(probeText + strconv.Itoa(f.probes))
	if f.dir == in && f.plays() {
		to, err := net.ResolveUDPAddr("udp", f.addr)
		f.must(err, "resolve "+f.addr)
		f.to = to
		f.until("an application's datagram", func() bool {
			f.toPlug(f.probe)
			for {
				handle, b, ok := f.data(quiet)
				if !ok {
					return false
				}
				if bytes.Equal(b, f.probe) { // and not a late one of another's
					f.handle = handle
					return true
				}
			}
		})
		return
	}
	f.last += 2
	f.handle = f.last
	f.ours[f.handle] = true
	f.sendPeer(f.handle, wire.Peer{Local: f.service(), Node: farNode, Service: "app" + strconv.Itoa(int(f.handle)), MTU: f.mtu})
	f.send(put(nil, wire.RecordData, f.handle, f.probe))
	f.to = nil
	if !f.plays() {
		return
	}
	if b := f.atApp(); !bytes.Equal(b, f.probe) {
		f.Fatalf("first datagram at the target: expected %s, got %s", brief(f.probe), brief(b))
	}
}

// toPlug sends a datagram from the application.
func (f *packetFlow) toPlug(b []byte) {
	_, err := f.app.WriteTo(b, f.to)
	if errors.Is(err, syscall.ECONNREFUSED) {
		err = nil // of an earlier one
	}
	f.must(err, "send a datagram to the plug")
}

// toApp sends a datagram from the core.
func (f *packetFlow) toApp(b []byte) { f.send(put(nil, wire.RecordData, f.handle, b)) }

// atApp waits for a datagram at the application, which comes from where the others
// have come from.
func (f *packetFlow) atApp() []byte {
	f.must(f.app.SetReadDeadline(deadline(f.trial)), "set a deadline")
	b := make([]byte, wire.MaxRecord)
	n, from, err := f.app.ReadFrom(b)
	f.must(err, "wait for a datagram at the application")
	switch {
	case f.to == nil:
		f.to = from
	case f.to.String() != from.String():
		f.Fatalf("datagram at the application: expected it from %v, got it from %v", f.to, from)
	}
	return b[:n]
}

// arrives checks that a datagram of the application's arrives next, in its flow.
func (f *packetFlow) arrives(b []byte) {
	f.toPlug(b)
	handle, got, ok := f.data(time.Until(deadline(f.trial)))
	for ok && bytes.HasPrefix(got, []byte(probeText)) { // a late one
		handle, got, ok = f.data(time.Until(deadline(f.trial)))
	}
	if !ok || handle != f.handle || !bytes.Equal(got, b) {
		f.Fatalf("application's datagram: expected %s of flow %d, got %s of flow %d, %v", brief(b), f.handle, brief(got), handle, ok)
	}
}

// reaches checks that a datagram of ours is the application's next.
func (f *packetFlow) reaches(b []byte) {
	f.toApp(b)
	f.gets(b)
}

func (f *packetFlow) gets(b []byte) {
	if got := f.atApp(); !bytes.Equal(got, b) {
		f.Fatalf("datagram for the application: expected %s, got %s", brief(b), brief(got))
	}
}

// brief says what a datagram is.
func brief(b []byte) string { return fmt.Sprintf("%.40q (%d bytes)", b, len(b)) }

// exchange checks that a flow carries datagrams both ways; where its application is not
// here, that the service of the flow lives.
func (f *packetFlow) exchange() {
	if !f.plays() {
		f.data(quiet)
		return
	}
	f.arrives([]byte("from application to core"))
	f.reaches([]byte("from core to application"))
}

// eachWay runs do with a flow of an item of a direction.
func (s *stand) eachWay(dir string, do func(*packetFlow)) {
	do(s.serving(dir, packetMTU).flow())
}

// packetServices runs do with a packet service of each direction that the plug has.
func (s *stand) packetServices(mtu int, do func(*packets)) {
	core := s.attach()
	tried := false
	for _, dir := range []string{in, out} {
		select {
		case <-core.Done(): // do has ended it
			core = s.restart()
		default:
		}
		if s.has(core.Hello, dir) {
			p := s.servingWith(core, dir, mtu)
			do(p)
			core, tried = p.core, true
		}
	}
	if !tried {
		s.skip("the plug has no kind of role packet with a direction")
	}
}

func packetBind(s *stand) {
	s.packetServices(packetMTU, func(p *packets) { // which looks at PBIND
		p.core.WaitItem(p.item.Item, wire.StateUp)
	})
}

func packetApart(s *stand) {
	s.packetServices(packetMTU, func(p *packets) {
		a, b := p.flow(), p.flow()
		if a.handle == b.handle || a.app == b.app && a.to.String() == b.to.String() {
			s.Fatalf("two applications: expected a flow for each, got one for both")
		}
		for range 2 {
			a.exchange()
			b.exchange()
		}
		a.arrives([]byte("of the first"))
		b.arrives([]byte("of the second"))
		b.reaches([]byte("for the second"))
		a.reaches([]byte("for the first"))
	})
}

func packetSizes(s *stand) {
	s.packetServices(packetMTU, func(p *packets) {
		f := p.flow()
		for _, size := range []int{0, 1, 1400, packetMTU, 0} {
			b := bytes.Repeat([]byte{'x'}, size)
			f.arrives(b)
			f.reaches(b)
		}
	})
}

func packetTooLong(s *stand) {
	s.packetServices(smallMTU, func(p *packets) {
		f := p.flow()
		f.arrives(bytes.Repeat([]byte{'x'}, smallMTU))
		f.toPlug(bytes.Repeat([]byte{'y'}, smallMTU+1))
		f.arrives([]byte("after the one that is too long"))
		f.exchange()
	})
}

func packetTogether(s *stand) {
	s.packetServices(packetMTU, func(p *packets) {
		f := p.flow()
		var all []byte
		for i := range together {
			all = put(all, wire.RecordData, f.handle, []byte(strconv.Itoa(i)))
		}
		f.send(all)
		for i := range together {
			f.gets([]byte(strconv.Itoa(i)))
		}
		one := put(nil, wire.RecordData, f.handle, []byte("in two pieces"))
		f.send(one[:wire.RecordSize+2])
		s.pause(redial)
		f.send(one[wire.RecordSize+2:])
		f.gets([]byte("in two pieces"))
		f.exchange()
	})
}

func packetGone(s *stand) {
	s.packetServices(packetMTU, func(p *packets) {
		f, other := p.flow(), p.flow()
		for _, why := range []wire.Gone{{}, {Code: wire.CodeUnreachable, Msg: "receptor-plugcheck says so"}} {
			p.end(f.handle, why)
			f.open()
			f.exchange()
			other.exchange()
		}
	})
}

func packetUnknown(s *stand) {
	s.packetServices(packetMTU, func(p *packets) {
		f := p.flow()
		for _, handle := range []uint32{4711, 4712} {
			p.send(put(nil, wire.RecordData, handle, []byte("of no flow")))
			p.send(put(nil, wire.RecordGone, handle, nil))
		}
		f.exchange()
	})
}

func packetStall(s *stand) {
	s.packetServices(packetMTU, func(p *packets) {
		f := p.flow()
		b := make([]byte, unreadSize)
		for range unread {
			f.toPlug(b)
		}
		s.idle() // to end something, which must not be
		f.reaches([]byte("while nobody reads"))
		s.until("a datagram after the others", func() bool {
			f.toPlug(f.probe)
			for {
				handle, got, ok := f.data(quiet)
				if !ok {
					return false
				}
				if handle == f.handle && bytes.Equal(got, f.probe) {
					return true
				}
			}
		})
		f.exchange()
	})
}

func packetRefused(s *stand) {
	core := s.attach()
	p := s.unserved(core, s.eitherWay(core), packetMTU)
	s.configure(core, p.item)
	const why = "receptor-plugcheck refuses it"
	s.core.PacketBind().Refuse(wire.NewError(wire.CodeDenied, why))
	st := core.WaitStatus("an item that is not up", func(st wire.Status) bool {
		return len(st.Items) == 1 && st.Items[0].State != wire.StateUp && st.Items[0].State != wire.StateWaiting
	})
	if !strings.Contains(st.Items[0].Err, why) {
		s.Fatalf("err of an item whose PBIND is refused: expected the reason in it, %q, got %q", why, st.Items[0].Err)
	}
	p.core = core
	p.bind()
	core.WaitItem(p.item.Item, wire.StateUp)
	p.flow().exchange()
}

func packetAgain(s *stand) {
	s.packetServices(packetMTU, func(p *packets) {
		p.flow().exchange()
		_ = p.conn.Close()
		p.bind()
		p.flow().exchange()
	})
}

func packetCoreRestart(s *stand) {
	s.packetServices(packetMTU, func(p *packets) {
		f := p.flow()
		f.exchange()
		s.away()
		s.core.Start()
		p.again(s.session())
		f.open()
		f.exchange()
		if n := len(s.core.Denied()); n > 0 {
			s.Fatalf("session of PBIND: expected the secret of the last WELCOME, got %d times another", n)
		}
	})
}

func packetPlugRestart(s *stand) {
	s.packetServices(packetMTU, func(p *packets) {
		f := p.flow()
		f.exchange()
		p.killed()
		s.run()
		again := s.session()
		s.oneOf("name in HELLO of the next process", again.Hello.Name, p.core.Hello.Name)
		if again.Hello.Process == p.core.Hello.Process {
			s.Fatalf("process in HELLO of the next process: expected another, got the same")
		}
		p.again(again)
		f.open()
		f.exchange()
	})
}

// killed kills the plug.
func (p *packets) killed() {
	p.kill()
	wait(p.trial, p.core.Done(), "the end of the session of a plug that was killed")
}

func packetKept(s *stand) {
	p := s.serving(in, packetMTU)
	f := p.flow()
	f.exchange()
	s.kept(p.core, p.item)
	p.killed()
	s.bindable(p.addr, false, "that the core keeps while the plug is away")
	s.run()
	p.again(s.session())
	f.open()
	f.exchange()
	s.kept(p.core, p.item)
}

// bindable waits until a UDP address can be bound, or checks that it cannot.
func (s *stand) bindable(addr string, can bool, what string) {
	is := func() bool {
		c, err := net.ListenPacket("udp", addr)
		return err == nil && c.Close() == nil
	}
	if !can && is() {
		s.Fatalf("socket %s: expected that it is there, it is not", what)
	}
	if can {
		s.until("the end of the socket "+what, is)
	}
}

func packetItemGone(s *stand) {
	s.packetServices(packetMTU, func(p *packets) {
		p.flow().exchange()
		s.configure(p.core)
		for {
			s.must(p.conn.SetReadDeadline(deadline(s.trial)), "set a deadline")
			if _, err := p.from.Discard(1); errors.Is(err, os.ErrDeadlineExceeded) {
				s.Fatalf("packet service of an item that is gone: expected that it ends, it does not")
			} else if err != nil {
				break
			}
		}
		if p.dir == in {
			s.bindable(p.addr, true, "of an item that is gone")
		}
	})
}

func packetBackOff(s *stand) {
	core := s.attach()
	s.configure(core, s.eitherItem(core))
	s.attempts("PBIND", func(within time.Duration) bool {
		o, _ := s.core.Opening(within)
		if o != nil {
			o.Refuse(wire.NewError(wire.CodeDenied, "receptor-plugcheck denies it"))
		}
		return o != nil
	})
}

// eitherWay is whichever direction the plug has.
func (s *stand) eitherWay(core *plugtest.CoreSession) string {
	if s.has(core.Hello, in) {
		return in
	}
	return out
}

// skewPackets looks at a packet service of a core that says more than is known.
func (s *stand) skewPackets(core *plugtest.CoreSession) {
	s.servingWith(core, s.eitherWay(core), packetMTU).flow().exchange()
}
