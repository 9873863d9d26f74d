package forward

import (
	"crypto/tls"
	"errors"
	"net"
	"testing"

	"github.com/project-receptor/receptor/netceptor/mtls/mtlstest"
)

// BenchmarkLink carries frames of a stream's size over the loopback, from a queue
// to a reader, plain and under TLS. At both ends, on one machine.
func BenchmarkLink(b *testing.B) {
	for _, secure := range []bool{false, true} {
		name := "plain"
		if secure {
			name = "tls"
		}
		b.Run(name, func(b *testing.B) { benchmarkLink(b, secure) })
	}
}

func benchmarkLink(b *testing.B, secure bool) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	near, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	far, err := l.Accept()
	if err != nil {
		b.Fatal(err)
	}
	out := &Gather{Conn: near}
	from, to := NewLink(near), NewLink(far)
	if secure {
		f := mtlstest.NodeFiles(b, mtlstest.NewCA(b, "ca"), mtlstest.Leaf{Nodes: []string{"a"}})
		client := tls.Client(out, mtlstest.LoadClient(b, f.Client("c"), "a").Config("localhost"))
		server := tls.Server(far, mtlstest.LoadServer(b, f.Server("s"), "a").Config())
		shaken := make(chan error, 1)
		go func() { shaken <- server.HandshakeContext(b.Context()) }()
		if err := errors.Join(client.HandshakeContext(b.Context()), <-shaken); err != nil {
			b.Fatal(err)
		}
		to.Over(server)
		from.Over(&Records{Conn: client, Out: out})
	}
	done := make(chan struct{})
	written := make(chan error, 1)
	go func() { written <- from.Write() }()
	left := b.N
	go func() {
		defer close(done)
		_ = to.Read(func([]byte) *Link { // ends with the connection
			if left--; left == 0 {
				near.Close()
			}
			return nil
		})
	}()
	header, payload := make([]byte, 36), make([]byte, 32*1350)
	b.SetBytes(36 + 1350)
	b.ResetTimer()
	for sent := 0; sent < b.N; {
		n := min(32, b.N-sent)
		for !from.Send(header, payload[:n*1350], 1350, 1<<30) {
		}
		sent += n
	}
	<-done
	b.StopTimer()
	from.Close()
	<-written
	far.Close()
}
