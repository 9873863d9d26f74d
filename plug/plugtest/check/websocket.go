package check

import (
	"bufio"
	"crypto/sha1" //nolint:gosec // RFC 6455 wants it
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
)

// MediumWS is WebSocket: a binary message is a message.
const MediumWS = "ws"

// The opcodes of WebSocket that a check has to do with.
const (
	opBinary = 2
	opClose  = 8
)

// webSocket is the medium's end of a link over WebSocket, as a connection that
// carries link framing. It speaks as much of RFC 6455 as a check needs: no fragments
// and no pings.
type webSocket struct {
	*net.TCPConn
	r      *bufio.Reader
	client bool
	ready  func() error // waits until it is a WebSocket

	in, out []byte // frames that were not read, or written, to their end
}

// webSocket makes a WebSocket of a connection, as the client or the server. It
// returns at once.
func (s *stand) webSocket(c *net.TCPConn, client bool) mediumConn {
	w := &webSocket{TCPConn: c, r: bufio.NewReader(c), client: client}
	begin := w.serve
	if client {
		begin = w.request
	}
	done := make(chan error, 1)
	go func() { done <- begin() }() // ends with the connection, which the check owns
	w.ready = sync.OnceValue(func() error { return <-done })
	return w
}

// key is that of a client; nobody is kept from anything by it.
const key = "AAAAAAAAAAAAAAAAAAAAAA=="

func acceptKey(key string) string {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11")) //nolint:gosec // RFC 6455 wants it
	return base64.StdEncoding.EncodeToString(sum[:])
}

// request asks for a WebSocket.
func (w *webSocket) request() error {
	_, err := fmt.Fprintf(w.TCPConn, "GET / HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %s\r\n\r\n",
		w.RemoteAddr(), key)
	if err != nil {
		return err
	}
	answer, err := http.ReadResponse(w.r, nil)
	if err != nil {
		return fmt.Errorf("read the answer to a request for a WebSocket: %w", err)
	}
	_ = answer.Body.Close() // it has none
	if answer.StatusCode != http.StatusSwitchingProtocols || answer.Header.Get("Sec-WebSocket-Accept") != acceptKey(key) {
		return fmt.Errorf("expected a WebSocket, got the answer %s", answer.Status)
	}
	return nil
}

// serve answers the request for one.
func (w *webSocket) serve() error {
	asked, err := http.ReadRequest(w.r)
	if err != nil {
		return fmt.Errorf("read a request for a WebSocket: %w", err)
	}
	_, err = fmt.Fprintf(w.TCPConn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n",
		acceptKey(asked.Header.Get("Sec-WebSocket-Key")))
	return err
}

// Read implements net.Conn. A close is the end.
func (w *webSocket) Read(b []byte) (int, error) {
	if err := w.ready(); err != nil {
		return 0, err
	}
	for len(w.in) == 0 {
		op, msg, err := w.message()
		switch {
		case err != nil:
			return 0, err
		case op == opClose:
			return 0, io.EOF
		case op != opBinary:
			return 0, fmt.Errorf("expected binary messages, got opcode %d", op)
		}
		w.in = frame(msg)
	}
	n := copy(b, w.in)
	w.in = w.in[n:]
	return n, nil
}

// message reads one.
func (w *webSocket) message() (op byte, msg []byte, err error) {
	head, err := w.take(2)
	if err != nil {
		return 0, nil, err
	}
	size := int(head[1] & 0x7f)
	final, masked := head[0]&0x80 != 0, head[1]&0x80 != 0
	switch {
	case !final || head[0]&0x70 != 0:
		return 0, nil, errors.New("expected whole messages without extensions")
	case masked == w.client:
		return 0, nil, errors.New("expected that clients mask, and only they")
	case size == 126:
		long, err := w.take(2)
		if err != nil {
			return 0, nil, err
		}
		size = int(binary.BigEndian.Uint16(long))
	case size == 127:
		return 0, nil, errors.New("expected messages of at most 65,535 bytes")
	}
	mask := make([]byte, 4)
	if masked {
		if mask, err = w.take(4); err != nil {
			return 0, nil, err
		}
	}
	if msg, err = w.take(size); err != nil {
		return 0, nil, err
	}
	for i := range msg {
		msg[i] ^= mask[i%4]
	}
	return head[0] & 0x0f, msg, nil
}

func (w *webSocket) take(n int) ([]byte, error) {
	b := make([]byte, n)
	_, err := io.ReadFull(w.r, b)
	return b, err
}

// Write implements net.Conn. What is masked is masked with zeros.
func (w *webSocket) Write(b []byte) (int, error) {
	if err := w.ready(); err != nil {
		return 0, err
	}
	w.out = append(w.out, b...)
	for len(w.out) >= 2 {
		size := int(binary.LittleEndian.Uint16(w.out))
		if len(w.out) < 2+size {
			break
		}
		head := []byte{0x80 | opBinary, byte(min(size, 126))}
		if size >= 126 {
			head = binary.BigEndian.AppendUint16(head, uint16(size))
		}
		if w.client {
			head[1] |= 0x80
			head = append(head, 0, 0, 0, 0)
		}
		if _, err := w.TCPConn.Write(append(head, w.out[2:2+size]...)); err != nil {
			return 0, err
		}
		w.out = w.out[2+size:]
	}
	return len(b), nil
}

// framing is bytes as the messages of a link.
type framing struct {
	io.Writer
	io.Reader
	left int // bytes of the message that is being read
}

// Write implements io.Writer: what is written at once is a message.
func (f *framing) Write(b []byte) (int, error) {
	if _, err := f.Writer.Write(frame(b)); err != nil {
		return 0, err
	}
	return len(b), nil
}

// Read implements io.Reader.
func (f *framing) Read(b []byte) (int, error) {
	for f.left == 0 {
		var size [2]byte
		if _, err := io.ReadFull(f.Reader, size[:]); err != nil {
			return 0, err
		}
		f.left = int(binary.LittleEndian.Uint16(size[:]))
	}
	n, err := f.Reader.Read(b[:min(len(b), f.left)])
	f.left -= n
	return n, err
}

// bulkTo and bulkFrom are how much is carried over c: as the messages of a link
// where the medium has messages, else as it is.
func (s *stand) bulkTo(c io.Writer) io.Writer {
	if s.o.Medium != MediumWS {
		return c
	}
	return &framing{Writer: c}
}

func (s *stand) bulkFrom(c io.Reader) io.Reader {
	if s.o.Medium != MediumWS {
		return c
	}
	return &framing{Reader: c}
}
