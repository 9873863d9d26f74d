//go:build unix

package plugcmd

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/hashicorp/go-hclog"

	"github.com/project-receptor/receptor/plug"
	"github.com/project-receptor/receptor/plug/successor"
	"github.com/project-receptor/receptor/plug/wire"
)

func testPlug() *plug.Plug {
	return &plug.Plug{
		Program: "receptor-backend-test",
		Kinds: []wire.Kind{{
			Kind: "test-peer", Role: wire.RoleLink, Help: "a test's link",
			Aliases: []wire.Alias{{Kind: "test-alias", Defaults: map[string]any{"redial": false}}},
			Params: []wire.Param{
				{Name: "address", Type: "address", Key: true, Required: true, Bare: true, Help: "where"},
				{Name: "redial", Type: "bool", Default: true, Help: "again"},
			},
		}},
		Run: func(context.Context, *plug.Item) error { return nil },
	}
}

func testExtra() Extra {
	set := func(v string) error {
		if v == "bad" {
			return errors.New("bad is not good")
		}
		return nil
	}
	return Extra{Options: []Option{
		{Name: "own", Value: "VALUE", Help: "an option of this program", Set: set},
		{Name: "option-with-a-long-name", Value: "VALUE", Help: "another", Set: set},
	}}
}

// What a program does before it attaches is told the socket, and ends it if it fails.
func TestStart(t *testing.T) {
	t.Parallel()
	var stderr bytes.Buffer
	c := command{plug: testPlug(), stderr: &stderr, getenv: func(string) string { return "" }, extra: Extra{
		Start: func(_ hclog.Logger, path string) error { return errors.New("no rights for " + path) },
	}}
	if status := c.run(t.Context(), []string{"--socket", "/there"}); status != exitUsage {
		t.Errorf("status %d", status)
	}
	if !strings.Contains(stderr.String(), "no rights for /there") {
		t.Errorf("stderr %q", stderr.String())
	}
}

func TestCommandLine(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		args   []string
		found  []string
		status int
		stdout string // a part
		stderr string // a part
	}{
		"version":            {args: []string{"--version"}, stdout: "receptor-backend-test "},
		"help":               {args: []string{"--help"}, stdout: "  redial   bool     default true  again\n"},
		"help of an alias":   {args: []string{"-h"}, stdout: "Also as test-alias, with redial false by default."},
		"describe":           {args: []string{"describe"}, stdout: `"kind": "test-peer"`},
		"describe, flag":     {args: []string{"describe", "--name", "x-1"}, stdout: `"name": "x-1"`},
		"describe, bad name": {args: []string{"describe", "--name", "X"}, status: exitFail, stderr: `plug name "X"`},
		"unknown flag":       {args: []string{"--nope"}, status: exitUsage, stderr: "receptor-backend-test: flag provided but not defined: -nope; see --help\n"},
		"unknown argument":   {args: []string{"nope"}, status: exitUsage, stderr: `unknown argument "nope"`},
		"more than describe": {args: []string{"describe", "nope"}, status: exitUsage, stderr: `unknown argument "nope"`},
		"replace nothing":    {args: []string{"replace"}, status: exitUsage, stderr: "replace: expected the number of a process"},
		"replace a name":     {args: []string{"replace", "x"}, status: exitUsage, stderr: "replace: expected the number of a process"},
		"replace another":    {args: []string{"replace", "1"}, status: exitFail, stderr: "receptor-backend-test: process 1 is not replaced: "},
		"unknown log level":  {args: []string{"--log-level", "loud"}, status: exitUsage, stderr: "expected trace, debug, info, warn, error or off"},
		"own option":         {args: []string{"-h"}, stdout: "  --own VALUE        an option of this program\n  --option"},
		"long own option":    {args: []string{"-h"}, stdout: "  --option-with-a-long-name VALUE\n                     another\n  --help "},
		"bad own option":     {args: []string{"--own", "bad"}, status: exitUsage, stderr: "bad is not good"},
		"no core":            {status: exitUsage, stderr: "it gives it test-peer.\nNo core's socket"},
		"several cores":      {found: []string{"/run/a", "/run/b"}, status: exitUsage, stderr: "\n  /run/a\n  /run/b\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var stdout, stderr bytes.Buffer
			c := command{plug: testPlug(), extra: testExtra(), stdout: &stdout, stderr: &stderr, getenv: func(string) string { return "" }, find: func(string) []string { return tc.found }}
			if got := c.run(t.Context(), tc.args); got != tc.status {
				t.Errorf("status %d, want %d", got, tc.status)
			}
			if !strings.Contains(stdout.String(), tc.stdout) || tc.stdout == "" && stdout.Len() > 0 {
				t.Errorf("stdout %q, want %q in it", stdout.String(), tc.stdout)
			}
			if !strings.Contains(stderr.String(), tc.stderr) || tc.stderr == "" && stderr.Len() > 0 {
				t.Errorf("stderr %q, want %q in it", stderr.String(), tc.stderr)
			}
		})
	}
}

func TestDescribeIsHello(t *testing.T) {
	t.Parallel()
	var stdout bytes.Buffer
	c := command{plug: testPlug(), stdout: &stdout, stderr: os.Stderr}
	if status := c.run(t.Context(), []string{"describe"}); status != exitOK {
		t.Fatal(status)
	}
	var h wire.Hello
	if err := json.Unmarshal(stdout.Bytes(), &h); err != nil {
		t.Fatal(err)
	}
	if h.Name != "backend-test" || len(h.Kinds) != 1 || len(h.Roles) != 1 || h.Roles[0].Role != wire.RoleLink {
		t.Errorf("%+v", h)
	}
}

// A successor says nothing to the service manager before it has taken over, and a plug
// that leaves nothing any more: another process is the service then.
func TestManagerHearsItsService(t *testing.T) {
	t.Parallel()
	socket := listenManager(t)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	leave := make(chan struct{})
	m := manager{path: socket.LocalAddr().String(), log: hclog.NewNullLogger(), leave: leave, readyFD: dup(t, w)}
	m.say("READY=1")
	m.attached("alpha")
	if said, err := io.ReadAll(r); err != nil || string(said) != "READY alpha\n" {
		t.Errorf("who has started it is told %q, %v", said, err)
	}
	m.attached("beta")
	close(leave)
	m.say("STOPPING=1")
	if err := successor.Notify(m.path, "the end"); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 1024)
	for _, want := range []string{"STATUS=attached to node beta", "the end"} {
		n, err := socket.Read(buf)
		if err != nil || string(buf[:n]) != want {
			t.Errorf("the manager is told %q, %v, want %q", buf[:n], err, want)
		}
	}
}

// listenManager is where a service manager listens.
func listenManager(t *testing.T) *net.UnixConn {
	t.Helper()
	dir, err := os.MkdirTemp("", "plugcmd")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(dir, "notify"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// dup is a descriptor of its own of a file, which it closes.
func dup(t *testing.T, f *os.File) int {
	t.Helper()
	fd, err := syscall.Dup(int(f.Fd()))
	if err = errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	return fd
}

// With a socket named, the plug waits for its core; it tells systemd at once,
// and a signal ends it with status 0.
func TestServeWaitsForCore(t *testing.T) {
	t.Parallel()
	manager := listenManager(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	env := map[string]string{wire.SocketEnv: manager.LocalAddr().String() + ".none", "NOTIFY_SOCKET": manager.LocalAddr().String()}
	c := command{plug: testPlug(), stdout: os.Stdout, stderr: new(bytes.Buffer), getenv: func(k string) string { return env[k] }}
	status := make(chan int)
	go func() { status <- c.run(ctx, nil) }()
	buf := make([]byte, 1024)
	for _, want := range []string{"READY=1\nSTATUS=waiting for the core", "STOPPING=1"} {
		n, err := manager.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(string(buf[:n]), want) {
			t.Errorf("told %q, want %q", buf[:n], want)
		}
		cancel()
	}
	if got := <-status; got != exitOK {
		t.Errorf("status %d", got)
	}
}
