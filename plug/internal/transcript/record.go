package transcript

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"

	"github.com/project-receptor/receptor/plug/plugtest"
	"github.com/project-receptor/receptor/plug/socket"
	"github.com/project-receptor/receptor/plug/wire"
)

// Record runs both scripts and writes down what passes between them.
func Record(ctx context.Context, plug, core Script) ([]Event, error) {
	r := &recorder{plug: perform(ctx, plug), core: perform(ctx, core)}
	r.pumps.Go(r.connect)
	<-r.plug.done
	<-r.core.done
	err := errors.Join(r.plug.stop(), r.core.stop())
	r.pumps.Wait()
	return r.events, err
}

type recorder struct {
	plug, core *Stage
	pumps      sync.WaitGroup

	mu     sync.Mutex
	events []Event
}

// connect joins what the plug opens with the core.
func (r *recorder) connect() {
	for n := 1; ; n++ {
		plug, err := receive(r.plug.ctx, r.plug.conns)
		if err != nil {
			return // it is over
		}
		core, theirs, err := socket.Pair()
		if err != nil {
			r.plug.cancel()
			return
		}
		r.core.conns <- theirs
		c := &tapped{recorder: r, n: n}
		r.pumps.Go(func() { c.pump(Plug, plug, core) })
		r.pumps.Go(func() { c.pump(Core, core, plug) })
	}
}

// tapped is a connection that is recorded.
type tapped struct {
	*recorder
	n int

	mu     sync.Mutex
	opened wire.Type // by which message, once it is answered: what follows are no frames
	closed bool
}

// pump carries what one side says to the other.
func (c *tapped) pump(side Side, from, to net.Conn) {
	defer func() { _, _ = from.Close(), to.Close() }()
	stage := c.plug
	if side == Core {
		stage = c.core
	}
	for {
		b, files, note, err := c.read(from)
		if err != nil {
			c.end(side, stage)
			return
		}
		c.write(Event{From: side, Conn: c.n, Note: note, Bytes: b, FDs: len(files)})
		stage.saw()
		if strings.HasPrefix(note, wire.TypeError.String()) {
			c.end(side, stage) // ERROR ends the connection, whoever sees that first
		}
		err = plugtest.SendBytes(to, b, files)
		closeAll(files)
		if err != nil {
			return // the other side has gone
		}
	}
}

func (c *tapped) write(e Event) {
	c.recorder.mu.Lock()
	defer c.recorder.mu.Unlock()
	c.events = append(c.events, e)
}

// end notes who has closed the connection first.
func (c *tapped) end(side Side, stage *Stage) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	c.closed = true
	c.write(Event{From: side, Conn: c.n, closed: true})
	stage.saw()
}

// read reads one piece of what a side says: a preamble, a frame, a record, or
// bytes of a link.
func (c *tapped) read(from net.Conn) (b []byte, files []*os.File, note string, err error) {
	// Whether it is a frame is known once its first byte is there: what follows
	// the answer comes after it.
	if b, files, err = plugtest.ReadBytes(from, 1); err != nil {
		return b, files, "", err
	}
	switch c.mode() {
	case wire.TypeLink:
		more := make([]byte, 4096)
		n, err := from.Read(more)
		return append(b, more[:n]...), files, "bytes of the link", err
	case wire.TypeDial, wire.TypeAttach, wire.TypePBind:
		if b, err = rest(from, b, wire.RecordSize); err != nil {
			return b, files, "", err
		}
		b, err = rest(from, b, wire.RecordSize+int(binary.BigEndian.Uint16(b)))
		name := map[wire.RecordType]string{
			wire.RecordData: "DATA", wire.RecordEnd: "END", wire.RecordReset: "RESET", wire.RecordPeer: "PEER", wire.RecordGone: "GONE",
		}
		return b, files, "record " + name[wire.RecordType(b[2])], err
	default:
	}
	b, err = rest(from, b, wire.HeaderSize)
	switch {
	case err != nil:
		return b, files, "", err
	case string(b[:8]) == wire.Magic:
		return b, files, fmt.Sprintf("preamble of major %d, kind %d", b[8], b[9]), nil
	}
	note = c.describe(b)
	b, err = rest(from, b, wire.HeaderSize+int(binary.BigEndian.Uint32(b)))
	return b, files, note, err
}

// rest reads until b has n bytes.
func rest(from net.Conn, b []byte, n int) ([]byte, error) {
	more, files, err := plugtest.ReadBytes(from, n-len(b))
	closeAll(files) // none belong there
	return append(b, more...), err
}

// mode is by which message the connection's object was opened; 0: frames come.
func (c *tapped) mode() wire.Type {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.opened
}

// describe says what a frame is.
func (c *tapped) describe(head []byte) string {
	h, _, err := wire.ParseHeader(head)
	if err != nil {
		return "no frame"
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case h.Flags&wire.FlagError != 0:
		return fmt.Sprintf("%s, error %d", h.Type, h.ID)
	case h.Flags&wire.FlagResponse != 0:
		if h.ID == 1 && h.Type != wire.TypeHello { // the first frame of a data connection
			c.opened = h.Type
		}
		return fmt.Sprintf("%s, response %d", h.Type, h.ID)
	case h.ID == 0:
		return h.Type.String() + ", notification"
	default:
		return fmt.Sprintf("%s, request %d", h.Type, h.ID)
	}
}
