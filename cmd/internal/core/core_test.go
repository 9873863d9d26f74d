package core

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/project-receptor/receptor/cmd/internal/config"
	"github.com/project-receptor/receptor/netceptor/mtls"
	"github.com/project-receptor/receptor/netceptor/mtls/mtlstest"
	"github.com/project-receptor/receptor/netceptor/plughost"
)

// settle is ten times what anything here takes.
const settle = 20 * time.Second

// options are those of a node in a directory of its own; args are its command line.
func options(t *testing.T, dir string, args ...string) Options {
	t.Helper()
	line, err := config.Parse(append([]string{"--node", "id=n", "datadir=" + filepath.Join(dir, "state"), "--plugs-policy", "socket=" + filepath.Join(dir, "run", "plug.sock")}, args...))
	if err != nil {
		t.Fatal(err)
	}
	cfg, items, err := config.Split(line.Items)
	if err != nil {
		t.Fatal(err)
	}
	return Options{Config: cfg, Items: items, Logger: hclog.NewNullLogger(), Version: "v0"}
}

// shortDir is a directory whose path is short enough for sockets.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "rc")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// start runs a core and returns what stops it and waits.
func start(t *testing.T, o Options) (stop func() error) {
	t.Helper()
	c, err := New(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx) }()
	return func() error {
		cancel()
		select {
		case err := <-ended:
			return err
		case <-time.After(settle):
			return fmt.Errorf("still running")
		}
	}
}

// ask sends one line of the control conversation and returns the answer.
func ask(t *testing.T, path, line string) string {
	t.Helper()
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(settle)); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(conn)
	greeting, err := r.ReadString('\n')
	if err != nil || greeting != "Receptor Control, node n\n" {
		t.Fatalf("greeting %q, %v", greeting, err)
	}
	fmt.Fprintln(conn, line)
	answer, err := r.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return answer
}

// The control conversation on TCP, in clear and with TLS.
func TestControlOnTCP(t *testing.T) {
	t.Parallel()
	dir := shortDir(t)
	files := mtlstest.NodeFiles(t, mtlstest.NewCA(t, "ca"), mtlstest.Leaf{Nodes: []string{"n"}})
	client, err := mtls.LoadClient(mtls.ClientProfile{Name: "c", RootCAs: files.CAs()}, "n", nil)
	if err != nil {
		t.Fatal(err)
	}
	o := options(t, dir, "--control-service", "service=a", "tcplisten=127.0.0.1:0", "--control-service", "service=b", "tcplisten=0", "tcptls=s",
		"--tls-server", "name=s", "cert="+files.Cert(), "key="+files.Key())
	c, err := New(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx) }()
	for i, secure := range []bool{false, true} {
		_, port, err := net.SplitHostPort(c.clients[1+i].Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		conn, err := net.Dial("tcp", "127.0.0.1:"+port)
		if err == nil && secure {
			conn, _, err = client.Handshake(t.Context(), conn, "127.0.0.1")
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := conn.SetDeadline(time.Now().Add(settle)); err != nil {
			t.Fatal(err)
		}
		if line, err := bufio.NewReader(conn).ReadString('\n'); err != nil || line != "Receptor Control, node n\n" {
			t.Errorf("TLS %v: greeting %q, %v", secure, line, err)
		}
		conn.Close()
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}

	o.Config.Servers = nil
	if _, err := New(t.Context(), o); err == nil || err.Error() != "control-service service=b tcplisten=0 tcptls=s: parameter tcptls: there is no tls-server named s" {
		t.Errorf("without the profile: %v", err)
	}
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	item := "control-service tcplisten=" + taken.Addr().String()
	if _, err := New(t.Context(), options(t, dir, "--control-service", "tcplisten="+taken.Addr().String())); err == nil || !strings.HasPrefix(err.Error(), item+": listen tcp "+taken.Addr().String()+": bind: ") {
		t.Errorf("on a port that is taken: %v", err)
	}
}

func TestCore(t *testing.T) {
	t.Parallel()
	dir := shortDir(t)
	legacy := filepath.Join(dir, "c.sock")
	o := options(t, dir, "--control-service", "service=ctl", "filename="+legacy, "permissions=0640", "--serial-peer", "device=/dev/ttyS0", "--ws-peer", "ws://h/")
	var epochs []json.Number
	for range 2 {
		stop := start(t, o)
		for _, path := range []string{o.Config.ControlSocket(), legacy} {
			var answer struct {
				Result struct {
					Node  string                `json:"node"`
					Epoch json.Number           `json:"epoch"`
					Items []plughost.ItemStatus `json:"items"`
					Plugs []plughost.PlugStatus `json:"plugs"`
				} `json:"result"`
			}
			text := ask(t, path, `{"v":1,"id":1,"command":"status"}`)
			if err := json.Unmarshal([]byte(text), &answer); err != nil {
				t.Fatalf("%v: %s", err, text)
			}
			r := answer.Result
			if r.Node != "n" || len(r.Plugs) != 0 || len(r.Items) != 2 {
				t.Fatalf("status: %s", text)
			}
			if i := r.Items[1]; i.State != "waiting" || i.Kind != "ws-peer" || !strings.Contains(i.Err, "install receptor-backend-ws") {
				t.Errorf("item: %+v", i)
			}
			epochs = append(epochs, r.Epoch)
		}
		if info, err := os.Stat(legacy); err != nil || info.Mode().Perm() != 0o640 {
			t.Errorf("socket of the item: %v, %v", info, err)
		}
		// The service is on the mesh, of which this node is the whole.
		if answer := ask(t, legacy, "connect n ctl"); answer != "Connecting\n" {
			t.Errorf("connect: %q", answer)
		}
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		for _, path := range []string{o.Config.PlugSocket(), o.Config.ControlSocket(), legacy} {
			if _, err := os.Lstat(path); !os.IsNotExist(err) {
				t.Errorf("%s is left: %v", path, err)
			}
		}
	}
	if epochs[0] != epochs[1] || epochs[1] == epochs[2] {
		t.Errorf("epochs of two runs: %v", epochs)
	}
}

// What the plug host counts is in status, beside what the node counts.
func TestCountersOfPlugs(t *testing.T) {
	t.Parallel()
	o := options(t, shortDir(t))
	stop := start(t, o)
	stranger, err := net.Dial("unix", o.Config.PlugSocket())
	if err != nil {
		t.Fatal(err)
	}
	defer stranger.Close()
	if err := stranger.SetDeadline(time.Now().Add(settle)); err != nil {
		t.Fatal(err)
	}
	if _, err := stranger.Write([]byte("GET / HTTP/1.1\r\n")); err != nil {
		t.Fatal(err)
	}
	// It is counted before it is closed. What was not read makes that a reset.
	if _, err := stranger.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("the connection goes on: %v", err)
	}
	var answer struct {
		Result struct {
			Counters map[string]uint64 `json:"counters"`
		} `json:"result"`
	}
	text := ask(t, o.Config.ControlSocket(), `{"v":1,"id":1,"command":"status"}`)
	if err := json.Unmarshal([]byte(text), &answer); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	counters := answer.Result.Counters
	if _, ok := counters["loopback_full"]; !ok || counters["refused_preamble"] != 1 {
		t.Errorf("counters %v, expected those of the node and one refused_preamble", counters)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
}

func TestTwoCoresOfOneNode(t *testing.T) {
	t.Parallel()
	dir := shortDir(t)
	o := options(t, dir)
	stop := start(t, o)
	_, err := New(t.Context(), o)
	want := fmt.Sprintf("node n is already running here (socket %s is locked)", o.Config.PlugSocket())
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	ask(t, o.Config.ControlSocket(), "status") // the first one is unharmed
	if err := stop(); err != nil {
		t.Fatal(err)
	}
}

func TestNewErrors(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		args func(dir string) []string
		want string
	}{
		{"a control socket where a file is", func(dir string) []string {
			return []string{"--control-service", "filename=" + filepath.Join(dir, "file")}
		}, "not a socket"},
		{"a control socket where a file is, in a directory for all", func(dir string) []string {
			return []string{"--control-service", "filename=" + filepath.Join(dir, "all", "file")}
		}, "is no socket"},
		{"a path too long", func(dir string) []string {
			return []string{"--control-service", "filename=" + filepath.Join(dir, strings.Repeat("x", 120))}
		}, "too long"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := shortDir(t)
			all := filepath.Join(dir, "all")
			if err := os.Mkdir(all, 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(all, 0o777|os.ModeSticky); err != nil {
				t.Fatal(err)
			}
			write(t, filepath.Join(dir, "file"), "precious")
			write(t, filepath.Join(all, "file"), "precious")
			o := options(t, dir, tt.args(dir)...)
			if _, err := New(t.Context(), o); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want ...%s...", err, tt.want)
			}
			for _, path := range []string{o.Config.PlugSocket(), o.Config.ControlSocket()} {
				if _, err := os.Lstat(path); !os.IsNotExist(err) {
					t.Errorf("%s is left: %v", path, err)
				}
			}
			if b, err := os.ReadFile(filepath.Join(dir, "file")); err != nil || string(b) != "precious" {
				t.Errorf("the file: %q, %v", b, err)
			}
		})
	}
}

// Configurations of legacy nodes have their control socket in /tmp.
func TestControlSocketInADirectoryForAll(t *testing.T) {
	t.Parallel()
	dir := shortDir(t)
	all := filepath.Join(dir, "all")
	if err := os.Mkdir(all, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(all, 0o777|os.ModeSticky); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(all, "s")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	o := options(t, dir, "--control-service", "filename="+path)
	if _, err := New(t.Context(), o); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("got %v, want that it is in use", err)
	}
	if err := l.Close(); err != nil { // a crash: the socket stays
		t.Fatal(err)
	}
	stop := start(t, o)
	ask(t, path, "status")
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("socket: %v, %v", info, err)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
}

func TestParseArgs(t *testing.T) {
	t.Parallel()
	a, err := ParseArgs(strings.Fields("--node-id n --log-json --check --socket /a/plug.sock --log-level debug --serial-peer x"))
	if err != nil {
		t.Fatal(err)
	}
	if !a.Check || !a.LogJSON || a.Config.PlugSocket() != "/a/plug.sock" || a.Config.LogLevel != hclog.Debug || len(a.Items) != 1 {
		t.Errorf("got %+v", a)
	}
	_, err = ParseArgs(strings.Fields("--items-fd x --node idd=n --log-level loud"))
	if err == nil || len(strings.Split(err.Error(), "\n")) != 3 {
		t.Errorf("want three lines, got:\n%v", err)
	}
}
