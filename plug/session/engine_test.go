package session_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/project-receptor/receptor/plug/session"
	"github.com/project-receptor/receptor/plug/wire"
)

// frame encodes one frame.
func frame(t wire.Type, flags wire.Flags, id uint32, body string) []byte {
	h := wire.Header{Length: uint32(len(body)), Type: t, Flags: flags, ID: id}
	return append(h.Append(nil), body...)
}

// readFrame reads one frame of a session under test.
func readFrame(t *testing.T, r io.Reader) (wire.Header, string) {
	t.Helper()
	b := make([]byte, wire.HeaderSize)
	if _, err := io.ReadFull(r, b); err != nil {
		t.Fatalf("read frame: %v", err)
	}
	h, _, err := wire.ParseHeader(b)
	if err != nil {
		t.Fatal(err)
	}
	body := make([]byte, h.Length)
	if _, err := io.ReadFull(r, body); err != nil {
		t.Fatalf("read body: %v", err)
	}
	return h, string(body)
}

func write(t *testing.T, w io.Writer, b []byte) {
	t.Helper()
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
}

// core starts a core's session, and returns the plug's end of the connection.
func core(t *testing.T, h session.Handler) (net.Conn, *session.Session, <-chan error) {
	t.Helper()
	raw, c := unixPair(t)
	s := session.New(session.Config{Conn: c, Side: session.SideCore, Handler: h})
	return raw, s, run(t, s)
}

// block is a handler whose requests wait until released or withdrawn.
type block struct {
	release chan struct{}
	running atomic.Int32
}

func newBlock() *block { return &block{release: make(chan struct{})} }

func (b *block) handle(ctx context.Context, _ *session.Request) (any, error) {
	b.running.Add(1)
	defer b.running.Add(-1)
	select {
	case <-b.release:
		return nil, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func errorCode(t *testing.T, body string) string {
	t.Helper()
	var e wire.Error
	if err := json.Unmarshal([]byte(body), &e); err != nil {
		t.Fatalf("%q: %v", body, err)
	}
	return e.Code
}

// A plug that asks too much at once is told so, request by request; PING is
// answered all the same, and opens have a limit of their own.
func TestIncomingLimit(t *testing.T) {
	t.Parallel()
	b := newBlock()
	raw, _, _ := core(t, b.handle)
	id := uint32(3)
	for range wire.MaxRequests {
		write(t, raw, frame(wire.TypeBind, 0, id, "{}"))
		id += 2
	}
	write(t, raw, frame(wire.TypeBind, 0, id, "{}"))
	if h, body := readFrame(t, raw); h.ID != id || h.Type != wire.TypeBind || errorCode(t, body) != wire.CodeBusy {
		t.Errorf("request %d: got %+v %s", id, h, body)
	}
	write(t, raw, frame(wire.TypePing, 0, id, "{}"))
	if h, body := readFrame(t, raw); h.ID != id || h.Type != wire.TypePing || h.Flags != wire.FlagResponse || body != "{}" {
		t.Errorf("PING: got %+v %s", h, body)
	}
	write(t, raw, frame(wire.TypeDial, 0, id, "{}"))
	close(b.release)
	seen := make(map[uint32]bool)
	for range wire.MaxRequests + 1 {
		h, body := readFrame(t, raw)
		if h.Flags != wire.FlagResponse || seen[h.ID] {
			t.Errorf("got %+v %s", h, body)
		}
		seen[h.ID] = true
	}
	if !seen[id] {
		t.Error("the open was not served")
	}
}

func TestCancelIncoming(t *testing.T) {
	t.Parallel()
	b := newBlock()
	raw, _, _ := core(t, b.handle)
	write(t, raw, frame(wire.TypeBind, 0, 3, "{}"))
	write(t, raw, frame(wire.TypeCancel, 0, 0, `{"id":99}`)) // of nothing: ignored
	write(t, raw, frame(wire.TypeCancel, 0, 0, `{"id":3}`))
	write(t, raw, frame(wire.TypeCancel, 0, 0, `{"id":3}`))
	h, body := readFrame(t, raw)
	if h.ID != 3 || h.Flags != wire.FlagResponse|wire.FlagError || errorCode(t, body) != wire.CodeCanceled {
		t.Errorf("got %+v %s", h, body)
	}
	write(t, raw, frame(wire.TypeBind, 0, 3, "{}")) // the id is free again
	close(b.release)
	if h, _ := readFrame(t, raw); h.ID != 3 || h.Flags != wire.FlagResponse {
		t.Errorf("got %+v", h)
	}
}

// Call takes 10 s unless told otherwise, then withdraws the request, which
// keeps its place until it is answered.
func TestCallTimeoutAndPlaces(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, b := net.Pipe()
		var withdrawn atomic.Int32
		stubborn := make(chan struct{})
		plug := session.New(session.Config{Conn: a, Side: session.SidePlug})
		other := session.New(session.Config{Conn: b, Side: session.SideCore, Handler: func(ctx context.Context, _ *session.Request) (any, error) {
			<-ctx.Done()
			withdrawn.Add(1)
			<-stubborn
			return nil, nil
		}})
		ended := []<-chan error{run(t, plug), run(t, other)}

		start := time.Now()
		failed := make(chan error, wire.MaxRequests)
		for range wire.MaxRequests {
			go func() { failed <- plug.Call(context.Background(), wire.TypeBind, wire.Bind{}, nil) }()
		}
		for range wire.MaxRequests {
			if err := <-failed; !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("Call = %v", err)
			}
		}
		if took := time.Since(start); took != wire.RequestTimeout {
			t.Errorf("Call gave up after %v", took)
		}
		synctest.Wait()
		if n := withdrawn.Load(); n != wire.MaxRequests {
			t.Errorf("%d requests were withdrawn", n)
		}

		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := plug.Call(ctx, wire.TypeBind, wire.Bind{}, nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Call without a place = %v", err)
		}
		if err := plug.Call(context.Background(), wire.TypePing, nil, nil); err == nil {
			t.Error("a PING by Call has a place like any request")
		}
		close(stubborn)
		synctest.Wait()
		// All places are free again.
		ctx, cancel = context.WithCancel(context.Background())
		go func() { failed <- plug.Call(ctx, wire.TypeBind, wire.Bind{}, nil) }()
		synctest.Wait()
		cancel()
		if err := <-failed; !errors.Is(err, context.Canceled) {
			t.Errorf("Call = %v", err)
		}
		plug.Close(nil)
		if err := <-ended[0]; err != nil {
			t.Errorf("Run = %v", err)
		}
		if err := <-ended[1]; !errors.Is(err, io.EOF) {
			t.Errorf("the other side's Run = %v", err)
		}
	})
}

// Only the end ends a session: one that says nothing is stalled, and back when
// it answers.
func TestStalled(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		raw, c := net.Pipe()
		var told []string
		start := time.Now()
		s := session.New(session.Config{
			Conn: c, Side: session.SideCore, Heartbeat: 5 * time.Second,
			OnStall: func(stalled bool) { told = append(told, fmt.Sprint(time.Since(start), stalled)) },
		})
		ended := run(t, s)

		h, _ := readFrame(t, raw)
		if h.Type != wire.TypePing || h.ID != 2 {
			t.Fatalf("got %+v", h)
		}
		write(t, raw, frame(wire.TypePing, wire.FlagResponse, h.ID, "{}"))
		h, _ = readFrame(t, raw) // at 5 s; it stays unanswered for an hour
		time.Sleep(time.Hour)
		if !s.Stalled() {
			t.Error("not stalled")
		}
		write(t, raw, frame(wire.TypePing, wire.FlagResponse, h.ID, "{}"))
		synctest.Wait()
		if s.Stalled() {
			t.Error("stalled still")
		}
		if got := strings.Join(told, ", "); got != "20s true, 1h0m5s false" {
			t.Errorf("told %s", got)
		}
		_ = raw.Close()
		if err := <-ended; !errors.Is(err, io.EOF) {
			t.Errorf("Run = %v", err)
		}
	})
}

// A side that does not read closes the session, and only that.
func TestQueueOverflow(t *testing.T) {
	t.Parallel()
	_, s, ended := core(t, nil)
	big := wire.Closed{Msg: strings.Repeat("x", 100_000)}
	for {
		if err := s.Notify(wire.TypeClosed, big); err != nil {
			if !errors.Is(err, session.ErrClosed) {
				t.Errorf("Notify = %v", err)
			}
			break
		}
	}
	var e *wire.Error
	if err := <-ended; !errors.As(err, &e) || e.Code != wire.CodeLimit {
		t.Errorf("Run = %v", err)
	}
}

// The largest body goes through, a larger one is refused before it is sent.
func TestLargestBody(t *testing.T) {
	t.Parallel()
	raw, s, _ := core(t, nil)
	exact := strings.Repeat("x", wire.MaxBody-len(`{"x":""}`))
	if err := s.Notify(wire.TypeClosed, map[string]string{"x": exact}); err != nil {
		t.Fatal(err)
	}
	if h, _ := readFrame(t, raw); h.Length != wire.MaxBody {
		t.Errorf("got %+v", h)
	}
	var e *wire.Error
	if err := s.Notify(wire.TypeClosed, map[string]string{"x": exact + "x"}); !errors.As(err, &e) || e.Code != wire.CodeLimit {
		t.Errorf("Notify = %v", err)
	}
}

func TestNotifications(t *testing.T) {
	t.Parallel()
	var order []string
	raw, s, ended := core(t, func(_ context.Context, r *session.Request) (any, error) {
		if !r.Notification {
			return nil, nil
		}
		if r.Type != wire.TypeStatus {
			return nil, session.ErrUnsupported
		}
		var st wire.Status
		if err := r.Decode(&st); err != nil {
			return nil, err
		}
		order = append(order, st.Detail)
		return nil, nil
	})
	write(t, raw, frame(0x77, 0, 0, `{}`))
	write(t, raw, frame(wire.TypePing, 0, 0, `{}`))
	write(t, raw, frame(wire.TypeBind, wire.FlagResponse, 2, `{}`)) // answers nothing
	write(t, raw, frame(wire.TypeStatus, 0, 0, ` {"detail":"a","unknown":[1]}`))
	write(t, raw, frame(wire.TypeStatus, 0, 0, `{"detail":"b"}`))
	write(t, raw, frame(wire.TypeBind, 0, 3, `{}`))
	readFrame(t, raw)
	if got := s.Stats(); got != (session.Stats{UnknownNotifications: 2, LateAnswers: 1}) {
		t.Errorf("counted %+v", got)
	}
	// One that is known and makes no sense has no answer but the end.
	write(t, raw, frame(wire.TypeStatus, 0, 0, `{"detail":7}`))
	if h, body := readFrame(t, raw); h.Type != wire.TypeError || h.ID != 0 || errorCode(t, body) != wire.CodeInvalid {
		t.Errorf("got %+v %s", h, body)
	}
	var e *wire.Error
	if err := <-ended; !errors.As(err, &e) || e.Code != wire.CodeInvalid {
		t.Errorf("Run = %v", err)
	}
	if fmt.Sprint(order) != "[a b]" {
		t.Errorf("order %v", order)
	}
}

// Whoever breaks the protocol is told how, then the connection closes.
func TestProtocolErrors(t *testing.T) {
	t.Parallel()
	busy := frame(wire.TypeBind, 0, 3, "{}")
	for name, c := range map[string]struct {
		in   []byte
		want string
	}{
		"flags":         {frame(wire.TypePing, 8, 3, "{}"), "flags is 8"},
		"reserved":      {[]byte{0, 0, 0, 2, 2, 0, 0, 1, 0, 0, 0, 3, '{', '}'}, "reserved byte"},
		"length":        {[]byte{0, 0x10, 0, 1, 2, 0, 0, 0, 0, 0, 0, 3}, "body length is 1048577"},
		"empty body":    {frame(wire.TypePing, 0, 3, ""), "not a JSON object"},
		"array":         {frame(wire.TypePing, 0, 3, "[]"), "not a JSON object"},
		"cut object":    {frame(wire.TypePing, 0, 3, `{"a":`), "not a JSON object"},
		"two objects":   {frame(wire.TypePing, 0, 3, `{}{}`), "not a JSON object"},
		"even id":       {frame(wire.TypePing, 0, 4, "{}"), "request id 4 of PING has the wrong parity"},
		"id in use":     {append(busy, busy...), "request id 3 of BIND is in use"},
		"strange reset": {frame(wire.TypeCancel, 0, 0, `{"id":-1}`), "decode CANCEL"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBlock()
			raw, _, ended := core(t, b.handle)
			write(t, raw, c.in)
			h, body := readFrame(t, raw)
			if h.Type != wire.TypeError || h.Flags != 0 || h.ID != 0 || errorCode(t, body) != wire.CodeInvalid || !strings.Contains(body, c.want) {
				t.Errorf("got %+v %s, want %s", h, body, c.want)
			}
			if rest, err := io.ReadAll(raw); len(rest) != 0 || err != nil {
				t.Errorf("after ERROR: %q, %v", rest, err)
			}
			var broken *session.ProtocolError
			if err := <-ended; !errors.As(err, &broken) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("Run = %v", err)
			}
			if n := b.running.Load(); n != 0 {
				t.Errorf("%d handlers outlived Run", n)
			}
		})
	}
}

// How the other side ends is told apart.
func TestEnds(t *testing.T) {
	t.Parallel()
	whole := frame(wire.TypePing, 0, 3, "{}")
	for i := range len(whole) {
		raw, _, ended := core(t, nil)
		write(t, raw, whole[:i])
		_ = raw.Close()
		want := io.ErrUnexpectedEOF
		if i == 0 {
			want = io.EOF
		}
		if err := <-ended; !errors.Is(err, want) {
			t.Errorf("cut at %d: Run = %v, want %v", i, err, want)
		}
	}

	// With bytes of ours unread, the end shows as ECONNRESET: an end as well.
	raw, s, ended := core(t, nil)
	if err := s.Notify(wire.TypeClosed, wire.Closed{}); err != nil {
		t.Fatal(err)
	}
	if _, err := raw.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	_ = raw.Close()
	if err := <-ended; !errors.Is(err, io.EOF) {
		t.Errorf("Run = %v, want EOF", err)
	}

	raw, s, ended = core(t, nil)
	write(t, raw, frame(wire.TypeError, 0, 0, `{"code":"draining","msg":"bye"}`))
	var e *wire.Error
	if err := <-ended; !errors.As(err, &e) || e.Code != wire.CodeDraining {
		t.Errorf("Run = %v, want the ERROR", err)
	}
	if err := s.Call(t.Context(), wire.TypePing, nil, nil); !errors.Is(err, session.ErrClosed) || errors.As(err, new(*wire.Error)) {
		t.Errorf("Call after the end = %v", err)
	}
}

// Close says its last word, lets Calls go and makes Run wait for handlers.
func TestClose(t *testing.T) {
	t.Parallel()
	b := newBlock()
	raw, s, ended := core(t, b.handle)
	write(t, raw, frame(wire.TypeBind, 0, 3, "{}"))
	called := make(chan error, 1)
	go func() { called <- s.Call(t.Context(), wire.TypeConfig, wire.Config{}, nil) }()
	if h, _ := readFrame(t, raw); h.Type != wire.TypeConfig {
		t.Errorf("got %+v", h)
	}
	s.Close(wire.NewError(wire.CodeExists, "another"))
	s.Close(nil)
	<-s.Done()
	if h, body := readFrame(t, raw); h.Type != wire.TypeError || errorCode(t, body) != wire.CodeExists {
		t.Errorf("got %+v %s", h, body)
	}
	var e *wire.Error
	if err := <-called; !errors.Is(err, session.ErrClosed) || errors.As(err, &e) {
		t.Errorf("Call = %v", err)
	}
	if err := <-ended; !errors.As(err, &e) || e.Code != wire.CodeExists {
		t.Errorf("Run = %v", err)
	}
	if n := b.running.Load(); n != 0 {
		t.Errorf("%d handlers outlived Run", n)
	}
}

func TestCloseBeforeRun(t *testing.T) {
	t.Parallel()
	raw, c := net.Pipe()
	s := session.New(session.Config{Conn: c})
	s.Close(nil)
	<-s.Done()
	if err := s.Run(t.Context()); err != nil {
		t.Errorf("Run = %v", err)
	}
	if _, err := raw.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("Read = %v", err)
	}
}

func TestContextEndsRun(t *testing.T) {
	t.Parallel()
	_, c := unixPair(t)
	s := session.New(session.Config{Conn: c})
	ctx, cancel := context.WithCancelCause(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	cause := errors.New("stop")
	cancel(cause)
	if err := <-ended; err != cause {
		t.Errorf("Run = %v, want the cause", err)
	}
}

// FuzzSession: whatever a plug sends, the session ends, and says so.
func FuzzSession(f *testing.F) {
	f.Add(frame(wire.TypePing, 0, 3, "{}"))
	f.Add(frame(wire.TypeBind, 0, 5, `{"bind":"b"}`))
	f.Add(frame(wire.TypeCancel, 0, 0, `{"id":5}`))
	f.Add(bytes.Repeat(frame(wire.TypeStatus, 0, 0, `{}`), 3))
	f.Add(frame(wire.TypeError, 0, 0, `{"code":"gone"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		raw, c := net.Pipe()
		s := session.New(session.Config{Conn: c, Side: session.SideCore, Handler: func(_ context.Context, r *session.Request) (any, error) {
			return map[string]any{"got": r.Body}, nil
		}})
		go func() { _, _ = io.Copy(io.Discard, raw) }()
		go func() {
			_, _ = raw.Write(b)
			_ = raw.Close()
		}()
		if s.Run(context.Background()) == nil {
			t.Error("Run = nil, nobody closed")
		}
	})
}
