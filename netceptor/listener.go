package netceptor

import (
	"context"
	"net"
	"sync"

	"github.com/project-receptor/receptor/netceptor/internal/streams"
	"github.com/project-receptor/receptor/netceptor/internal/wire"
	"github.com/project-receptor/receptor/netceptor/mtls"
)

// ListenOptions say how a service shows in the mesh, and to whom it opens.
type ListenOptions struct {
	Advertise bool
	Tags      map[string]string

	// TLS is how the service proves that it is on this node, and what diallers have
	// to prove. nil: streams are encrypted all the same, but nobody proves anything.
	TLS *mtls.Server
}

// Listener accepts the streams of a service. It implements net.Listener.
type Listener struct {
	node       *Node
	service    wire.Service
	addr       Addr
	advertised bool
	inner      *streams.Listener
	closing    sync.Once
	closeErr   error
}

var _ net.Listener = (*Listener)(nil)

// Listen serves streams under a service name; an empty name asks for a fresh one.
func (n *Node) Listen(service string, o ListenOptions) (*Listener, error) {
	l, err := n.listen(service, o)
	if err != nil {
		return nil, opError("listen", Addr{Node: n.config.NodeID, Service: service}, err)
	}
	return l, nil
}

func (n *Node) listen(name string, o ListenOptions) (*Listener, error) {
	if !n.isRunning() || n.carrier == nil {
		return nil, errNotRunning
	}
	l := &Listener{node: n, advertised: o.Advertise}
	err := n.services.bind(name, func(service wire.Service) binding {
		l.service = service
		l.addr = Addr{Node: n.config.NodeID, Service: service.String()}
		return binding{streams: l}
	})
	if err != nil {
		return nil, err
	}
	if l.inner, err = n.carrier.ListenTLS(l.service, o.TLS); err != nil {
		n.services.unbind(l.service)
		return nil, err
	}
	if o.Advertise {
		kind := wire.ConnStream
		if o.TLS != nil {
			kind = wire.ConnStreamTLS
		}
		n.publish(l.addr.Service, kind, o.Tags)
	}
	return l, nil
}

// Next waits for the next stream, which the caller then accepts or refuses.
func (l *Listener) Next(ctx context.Context) (*Incoming, error) {
	i, err := l.inner.Next(ctx)
	if err != nil {
		return nil, opError("accept", l.addr, err)
	}
	return &Incoming{node: l.node, inner: i}, nil
}

// Accept waits for the next stream and accepts it.
func (l *Listener) Accept() (net.Conn, error) {
	for {
		i, err := l.Next(context.Background())
		if err != nil {
			return nil, err
		}
		if c, err := i.Accept(); err == nil {
			return c, nil
		} // else the dialling side has gone: no concern of the accepting loop
	}
}

// Close stops listening; accepted streams live on.
func (l *Listener) Close() error {
	l.closing.Do(func() {
		if l.advertised {
			l.node.withdraw(l.addr.Service)
		}
		l.closeErr = l.inner.Close()
		l.node.services.unbind(l.service)
	})
	return l.closeErr
}

// Addr is the service's address, an Addr.
func (l *Listener) Addr() net.Addr { return l.addr }

// Incoming is a stream that has arrived and waits to be accepted: the dialling
// side's Dial returns when it is (between our own nodes).
type Incoming struct {
	node  *Node
	inner *streams.Incoming
}

// Remote is the dialling side's address.
func (i *Incoming) Remote() Addr { return i.node.addr(split(i.inner.Remote())) }

// Peer is what is known of the dialling side.
func (i *Incoming) Peer() PeerIdentity { return identityOf(i.inner.Security(), i.Remote().Node) }

// Accept takes the stream.
func (i *Incoming) Accept() (*Conn, error) {
	s, err := i.inner.Accept()
	if err != nil {
		return nil, opError("accept", i.Remote(), err)
	}
	return i.node.newConn(s), nil
}

// Refuse turns it away; the dialling side gets ErrRefused.
func (i *Incoming) Refuse() { i.inner.Refuse() }
