package transcript

import (
	"context"
	"fmt"
	"net"
	"reflect"
	"runtime"
	"sync"
	"time"

	"github.com/project-receptor/receptor/plug/session"
	"github.com/project-receptor/receptor/plug/socket"
)

// patience bounds a conversation, which takes some milliseconds.
const patience = 30 * time.Second

// Script is one side of a conversation.
type Script func(*Stage)

// Stage is where a script runs. Its methods are for the script's goroutine; what
// goes wrong ends that.
type Stage struct {
	ctx    context.Context
	cancel context.CancelFunc
	done   chan struct{} // closed when the script has ended
	conns  chan net.Conn // core: what the plug has opened; plug: the other ends of what it opens

	running  sync.WaitGroup // sessions
	sessions []*session.Session

	mu    sync.Mutex
	open  []net.Conn
	sent  int           // events of this side that have been seen
	moved chan struct{} // closed when sent changes
	err   error         // the first
}

// perform runs a script in a goroutine of its own.
func perform(ctx context.Context, script Script) *Stage {
	s := &Stage{done: make(chan struct{}), conns: make(chan net.Conn, 16), moved: make(chan struct{})}
	s.ctx, s.cancel = context.WithTimeout(ctx, patience)
	go func() {
		defer close(s.done)
		defer s.strike()
		script(s)
	}()
	return s
}

// strike ends what the script has left running.
func (s *Stage) strike() {
	for _, c := range s.sessions {
		c.Close(nil)
	}
	s.running.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.open {
		_ = c.Close() // closed already, often
	}
}

// stop ends the script, if that has not ended, and returns what was wrong.
func (s *Stage) stop() error {
	s.cancel()
	<-s.done
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// Context ends when the conversation fails, or takes far too long.
func (s *Stage) Context() context.Context { return s.ctx }

// Must ends the script if err is not nil.
func (s *Stage) Must(err error) {
	if err == nil {
		return
	}
	s.mu.Lock()
	if s.err == nil {
		s.err = err
	}
	s.mu.Unlock()
	runtime.Goexit()
}

// Equal ends the script if the two differ.
func (s *Stage) Equal(got, want any) {
	if !reflect.DeepEqual(got, want) {
		s.Must(fmt.Errorf("got %+v, want %+v", got, want))
	}
}

// own closes a connection when the script ends.
func (s *Stage) own(c net.Conn) net.Conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open = append(s.open, c)
	context.AfterFunc(s.ctx, func() { _ = c.Close() })
	return c
}

// Dial opens a connection, as plugs do.
func (s *Stage) Dial() net.Conn {
	mine, other, err := socket.Pair()
	s.Must(err)
	s.conns <- other
	return s.own(mine)
}

// Accept returns the next connection that the plug has opened, as cores do.
func (s *Stage) Accept() net.Conn {
	c, err := receive(s.ctx, s.conns)
	s.Must(err)
	return s.own(c)
}

// Session runs a session.
func (s *Stage) Session(c session.Config) *session.Session {
	engine := session.New(c)
	s.sessions = append(s.sessions, engine)
	s.running.Go(func() { _ = engine.Run(s.ctx) }) // why it ended is told by what it sends
	return engine
}

// Sends runs do and returns when this side has sent n more frames, records or
// ends of connections, so that these come before what the script does next.
func (s *Stage) Sends(n int, do func()) {
	s.mu.Lock()
	n += s.sent
	s.mu.Unlock()
	do()
	s.Await(n)
}

// Await returns when this side has sent n in all.
func (s *Stage) Await(n int) {
	for {
		s.mu.Lock()
		sent, moved := s.sent, s.moved
		s.mu.Unlock()
		if sent >= n {
			return
		}
		_, err := receive(s.ctx, moved)
		s.Must(err)
	}
}

// saw notes something that this side has sent.
func (s *Stage) saw() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sent++
	close(s.moved)
	s.moved = make(chan struct{})
}

// receive receives from c; the error is that of ctx.
func receive[T any](ctx context.Context, c <-chan T) (v T, err error) {
	select {
	case v = <-c:
		return v, nil
	case <-ctx.Done():
		return v, context.Cause(ctx)
	}
}
