package integration

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/project-receptor/receptor/netceptor/mtls/mtlstest"
	"github.com/project-receptor/receptor/tests/integration/lab"
)

// profiles are the TLS items of a node, named s and c, of these files.
func profiles(f mtlstest.Files) []string {
	return []string{
		"--tls-server", "name=s", "cert=" + f.Cert(), "key=" + f.Key(), "requireclientcert=true", "clientcas=" + f.CAs(),
		"--tls-client", "name=c", "cert=" + f.Cert(), "key=" + f.Key(), "rootcas=" + f.CAs(),
	}
}

// tlsLine is a line of three whose links, streams and control services have TLS.
type tlsLine struct {
	way
	files map[string]mtlstest.Files
	port  int // of the first node's listener
}

func startTLSLine(t *testing.T, ca *mtlstest.CA, target string) *tlsLine {
	t.Helper()
	l, ctx := newLab(t)
	first, second, entry := freePort(t), freePort(t), freePort(t)
	ln := &tlsLine{way: way{l, ctx, lab.Local(entry)}, files: make(map[string]mtlstest.Files), port: first}
	for node, args := range map[string][]string{
		"first": {
			"--tcp-listener", "bindaddr=127.0.0.1", "port=" + strconv.Itoa(first), "tls=s",
			"--tcp-server", "bindaddr=127.0.0.1", "port=" + strconv.Itoa(entry), "remotenode=last", "remoteservice=app", "tlsclient=c",
		},
		"middle": {
			"--tcp-peer", "address=" + lab.Local(first), "tls=c",
			"--tcp-listener", "bindaddr=127.0.0.1", "port=" + strconv.Itoa(second), "tls=s",
		},
		"last": {
			"--tcp-peer", "address=" + lab.Local(second), "tls=c",
			"--tcp-client", "service=app", "address=" + target, "tlsserver=s",
			"--control-service", "service=control", "tls=s",
		},
	} {
		ln.files[node] = mtlstest.NodeFiles(t, ca, mtlstest.Leaf{Nodes: []string{node}, RSA: node == "middle"})
		ln.start(t, node, ln.files[node], args...)
	}
	must(t, l.WaitRoute(ctx, "first", "last"))
	must(t, l.WaitRoute(ctx, "last", "first"))
	must(t, l.WaitStatus(ctx, "last", func(s *lab.Status) bool { return s.Item("tcp-client service=app").State == "up" }))
	return ln
}

func (ln *tlsLine) start(t *testing.T, node string, f mtlstest.Files, args ...string) *lab.Process {
	t.Helper()
	p, err := ln.Start("receptor", append(append([]string{"--node", "id=" + node, "requiretls=true"}, profiles(f)...), args...)...)
	must(t, err)
	return p
}

func TestTLSLine(t *testing.T) {
	t.Parallel()
	app, err := lab.Serve(lab.Echo)
	must(t, err)
	defer app.Close()
	ca := mtlstest.NewCA(t, "ca")
	ln := startTLSLine(t, ca, app.Addr())
	must(t, lab.WaitRoundTrip(ln.ctx, ln.entry))

	s, err := ln.Status(ln.ctx, "middle")
	must(t, err)
	for _, l := range s.Links {
		if l.Authentication != "certificate" || !strings.HasPrefix(l.TLS, "tls-") || l.Mode != "handoff" {
			t.Errorf("middle: link %+v", l)
		}
	}
	s, err = ln.Status(ln.ctx, "last")
	must(t, err)
	if i := len(s.Streams) - 1; i < 0 || s.Streams[i].Node != "first" || s.Streams[i].Authentication != "certificate" || s.Streams[i].TLS != "tls-server s" {
		t.Errorf("last: streams %+v", s.Streams)
	}
	if len(s.TLS) != 2 || s.TLS[0].DaysLeft < 300 || s.TLS[0].Err != "" || strings.Join(s.TLS[1].Nodes, " ") != "last" {
		t.Errorf("last: profiles %+v", s.TLS)
	}
	// The control service of last wants to know who is there.
	answer := func(line string) string {
		t.Helper()
		c, err := new(net.Dialer).DialContext(ln.ctx, "unix", ln.Socket("first"))
		must(t, err)
		defer c.Close()
		_, err = fmt.Fprintln(c, line)
		must(t, err)
		must(t, c.(*net.UnixConn).CloseWrite())
		b, err := io.ReadAll(c)
		must(t, err)
		return string(b)
	}
	if got := answer("connect last control c"); !strings.HasSuffix(got, "Connecting\nReceptor Control, node last\n") {
		t.Errorf("connect with TLS: %q", got)
	}
	if got := answer("connect last control"); !strings.Contains(got, "ERROR: ") || !strings.Contains(got, "insecure connection to secure service") {
		t.Errorf("connect without TLS: %q", got)
	}

	// Nobody else is let in: not by another authority, not as another node, not
	// without TLS.
	foreign := mtlstest.NewCA(t, "foreign")
	stranger := mtlstest.NodeFiles(t, foreign, mtlstest.Leaf{Nodes: []string{"stranger"}})
	stranger.Trust(t, ca)
	ln.start(t, "stranger", stranger, "--tcp-peer", "address="+lab.Local(ln.port), "tls=c")
	liar := mtlstest.NodeFiles(t, ca, mtlstest.Leaf{Nodes: []string{"liar", "last2"}})
	_, err = ln.Start("receptor", append([]string{"--node", "id=last3"}, append(profilesOf(liar, "skipreceptornamescheck=true"),
		"--tcp-peer", "address="+lab.Local(ln.port), "tls=c")...)...)
	must(t, err)
	_, err = ln.Start("receptor", "--node", "id=plain", "--tcp-peer", "address="+lab.Local(ln.port))
	must(t, err)
	must(t, ln.WaitStatus(ln.ctx, "first", func(s *lab.Status) bool {
		return s.Counters["tls_failed"] >= 2 && s.Counters["tls_wrong_name"] >= 1
	}))
	s, err = ln.Status(ln.ctx, "first")
	must(t, err)
	for node := range s.RoutingTable {
		if node != "middle" && node != "last" {
			t.Errorf("first has a route to %s", node)
		}
	}
	must(t, lab.RoundTrip(ln.ctx, ln.entry))
}

// profilesOf is profiles with another parameter in each.
func profilesOf(f mtlstest.Files, more string) []string {
	var args []string
	for i, a := range profiles(f) {
		if i > 0 && strings.HasPrefix(a, "--") {
			args = append(args, more)
		}
		args = append(args, a)
	}
	return append(args, more)
}

// T11: certificates and authority are replaced at all nodes under load: no link
// drops, no connection fails. Then the old authority admits nobody.
func TestCertificatesReplacedUnderLoad(t *testing.T) {
	t.Parallel()
	app, err := lab.Serve(lab.Echo)
	must(t, err)
	defer app.Close()
	before, after := mtlstest.NewCA(t, "before"), mtlstest.NewCA(t, "after")
	ln := startTLSLine(t, before, app.Addr())
	must(t, lab.WaitRoundTrip(ln.ctx, ln.entry))
	links := func() (since []string) {
		t.Helper()
		for _, node := range []string{"first", "middle", "last"} {
			s, err := ln.Status(ln.ctx, node)
			must(t, err)
			for _, l := range s.Links {
				if l.Peer != "" {
					since = append(since, node+" "+l.Peer+" "+l.Since.String())
				}
			}
		}
		return since
	}
	at := links()
	bulk := startBulk(ln.ctx, t, ln.entry)
	load := startLoop(ln.ctx, ln.entry)
	must(t, load.More(ln.ctx, 20))

	// used waits until every node has read its files since, and connections were
	// made by them.
	used := func(since time.Time) {
		t.Helper()
		for node := range ln.files {
			must(t, ln.WaitStatus(ln.ctx, node, func(s *lab.Status) bool {
				for _, p := range s.TLS {
					if !p.Loaded.After(since) || p.Err != "" {
						return false
					}
				}
				return true
			}))
		}
		must(t, load.More(ln.ctx, 20))
	}
	change := func(what func(node string, f mtlstest.Files)) {
		t.Helper()
		since := time.Now()
		for node, f := range ln.files {
			what(node, f)
		}
		used(since)
	}
	change(func(_ string, f mtlstest.Files) { f.Trust(t, before, after) })
	change(func(node string, f mtlstest.Files) { f.Issue(t, after, mtlstest.Leaf{Nodes: []string{node}}) })
	change(func(_ string, f mtlstest.Files) { f.Trust(t, after) })

	// A node that links only now, of the old authority and of the new one.
	late := mtlstest.NodeFiles(t, before, mtlstest.Leaf{Nodes: []string{"late"}})
	late.Trust(t, before, after)
	peer := []string{"--tcp-peer", "address=" + lab.Local(ln.port), "tls=c"}
	failed := func(s *lab.Status) uint64 { return s.Counters["tls_failed"] }
	s, err := ln.Status(ln.ctx, "first")
	must(t, err)
	n := failed(s)
	ln.start(t, "late", late, peer...)
	must(t, ln.WaitStatus(ln.ctx, "first", func(s *lab.Status) bool { return failed(s) > n }))
	s, err = ln.Status(ln.ctx, "first")
	must(t, err)
	if s.RoutingTable["late"] != "" {
		t.Error("the old authority admits a node")
	}
	late.Issue(t, after, mtlstest.Leaf{Nodes: []string{"late"}})
	must(t, ln.WaitRoute(ln.ctx, "first", "late"))

	must(t, load.More(ln.ctx, 20))
	load.end(t, 0)
	bulk.end(t)
	if now := links(); !strings.Contains(strings.Join(now, "\n"), strings.Join(at[:1], "\n")) || missing(at, now) != "" {
		t.Errorf("links were\n%s\nand are\n%s", strings.Join(at, "\n"), strings.Join(now, "\n"))
	}
}

// missing names the first line of what was that is no more.
func missing(was, is []string) string {
	have := strings.Join(is, "\n") + "\n"
	for _, line := range was {
		if !strings.Contains(have, line+"\n") {
			return line
		}
	}
	return ""
}

// Whoever begins a handshake and leaves it is cut, and keeps nobody else out.
func TestSlowHandshakesOverTCP(t *testing.T) {
	t.Parallel()
	app, err := lab.Serve(lab.Echo)
	must(t, err)
	defer app.Close()
	ca := mtlstest.NewCA(t, "ca")
	ln := startTLSLine(t, ca, app.Addr())
	const crowd = 300
	var slow []net.Conn
	for range crowd {
		c, err := new(net.Dialer).DialContext(ln.ctx, "tcp", lab.Local(ln.port))
		must(t, err)
		defer c.Close()
		_, err = c.Write([]byte{22, 3, 1}) // a record begins
		must(t, err)
		slow = append(slow, c)
	}
	// A neighbour gets through meanwhile.
	f := mtlstest.NodeFiles(t, ca, mtlstest.Leaf{Nodes: []string{"honest"}})
	ln.start(t, "honest", f, "--tcp-peer", "address="+lab.Local(ln.port), "tls=c")
	must(t, ln.WaitRoute(ln.ctx, "honest", "last"))
	for _, c := range slow {
		end, _ := ln.ctx.Deadline()
		must(t, c.SetDeadline(end))
		if _, err := io.Copy(io.Discard, c); isTimeout(err) {
			t.Fatal("a handshake that nobody finishes is not cut")
		}
	}
	must(t, lab.RoundTrip(ln.ctx, ln.entry))
	// And TLS 1.1 is none.
	_, err = (&tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}}).
		DialContext(ln.ctx, "tcp", lab.Local(ln.port))
	if err == nil {
		t.Error("TLS 1.1 is accepted")
	}
	if ln.ctx.Err() != nil {
		t.Error(context.Cause(ln.ctx))
	}
}

func isTimeout(err error) bool {
	n, ok := err.(net.Error)
	return ok && n.Timeout()
}
