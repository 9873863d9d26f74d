package backendws

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/gorilla/websocket"

	"github.com/project-receptor/receptor/plug"
)

// farewellTime is how long the other node may take to read the last messages of a
// link, such as the one that refuses it, before its socket is closed.
const farewellTime = time.Second

// link is a WebSocket joined to the core.
type link struct {
	ws    *websocket.Conn
	batch *batch // below ws
	core  net.Conn

	// Frames on their way to the core: those in buf[sent:whole] are complete. All of
	// it is of the goroutine that reads.
	buf         *buffer // nil: there are none
	sent, whole int
	within      bool // a message is being read, behind whole
	deaf        bool // the core takes no more
}

// carry runs a link over a WebSocket until it ends, and says why.
func carry(ctx context.Context, it *plug.Item, ws *websocket.Conn, i plug.LinkInfo) error {
	it.Log.Debug("link", "dir", i.Dir, "remote", i.Remote)
	core, err := it.OpenLink(ctx, i)
	if err != nil {
		return errors.Join(err, ws.Close())
	}
	l := &link{ws: ws, batch: ws.NetConn().(*batch), core: core} //nolint:forcetypeassert // listener and dialer make no other
	stop := context.AfterFunc(it.Carried(), func() {
		_ = ws.Close()
		_ = core.Close()
	})
	defer stop()
	err = l.run()
	if it.Carried().Err() != nil {
		return context.Cause(it.Carried())
	}
	if err != nil { // the core logs those whose peer is known; others anybody can make
		it.Log.Debug("link ended", "remote", i.Remote, "error", err)
	} else {
		it.Log.Debug("link ended", "remote", i.Remote)
	}
	return err
}

// run carries messages both ways until either side ends, then closes both. nil
// means that the core has ended it.
func (l *link) run() error {
	l.ws.SetReadLimit(maxMessage)
	l.ws.SetPingHandler(l.pong)
	l.batch.gathers, l.batch.idle = true, l.pass
	var in error // why there is no more from the other node
	heard := make(chan struct{})
	var reading sync.WaitGroup
	reading.Go(func() {
		defer close(heard)
		in = l.hear()
		_ = l.core.Close() // ends the other direction, and tells the core
	})
	out := l.speak()
	byCore := errors.Is(out, io.EOF)
	if byCore {
		l.farewell(heard)
	}
	l.batch.TryFlush() // the answer to a close
	_ = l.ws.Close()
	_ = l.core.Close()
	reading.Wait()
	switch {
	case byCore:
		return nil
	case errors.Is(out, net.ErrClosed): // by the other direction
		return in
	default:
		return out
	}
}

// farewell lets the other node read what was written last: a socket that is closed
// with bytes unread resets, and that would overtake them.
func (l *link) farewell(heard <-chan struct{}) {
	bye := websocket.FormatCloseMessage(websocket.CloseNormalClosure, "")
	if l.ws.WriteControl(websocket.CloseMessage, bye, time.Now().Add(farewellTime)) != nil || l.batch.Flush() != nil {
		return
	}
	l.batch.CloseWrite()
	if l.batch.SetReadDeadline(time.Now().Add(farewellTime)) == nil {
		<-heard
	}
}

// pong answers a ping.
func (l *link) pong(data string) error {
	err := l.ws.WriteControl(websocket.PongMessage, []byte(data), time.Now().Add(farewellTime))
	if err != nil && !errors.Is(err, websocket.ErrCloseSent) {
		return nil // no answer: whoever writes finds out why
	}
	l.batch.TryFlush()
	return nil
}

// speak makes messages of the frames that the core writes, until it ends: io.EOF
// if that was in order. Before it waits it has written what it has.
func (l *link) speak() error {
	r := bufio.NewReaderSize(l.core, 2+maxMessage)
	for {
		n, err := l.peek(r, 2)
		if err != nil {
			return err
		}
		size := 2 + int(binary.LittleEndian.Uint16(n))
		frame, err := l.peek(r, size)
		if err != nil {
			return unexpected(err)
		}
		if err := l.ws.WriteMessage(websocket.BinaryMessage, frame[2:]); err != nil {
			return fmt.Errorf("write to the other node: %w", err)
		}
		if _, err := r.Discard(size); err != nil {
			return err
		}
	}
}

// peek returns the next n bytes from the core.
func (l *link) peek(r *bufio.Reader, n int) ([]byte, error) {
	if r.Buffered() < n {
		if err := l.batch.Flush(); err != nil {
			return nil, fmt.Errorf("write to the other node: %w", err)
		}
	}
	b, err := r.Peek(n)
	switch {
	case err == nil:
		return b, nil
	case errors.Is(err, io.EOF) && len(b) > 0:
		return nil, io.ErrUnexpectedEOF
	case errors.Is(err, syscall.ECONNRESET): // a Unix socket that was closed with bytes unread
		return nil, io.EOF
	default:
		return nil, err
	}
}

func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// hear makes frames of the messages that the other node sends, and says why there
// are no more. A text is a message as any other. When the core takes no more they
// are dropped, so that what it has said last is read there.
func (l *link) hear() error {
	for {
		_, r, err := l.ws.NextReader()
		if err == nil {
			err = l.take(r)
		}
		if err != nil {
			return heardLast(err)
		}
	}
}

// take appends one message to the frames.
func (l *link) take(r io.Reader) error {
	if l.buf == nil {
		l.buf = buffers.Get().(*buffer)
	}
	l.within = true
	end := l.whole + 2
	for {
		n, err := r.Read(l.buf[end:])
		end += n
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
	}
	binary.LittleEndian.PutUint16(l.buf[l.whole:], uint16(end-l.whole-2)) //nolint:gosec // the read limit
	l.whole, l.within = end, false
	if l.whole >= bufferSize {
		l.pass()
	}
	return nil
}

// pass writes the complete frames to the core. It is called when there is nothing
// to read, perhaps in the middle of a message, which then stays where it is.
func (l *link) pass() {
	if l.sent < l.whole && !l.deaf {
		_, err := l.core.Write(l.buf[l.sent:l.whole])
		l.deaf = err != nil
	}
	l.sent = l.whole
	if !l.within && l.buf != nil {
		buffers.Put(l.buf)
		l.buf, l.sent, l.whole = nil, 0, 0
	}
}

// heardLast is why nothing more comes, in words.
func heardLast(err error) error {
	var closed *websocket.CloseError
	switch {
	case errors.As(err, &closed) && closed.Code != websocket.CloseAbnormalClosure:
		return nil
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.As(err, &closed):
		return errors.New("the other node has closed the connection")
	case errors.Is(err, websocket.ErrReadLimit):
		return fmt.Errorf("the other node has sent a message of more than %d bytes", maxMessage)
	default:
		return err
	}
}
