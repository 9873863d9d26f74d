package session

import (
	"io"
	"net"
	"os"

	"github.com/project-receptor/receptor/plug/wire"
)

// roomForFDs is how many descriptors one read has room for: those of a frame
// whose header was cut, and those of the next.
const roomForFDs = 2 * wire.MaxFDs

// inlet reads the bytes of a connection and keeps the descriptors that come
// with them until the frame that they belong to claims them.
//
// A sender attaches a frame's descriptors to the write that begins with its
// header. The kernel hands them out with the first of these bytes, so the read
// that brings them also brings the first byte of the header, perhaps not as its
// first: which frame may claim them is known from where in the stream it begins.
type inlet struct {
	conn net.Conn
	unix *net.UnixConn // conn, or nil: no descriptors can come
	room []byte
	read int64 // bytes so far
	came []arrival
}

// arrival is what came with the bytes from start to end.
type arrival struct {
	start, end int64
	files      []*os.File
}

func newInlet(conn net.Conn) *inlet {
	i := &inlet{conn: conn, unix: passing(conn)}
	if i.unix != nil {
		i.room = rightsRoom()
	}
	return i
}

// Read implements io.Reader. A *ProtocolError tells that more descriptors came
// than the protocol allows.
func (i *inlet) Read(b []byte) (int, error) {
	if i.unix == nil {
		return i.conn.Read(b)
	}
	n, files, _, err := receive(i.unix, b, i.room)
	i.arrived(n, files)
	if err == nil && i.waiting() > roomForFDs {
		err = protocolErrorf("%d descriptors came that no frame claims", i.waiting())
	}
	return n, err
}

// arrived notes n bytes and what came with them.
func (i *inlet) arrived(n int, files []*os.File) {
	start := i.read
	i.read += int64(n)
	if len(files) > 0 {
		i.came = append(i.came, arrival{start: start, end: i.read, files: files})
	}
}

func (i *inlet) waiting() int {
	n := 0
	for _, a := range i.came {
		n += len(a.files)
	}
	return n
}

// claim returns the n descriptors of the frame whose header begins at that place
// in the stream. If they did not all come there are none, and whole is false:
// they were lost on the way, as at this process's limit of open files. The error
// tells that earlier ones were claimed by nobody.
func (i *inlet) claim(at int64, n int) (files []*os.File, whole bool, err error) {
	if len(i.came) > 0 && i.came[0].end <= at {
		return nil, false, protocolErrorf("%d descriptors came that no frame claims", len(i.came[0].files))
	}
	if n == 0 {
		return nil, true, nil
	}
	if len(i.came) == 0 || i.came[0].start > at { // the latter: those of a frame to come
		return nil, false, nil
	}
	a := &i.came[0]
	whole = n <= len(a.files)
	n = min(n, len(a.files))
	files, a.files = a.files[:n:n], a.files[n:]
	if len(a.files) == 0 {
		i.came = i.came[1:]
	}
	if !whole {
		closeFiles(files)
		files = nil
	}
	return files, whole, nil
}

// close closes what nobody has claimed; the connection is not the inlet's.
func (i *inlet) close() {
	for _, a := range i.came {
		closeFiles(a.files)
	}
	i.came = nil
}

// closeFiles closes what nobody needs. There is nothing to be done about an error.
func closeFiles[T io.Closer](files []T) {
	for _, f := range files {
		_ = f.Close()
	}
}
