package plughost

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"

	"github.com/project-receptor/receptor/netceptor"
	"github.com/project-receptor/receptor/plug/recordconn"
	"github.com/project-receptor/receptor/plug/wire"
)

// join copies between a plug's data connection and a stream of the mesh until
// both directions have ended. It owns both. The end of one direction is passed
// on alone; an abort on one side becomes an abort on the other.
func (h *Host) join(ctx context.Context, plug *recordconn.Conn, mesh *netceptor.Conn) {
	// A Reset or Close that fails finds the connection broken already, which is
	// what it was for: those errors say nothing new.
	stop := context.AfterFunc(ctx, func() {
		_ = plug.Reset(wire.Reset{Code: wire.CodeGone, Msg: "the core is stopping"})
		_ = mesh.Reset()
	})
	defer stop()

	var refused, ended atomic.Bool // the mesh takes no more; the mesh sends no more
	takesNoMore := wire.Reset{Code: wire.CodeGone, Msg: "the remote side takes no more"}

	var up, down, watch sync.WaitGroup
	up.Go(func() { // from the plug into the mesh
		defer h.resetAfterPanic(plug, mesh)
		readErr, writeErr := h.copyStream(mesh, plug)
		switch {
		case readErr != nil:
			_ = mesh.Reset()
		case writeErr != nil:
			// What the remote side has sent still arrives. Until that, too, is over,
			// the plug's bytes are dropped, so that its own end or abort is seen.
			refused.Store(true)
			if ended.Load() {
				_ = plug.Reset(takesNoMore)
			} else if _, err := io.Copy(io.Discard, plug); err != nil {
				_ = mesh.Reset()
			}
		default:
			_ = mesh.CloseWrite()
			watch.Go(func() { // a plug that dies after its END is an abort as well
				if err := plug.Wait(); err != nil && !errors.Is(err, net.ErrClosed) {
					_ = mesh.Reset()
				}
			})
		}
	})
	down.Go(func() { // from the mesh to the plug
		defer h.resetAfterPanic(plug, mesh)
		readErr, writeErr := h.copyStream(plug, mesh)
		switch {
		case readErr != nil:
			_ = plug.Reset(streamEnd(readErr))
			_ = mesh.Reset()
		case writeErr != nil:
			_ = mesh.Reset()
		default:
			_ = plug.CloseWrite()
			ended.Store(true)
			if refused.Load() {
				_ = plug.Reset(takesNoMore)
			}
		}
	})
	up.Wait()
	down.Wait()
	_ = mesh.Close()
	_ = plug.Close()
	watch.Wait()
}

// resetAfterPanic is deferred by both directions of join.
func (h *Host) resetAfterPanic(plug *recordconn.Conn, mesh *netceptor.Conn) {
	if r := recover(); r != nil {
		h.panicked("stream", r)
		_ = plug.Reset(wire.Reset{Code: wire.CodeInternal, Msg: "the core made a mistake"})
		_ = mesh.Reset()
	}
}

// copyStream copies until src has ended in order (both errors nil), or one of
// the two has failed. A direction that is idle holds a small buffer; one that
// fills it gets a large one, for as long as it needs that.
func (h *Host) copyStream(dst io.Writer, src io.Reader) (readErr, writeErr error) {
	small := make([]byte, smallBuffer)
	buf := small
	var large *[]byte
	defer func() {
		if large != nil {
			h.buffers.Put(large)
		}
	}()
	for {
		n, err := src.Read(buf)
		if n > 0 {
			if _, err := dst.Write(buf[:n]); err != nil {
				return nil, err
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil, nil
		case err != nil:
			return err, nil
		case large == nil && n == len(small):
			large = h.buffers.Get().(*[]byte)
			buf = *large
		case large != nil && n < len(small):
			h.buffers.Put(large)
			large, buf = nil, small
		}
	}
}
