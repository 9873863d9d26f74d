package integration

import (
	"context"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/project-receptor/receptor/tests/integration/lab"
)

// Every mistake on a command line or in a file is answered by one line that
// names the item, the parameter and what was expected, and exit status 2.
func TestMistakesInParameters(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "node.yml")
	must(t, os.WriteFile(file, []byte("- node:\n    id: x\n- tcp-peer:\n    adress: localhost:1\n    address: localhost:2222\n"), 0o644))
	for _, m := range []struct {
		args []string
		want []string // all in the one line
	}{
		{[]string{"--tcp-listener", "prot=1"}, []string{"tcp-listener", "prot", "port"}},
		{[]string{"--tcp-listener"}, []string{"tcp-listener", "port", "required"}},
		{[]string{"--tcp-listener", "port=many"}, []string{"tcp-listener", "port", "many", "number"}},
		{[]string{"--tcp-listener", "port=70000"}, []string{"tcp-listener", "port", "70000", "65535"}},
		{[]string{"--tcp-listener", "port=1", "cost=-2"}, []string{"tcp-listener", "cost", "-2"}},
		{[]string{"--tcp-peer", "address=nowhere"}, []string{"tcp-peer", "address", "nowhere", "host:port"}},
		{[]string{"--tcp-peer", "address=localhost:1", "redial=maybe"}, []string{"tcp-peer", "redial", "maybe"}},
		{[]string{"--tcp-server", "port=1", "remotenode=x"}, []string{"tcp-server", "remoteservice", "required"}},
		{[]string{"--tcp-client", "service=muchtoolong", "address=localhost:1"}, []string{"tcp-client", "service", "muchtoolong", "8"}},
		{[]string{"--tcp-lisener", "port=1"}, []string{"tcp-lisener", "tcp-listener"}},
		{[]string{"--ip-router", "networkname=n"}, []string{"ip-router", "localnet", "required"}},
		{[]string{"--ip-tunnel", "service=s", "remotenode=n", "remoteservice=s", "mtu=large"}, []string{"ip-tunnel", "mtu", "large", "number"}},
		{[]string{"--log-level", "loud"}, []string{"log-level", "loud", "debug"}},
		{[]string{"--node", "id=localhost"}, []string{"node", "id", "localhost"}},
		{[]string{"--config", file}, []string{"node.yml", "tcp-peer", "adress", "address"}},
		{[]string{"--config", filepath.Join(dir, "absent.yml")}, []string{"absent.yml"}},
	} {
		t.Run(strings.Join(m.args, " "), func(t *testing.T) {
			l, ctx := newLab(t)
			expectMistake(t, ctx, l, m.args, m.want)
		})
	}
}

// expectMistake starts a node, and expects one line with all these words and status 2.
func expectMistake(t *testing.T, ctx context.Context, l *lab.Lab, args, want []string) {
	t.Helper()
	if args[0] != "--node" && args[0] != "--config" {
		args = append([]string{"--node", "id=x"}, args...)
	}
	p, err := l.Start("receptor", args...)
	must(t, err)
	code, err := p.ExitCode(ctx)
	must(t, err)
	out := strings.TrimSpace(p.Output())
	if code != 2 {
		t.Errorf("exit status %d, expected 2: %s", code, out)
	}
	if strings.Contains(out, "\n") {
		t.Errorf("more than one line:\n%s", out)
	}
	for _, w := range want {
		if !strings.Contains(out, w) {
			t.Errorf("%q does not name %q", out, w)
		}
	}
}

// An item whose program is not installed names it.
func TestProgramNotInstalled(t *testing.T) {
	t.Parallel()
	few := lab.Programs{Dir: filepath.Join(programs.Dir, "few")}
	must(t, os.Mkdir(few.Dir, 0o755))
	for _, name := range []string{"receptor", "receptor-core"} {
		must(t, os.Link(programs.Path(name), few.Path(name)))
	}
	for kind, program := range map[string]string{"ip-router": "receptor-proxy-tun", "tun-proxy": "receptor-proxy-tun", "udp-client": "receptor-proxy-udp"} {
		l, ctx := newLabOf(t, few)
		expectMistake(t, ctx, l, []string{"--" + kind, "service=s"}, []string{kind, program})
	}
}

// A port that is in use shows in the item's state, with the reason, and comes up
// once it is free.
func TestPortInUse(t *testing.T) {
	l, ctx := newLab(t)
	squatter, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer squatter.Close()
	port := strconv.Itoa(squatter.Addr().(*net.TCPAddr).Port)
	p, err := l.Start("receptor", "--node", "id=x", "--tcp-listener", "bindaddr=127.0.0.1", "port="+port)
	must(t, err)
	id := "tcp-listener port=" + port
	must(t, l.WaitStatus(ctx, "x", func(s *lab.Status) bool {
		i := s.Item(id)
		return i.State == "failed" && strings.Contains(i.Err, "address already in use") && strings.Contains(i.Err, port)
	}))
	must(t, p.WaitOutput(ctx, "address already in use"))
	squatter.Close()
	must(t, l.WaitStatus(ctx, "x", func(s *lab.Status) bool { return s.Item(id).State == "up" }))
}

// An unknown node or a service that nobody bound is a reset at the application
// within the time-out, and is said in status and log.
func TestUnknownTargets(t *testing.T) {
	for _, c := range []struct {
		name, node, service string
		want                []string
	}{
		{"unknown node", "atlantis", "web", []string{"atlantis", "no route"}},
		{"unbound service", "x", "nosuch", []string{"has no service", "nosuch"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			l, ctx := newLab(t)
			port := freePort(t)
			p, err := l.Start("receptor", "--node", "id=x", "--tcp-server", "bindaddr=127.0.0.1", "port="+strconv.Itoa(port),
				"remotenode="+c.node, "remoteservice="+c.service)
			must(t, err)
			conn, err := lab.DialWait(ctx, lab.Local(port))
			must(t, err)
			defer conn.Close()
			start := time.Now()
			n, err := io.Copy(io.Discard, conn)
			if err == nil {
				t.Errorf("the connection ended in order after %d bytes, expected a reset", n)
			}
			t.Logf("the application saw %v after %.2f s", err, time.Since(start).Seconds())
			for _, w := range c.want {
				must(t, p.WaitOutput(ctx, w))
			}
			must(t, l.WaitStatus(ctx, "x", func(s *lab.Status) bool {
				i := s.Item("tcp-server port=" + strconv.Itoa(port))
				for _, w := range c.want {
					if !strings.Contains(i.Err, w) {
						return false
					}
				}
				return true
			}))
		})
	}
}

// Every program answers --version, with the module whose version that is, and --help;
// and a plug that is run by hand without a core says what it is and how to attach.
func TestProgramsExplainThemselves(t *testing.T) {
	l, ctx := newLab(t)
	files, err := filepath.Glob(programs.Path("receptor*"))
	must(t, err)
	if len(files) < 10 {
		t.Fatalf("programs: %v", files)
	}
	for _, file := range files {
		name := filepath.Base(file)
		for flag, want := range map[string]string{
			"--version": "^" + name + ` v?[^ ].* \(github\.com/project-receptor/receptor/[a-z/-]+\)\n$`,
			"--help":    name,
		} {
			p, err := l.Start(name, flag)
			must(t, err)
			code, err := p.ExitCode(ctx)
			must(t, err)
			if out := p.Output(); code != 0 || !regexp.MustCompile(want).MatchString(out) {
				t.Errorf("%s %s: exit status %d, output %q", name, flag, code, out)
			}
		}
	}
	for _, name := range []string{"receptor-backend-tcp", "receptor-proxy-tcp"} {
		p, err := l.Start(name)
		must(t, err)
		code, err := p.ExitCode(ctx)
		must(t, err)
		if out := p.Output(); code != 2 || !strings.Contains(out, "--socket") || !strings.Contains(out, "RECEPTOR_PLUG_SOCKET") {
			t.Errorf("%s without a core: exit status %d, output %q", name, code, out)
		}
	}
}
