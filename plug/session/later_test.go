package session_test

import (
	"context"
	"errors"
	"testing"

	"github.com/project-receptor/receptor/plug/session"
	"github.com/project-receptor/receptor/plug/wire"
)

// deferred is a request whose handler has returned.
type deferred struct {
	withdrawn chan struct{}
	answer    session.AnswerFunc
}

// TestLater: a prompt handler has the reader to itself, and what it leaves open
// is answered by whoever has the function.
func TestLater(t *testing.T) {
	t.Parallel()
	open := make(chan deferred, 2)
	raw, c := unixPair(t)
	s := session.New(session.Config{
		Conn: c, Side: session.SideCore,
		Prompt: func(t wire.Type) bool { return t == wire.TypeDial },
		Handler: func(_ context.Context, r *session.Request) (any, error) {
			withdrawn := make(chan struct{})
			open <- deferred{withdrawn, r.Later(func() { close(withdrawn) })}
			return nil, errors.New("not seen by anybody")
		},
	})
	ended := run(t, s)
	write(t, raw, frame(wire.TypeDial, 0, 3, "{}"))
	write(t, raw, frame(wire.TypeDial, 0, 5, "{}"))
	first, second := <-open, <-open // in order: on the reader

	if err := second.answer(wire.Opened{Object: "s2"}, nil); err != nil {
		t.Fatal(err)
	}
	if h, body := readFrame(t, raw); h.ID != 5 || h.Flags != wire.FlagResponse || body != `{"object":"s2"}` {
		t.Errorf("got %+v %s", h, body)
	}
	write(t, raw, frame(wire.TypeCancel, 0, 0, `{"id":5}`)) // too late: ignored
	write(t, raw, frame(wire.TypeCancel, 0, 0, `{"id":3}`))
	<-first.withdrawn
	select {
	case <-second.withdrawn:
		t.Error("what was answered is withdrawn")
	default:
	}
	var told *wire.Error
	if err := first.answer(wire.Opened{Object: "s1"}, nil); !errors.As(err, &told) || told.Code != wire.CodeCanceled {
		t.Errorf("the answer to what was withdrawn: %v", err)
	}
	if h, body := readFrame(t, raw); h.ID != 3 || h.Flags&wire.FlagError == 0 || errorCode(t, body) != wire.CodeCanceled {
		t.Errorf("got %+v %s", h, body)
	}

	// The end does not wait for what is open.
	write(t, raw, frame(wire.TypeDial, 0, 3, "{}"))
	last := <-open
	if err := raw.Close(); err != nil {
		t.Fatal(err)
	}
	<-ended
	if err := last.answer(wire.Opened{}, nil); !errors.Is(err, session.ErrClosed) {
		t.Errorf("the answer after the end: %v", err)
	}
}
