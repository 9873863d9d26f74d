package streams

import (
	"crypto/tls"
	"errors"
	"time"

	"github.com/project-receptor/receptor/netceptor/mtls"
)

// identity is who we are to the far side and whom we take it for: a stream must
// never run over a connection that was made under another profile, or with what
// its files were before.
type identity struct {
	client     *mtls.Client // nil: nobody, and for anybody
	generation uint64       // of its files
}

func identityOf(client *mtls.Client) identity {
	if client == nil {
		return identity{}
	}
	return identity{client, client.Generation()}
}

// clientConfig is for dialling a peer.
func (c *Carrier) clientConfig(to peer) *tls.Config {
	if to.identity.client == nil {
		return c.clientTLS
	}
	conf := to.identity.client.StreamConfig(c.conf.Name(to.endpoint.Node()))
	conf.NextProtos = []string{protoMux, protoLegacy}
	return conf
}

// serverConfig is for accepting a connection: that of the service's profile, or of
// services without one.
func (c *Carrier) serverConfig(h *tls.ClientHelloInfo) (*tls.Config, error) {
	l := c.listenerOf(endpointOf(h.Conn.LocalAddr()).Service())
	if l == nil || l.server == nil {
		return nil, nil //nolint:nilnil // as crypto/tls wants it
	}
	v, ok := h.Context().Value(visitKey{}).(*visit)
	if !ok {
		return nil, errors.New("a connection that did not enter")
	}
	v.server, v.generation = l.server, l.server.Generation()
	conf := l.server.StreamConfig(c.conf.Name(v.node))
	conf.NextProtos = []string{protoMux, protoLegacy}
	return conf, nil
}

// meetServer notes whom a connection that we have dialled leads to.
func (cn *conn) meetServer() (err error) {
	if client := cn.peer.identity.client; client != nil {
		cn.proven, err = client.Peer(cn.q.ConnectionState().TLS)
	}
	return err
}

// meetClient notes whom a connection comes from that we have accepted.
func (cn *conn) meetClient() (err error) {
	v, ok := cn.q.Context().Value(visitKey{}).(*visit)
	if !ok || v.server == nil {
		return nil
	}
	state := cn.q.ConnectionState().TLS
	cn.server, cn.checked = v.server, v.generation
	if cn.proven, err = v.server.Peer(state); cn.proven.Proven {
		cn.until = state.PeerCertificates[0].NotAfter
	}
	return err
}

// admittedTo tells whether streams of an accepted connection may be those of a
// listener. It must have the profile that the connection was made by, and that must
// still let the far side in: its authority may have gone since, or its certificate
// have ended. Streams that are open already go on.
func (cn *conn) admittedTo(l *Listener) bool {
	if cn.server != l.server {
		return false
	}
	if cn.server == nil {
		return true
	}
	if !cn.until.IsZero() && time.Now().After(cn.until) {
		return false
	}
	generation := cn.server.Generation()
	cn.mu.Lock()
	unchanged := cn.checked == generation
	cn.mu.Unlock()
	if unchanged {
		return true
	}
	if err := cn.server.Recheck(cn.q.ConnectionState().TLS); err != nil {
		cn.c.log.Debug("a connection may bring no more streams", "node", cn.c.conf.Name(cn.remote.Node()), "error", err)
		return false
	}
	cn.mu.Lock()
	defer cn.mu.Unlock()
	cn.checked = generation
	return true
}

// Security is what is known of the far side of a connection.
type Security struct {
	Profile string    // the TLS profile here, "tls-client NAME"; empty: none
	Peer    mtls.Peer // whom its certificate names, among them the node that it is
}

func (cn *conn) security() Security {
	s := Security{Peer: cn.proven}
	switch {
	case cn.server != nil:
		s.Profile = "tls-server " + cn.server.Name()
	case cn.peer.identity.client != nil:
		s.Profile = "tls-client " + cn.peer.identity.client.Name()
	}
	return s
}

// Security is what is known of the far side.
func (s *Stream) Security() Security { return s.conn.security() }

// Security is what is known of the far side.
func (in *Incoming) Security() Security { return in.conn.security() }

// ConnStatus is one connection.
type ConnStatus struct {
	Local, Remote Endpoint
	Dialled       bool
	Streams       int
	Security
}

// Status is all connections, in no order.
func (c *Carrier) Status() []ConnStatus {
	c.mu.RLock()
	defer c.mu.RUnlock()
	all := make([]ConnStatus, 0, len(c.conns))
	for cn := range c.conns {
		cn.mu.Lock()
		open := cn.open
		cn.mu.Unlock()
		all = append(all, ConnStatus{cn.local, cn.remote, cn.dialled, open, cn.security()})
	}
	return all
}
