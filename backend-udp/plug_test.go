package backendudp

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/project-receptor/receptor/plug/plugtest"
	"github.com/project-receptor/receptor/plug/schema"
	"github.com/project-receptor/receptor/plug/wire"
)

// greeting is what the core of these tests introduces its node with.
var greeting = []byte("\x01" + `{"NodeID":"u1","UpdateID":"greeting","UpdateEpoch":1,"UpdateSequence":1,"Connections":{},"ForwardingNode":"u1","SuspectedDuplicate":0}`)

// An update as a node that dials says it: at first, and when it has heard u1.
var (
	hello  = []byte("\x01" + `{"NodeID":"u2","UpdateID":"hellohel","UpdateEpoch":2,"UpdateSequence":1,"Connections":{},"ForwardingNode":"u2"}`)
	answer = []byte("\x01" + `{"NodeID":"u2","UpdateID":"answeran","UpdateEpoch":2,"UpdateSequence":2,"Connections":{"u1":1},"ForwardingNode":"u2"}`)
)

// listenerItem is a udp-listener as a core sends it.
func listenerItem(s *plugtest.CoreSession, raw map[string]any) wire.ConfigItem {
	it := s.Item(kindListener, raw)
	it.Greeting = greeting
	return it
}

// listening starts a listener on loopback and returns its address.
func listening(t *testing.T) (core *plugtest.FakeCore, s *plugtest.CoreSession, it wire.ConfigItem, addr string) {
	t.Helper()
	core, s = plugtest.Attached(t, New())
	it = onLoopback(s)
	return core, s, it, s.StartItem(it)
}

func onLoopback(s *plugtest.CoreSession) wire.ConfigItem {
	return listenerItem(s, map[string]any{"port": 0, "bindaddr": "127.0.0.1"})
}

// A core that gives no greeting is too old: an item that would answer nobody says so,
// also when such a core follows a newer one, and is up with the next one that can.
func TestListenerAtAnOldCore(t *testing.T) {
	_, s := plugtest.Attached(t, New())
	it := onLoopback(s)
	old := it
	old.Greeting = nil
	for range 2 {
		s.Configure(old)
		if st := s.WaitItem(it.Item, wire.StateFailed); st.Err != errNoGreeting.Error() {
			t.Errorf("at an old core: %+v", st)
		}
		s.Configure(it)
		from := newSource(t, s.WaitItem(it.Item, wire.StateUp).Addr)
		from.send(hello)
		from.wantHeard(greeting)
	}
}

// source is another node's socket.
type source struct {
	*net.UDPConn
	t  *testing.T
	to netip.AddrPort
}

func newSource(t *testing.T, to string) *source {
	t.Helper()
	network, at := "udp4", "127.0.0.1:0"
	if strings.HasPrefix(to, "[::1]") {
		network, at = "udp6", "[::1]:0"
	}
	addr, err := net.ResolveUDPAddr(network, at)
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.ListenUDP(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	s := &source{UDPConn: c, t: t}
	if to != "" {
		if s.to, err = netip.ParseAddrPort(to); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func (s *source) send(msg []byte) {
	s.t.Helper()
	if _, err := s.WriteToUDPAddrPort(msg, s.to); err != nil {
		s.t.Fatal(err)
	}
}

// hear waits for a datagram.
func (s *source) hear() []byte {
	s.t.Helper()
	if err := s.SetReadDeadline(time.Now().Add(plugtest.Patience)); err != nil {
		s.t.Fatal(err)
	}
	buf := make([]byte, bufferSize)
	n, from, err := s.ReadFromUDPAddrPort(buf)
	if err != nil {
		s.t.Fatal(err)
	}
	s.to = addrPort(from)
	return buf[:n]
}

func (s *source) wantHeard(want []byte) {
	s.t.Helper()
	if got := s.hear(); !bytes.Equal(got, want) {
		s.t.Fatalf("heard %.200q, want %.200q", got, want)
	}
}

// wantSilence checks that nothing was sent before the answer to something else, a
// datagram from another source.
func (s *source) wantSilence() {
	s.t.Helper()
	other := newSource(s.t, s.to.String())
	other.send(hello)
	other.wantHeard(greeting)
	if err := s.SetReadDeadline(time.Now().Add(time.Millisecond)); err != nil {
		s.t.Fatal(err)
	}
	buf := make([]byte, bufferSize)
	if n, _, err := s.ReadFromUDPAddrPort(buf); !errors.Is(err, os.ErrDeadlineExceeded) {
		s.t.Fatalf("heard %.200q, %v, want nothing", buf[:n], err)
	}
}

// linked makes a link from a new source, and reads its first message.
func linked(t *testing.T, core *plugtest.FakeCore, addr string) (*source, net.Conn) {
	t.Helper()
	s := newSource(t, addr)
	s.send(hello)
	s.wantHeard(greeting)
	s.send(answer)
	link := core.Link().OpenLink("l")
	t.Cleanup(func() { _ = link.Close() })
	wantFrame(t, link, answer)
	return s, link
}

func sendFrame(t *testing.T, to io.Writer, msg []byte) {
	t.Helper()
	if _, err := to.Write(appendFrame(nil, msg)); err != nil {
		t.Fatal(err)
	}
}

func wantFrame(t *testing.T, from io.Reader, want []byte) {
	t.Helper()
	var head [lengthSize]byte
	if _, err := io.ReadFull(from, head[:]); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, binary.LittleEndian.Uint16(head[:]))
	if _, err := io.ReadFull(from, got); err != nil || !bytes.Equal(got, want) {
		t.Fatalf("the core got %.200q, %v, want %.200q", got, err, want)
	}
}

func wantEnd(t *testing.T, c net.Conn) {
	t.Helper()
	if err := c.SetReadDeadline(time.Now().Add(plugtest.Patience)); err != nil {
		t.Fatal(err)
	}
	if n, err := io.Copy(io.Discard, c); errors.Is(err, os.ErrDeadlineExceeded) || n > 0 {
		t.Fatalf("%d bytes, %v, want the end", n, err)
	}
}

func TestKinds(t *testing.T) {
	t.Parallel()
	if _, err := New().Hello(""); err != nil {
		t.Error(err)
	}
	it, err := plugtest.ItemOf(New().Kinds, kindListener, map[string]any{schema.Bare: "2222"})
	if it.Item != "udp-listener port=2222" || err != nil {
		t.Errorf("%s, %v", it.Item, err)
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
			it := listenerItem(s, raw)
			addr := s.StartItem(it)
			_, port, err := net.SplitHostPort(addr)
			if err != nil || port == "0" {
				t.Fatalf("address %q, %v", addr, err)
			}
			if bindaddr == "" {
				addr = net.JoinHostPort("127.0.0.1", port)
			}
			for range 2 {
				from := newSource(t, addr)
				from.send(hello)
				from.wantHeard(greeting)
				from.send(answer)
				d := core.Link()
				b := d.LinkBody()
				if b.Dir != "in" || b.Medium != "udp" || b.Remote != from.LocalAddr().String() || b.Item != it.Item {
					t.Errorf("LINK %+v", b)
				}
				link := d.OpenLink("l")
				wantFrame(t, link, answer)
				sendFrame(t, link, []byte("from here"))
				from.wantHeard([]byte("from here"))
				from.send([]byte("from there"))
				wantFrame(t, link, []byte("from there"))
			}
		})
	}
}

// What an unknown source sends is answered by the greeting, if at all, and by no
// more than three times what came; nothing but an update after that makes a link.
func TestUnknownSource(t *testing.T) {
	t.Parallel()
	core, s, _, addr := listening(t)
	from := newSource(t, addr)

	from.send(nil)
	for n := 1; unprovenFactor*n < len(greeting); n++ {
		from.send(bytes.Repeat([]byte{1}, n))
	}
	from.wantSilence()
	s.WaitCount(countEmpty, 1)
	s.WaitCount(countUnanswered, uint64((len(greeting)-1)/unprovenFactor))

	from.send(bytes.Repeat([]byte{typeData}, 100))
	from.wantHeard(greeting)
	from.send(bytes.Repeat([]byte{typeData}, 100)) // data make no link
	from.wantHeard(greeting)
	from.send(answer)
	link := core.Link().OpenLink("l")
	t.Cleanup(func() { _ = link.Close() })
	wantFrame(t, link, answer)
}

// The greeting may be lost: the second message begins the link all the same, but
// little is sent on it before the other side is known to hear.
func TestUnprovenSource(t *testing.T) {
	t.Parallel()
	core, s, _, addr := listening(t)
	from := newSource(t, addr)
	from.send(hello)
	from.wantHeard(greeting)
	from.send(hello)
	link := core.Link().OpenLink("l")
	t.Cleanup(func() { _ = link.Close() })
	wantFrame(t, link, hello)
	allowed := unprovenFactor * len(hello)
	sendFrame(t, link, bytes.Repeat([]byte("a"), allowed-100))
	sendFrame(t, link, bytes.Repeat([]byte("b"), 101)) // one byte too many
	sendFrame(t, link, bytes.Repeat([]byte("c"), 100))
	from.wantHeard(bytes.Repeat([]byte("a"), allowed-100))
	from.wantHeard(bytes.Repeat([]byte("c"), 100))
	s.WaitCount(countUnproven, 1)
	from.send(answer)
	wantFrame(t, link, answer)
	sendFrame(t, link, bytes.Repeat([]byte("d"), 60_000))
	from.wantHeard(bytes.Repeat([]byte("d"), 60_000))
}

// A link that the core ends is told to the other side, and begins again only after
// another greeting.
func TestLinkEnds(t *testing.T) {
	t.Parallel()
	core, _, _, addr := listening(t)
	from, link := linked(t, core, addr)
	if err := link.Close(); err != nil {
		t.Fatal(err)
	}
	from.wantHeard(farewell)
	from.send(answer) // it was on its way
	from.wantHeard(greeting)
	from.send(answer)
	again := core.Link().OpenLink("l")
	t.Cleanup(func() { _ = again.Close() })
	wantFrame(t, again, answer)

	// Who has ended the link itself is not told, and neither is who was told by the core.
	sendFrame(t, again, farewell)
	from.wantHeard(farewell)
	if err := again.Close(); err != nil {
		t.Fatal(err)
	}
	second, link := linked(t, core, addr)
	second.send(farewell)
	wantFrame(t, link, farewell)
	if err := link.Close(); err != nil {
		t.Fatal(err)
	}
	from.wantSilence()
	second.wantSilence()
}

// A refused link leaves nothing.
func TestLinkRefused(t *testing.T) {
	t.Parallel()
	core, _, _, addr := listening(t)
	from := newSource(t, addr)
	from.send(hello)
	from.wantHeard(greeting)
	from.send(answer)
	core.Link().Refuse(wire.NewError(wire.CodeDenied, "no links for you"))
	from.wantHeard(farewell)
	from.send(answer)
	from.wantHeard(greeting)
}

// What cannot be sent or is nothing costs no link, in either direction.
func TestBadMessages(t *testing.T) {
	t.Parallel()
	core, s, _, addr := listening(t)
	from, link := linked(t, core, addr)
	from.send(nil)
	for _, msg := range [][]byte{{}, make([]byte, maxMessage+1), make([]byte, 65_535), bytes.Repeat([]byte{typeRoute}, maxMessage), []byte("x")} {
		sendFrame(t, link, msg)
	}
	from.wantHeard(bytes.Repeat([]byte{typeRoute}, maxMessage))
	from.wantHeard([]byte("x"))
	from.send([]byte("y"))
	wantFrame(t, link, []byte("y"))
	s.WaitCount(countEmpty, 2)
	s.WaitCount(countOversize, 2)
}

// Many messages of all sizes, in both directions, arrive as they were, however many
// are put together on their way; frames may be cut anywhere.
func TestManyMessages(t *testing.T) {
	t.Parallel()
	core, _, _, addr := listening(t)
	from, link := linked(t, core, addr)
	var msgs [][]byte
	for i := range 40 {
		size := 1200 // a run, then a shorter one, then others
		if i%8 == 7 {
			size = 1 + i*13
		}
		if i > 32 {
			size = 1 << (i - 25)
		}
		msgs = append(msgs, bytes.Repeat([]byte{byte(i + 4)}, size))
	}
	var frames []byte
	for _, m := range msgs {
		frames = appendFrame(frames, m)
	}
	for len(frames) > 0 {
		n := min(len(frames), 7001)
		if _, err := link.Write(frames[:n]); err != nil {
			t.Fatal(err)
		}
		frames = frames[n:]
	}
	for _, m := range msgs {
		from.wantHeard(m)
	}
	for _, m := range msgs {
		from.send(m)
		wantFrame(t, link, m)
	}
}

// A core that does not read one link gets the others; what waits is bounded.
func TestSlowLink(t *testing.T) {
	t.Parallel()
	core, s, _, addr := listening(t)
	slow, stuck := linked(t, core, addr)
	quick, link := linked(t, core, addr)
	msg := bytes.Repeat([]byte{typeData}, 60_000)
	for sent := 0; sent < 4*inboxSize; sent += len(msg) {
		slow.send(msg)
		quick.send([]byte("x"))
		wantFrame(t, link, []byte("x"))
	}
	s.WaitStatus("dropped datagrams", func(st wire.Status) bool { return st.Counters[countQueue] > 0 })
	wantFrame(t, stuck, msg) // what was first
}

// While the core is away nobody is answered; when it is back links begin again on
// the same port.
func TestListenerOutlivesCore(t *testing.T) {
	t.Parallel()
	core, _, it, addr := listening(t)
	from, _ := linked(t, core, addr)
	core.Kill() // and with it the link's connection
	from.wantHeard(farewell)
	core.Start()
	s := core.Session()
	s.Configure(it)
	if again := s.WaitItem(it.Item, wire.StateUp).Addr; again != addr {
		t.Errorf("address %s, was %s", again, addr)
	}
	from, link := linked(t, core, addr)
	sendFrame(t, link, []byte("x"))
	from.wantHeard([]byte("x"))
}

// The socket is kept: another process has it, and what waits in it.
func TestSocketIsKept(t *testing.T) {
	t.Parallel()
	core := plugtest.NewCore(t, func(c *plugtest.FakeCore) { c.FDPass = true })
	stop := core.RunPlug(New())
	s := core.Session()
	it := onLoopback(s)
	addr := s.StartItem(it)
	s.WaitKept(it.Item)
	from, link := linked(t, core, addr)
	stop()
	wantEnd(t, link)
	from.wantHeard(farewell)
	from.send(hello) // nobody is there
	core.RunPlug(New())
	s = core.Session()
	s.Configure(it)
	from.wantHeard(greeting)
	from.send(answer)
	link = core.Link().OpenLink("l")
	t.Cleanup(func() { _ = link.Close() })
	wantFrame(t, link, answer)
	if again := s.WaitItem(it.Item, wire.StateUp).Addr; again != addr {
		t.Errorf("address %s, was %s", again, addr)
	}
}

func TestListenerPortInUse(t *testing.T) {
	t.Parallel()
	taken := newSource(t, "")
	_, port, err := net.SplitHostPort(taken.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	_, s := plugtest.Attached(t, New())
	it := listenerItem(s, map[string]any{"port": port, "bindaddr": "127.0.0.1"})
	s.Configure(it)
	want := "listen udp 127.0.0.1:" + port + ": bind: address already in use"
	if st := s.WaitItem(it.Item, wire.StateFailed); st.Err != want {
		t.Errorf("got %q, want %q", st.Err, want)
	}
	if err := taken.Close(); err != nil { // it heals by itself
		t.Fatal(err)
	}
	s.WaitItem(it.Item, wire.StateUp)
}

// dialling configures a udp-peer.
func dialling(t *testing.T, raw map[string]any) (*plugtest.FakeCore, *plugtest.CoreSession, wire.ConfigItem) {
	t.Helper()
	core, s := plugtest.Attached(t, New())
	it := s.Item(kindPeer, raw)
	s.Configure(it)
	return core, s, it
}

func TestPeerRedials(t *testing.T) {
	t.Parallel()
	far := newSource(t, "")
	core, s, it := dialling(t, map[string]any{"address": far.LocalAddr().String()})
	var port uint16
	for i := range 3 {
		d := core.Link()
		if b := d.LinkBody(); b.Dir != "out" || b.Medium != "udp" || b.Remote != far.LocalAddr().String() {
			t.Errorf("LINK %+v", b)
		}
		link := d.OpenLink("l")
		sendFrame(t, link, hello)
		far.wantHeard(hello)
		if st := s.WaitItem(it.Item, wire.StateDegraded); st.Err != errNoAnswer.Error() && i == 0 {
			t.Errorf("status %+v", st)
		}
		if i > 0 && far.to.Port() != port {
			t.Errorf("from port %d, was %d: the far side cannot know who it is", far.to.Port(), port)
		}
		port = far.to.Port()
		stray := newSource(t, far.to.String())
		stray.send([]byte("from somebody else"))
		far.send(greeting)
		wantFrame(t, link, greeting)
		if st := s.WaitItem(it.Item, wire.StateUp); st.Addr != far.LocalAddr().String() {
			t.Errorf("status %+v", st)
		}
		s.WaitCount(countStray, uint64(i+1))
		if err := link.Close(); err != nil {
			t.Fatal(err)
		}
		far.wantHeard(farewell)
	}
}

// Where nobody listens the system says so, and the peer is dialled again.
func TestPeerRefused(t *testing.T) {
	t.Parallel()
	far := newSource(t, "")
	addr := far.LocalAddr().String()
	if err := far.Close(); err != nil {
		t.Fatal(err)
	}
	core, s, it := dialling(t, map[string]any{"address": addr})
	link := core.Link().OpenLink("l")
	t.Cleanup(func() { _ = link.Close() })
	sendFrame(t, link, hello)
	wantEnd(t, link)
	s.WaitStatus("the reason", func(st wire.Status) bool {
		return len(st.Items) == 1 && st.Items[0].Err == errRefused.Error() && st.Items[0].Item == it.Item
	})
	again := core.Link().OpenLink("l")
	t.Cleanup(func() { _ = again.Close() })
}

// A name with several addresses is tried at one more of them with each message,
// until one answers; then it is spoken with only there.
func TestPeerTriesAddresses(t *testing.T) {
	t.Parallel()
	dead, alive := newSource(t, ""), newSource(t, "")
	f, _ := newTestFlow(t, dead.addr(), alive.addr())
	f.heard = false
	write(t, f, []byte("1"))
	dead.wantHeard([]byte("1"))
	write(t, f, []byte("2"))
	dead.wantHeard([]byte("2"))
	alive.wantHeard([]byte("2"))
	if ours, first := f.from(netip.MustParseAddrPort("127.0.0.1:9")); ours || first {
		t.Error("a stranger has answered")
	}
	if ours, first := f.from(alive.addr()); !ours || !first {
		t.Error("the first answer is not taken for it")
	}
	if ours, _ := f.from(dead.addr()); ours {
		t.Error("two addresses are one other side")
	}
	write(t, f, []byte("3"))
	alive.wantHeard([]byte("3"))
	write(t, f, farewell)
	alive.wantHeard(farewell)
}

func TestPeerWithoutRedial(t *testing.T) {
	t.Parallel()
	far := newSource(t, "")
	core, s, it := dialling(t, map[string]any{"address": far.LocalAddr().String(), "redial": "no"})
	if err := core.Link().OpenLink("l").Close(); err != nil {
		t.Fatal(err)
	}
	s.WaitStatus("the end", func(st wire.Status) bool {
		return len(st.Items) == 1 && st.Items[0].Err == "the link has ended" && st.Items[0].Item == it.Item
	})
	if o, _ := core.Opening(time.Second); o != nil { // it would come within half a second
		t.Error("it has dialled again")
	}
}

func TestPeerRefusedByCore(t *testing.T) {
	t.Parallel()
	far := newSource(t, "")
	core, s, it := dialling(t, map[string]any{"address": far.LocalAddr().String(), "redial": "no"})
	core.Link().Refuse(wire.NewError(wire.CodeDenied, "no links for you"))
	s.WaitStatus("the refusal", func(st wire.Status) bool {
		return len(st.Items) == 1 && st.Items[0].Err == "open link: denied: no links for you" && st.Items[0].Item == it.Item
	})
}

func TestPeerUnknownName(t *testing.T) {
	t.Parallel()
	_, s, it := dialling(t, map[string]any{"address": "nosuch.invalid:1"})
	if st := s.WaitItem(it.Item, wire.StateDegraded); !strings.Contains(st.Err, "nosuch.invalid") {
		t.Errorf("status %+v", st)
	}
}

// The messages of existing nodes make a link, in both roles.
func TestVectors(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile(filepath.Join("testdata", "udp-init.json"))
	if err != nil {
		t.Fatal(err)
	}
	var v struct {
		UDP []struct {
			Sender  string
			Message string `json:"message_hex"`
		}
	}
	if err := json.Unmarshal(data, &v); err != nil || len(v.UDP) < 2 {
		t.Fatalf("%d messages, %v", len(v.UDP), err)
	}
	dialler, err := hex.DecodeString(v.UDP[0].Message)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := hex.DecodeString(v.UDP[1].Message)
	if err != nil {
		t.Fatal(err)
	}
	core, s := plugtest.Attached(t, New())
	far := newSource(t, "")
	in := onLoopback(s)
	in.Greeting = listener
	out := s.Item(kindPeer, map[string]any{"address": far.LocalAddr().String()})
	s.Configure(in, out)

	link := core.Link().OpenLink("out")
	t.Cleanup(func() { _ = link.Close() })
	sendFrame(t, link, dialler)
	far.wantHeard(dialler)
	far.send(listener)
	wantFrame(t, link, listener)

	from := newSource(t, s.WaitItem(in.Item, wire.StateUp).Addr)
	from.send(dialler)
	from.wantHeard(listener)
	from.send(dialler)
	link = core.Link().OpenLink("in")
	t.Cleanup(func() { _ = link.Close() })
	wantFrame(t, link, dialler)
}
