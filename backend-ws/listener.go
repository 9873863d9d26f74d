package backendws

import (
	"context"
	"errors"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/gorilla/websocket"

	"github.com/project-receptor/receptor/netceptor/mtls"
	"github.com/project-receptor/receptor/plug"
)

const (
	// openTime is how long a connection may take to become a WebSocket, TLS and all.
	openTime = 10 * time.Second

	// maxOpening bounds the connections of a listener that are not WebSockets yet.
	// Of more the oldest gives way: refusing the newest would let a few silent ones
	// keep everybody out.
	maxOpening = 256

	// quiet is how long no more is logged of connections that did not become links:
	// anybody can make them.
	quiet = time.Minute
)

// listener is a ws-listener.
type listener struct {
	item *plug.Item
	path string
	tls  *mtls.Server // nil: none

	mu      sync.Mutex
	opening []net.Conn // oldest first
	told    time.Time  // when the log last heard of one that failed
}

// listen accepts links until ctx is done. Connections wait in the backlog
// while there is no core.
func listen(ctx context.Context, it *plug.Item, p listenerParams) error {
	s := &listener{item: it, path: p.Path}
	if p.TLS != nil {
		var err error
		if s.tls, err = mtls.LoadServer(*p.TLS, "", it.Log); err != nil {
			return err
		}
	}
	l, err := it.Listen(ctx, "tcp", net.JoinHostPort(p.BindAddr, strconv.Itoa(p.Port)))
	if err != nil {
		return err
	}
	addr := l.Addr().String()
	it.Log.Info("listening", "address", addr, "path", p.Path)
	it.Up(addr)
	return it.AcceptLinks(ctx, l, s.opens(), func(ctx context.Context, c net.Conn) {
		it.Up(addr)
		s.serve(ctx, c)
	}, func(err error) { it.Degraded(addr, err) })
}

// opens tells how a link begins: with TLS, if that is spoken here, or else with a
// request for a WebSocket.
func (s *listener) opens() plug.Opening {
	if s.tls != nil {
		return plug.OpensTLS
	}
	return opensWebSocket
}

// serve makes a link of a connection.
func (s *listener) serve(ctx context.Context, c net.Conn) {
	remote := c.RemoteAddr().String()
	if err := plug.TuneLink(c); err != nil {
		s.item.Log.Debug("cannot tune a socket", "error", err)
	}
	s.begin(c)
	ws, names, err := s.open(ctx, c)
	s.end(c)
	if err != nil {
		s.failed(remote, err)
		_ = c.Close()
		return
	}
	if s.item.Attached(ctx) != nil { // the core may have gone since
		_ = ws.Close()
		return
	}
	_ = carry(ctx, s.item, ws, plug.LinkInfo{ // has been logged
		Dir: "in", Local: c.LocalAddr().String(), Remote: remote, Medium: medium,
		Secured: s.tls != nil, Names: names,
	})
}

// open makes a WebSocket of a connection, and tells which nodes the certificate of
// the other side names.
func (s *listener) open(ctx context.Context, c net.Conn) (*websocket.Conn, []string, error) {
	ctx, cancel := context.WithTimeout(ctx, openTime)
	defer cancel()
	defer context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })()
	var below net.Conn = newSock(c)
	var names []string
	if s.tls != nil {
		t, shown, err := s.tls.Handshake(ctx, below)
		if err != nil {
			return nil, nil, inTime(ctx, err)
		}
		if names, err = namesOf(shown, s.tls.Relaxed()); err != nil {
			return nil, nil, err
		}
		below = t
	}
	ws, err := upgrade(&batch{Conn: below}, s.path)
	return ws, names, inTime(ctx, err)
}

// namesOf are the nodes that a certificate names, if one was shown.
func namesOf(shown mtls.Peer, relaxed bool) ([]string, error) {
	if shown.Proven && len(shown.Nodes) == 0 && !relaxed {
		return nil, errors.New("the certificate of the other side names no node (skipreceptornamescheck=true allows it)")
	}
	return shown.Nodes, nil
}

// inTime says what a deadline that has passed means.
func inTime(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// begin notes a connection that is not a WebSocket yet.
func (s *listener) begin(c net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.opening = append(s.opening, c)
	if len(s.opening) > maxOpening {
		_ = s.opening[0].Close() // its serve sees that
		s.opening = slices.Delete(s.opening, 0, 1)
	}
}

// end is the counterpart of begin.
func (s *listener) end(c net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.opening = slices.DeleteFunc(s.opening, func(o net.Conn) bool { return o == c })
}

// failed tells of a connection that has not become a WebSocket.
func (s *listener) failed(remote string, err error) {
	s.mu.Lock()
	quietly := time.Since(s.told) < quiet
	if !quietly {
		s.told = time.Now()
	}
	s.mu.Unlock()
	if quietly {
		s.item.Log.Debug("no link of a connection", "remote", remote, "error", err)
	} else {
		s.item.Log.Warn("no link of a connection (others in the next minute are not told)", "remote", remote, "error", err)
	}
}
