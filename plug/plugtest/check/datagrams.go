package check

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"github.com/project-receptor/receptor/plug/plugtest"
)

// The media between nodes.
const (
	MediumTCP = "tcp" // and other streams of bytes over it, as the parameters say
	MediumUDP = "udp" // a datagram is a message

	// MediumNone is one that is not played here: checks that need its other end are skipped.
	MediumNone = "none"
)

// mediumConn is the other node's, or the application's, end of a connection to the plug.
type mediumConn interface {
	net.Conn
	CloseWrite() error
	SetLinger(sec int) error
}

// Of a link over datagrams: what the core of a check greets with, what the other
// node says first and when it has heard that, and what ends a link.
var (
	greetingMsg = []byte("\x01" + `{"NodeID":"fake","UpdateID":"greeting","UpdateEpoch":1,"UpdateSequence":1,"Connections":{},"ForwardingNode":"fake"}`)
	helloMsg    = []byte("\x01" + `{"NodeID":"far","UpdateID":"hello","UpdateEpoch":1,"UpdateSequence":1,"Connections":{},"ForwardingNode":"far"}`)
	answerMsg   = []byte("\x01" + `{"NodeID":"far","UpdateID":"answer","UpdateEpoch":1,"UpdateSequence":2,"Connections":{"fake":1},"ForwardingNode":"far"}`)
)

// typeReject is the type of the message that ends a link.
const typeReject = 3

// datagrams is the medium's end of a link over UDP, as a connection that carries
// link framing. Reading and writing begin when the other end is there: ready.
type datagrams struct {
	conn  *net.UDPConn
	ready func() (to netip.AddrPort, err error) // waits; the zero address: conn is connected
	close func() error

	in, out []byte // frames that were not read, or written, to their end
}

// connectDatagrams makes a link to a listener, once that is there. It returns at once.
func (s *stand) connectDatagrams(addr string) mediumConn {
	c, err := new(net.Dialer).DialContext(s.ctx, "udp", addr)
	s.must(err, "connect to "+addr)
	s.own(c)
	conn := c.(*net.UDPConn)
	done := make(chan error, 1)
	go func() { done <- s.introduce(conn) }()
	ready := sync.OnceValues(func() (netip.AddrPort, error) { return netip.AddrPort{}, <-done })
	return &datagrams{conn: conn, ready: ready, close: conn.Close}
}

// introduce says hello until that is answered by the greeting, and answers that.
func (s *stand) introduce(conn *net.UDPConn) error {
	buf := make([]byte, 1<<16)
	for s.ctx.Err() == nil {
		if _, err := conn.Write(helloMsg); err != nil && !errors.Is(err, syscall.ECONNREFUSED) {
			return err
		}
		if err := conn.SetReadDeadline(time.Now().Add(10 * redial)); err != nil {
			return err
		}
		n, err := conn.Read(buf)
		if errors.Is(err, syscall.ECONNREFUSED) { // not yet
			s.pause(redial)
		}
		if err == nil && bytes.Equal(buf[:n], greetingMsg) {
			_, err := conn.Write(answerMsg)
			return errors.Join(err, conn.SetReadDeadline(time.Time{}))
		}
	}
	return context.Cause(s.ctx)
}

// datagramListener is where items that make links over UDP find the other node.
type datagramListener struct{ *net.UDPConn }

func (s *stand) listenDatagrams() net.Listener {
	c, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	s.must(err, "listen for the plug")
	s.own(c)
	return datagramListener{c}
}

// Accept implements net.Listener, at once: the next link's first message is hello,
// which the core says when it is open.
func (l datagramListener) Accept() (net.Conn, error) {
	ready := sync.OnceValues(func() (netip.AddrPort, error) {
		buf := make([]byte, 1<<16)
		for {
			n, from, err := l.ReadFromUDPAddrPort(buf)
			if err != nil || bytes.Equal(buf[:n], helloMsg) {
				return from, err
			}
		}
	})
	return &datagrams{conn: l.UDPConn, ready: ready, close: func() error { return nil }}, nil
}

// Addr implements net.Listener.
func (l datagramListener) Addr() net.Addr { return l.LocalAddr() }

// begin has the core say or hear the first messages of a link that is open.
func (s *stand) begin(o plugtest.Incoming, core net.Conn) {
	if o.LinkBody().Dir == out {
		_, err := core.Write(frame(helloMsg))
		s.must(err, "write to the link")
		return
	}
	for { // until the greeting was heard there was more than one hello
		var size [2]byte
		_, err := io.ReadFull(core, size[:])
		s.must(err, "read the first messages of the link")
		msg := make([]byte, binary.LittleEndian.Uint16(size[:]))
		_, err = io.ReadFull(core, msg)
		s.must(err, "read the first messages of the link")
		if bytes.Equal(msg, answerMsg) {
			return
		}
		if !bytes.Equal(msg, helloMsg) {
			s.Fatalf("first messages of the link: expected those that the medium has sent, got %.100q", msg)
		}
	}
}

func frame(msg []byte) []byte {
	return append(binary.LittleEndian.AppendUint16(nil, uint16(len(msg))), msg...)
}

// Read implements net.Conn. The message that ends a link is its end.
func (d *datagrams) Read(b []byte) (int, error) {
	if _, err := d.ready(); err != nil {
		return 0, err
	}
	buf := make([]byte, 1<<16)
	for len(d.in) == 0 {
		n, _, err := d.conn.ReadFromUDPAddrPort(buf)
		switch {
		case err != nil:
			return 0, err
		case n > 0 && buf[0] == typeReject:
			return 0, io.EOF
		case !bytes.Equal(buf[:n], greetingMsg): // of another hello
			d.in = frame(buf[:n])
		}
	}
	n := copy(b, d.in)
	d.in = d.in[n:]
	return n, nil
}

// Write implements net.Conn.
func (d *datagrams) Write(b []byte) (int, error) {
	to, err := d.ready()
	if err != nil {
		return 0, err
	}
	d.out = append(d.out, b...)
	for len(d.out) >= 2 {
		size := 2 + int(binary.LittleEndian.Uint16(d.out))
		if len(d.out) < size {
			break
		}
		msg := d.out[2:size]
		d.out = d.out[size:]
		if to.IsValid() {
			_, err = d.conn.WriteToUDPAddrPort(msg, to)
		} else {
			_, err = d.conn.Write(msg)
		}
		if err != nil {
			return 0, err
		}
	}
	return len(b), nil
}

// Close implements net.Conn.
func (d *datagrams) Close() error { return d.close() }

// CloseWrite and SetLinger are for streams.
func (d *datagrams) CloseWrite() error   { return errors.ErrUnsupported }
func (d *datagrams) SetLinger(int) error { return errors.ErrUnsupported }

// LocalAddr implements net.Conn.
func (d *datagrams) LocalAddr() net.Addr { return d.conn.LocalAddr() }

// RemoteAddr implements net.Conn; nil where that is not known.
func (d *datagrams) RemoteAddr() net.Addr { return d.conn.RemoteAddr() }

// SetDeadline implements net.Conn.
func (d *datagrams) SetDeadline(t time.Time) error { return d.conn.SetDeadline(t) }

// SetReadDeadline implements net.Conn.
func (d *datagrams) SetReadDeadline(t time.Time) error { return d.conn.SetReadDeadline(t) }

// SetWriteDeadline implements net.Conn.
func (d *datagrams) SetWriteDeadline(t time.Time) error { return d.conn.SetWriteDeadline(t) }

// messages is how many messages of each of some sizes a link over datagrams carries
// each way, one after the other so that none need be dropped.
const messages = 50

// carryMessages checks that messages come as they are, from the least to the
// greatest that a datagram takes, and that what is none, or too large, costs nothing.
func (s *stand) carryMessages(p pipe) {
	for i := range messages {
		for _, size := range []int{1, 36, 1200, 1472, 1473, 9000, 65507} {
			msg := bytes.Repeat([]byte{byte(4 + i)}, size)
			s.passMessage("from the medium to the core", p.core, p.medium, msg)
			s.passMessage("from the core to the medium", p.medium, p.core, msg)
		}
		_, err := p.core.Write(append(frame(nil), frame(make([]byte, 65508))...))
		s.must(err, "write an empty and an oversize message to the core's end")
		_, err = p.medium.Write(frame(nil))
		s.must(err, "send an empty datagram")
	}
}

func (s *stand) passMessage(what string, to io.Reader, from io.Writer, msg []byte) {
	want := frame(msg)
	_, err := from.Write(want)
	s.must(err, "write "+what)
	got := make([]byte, len(want))
	if _, err := io.ReadFull(to, got); err != nil || !bytes.Equal(got, want) {
		s.Fatalf("%s: expected a message of %d bytes as it was sent, got %.50q, %v", what, len(msg), got, err)
	}
}
