package streams

import (
	"context"
	"fmt"
	"io"
	"testing"
)

// benchPair is two nodes in one process, so the figures are of both ends
// together.
func benchPair(b *testing.B, basic bool) *pair {
	m := newMesh(b, basic)
	return m.pair()
}

func BenchmarkStreamThroughput(b *testing.B) {
	for _, basic := range []bool{false, true} {
		b.Run(fmt.Sprintf("basic=%v", basic), func(b *testing.B) {
			p := benchPair(b, basic)
			d, a := p.open(b)
			const chunk = 128 << 10
			buf := make([]byte, chunk)
			done := make(chan error, 1)
			b.SetBytes(chunk)
			b.ReportAllocs()
			b.ResetTimer()
			go func() {
				_, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{a}, make([]byte, chunk))
				done <- err
			}()
			for range b.N {
				if _, err := d.Write(buf); err != nil {
					b.Fatal(err)
				}
			}
			_ = d.CloseWrite()
			if err := <-done; err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(b.N)*chunk*8/b.Elapsed().Seconds()/1e9, "Gbit/s")
			_, _ = d.Close(), a.Close()
		})
	}
}

func BenchmarkStreamOpen(b *testing.B) {
	p := benchPair(b, false)
	ctx := context.Background()
	go func() {
		for {
			s, err := accept(ctx, p.l)
			if err != nil {
				return
			}
			_ = s.Close()
		}
	}()
	for b.Loop() {
		s, err := p.a.Dial(ctx, p.to)
		if err != nil {
			b.Fatal(err)
		}
		_ = s.Close()
	}
	_ = p.l.Close()
}
