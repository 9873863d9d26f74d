package socket

import (
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"
)

// Both ends carry bytes, heed deadlines (so they do not block a thread), and see
// the other's close as an end.
func TestPair(t *testing.T) {
	t.Parallel()
	core, plug, err := Pair()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = core.Close(), plug.Close() })
	for name, ends := range map[string][2]net.Conn{"to core": {plug, core}, "to plug": {core, plug}} {
		from, to := ends[0], ends[1]
		if err := to.SetReadDeadline(time.Unix(1, 0)); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if _, err := to.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s: read with a deadline that has passed: %v", name, err)
		}
		if err := to.SetReadDeadline(time.Time{}); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		sent := make(chan error, 1)
		go func() {
			_, err := from.Write([]byte("hello"))
			sent <- err
		}()
		got := make([]byte, 5)
		if _, err := io.ReadFull(to, got); err != nil || string(got) != "hello" {
			t.Errorf("%s: %q, %v", name, got, err)
		}
		if err := <-sent; err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := plug.Close(); err != nil {
		t.Fatal(err)
	}
	if n, err := core.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
		t.Errorf("after the other end's close: %d, %v", n, err)
	}
}

// The peer of a pair is this process itself.
func TestPairCredentials(t *testing.T) {
	t.Parallel()
	core, plug, err := Pair()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = core.Close(), plug.Close() })
	cred, err := PeerCred(core)
	if err != nil {
		t.Fatal(err)
	}
	if cred.Known && (int(cred.UID) != os.Geteuid() || cred.PID != os.Getpid()) {
		t.Errorf("peer is %+v, want uid %d and pid %d", cred, os.Geteuid(), os.Getpid())
	}
}
