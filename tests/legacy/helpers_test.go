package legacy

import (
	"bytes"
	"net"
	"sync"
	"testing"
	"time"
)

// start starts a node that the test ends, and whose conversation is written down
// if the test fails.
func start(t *testing.T, c Config) *Node {
	t.Helper()
	script := NewTranscript()
	c.Trace = script.Trace
	n, err := Start(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		n.Close()
		if t.Failed() {
			var out bytes.Buffer
			script.WriteTo(&out)
			t.Logf("conversation of %s\n%s", n.ID(), &out)
		}
	})
	return n
}

// join links two nodes and returns a way to cut the link.
func join(a, b *Node, ca, cb LinkConfig) (cut func()) {
	x, y := net.Pipe()
	a.AddLink(NewFramed(x), ca)
	b.AddLink(NewFramed(y), cb)
	return func() { x.Close() }
}

// tool is the other end of a link of a node: what the node sends, it keeps.
type tool struct {
	t    *testing.T
	name string
	conn net.Conn

	mu  sync.Mutex
	got [][]byte
}

// attach makes a link to a node and says who is there.
func attach(t *testing.T, n *Node, name string, c LinkConfig) *tool {
	t.Helper()
	near, far := net.Pipe()
	l := &tool{t: t, name: name, conn: far}
	n.AddLink(NewFramed(near), c)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			msg, err := readFrame(far)
			if err != nil {
				return
			}
			l.mu.Lock()
			l.got = append(l.got, msg)
			l.mu.Unlock()
		}
	})
	t.Cleanup(func() {
		far.Close()
		wg.Wait()
	})
	if name != "" {
		l.introduce(n, 1)
	}
	return l
}

// introduce sends the updates of a neighbour that has accepted the node.
func (l *tool) introduce(n *Node, cost float64) {
	l.t.Helper()
	u := Update{NodeID: l.name, UpdateID: randomName(), UpdateEpoch: 1, UpdateSequence: 1, ForwardingNode: l.name}
	l.send(u.Append(nil))
	u.UpdateID, u.UpdateSequence, u.Connections = randomName(), 2, map[string]float64{n.ID(): cost}
	l.send(u.Append(nil))
}

// send sends a message, unless the link has ended: that shows in ended.
func (l *tool) send(msg []byte) { l.conn.Write(appendFrame(nil, msg)) }

// take returns what has come of a type since the last call.
func (l *tool) take(typ byte) [][]byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	var taken, rest [][]byte
	for _, msg := range l.got {
		if msg[0] == typ {
			taken = append(taken, msg)
		} else {
			rest = append(rest, msg)
		}
	}
	l.got = rest
	return taken
}

// ended tells whether the node has closed the link.
func (l *tool) ended() bool {
	l.conn.SetWriteDeadline(time.Now().Add(time.Second))
	defer l.conn.SetWriteDeadline(time.Time{})
	_, err := l.conn.Write(appendFrame(nil, []byte{9}))
	return err != nil
}
