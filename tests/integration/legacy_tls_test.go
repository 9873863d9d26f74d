package integration

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"strconv"
	"testing"
	"time"

	"github.com/project-receptor/receptor/netceptor/mtls/mtlstest"
	"github.com/project-receptor/receptor/tests/integration/lab"
	"github.com/project-receptor/receptor/tests/legacy"
)

// modelTLS is a model's TLS by an authority.
func modelTLS(t *testing.T, ca *mtlstest.CA, l mtlstest.Leaf) *legacy.TLS {
	t.Helper()
	certPEM, key := ca.Issue(t, l)
	cert, err := tls.X509KeyPair(certPEM, key)
	must(t, err)
	roots := x509.NewCertPool()
	roots.AddCert(ca.Cert)
	return &legacy.TLS{Certificate: &cert, Roots: roots, RequireClientCert: true}
}

// Links with TLS between ours and models, dialled by either; ours holds each model to
// the node ID in its certificate, models do not care.
func TestLegacyTLSLinks(t *testing.T) {
	t.Parallel()
	m := newMixed(t)
	ca := mtlstest.NewCA(t, "both")
	first, last, liar := freePort(t), freePort(t), freePort(t)
	a, c := m.model(legacy.Config{ID: "a"}), m.model(legacy.Config{ID: "c"})
	b, err := a.ListenTCP(lab.Local(first), legacy.LinkConfig{}, modelTLS(t, ca, mtlstest.Leaf{Nodes: []string{"a"}, RSA: true}))
	must(t, err)
	defer b.Close()
	files := mtlstest.NodeFiles(t, ca, mtlstest.Leaf{Nodes: []string{"b"}, RSA: true})
	items := profiles(files)
	items = append(items, dials(first, "tls=c")...)
	items = append(items, listens(last, "tls=s")...)
	m.ours("b", append(items, dials(liar, "tls=c")...)...)
	c.DialTCP(lab.Local(last), legacy.LinkConfig{}, modelTLS(t, ca, mtlstest.Leaf{Nodes: []string{"c"}}), true)

	m.reaches(a, "b", "c")
	m.reaches(c, "a", "b")
	m.pings(a, "c", "b")
	m.pingsFrom("b", "a")
	m.pingsFrom("b", "c")
	l, err := c.Listen("echo", nil)
	must(t, err)
	l.Serve(legacy.Echo)
	s, err := a.Dial(m.ctx, "c", "echo", nil)
	must(t, err)
	defer s.Close()
	converse(t, s, "over two links with TLS", "over two links with TLS")
	must(t, m.WaitStatus(m.ctx, "b", func(st *lab.Status) bool {
		proven := 0
		for _, l := range st.Links {
			if l.State == "established" && l.TLS != "" && l.Authentication == "certificate" {
				proven++
			}
		}
		return proven == 2
	}))

	// A model whose certificate names another node gets no link.
	d := m.model(legacy.Config{ID: "d"})
	lb, err := d.ListenTCP(lab.Local(liar), legacy.LinkConfig{}, modelTLS(t, ca, mtlstest.Leaf{Nodes: []string{"a"}}))
	must(t, err)
	defer lb.Close()
	must(t, m.WaitStatus(m.ctx, "b", func(st *lab.Status) bool { return st.Counters["tls_wrong_name"] > 0 }))
	m.pings(a, "c", "b") // and disturbs nobody
	if routes := c.Routes(); routes["d"] != "" {
		t.Errorf("c has a route to d: %v", routes)
	}
}

// A program of an existing node that is killed in mid-stream is a reset at each
// application behind ours, as soon as it is known, and the others talk on.
func TestLegacyKilledInMidStream(t *testing.T) {
	t.Parallel()
	m := newMixed(t)
	ab, bc := freePort(t), freePort(t)
	entry := freePort(t)
	m.ours("b", append(append(listens(ab), listens(bc)...),
		"--tcp-server", "bindaddr=127.0.0.1", "port="+strconv.Itoa(entry), "remotenode=c", "remoteservice=echo")...)
	a := m.model(legacy.Config{ID: "a"})
	a.DialTCP(lab.Local(ab), legacy.LinkConfig{}, nil, true)
	start := func() *lab.Process {
		// The service first: once there is a link, it is asked for.
		p, err := m.Start("legacy-node", "-id", "c", "-echo", "echo", "-tcp-peer", lab.Local(bc))
		must(t, err)
		must(t, m.WaitRoute(m.ctx, "b", "c"))
		m.reaches(a, "b", "c")
		m.eventually("the new c has a way back", func() bool {
			ctx, cancel := context.WithTimeout(m.ctx, time.Second)
			defer cancel()
			p := a.Ping(ctx, "c", 30)
			return p.Err == nil && p.From == "c"
		})
		return p
	}
	c := start()
	near, err := lab.DialWait(m.ctx, lab.Local(entry))
	must(t, err)
	defer near.Close()
	deadline, _ := m.ctx.Deadline()
	must(t, near.SetDeadline(deadline))
	say := func() {
		t.Helper()
		_, err := near.Write([]byte("half"))
		must(t, err)
		got := make([]byte, 4)
		_, err = near.Read(got)
		must(t, err)
	}
	say()
	c.Kill()
	m.pings(a, "b")
	start() // the new process is known by its epoch
	expectReset(t, near)
	near, err = lab.DialWait(m.ctx, lab.Local(entry))
	must(t, err)
	defer near.Close()
	must(t, near.SetDeadline(deadline))
	say()
}
