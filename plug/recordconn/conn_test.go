package recordconn_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"syscall"
	"testing"

	"github.com/project-receptor/receptor/plug/recordconn"
	"github.com/project-receptor/receptor/plug/socket"
	"github.com/project-receptor/receptor/plug/wire"
)

// transports are what a stream must work over.
var transports = map[string]func(t *testing.T) (net.Conn, net.Conn){
	"pipe": func(*testing.T) (net.Conn, net.Conn) { return net.Pipe() },
	"unix": unixPair,
}

// unixPair returns the two ends of a Unix connection.
func unixPair(t *testing.T) (net.Conn, net.Conn) {
	t.Helper()
	a, b, err := socket.Pair()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = a.Close(), b.Close() })
	return a, b
}

// each runs f over every transport, with streams at both ends.
func each(t *testing.T, f func(t *testing.T, a, b *recordconn.Conn)) {
	t.Helper()
	for name, pair := range transports {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x, y := pair(t)
			a, b := recordconn.New(x), recordconn.New(y)
			t.Cleanup(func() { _, _ = a.Close(), b.Close() })
			f(t, a, b)
		})
	}
}

func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i ^ i>>8)
	}
	return b
}

func wantReset(t *testing.T, err error, code string) {
	t.Helper()
	var r *recordconn.ResetError
	if !errors.As(err, &r) || r.Code != code {
		t.Errorf("error is %v, want a reset with code %s", err, code)
	}
	if !errors.Is(err, syscall.ECONNRESET) || errors.Is(err, net.ErrClosed) {
		t.Errorf("%v must match ECONNRESET only", err)
	}
}

func TestCleanEnd(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, a, b *recordconn.Conn) {
		want := pattern(1_000_000)
		sent := make(chan error, 1)
		go func() {
			_, err := a.Write(want)
			sent <- errors.Join(err, a.CloseWrite())
		}()
		got, err := io.ReadAll(b)
		if err != nil || !bytes.Equal(got, want) {
			t.Fatalf("read %d bytes, %v", len(got), err)
		}
		if err := <-sent; err != nil {
			t.Fatal(err)
		}
		go func() { sent <- b.CloseWrite() }()
		if n, err := a.Read(make([]byte, 1)); n != 0 || err != io.EOF {
			t.Fatalf("Read = %d, %v; want EOF", n, err)
		}
		if err := errors.Join(<-sent, a.Close(), b.Wait(), b.Close()); err != nil {
			t.Fatal(err)
		}
	})
}

func TestResetUnblocksWrite(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, a, b *recordconn.Conn) {
		failed := make(chan error, 1)
		started := make(chan struct{})
		go func() {
			close(started)
			for {
				if _, err := a.Write(pattern(100_000)); err != nil {
					failed <- err
					return
				}
			}
		}()
		<-started
		if _, err := b.Read(make([]byte, 1)); err != nil { // it is under way
			t.Fatal(err)
		}
		if err := b.Reset(wire.Reset{Code: wire.CodeRefused, Msg: "x"}); err != nil {
			t.Fatal(err)
		}
		var r *recordconn.ResetError
		if err := <-failed; !errors.As(err, &r) {
			t.Fatalf("Write = %v, want a reset", err)
		}
		_, err := a.Read(make([]byte, 1))
		if !errors.As(err, &r) {
			t.Fatalf("Read = %v, want a reset", err)
		}
	})
}
