package check

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/project-receptor/receptor/plug/plugtest"
	"github.com/project-receptor/receptor/plug/wire"
)

// firstOf reads how a connection begins: the preamble, and the first frame.
func firstOf(c net.Conn) (wire.Preamble, plugtest.RawFrame, error) {
	if err := c.SetReadDeadline(time.Now().Add(wire.PreambleTimeout)); err != nil {
		return wire.Preamble{}, plugtest.RawFrame{}, err
	}
	b, files, err := plugtest.ReadBytes(c, wire.PreambleSize)
	for _, f := range files {
		err = errors.Join(err, errors.New("descriptors came with the preamble"), f.Close())
	}
	if err != nil {
		return wire.Preamble{}, plugtest.RawFrame{}, fmt.Errorf("expected a preamble and HELLO, got %q: %w", b, err)
	}
	p, _, err := wire.ParsePreamble(b)
	if err != nil {
		return p, plugtest.RawFrame{}, err
	}
	f, err := plugtest.ReadFrame(c)
	if err != nil {
		return p, f, fmt.Errorf("expected a frame after the preamble: %w", err)
	}
	return p, f, c.SetReadDeadline(time.Time{})
}

// rawCore is the core's side of a session frame by frame, for what a well-made
// core does not do, or does not look at.
type rawCore struct {
	*stand
	conn   net.Conn
	hello  wire.Hello
	frames chan plugtest.RawFrame // that the plug has sent
	failed error                  // why there are no more; set before frames is closed
}

// attachRaw makes a core and a plug that has been welcomed.
func (s *stand) attachRaw() *rawCore {
	conns := make(chan net.Conn, 1)
	s.prepare(nil)
	s.core.OnConn = func(c net.Conn) bool {
		select {
		case conns <- c:
			return true
		default:
			return false
		}
	}
	s.start()
	r := &rawCore{stand: s, conn: wait(s.trial, conns, "a plug to attach")}
	_, f, err := firstOf(r.conn)
	s.must(err, "the first frame")
	s.must(f.Close(), "close the probe")
	s.must(json.Unmarshal(f.Body, &r.hello), "decode HELLO")
	w, err := plugtest.Grant(r.hello)
	s.must(err, "WELCOME")
	w.Session = "raw"
	r.send(wire.TypeHello, wire.FlagResponse, f.ID, w)
	s.own(r.conn)
	r.frames = make(chan plugtest.RawFrame)
	go r.read()
	return r
}

// read reads frames until the connection ends, as it does with the check. Whoever
// waits for one gives up between frames only, and never within one.
func (r *rawCore) read() {
	defer close(r.frames)
	for {
		f, err := plugtest.ReadFrame(r.conn)
		if err = errors.Join(err, f.Close()); err != nil {
			r.failed = err
			return
		}
		select {
		case r.frames <- f:
		case <-r.ctx.Done():
			return
		}
	}
}

func (r *rawCore) send(t wire.Type, flags wire.Flags, id uint32, body any) {
	b, err := json.Marshal(body)
	r.must(err, "encode "+t.String())
	_, err = r.conn.Write(plugtest.Frame(t, flags, id, string(b)))
	r.must(err, "send "+t.String())
}

// await waits for a frame that accept accepts. ok is false if none comes in time.
func (r *rawCore) await(within time.Duration, accept func(plugtest.RawFrame) bool) (f plugtest.RawFrame, ok bool) {
	late := time.After(within)
	for {
		select {
		case f, more := <-r.frames:
			if !more {
				r.must(r.failed, "read the session")
			}
			if accept(f) {
				return f, true
			}
		case <-late:
			return f, false
		}
	}
}

// answer awaits the answer to the request with that id.
func (r *rawCore) answer(within time.Duration, id uint32) (plugtest.RawFrame, bool) {
	return r.await(within, func(f plugtest.RawFrame) bool { return f.ID == id && f.Flags&wire.FlagResponse != 0 })
}
