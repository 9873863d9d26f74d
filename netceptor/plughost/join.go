package plughost

import (
	"errors"
	"io"
	"net"
	"sync/atomic"

	"github.com/project-receptor/receptor/netceptor"
	"github.com/project-receptor/receptor/netceptor/internal/adopted"
	"github.com/project-receptor/receptor/plug/recordconn"
	"github.com/project-receptor/receptor/plug/wire"
)

// application is the side of a stream that is not the mesh: the data connection
// of a plug, or the socket of an application that a plug has handed over.
type application interface {
	io.Writer
	passer

	CloseWrite() error      // ends our direction in order
	Wait() error            // after io.EOF: until it is over; nil or net.ErrClosed are no abort
	Reset(wire.Reset) error // aborts both directions
	Close() error           // aborts, unless both directions have ended in order

	// Flushed reports whether a Reset takes nothing away of what was written.
	Flushed() bool
}

// passer is what is read from. Pass waits until there is something, and writes
// what of it fits in a buffer; io.EOF is an end in order.
type passer interface {
	Pass(w io.Writer) (int, error)
}

// relayed is a data connection that carries records. What it was given it
// delivers in order, before a reset.
type relayed struct{ *recordconn.Conn }

// Flushed implements application.
func (relayed) Flushed() bool { return true }

// direct is the socket of an application, which cannot be told why.
type direct struct{ *adopted.Conn }

// Reset implements application.
func (d direct) Reset(wire.Reset) error { return d.Conn.Reset() }

// joint is an application joined to a stream of the mesh until both directions
// have ended. It owns both. The end of one direction is passed on alone; an abort
// on one side becomes an abort on the other.
//
// A Reset or Close that fails finds the connection broken already, which is what
// it was for: those errors say nothing new.
type joint struct {
	host *Host
	app  application
	mesh *netceptor.Conn
	over func() // called when all is over

	up, down sink         // of both directions: into the mesh, to the application
	ended    atomic.Bool  // the mesh sends no more
	open     atomic.Int32 // directions that have not ended
	running  atomic.Int32 // goroutines
}

// join carries a stream in goroutines that Close of the host waits for; over is
// called at the end. The caller has a place among these itself.
func (h *Host) join(app application, mesh *netceptor.Conn, over func()) *joint {
	j := &joint{host: h, app: app, mesh: mesh, over: over, up: sink{Writer: mesh}, down: sink{Writer: app}}
	j.open.Store(2)
	j.running.Store(2)
	h.wg.Add(1)
	go j.run((*joint).passUp)
	go j.run((*joint).passDown)
	return j
}

// abort ends the stream for the core's own reasons. It does not wait.
func (j *joint) abort() { j.reset(wire.Reset{Code: wire.CodeGone, Msg: "the core ends it"}) }

func (j *joint) reset(why wire.Reset) {
	_ = j.app.Reset(why)
	_ = j.mesh.Reset()
}

// step is one wait in a direction and what comes of it; it returns the next, nil
// being the end.
type step func(*joint) step

// run takes a step, and has a new goroutine take the next: that waits on a small
// stack, where this one's has grown with what it did, and would stay. Of an idle
// stream such stacks would be the greater part.
func (j *joint) run(s step) {
	if next := j.take(s); next != nil {
		go j.run(next)
		return
	}
	if j.running.Add(-1) == 0 {
		_ = j.mesh.Close()
		_ = j.app.Close()
		j.over()
		j.host.wg.Done()
	}
}

// take takes a step. A mistake of ours in it ends this stream, not the node.
func (j *joint) take(s step) (next step) {
	defer func() {
		if r := recover(); r != nil {
			j.host.panicked("stream", r)
			j.reset(wire.Reset{Code: wire.CodeInternal, Msg: "the core made a mistake"})
		}
	}()
	return s(j)
}

// passUp passes on what the application says.
func (j *joint) passUp() step {
	switch err := j.up.from(j.app); {
	case err == nil:
		return (*joint).passUp
	case errors.Is(err, io.EOF):
		_ = j.mesh.CloseWrite()
		j.end()
		return j.watch()
	case j.up.failed:
		j.up.Writer = dropped{j}
		return (*joint).dropRest
	}
	_ = j.mesh.Reset()
	j.end()
	return nil
}

// passDown passes on what the mesh says.
func (j *joint) passDown() step {
	err := j.down.from(j.mesh)
	switch {
	case err == nil:
		return (*joint).passDown
	case errors.Is(err, io.EOF):
		_ = j.app.CloseWrite()
		j.ended.Store(true)
	case j.down.failed:
		_ = j.mesh.Reset()
	default:
		j.reset(streamEnd(err))
	}
	j.end()
	return nil
}

// end notes the end of a direction. After both nothing is left to be said.
func (j *joint) end() {
	if j.open.Add(-1) == 0 {
		_ = j.mesh.Close()
		_ = j.app.Close()
	}
}

// watch sees an application that dies after its end: that is an abort as well.
func (j *joint) watch() step {
	if err := j.app.Wait(); err != nil && !errors.Is(err, net.ErrClosed) {
		_ = j.mesh.Reset()
	}
	return nil
}

// dropRest goes on when the mesh takes no more. What the remote side has sent
// still arrives; until then the application's bytes are dropped, so that its own
// end or abort is seen. If it goes on beyond that, it is told.
func (j *joint) dropRest() step {
	switch err := j.up.from(j.app); {
	case err == nil:
		return (*joint).dropRest
	case errors.Is(err, errTakesNoMore):
		_ = j.app.Reset(wire.Reset{Code: wire.CodeGone, Msg: errTakesNoMore.Error()})
	case !errors.Is(err, io.EOF):
		_ = j.mesh.Reset()
	}
	j.end()
	return nil
}

var errTakesNoMore = errors.New("the remote side takes no more")

// dropped is where dropRest writes to.
type dropped struct{ *joint }

// Write implements io.Writer.
func (d dropped) Write(p []byte) (int, error) {
	if d.ended.Load() && d.app.Flushed() {
		return 0, errTakesNoMore
	}
	return len(p), nil
}

// sink is where a direction goes to. It tells an error of writing from one of
// reading.
type sink struct {
	io.Writer
	failed bool
}

// from passes on what there is, until there is no more for now.
func (s *sink) from(r passer) error {
	for {
		n, err := r.Pass(s)
		if err != nil || n < passFull {
			return err
		}
	}
}

// passFull is what a Pass takes that is likely to have left something.
const passFull = 32 << 10

// Write implements io.Writer.
func (s *sink) Write(p []byte) (int, error) {
	n, err := s.Writer.Write(p)
	s.failed = err != nil
	return n, err
}
