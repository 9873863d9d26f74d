package control_test

import (
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/project-receptor/receptor/netceptor"
	"github.com/project-receptor/receptor/netceptor/control"
)

// The two forms of connect, as far as they are alike.
var connectForms = []struct{ name, line, answer string }{
	{"plain", "connect beta x\n", "Connecting\n"},
	{"JSON", `{"command":"connect","node":"beta","service":"x"}` + "\n", "Connecting\n"},
	{"own", `{"v":1,"id":1,"command":"connect","args":{"node":"beta","service":"x"}}` + "\n", `{"id":1,"result":{}}` + "\n"},
}

// serveService is a server on a node from which beta:x is served by f.
func serveService(t *testing.T, f func(control.Stream)) (path string) {
	m := threeNodes()
	m.OnStream = map[string]func(control.Stream){"beta:x": f}
	return serve(t, newServer(m))
}

// What the client sent with the line belongs to the stream, its half-close
// arrives, and the answer that comes after it does, too.
func TestConnectHalfClose(t *testing.T) {
	t.Parallel()
	path := serveService(t, func(s control.Stream) {
		b, err := io.ReadAll(s)
		if err == nil {
			_, _ = io.WriteString(s, "all of it: "+string(b))
		}
		_ = s.Close()
	})
	for _, form := range connectForms {
		t.Run(form.name, func(t *testing.T) {
			t.Parallel()
			payload := "with\r\n\r\nit " + strings.Repeat("payload ", 100_000)
			c := dial(t, path)
			go func() {
				_, _ = io.WriteString(c, form.line+payload)
				_ = c.CloseWrite()
			}()
			expect(t, c, greeting+form.answer+"all of it: "+payload)
			expectEnd(t, c)
		})
	}
}

// When the remote ends, a legacy client's connection is closed, whereas in our
// own form its direction goes on.
func TestConnectRemoteEndsFirst(t *testing.T) {
	t.Parallel()
	type end struct {
		got string
		err error
	}
	for _, form := range connectForms {
		t.Run(form.name, func(t *testing.T) {
			t.Parallel()
			ended := make(chan end, 1)
			path := serveService(t, func(s control.Stream) {
				_, _ = io.WriteString(s, "bye")
				_ = s.CloseWrite()
				b, err := io.ReadAll(s)
				ended <- end{string(b), err}
			})
			c := dial(t, path)
			send(t, c, form.line)
			expect(t, c, greeting+form.answer+"bye")
			expectEnd(t, c)
			want := end{}
			if form.name == "own" {
				send(t, c, "more")
				if err := c.CloseWrite(); err != nil {
					t.Fatal(err)
				}
				want.got = "more"
			}
			if got := wait(t, ended); got != want {
				t.Errorf("the service read %+v, want %+v", got, want)
			}
		})
	}
}

// A client that goes without reading what is left for it is an abort.
func TestConnectClientGoes(t *testing.T) {
	t.Parallel()
	for _, form := range connectForms {
		t.Run(form.name, func(t *testing.T) {
			t.Parallel()
			ended := make(chan error, 1)
			path := serveService(t, func(s control.Stream) {
				_, err := io.Copy(s, forever("unread "))
				ended <- err
			})
			c := dial(t, path)
			send(t, c, form.line)
			expect(t, c, greeting+form.answer+"unread ")
			if err := c.Close(); err != nil {
				t.Fatal(err)
			}
			if err := wait(t, ended); !errors.Is(err, netceptor.ErrReset) {
				t.Errorf("the service saw %v, want a reset", err)
			}
		})
	}
}

// A stream that is reset ends the client's connection, in both directions.
func TestConnectReset(t *testing.T) {
	t.Parallel()
	path := serveService(t, func(s control.Stream) { _ = s.Reset() })
	for _, form := range connectForms {
		t.Run(form.name, func(t *testing.T) {
			t.Parallel()
			c := dial(t, path)
			send(t, c, form.line)
			expect(t, c, greeting+form.answer)
			expectEnd(t, c)
		})
	}
}

// wait waits for what a goroutine of the test sends.
func wait[T any](t *testing.T, c <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(patience):
		t.Fatalf("nothing came; goroutines:\n%s", stacks())
	}
	return v
}
