package netceptor

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/project-receptor/receptor/netceptor/mtls"
	"github.com/project-receptor/receptor/netceptor/mtls/mtlstest"
)

// secured is the two configurations of a link from b to a, of nodes that prove
// themselves to each other.
func secured(t *testing.T, ca *mtlstest.CA) (a, b LinkConfig) {
	t.Helper()
	fa := mtlstest.NodeFiles(t, ca, mtlstest.Leaf{Nodes: []string{"a"}})
	fb := mtlstest.NodeFiles(t, ca, mtlstest.Leaf{Nodes: []string{"b"}})
	return LinkConfig{Dir: "in", TLSServer: mtlstest.LoadServer(t, fa.Server("s"), "a")},
		LinkConfig{Dir: "out", TLSClient: mtlstest.LoadClient(t, fb.Client("c"), "b"), TLSHost: "localhost"}
}

func TestSecuredLink(t *testing.T) {
	t.Parallel()
	ca, cb := secured(t, mtlstest.NewCA(t, "ca"))
	nodes := []*Node{startNode(t, Config{NodeID: "a", RequireTLS: true}), startNode(t, Config{NodeID: "b", RequireTLS: true})}
	a, b := nodes[0], nodes[1]
	la, lb := joinWith(t, a, ca, b, cb)
	waitRoutes(t, a, b)
	for _, n := range nodes {
		if l := n.Status().Links[0]; l.Authentication != AuthCertificate || !strings.HasPrefix(l.TLS, "tls-") {
			t.Errorf("%s: link %+v", n.NodeID(), l)
		}
	}
	// What is sent arrives, over runs of many records.
	want, got := sha256.New(), sha256.New()
	listener, err := a.Listen("bulk", ListenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	received := make(chan error, 1)
	go func() {
		c, err := listener.Accept()
		if err == nil {
			_, err = io.Copy(got, c)
			err = errors.Join(err, c.Close())
		}
		received <- err
	}()
	c, err := b.Dial(t.Context(), "a", "bulk")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.MultiWriter(c, want), io.LimitReader(rand.NewChaCha8([32]byte{}), 8<<20)); err != nil {
		t.Fatal(err)
	}
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if err := <-received; err != nil || string(got.Sum(nil)) != string(want.Sum(nil)) {
		t.Errorf("not what was sent, %v", err)
	}
	if err := la.Close(); err != nil {
		t.Fatal(err)
	}
	if err := ended(t, lb); !errors.Is(err, io.EOF) {
		t.Errorf("the other end of a link that was closed: %v", err)
	}
}

// TestSecuredLinkRefused has what keeps a link from being: no side takes anything
// of the other into its routing.
func TestSecuredLinkRefused(t *testing.T) {
	t.Parallel()
	ca, foreign := mtlstest.NewCA(t, "ca"), mtlstest.NewCA(t, "foreign")
	x := mtlstest.NodeFiles(t, ca, mtlstest.Leaf{Nodes: []string{"x", "y"}})
	nameless := mtlstest.NodeFiles(t, ca, mtlstest.Leaf{})
	stranger := mtlstest.NodeFiles(t, foreign, mtlstest.Leaf{Nodes: []string{"a", "b"}})
	stranger.Trust(t, ca)
	server := func(f mtlstest.Files, node string) *mtls.Server { return mtlstest.LoadServer(t, f.Server("s"), node) }
	client := func(f mtlstest.Files, node string) *mtls.Client { return mtlstest.LoadClient(t, f.Client("c"), node) }
	relaxed := func(f mtlstest.Files) (*mtls.Server, *mtls.Client) {
		s, c := f.Server("s"), f.Client("c")
		s.SkipReceptorNamesCheck, c.SkipReceptorNamesCheck = true, true
		return mtlstest.LoadServer(t, s, "z"), mtlstest.LoadClient(t, c, "z")
	}
	namelessServer, namelessClient := relaxed(nameless)
	for _, tt := range []struct {
		name       string
		spoil      func(a, b *LinkConfig)
		errA, errB string // parts of
	}{
		{"the client's certificate is another node's", func(_, b *LinkConfig) { b.TLSClient = client(x, "x") }, `node "b" at : x509: certificate is valid for Receptor node IDs x, y, not b`, "reject"},
		{"the server's certificate is another node's", func(a, _ *LinkConfig) { a.TLSServer = server(x, "x") }, "reject", `node "a" at : x509: certificate is valid for Receptor node IDs x, y, not a`},
		{"the client's certificate names nobody", func(_, b *LinkConfig) { b.TLSClient = namelessClient }, `not valid for any Receptor node IDs, but wanted to match b`, "reject"},
		{"the server's certificate names nobody", func(a, _ *LinkConfig) { a.TLSServer = namelessServer }, "reject", `not valid for any Receptor node IDs, but wanted to match a`},
		{"a client of another authority", func(_, b *LinkConfig) { b.TLSClient = client(stranger, "b") }, "unknown authority", ""},
		{"a server of another authority", func(a, _ *LinkConfig) { a.TLSServer = server(stranger, "a") }, "", "unknown authority"},
		{"another host", func(_, b *LinkConfig) { b.TLSHost = "elsewhere" }, "", "not elsewhere"},
		{"a client without TLS", func(_, b *LinkConfig) { b.TLSClient = nil }, "first record does not look like a TLS handshake", ""},
		{"a server without TLS", func(a, _ *LinkConfig) { a.TLSServer = nil }, "", "first record does not look like a TLS handshake"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			nodes := startNodes(t, "a", "b")
			ca, cb := secured(t, ca)
			tt.spoil(&ca, &cb)
			la, lb := joinWith(t, nodes[0], ca, nodes[1], cb)
			for _, end := range []struct {
				l    *Link
				want string
			}{{la, tt.errA}, {lb, tt.errB}} {
				if err := ended(t, end.l); err == nil || end.want != "reject" && !strings.Contains(err.Error(), end.want) {
					t.Errorf("%s: got %v, want %s", end.l.node.NodeID(), err, end.want)
				}
			}
			for _, n := range nodes {
				s := n.Status()
				if len(s.Connections) > 0 || len(s.Links) > 0 || len(s.RoutingTable) > 0 {
					t.Errorf("%s: %+v", n.NodeID(), s)
				}
			}
			counted := uint64(0)
			for _, n := range nodes {
				counted += n.Status().Counters["tls_failed"] + n.Status().Counters["tls_wrong_name"]
			}
			if counted == 0 {
				t.Error("nobody has counted it")
			}
		})
	}
}

// Links that are, though nobody or not everybody has proven to be who it says.
func TestSecuredLinkUnproven(t *testing.T) {
	t.Parallel()
	ca := mtlstest.NewCA(t, "ca")
	fa := mtlstest.NodeFiles(t, ca, mtlstest.Leaf{Nodes: []string{"a"}})
	x := mtlstest.NodeFiles(t, ca, mtlstest.Leaf{Nodes: []string{"x"}})
	for _, tt := range []struct {
		name         string
		server       func(*mtls.ServerProfile)
		client       func(*mtls.ClientProfile)
		authA, authB string
	}{
		{"no certificate is asked for", func(p *mtls.ServerProfile) { p.RequireClientCert, p.ClientCAs = false, "" }, nil, AuthTLS, AuthCertificate},
		{
			"none is shown", func(p *mtls.ServerProfile) { p.RequireClientCert = false },
			func(p *mtls.ClientProfile) { p.Cert, p.Key = "", "" }, AuthTLS, AuthCertificate,
		},
		{"any server will do", nil, func(p *mtls.ClientProfile) { p.InsecureSkipVerify = true }, AuthCertificate, AuthTLS},
		{
			"relaxed for a client that is another", func(p *mtls.ServerProfile) { p.SkipReceptorNamesCheck = true },
			func(p *mtls.ClientProfile) { p.Cert, p.Key, p.SkipReceptorNamesCheck = x.Cert(), x.Key(), true }, AuthTLS, AuthCertificate,
		},
		{
			"relaxed for a server that is another", func(p *mtls.ServerProfile) { p.Cert, p.Key, p.SkipReceptorNamesCheck = x.Cert(), x.Key(), true },
			func(p *mtls.ClientProfile) { p.SkipReceptorNamesCheck = true }, AuthCertificate, AuthTLS,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			fb := mtlstest.NodeFiles(t, ca, mtlstest.Leaf{Nodes: []string{"b"}})
			s, c := fa.Server("s"), fb.Client("c")
			if tt.server != nil {
				tt.server(&s)
			}
			if tt.client != nil {
				tt.client(&c)
			}
			nodes := startNodes(t, "a", "b")
			joinWith(t, nodes[0], LinkConfig{TLSServer: mtlstest.LoadServer(t, s, "a")},
				nodes[1], LinkConfig{TLSClient: mtlstest.LoadClient(t, c, "b"), TLSHost: "127.0.0.1"})
			waitRoutes(t, nodes...)
			for i, want := range []string{tt.authA, tt.authB} {
				if got := nodes[i].Status().Links[0].Authentication; got != want {
					t.Errorf("%s: authentication %s, want %s", nodes[i].NodeID(), got, want)
				}
			}
		})
	}
}

func TestRequireTLS(t *testing.T) {
	t.Parallel()
	n := startNode(t, Config{NodeID: "a", RequireTLS: true})
	for _, tt := range []struct {
		remote string
		ok     bool
	}{
		{"127.0.0.1:7", true},
		{"[::1]:7", true},
		{"[::ffff:127.0.0.9]:7", true},
		{"10.0.0.1:7", false},
		{"[fe80::1%eth0]:7", false},
		{"localhost:7", false},
		{"/dev/ttyS0", false},
		{"", false},
	} {
		near, far := net.Pipe()
		l, err := n.AddLink(near, LinkConfig{Remote: tt.remote})
		if (err == nil) != tt.ok || err != nil && !errors.Is(err, ErrPlain) {
			t.Errorf("%q: %v", tt.remote, err)
		}
		if err == nil {
			if err := l.Close(); err != nil {
				t.Error(err)
			}
		} else if _, err := far.Write([]byte{0}); !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("%q: the connection is left open: %v", tt.remote, err)
		}
		far.Close()
	}
	if got := n.Status().Counters["tls_required"]; got != 5 {
		t.Errorf("counted %d, want 5", got)
	}
}

// Whoever keeps a handshake waiting has no more time for it than for the whole
// beginning of a link, and a handshake that took long leaves less for the rest.
func TestSlowHandshakes(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		rest func(ctx context.Context, conn net.Conn, c *mtls.Client)
	}{
		{"nothing is said", func(context.Context, net.Conn, *mtls.Client) {}},
		{"a byte a second", func(_ context.Context, conn net.Conn, _ *mtls.Client) {
			for _, b := range []byte{22, 3, 1, 0, 200, 1, 0, 0, 196, 3, 3, 0, 0, 0, 0, 0, 0} {
				time.Sleep(time.Second)
				if _, err := conn.Write([]byte{b}); err != nil {
					return
				}
			}
		}},
		{"nothing after a slow handshake", func(ctx context.Context, conn net.Conn, client *mtls.Client) {
			time.Sleep(6 * time.Second)
			c, _, err := client.Handshake(ctx, conn, "localhost")
			if err != nil {
				return
			}
			_, _ = io.Copy(io.Discard, c)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ca, cb := secured(t, mtlstest.NewCA(t, "ca")) // here, for the clock
				n := startNode(t, Config{NodeID: "a", noStreams: true})
				near, far := net.Pipe()
				begin := time.Now()
				l := addLink(t, n, near, ca)
				done := make(chan struct{})
				go func() {
					defer close(done)
					tt.rest(t.Context(), far, cb.TLSClient)
				}()
				<-l.Done()
				if took := time.Since(begin); took < 9*time.Second || took > 11*time.Second {
					t.Errorf("cut after %v: %v", took, l.Err())
				}
				far.Close()
				<-done
			})
		})
	}
}

// A link can be ended while it is in its handshake.
func TestCloseInHandshake(t *testing.T) {
	t.Parallel()
	ca, _ := secured(t, mtlstest.NewCA(t, "ca"))
	n := startNode(t, Config{NodeID: "a"})
	near, far := net.Pipe()
	defer far.Close()
	l := addLink(t, n, near, ca)
	if s := n.Status().Links; len(s) != 1 || s[0].State != "connecting" || s[0].Authentication != AuthTLS {
		t.Errorf("links %+v", s)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := far.Write([]byte{0}); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("the connection is left open: %v", err)
	}
	if s := n.Status(); s.Counters["tls_failed"] != 0 || len(s.Alarms) > 0 {
		t.Errorf("counted as a failure: %v, %+v", s.Counters["tls_failed"], s.Alarms)
	}
}

// What claims to be a neighbour after a good handshake, but as somebody else, has
// shown its certificate for nothing.
func TestImpostorWithACertificate(t *testing.T) {
	t.Parallel()
	authority := mtlstest.NewCA(t, "ca")
	ca, cb := secured(t, authority)
	n := startNode(t, Config{NodeID: "a"})
	near, far := net.Pipe()
	l := addLink(t, n, near, ca)
	conn, _, err := cb.TLSClient.Handshake(t.Context(), far, "localhost")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	p := &rawPeer{t: t, id: "victim", node: n, link: l, conn: conn}
	go func() { _, _ = io.Copy(io.Discard, conn) }()
	p.update("victim", nil)
	if err := ended(t, l); err == nil || !strings.Contains(err.Error(), "x509: certificate is valid for Receptor node ID b, not victim") {
		t.Errorf("ended: %v", err)
	}
	if s := n.Status(); len(s.Connections) > 0 || len(s.KnownConnectionCosts) > 0 && s.KnownConnectionCosts["victim"] != nil {
		t.Errorf("status %+v", s)
	}
	if v := conn.ConnectionState().Version; v != tls.VersionTLS13 {
		t.Errorf("version %x", v)
	}
}

// TLS of the medium counts as TLS, and the names that it knows bind the other side;
// they prove something where whoever speaks it is believed.
func TestMediumTLS(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		names, proven []string
		want          string // the authentication; empty: no link
	}{
		"believed":       {[]string{"x", "b"}, []string{"b"}, AuthCertificate},
		"not believed":   {[]string{"x", "b"}, nil, AuthTLS},
		"no certificate": {nil, nil, AuthTLS},
		"another node":   {[]string{"x"}, []string{"x"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, b := startNode(t, Config{NodeID: "a", RequireTLS: true}), startNode(t, Config{NodeID: "b", RequireTLS: true})
			ca := LinkConfig{Remote: "192.0.2.1:1", MediumTLS: &MediumTLS{Profile: "of a test", Names: tc.names, Proven: tc.proven}}
			la, _ := joinWith(t, a, ca, b, LinkConfig{Remote: "192.0.2.2:1", MediumTLS: &MediumTLS{}})
			if tc.want == "" {
				if err := ended(t, la); err == nil || !strings.Contains(err.Error(), "x509: certificate is valid for Receptor node ID x, not b") {
					t.Errorf("ended by %v", err)
				}
				return
			}
			waitRoutes(t, a, b)
			if l := a.Status().Links[0]; l.Authentication != tc.want || l.TLS != "of a test" {
				t.Errorf("link %+v", l)
			}
		})
	}
}
