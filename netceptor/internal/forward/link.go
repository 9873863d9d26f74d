package forward

import (
	"errors"
	"io"
	"net"
	"sync/atomic"
	"time"

	"github.com/project-receptor/receptor/netceptor/internal/wire"
)

const (
	// The read buffer starts small, since most links are quiet, and doubles while
	// reads fill it, up to the largest frame and 64 KiB beside it: larger reads
	// only leave the cache.
	minBuffer = 4 << 10
	maxBuffer = 128<<10 + wire.LengthSize
)

// Link is the data path of one link. Its owner runs Read and Write, a goroutine
// each, and closes the Queue and the connection to end them.
type Link struct {
	Queue // what is to be written

	conn  net.Conn
	start time.Time

	last     atomic.Int64 // when something was last received, since start
	bytesIn  atomic.Uint64
	framesIn atomic.Uint64
	bytesOut atomic.Uint64

	largeRead atomic.Bool // a read brought more than minBuffer since the last rest
	shrink    atomic.Bool // the reader may begin with a small buffer again
}

// NewLink makes the data path over conn, which stays the caller's to close.
func NewLink(conn net.Conn) *Link {
	l := &Link{conn: conn, start: time.Now()}
	l.init(LinkQueue)
	return l
}

// Over has the link run over another connection, which speaks TLS on the one it
// was made with. It is called before Read and Write.
func (l *Link) Over(conn net.Conn) { l.conn = conn }

// Read reads until the connection ends and calls each for every message. The
// message lies in the read buffer: each may edit it in place but not retain it.
// If each returns a link, the message goes there, as it then stands. A frame can
// be empty, and so can the message. An end in mid-frame is
// io.ErrUnexpectedEOF.
func (l *Link) Read(each func(msg []byte) *Link) error {
	buf := make([]byte, minBuffer)
	have := 0
	for {
		n, err := l.conn.Read(buf[have:])
		if n > 0 {
			l.last.Store(int64(time.Since(l.start)))
			l.bytesIn.Add(uint64(n))
			if n > minBuffer {
				l.largeRead.Store(true)
			}
			have += n
			filled := have == len(buf)
			used := l.cut(buf[:have], each)
			if used > 0 { // else a large frame that comes in small pieces would be moved with each
				have = copy(buf, buf[used:have])
			}
			if filled && len(buf) < maxBuffer {
				larger := make([]byte, min(2*len(buf), maxBuffer))
				copy(larger, buf[:have])
				buf = larger
			} else if have == 0 && l.shrink.Load() && l.shrink.Swap(false) {
				buf = make([]byte, minBuffer)
			}
		}
		if errors.Is(err, io.EOF) && have > 0 {
			return io.ErrUnexpectedEOF
		}
		if err != nil {
			return err
		}
	}
}

// cut handles the whole frames at the front of b and returns their size. Frames
// in a row that go to the same link are queued there as one run.
func (l *Link) cut(b []byte, each func(msg []byte) *Link) (used int) {
	var (
		next   *Link // where the run goes
		start  int   // of the run
		frames int   // in the run
		total  uint64
	)
	for {
		size := frameSize(b[used:])
		if size == 0 || size > len(b)-used {
			break
		}
		to := each(b[used+wire.LengthSize : used+size : used+size])
		if to != next {
			if next != nil {
				next.Run(b[start:used], frames)
			}
			next, start, frames = to, used, 0
		}
		used += size
		frames++
		total++
	}
	if next != nil {
		next.Run(b[start:used], frames)
	}
	l.framesIn.Add(total)
	return used
}

// Write writes what is queued until the queue is closed and empty (nil) or the
// connection fails.
func (l *Link) Write() error {
	var b lanes
	for l.take(&b) {
		for _, lane := range [...][]byte{b.control, b.data} {
			if len(lane) == 0 {
				continue
			}
			n, err := l.conn.Write(lane)
			l.bytesOut.Add(uint64(n))
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// Rest is to be called now and then, every few seconds: a link that has carried
// little since the last call gives the memory back that it had needed before.
func (l *Link) Rest() {
	l.rest()
	l.shrink.Store(!l.largeRead.Swap(false))
}

// LastReceived is when something last arrived, at first when the link was made.
func (l *Link) LastReceived() time.Time {
	return l.start.Add(time.Duration(l.last.Load()))
}

// Counters are what a link has carried so far.
type Counters struct {
	BytesIn, BytesOut   uint64
	FramesIn, FramesOut uint64
	Dropped             uint64 // frames that found the queue full
}

// Counters returns what the link has carried so far.
func (l *Link) Counters() Counters {
	queued, dropped := l.Counts()
	return Counters{
		BytesIn:   l.bytesIn.Load(),
		BytesOut:  l.bytesOut.Load(),
		FramesIn:  l.framesIn.Load(),
		FramesOut: queued,
		Dropped:   dropped,
	}
}
