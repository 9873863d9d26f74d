package control_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/project-receptor/receptor/netceptor/control"
)

// pipeListener is a listener in memory, whose connections are not local. Errors
// sent to it are returned by Accept.
type pipeListener struct {
	conns chan any // net.Conn or error
	once  sync.Once
	done  chan struct{}
}

func newPipeListener() *pipeListener {
	return &pipeListener{conns: make(chan any), done: make(chan struct{})}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case v := <-l.conns:
		if err, ok := v.(error); ok {
			return nil, err
		}
		return v.(net.Conn), nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

func (l *pipeListener) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "pipe"} }

func (l *pipeListener) dial() net.Conn {
	near, far := net.Pipe()
	l.conns <- far
	return near
}

// serveMesh serves s in a bubble of synctest.
func serveMesh(t *testing.T, s *control.Server) *pipeListener {
	ctx, cancel := context.WithCancel(t.Context())
	l := newPipeListener()
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return l
}

// Who is not local and says nothing is told so and let go: after a minute at
// first, half an hour later.
func TestSilence(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := serveMesh(t, newServer(threeNodes()))
		const end = "ERROR: no command for too long\n"

		begin := time.Now()
		c := l.dial()
		expect(t, c, greeting)
		expect(t, c, end)
		if d := time.Since(begin); d != control.FirstLineTimeout {
			t.Errorf("first line: let go after %v", d)
		}

		c = l.dial()
		expect(t, c, greeting)
		time.Sleep(control.FirstLineTimeout - time.Second)
		for range 3 {
			send(t, c, "ping beta\n")
			expect(t, c, pong)
			time.Sleep(control.IdleTimeout - time.Second)
		}
		send(t, c, "ping be") // half a line is no line
		begin = time.Now()
		expect(t, c, end)
		if d := time.Since(begin); d != time.Second {
			t.Errorf("idle: let go after %v", d)
		}
	})
}

// A connection that a command has taken has no deadlines any more.
func TestHijackedMayBeSilent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := threeNodes()
		m.OnStream = map[string]func(control.Stream){"beta:x": func(s control.Stream) {
			b := make([]byte, 1)
			_, _ = io.ReadFull(s, b)
			time.Sleep(24 * time.Hour)
			_, _ = s.Write(b)
			_ = s.Close()
		}}
		l := serveMesh(t, newServer(m))
		c := l.dial()
		expect(t, c, greeting)
		send(t, c, "connect beta x\n")
		expect(t, c, "Connecting\n")
		time.Sleep(24 * time.Hour)
		send(t, c, "!")
		expect(t, c, "!")
		expectEnd(t, c)
	})
}

// Who does not read its answer is given up.
func TestAnswerNotRead(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := serveMesh(t, newServer(threeNodes()))
		c := l.dial()
		expect(t, c, greeting)
		send(t, c, "ping beta\n")
		time.Sleep(time.Hour)
		expectEnd(t, c)
	})
}

func TestMaxSessions(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := serveMesh(t, newServer(threeNodes()))
		var conns []net.Conn
		for range control.MaxSessions {
			c := l.dial()
			expect(t, c, greeting)
			conns = append(conns, c)
		}
		c := l.dial()
		expect(t, c, "ERROR: too many conversations, try again later\n")
		expectEnd(t, c)

		if err := conns[7].Close(); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		c = l.dial()
		expect(t, c, greeting)
	})
}

// Errors of Accept pass: descriptors come back.
func TestAcceptErrors(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := serveMesh(t, newServer(threeNodes()))
		begin := time.Now()
		for range 20 {
			l.conns <- &net.OpError{Op: "accept", Err: syscall.EMFILE}
		}
		c := l.dial()
		expect(t, c, greeting)
		if d := time.Since(begin); d < 10*time.Second || d > 20*time.Second {
			t.Errorf("20 errors took %v", d)
		}
	})
}

// Serve ends, and waits, when its listener is closed by others.
func TestListenerClosed(t *testing.T) {
	t.Parallel()
	l := newPipeListener()
	done := make(chan error, 1)
	go func() { done <- newServer(threeNodes()).Serve(context.Background(), l) }()
	c := l.dial()
	expect(t, c, greeting)
	_ = l.Close()
	if err := wait(t, done); err != nil {
		t.Error(err)
	}
	expectEnd(t, c)
}

// The end of the server reaches commands that run, and Serve waits for them.
func TestServerEnds(t *testing.T) {
	t.Parallel()
	var ended atomic.Bool
	begun := make(chan struct{})
	s := newServer(threeNodes(), control.Command{
		Name: "hang",
		Plain: func(ctx context.Context, _ control.Session, _ *string, _ map[string]json.RawMessage) (any, error) {
			close(begun)
			<-ctx.Done()
			ended.Store(true)
			return nil, ctx.Err()
		},
	})
	l := newPipeListener()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, l) }()
	c := l.dial()
	expect(t, c, greeting)
	send(t, c, "hang\n")
	<-begun
	cancel()
	if err := wait(t, done); err != nil {
		t.Error(err)
	}
	if !ended.Load() {
		t.Error("Serve did not wait for the command")
	}
}

// The end of the server resets the streams that clients are connected to.
func TestServerEndsWhileConnected(t *testing.T) {
	t.Parallel()
	ended := make(chan error, 1)
	m := threeNodes()
	m.OnStream = map[string]func(control.Stream){"beta:x": func(s control.Stream) {
		_, err := io.ReadAll(s)
		ended <- err
	}}
	l := newPipeListener()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- newServer(m).Serve(ctx, l) }()
	c := l.dial()
	expect(t, c, greeting)
	send(t, c, "connect beta x\n")
	expect(t, c, "Connecting\n")
	cancel()
	if err := wait(t, ended); err == nil {
		t.Error("the service saw an end, want a reset")
	}
	if err := wait(t, done); err != nil {
		t.Error(err)
	}
}

func TestHijack(t *testing.T) {
	t.Parallel()
	take := func(s control.Session, line string) (any, error) {
		c, err := s.Hijack(line)
		if err != nil {
			return nil, err
		}
		if _, err := s.Hijack(line); err == nil {
			return nil, errors.New("taken twice")
		}
		_, err = io.Copy(c, c)
		panic(err) // it has no answer to lose any more
	}
	path := serve(t, newServer(threeNodes(), control.Command{
		Name: "echo",
		Plain: func(_ context.Context, s control.Session, _ *string, _ map[string]json.RawMessage) (any, error) {
			return take(s, "go on")
		},
		Own: func(_ context.Context, s control.Session, _ json.RawMessage, _ func(any) error) (any, error) {
			return take(s, `{"go":"on"}`)
		},
	}))
	for in, want := range map[string]string{
		"echo\nping beta\n": "go on\nping beta\n",
		`{"v":1,"id":"x","command":"echo"}` + "\nping beta\n": `{"id":"x","result":{"go":"on"}}` + "\nping beta\n",
	} {
		if got := talk(t, path, in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

// Whatever is said, the server answers in whole lines and goes on.
func FuzzConversation(f *testing.F) {
	f.Add([]byte("status\nping beta\ntraceroute beta\n"))
	f.Add([]byte(`{"command":"status","requested_fields":["Version"]}` + "\n"))
	f.Add([]byte(`{"v":1,"id":1,"command":"ping","args":{"node":"beta"}}` + "\n"))
	f.Add([]byte("{\n\r\n{}\n{\"v\":1}\nconnect a b c\n"))
	s := newServer(threeNodes())
	f.Fuzz(func(t *testing.T, in []byte) {
		if strings.Contains(string(in), "count") {
			t.Skip("may take its time")
		}
		near, far := net.Pipe()
		l := newPipeListener()
		done := make(chan error, 1)
		go func() { done <- s.Serve(context.Background(), l) }()
		l.conns <- far
		go func() {
			_, _ = near.Write(append(append([]byte{}, in...), "\nnope\n"...))
		}()
		var got strings.Builder
		b := make([]byte, 4096)
		for !strings.HasSuffix(got.String(), "ERROR: Unknown command\n") {
			n, err := near.Read(b)
			if err != nil {
				t.Fatalf("%q ended with %v", got.String(), err)
			}
			got.Write(b[:n])
		}
		_ = near.Close()
		_ = l.Close()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	})
}
