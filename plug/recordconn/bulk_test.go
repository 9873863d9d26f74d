package recordconn_test

import (
	"bytes"
	"io"
	"net"
	"testing"

	"github.com/project-receptor/receptor/plug/recordconn"
	"github.com/project-receptor/receptor/plug/wire"
)

// A relay of two hops by ReadFrom and WriteTo keeps bytes and ends.
func TestRelay(t *testing.T) {
	t.Parallel()
	appX, appY := unixPair(t)
	x, y := unixPair(t)
	a, b := recordconn.New(x), recordconn.New(y)
	want := pattern(3_000_000)
	go func() {
		_, _ = appX.Write(want)
		_ = appX.Close()
	}()
	sent := make(chan error, 1)
	go func() {
		n, err := a.ReadFrom(appY)
		if err == nil && n != int64(len(want)) {
			t.Errorf("ReadFrom = %d", n)
		}
		if err == nil {
			err = a.CloseWrite()
		}
		sent <- err
	}()
	var got bytes.Buffer
	n, err := b.WriteTo(&got)
	if err != nil || n != int64(len(want)) || !bytes.Equal(got.Bytes(), want) {
		t.Errorf("WriteTo = %d, %v", n, err)
	}
	check(t, <-sent)
}

// Many small records become few writes.
func TestWriteToJoins(t *testing.T) {
	t.Parallel()
	raw, y := unixPair(t)
	var b []byte
	for range 1000 {
		b = append(b, record(wire.RecordData, "0123456789")...)
	}
	_, err := raw.Write(append(b, record(wire.RecordEnd, "")...))
	check(t, err)
	var w countingWriter
	n, err := recordconn.New(y).WriteTo(&w)
	if err != nil || n != 10_000 || w.bytes != 10_000 || w.calls > 10 {
		t.Errorf("WriteTo = %d, %v in %d writes", n, err, w.calls)
	}
}

type countingWriter struct{ calls, bytes int }

func (w *countingWriter) Write(p []byte) (int, error) {
	w.calls++
	w.bytes += len(p)
	return len(p), nil
}

// A failure of the destination is told, and a lost stream too.
func TestWriteToFails(t *testing.T) {
	t.Parallel()
	raw, y := unixPair(t)
	_, err := raw.Write(record(wire.RecordData, "x"))
	check(t, err)
	if _, err := recordconn.New(y).WriteTo(failingWriter{}); err != io.ErrShortWrite {
		t.Errorf("WriteTo = %v", err)
	}
}

type failingWriter struct{}

func (failingWriter) Write([]byte) (int, error) { return 0, io.ErrShortWrite }

// Each direction carries 64 KiB writes; no memory is allocated for them.
func BenchmarkThroughput(b *testing.B) {
	l, err := net.Listen("unix", b.TempDir()+"/s")
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	x, err := net.Dial("unix", l.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	y, err := l.Accept()
	if err != nil {
		b.Fatal(err)
	}
	src, dst := recordconn.New(x), recordconn.New(y)
	done := make(chan error, 1)
	go func() {
		_, err := dst.WriteTo(io.Discard)
		done <- err
	}()
	p := pattern(64 << 10)
	b.SetBytes(int64(len(p)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := src.Write(p); err != nil {
			b.Fatal(err)
		}
	}
	if err := src.CloseWrite(); err != nil {
		b.Fatal(err)
	}
	if err := <-done; err != nil {
		b.Fatal(err)
	}
	_ = src.Close()
	_ = dst.Close()
}
