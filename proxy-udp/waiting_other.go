//go:build !unix

package proxyudp

import "net"

// receiver waits for datagrams on a connected socket.
type receiver struct {
	conn *net.UDPConn
	b    []byte
}

func newReceiver(c *net.UDPConn) (*receiver, error) {
	return &receiver{c, make([]byte, maxDatagram)}, nil
}

// receive waits for a datagram and gives it to each. The bytes are valid until that
// returns.
func (r *receiver) receive(each func(b []byte)) error {
	n, err := r.conn.Read(r.b)
	if err != nil {
		return err
	}
	each(r.b[:n])
	return nil
}
