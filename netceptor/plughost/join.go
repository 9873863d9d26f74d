package plughost

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
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
	io.WriterTo // returns nil once the application has ended its direction in order

	CloseWrite() error      // ends our direction in order
	Wait() error            // after WriteTo: until it is over; nil or net.ErrClosed are no abort
	Reset(wire.Reset) error // aborts both directions
	Close() error           // aborts, unless both directions have ended in order

	// Flushed reports whether a Reset takes nothing away of what was written.
	Flushed() bool
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

// join copies between an application and a stream of the mesh until both
// directions have ended. It owns both. The end of one direction is passed on
// alone; an abort on one side becomes an abort on the other.
func (h *Host) join(ctx context.Context, app application, mesh *netceptor.Conn) {
	// A Reset or Close that fails finds the connection broken already, which is
	// what it was for: those errors say nothing new.
	stop := context.AfterFunc(ctx, func() {
		_ = app.Reset(wire.Reset{Code: wire.CodeGone, Msg: "the core ends it"})
		_ = mesh.Reset()
	})
	defer stop()

	var ended atomic.Bool // the mesh sends no more
	var up, down, watch sync.WaitGroup
	up.Go(func() { // from the application into the mesh
		defer h.resetAfterPanic(app, mesh)
		to := sink{Writer: mesh}
		_, err := app.WriteTo(&to)
		switch {
		case err == nil:
			_ = mesh.CloseWrite()
			watch.Go(func() { // an application that dies after its end is an abort as well
				if err := app.Wait(); err != nil && !errors.Is(err, net.ErrClosed) {
					_ = mesh.Reset()
				}
			})
		case to.failed:
			dropRest(app, mesh, &ended)
		default:
			_ = mesh.Reset()
		}
	})
	down.Go(func() { // from the mesh to the application
		defer h.resetAfterPanic(app, mesh)
		to := sink{Writer: app}
		_, err := mesh.WriteTo(&to)
		switch {
		case err == nil:
			_ = app.CloseWrite()
			ended.Store(true)
		case to.failed:
			_ = mesh.Reset()
		default:
			_ = app.Reset(streamEnd(err))
			_ = mesh.Reset()
		}
	})
	up.Wait()
	down.Wait()
	_ = mesh.Close()
	_ = app.Close()
	watch.Wait()
}

// dropRest goes on when the mesh takes no more. What the remote side has sent
// still arrives; until then the application's bytes are dropped, so that its own
// end or abort is seen. If it goes on beyond that, it is told.
func dropRest(app application, mesh *netceptor.Conn, ended *atomic.Bool) {
	_, err := app.WriteTo(writerFunc(func(p []byte) (int, error) {
		if ended.Load() && app.Flushed() {
			return 0, errTakesNoMore
		}
		return len(p), nil
	}))
	switch {
	case errors.Is(err, errTakesNoMore):
		_ = app.Reset(wire.Reset{Code: wire.CodeGone, Msg: errTakesNoMore.Error()})
	case err != nil:
		_ = mesh.Reset()
	}
}

var errTakesNoMore = errors.New("the remote side takes no more")

// sink tells an error of writing from one of reading.
type sink struct {
	io.Writer
	failed bool
}

func (s *sink) Write(p []byte) (int, error) {
	n, err := s.Writer.Write(p)
	s.failed = err != nil
	return n, err
}

type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// resetAfterPanic is deferred by both directions of join.
func (h *Host) resetAfterPanic(app application, mesh *netceptor.Conn) {
	if r := recover(); r != nil {
		h.panicked("stream", r)
		_ = app.Reset(wire.Reset{Code: wire.CodeInternal, Msg: "the core made a mistake"})
		_ = mesh.Reset()
	}
}
