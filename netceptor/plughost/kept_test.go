//go:build unix

package plughost

import (
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/project-receptor/receptor/netceptor"
	"github.com/project-receptor/receptor/netceptor/internal/adopted"
	"github.com/project-receptor/receptor/plug/plugtest"
	"github.com/project-receptor/receptor/plug/wire"
)

// listening returns a TCP listener's address and its file.
func listening(t *testing.T) (string, *os.File) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f, err := l.(*net.TCPListener).File()
	if err := errors.Join(err, l.Close()); err != nil {
		t.Fatal(err)
	}
	return l.Addr().String(), f
}

// keepIt lets the core keep a listening socket for an item.
func (g *giver) keepIt(item, key string) (address string) {
	g.t.Helper()
	address, f := listening(g.t)
	if _, err := g.give(wire.TypeKeep, wire.Keep{Item: item, Key: key}, f); err != nil {
		g.t.Fatal(err)
	}
	return address
}

// take asks for a kept socket.
func (g *giver) take(item, key string) (*os.File, error) {
	files, err := g.CallFiles(g.t.Context(), wire.TypeTake, wire.Take{Item: item, Key: key}, nil, nil)
	if err != nil {
		return nil, err
	}
	if len(files) != 1 {
		g.t.Fatalf("TAKE came with %d descriptors", len(files))
	}
	return files[0], nil
}

// Whoever connects while a plug is away waits, and is served when it is back.
func TestKept(t *testing.T) {
	t.Parallel()
	const item = "tcp-listener port=1"
	r := newRig(t, "alpha", Config{})
	r.SetItems([]Item{listenerItem(1)})
	p := r.attachGiver("backend", nil, tcpListener())
	p.configured(item)
	_ = p.keepIt(item, "a") // replaced by the next
	address := p.keepIt(item, "a")
	p.kill()
	r.eventually("the plug to be gone", func() bool { return len(r.Plugs()) == 0 })

	early, err := net.DialTimeout("tcp", address, plugtest.Patience)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := early.Write([]byte("early")); err != nil {
		t.Fatal(err)
	}

	back := r.attachGiver("backend", nil, tcpListener())
	back.configured(item)
	_, err = back.take(item, "b")
	wantError(t, err, wire.CodeNotFound, `"b"`)
	for _, want := range []string{"early", ""} { // it can be taken again
		f, err := back.take(item, "a")
		if err != nil {
			t.Fatal(err)
		}
		l, err := net.FileListener(f)
		if err := errors.Join(err, f.Close()); err != nil {
			t.Fatal(err)
		}
		if want != "" {
			c, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			patient(t, c)
			got := make([]byte, len(want))
			if _, err := io.ReadFull(c, got); err != nil || string(got) != want {
				t.Errorf("got %q, %v", got, err)
			}
			if err := errors.Join(c.Close(), early.Close()); err != nil {
				t.Error(err)
			}
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}

	r.SetItems(nil) // the item goes, and its socket with it
	if c, err := net.Dial("tcp", address); err == nil {
		_ = c.Close()
		t.Error("the socket of an item that is no more listens")
	}
}

func TestKeepRefused(t *testing.T) {
	t.Parallel()
	const item = "tcp-listener port=1"
	r := newRig(t, "alpha", Config{})
	r.SetItems([]Item{listenerItem(1)})
	p := r.attachGiver("backend", nil, tcpListener())
	p.configured(item)
	_, connected := tcpPair(t)
	_, err := p.give(wire.TypeKeep, wire.Keep{Item: item}, connected)
	wantError(t, err, wire.CodeInvalid, "does not listen")
	_, err = p.give(wire.TypeKeep, wire.Keep{Item: item})
	wantError(t, err, wire.CodeInvalid, "0 descriptors")
	_, f := listening(t)
	_, err = p.give(wire.TypeKeep, wire.Keep{Item: "tcp-listener port=2"}, f)
	wantError(t, err, wire.CodeDenied, "no item")
	_, err = p.take("tcp-listener port=2", "")
	wantError(t, err, wire.CodeDenied, "no item")
	_, err = p.take(item, "")
	wantError(t, err, wire.CodeNotFound, "kept")

	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f, err = c.(*net.UDPConn).File()
	if err := errors.Join(err, c.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := p.give(wire.TypeKeep, wire.Keep{Item: item, Key: "udp"}, f); err != nil {
		t.Errorf("a datagram socket: %v", err)
	}
}

// What was kept for a plug that does not come back is given up; what another has
// taken meanwhile is not.
func TestKeptLinger(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n, err := netceptor.New(netceptor.Config{NodeID: "alpha"}) // never started
		if err != nil {
			t.Fatal(err)
		}
		h, err := New(Config{Node: n})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = h.Close() }()
		gone, back := &guest{host: h, gone: true}, &guest{host: h}
		lost, taken := keptKey{item: "lost"}, keptKey{item: "taken"}
		for _, key := range []keptKey{lost, taken} {
			_, f := listening(t)
			sock, err := adopted.Keep(f)
			if err != nil {
				t.Fatal(err)
			}
			h.kept[key] = &kept{sock: sock, holder: gone}
		}
		there := func(key keptKey) bool {
			synctest.Wait()
			h.mu.Lock()
			defer h.mu.Unlock()
			return h.kept[key] != nil
		}
		h.mu.Lock()
		h.orphanKept(gone)
		h.kept[taken].holder = back
		h.mu.Unlock()
		time.Sleep(keptLinger - time.Nanosecond)
		if !there(lost) || !there(taken) {
			t.Error("given up too early")
		}
		time.Sleep(time.Nanosecond)
		if there(lost) || !there(taken) {
			t.Errorf("lost: %v, taken: %v", there(lost), there(taken))
		}
	})
}
