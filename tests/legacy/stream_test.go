package legacy

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"math/big"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quic-go/quic-go"
)

// stream opens a stream from the first to the last of a line.
func stream(t *testing.T) (near, far *Stream) {
	t.Helper()
	nodes := line(t, "a", "b", "c")
	time.Sleep(2 * time.Second)
	l, err := nodes[2].Listen("svc", nil)
	if err != nil {
		t.Fatal(err)
	}
	if near, err = nodes[0].Dial(t.Context(), "c", "svc", nil); err != nil {
		t.Fatal(err)
	}
	if far, err = l.Accept(t.Context()); err != nil {
		t.Fatal(err)
	}
	return near, far
}

func TestStreamHalfClose(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		near, far := stream(t)
		want := bytes.Repeat([]byte("there and back"), 50_000)
		go func() {
			near.Write(want)
			near.CloseWrite()
		}()
		got, err := io.ReadAll(far)
		if err != nil || !bytes.Equal(got, want) {
			t.Fatalf("read %d bytes: %v", len(got), err)
		}
		go func() {
			far.Write(want[:100])
			far.CloseWrite()
		}()
		if got, err := io.ReadAll(near); err != nil || len(got) != 100 {
			t.Errorf("read %d bytes: %v", len(got), err)
		}
		// Existing nodes leave the connection open, and keep it alive.
		time.Sleep(2 * time.Minute)
		if near.Err() != nil || far.Err() != nil {
			t.Errorf("the connection ended with %v and %v", near.Err(), far.Err())
		}
		near.Close()
		time.Sleep(time.Second)
		var end *quic.ApplicationError
		if !errors.As(far.Err(), &end) || end.ErrorCode != codeNormal || end.ErrorMessage != normal {
			t.Errorf("the far end saw %v", far.Err())
		}
	})
}

func TestDialErrors(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		nodes := line(t, "a", "b")
		time.Sleep(time.Second)
		silent := attach(t, nodes[1], "c", LinkConfig{})
		time.Sleep(2 * time.Second)
		if _, err := nodes[0].Dial(t.Context(), "b", "none", nil); !errors.Is(err, context.Canceled) {
			t.Errorf("a service that is none: %v", err)
		}
		if _, err := nodes[0].Dial(t.Context(), "z", "svc", nil); err == nil || !strings.Contains(err.Error(), ErrNoRoute.Error()) {
			t.Errorf("a node that is none: %v", err)
		}
		started := time.Now()
		_, err := nodes[0].Dial(t.Context(), silent.name, "svc", nil)
		var e net.Error
		if took := time.Since(started); !errors.As(err, &e) || !e.Timeout() || took < quicHandshake-time.Second || took > quicHandshake+time.Second {
			t.Errorf("a silent service: %v after %v", err, took)
		}
	})
}

func TestWrongFirstByte(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		nodes := line(t, "a", "b")
		time.Sleep(2 * time.Second)
		l, err := nodes[1].Listen("svc", nil)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		pc, err := nodes[0].ListenPacket("")
		if err != nil {
			t.Fatal(err)
		}
		tr := &quic.Transport{Conn: pc}
		defer tr.Close()
		conn, err := tr.Dial(t.Context(), Addr{"b", "svc"}, insecureClient("a"), quicConfig())
		if err != nil {
			t.Fatal(err)
		}
		str, err := conn.OpenStream()
		if err != nil {
			t.Fatal(err)
		}
		str.Write([]byte{7})
		<-conn.Context().Done()
		var end *quic.ApplicationError
		if !errors.As(context.Cause(conn.Context()), &end) || end.ErrorCode != codeError || end.ErrorMessage != "Read Data Error" {
			t.Errorf("the connection ended with %v", context.Cause(conn.Context()))
		}
	})
}

// authority signs certificates that name nodes.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t, pool: x509.NewCertPool()}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	a.cert, a.key = a.sign(template, nil)
	a.pool.AddCert(a.cert)
	return a
}

func (a *authority) sign(template *x509.Certificate, by *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	parent := a.cert
	if by == nil {
		parent, by = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, by)
	if err != nil {
		a.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return cert, key
}

// issue makes a configuration with a certificate that names a node and this host.
func (a *authority) issue(node string) *TLS {
	a.t.Helper()
	names, err := NamesExtension([]string{node}, []string{"localhost"}, [][]byte{{127, 0, 0, 1}})
	if err != nil {
		a.t.Fatal(err)
	}
	cert, key := a.sign(&x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: node}, ExtraExtensions: []pkix.Extension{names},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, a.key)
	return &TLS{Certificate: &tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key}, Roots: a.pool}
}

func TestSecureStreams(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		server, client string // nodes that the certificates name; empty: no configuration
		require, skip  bool
		dialError      string
		readError      string // after a dial that worked
	}{
		"both":                         {server: "b", client: "a", require: true},
		"server only":                  {server: "b", client: "a"},
		"the server is another":        {server: "x", client: "a", dialError: "certificate is valid for Receptor node ID x, not b"},
		"the client is another":        {server: "b", client: "x", require: true, readError: "0x12a"},
		"insecure dialler":             {server: "b", dialError: "insecure connection to secure service"},
		"insecure listener":            {client: "a", dialError: "x509"},
		"insecure listener, unchecked": {client: "a", skip: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				nodes := line(t, "a", "b")
				time.Sleep(2 * time.Second)
				ca := newAuthority(t)
				var server, client *TLS
				if test.server != "" {
					server = ca.issue(test.server)
					server.RequireClientCert = test.require
				}
				if test.client != "" {
					client = ca.issue(test.client)
					client.InsecureSkipVerify = test.skip
				}
				l, err := nodes[1].Listen("svc", server)
				if err != nil {
					t.Fatal(err)
				}
				s, err := nodes[0].Dial(t.Context(), "b", "svc", client)
				if test.dialError != "" {
					if err == nil || !strings.Contains(err.Error(), test.dialError) {
						t.Errorf("the dial ended with %v, expected %q", err, test.dialError)
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				if test.readError != "" {
					if _, err := s.Read(make([]byte, 1)); err == nil || !strings.Contains(err.Error(), test.readError) {
						t.Errorf("the read ended with %v, expected %q", err, test.readError)
					}
					return
				}
				if _, err := l.Accept(t.Context()); err != nil {
					t.Error(err)
				}
			})
		})
	}
}
