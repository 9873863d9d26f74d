package terminal

import (
	"bufio"
	"bytes"
	"errors"
	"io"
)

// NewReader returns a reader of frames, or of what may become some.
func NewReader(r io.Reader) *bufio.Reader { return bufio.NewReaderSize(r, headerSize+MaxPayload) }

// ReadFrame reads a frame from a [NewReader]; its payload is good until the next
// read. io.EOF is the end between frames, io.ErrUnexpectedEOF that within one.
func ReadFrame(r *bufio.Reader) (Frame, error) {
	want := headerSize
	for {
		b, err := r.Peek(want)
		if err != nil {
			if errors.Is(err, io.EOF) && len(b) > 0 {
				err = io.ErrUnexpectedEOF
			}
			return Frame{}, err
		}
		f, n, err := ParseFrame(b)
		switch {
		case errors.Is(err, ErrShort):
			want = headerSize + int(b[1])<<8 + int(b[2])
		case err != nil:
			return Frame{}, err
		default:
			_, err = r.Discard(n) // what is buffered stays where it is
			return f, err
		}
	}
}

// TakeMagic tells whether r goes on with Magic, and takes it if so; else nothing is
// taken. It reads no more than it needs to tell.
func TakeMagic(r *bufio.Reader) bool {
	for n := 1; n <= len(Magic); n++ {
		if b, _ := r.Peek(n); len(b) < n || b[n-1] != Magic[n-1] {
			return false // who reads on learns why, if it is no other byte
		}
	}
	_, err := r.Discard(len(Magic))
	return err == nil
}

// CopyPlain copies plain bytes from r to w until Magic has come, which it takes, or
// r ends: then it returns false.
func CopyPlain(w io.Writer, r *bufio.Reader) (framed bool, err error) {
	for {
		if _, err := r.Peek(1); err != nil {
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return false, err
		}
		b, _ := r.Peek(r.Buffered())
		n := bytes.IndexByte(b, Magic[0])
		if n == 0 {
			if TakeMagic(r) {
				return true, nil
			}
			n = 1
			b, _ = r.Peek(n) // what is buffered may have moved
		}
		if n < 0 {
			n = len(b)
		}
		if _, err := w.Write(b[:n]); err != nil {
			return false, err
		}
		if _, err := r.Discard(n); err != nil {
			return false, err
		}
	}
}

// AppendData appends bytes of the terminal to b, as frames.
func AppendData(b, data []byte) []byte {
	for len(data) > 0 {
		n := min(len(data), MaxPayload)
		b = Frame{Data, data[:n]}.Append(b)
		data = data[n:]
	}
	return b
}
