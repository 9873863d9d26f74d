package session_test

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/project-receptor/receptor/plug/session"
	"github.com/project-receptor/receptor/plug/wire"
)

var (
	sessionPreamble = wire.Preamble{Major: wire.Major, Kind: wire.ConnSession}.Append(nil)
	dataPreamble    = wire.Preamble{Major: wire.Major, Kind: wire.ConnData}.Append(nil)
)

func join(pieces ...[]byte) []byte {
	var all []byte
	for _, p := range pieces {
		all = append(all, p...)
	}
	return all
}

// The first exchange takes its own bytes and not one of what follows.
func TestOpenIsExact(t *testing.T) {
	t.Parallel()
	for name, pair := range transports {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, b := pair(t)
			done := make(chan error, 1)
			go func() {
				o, err := session.Accept(t.Context(), b)
				if err != nil {
					done <- err
					return
				}
				var l wire.Link
				if err := o.Decode(&l); err != nil || o.Kind != wire.ConnData || o.Type != wire.TypeLink || l.Item != "i" {
					t.Errorf("got %+v, %+v, %v", o, l, err)
				}
				ctx := o.WithHangup(t.Context())
				err = o.Answer(wire.Opened{Object: "l1"})
				if err == nil && ctx.Err() == nil {
					err = errors.New("the watch goes on after Answer")
				}
				if err == nil {
					_, err = b.Write([]byte("to the plug"))
				}
				if err == nil {
					got := make([]byte, 11)
					if _, err = io.ReadFull(b, got); string(got) != "to the core" {
						t.Errorf("core read %q", got)
					}
				}
				done <- err
			}()
			o, err := session.Open(t.Context(), a, wire.TypeLink, wire.Link{Item: "i"})
			if err != nil || o.Object != "l1" {
				t.Fatalf("Open = %+v, %v", o, err)
			}
			got := make([]byte, 11)
			if _, err := io.ReadFull(a, got); err != nil || string(got) != "to the plug" {
				t.Errorf("plug read %q, %v", got, err)
			}
			if _, err := a.Write([]byte("to the core")); err != nil {
				t.Fatal(err)
			}
			if err := <-done; err != nil {
				t.Fatal(err)
			}
		})
	}
}

// What arrives together with the first frame stays for whoever reads next.
func TestAcceptLeavesTheRest(t *testing.T) {
	t.Parallel()
	raw, c := unixPair(t)
	write(t, raw, join(dataPreamble, frame(wire.TypeAttach, 0, 1, `{"object":"o"}`), []byte("rest")))
	if _, err := session.Accept(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	_ = raw.Close()
	if rest, err := io.ReadAll(c); string(rest) != "rest" || err != nil {
		t.Errorf("left %q, %v", rest, err)
	}
}

func TestAcceptRefuses(t *testing.T) {
	t.Parallel()
	big := frame(wire.TypeHello, 0, 1, `{"name":"`+strings.Repeat("x", wire.MaxBodyBeforeWelcome)+`"}`)
	for name, c := range map[string]struct {
		in   []byte
		want string // in ERROR; empty: nothing is answered
		code string
	}{
		"no plug":          {[]byte("GET / HTTP/1.1\r\n\r\n"), "", ""},
		"nothing":          {nil, "", ""},
		"cut preamble":     {sessionPreamble[:11], "", ""},
		"cut frame":        {join(sessionPreamble, frame(wire.TypeHello, 0, 1, "{}")[:13]), "", ""},
		"kind":             {[]byte("RCPTPLUG\x01\x07\x00\x00"), "", ""},
		"too big":          {join(sessionPreamble, big[:wire.HeaderSize]), "at most 65536 are allowed here", wire.CodeInvalid},
		"data with HELLO":  {join(dataPreamble, frame(wire.TypeHello, 0, 1, "{}")), "HELLO cannot open", wire.CodeInvalid},
		"session by LINK":  {join(sessionPreamble, frame(wire.TypeLink, 0, 1, "{}")), "LINK cannot open", wire.CodeInvalid},
		"notification":     {join(sessionPreamble, frame(wire.TypeHello, 0, 0, "{}")), "id 1 was expected", wire.CodeInvalid},
		"response":         {join(sessionPreamble, frame(wire.TypeHello, 1, 1, "{}")), "id 1 was expected", wire.CodeInvalid},
		"not an object":    {join(sessionPreamble, frame(wire.TypeHello, 0, 1, "7")), "not a JSON object", wire.CodeInvalid},
		"with descriptors": {join(dataPreamble, []byte{0, 0, 0, 2, 0x10, 0, 1, 0, 0, 0, 0, 1, '{', '}'}), "LINK with 1 descriptors cannot open", wire.CodeInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			raw, b := unixPair(t)
			write(t, raw, c.in)
			if c.want == "" {
				if err := raw.(*net.UnixConn).CloseWrite(); err != nil {
					t.Fatal(err)
				}
			}
			_, err := session.Accept(t.Context(), b)
			if err == nil {
				t.Fatal("accepted")
			}
			if err := b.Close(); err != nil {
				t.Fatal(err)
			}
			if c.want == "" {
				if got, _ := io.ReadAll(raw); len(got) != 0 {
					t.Errorf("answered %q", got)
				}
				return
			}
			h, body := readFrame(t, raw)
			if h.Type != wire.TypeError || h.ID != 0 || errorCode(t, body) != c.code || !strings.Contains(body, c.want) {
				t.Errorf("answered %+v %s", h, body)
			}
		})
	}
}

// Another major is answered in a form that any major understands.
func TestOtherMajor(t *testing.T) {
	t.Parallel()
	raw, b := unixPair(t)
	write(t, raw, []byte("RCPTPLUG\x02\x01\x00\x00whatever"))
	var e *wire.Error
	if _, err := session.Accept(t.Context(), b); !errors.As(err, &e) || e.Code != wire.CodeVersion {
		t.Errorf("Accept = %v", err)
	}
	own := make([]byte, wire.PreambleSize)
	if _, err := io.ReadFull(raw, own); err != nil || string(own) != string(sessionPreamble) {
		t.Errorf("preamble %q, %v", own, err)
	}
	h, body := readFrame(t, raw)
	if h.Type != wire.TypeError || !strings.Contains(body, `"majors":[1]`) {
		t.Errorf("answered %+v %s", h, body)
	}

	// And a plug understands it.
	a, c := unixPair(t)
	write(t, c, join([]byte("RCPTPLUG\x03\x01\x00\x00"), frame(wire.TypeError, 0, 0, `{"code":"version","msg":"m","majors":[2,3]}`)))
	_, err := session.Attach(t.Context(), a, wire.Hello{})
	if !errors.As(err, &e) || e.Code != wire.CodeVersion || len(e.Majors) != 2 {
		t.Errorf("Attach = %v", err)
	}
}

func TestAttachAnswers(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		in   []byte
		code string // of a *wire.Error
		want string
	}{
		"refused":      {frame(wire.TypeHello, 3, 1, `{"code":"denied","msg":"m"}`), wire.CodeDenied, ""},
		"error":        {frame(wire.TypeError, 0, 0, `{"code":"busy","msg":"m"}`), wire.CodeBusy, ""},
		"closed":       {nil, "", "EOF"},
		"another id":   {frame(wire.TypeHello, 1, 3, "{}"), "", "where the answer to HELLO was expected"},
		"another type": {frame(wire.TypePing, 1, 1, "{}"), "", "where the answer to HELLO was expected"},
		"a request":    {frame(wire.TypeConfig, 0, 2, "{}"), "", "where the answer to HELLO was expected"},
		"nonsense":     {frame(wire.TypeHello, 1, 1, `{"node":1}`), "", "decode HELLO"},
		"cut":          {frame(wire.TypeHello, 1, 1, `{}`)[:13], "", "unexpected EOF"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, core := unixPair(t)
			write(t, core, c.in)
			if err := core.(*net.UnixConn).CloseWrite(); err != nil {
				t.Fatal(err)
			}
			_, err := session.Attach(t.Context(), a, wire.Hello{})
			var e *wire.Error
			if c.code != "" && (!errors.As(err, &e) || e.Code != c.code) {
				t.Errorf("Attach = %v, want %s", err, c.code)
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("Attach = %v, want %s", err, c.want)
			}
		})
	}
}

// A core that refuses and closes before it has read is heard.
func TestEarlyRefusalIsHeard(t *testing.T) {
	t.Parallel()
	a, core := unixPair(t)
	write(t, core, frame(wire.TypeError, 0, 0, `{"code":"denied","msg":"m"}`))
	_ = core.Close()
	var e *wire.Error
	if _, err := session.Attach(t.Context(), a, wire.Hello{}); !errors.As(err, &e) || e.Code != wire.CodeDenied {
		t.Errorf("Attach = %v, want denied", err)
	}
}

func TestHelloTooBig(t *testing.T) {
	t.Parallel()
	a, _ := net.Pipe()
	var e *wire.Error
	_, err := session.Attach(t.Context(), a, wire.Hello{Name: strings.Repeat("x", wire.MaxBodyBeforeWelcome)})
	if !errors.As(err, &e) || e.Code != wire.CodeLimit {
		t.Errorf("Attach = %v, want limit", err)
	}
}

// Silence is waited for no longer than is said; deadlines are gone afterwards.
func TestStartTimeouts(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		do   func(net.Conn) error
		want time.Duration
	}{
		"Accept": {func(c net.Conn) error {
			_, err := session.Accept(context.Background(), c)
			return err
		}, wire.PreambleTimeout},
		"Attach": {func(c net.Conn) error {
			_, err := session.Attach(context.Background(), c, wire.Hello{})
			return err
		}, wire.RequestTimeout},
		"Open": {func(c net.Conn) error {
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			_, err := session.Open(ctx, c, wire.TypeDial, wire.Dial{})
			return err
		}, time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				a, b := net.Pipe()
				start := time.Now()
				if err := c.do(a); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("got %v", err)
				}
				if took := time.Since(start); took != c.want {
					t.Errorf("gave up after %v, want %v", took, c.want)
				}
				_ = a.Close()
				_ = b.Close()
			})
		})
	}
}

func TestDeadlinesAreCleared(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, b := net.Pipe()
		opened := make(chan error, 1)
		go func() {
			_, err := session.Open(context.Background(), a, wire.TypeDial, wire.Dial{})
			opened <- err
		}()
		o, err := session.Accept(context.Background(), b)
		if err == nil {
			o.WithHangup(context.Background())
			err = o.Answer(wire.Opened{})
		}
		if err := errors.Join(err, <-opened); err != nil {
			t.Fatal(err)
		}
		go func() {
			time.Sleep(time.Hour)
			_, _ = a.Write([]byte("x"))
		}()
		if n, err := b.Read(make([]byte, 1)); n != 1 || err != nil {
			t.Errorf("Read = %d, %v", n, err)
		}
		_ = a.Close()
		_ = b.Close()
	})
}

// A plug withdraws what it asked for by closing; one that speaks before it is
// answered breaks the protocol.
func TestHangup(t *testing.T) {
	t.Parallel()
	for name, hangup := range map[string]func(net.Conn) error{
		"close": net.Conn.Close,
		"speak": func(c net.Conn) error { _, err := c.Write([]byte("x")); return err },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			raw, c := unixPair(t)
			write(t, raw, join(dataPreamble, frame(wire.TypeDial, 0, 1, "{}")))
			o, err := session.Accept(t.Context(), c)
			if err != nil {
				t.Fatal(err)
			}
			ctx := o.WithHangup(t.Context())
			if err := hangup(raw); err != nil {
				t.Fatal(err)
			}
			<-ctx.Done()
			if err := o.Answer(wire.Opened{}); err == nil {
				t.Error("Answer succeeded")
			}
		})
	}
}

func TestRefuse(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		err  error
		code string
	}{
		"wire error": {wire.NewError(wire.CodeUnreachable, "no way"), wire.CodeUnreachable},
		"any error":  {errors.New("x"), wire.CodeInternal},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, b := unixPair(t)
			go func() {
				o, err := session.Accept(t.Context(), b)
				if err == nil {
					err = o.Refuse(c.err)
				}
				if err != nil {
					t.Error(err)
				}
			}()
			var e *wire.Error
			if _, err := session.Open(t.Context(), a, wire.TypeDial, wire.Dial{}); !errors.As(err, &e) || e.Code != c.code {
				t.Errorf("Open = %v, want %s", err, c.code)
			}
		})
	}
}

// FuzzAccept: whatever a stranger sends, Accept returns, and takes what is right.
func FuzzAccept(f *testing.F) {
	f.Add(join(sessionPreamble, frame(wire.TypeHello, 0, 1, `{"name":"x"}`)))
	f.Add(join(dataPreamble, frame(wire.TypeDial, 0, 1, `{}`), []byte("rest")))
	f.Add([]byte("RCPTPLUG\x02\x01\x00\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		raw, c := net.Pipe()
		go func() { _, _ = io.Copy(io.Discard, raw) }()
		go func() {
			_, _ = raw.Write(b)
			_ = raw.Close()
		}()
		o, err := session.Accept(context.Background(), c)
		if err == nil && (o.Kind == wire.ConnSession) != (o.Type == wire.TypeHello) {
			t.Errorf("accepted %+v", o)
		}
		_ = c.Close()
	})
}
