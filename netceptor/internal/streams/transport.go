package streams

import (
	"fmt"

	"github.com/quic-go/quic-go"
)

// transport is a packet connection with quic-go on it.
type transport struct {
	conn     packetConn
	quic     *quic.Transport
	listener *quic.Listener // also of one that only dials, since it makes quic-go read at once
}

// newTransport starts quic-go on a packet connection, which it then owns.
func (c *Carrier) newTransport(pc packetConn) (*transport, error) {
	key := quic.StatelessResetKey(c.conf.ResetKey)
	t := &transport{conn: pc, quic: &quic.Transport{
		Conn: pc, StatelessResetKey: &key,
		VerifySourceAddress: c.admission.verify,
		ConnContext:         c.admission.enter,
	}}
	var err error
	t.listener, err = t.quic.Listen(c.serverTLS, c.serverQUIC())
	if err != nil {
		t.close()
		return nil, fmt.Errorf("starting quic: %w", err)
	}
	return t, nil
}

// close ends it and everything on it. Connections are to be closed before, or
// their far sides are not told.
func (t *transport) close() {
	_ = t.quic.Close() // nil but for errors of the packet connection, which has none
	_ = t.conn.Close()
}
