package proxyudp

import (
	"net"

	"golang.org/x/net/ipv4"
)

const (
	// batchSize is how many datagrams a system call takes. More saves next to nothing.
	batchSize = 32

	// maxDatagram is the largest that UDP has.
	maxDatagram = 65507
)

// The counters of items, each a reason for which a datagram was not carried.
const (
	countDetached = "no_core"    // while there is no core
	countTooLong  = "too_long"   // longer than what is sure to arrive
	countFull     = "queue_full" // too much waited for the core already
	countUnsent   = "unsent"     // the system did not take it
	countWaiting  = "no_target"  // too many waited for the address to be found
)

// reader reads many datagrams with one system call, where the system has it. (The
// batches of IPv4 and IPv6 are the same.)
type reader struct {
	conn     *ipv4.PacketConn
	messages []ipv4.Message
}

func newReader(c net.PacketConn) *reader {
	r := &reader{conn: ipv4.NewPacketConn(c), messages: make([]ipv4.Message, batchSize)}
	for i := range r.messages {
		r.messages[i].Buffers = [][]byte{make([]byte, maxDatagram)}
	}
	return r
}

// read waits for datagrams and calls each for every one that is there. The bytes are
// valid until it returns.
func (r *reader) read(each func(b []byte, from net.Addr)) error {
	n, err := r.conn.ReadBatch(r.messages, 0)
	if err != nil {
		return err
	}
	for _, m := range r.messages[:n] {
		each(m.Buffers[0][:m.N], m.Addr)
	}
	return nil
}

// writer gathers datagrams and sends many with one system call. It is for one goroutine.
type writer struct {
	conn     *ipv4.PacketConn
	messages []ipv4.Message // those gathered
	unsent   func(n uint64)
}

func newWriter(c net.PacketConn, unsent func(uint64)) *writer {
	return &writer{conn: ipv4.NewPacketConn(c), messages: make([]ipv4.Message, 0, batchSize), unsent: unsent}
}

// add copies a datagram to be sent.
func (w *writer) add(b []byte, to net.Addr) {
	n := len(w.messages)
	w.messages = w.messages[:n+1]
	m := &w.messages[n]
	if m.Buffers == nil {
		m.Buffers = [][]byte{nil}
	}
	m.Buffers[0], m.Addr = append(m.Buffers[0][:0], b...), to
	if n+1 == batchSize {
		w.flush()
	}
}

// flush sends what was gathered. What the system does not take is dropped and counted,
// and keeps no other from being sent.
func (w *writer) flush() {
	for rest := w.messages; len(rest) > 0; {
		n, err := w.conn.WriteBatch(rest, 0)
		n = max(n, 0)
		if err != nil && n < len(rest) {
			w.unsent(1)
			n++
		}
		rest = rest[n:]
	}
	w.messages = w.messages[:0]
}
