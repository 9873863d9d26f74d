package plug

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"

	"github.com/project-receptor/receptor/plug/recordconn"
	"github.com/project-receptor/receptor/plug/wire"
)

// errStopped is why a stream was cut when its item was stopped.
var errStopped = errors.New("its proxy was stopped")

// stream is an application's socket joined to a stream of the mesh.
type stream struct {
	app  net.Conn
	mesh *recordconn.Conn

	once    sync.Once
	aborted error // nil: it was not
}

// join carries a stream between an application's socket, which has been armed,
// and the mesh, until both directions have ended. A clean end of one direction
// is passed on as one; anything else resets both sides and is returned.
func (it *Item) join(app net.Conn, mesh *recordconn.Conn) error {
	s := &stream{app: app, mesh: mesh}
	stop := context.AfterFunc(it.carry, func() { s.abort(errStopped) })
	var out, watch sync.WaitGroup
	in := make(chan struct{})
	out.Go(s.outbound)
	watch.Go(func() {
		s.inbound()
		close(in)
		s.watch()
	})
	out.Wait()
	<-in
	stop()
	s.once.Do(func() { disarmReset(app) }) // nothing is aborted from here on
	err := errors.Join(s.aborted, ignoreClosed(app.Close()), ignoreClosed(mesh.Close()))
	watch.Wait()
	return err
}

// outbound carries what the application says into the mesh.
func (s *stream) outbound() {
	_, err := s.mesh.ReadFrom(s.app)
	if err == nil {
		err = s.mesh.CloseWrite()
	}
	if err != nil {
		s.abort(fmt.Errorf("from the application: %w", err))
	}
}

// inbound carries what the mesh says to the application.
func (s *stream) inbound() {
	_, err := s.mesh.WriteTo(s.app)
	if err == nil {
		err = closeWrite(s.app)
	}
	if err != nil {
		s.abort(fmt.Errorf("to the application: %w", err))
	}
}

// watch sees an abort by a mesh that has nothing more to say, while the
// application still talks. It ends when the mesh is closed.
func (s *stream) watch() {
	if reset := (*recordconn.ResetError)(nil); errors.As(s.mesh.Wait(), &reset) {
		s.abort(fmt.Errorf("from the mesh: %w", reset))
	}
}

// abort resets both sides, once; the mesh is told why.
func (s *stream) abort(err error) {
	s.once.Do(func() {
		s.aborted = err
		_ = s.mesh.Reset(wire.Reset{Code: wire.CodeGone, Msg: err.Error()})
		_ = s.app.Close() // armed: a reset
	})
}

// closeWrite ends one direction of a connection.
func closeWrite(c net.Conn) error {
	if h, ok := c.(interface{ CloseWrite() error }); ok {
		return h.CloseWrite()
	}
	return fmt.Errorf("%T cannot end one direction", c)
}

// armReset makes the socket's end a reset as long as nothing better is known:
// a process that dies would else end it as if all had been said.
func armReset(c net.Conn) { setLinger(c, 0) }

// disarmReset makes it an ordinary end again.
func disarmReset(c net.Conn) { setLinger(c, -1) }

func setLinger(c net.Conn, seconds int) {
	if t, ok := c.(interface{ SetLinger(sec int) error }); ok {
		_ = t.SetLinger(seconds) // fails only on a socket that is gone
	}
}

func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}
