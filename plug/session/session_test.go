package session_test

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"

	"github.com/project-receptor/receptor/plug/session"
	"github.com/project-receptor/receptor/plug/socket"
	"github.com/project-receptor/receptor/plug/wire"
)

// transports are what a session must work over.
var transports = map[string]func(t *testing.T) (plug, core net.Conn){
	"pipe": func(*testing.T) (net.Conn, net.Conn) { return net.Pipe() },
	"unix": unixPair,
}

// unixPair returns the two ends of a Unix connection.
func unixPair(t *testing.T) (net.Conn, net.Conn) {
	t.Helper()
	a, b, err := socket.Pair()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = a.Close(), b.Close() })
	return a, b
}

// run runs s and returns where the error of Run will be; the test waits for it.
func run(t *testing.T, s *session.Session) <-chan error {
	t.Helper()
	ended := make(chan error, 1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		ended <- s.Run(context.Background())
	}()
	t.Cleanup(func() { s.Close(nil); <-done })
	return ended
}

func TestAttachAndCall(t *testing.T) {
	t.Parallel()
	for name, pair := range transports {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, b := pair(t)
			welcomed := make(chan error, 1)
			go func() {
				o, err := session.Accept(t.Context(), b)
				if err != nil {
					welcomed <- err
					return
				}
				var h wire.Hello
				if err := o.Decode(&h); err != nil {
					welcomed <- err
					return
				}
				welcomed <- o.Answer(wire.Welcome{Node: h.Name})
			}()
			w, err := session.Attach(t.Context(), a, wire.Hello{Name: "p"})
			if err != nil || w.Node != "p" {
				t.Fatalf("Attach = %+v, %v", w, err)
			}
			if err := <-welcomed; err != nil {
				t.Fatal(err)
			}
			plug := session.New(session.Config{Conn: a, Side: session.SidePlug})
			core := session.New(session.Config{Conn: b, Side: session.SideCore, Handler: func(_ context.Context, r *session.Request) (any, error) {
				var in wire.Bind
				if err := r.Decode(&in); err != nil {
					return nil, err
				}
				return wire.Bound{Service: in.Service}, nil
			}})
			plugEnded, coreEnded := run(t, plug), run(t, core)
			var out wire.Bound
			if err := plug.Call(t.Context(), wire.TypeBind, wire.Bind{Service: "web"}, &out); err != nil || out.Service != "web" {
				t.Fatalf("BIND = %+v, %v", out, err)
			}
			var e *wire.Error
			if err := core.Call(t.Context(), wire.TypeConfig, wire.Config{}, nil); !errors.As(err, &e) || e.Code != wire.CodeUnsupported {
				t.Fatalf("CONFIG = %v, want unsupported", err)
			}
			plug.Close(nil)
			if err := <-plugEnded; err != nil {
				t.Errorf("plug's Run = %v", err)
			}
			if err := <-coreEnded; !errors.Is(err, io.EOF) {
				t.Errorf("core's Run = %v, want EOF", err)
			}
			if err := core.Notify(wire.TypeClosed, wire.Closed{}); !errors.Is(err, session.ErrClosed) || !errors.Is(err, net.ErrClosed) {
				t.Errorf("Notify after the end = %v", err)
			}
		})
	}
}
