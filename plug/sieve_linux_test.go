package plug

import (
	"errors"
	"io"
	"maps"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
)

// sifted is a listener with a door, pressed at first.
type sifted struct {
	*sieve
	t *testing.T

	mu     sync.Mutex
	counts map[string]uint64
}

// patience is for what comes if all is well.
const patience = 30 * time.Second

// newSifted takes "link" for the beginning of a link.
func newSifted(t *testing.T) *sifted {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &sifted{t: t, counts: map[string]uint64{}}
	guarded := guard(l, func(head []byte) Verdict {
		switch {
		case strings.HasPrefix(string(head), "link"):
			return MayBeLink
		case strings.HasPrefix("link", string(head)):
			return TooShort
		}
		return NoLink
	}, func(name string, n uint64) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.counts[name] += n
	})
	s.sieve = guarded.(*sieve) //nolint:forcetypeassert // of TCP
	t.Cleanup(func() { _ = s.Close() })
	s.press.came = bucket{linksPressed, time.Now()}
	return s
}

// dial connects and says something.
func (s *sifted) dial(text string) net.Conn {
	s.t.Helper()
	c, err := net.Dial("tcp", s.Addr().String())
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = c.Close() })
	s.say(c, text)
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		s.t.Fatal(err)
	}
	return c
}

func (s *sifted) say(c net.Conn, text string) {
	s.t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		s.t.Fatal(err)
	}
}

// sift looks once, and returns how many have passed.
func (s *sifted) sift() int {
	s.t.Helper()
	s.sieve.mu.Lock()
	defer s.sieve.mu.Unlock()
	if err := s.look(); err != nil {
		s.t.Fatal(err)
	}
	return len(s.passed)
}

// until looks until something is so.
func (s *sifted) until(what string, ok func() bool) {
	s.t.Helper()
	for end := time.Now().Add(patience); !ok(); s.sift() {
		if time.Now().After(end) {
			s.t.Fatalf("waited in vain for %s", what)
		}
	}
}

func (s *sifted) expectCounts(want map[string]uint64) {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if !maps.Equal(s.counts, want) {
		s.t.Errorf("counted %v, want %v", s.counts, want)
	}
}

// wantGone checks that a connection was closed without a word.
func wantGone(t *testing.T, what string, c net.Conn) {
	t.Helper()
	if n, err := c.Read(make([]byte, 1)); n > 0 || err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%s: read %d bytes, %v", what, n, err)
	}
}

// What is no link does not pass, and of what may be one nothing is lost.
func TestSieve(t *testing.T) {
	t.Parallel()
	s := newSifted(t)
	liar, silent, slow, ends := s.dial("lie"), s.dial(""), s.dial("li"), s.dial("l")
	s.until("them to be here", func() bool { return s.mute.Len() == 3 })
	wantGone(t, "what is no link", liar)
	s.expectCounts(map[string]uint64{countNoHello: 1})

	if err := ends.Close(); err != nil {
		t.Fatal(err)
	}
	s.until("one to go", func() bool { return s.mute.Len() == 2 })
	s.expectCounts(map[string]uint64{countNoHello: 1, countMute: 1})

	s.say(slow, "nk and more")
	c, err := s.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, ok := c.(*net.TCPConn); !ok || c.RemoteAddr().String() != slow.LocalAddr().String() {
		t.Errorf("accepted a %T from %v, not from %v", c, c.RemoteAddr(), slow.LocalAddr())
	}
	b := make([]byte, len("link and more"))
	if _, err := io.ReadFull(c, b); err != nil || string(b) != "link and more" {
		t.Errorf("read %q, %v", b, err)
	}

	// The silent one has ten seconds.
	for _, v := range s.visitors {
		v.since = time.Now().Add(-muteTime)
	}
	s.sift()
	wantGone(t, "a silent one, in the end", silent)
	if len(s.visitors)+s.mute.Len()+len(s.places)+s.queue.size != 0 {
		t.Errorf("left over: %v", s.visitors)
	}
}

// Of too many that are silent the oldest gives way.
func TestSieveOfMute(t *testing.T) {
	t.Parallel()
	s := newSifted(t)
	oldest := s.dial("")
	s.until("it to be here", func() bool { return s.mute.Len() == 1 })
	for range maxMute {
		s.dial("")
	}
	s.until("them to be here", func() bool { return s.counts[countMute] == 1 })
	wantGone(t, "the oldest", oldest)
	if s.mute.Len() != maxMute || len(s.visitors) != maxMute {
		t.Errorf("%d are silent, of %d", s.mute.Len(), len(s.visitors))
	}
}

// Those who wait for their turn and go meanwhile do not pass.
func TestSieveOfTurns(t *testing.T) {
	t.Parallel()
	s := newSifted(t)
	s.press.passed = bucket{linksBurst, time.Now().Add(time.Hour)} // none may pass
	first, second := s.dial("link"), s.dial("link")
	s.until("them to wait", func() bool { return s.queue.size == 2 })
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	s.until("one to go", func() bool { return s.queue.size == 1 })
	for range maxQueuedOfSource + 1 {
		s.dial("link")
	}
	s.until("them to wait", func() bool { return s.counts[countCrowdedOut] == 2 })
	wantGone(t, "the oldest of too many", second)
	s.press.passed = bucket{}
	if n := s.sift(); n != maxQueuedOfSource {
		t.Errorf("%d pass, want %d", n, maxQueuedOfSource)
	}
}

// The end of the listener is that of all who have not been accepted, and of Accept.
func TestSieveCloses(t *testing.T) {
	t.Parallel()
	s := newSifted(t)
	silent, passed := s.dial(""), s.dial("link")
	s.until("them to be here", func() bool { return s.mute.Len() == 1 && len(s.passed) == 1 })
	accept := make(chan error, 1)
	go func() {
		for {
			c, err := s.Accept()
			if err != nil {
				accept <- err
				return
			}
			_ = c.Close()
		}
	}()
	wantGone(t, "the one that was accepted", passed)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-accept; !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept: %v", err)
	}
	wantGone(t, "the silent one", silent)
}

// At its ease a listener lets all pass, and one that was pressed becomes so.
func TestSieveAtEase(t *testing.T) {
	t.Parallel()
	s := newSifted(t)
	silent := s.dial("")
	s.until("it to be here", func() bool { return s.mute.Len() == 1 })
	s.press.came = bucket{}
	accepted := make(chan net.Conn, 1)
	go func() {
		if c, err := s.Accept(); err == nil {
			accepted <- c
		}
	}()
	s.say(silent, "link")
	c := <-accepted
	defer c.Close()
	go func() {
		if c, err := s.Accept(); err == nil {
			accepted <- c
		}
	}()
	another := s.dial("lie")
	c = <-accepted
	defer c.Close()
	if c.RemoteAddr().String() != another.LocalAddr().String() {
		t.Errorf("accepted %v, not %v", c.RemoteAddr(), another.LocalAddr())
	}
}
