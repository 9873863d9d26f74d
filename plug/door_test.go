package plug

import (
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A listener is at its ease again some time after a crowd, however large that was.
func TestPress(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var p press
		for range 10 {
			for i := range linksBurst {
				if p.pressed(1) || !p.mayPass() {
					t.Fatalf("pressed by the %d. of a burst", i)
				}
			}
			if !p.pressed(0) || p.mayPass() {
				t.Fatal("at ease after the burst")
			}
			time.Sleep(time.Second)
			for range linksPerSecond {
				if !p.mayPass() {
					t.Fatal("fewer pass than may for long")
				}
			}
			if p.mayPass() {
				t.Fatal("more pass than may for long")
			}
			p.pressed(1_000_000)
			time.Sleep((linksPressed - linksBurst) * time.Second / linksPerSecond)
			if !p.pressed(0) {
				t.Fatal("at ease too early")
			}
			time.Sleep(linksPressed * time.Second / linksPerSecond)
		}
	})
}

// visitors queues visitors from addresses, and tells who goes.
type visitors struct {
	queue
	names map[*visitor]string
}

func (q *visitors) enter(name, from string) string {
	if q.names == nil {
		q.names = map[*visitor]string{}
	}
	v := &visitor{source: netip.MustParseAddr(from)}
	q.names[v] = name
	return q.names[q.add(v)]
}

// leave lets n pass.
func (q *visitors) leave(n int) string {
	var names []string
	for range n {
		names = append(names, q.names[q.next()])
	}
	return strings.Join(names, " ")
}

func TestTurns(t *testing.T) {
	t.Parallel()
	const hog, second, third = "10.0.0.1", "10.0.0.2", "10.0.0.3"
	t.Run("go round", func(t *testing.T) {
		t.Parallel()
		var q visitors
		for _, v := range [][2]string{{"a1", hog}, {"a2", hog}, {"a3", hog}, {"b1", second}, {"c1", third}} {
			if out := q.enter(v[0], v[1]); out != "" {
				t.Errorf("%s gives way", out)
			}
		}
		if got, want := q.leave(5), "a1 b1 c1 a2 a3"; got != want {
			t.Errorf("passed: %s, want %s", got, want)
		}
		if q.size != 0 || len(q.of) != 0 || len(q.order) != 0 {
			t.Errorf("left over: %+v", q.queue)
		}
	})
	t.Run("of one address the oldest gives way", func(t *testing.T) {
		t.Parallel()
		var q visitors
		q.enter("first", hog)
		q.enter("b", second)
		for range maxQueuedOfSource - 1 {
			if out := q.enter("a", hog); out != "" {
				t.Fatalf("%s gives way", out)
			}
		}
		if out := q.enter("last", hog); out != "first" {
			t.Errorf("%q gives way", out)
		}
	})
	t.Run("of all one of many", func(t *testing.T) {
		t.Parallel()
		var q visitors
		q.enter("first", third)
		for range maxQueuedOfSource {
			q.enter("a", hog)
		}
		for i := range maxQueued - maxQueuedOfSource - 1 {
			if out := q.enter("other", netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}).String()); out != "" {
				t.Fatalf("%s gives way", out)
			}
		}
		if out := q.enter("b1", second); out != "a" {
			t.Errorf("%q gives way, want one of those that are many", out)
		}
		if out := q.enter("b2", second); out != "b1" {
			t.Errorf("%q gives way, want the newest one's own", out)
		}
		if got := q.leave(1); got != "first" {
			t.Errorf("%s has passed", got)
		}
	})
	t.Run("some go by themselves", func(t *testing.T) {
		t.Parallel()
		var q visitors
		q.enter("a1", hog)
		q.enter("b1", second)
		q.enter("a2", hog)
		for v, name := range q.names {
			if name != "a2" {
				q.remove(v)
				q.remove(v)
			}
		}
		if q.size != 1 || q.leave(1) != "a2" || len(q.order) != 0 {
			t.Errorf("left over: %+v", q.queue)
		}
	})
}

// Of IPv6 a network counts as one source.
func TestSourceOf(t *testing.T) {
	t.Parallel()
	for addr, want := range map[string]string{
		"192.0.2.1":        "192.0.2.1",
		"::ffff:192.0.2.1": "192.0.2.1",
		"2001:db8::1:2:3":  "2001:db8::",
		"fe80::1%eth0":     "fe80::",
	} {
		if got := sourceOf(netip.MustParseAddr(addr)).String(); got != want {
			t.Errorf("%s: %s, want %s", addr, got, want)
		}
	}
}

func TestOpensTLS(t *testing.T) {
	t.Parallel()
	for head, want := range map[string]Verdict{
		"":                                      TooShort,
		"\x16":                                  TooShort,
		"\x17":                                  NoLink,
		"\x16\x03\x01\x00":                      TooShort,
		"\x16\x02":                              NoLink,
		"\x16\x03\x01\x00\x04\x01\x00\x00":      TooShort,
		"\x16\x03\x01\x00\x04\x01\x00\x00\x00":  MayBeLink,
		"\x16\x03\x03\x00\x04\x01\x00\x00\x00x": MayBeLink,
		"\x16\x03\x01\x00\x04\x02":              NoLink,
	} {
		if got := OpensTLS([]byte(head)); got != want {
			t.Errorf("%x: %v, want %v", head, got, want)
		}
	}
}
