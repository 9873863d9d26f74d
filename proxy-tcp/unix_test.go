package proxytcp

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/project-receptor/receptor/plug/plugtest"
	"github.com/project-receptor/receptor/plug/wire"
)

// shortDir is a directory whose sockets have short paths.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "u")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func unixServer(s *plugtest.CoreSession, path string, more map[string]any) wire.ConfigItem {
	raw := map[string]any{"filename": path, "remotenode": "far", "remoteservice": "web"}
	for name, v := range more {
		raw[name] = v
	}
	return s.Item(kindUnixServer, raw)
}

func dialUnix(t *testing.T, path string) *net.UnixConn {
	t.Helper()
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(plugtest.Patience)); err != nil {
		t.Fatal(err)
	}
	return c.(*net.UnixConn)
}

func TestUnixServer(t *testing.T) {
	t.Parallel()
	for _, handoff := range []bool{false, true} {
		t.Run(fmt.Sprint("hand-off ", handoff), func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(shortDir(t), "s")
			core, s := plugtest.Attached(t, New(), func(c *plugtest.FakeCore) { c.FDPass = handoff })
			it := unixServer(s, path, map[string]any{"permissions": "0640"})
			s.Configure(it)
			if st := s.WaitItem(it.Item, wire.StateUp); st.Addr != path {
				t.Errorf("status %+v", st)
			}
			if i, err := os.Stat(path); err != nil || i.Mode().Perm() != 0o640 {
				t.Errorf("mode %v, %v", i.Mode(), err)
			}
			app := dialUnix(t, path)
			if handoff {
				h := core.HandedDial()
				if b := h.DialBody(); b.Node != "far" || b.Service != "web" {
					t.Errorf("DIAL %+v", b)
				}
				exchange(t, app, h.Open("s").(*net.UnixConn))
				s.WaitKept(it.Item)
			} else {
				exchange(t, core.DialRequest().OpenStream("s"), app)
			}
			// What cannot be opened is closed at the application, and told in the state.
			app = dialUnix(t, path)
			refusal := wire.NewError(wire.CodeUnreachable, "no route")
			if handoff {
				core.HandedDial().Refuse(refusal)
			} else {
				core.DialRequest().Refuse(refusal)
			}
			if b, err := io.ReadAll(app); err != nil || len(b) > 0 {
				t.Errorf("the application got %q, %v", b, err)
			}
			s.WaitItem(it.Item, wire.StateDegraded)
		})
	}
}

// What is at the path stays, unless it is a socket that nobody serves.
func TestUnixServerReplacesStaleOnly(t *testing.T) {
	t.Parallel()
	dir := shortDir(t)
	for name, tc := range map[string]struct {
		put  func(t *testing.T, path string) error
		want string // part of the error; empty: it is replaced
	}{
		"nothing":        {func(*testing.T, string) error { return nil }, ""},
		"a stale socket": {func(t *testing.T, path string) error { return listenOnce(t, path, false) }, ""},
		"a live socket":  {func(t *testing.T, path string) error { return listenOnce(t, path, true) }, "in use by another process"},
		"a file":         {func(_ *testing.T, path string) error { return os.WriteFile(path, []byte("precious"), 0o600) }, "something that is not a socket is there"},
		"a directory":    {func(_ *testing.T, path string) error { return os.Mkdir(path, 0o700) }, "something that is not a socket is there"},
		"a link to a stale socket": {func(t *testing.T, path string) error {
			return errors.Join(listenOnce(t, path+"x", false), os.Symlink(path+"x", path))
		}, "something that is not a socket is there"},
		"a dangling link": {func(_ *testing.T, path string) error { return os.Symlink("nowhere", path) }, "something that is not a socket is there"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(dir, fmt.Sprint(len(name), name[:3]))
			if err := tc.put(t, path); err != nil {
				t.Fatal(err)
			}
			before, _ := os.Lstat(path) // nil: there is nothing
			_, s := plugtest.Attached(t, New())
			it := unixServer(s, path, nil)
			s.Configure(it)
			if tc.want == "" {
				s.WaitItem(it.Item, wire.StateUp)
				dialUnix(t, path)
				return
			}
			if st := s.WaitItem(it.Item, wire.StateFailed); !strings.Contains(st.Err, tc.want) {
				t.Errorf("status %+v", st)
			}
			if after, err := os.Lstat(path); err != nil || !os.SameFile(before, after) {
				t.Errorf("what was there is gone: %v", err)
			}
		})
	}
}

// listenOnce leaves a socket at path, which is served or not.
func listenOnce(t *testing.T, path string, live bool) error {
	t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return err
	}
	l.SetUnlinkOnClose(false)
	if live {
		t.Cleanup(func() { _ = l.Close() })
		return nil
	}
	return l.Close()
}

func TestUnixServerMistakes(t *testing.T) {
	t.Parallel()
	_, s := plugtest.Attached(t, New())
	r := s.Configure(unixServer(s, "/x", map[string]any{"permissions": "01777"}))
	if len(r.Errors) != 1 || r.Errors[0].Msg != "parameter permissions: expected a mode from 0001 to 0777, got 01777" {
		t.Errorf("%+v", r.Errors)
	}
}

func TestUnixClient(t *testing.T) {
	t.Parallel()
	for _, handoff := range []bool{false, true} {
		t.Run(fmt.Sprint("hand-off ", handoff), func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(shortDir(t), "s")
			l, err := net.Listen("unix", path)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = l.Close() }()
			core, s := plugtest.Attached(t, New(), func(c *plugtest.FakeCore) { c.FDPass = handoff })
			it := s.Item(kindUnixClient, map[string]any{"service": "db", "filename": path})
			s.Configure(it)
			b := s.WaitBind("db")
			if !b.Advertise || fmt.Sprint(b.Tags) != fmt.Sprintf("map[filename:%s type:Unix Proxy]", path) {
				t.Errorf("BIND %+v", b)
			}
			s.WaitItem(it.Item, wire.StateUp)
			from := wire.RemoteAddr{Node: "far", Service: "x"}
			if handoff {
				c, err := s.AcceptHandedOver(t.Context(), b.Bind, "o", from)
				if err != nil {
					t.Fatal(err)
				}
				app, err := l.Accept()
				if err != nil {
					t.Fatal(err)
				}
				exchange(t, c.(*net.UnixConn), app.(*net.UnixConn))
			} else {
				if err := s.Accept(t.Context(), b.Bind, "o", from); err != nil {
					t.Fatal(err)
				}
				app, err := l.Accept()
				if err != nil {
					t.Fatal(err)
				}
				exchange(t, app.(*net.UnixConn), core.Attach().OpenStream("o"))
			}
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			if err := s.Accept(t.Context(), b.Bind, "o2", from); err == nil || !strings.Contains(err.Error(), "refused") {
				t.Errorf("nobody serves the socket: %v", err)
			}
			s.WaitItem(it.Item, wire.StateDegraded)
		})
	}
}
