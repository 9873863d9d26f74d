package legacy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/quic-go/quic-go"
)

// Parameters of streams.
const (
	packetSize      = 1200
	quicIdle        = 30 * time.Second
	quicHandshake   = 15 * time.Second
	quicKeepAlive   = 15 * time.Second // by the dialler only
	firstStreamTime = time.Minute      // that a dialler may take to open it

	codeNormal = 0
	codeError  = 500
	codeCancel = 499
	normal     = "normal close"
)

func quicConfig() *quic.Config {
	return &quic.Config{
		InitialPacketSize: packetSize, DisablePathMTUDiscovery: true,
		HandshakeIdleTimeout: quicHandshake, MaxIdleTimeout: quicIdle,
		MaxIncomingStreams: 100, MaxIncomingUniStreams: 100,
	}
}

// Stream is one end of a stream: the first of a QUIC connection of its own.
type Stream struct {
	*quic.Stream
	conn    *quic.Conn
	release func() // gives back what the dialler has made
	once    sync.Once
}

var _ net.Conn = (*Stream)(nil)

// CloseWrite ends our direction; the other goes on.
func (s *Stream) CloseWrite() error { return s.Stream.Close() }

// CancelReading asks the other end to stop.
func (s *Stream) CancelReading() { s.CancelRead(codeCancel) }

// Close ends the connection, with all that has not been sent. A stream that is
// half-closed on both sides is left open by existing nodes.
func (s *Stream) Close() error { return s.CloseWithError(codeNormal, normal) }

// CloseWithError is Close for another reason.
func (s *Stream) CloseWithError(code quic.ApplicationErrorCode, reason string) error {
	err := s.conn.CloseWithError(code, reason)
	s.once.Do(s.release)
	return err
}

// Err is why the connection has ended; nil while it lives.
func (s *Stream) Err() error { return context.Cause(s.conn.Context()) }

// LocalAddr implements net.Conn.
func (s *Stream) LocalAddr() net.Addr { return s.conn.LocalAddr() }

// RemoteAddr implements net.Conn.
func (s *Stream) RemoteAddr() net.Addr { return s.conn.RemoteAddr() }

// Dial opens a stream to a service; t is nil for one without TLS configuration.
func (n *Node) Dial(ctx context.Context, node, serviceName string, t *TLS) (*Stream, error) {
	if isLocalhost(node) {
		node = n.config.ID
	}
	pc, err := n.ListenPacket("")
	if err != nil {
		return nil, fmt.Errorf("dial: %w", err)
	}
	tr := &quic.Transport{Conn: pc}
	release := func() {
		_, _ = tr.Close(), pc.Close()
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	pc.OnNotice(func(notice Notice) {
		if notice.Problem == problemUnknown && notice.ToNode == node && notice.ToService == serviceName {
			cancel() // the error is "context canceled"
		}
	})
	secured := insecureClient(n.config.ID)
	if t != nil {
		secured = t.streamClient(node)
	}
	config := quicConfig()
	config.KeepAlivePeriod = quicKeepAlive
	conn, err := tr.Dial(ctx, Addr{node, serviceName}, secured, config)
	if err != nil {
		release()
		return nil, err
	}
	s := &Stream{conn: conn, release: release}
	if s.Stream, err = conn.OpenStreamSync(ctx); err == nil {
		_, err = s.Write([]byte{0})
	}
	if err != nil {
		s.Close()
		return nil, err
	}
	n.wg.Go(func() {
		select {
		case <-conn.Context().Done():
			// Its last packets are on their way when the context ends.
			s.once.Do(s.release)
		case <-n.ctx.Done():
			s.Close()
		}
	})
	return s, nil
}

// Listener accepts streams as a service.
type Listener struct {
	*PacketConn
	tr       *quic.Transport
	ln       *quic.Listener
	accepted chan *Stream
	ctx      context.Context
	cancel   context.CancelFunc
	wg       sync.WaitGroup

	mu    sync.Mutex
	conns map[Addr]*quic.Conn
}

// Listen opens a service for streams; t is nil for no TLS configuration.
func (n *Node) Listen(serviceName string, t *TLS) (*Listener, error) {
	secured, err := insecureServer()
	if err != nil {
		return nil, err
	}
	if t != nil {
		secured = t.streamServer()
	}
	pc, err := n.ListenPacket(serviceName)
	if err != nil {
		return nil, err
	}
	l := &Listener{
		PacketConn: pc, tr: &quic.Transport{Conn: pc},
		accepted: make(chan *Stream), conns: map[Addr]*quic.Conn{},
	}
	if l.ln, err = l.tr.Listen(secured, quicConfig()); err != nil {
		return nil, errors.Join(err, l.tr.Close(), pc.Close())
	}
	l.ctx, l.cancel = context.WithCancel(n.ctx)
	pc.OnNotice(l.gone)
	l.wg.Go(l.run)
	n.wg.Go(func() {
		<-l.ctx.Done()
		l.end()
	})
	return l, nil
}

// gone ends the connection whose dialler's service is no more.
func (l *Listener) gone(notice Notice) {
	if notice.Problem != problemUnknown {
		return
	}
	l.mu.Lock()
	conn := l.conns[Addr{notice.ToNode, notice.ToService}]
	l.mu.Unlock()
	if conn != nil {
		_ = conn.CloseWithError(codeError, problemUnknown)
	}
}

func (l *Listener) run() {
	for {
		conn, err := l.ln.Accept(l.ctx)
		if err != nil {
			return
		}
		l.wg.Go(func() { l.handle(conn) })
	}
}

// handle follows a connection until its end.
func (l *Listener) handle(conn *quic.Conn) {
	from, _ := conn.RemoteAddr().(Addr)
	l.mu.Lock()
	l.conns[from] = conn
	l.mu.Unlock()
	if s, reason := first(l.ctx, conn); s == nil {
		_ = conn.CloseWithError(codeError, reason)
	} else {
		select {
		case l.accepted <- s:
		case <-l.ctx.Done():
			_ = conn.CloseWithError(codeError, "Listener Closed")
		}
	}
	<-conn.Context().Done()
	l.mu.Lock()
	delete(l.conns, from)
	l.mu.Unlock()
}

// first takes the first stream of a connection, whose first byte is 0.
func first(ctx context.Context, conn *quic.Conn) (s *Stream, reason string) {
	ctx, cancel := context.WithTimeout(ctx, firstStreamTime)
	defer cancel()
	str, err := conn.AcceptStream(ctx)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return nil, "Accept Timeout"
	case err != nil:
		return nil, fmt.Sprintf("AcceptStream Error: %v", err)
	}
	var b [1]byte
	if _, err := io.ReadFull(str, b[:]); err != nil {
		return nil, fmt.Sprintf("Read Error: %v", err)
	}
	if b[0] != 0 {
		return nil, "Read Data Error"
	}
	return &Stream{Stream: str, conn: conn, release: func() {}}, ""
}

// Accept waits for the next stream.
func (l *Listener) Accept(ctx context.Context) (*Stream, error) {
	select {
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case s := <-l.accepted:
		return s, nil
	case <-l.ctx.Done():
		return nil, net.ErrClosed
	}
}

// Serve handles every stream that comes, each in a goroutine that the service
// waits for at its end, and returns at once.
func (l *Listener) Serve(handle func(*Stream)) {
	l.wg.Go(func() {
		for {
			s, err := l.Accept(l.ctx)
			if err != nil {
				return
			}
			l.wg.Go(func() { handle(s) })
		}
	})
}

// Close ends the service and its streams.
func (l *Listener) Close() error {
	l.cancel()
	l.wg.Wait()
	return l.PacketConn.Close()
}

func (l *Listener) end() {
	_ = l.tr.Close()
	l.wg.Wait()
	l.PacketConn.Close()
}

// Echo sends back what comes, and its end: for Serve.
func Echo(s *Stream) {
	if _, err := io.Copy(s, s); err == nil { // else the other end knows
		_ = s.CloseWrite()
	}
}
