package netceptor

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/project-receptor/receptor/netceptor/internal/wire"
)

// rawPeer is a neighbour of a node that does what the test wants.
type rawPeer struct {
	t    *testing.T
	id   string
	node *Node
	link *Link // the node's end
	conn net.Conn
	seq  uint64

	mu   sync.Mutex
	got  [][]byte
	more chan struct{} // closed and replaced when something arrives
	hold bool
	gate sync.Cond
}

// connectRaw links a raw peer to a node without saying anything.
func connectRaw(t *testing.T, n *Node, id string, c LinkConfig) *rawPeer {
	t.Helper()
	near, far := net.Pipe()
	p := &rawPeer{t: t, id: id, node: n, conn: far, more: make(chan struct{})}
	p.gate.L = &p.mu
	p.link = addLink(t, n, near, c)
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.read()
	}()
	t.Cleanup(func() {
		far.Close()
		p.mu.Lock()
		p.hold = false
		p.gate.Broadcast()
		p.mu.Unlock()
		<-done
	})
	return p
}

// attachRaw links a raw peer and does the handshake of a legacy node.
func attachRaw(t *testing.T, n *Node, id string) *rawPeer {
	t.Helper()
	p := connectRaw(t, n, id, LinkConfig{})
	p.update(p.id, nil)
	waitFor(t, n, "the link to "+id, func(s Status) bool {
		for _, c := range s.Connections {
			if c.NodeID == id {
				return true
			}
		}
		return false
	})
	p.update(p.id, map[string]float64{n.NodeID(): 1})
	waitFor(t, n, "the route to "+id, func(s Status) bool { return s.RoutingTable[id] == id })
	return p
}

// read keeps what arrives.
func (p *rawPeer) read() {
	var length [2]byte
	for {
		p.mu.Lock()
		for p.hold {
			p.gate.Wait()
		}
		p.mu.Unlock()
		if _, err := io.ReadFull(p.conn, length[:]); err != nil {
			return
		}
		msg := make([]byte, binary.LittleEndian.Uint16(length[:]))
		if _, err := io.ReadFull(p.conn, msg); err != nil {
			return
		}
		p.mu.Lock()
		p.got = append(p.got, msg)
		close(p.more)
		p.more = make(chan struct{})
		p.mu.Unlock()
	}
}

// stopReading lets the node's writer block, until the test ends.
func (p *rawPeer) stopReading() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hold = true
}

// received is what has arrived so far.
func (p *rawPeer) received() [][]byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.got
}

// bytes sends bytes as they are. The node may end the link meanwhile.
func (p *rawPeer) bytes(b []byte) {
	if _, err := p.conn.Write(b); err != nil && !isClosed(p.link.stop) {
		p.t.Errorf("%s: write to the node: %v", p.id, err)
	}
}

// send sends one message.
func (p *rawPeer) send(msg []byte) {
	p.bytes(append(binary.LittleEndian.AppendUint16(nil, uint16(len(msg))), msg...))
}

// update sends a routing update of a node, over this link.
func (p *rawPeer) update(node string, connections map[string]float64) {
	p.seq++
	p.route(&wire.RoutingUpdate{NodeID: node, UpdateEpoch: 1 << 40, UpdateSequence: p.seq, Connections: connections})
}

// route sends a routing update; it fills in what no test cares for.
func (p *rawPeer) route(u *wire.RoutingUpdate) {
	p.seq++
	u.UpdateID = fmt.Sprintf("%.20s%08d", p.id, p.seq)
	u.ForwardingNode = p.id
	p.send(u.Append(nil))
}

// expect waits for a message that ok likes, among those that arrived after the
// first from ones, and returns it.
func (p *rawPeer) expect(what string, ok func(msg []byte) bool) []byte {
	p.t.Helper()
	timeout := time.After(patience)
	for {
		p.mu.Lock()
		more := p.more
		for i, msg := range p.got {
			if ok(msg) {
				p.got = append(p.got[:i:i], p.got[i+1:]...)
				p.mu.Unlock()
				return msg
			}
		}
		p.mu.Unlock()
		select {
		case <-more:
		case <-timeout:
			p.t.Fatalf("%s: no %s came; got %q", p.id, what, p.received())
		}
	}
}

// expectMessage waits for exactly this message.
func (p *rawPeer) expectMessage(want []byte) {
	p.t.Helper()
	p.expect(fmt.Sprintf("%x", want), func(msg []byte) bool { return bytes.Equal(msg, want) })
}

// data is a data message.
func data(hops uint8, from Addr, to Addr, payload string) []byte {
	fromService, _ := wire.ParseService(from.Service)
	toService, _ := wire.ParseService(to.Service)
	h := wire.Header{
		Hops: hops,
		From: wire.NodeHash(from.Node), FromService: fromService,
		To: wire.NodeHash(to.Node), ToService: toService,
	}
	return append(h.Append(nil), payload...)
}

// closeConn is a connection that tells that it was closed.
type closeConn struct {
	net.Conn
	closed chan struct{}
}

func (c *closeConn) Close() error {
	close(c.closed)
	return nil
}

// bytesConn is a connection that reads these bytes and then ends.
type bytesConn struct {
	net.Conn
	in io.Reader
}

func (c *bytesConn) Read(b []byte) (int, error)  { return c.in.Read(b) }
func (c *bytesConn) Write(b []byte) (int, error) { return len(b), nil }
func (c *bytesConn) Close() error                { return nil }
