package plug

import (
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// testOpening takes "link" for one.
func testOpening(head []byte) Verdict {
	switch {
	case strings.HasPrefix(string(head), "link"):
		return MayBeLink
	case strings.HasPrefix("link", string(head)):
		return TooShort
	}
	return NoLink
}

// counts are what a door has counted.
type counts struct {
	mu sync.Mutex
	n  map[string]uint64
}

func (c *counts) add(name string, n uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n[name] += n
}

func (c *counts) of(name string) uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.n[name]
}

func newTestDoor() (*door, *counts) {
	c := &counts{n: map[string]uint64{}}
	return newDoor(testOpening, c.add), c
}

// patience is for what comes if all is well.
const patience = 30 * time.Second

// dialled is both ends of a TCP connection.
func dialled(t *testing.T, l net.Listener) (there, here net.Conn) {
	t.Helper()
	there, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	here, err = l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = there.Close()
		_ = here.Close()
	})
	return there, here
}

func listenHere(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func write(t *testing.T, c net.Conn, text string) {
	t.Helper()
	if _, err := c.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
}

// At its ease a door lets all pass, however many those are in time.
func TestDoorAtEase(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d, _ := newTestDoor()
		for range 10 {
			for range linksAtEase {
				if !d.atEase() {
					t.Fatal("pressed")
				}
			}
			for range 10 {
				if d.atEase() {
					t.Fatal("at ease")
				}
			}
			time.Sleep((linksAtEase + 10) * time.Second / linksPerSecond)
		}
		d.pressed(1_000_000) // is forgotten as soon as any other press
		time.Sleep(linksPressed * time.Second / linksPerSecond)
		if !d.atEase() {
			t.Error("pressed long after")
		}
	})
}

// Those that wait pass one of each source in turn, and no faster than they may.
func TestDoorTurns(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d, counted := newTestDoor()
		var at [3]netip.Addr
		for i := range at {
			at[i] = netip.AddrFrom4([4]byte{10, 0, 0, byte(i)})
		}
		for range linksBurst {
			if !<-d.queue(at[0]) {
				t.Fatal("one of the burst may not pass")
			}
		}
		var mu sync.Mutex
		var passed []string
		enter := func(name string, source netip.Addr) {
			turn := d.queue(source)
			go func() {
				ok := <-turn
				mu.Lock()
				defer mu.Unlock()
				if !ok {
					name += " not"
				}
				passed = append(passed, name)
			}()
			synctest.Wait()
		}
		expect := func(want ...string) {
			t.Helper()
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			if slices.Sort(passed); !slices.Equal(passed, want) { // those of one moment
				t.Fatalf("passed: %q, want %q", passed, want)
			}
			passed = nil
		}
		for _, name := range []string{"a1", "a2", "a3", "a4"} {
			enter(name, at[0])
		}
		enter("b1", at[1])
		enter("c1", at[2])
		expect()
		time.Sleep(turnsEvery)
		expect("a1", "b1")
		time.Sleep(turnsEvery)
		expect("a2", "a3", "c1")
		time.Sleep(turnsEvery)
		expect("a4")
		if d.queued != 0 || len(d.queues) != 0 || len(d.order) != 0 {
			t.Errorf("%d wait, of %d sources", d.queued, len(d.order))
		}

		// More than there is room for: the oldest of that source gives way.
		d.passed.level = linksBurst * 10
		for range maxQueuedOfSource {
			enter("a", at[0])
		}
		enter("b", at[1])
		enter("a", at[0])
		expect("a not")
		if n := counted.of(countCrowdedOut); n != 1 {
			t.Errorf("%d were counted", n)
		}
		// In all: of those of which there are most, unless it is the newest's own.
		for i := range maxQueued - maxQueuedOfSource - 1 {
			enter("other", netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}))
		}
		expect()
		enter("c", at[2])
		expect("a not")
		enter("b", at[1])
		expect("b not")
		d.shut()
		synctest.Wait()
		if len(passed) != maxQueued {
			t.Errorf("%d were let go, want %d", len(passed), maxQueued)
		}
		for _, name := range passed {
			if !strings.HasSuffix(name, " not") {
				t.Errorf("%s has passed", name)
			}
		}
		if <-d.queue(at[0]) {
			t.Error("one has passed after the end")
		}
	})
}

// A connection is judged by what it says, and nothing of that is taken away.
func TestDoorLooks(t *testing.T) {
	t.Parallel()
	d, _ := newTestDoor()
	l := listenHere(t)
	there, here := dialled(t, l)
	said := make(chan Verdict, 1)
	look := func() { said <- d.look(here) }
	expect := func(what string, want Verdict) {
		t.Helper()
		select {
		case v := <-said:
			if v != want {
				t.Errorf("%s: %v, want %v", what, v, want)
			}
		case <-time.After(patience):
			t.Fatalf("%s: still waits", what)
		}
	}
	go look()
	write(t, there, "li")
	awaitDoor(t, d, func() bool { return d.mute.Len() == 1 })
	write(t, there, "nk and more")
	expect("byte by byte", MayBeLink)
	if err := here.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 100)
	n, err := here.Read(b)
	if err != nil || string(b[:n]) != "link and more" {
		t.Errorf("read %q, %v", b[:n], err)
	}

	there, here = dialled(t, l)
	write(t, there, "lie")
	go look()
	expect("something else", NoLink)

	there, here = dialled(t, l)
	go look()
	_ = there.Close()
	expect("an end", TooShort)

	_, here = dialled(t, l)
	go look()
	awaitDoor(t, d, func() bool { return d.mute.Len() == 1 })
	for range maxMute - 1 {
		_, other := dialled(t, l)
		if d.await(other) == nil {
			t.Fatal("there is no room")
		}
	}
	_, last := dialled(t, l)
	d.await(last)
	expect("the oldest of too many", TooShort)
	if d.mute.Len() != maxMute {
		t.Errorf("%d wait, want %d", d.mute.Len(), maxMute)
	}
	d.shut()
	if _, err := last.Read(b); err == nil || d.await(last) != nil {
		t.Errorf("after the end: %v", err)
	}
}

// awaitDoor waits for a condition that only d's mutex guards.
func awaitDoor(t *testing.T, d *door, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		d.mu.Lock()
		done := ok()
		d.mu.Unlock()
		if done {
			return
		}
		if time.Now().After(end) {
			t.Fatal("waited in vain")
		}
	}
}

// Of IPv6 a network counts as one source.
func TestSourceOf(t *testing.T) {
	t.Parallel()
	for addr, want := range map[string]string{
		"192.0.2.1:1":          "192.0.2.1",
		"[::ffff:192.0.2.1]:2": "192.0.2.1",
		"[2001:db8::1:2:3]:3":  "2001:db8::",
		"[fe80::1%eth0]:4":     "fe80::",
	} {
		c := addressed{remote: net.TCPAddrFromAddrPort(netip.MustParseAddrPort(addr))}
		if got := sourceOf(c).String(); got != want {
			t.Errorf("%s: %s, want %s", addr, got, want)
		}
	}
}

// addressed is a connection that has an address only.
type addressed struct {
	net.Conn
	remote net.Addr
}

func (a addressed) RemoteAddr() net.Addr { return a.remote }
