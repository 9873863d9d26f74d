package recordconn

import (
	"encoding/json"
	"errors"
	"io"
	"net"
	"sync"

	"github.com/project-receptor/receptor/plug/wire"
)

// maxData is the payload of the largest record that is written: with its header
// it is what a reader takes with one read.
const maxData = wire.RecordCoalesce - wire.RecordSize

// errCutRecord is why CloseWrite can not end a stream cleanly.
var errCutRecord = errors.New("plug: a write was cut short, the stream has no clean end")

// writer is the sending direction of a Conn. A record that a passed deadline
// cut stays open: the next Write owes it its missing bytes.
type writer struct {
	mu      sync.Mutex
	header  [wire.RecordSize]byte // of the open record
	pending []byte                // of header, what is not written yet
	owed    int                   // payload bytes of the open record, not written yet

	vec  [2][]byte // for writev; here, so that Write allocates nothing
	bufs net.Buffers
}

// Write implements net.Conn. A record and its header go out in one system
// call, up to 64 KiB, straight from p.
func (c *Conn) Write(p []byte) (int, error) {
	w := &c.writer
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := c.failure(); err != nil {
		return 0, err
	}
	if c.sentEnd.Load() {
		return 0, io.ErrClosedPipe
	}
	n := 0
	for n < len(p) {
		if w.owed == 0 {
			w.begin(wire.RecordData, min(len(p)-n, maxData))
		}
		k, err := w.flush(c.c, p[n:n+min(len(p)-n, w.owed)])
		n += k
		if err != nil {
			return n, c.writeFailed(err)
		}
	}
	return n, nil
}

// ReadFrom implements io.ReaderFrom: it writes what r yields until its io.EOF,
// which is not passed on: CloseWrite is for the caller. While it waits for an r
// that is a *net.TCPConn or *net.UnixConn it holds no buffer.
func (c *Conn) ReadFrom(r io.Reader) (int64, error) {
	var s source
	s.init(r)
	var total int64
	for {
		buf, n, err := s.read()
		if n > 0 {
			total += int64(n)
			_, werr := c.Write(buf[:n])
			putBuffer(buf)
			if werr != nil {
				return total, werr
			}
		}
		if errors.Is(err, io.EOF) {
			return total, nil
		}
		if err != nil {
			return total, err
		}
	}
}

// CloseWrite sends END: nothing more will be written, reading goes on. It is
// idempotent. Where a Write was cut by a deadline, and never went on, there is
// no clean end: the stream is reset then.
func (c *Conn) CloseWrite() error {
	cut, err := c.closeWrite()
	if cut {
		_ = c.Reset(wire.Reset{Code: wire.CodeCanceled, Msg: err.Error()})
	}
	return err
}

func (c *Conn) closeWrite() (cut bool, err error) {
	w := &c.writer
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := c.failure(); err != nil {
		return false, err
	}
	if w.owed > 0 {
		return true, errCutRecord
	}
	if !c.sentEnd.Swap(true) {
		w.begin(wire.RecordEnd, 0)
	}
	if _, err := w.flush(c.c, nil); err != nil {
		return false, c.writeFailed(err)
	}
	return false, nil
}

// begin opens a record.
func (w *writer) begin(t wire.RecordType, length int) {
	w.pending = wire.RecordHeader{Length: uint16(length), Type: t}.Append(w.header[:0])
	w.owed = length
}

// flush writes what is missing of the open record's header, and p of its
// payload, with one system call where conn is a socket. It returns how much of
// p was written.
func (w *writer) flush(conn net.Conn, p []byte) (int, error) {
	w.vec = [2][]byte{w.pending, p}
	w.bufs = w.vec[:]
	if len(w.pending) == 0 {
		w.bufs = w.vec[1:]
	}
	if len(p) == 0 {
		w.bufs = w.bufs[:len(w.bufs)-1]
	}
	written, err := w.bufs.WriteTo(conn)
	w.vec, w.bufs = [2][]byte{}, nil

	n := int(written)
	k := min(n, len(w.pending))
	w.pending = w.pending[k:]
	n -= k
	w.owed -= n
	return n, err
}

// reset writes RESET, where the other side can take it for a record. That
// cannot be helped else: the end of file that follows is a reset too.
func (w *writer) reset(conn net.Conn, r wire.Reset) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.owed > 0 || len(w.pending) > 0 {
		return
	}
	b, err := json.Marshal(r)
	if err != nil || len(b) > wire.MaxReset {
		b = []byte(`{"code":"internal","msg":"reason too long"}`)
	}
	w.begin(wire.RecordReset, len(b))
	_, _ = w.flush(conn, b)
}
