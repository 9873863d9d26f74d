package plugtest

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"

	"github.com/project-receptor/receptor/plug/wire"
)

// RawFrame is a control frame as it goes over a connection, for whoever plays a
// side that misbehaves, or looks at bytes.
type RawFrame struct {
	wire.Header
	Body  []byte
	Files []*os.File // its descriptors, close-on-exec; whoever has the frame owns them
}

// ReadFrame reads one control frame and the descriptors that come with it, and
// not a byte more.
func ReadFrame(c net.Conn) (RawFrame, error) {
	head, files, err := ReadBytes(c, wire.HeaderSize)
	f := RawFrame{Files: files}
	if err != nil {
		return RawFrame{}, errors.Join(err, f.Close())
	}
	if f.Header, _, err = wire.ParseHeader(head); err == nil {
		f.Body = make([]byte, f.Length)
		_, err = io.ReadFull(c, f.Body)
	}
	if err != nil {
		return RawFrame{}, errors.Join(err, f.Close())
	}
	return f, nil
}

// ReadBytes reads n bytes, and the descriptors that come with them.
func ReadBytes(c net.Conn, n int) ([]byte, []*os.File, error) {
	b := make([]byte, n)
	var files []*os.File
	for at := 0; at < n; {
		m, came, err := receive(c, b[at:])
		at += m
		files = append(files, came...)
		if err == nil && m == 0 {
			err = io.EOF
		}
		if err != nil {
			if errors.Is(err, io.EOF) && at > 0 {
				err = fmt.Errorf("%w after %d of %d bytes", io.ErrUnexpectedEOF, at, n)
			}
			return b[:at], files, err
		}
	}
	return b, files, nil
}

// Append appends the frame, with the length of its body, to b.
func (f RawFrame) Append(b []byte) []byte {
	f.Length = uint32(len(f.Body))
	return append(f.Header.Append(b), f.Body...)
}

// Send writes the frame with its descriptors, whatever its header says of these.
func (f RawFrame) Send(c net.Conn) error { return SendBytes(c, f.Append(nil), f.Files) }

// SendBytes writes bytes, with descriptors on the first of them.
func SendBytes(c net.Conn, b []byte, files []*os.File) error {
	n := 0
	if len(files) > 0 {
		var err error
		if n, err = send(c, b, files); err != nil {
			return err
		}
	}
	if n == len(b) {
		return nil // whoever has it all may have gone
	}
	_, err := c.Write(b[n:])
	return err
}

// Close closes the frame's descriptors.
func (f RawFrame) Close() error {
	var errs []error
	for _, file := range f.Files {
		errs = append(errs, file.Close())
	}
	return errors.Join(errs...)
}
