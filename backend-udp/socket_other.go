//go:build !linux

package backendudp

import "net/netip"

// system is a socket where datagrams are sent and received one by one, and cut into
// fragments where the way takes no larger ones.
type system struct{ buf []byte }

func (s *socket) prepare() error {
	s.buf = make([]byte, bufferSize)
	return nil
}

// receive waits for a datagram and calls each for it. After an error other than
// net.ErrClosed it may be called again.
func (s *socket) receive(each received) error {
	n, from, err := s.conn.ReadFromUDPAddrPort(s.buf)
	if err != nil {
		return err
	}
	each(addrPort(from), s.buf[:n], max(n, 1))
	return nil
}

// send sends messages, none of which is empty, to one address. What cannot be sent
// is dropped and counted.
func (s *socket) send(to netip.AddrPort, msgs [][]byte) {
	for _, msg := range msgs {
		if _, err := s.conn.WriteToUDPAddrPort(msg, to); err != nil {
			s.count(countUnsent, 1)
		}
	}
}
