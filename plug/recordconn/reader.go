package recordconn

import (
	"encoding/json"
	"errors"
	"io"
	"net"
	"sync"

	"github.com/project-receptor/receptor/plug/wire"
)

// reader is the receiving direction of a Conn. Records are parsed where they
// were read; a header that is split by the end of a buffer is put together
// apart, so that a buffer never has to be kept for the sake of a few bytes.
type reader struct {
	mu         sync.Mutex
	source     source
	buf        *buffer // nil: nothing is buffered
	head, tail int     // of what is buffered

	header  [wire.RecordSize]byte
	nheader int // bytes of the next header that were there

	kept []byte // what a failed Write has read ahead, before all else

	typ    wire.RecordType // of the current record
	left   int             // payload bytes of it that were not consumed
	reason []byte          // payload of RESET so far
}

// Read implements net.Conn. After the other side's END it returns io.EOF.
func (c *Conn) Read(p []byte) (int, error) {
	r := &c.reader
	r.mu.Lock()
	defer r.mu.Unlock()
	if c.isClosed() {
		return 0, net.ErrClosed
	}
	for {
		n := copy(p, r.kept)
		r.kept = r.kept[n:]
		for b := c.data(); len(b) > 0 && n < len(p); b = c.data() {
			k := copy(p[n:], b)
			n += k
			r.consume(k)
		}
		switch {
		case n > 0 || len(p) == 0:
			r.release()
			return n, nil
		case c.gotEnd.Load():
			return 0, io.EOF
		}
		if err := c.fill(); err != nil {
			return 0, err
		}
	}
}

// WriteTo implements io.WriterTo: it writes what arrives to w, without a copy
// and many records at once, until END.
func (c *Conn) WriteTo(w io.Writer) (int64, error) {
	var total int64
	for {
		n, err := c.Pass(w)
		total += int64(n)
		if errors.Is(err, io.EOF) {
			return total, nil
		}
		if err != nil {
			return total, err
		}
	}
}

// Pass waits until something arrives, and writes to w at once what of it fits in
// a buffer: one step of WriteTo. It returns how much that was; after END io.EOF.
func (c *Conn) Pass(w io.Writer) (int, error) {
	buf, b, err := c.gather()
	if buf != nil {
		defer putBuffer(buf)
	}
	if err != nil {
		return 0, err
	}
	return w.Write(b)
}

// gather returns the payload of all DATA in the buffer as one slice of it, and
// the buffer, if there is one, which is the caller's from there on. It waits for
// some.
func (c *Conn) gather() (*buffer, []byte, error) {
	r := &c.reader
	r.mu.Lock()
	defer r.mu.Unlock()
	if b := r.kept; len(b) > 0 {
		r.kept = nil
		return nil, b, nil
	}
	for {
		start, n := 0, 0
		for b := c.data(); len(b) > 0; b = c.data() {
			if n == 0 {
				start = r.head
			}
			n += copy(r.buf[start+n:], b)
			r.consume(len(b))
		}
		if n > 0 {
			buf := r.buf
			r.buf = nil
			return buf, buf[start : start+n], nil
		}
		if c.gotEnd.Load() {
			return nil, nil, io.EOF
		}
		if err := c.fill(); err != nil {
			return nil, nil, err
		}
	}
}

// drain reads and drops until the stream is over. io.EOF is a clean end of both
// directions.
func (c *Conn) drain() error {
	r := &c.reader
	r.mu.Lock()
	defer r.mu.Unlock()
	r.kept = nil
	for {
		for b := c.data(); len(b) > 0; b = c.data() {
			r.consume(len(b))
		}
		if err := c.fill(); err != nil {
			return err
		}
	}
}

// keep reads ahead until the stream is over, as drain does, and leaves what it
// finds to Read. The other side has closed, so that is what the socket holds.
func (c *Conn) keep() error {
	r := &c.reader
	r.mu.Lock()
	defer r.mu.Unlock()
	for {
		for b := c.data(); len(b) > 0; b = c.data() {
			r.kept = append(r.kept, b...)
			r.consume(len(b))
		}
		if len(r.kept) > maxKept {
			return gone(errTooMuch)
		}
		if err := c.fill(); err != nil {
			return err
		}
	}
}

// data parses what is buffered up to the next bytes of the stream, and returns
// those. Without any the buffer is used up, or the stream has failed.
func (c *Conn) data() []byte {
	r := &c.reader
	for r.head < r.tail {
		switch {
		case r.left > 0 && r.typ == wire.RecordData:
			return r.buf[r.head:min(r.head+r.left, r.tail)]
		case r.left > 0: // RESET
			b := r.buf[r.head:min(r.head+r.left, r.tail)]
			r.reason = append(r.reason, b...)
			r.consume(len(b))
		default:
			k := copy(r.header[r.nheader:], r.buf[r.head:r.tail])
			r.head += k
			r.nheader += k
			if r.nheader < wire.RecordSize {
				continue
			}
			r.nheader = 0
			if err := c.begin(); err != nil {
				_ = c.fail(&ResetError{wire.Reset{Code: wire.CodeInvalid, Msg: err.Error()}})
				r.head = r.tail
				return nil
			}
		}
		if r.typ == wire.RecordReset && r.left == 0 {
			_ = c.fail(&ResetError{parseReset(r.reason)})
			r.head = r.tail // nothing may follow
		}
	}
	return nil
}

// begin starts the record whose header is complete.
func (c *Conn) begin() error {
	r := &c.reader
	h, _, err := wire.ParseRecordHeader(r.header[:])
	if err == nil {
		err = h.CheckStream()
	}
	if err == nil && c.gotEnd.Load() && h.Type != wire.RecordReset {
		err = &wire.FormatError{Field: "record after END", Want: "RESET", Got: "of another type"}
	}
	if err != nil {
		return err
	}
	r.typ, r.left = h.Type, int(h.Length)
	if h.Type == wire.RecordEnd {
		c.gotEnd.Store(true)
	}
	return nil
}

// parseReset reads the payload of RESET. One that makes no sense is a reset
// all the same.
func parseReset(b []byte) wire.Reset {
	var r wire.Reset
	if err := json.Unmarshal(b, &r); err != nil || r.Code == "" {
		return wire.Reset{Code: wire.CodeInternal, Msg: "reset without a reason"}
	}
	return r
}

// consume drops n bytes of the current record's payload.
func (r *reader) consume(n int) {
	r.head += n
	r.left -= n
}

// release gives the buffer back when it is used up.
func (r *reader) release() {
	if r.buf != nil && r.head == r.tail {
		putBuffer(r.buf)
		r.buf = nil
	}
}

// fill waits for bytes, once the buffer is used up and the stream goes on.
func (c *Conn) fill() error {
	r := &c.reader
	r.release()
	if err := c.failure(); err != nil {
		return err
	}
	buf, n, err := r.source.read()
	if n == 0 {
		return c.readFailed(err)
	}
	r.buf, r.head, r.tail = buf, 0, n // an error comes again with the next read
	return nil
}
