//go:build unix

package session_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/project-receptor/receptor/plug/session"
	"github.com/project-receptor/receptor/plug/wire"
)

// openFile is a pipe's writing end, to be passed, and its reading end: that
// reads io.EOF once nobody has the other any more.
func openFile(t *testing.T) (pass *os.File, left *os.File) {
	t.Helper()
	left, pass, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = pass.Close(), left.Close() })
	return pass, left
}

// wantClosed waits until nobody has the other end of a pipe.
func wantClosed(t *testing.T, left *os.File) {
	t.Helper()
	if b, err := io.ReadAll(left); len(b) != 0 || err != nil {
		t.Errorf("read %q, %v; want a clean end", b, err)
	}
}

// writeWith writes b with descriptors on its first byte.
func writeWith(t *testing.T, c net.Conn, b []byte, files ...*os.File) {
	t.Helper()
	var fds []int
	for _, f := range files {
		fds = append(fds, int(f.Fd()))
	}
	if _, _, err := c.(*net.UnixConn).WriteMsgUnix(b, syscall.UnixRights(fds...), nil); err != nil {
		t.Fatal(err)
	}
}

// frameWith encodes one frame that claims descriptors.
func frameWith(t wire.Type, flags wire.Flags, id uint32, fds uint8, body string) []byte {
	h := wire.Header{Length: uint32(len(body)), Type: t, Flags: flags, FDs: fds, ID: id}
	return append(h.Append(nil), body...)
}

// sessions are two sides that pass descriptors.
func sessions(t *testing.T, onPlug, onCore session.Handler) (plug, core *session.Session) {
	t.Helper()
	a, b := unixPair(t)
	plug = session.New(session.Config{Conn: a, Side: session.SidePlug, Handler: onPlug})
	core = session.New(session.Config{Conn: b, Side: session.SideCore, Handler: onCore})
	run(t, plug)
	run(t, core)
	return plug, core
}

// Descriptors go there and come back, each to whom it was sent, and are what
// they were.
func TestFilesGoBothWays(t *testing.T) {
	t.Parallel()
	plug, _ := sessions(t, nil, func(_ context.Context, r *session.Request) (any, error) {
		for _, f := range r.Files {
			if _, err := fmt.Fprintf(f, "%s %s", r.Type, r.Body); err != nil {
				return nil, err
			}
		}
		return session.Answer{Body: wire.Opened{Object: "o"}, Files: r.TakeFiles()}, nil
	})
	for i := range 50 {
		var pass, left []*os.File
		for range i % (wire.MaxFDs + 1) {
			p, l := openFile(t)
			pass, left = append(pass, p), append(left, l)
		}
		var o wire.Opened
		back, err := plug.CallFiles(t.Context(), wire.TypeLink, wire.Link{Item: fmt.Sprint(i)}, &o, pass)
		if err != nil || o.Object != "o" || len(back) != len(pass) {
			t.Fatalf("call %d: %+v, %d descriptors, %v", i, o, len(back), err)
		}
		for j := range back {
			if err := pass[j].Close(); err != nil { // still ours
				t.Error(err)
			}
			say := fmt.Sprintf(" and back %d", j)
			if _, err := io.WriteString(back[j], say); err != nil {
				t.Error(err)
			}
			if err := back[j].Close(); err != nil {
				t.Error(err)
			}
			got, err := io.ReadAll(left[j]) // ends only if nobody else has it
			if err != nil || !strings.HasPrefix(string(got), "LINK {") || !strings.HasSuffix(string(got), say) {
				t.Errorf("read %q, %v", got, err)
			}
		}
	}
}

// What a handler does not take is closed.
func TestFilesNotTaken(t *testing.T) {
	t.Parallel()
	for name, r := range map[string]struct {
		answer any
		err    error
	}{
		"answer": {nil, nil},
		"error":  {nil, session.ErrUnsupported},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			plug, _ := sessions(t, nil, func(context.Context, *session.Request) (any, error) { return r.answer, r.err })
			pass, left := openFile(t)
			back, err := plug.CallFiles(t.Context(), wire.TypeLink, nil, nil, []*os.File{pass})
			if len(back) != 0 || (err == nil) != (r.err == nil) {
				t.Errorf("CallFiles = %d descriptors, %v", len(back), err)
			}
			_ = pass.Close()
			wantClosed(t, left)
		})
	}
}

// The probe of HELLO tells whether descriptors arrive.
func TestProbe(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		pair     func(*testing.T) (net.Conn, net.Conn)
		features []string
		passes   bool
		offers   int
	}{
		"offered over a Unix socket": {unixPair, []string{wire.FeatureFDPass, "x"}, true, 2},
		"not offered":                {unixPair, []string{"x"}, false, 1},
		"over something else":        {transports["pipe"], []string{wire.FeatureFDPass, "x"}, false, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, b := tc.pair(t)
			done := make(chan error, 1)
			go func() {
				o, err := session.Accept(t.Context(), b)
				if err != nil {
					done <- err
					return
				}
				var h wire.Hello
				if err := o.Decode(&h); err != nil || o.FDPass != tc.passes || len(h.Features) != tc.offers {
					t.Errorf("FDPass %v, features %v, %v", o.FDPass, h.Features, err)
				}
				done <- o.Answer(wire.Welcome{})
			}()
			if _, err := session.Attach(t.Context(), a, wire.Hello{Features: tc.features}); err != nil {
				t.Error(err)
			}
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
}

// Descriptors that were lost on the way fail the one frame that claims them.
func TestLostFiles(t *testing.T) {
	t.Parallel()
	raw, s, _ := core(t, func(_ context.Context, r *session.Request) (any, error) {
		return map[string]int{"fds": len(r.Files)}, nil
	})
	pass, _ := openFile(t)
	write(t, raw, frameWith(wire.TypeStatus, 0, 0, 1, "{}"))
	write(t, raw, frameWith(wire.TypeLink, 0, 3, 1, "{}"))
	if h, body := readFrame(t, raw); h.ID != 3 || errorCode(t, body) != wire.CodeLimit {
		t.Errorf("got %+v %s, want limit", h, body)
	}
	writeWith(t, raw, frameWith(wire.TypeLink, 0, 5, 2, "{}"), pass) // too few
	if h, body := readFrame(t, raw); h.ID != 5 || errorCode(t, body) != wire.CodeLimit {
		t.Errorf("got %+v %s, want limit", h, body)
	}
	writeWith(t, raw, frameWith(wire.TypeLink, 0, 7, 2, "{}"), pass, pass)
	if h, body := readFrame(t, raw); h.ID != 7 || body != `{"fds":2}` {
		t.Errorf("got %+v %s", h, body)
	}
	// More than there is room for: the kernel cuts them off, and says so. The next
	// frame has its own.
	writeWith(t, raw, frameWith(wire.TypeLink, 0, 9, 1, "{}"), pass, pass, pass, pass, pass, pass, pass, pass, pass)
	writeWith(t, raw, frameWith(wire.TypeLink, 0, 11, 1, "{}"), pass)
	got := map[uint32]string{}
	for range 2 {
		h, body := readFrame(t, raw)
		got[h.ID] = body
	}
	if errorCode(t, got[9]) != wire.CodeLimit || got[11] != `{"fds":1}` {
		t.Errorf("got %v", got)
	}
	if n := s.Stats().LostFiles; n != 4 {
		t.Errorf("counted %d", n)
	}
}

// Descriptors that no frame claims break the protocol, and are closed.
func TestUnclaimedFiles(t *testing.T) {
	t.Parallel()
	ping := frame(wire.TypePing, 0, 3, "{}")
	for name, send := range map[string]func(t *testing.T, c net.Conn, f *os.File){
		"with a frame that claims none": func(t *testing.T, c net.Conn, f *os.File) {
			writeWith(t, c, ping, f)
			readFrame(t, c) // it was read by itself
			write(t, c, ping)
		},
		"more than are claimed": func(t *testing.T, c net.Conn, f *os.File) {
			writeWith(t, c, frameWith(wire.TypeBind, 0, 3, 1, "{}"), f, f)
			readFrame(t, c)
			write(t, c, ping)
		},
		"in the middle of a frame": func(t *testing.T, c net.Conn, f *os.File) {
			write(t, c, frame(wire.TypePing, 0, 3, "{}")[:13])
			writeWith(t, c, ping[13:], f)
			readFrame(t, c)
			write(t, c, ping)
		},
		"too many in one frame": func(t *testing.T, c net.Conn, f *os.File) {
			write(t, c, frame(wire.TypePing, 0, 3, strings.Repeat(" ", 1000)+"{}")[:12])
			for range 9 {
				writeWith(t, c, []byte(" "), f)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			raw, _, ended := core(t, func(context.Context, *session.Request) (any, error) { return nil, nil })
			pass, left := openFile(t)
			send(t, raw, pass)
			_ = pass.Close()
			for {
				h, body := readFrame(t, raw)
				if h.Type != wire.TypeError {
					continue
				}
				if errorCode(t, body) != wire.CodeInvalid || !strings.Contains(body, "no frame claims") {
					t.Errorf("got %s", body)
				}
				break
			}
			var broken *session.ProtocolError
			if err := <-ended; !errors.As(err, &broken) {
				t.Errorf("Run = %v", err)
			}
			wantClosed(t, left)
		})
	}
}
