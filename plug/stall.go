package plug

import (
	"errors"
	"net"
	"os"
	"time"
)

// linkStall is how long a link's socket may take nothing before it is given up.
// The core ends a silent link after 21 s, but whoever is held in a write to a
// node that is gone would not see that until TCP gives up: a quarter of an hour,
// in which no link to that node is made.
const linkStall = 30 * time.Second

// StallWriter writes to a link's socket, and fails once that has taken nothing
// for 30 s. It is for plugs that carry a link themselves.
type StallWriter struct{ Sock net.Conn }

// Write implements io.Writer.
func (w StallWriter) Write(b []byte) (written int, err error) {
	for {
		if err := w.Sock.SetWriteDeadline(time.Now().Add(linkStall)); err != nil {
			return written, err
		}
		n, err := w.Sock.Write(b[written:])
		written += n
		if n == 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
			return written, err
		}
	}
}
