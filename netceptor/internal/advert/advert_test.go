package advert

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/project-receptor/receptor/netceptor/internal/wire"
)

var start = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// ad is a message of a node about a service.
func ad(node, service string, at time.Time, tags ...string) []byte {
	a := wire.Advert{NodeID: node, Service: service, Time: at, Tags: map[string]string{"type": strings.Join(tags, " ")}}
	return a.Append(nil)
}

func cancel(node, service string, at time.Time) []byte {
	return (&wire.Advert{NodeID: node, Service: service, Time: at, Cancel: true}).Append(nil)
}

func gone(node, service string, at time.Time) []byte {
	return (&wire.Advert{NodeID: node, Service: service, Time: at, Gone: true}).Append(nil)
}

// services are the known ones, as node/service.
func services(m *Machine) string {
	var names []string
	for _, a := range m.Known(start) {
		names = append(names, a.NodeID+"/"+a.Service)
	}
	return strings.Join(names, " ")
}

func TestReceive(t *testing.T) {
	t.Parallel()
	at := func(s int) time.Time { return start.Add(time.Duration(s) * time.Second) }
	type step struct {
		msg     []byte
		ignored string // else it is relayed
		changed bool
		known   string
	}
	for _, c := range []struct {
		name  string
		steps []step
	}{
		{"the later holds", []step{
			{ad("a", "s", at(10)), "", true, "a/s"},
			{ad("a", "s", at(10)), IgnoredStale, false, "a/s"},
			{ad("a", "s", at(9), "older"), IgnoredStale, false, "a/s"},
			{ad("a", "s", at(70)), "", false, "a/s"},
			{ad("a", "s", at(71), "other"), "", true, "a/s"},
			{ad("a", "s", at(72).In(time.FixedZone("", 3600)), "other"), "", false, "a/s"},
			{ad("a", "t", at(1)), "", true, "a/s a/t"},
			{ad("A", "s", at(1)), "", true, "A/s a/s a/t"},
		}},
		{"cancel", []step{
			{ad("a", "s", at(10)), "", true, "a/s"},
			{cancel("a", "s", at(9)), IgnoredStale, false, "a/s"},
			{cancel("a", "s", at(11)), "", true, ""},
			{cancel("a", "s", at(11)), IgnoredStale, false, ""},
			{cancel("a", "s", at(12)), IgnoredCancel, false, ""},
			{ad("a", "s", at(12)), IgnoredStale, false, ""},
			{ad("a", "s", at(13)), "", true, "a/s"},
		}},
		{"cancel of what is unknown", []step{
			{cancel("a", "s", at(11)), IgnoredCancel, false, ""},
			{ad("a", "s", at(10)), IgnoredStale, false, ""},
		}},
		{"gone", []step{
			{gone("a", "s", at(8)), IgnoredCancel, false, ""},
			{ad("a", "s", at(10)), "", true, "a/s"},
			{gone("a", "s", at(9)), IgnoredStale, false, "a/s"},
			{gone("a", "s", at(11)), "", true, ""},
			{gone("a", "s", at(11)), IgnoredStale, false, ""},
			{gone("a", "s", at(12)), IgnoredCancel, false, ""},
			{ad("a", "s", at(12)), IgnoredStale, false, ""},
			{ad("a", "s", at(13)), "", true, "a/s"},
			{gone("me", "s", at(14)), IgnoredOwn, false, "a/s"},
		}},
		{"junk", []step{
			{nil, IgnoredMalformed, false, ""},
			{[]byte{2}, IgnoredMalformed, false, ""},
			{[]byte("\x02null"), IgnoredMalformed, false, ""},
			{[]byte("\x02{}"), IgnoredMalformed, false, ""},
			{[]byte("\x02" + `{"Cancel":true}`), IgnoredMalformed, false, ""},
			{ad("a", "s", at(10), strings.Repeat("x", MaxSize)), IgnoredSize, false, ""},
			{ad("me", "s", at(10)), IgnoredOwn, false, ""},
			{cancel("me", "s", at(10)), IgnoredOwn, false, ""},
			{ad("a", "s", start.Add(MaxAhead+1)), IgnoredAhead, false, ""},
			{ad("a", "s", start.Add(MaxAhead)), "", true, "a/s"},
			{ad("a", "t", start.AddDate(-30, 0, 0)), "", true, "a/s a/t"},
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			m := New("me")
			for i, s := range c.steps {
				e := m.Receive(start, "n", s.msg)
				if e.Ignored != s.ignored || e.Changed != s.changed || services(m) != s.known {
					t.Fatalf("step %d: ignored for %q, changed %v, known %q", i+1, e.Ignored, e.Changed, services(m))
				}
				relayed := len(e.Send) == 1 && e.Send[0].To == "" && e.Send[0].Except == "n" && bytes.Equal(e.Send[0].Message, s.msg)
				if relayed != (s.ignored == "") || !relayed && len(e.Send) > 0 {
					t.Fatalf("step %d: sends %q", i+1, e.Send)
				}
			}
		})
	}
}

// The recorded relay: what a legacy node passes on we do too, to the byte, but for
// a Cancel that cancels nothing.
func TestRecordedRelay(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile("../wire/testdata/vectors/03-service-advertisements.json")
	if err != nil {
		t.Fatal(err)
	}
	type message struct {
		Hex string `json:"message_hex"`
	}
	var file struct {
		Groups []struct {
			Name    string
			In, Out []message
		}
	}
	if err := json.Unmarshal(b, &file); err != nil {
		t.Fatal(err)
	}
	group := file.Groups[len(file.Groups)-1]
	if !strings.HasPrefix(group.Name, "relay") || len(group.In) != 6 || len(group.Out) != 3 {
		t.Fatalf("other vectors: %s", group.Name)
	}
	m := New("delta")
	var out []string
	for _, in := range group.In {
		msg, err := hex.DecodeString(in.Hex)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range m.Receive(start, "right", msg).Send {
			out = append(out, hex.EncodeToString(s.Message))
		}
	}
	if want := []string{group.Out[0].Hex, group.Out[1].Hex}; !slices.Equal(out, want) {
		t.Errorf("relayed\n%q\nwant\n%q", out, want)
	}
}

func TestOwn(t *testing.T) {
	t.Parallel()
	m := New("me")
	if !m.Next().IsZero() {
		t.Error("there is nothing to do")
	}
	m.Publish(start, wire.Advert{Service: "t", ConnType: wire.ConnStream, Cancel: true})
	m.Publish(start.Add(time.Second), wire.Advert{NodeID: "other", Service: "s", Tags: map[string]string{"a": "b"}})
	if at := m.Next().Sub(start); at != FirstAfter {
		t.Fatalf("first due after %v", at)
	}
	if k := m.Known(start); len(k) != 2 || services(m) != "me/s me/t" || !k[0].Time.Equal(start) {
		t.Errorf("known %+v", k)
	}
	now := m.Next()
	var last time.Time
	sent := func(e Effects, to string) {
		t.Helper()
		if len(e.Send) != 2 {
			t.Fatalf("sends %d ads", len(e.Send))
		}
		for i, s := range e.Send {
			a, err := wire.ParseAdvert(s.Message)
			if err != nil {
				t.Fatal(err)
			}
			if a.NodeID != "me" || a.Service != []string{"s", "t"}[i] || a.Cancel || s.To != to || s.Except != "" {
				t.Errorf("sent to %q: %+v", s.To, a)
			}
			if !a.Time.After(last) {
				t.Errorf("time %v is not after %v", a.Time, last)
			}
			last = a.Time
		}
	}
	sent(m.Tick(now), "")
	if m.Next() != now.Add(Period) {
		t.Errorf("repeated after %v", m.Next().Sub(now))
	}
	sent(m.LinkUp(now, "n"), "n")                 // at the same time, yet later
	sent(m.LinkUp(now.Add(-time.Hour), "n"), "n") // the clock was set back
	sent(m.Tick(m.Next()), "")

	m.Withdraw(now, "s")
	if e := m.Withdraw(now, "s"); e.Changed {
		t.Error("withdrawn twice")
	}
	if e := m.LinkUp(now, "n"); len(e.Send) != 1 || services(m) != "me/t" {
		t.Errorf("%d ads after one of two was withdrawn, known %q", len(e.Send), services(m))
	}
	m.Withdraw(now, "t")
	if services(m) != "" || len(m.LinkUp(now, "n").Send) != 0 {
		t.Error("a withdrawn service lives on")
	}
}

// Others are told of a service that is gone, once, unless it comes back, and unless
// nobody has heard of it.
func TestGone(t *testing.T) {
	t.Parallel()
	m, other := New("me"), New("other")
	told := func(now time.Time, e Effects) (names []string) {
		t.Helper()
		for _, s := range e.Send {
			if s.To != "" || s.Except != "" {
				t.Errorf("sent to %q but %q", s.To, s.Except)
			}
			a, err := wire.ParseAdvert(s.Message)
			if err != nil {
				t.Fatal(err)
			}
			name := a.Service
			if a.Gone {
				name = "no " + name
			}
			if a.Cancel || a.Gone && (a.Tags != nil || a.WorkCommands != nil || a.ConnType != wire.ConnStream) {
				t.Errorf("sent %+v", a)
			}
			names = append(names, name)
			if ignored := other.Receive(now, "me", s.Message).Ignored; ignored != "" {
				t.Errorf("%s is ignored for %q", name, ignored)
			}
		}
		return names
	}
	ads := func(service string) wire.Advert {
		return wire.Advert{Service: service, ConnType: wire.ConnStream, Tags: map[string]string{"a": "b"}, WorkCommands: []wire.WorkCommand{{WorkType: "w"}}}
	}
	for _, service := range []string{"a", "b", "back"} {
		m.Publish(start, ads(service))
	}
	now := start.Add(FirstAfter)
	if got := told(now, m.Tick(now)); !slices.Equal(got, []string{"a", "b", "back"}) {
		t.Fatalf("told %q", got)
	}
	m.Publish(now, ads("unheard"))
	for _, service := range []string{"back", "unheard", "a"} {
		m.Withdraw(now, service)
	}
	m.Withdraw(now.Add(time.Second), "b")
	if services(m) != "" {
		t.Errorf("known here: %q", services(m))
	}
	m.Publish(now.Add(GoneAfter-1), ads("back"))
	if at := m.Next().Sub(now); at != GoneAfter {
		t.Errorf("the first is gone after %v", at)
	}
	if got := told(now, m.Tick(now.Add(GoneAfter))); !slices.Equal(got, []string{"no a"}) {
		t.Errorf("told %q", got)
	}
	if got := told(now, m.Tick(now.Add(GoneAfter+time.Second))); !slices.Equal(got, []string{"no b"}) {
		t.Errorf("then told %q", got)
	}
	if got := services(other); got != "me/back" {
		t.Errorf("known elsewhere: %q", got)
	}
	m.Withdraw(now, "back") // told before, and not since it came back
	if got := told(now, m.Tick(m.Next())); !slices.Equal(got, []string{"no back"}) || len(m.own) != 0 || !m.Next().IsZero() {
		t.Errorf("at last told %q; %d are left, next at %v", got, len(m.own), m.Next())
	}
}

// Services that come and go without end leave no more to tell than others keep.
func TestGoneIsBounded(t *testing.T) {
	t.Parallel()
	m := New("me")
	for i := range 2 * MaxOfNode {
		m.Publish(start, wire.Advert{Service: fmt.Sprint(i)})
		m.LinkUp(start, "n")
		m.Withdraw(start, fmt.Sprint(i))
	}
	if got := len(m.Tick(start.Add(GoneAfter)).Send); got != MaxOfNode || len(m.own) != 0 {
		t.Errorf("%d are told, %d left", got, len(m.own))
	}
}

// After a restart with the clock set right, our ads are later than those of before.
func TestOwnAfterFasterClock(t *testing.T) {
	t.Parallel()
	m := New("me")
	m.Publish(start, wire.Advert{Service: "s"})
	before := start.Add(time.Hour)
	m.Receive(start, "n", ad("me", "s", before))
	a, err := wire.ParseAdvert(m.Tick(m.Next()).Send[0].Message)
	if err != nil || !a.Time.After(before) {
		t.Errorf("%+v, %v: not after %v", a, err, before)
	}
}

func TestExpire(t *testing.T) {
	t.Parallel()
	m := New("me")
	m.Receive(start, "n", ad("a", "dead", start))
	m.Receive(start, "n", cancel("a", "gone", start))
	ended := time.Time{}
	for now := start; now.Sub(start) < 2*ExpireAfter; {
		now = m.Next()
		if e := m.Tick(now); e.Changed {
			ended = now
		}
		m.Receive(now, "n", ad("a", "alive", now))
	}
	if got := services(m); got != "a/alive" || ended.Sub(start) != ExpireAfter {
		t.Errorf("known %q, changed after %v", got, ended.Sub(start))
	}
	if len(m.entries) != 1 || m.ofNode["a"] != 1 || m.bytes != len(ad("a", "alive", start)) {
		t.Errorf("%d entries, counts %v, %d bytes", len(m.entries), m.ofNode, m.bytes)
	}
	for !m.Next().IsZero() {
		m.Tick(m.Next())
	}
	if len(m.entries) != 0 || len(m.ofNode) != 0 || m.bytes != 0 {
		t.Errorf("%d entries, counts %v, %d bytes", len(m.entries), m.ofNode, m.bytes)
	}
}

func TestLimits(t *testing.T) {
	t.Parallel()
	size := len(ad("a", "s0", start))
	for _, c := range []struct {
		name   string
		limits limits
		want   []string // for services 0 and 1 of nodes a, b, c
	}{
		{"of a node", limits{1, 10, 10 * size, 10, 10 * size}, []string{"", IgnoredOfNode, "", IgnoredOfNode, "", IgnoredOfNode}},
		{"entries", limits{10, 3, 10 * size, 10, 10 * size}, []string{"", "", "", IgnoredEntries, IgnoredEntries, IgnoredEntries}},
		{"bytes", limits{10, 10, 4 * size, 10, 10 * size}, []string{"", "", "", "", IgnoredEntries, IgnoredEntries}},
		{"entries of a neighbour", limits{10, 10, 10 * size, 3, 10 * size}, []string{"", "", "", IgnoredNeighbour, IgnoredNeighbour, IgnoredNeighbour}},
		{"bytes of a neighbour", limits{10, 10, 10 * size, 10, 4 * size}, []string{"", "", "", "", IgnoredNeighbour, IgnoredNeighbour}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			m := New("me")
			m.limits = c.limits
			for i, want := range c.want {
				node := string(rune('a' + i/2))
				if got := m.Receive(start, "n", ad(node, fmt.Sprint("s", i%2), start)).Ignored; got != want {
					t.Errorf("ad %d: ignored for %q, want %q", i, got, want)
				}
			}
			if got := m.Receive(start, "n", ad("a", "s0", start.Add(1))).Ignored; got != "" && !strings.HasPrefix(c.name, "bytes") {
				t.Errorf("a known service is ignored for %q", got)
			}
		})
	}
}

func TestReplay(t *testing.T) {
	t.Parallel()
	m := New("me")
	const count = 2*ReplayBatch + 5
	later := start.Add(ReplayFresh)
	m.Receive(start.Add(-1), "n", ad("old", "s", start))
	m.Receive(later, "n", ad("gone", "s", start))
	m.Receive(later, "n", cancel("gone", "s", start.Add(1)))
	m.Receive(later, "n", ad("peer", "s", start))
	want := make(map[string]bool)
	for i := range count {
		msg := ad(fmt.Sprintf("x%03d", i), "s", start)
		want[string(msg)] = true
		m.Receive(later, "n", msg)
	}
	now := later
	m.Tick(now) // what was due meanwhile
	e := m.LinkUp(now, "peer")
	for batches := 1; ; batches++ {
		if len(e.Send) == 0 || len(e.Send) > ReplayBatch {
			t.Fatalf("%d ads at once", len(e.Send))
		}
		for _, s := range e.Send {
			if s.To != "peer" || !want[string(s.Message)] {
				t.Fatalf("sent to %q: %s", s.To, s.Message)
			}
			delete(want, string(s.Message))
		}
		if len(want) == 0 {
			break
		}
		if m.Next() != now.Add(ReplayInterval) {
			t.Fatalf("batch %d is due after %v", batches, m.Next().Sub(now))
		}
		now = m.Next()
		e = m.Tick(now)
	}
	if len(m.replays) != 0 || !m.replayAt.IsZero() {
		t.Error("there is more to send")
	}
}

// Whatever arrives in whatever order, the tables stay within their limits, their
// counts right, and no message is relayed twice.
func FuzzReceive(f *testing.F) {
	f.Add([]byte("abcabc"), []byte(`{"NodeID":"a","Service":"s","Time":"2026-11-22T12:00:00Z"}`))
	f.Add([]byte{0, 1, 2, 3, 255, 254, 130, 7}, []byte("{}"))
	f.Fuzz(func(t *testing.T, script, body []byte) {
		m := New("me")
		m.limits = limits{ofNode: 3, entries: 8, bytes: 800, neighbourEntries: 5, neighbourBytes: 500}
		now := start
		relayed := make(map[string]bool)
		for i, b := range script {
			at := now.Add(time.Duration(b>>5) * time.Second)
			msg := ad(string(rune('a'+b%4)), string(rune('s'+b%5)), at)
			switch {
			case i%7 == 3:
				msg = append([]byte{wire.TypeAdvert}, body...)
			case b%9 == 0:
				msg = gone(string(rune('a'+b%4)), string(rune('s'+b%5)), at)
			case b%3 == 0:
				msg = cancel(string(rune('a'+b%4)), string(rune('s'+b%5)), at)
			case b%11 == 0:
				now = now.Add(7 * time.Minute)
				m.LinkUp(now, "peer")
				for next := m.Next(); !next.IsZero() && !next.After(now); next = m.Next() {
					m.Tick(now)
				}
			}
			for _, s := range m.Receive(now, string(rune('m'+b%2)), msg).Send {
				if relayed[string(s.Message)] && now.Sub(start) < ExpireAfter {
					t.Fatalf("relayed again: %s", s.Message[1:])
				}
				relayed[string(s.Message)] = true
			}
			size, ofNode, firstBy := 0, make(map[string]int), make(map[string]share)
			for k, entry := range m.entries {
				size += len(entry.raw)
				ofNode[k.node]++
				s := firstBy[entry.firstBy]
				firstBy[entry.firstBy] = share{s.entries + 1, s.bytes + len(entry.raw)}
			}
			for neighbour, s := range firstBy {
				if s.entries > 5 || s.bytes > 500 || *m.firstBy[neighbour] != s {
					t.Fatalf("%v of neighbour %s, counted %v", s, neighbour, *m.firstBy[neighbour])
				}
			}
			if len(m.entries) > 8 || size > 800 || size != m.bytes || len(firstBy) != len(m.firstBy) || fmt.Sprint(ofNode) != fmt.Sprint(m.ofNode) {
				t.Fatalf("%d entries of %v (counted %v), %d bytes (counted %d)", len(m.entries), ofNode, m.ofNode, size, m.bytes)
			}
		}
	})
}
