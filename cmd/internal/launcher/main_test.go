package launcher

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/project-receptor/receptor/cmd/internal/config"
	"github.com/project-receptor/receptor/cmd/internal/core"
	"github.com/project-receptor/receptor/plug"
	"github.com/project-receptor/receptor/plug/plugcmd"
	"github.com/project-receptor/receptor/plug/schema"
	"github.com/project-receptor/receptor/plug/wire"
)

// The test binary, under the names of the programs, is all of them.
func TestMain(m *testing.M) {
	programs := map[string]func() int{
		"receptor":                  func() int { return (&Launcher{Stdout: os.Stdout, Stderr: os.Stderr}).Main(os.Args[1:]) },
		"receptor-core":             func() int { return core.Main(os.Args[1:]) },
		"receptor-backend-fake":     func() int { return plugcmd.Main(fakePlug()) },
		"receptor-backend-slow":     func() int { <-time.After(time.Minute); return 0 },
		"receptor-backend-tcp":      func() int { return 1 },
		"receptor-proxy-garbage":    func() int { fmt.Println("hello"); return 0 },
		"receptor-proxy-talkative":  func() int { fmt.Print(strings.Repeat("x", 2*maxDescription)); return 0 },
		"receptor-proxy-impossible": func() int { fmt.Println(`{"kinds":[{"kind":"Not A Name","role":"stream"}]}`); return 0 },
		"receptor-worker-stubborn":  stubborn,
	}
	if program := programs[programName(filepath.Base(os.Args[0]))]; program != nil {
		os.Exit(program())
	}
	os.Exit(m.Run())
}

// fakePlug has one kind, whose items are up unless they are told to fail.
func fakePlug() *plug.Plug {
	return &plug.Plug{
		Program: "receptor-backend-fake",
		Version: "v1.2.3",
		Kinds: []wire.Kind{{
			Kind: "fake-peer", Role: wire.RoleLink, Dir: "out", Help: "Make believe",
			Aliases: []wire.Alias{{Kind: "feigned-peer", Defaults: map[string]any{"redial": false}}},
			Params: []wire.Param{
				{Name: "address", Type: schema.TypeAddress, Key: true, Required: true, Bare: true, Help: "where to"},
				{Name: "redial", Type: schema.TypeBool, Default: true, Help: "whether to try again"},
				{Name: "fail", Type: schema.TypeString, Help: "fail with this reason"},
			},
		}},
		Run: func(ctx context.Context, it *plug.Item) error {
			var p struct{ Address, Fail string }
			if err := it.Decode(&p); err != nil {
				return err
			}
			if p.Fail != "" {
				return errors.New(p.Fail)
			}
			it.Up(p.Address)
			<-ctx.Done()
			return nil
		},
	}
}

// install puts programs into a directory of their own.
func install(t *testing.T, names ...string) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "rl") // short, since sockets are there too
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	for _, name := range names {
		if err := copyProgram(self, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// copyProgram makes a hard link or, where that cannot be, a copy.
func copyProgram(from, to string) error {
	if os.Link(from, to) == nil {
		return nil
	}
	r, err := os.Open(from)
	if err != nil {
		return err
	}
	defer r.Close()
	w, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE, 0o700)
	if err != nil {
		return err
	}
	_, err = io.Copy(w, r)
	return errors.Join(err, w.Close())
}

// output runs a launcher in this process to its end and returns its exit status
// and what it printed.
func output(t *testing.T, dirs []string, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	var out strings.Builder
	log, err := os.Create(filepath.Join(t.TempDir(), "stderr"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	l := &Launcher{Dirs: dirs, Stdout: &out, Stderr: log, DescribeTimeout: time.Minute}
	status = l.Run(t.Context(), nil, args)
	b, err := os.ReadFile(log.Name())
	if err != nil {
		t.Fatal(err)
	}
	return status, out.String(), string(b)
}

// receptor is the launcher as a process of its own.
func receptor(dir string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(dir, "receptor"), args...)
	cmd.Env = append(os.Environ(), "PATH=")
	return cmd
}

// Certificates are made without a core or plugs.
func TestCertificates(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	makeCA := []string{"--cert-init", "commonname=ca", "bits=1024", "outcert=" + dir + "/ca.pem", "outkey=" + dir + "/ca.key"}
	if status, out, stderr := output(t, []string{}, makeCA...); status != statusOK || out+stderr != "" {
		t.Errorf("%d, %s%s", status, out, stderr)
	}
	for _, f := range []string{"/ca.pem", "/ca.key"} {
		if _, err := os.Stat(dir + f); err != nil {
			t.Error(err)
		}
	}
	if status, _, stderr := output(t, []string{}, append(makeCA, "--node-id", "n")...); status != statusUsage || !strings.HasPrefix(stderr, "node-id n: certificates are made by a command of their own") {
		t.Errorf("with another item: %d, %s", status, stderr)
	}
	if status, _, stderr := output(t, []string{}, "--cert-makereq", "commonname=a", "outreq="+dir+"/r", "inkey="+dir+"/none"); status != statusFailure || !strings.Contains(stderr, "no such file") {
		t.Errorf("without its key: %d, %s", status, stderr)
	}
}

func items(t *testing.T, args ...string) []config.Item {
	t.Helper()
	line, err := config.Parse(args)
	if err != nil {
		t.Fatal(err)
	}
	return line.Items
}
