package backendudp

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"github.com/project-receptor/receptor/plug"
)

// maxSessions bounds the links of a listener: each is a data connection, of which
// the core allows a plug as many. A new source is not answered beyond them.
const maxSessions = 4096

// listener is the socket of a udp-listener and the links over it.
//
// Who is unknown is answered by the greeting, as far as that is not more than
// unprovenFactor times what came; all that is kept of it then is a mark in a table of
// fixed size. A node that dials, legacy ones too, takes the greeting for the first
// message of the link, and answers it with a routing update that lists us. With that
// its link begins; with a second one that does not, when the greeting was lost, it
// begins as well, but gets no more than so many times what comes. When a link has
// ended, it all starts anew; so a node that does not know of the end learns of it by
// the greeting, which does not list it.
type listener struct {
	ctx     context.Context // of listen
	it      *plug.Item
	sock    *socket
	greeted *greeted
	carried sync.WaitGroup

	mu    sync.Mutex
	flows map[netip.AddrPort]*flow
}

// errNoGreeting is what an item tells that would be up, and answer nobody.
var errNoGreeting = errors.New("this core is too old to introduce its node to whoever dials over UDP, so that no link could begin; udp-peer does not need that")

// listen accepts links until ctx is done. What comes while there is no core is
// dropped.
func listen(ctx context.Context, it *plug.Item, p listenerParams) error {
	if err := it.Attached(ctx); err != nil {
		return err
	}
	if it.Greeting() == nil {
		return errNoGreeting
	}
	conn, err := it.ListenUDP(ctx, "udp", net.JoinHostPort(p.BindAddr, strconv.Itoa(p.Port)))
	if err != nil {
		return err
	}
	sock, err := newSocket(conn, it.Count, nil)
	if err != nil {
		return err
	}
	l := &listener{ctx: ctx, it: it, sock: sock, greeted: newGreeted(time.Now()), flows: make(map[netip.AddrPort]*flow)}
	addr := conn.LocalAddr().String()
	it.Log.Info("listening", "address", addr)
	it.Up(addr)
	err = sock.run(ctx, l.receive)
	// A newer process may receive on the same socket from here on: what is left here
	// would get some of its datagrams, and it some of theirs.
	l.end()
	l.carried.Wait()
	if closed := conn.Close(); err == nil {
		err = closed
	}
	return err
}

// receive hands datagrams to their flow. It does not wait.
func (l *listener) receive(from netip.AddrPort, b []byte, size int) {
	switch {
	case len(b) == 0:
		l.it.Count(countEmpty, 1)
		return
	case size > maxMessage:
		l.it.Count(countOversize, 1)
		return
	}
	l.mu.Lock()
	f := l.flows[from]
	l.mu.Unlock()
	for f == nil && len(b) > 0 {
		first := b[:min(size, len(b))]
		if f = l.admit(from, first); f == nil {
			b = b[len(first):]
		}
	}
	if f != nil {
		f.push(b, size)
	}
}

// admit answers an unknown source, or begins its link, to which msg goes then.
func (l *listener) admit(from netip.AddrPort, msg []byte) *flow {
	now := time.Now()
	greeting := l.it.Greeting()
	l.mu.Lock()
	full := len(l.flows) >= maxSessions
	l.mu.Unlock()
	switch {
	case full:
		l.it.Count(countFull, 1)
	case greeting == nil || from.Port() == 0: // there is no core, or one that is too old; nobody can be answered
		l.it.Count(countUnanswered, 1)
	case msg[0] == typeRoute && l.greeted.take(now, from):
		return l.begin(from, greeting)
	case len(greeting) > unprovenFactor*len(msg):
		l.it.Count(countUnanswered, 1)
	default:
		l.greeted.add(now, from)
		l.sock.send(from, [][]byte{greeting})
	}
	return nil
}

// begin begins a link.
func (l *listener) begin(from netip.AddrPort, greeting []byte) *flow {
	f := newFlow(l.sock, l.it.Count, l.ended, from)
	f.node = nodeOf(greeting)
	l.mu.Lock()
	l.flows[from] = f
	l.mu.Unlock()
	l.carried.Go(func() {
		_ = carry(l.ctx, l.it, f, plug.LinkInfo{Dir: "in", Local: l.sock.conn.LocalAddr().String(), Remote: from.String()}) // has been logged
	})
	return f
}

// ended forgets a flow.
func (l *listener) ended(f *flow) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.flows, f.to[0])
}

// end ends all flows.
func (l *listener) end() {
	l.mu.Lock()
	var all []*flow
	for _, f := range l.flows {
		all = append(all, f)
	}
	l.mu.Unlock()
	for _, f := range all {
		_ = f.Close() // it never fails
	}
}

// carry runs a link over a flow until it ends, and says why in the log. ctx is for
// the opening.
func carry(ctx context.Context, it *plug.Item, f *flow, i plug.LinkInfo) error {
	i.Medium = medium
	it.Log.Debug("link", "dir", i.Dir, "remote", i.Remote)
	err := it.CarryLink(ctx, f, i)
	if err != nil { // the core logs those whose peer is known; others anybody can make
		it.Log.Debug("link ended", "remote", i.Remote, "error", err)
	} else {
		it.Log.Debug("link ended", "remote", i.Remote)
	}
	return err
}
