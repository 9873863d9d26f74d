package control

import (
	"bufio"
	"errors"
	"io"
)

var errLineTooLong = errors.New("line is longer than 1 MiB")

// lineReader reads lines and keeps what follows them: after a line that hijacks
// the conversation the rest of the connection is read through it, too.
type lineReader struct {
	*bufio.Reader
	buf []byte
}

func newLineReader(r io.Reader) *lineReader {
	return &lineReader{Reader: bufio.NewReader(r)}
}

// next returns the next line that is not empty, without its LF and without any
// CR, valid until the next call. A line that the connection's end cuts off is
// none: half a command must not be run.
func (r *lineReader) next() ([]byte, error) {
	for {
		line, err := r.line()
		if err != nil {
			return nil, err
		}
		if line = dropCR(line); len(line) > 0 {
			return line, nil
		}
	}
}

// line returns the next line without its LF.
func (r *lineReader) line() ([]byte, error) {
	if cap(r.buf) > writeChunk {
		r.buf = nil // one long line is no reason to keep its memory
	}
	r.buf = r.buf[:0]
	for {
		part, err := r.ReadSlice('\n')
		if len(r.buf)+len(part) > MaxLine {
			return nil, errLineTooLong
		}
		r.buf = append(r.buf, part...)
		if err == nil {
			return r.buf[:len(r.buf)-1], nil
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return nil, err
		}
	}
}

// dropCR removes all CR bytes, in place.
func dropCR(line []byte) []byte {
	kept := line[:0]
	for _, c := range line {
		if c != '\r' {
			kept = append(kept, c)
		}
	}
	return kept
}
