package commandservice

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/project-receptor/receptor/plug/plugtest"
	"github.com/project-receptor/receptor/plug/recordconn"
	"github.com/project-receptor/receptor/plug/terminal"
	"github.com/project-receptor/receptor/plug/wire"
)

// stand is the plug with one item, and its core.
type stand struct {
	t    *testing.T
	core *plugtest.FakeCore
	s    *plugtest.CoreSession
	bind string
	n    int
	stop func() // the plug
}

// start runs the plug against a core until the test ends.
func start(t *testing.T) *stand {
	t.Helper()
	st := &stand{t: t, core: plugtest.NewCore(t)}
	st.stop = st.core.RunPlug(New())
	st.s = st.core.Session()
	return st
}

// serve is start with a command, as an item with more parameters.
func serve(t *testing.T, command string, more map[string]any) *stand {
	t.Helper()
	st := start(t)
	raw := map[string]any{"service": "shell", "command": command}
	for name, v := range more {
		raw[name] = v
	}
	st.s.StartItem(st.s.Item(kind, raw))
	st.bind = st.s.WaitBind("shell").Bind
	return st
}

func (st *stand) accept(object string) error {
	return st.s.Accept(st.t.Context(), st.bind, object, wire.RemoteAddr{Node: "far", Service: "x"})
}

// client is who has connected.
type client struct {
	t *testing.T
	*recordconn.Conn
	in    *bufio.Reader
	ahead string // shown already, and not asked for yet
}

func (st *stand) connect() *client {
	st.t.Helper()
	st.n++
	object := fmt.Sprint("s", st.n)
	if err := st.accept(object); err != nil {
		st.t.Fatal(err)
	}
	c := st.core.Attach().OpenStream(object)
	if err := c.SetReadDeadline(time.Now().Add(plugtest.Patience)); err != nil {
		st.t.Fatal(err)
	}
	return &client{t: st.t, Conn: c, in: terminal.NewReader(c)}
}

func (c *client) send(b string) {
	c.t.Helper()
	if _, err := io.WriteString(c.Conn, b); err != nil {
		c.t.Fatal(err)
	}
}

// greet says what a client of ours says first.
func (c *client) greet(term string, s terminal.Size) {
	c.t.Helper()
	c.send(terminal.Magic + string(terminal.Frame{Type: terminal.Open, Payload: terminal.Opening{Size: s, Term: term}.Append(nil)}.Append(nil)))
}

func (c *client) typeIn(keys string) {
	c.t.Helper()
	c.send(string(terminal.AppendData(nil, []byte(keys))))
}

// plain reads plain bytes until they hold a text.
func (c *client) plain(want string) string {
	c.t.Helper()
	return c.until(want, func() ([]byte, error) {
		b, err := c.in.ReadByte()
		return []byte{b}, err
	})
}

// shown reads frames until what they show holds a text.
func (c *client) shown(want string) string {
	c.t.Helper()
	return c.until(want, func() ([]byte, error) {
		f, err := terminal.ReadFrame(c.in)
		if err == nil && f.Type != terminal.Data {
			err = fmt.Errorf("frame %d, %q", f.Type, f.Payload)
		}
		return f.Payload, err
	})
}

func (c *client) until(want string, next func() ([]byte, error)) string {
	c.t.Helper()
	for !strings.Contains(c.ahead, want) {
		b, err := next()
		if err != nil {
			c.t.Fatalf("waited for %q, got %q and %v", want, c.ahead, err)
		}
		c.ahead += string(b)
	}
	before, after, _ := strings.Cut(c.ahead, want)
	c.ahead = after
	return before + want
}

// answered waits for the service's word that it speaks frames, and returns what came before.
func (c *client) answered() string {
	c.t.Helper()
	var before strings.Builder
	if framed, err := terminal.CopyPlain(&before, c.in); err != nil || !framed {
		c.t.Fatalf("no answer: %v after %q", err, before.String())
	}
	return before.String()
}

// ending reads to the end of the command, and of the stream after it.
func (c *client) ending() terminal.Ending {
	c.t.Helper()
	for {
		f, err := terminal.ReadFrame(c.in)
		if err != nil {
			c.t.Fatalf("no end of the command: %v", err)
		}
		if f.Type != terminal.Exit {
			continue
		}
		e, err := terminal.ParseEnding(f.Payload)
		if err != nil {
			c.t.Fatal(err)
		}
		if _, err := terminal.ReadFrame(c.in); !errors.Is(err, io.EOF) {
			c.t.Fatalf("after the command's end: %v", err)
		}
		return e
	}
}

// pid reads the number of a process from a file that is being written.
func pid(t *testing.T, file string) int {
	t.Helper()
	n := 0
	wait(t, "a process to say its number in "+file, func() bool {
		b, err := os.ReadFile(file)
		if err != nil || !strings.HasSuffix(string(b), "\n") {
			return false
		}
		n, err = strconv.Atoi(strings.TrimSpace(string(b)))
		return err == nil
	})
	return n
}

func wait(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(plugtest.Patience); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// wantGone waits for the end of processes.
func wantGone(t *testing.T, pids ...int) {
	t.Helper()
	for _, pid := range pids {
		wait(t, fmt.Sprintf("the end of process %d", pid), func() bool { return errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) })
	}
}

var big = terminal.Size{Columns: 132, Rows: 50}

// A client of plain bytes has a terminal of the usual size.
func TestPlainClient(t *testing.T) {
	t.Parallel()
	st := serve(t, "/bin/sh", map[string]any{"environment": map[string]any{"PS1": "ready> ", "TERM": "vt100"}})
	c := st.connect()
	c.plain("ready> ") // without a word from the client
	c.send("stty size; echo $TERM; tty\n")
	if got := c.plain("/dev/pts/"); !strings.Contains(got, "24 80\r\nvt100\r\n") {
		t.Errorf("got %q", got)
	}
	c.send("exit 3\n")
	if _, err := io.ReadAll(c.in); err != nil {
		t.Errorf("after the end: %v", err)
	}
}

// Who sends all at once, and its end, gets all answers, and the stream's end in order.
func TestPlainClientHalfCloses(t *testing.T) {
	t.Parallel()
	st := serve(t, "/bin/sh", nil)
	for _, text := range []string{"echo one; sleep 0.2; echo t''wo\n", "echo one; echo t''wo"} {
		c := st.connect()
		c.send(text)
		if err := c.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(c.in); err != nil || !strings.Contains(string(got), "two\r\n") {
			t.Errorf("%q: got %q, %v", text, got, err)
		}
	}
}

// One that has left, and whose command does not end by itself, is hung up.
func TestPlainClientLeaves(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "pid")
	st := serve(t, fmt.Sprintf("sh -c 'echo $$ >%s; exec sleep 1000'", file), nil)
	c := st.connect()
	c.send("\n")
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	wantGone(t, pid(t, file))
	if _, err := io.ReadAll(c.in); !errors.As(err, new(*recordconn.ResetError)) {
		t.Errorf("got %v, expected a reset", err)
	}
}

// A client of ours has its own kind of terminal, and its size, and is told how it has ended.
func TestFramedClient(t *testing.T) {
	t.Parallel()
	st := serve(t, "/bin/sh", map[string]any{"environment": map[string]any{"PS1": "ready> ", "TERM": "vt100"}})
	c := st.connect()
	c.greet("xterm-256color", big)
	if before := c.answered(); before != "" {
		t.Errorf("before the answer: %q", before)
	}
	c.typeIn("stty size; echo $TERM.\r")
	c.shown("50 132\r\nxterm-256color.")
	c.typeIn("trap 'stty size; echo changed' WINCH; echo 's'et\r")
	c.shown("set\r\n")
	c.send(string(terminal.Frame{Type: terminal.Resize, Payload: terminal.Size{Columns: 90, Rows: 30}.Append(nil)}.Append(nil)))
	c.typeIn("true\r")
	c.shown("30 90\r\nchanged")
	c.typeIn("sh -c 'echo be\"gun\"; exec sleep 1000'\r")
	c.shown("begun\r\n") // the shell reads no more
	c.typeIn("\x03")
	c.shown("^C")
	c.shown("ready> ")
	c.typeIn("exit 7\r")
	if e := c.ending(); e != (terminal.Ending{Code: 7}) {
		t.Errorf("%+v", e)
	}
}

func TestEndings(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	program := filepath.Join(dir, "program")
	for command, want := range map[string]terminal.Ending{
		"true":                     {},
		"sh -c 'exit 42'":          {Code: 42},
		"sh -c 'kill -TERM $$'":    {Signal: 15},
		"sh -c 'kill -KILL $PPID'": {Reason: "its watcher was killed, and the command with it"},
		program:                    {Reason: "execute " + program + ": exec format error"},
	} {
		t.Run(command, func(t *testing.T) {
			t.Parallel()
			if command == program {
				if err := os.WriteFile(program, []byte("\x00\x00"), 0o700); err != nil {
					t.Fatal(err)
				}
			}
			c := serve(t, command, nil).connect()
			c.greet("", big)
			c.answered()
			if e := c.ending(); e != want {
				t.Errorf("%+v, expected %+v", e, want)
			}
		})
	}
}

// A greeting that comes late is one all the same: what was shown before stays plain.
func TestLateGreeting(t *testing.T) {
	t.Parallel()
	c := serve(t, "sh -c 'echo first; read line; stty size; echo got $line'", nil).connect()
	c.plain("first\r\n") // it was started without waiting any longer
	c.greet("xterm", big)
	if before := c.answered(); before != "" {
		t.Errorf("before the answer: %q", before)
	}
	c.typeIn("x\r")
	c.shown("50 132\r\ngot x\r\n")
	if e := c.ending(); e != (terminal.Ending{}) {
		t.Errorf("%+v", e)
	}
}

// What a client of ours must not say ends the session.
func TestNonsense(t *testing.T) {
	t.Parallel()
	st := serve(t, "sleep 1000", nil)
	for name, said := range map[string]string{
		"no opening":      terminal.Magic + "\x01\x00\x01x",
		"a bad opening":   terminal.Magic + "\x02\x00\x01x",
		"too long":        terminal.Magic + "\x02\xff\xff",
		"cut off":         terminal.Magic + "\x02\x00",
		"opening again":   terminal.Magic + "\x02\x00\x08\x00\x01\x00\x01\x00\x00\x00\x00\x02\x00\x00",
		"an end":          terminal.Magic + "\x02\x00\x08\x00\x01\x00\x01\x00\x00\x00\x00\x04\x00\x02\x00\x00",
		"no size at last": terminal.Magic + "\x02\x00\x08\x00\x01\x00\x01\x00\x00\x00\x00\x09\x00\x00\x03\x00\x01x",
	} {
		c := st.connect()
		c.send(said)
		if name == "cut off" {
			if err := c.CloseWrite(); err != nil {
				t.Fatal(err)
			}
		}
		got, err := io.ReadAll(c.in)
		if !errors.As(err, new(*recordconn.ResetError)) && !strings.Contains(string(got), terminal.ErrMalformed.Error()) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

// stubborn is a shell with a child in the background that has left session and terminal, and
// hears neither a hang-up nor the wish that it end.
func stubborn(dir string) string {
	return fmt.Sprintf(`trap "" HUP TERM INT; setsid sh -c 'trap "" HUP TERM INT; echo $$ >%[1]s/child; while :; do sleep 1; done' & echo $$ >%[1]s/shell`+"\r", dir)
}

// However a session ends, no process of it is left.
func TestNoProcessIsLeft(t *testing.T) {
	t.Parallel()
	for name, leave := range map[string]func(*stand, *client){
		"the client leaves":     func(_ *stand, c *client) { _ = c.CloseWrite() },
		"the client aborts":     func(_ *stand, c *client) { _ = c.Reset(wire.Reset{Code: wire.CodeCanceled}) },
		"the core dies":         func(st *stand, _ *client) { st.core.Kill() },
		"the item is removed":   func(st *stand, _ *client) { st.s.Configure() },
		"the plug is stopped":   func(st *stand, _ *client) { st.stop() },
		"its watcher is killed": func(_ *stand, c *client) { c.typeIn("kill -KILL $PPID\r") },
		"the shell exits":       func(_ *stand, c *client) { c.typeIn("exit\r") },
		"much is typed ahead": func(_ *stand, c *client) {
			c.typeIn("sleep 1000\r" + strings.Repeat(strings.Repeat("x", 1000)+"\r", maxTyped/1002))
			_ = c.CloseWrite()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			st := serve(t, "/bin/sh", nil)
			c := st.connect()
			c.greet("xterm", big)
			c.answered()
			c.typeIn(stubborn(dir))
			shell, child := pid(t, filepath.Join(dir, "shell")), pid(t, filepath.Join(dir, "child"))
			go func() { _, _ = io.Copy(io.Discard, c.in) }() // ends with the stream
			leave(st, c)
			wantGone(t, shell, child)
		})
	}
}

func TestMaxSessions(t *testing.T) {
	t.Parallel()
	st := serve(t, "/bin/sh", map[string]any{"maxsessions": 1})
	c := st.connect()
	var e *wire.Error
	if err := st.accept("more"); !errors.As(err, &e) || e.Code != wire.CodeLimit || !strings.Contains(e.Msg, "1 sessions are connected already") {
		t.Errorf("got %v", err)
	}
	c.send("exit\n")
	if _, err := io.ReadAll(c.in); err != nil {
		t.Error(err)
	}
	st.connect() // there is room again
}

// Another user's command is that user's, its terminal too, and knows nothing of this program.
func TestAnotherUser(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("needs root, to become another user")
	}
	c := serve(t, "/bin/sh", map[string]any{"user": "daemon", "environment": map[string]any{"EXTRA": 5}}).connect()
	c.send("PS1=; id -un; id -Gn; stat -c %U $(tty); pwd; env | sort; echo '' end\n")
	got := c.plain("\r\n end\r\n")
	for _, want := range []string{
		"daemon\r\ndaemon\r\ndaemon\r\n", "\r\nEXTRA=5\r\n", "\r\nHOME=/usr/sbin\r\n", "\r\nUSER=daemon\r\n", "\r\nLOGNAME=daemon\r\n",
		"\r\nPATH=" + userPath + "\r\n", "\r\nSHELL=/usr/sbin/nologin\r\n", "\r\nPWD=/usr/sbin\r\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in %q", want, got)
		}
	}
	if strings.Contains(got, "GOCACHE") || strings.Contains(got, "RECEPTOR_PLUG") {
		t.Errorf("variables of this program: %q", got)
	}
}

func TestItemsThatCannotBe(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		more map[string]any
		want string
	}{
		"a user that is not":     {map[string]any{"user": "nobody-of-this-name"}, "user: user: unknown user nobody-of-this-name"},
		"a program that is not":  {map[string]any{"command": "no-such-program -x"}, "parameter command: command no-such-program: file does not exist in PATH"},
		"a directory that isn't": {map[string]any{"directory": "/no/such"}, "parameter directory: stat /no/such: no such file or directory"},
	} {
		st := start(t)
		raw := map[string]any{"service": "shell", "command": "/bin/sh"}
		for n, v := range c.more {
			raw[n] = v
		}
		it := st.s.Item(kind, raw)
		st.s.Configure(it)
		if s := st.s.WaitItem(it.Item, wire.StateFailed); s.Err != c.want {
			t.Errorf("%s: %q, expected %q", name, s.Err, c.want)
		}
		st.stop()
	}
}
