package netceptor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"sync"

	"github.com/project-receptor/receptor/netceptor/internal/forward"
	"github.com/project-receptor/receptor/netceptor/internal/linkproto"
	"github.com/project-receptor/receptor/netceptor/mtls"
)

// ErrPlain is the error of AddLink for a link without TLS where Config.RequireTLS
// is set.
var ErrPlain = errors.New("links without TLS are refused (requiretls), unless they do not leave the host")

// linkTime is how long a new link may take until the neighbour has said who it
// is, with what TLS takes of it.
const linkTime = linkproto.InitTries * linkproto.InitInterval

var errHandshakeTime = fmt.Errorf("the other side did not finish within %v", linkTime)

// secured tells whether c has TLS.
func (c *LinkConfig) secured() bool { return c.speaks() || c.MediumTLS != nil }

// speaks tells whether the node speaks that TLS.
func (c *LinkConfig) speaks() bool { return c.TLSServer != nil || c.TLSClient != nil }

// profile names the TLS profile of c, for people.
func (c *LinkConfig) profile() string {
	switch {
	case c.TLSServer != nil:
		return "tls-server " + c.TLSServer.Name()
	case c.TLSClient != nil:
		return "tls-client " + c.TLSClient.Name()
	case c.MediumTLS != nil:
		return c.MediumTLS.Profile
	}
	return ""
}

// requireTLS refuses a link without TLS that leaves the host: what is not an
// address of the loopback is somewhere else. LinkConfig.Remote counts, since a
// connection may know a proxy only, and where the connection itself knows who is
// at its end, that does as well.
func (n *Node) requireTLS(conn net.Conn, c *LinkConfig) error {
	if c.secured() {
		return nil
	}
	remote := c.Remote
	if a, ok := conn.RemoteAddr().(*net.TCPAddr); ok && (remote == "" || isLoopback(remote)) {
		remote = a.String()
	}
	if isLoopback(remote) {
		return nil
	}
	n.counters.add(countPlain)
	n.alarm(alarmPlain, "", c.Item+" "+remote)
	return ErrPlain
}

func isLoopback(address string) bool {
	a, err := netip.ParseAddrPort(address)
	return err == nil && a.Addr().Unmap().IsLoopback()
}

// begin makes the connection ready, by a handshake if the link has TLS, and lets
// the link speak. It returns false if the link has ended instead.
func (l *Link) begin() bool {
	if l.config.speaks() {
		err := l.handshake()
		if isClosed(l.stop) {
			return false
		}
		if err != nil {
			l.node.counters.add(countTLS)
			err = fmt.Errorf("TLS with %s: %w", l.config.Remote, err)
			if l.config.Dir == "out" { // not so often, and said in full: somebody must mend it
				l.node.log.Warn("no link for want of TLS", "item", l.config.Item, "error", err)
			} else {
				l.node.alarm(alarmTLS, "", err.Error())
			}
			l.node.mesh.end(l, err, false)
			return false
		}
	}
	return l.node.mesh.begin(l)
}

// handshake speaks TLS until it is known who is there. Existing nodes give a
// dialler a second, so there is nothing before it.
func (l *Link) handshake() error {
	ctx, cancel := context.WithTimeoutCause(context.Background(), linkTime, errHandshakeTime)
	defer cancel()
	var watching sync.WaitGroup
	defer watching.Wait()
	over := make(chan struct{})
	defer close(over)
	watching.Go(func() {
		select {
		case <-l.stop:
			cancel()
		case <-over:
		}
	})
	var err error
	out := &forward.Gather{Conn: l.conn}
	if c := l.config.TLSServer; c != nil {
		l.tls, l.shown, err = c.Handshake(ctx, out)
	} else {
		l.tls, l.shown, err = l.config.TLSClient.Handshake(ctx, out, l.config.TLSHost)
	}
	switch {
	case err == nil:
		l.path.Over(&forward.Records{Conn: l.tls, Out: out})
		return nil
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return context.Cause(ctx)
	case errors.Is(err, io.EOF):
		return fmt.Errorf("the other side has ended it: %w", err)
	}
	return err
}

// checkName demands that the certificate of the other side, if it has shown one,
// names the node that it says it is.
func (l *Link) checkName(peer string) error {
	shown := l.shown
	if m := l.config.MediumTLS; m != nil && len(m.Names) > 0 {
		shown = mtls.Peer{Proven: true, Nodes: m.Names}
	}
	if !shown.Proven || l.config.relaxed() {
		return nil
	}
	if err := shown.Check(peer); err != nil {
		l.node.counters.add(countTLSName)
		return fmt.Errorf("node %.256q at %s: %w", peer, l.config.Remote, err)
	}
	return nil
}

// proven tells whether a certificate says who the neighbour is.
func (l *Link) proven(peer string) bool {
	if l.config.relaxed() {
		return false
	}
	m := l.config.MediumTLS
	return l.shown.Proven && l.shown.Check(peer) == nil || m != nil && slices.Contains(m.Proven, peer)
}

// relaxed tells whether a certificate need not name the node that shows it.
func (c *LinkConfig) relaxed() bool {
	return c.TLSServer != nil && c.TLSServer.Relaxed() || c.TLSClient != nil && c.TLSClient.Relaxed()
}

// authentication says what is known of the neighbour, once there is one. The
// caller holds the mutex of the mesh.
func (l *Link) authentication() string {
	switch {
	case !l.config.secured():
		return AuthNone
	case l.peer != "" && l.shown.Check(l.peer) == nil:
		return AuthCertificate
	case l.peer != "" && l.config.MediumTLS != nil && slices.Contains(l.config.MediumTLS.Proven, l.peer):
		return AuthCertificate
	default:
		return AuthTLS
	}
}

// farewell tells the other side that nothing is missing, where TLS can.
func (l *Link) farewell() {
	if l.tls != nil {
		l.closeConn(l.tls)
	}
}
