package route

import (
	"bytes"
	"crypto/ed25519"
	"fmt"
	"maps"
	"testing"
	"time"

	"github.com/project-receptor/receptor/netceptor/internal/wire"
)

func keyOf(seed byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{seed}, ed25519.SeedSize))
}

// far is an update of the distant node "far", which is linked to the neighbour b.
type far struct {
	id              string
	epoch, sequence uint64
	links           map[string]float64
	suspected       uint64
	key             byte // 0: not signed
	temporary       bool
	change          func(u *wire.RoutingUpdate) // after it was signed
}

func (f far) update() *wire.RoutingUpdate {
	u := &wire.RoutingUpdate{
		NodeID: "far", UpdateID: f.id, UpdateEpoch: f.epoch, UpdateSequence: f.sequence,
		Connections: f.links, SuspectedDuplicate: f.suspected,
	}
	if u.UpdateID == "" {
		u.UpdateID = fmt.Sprintf("far.%d.%d.%d.%d", f.epoch, f.sequence, f.suspected, f.key)
	}
	if f.key != 0 {
		u.Ext = &wire.Ext{V: 1, Caps: []string{wire.CapMux}}
		u.Sign(keyOf(f.key), f.temporary)
	}
	if f.change != nil {
		f.change(u)
	}
	return u
}

var toB = map[string]float64{"b": 1}

// newFar is a machine with neighbours "a" and "b" of ours and "l", a legacy one. It
// knows the key of "far", behind b, and the way there.
func newFar(t *testing.T, temporary bool) *Machine {
	t.Helper()
	m := newTest()
	m.LinkUp(start, "a", Link{Cost: 1})
	m.LinkUp(start, "b", Link{Cost: 1})
	m.LinkUp(start, "l", Link{Cost: 1, Legacy: true})
	if e := m.Receive(start, "b", of("b", 1, map[string]float64{"me": 1, "far": 1})); e.Ignored != "" {
		t.Fatal(e.Ignored)
	}
	if e := m.Receive(start, "b", far{epoch: 5, sequence: 5, links: toB, key: 1, temporary: temporary}.update()); e.Ignored != "" {
		t.Fatal(e.Ignored)
	}
	m.Tick(start.Add(SPFDelay))
	if hop := m.Routes()["far"]; hop != "b" {
		t.Fatalf("the way to far is over %q", hop)
	}
	return m
}

func TestForgedUpdates(t *testing.T) {
	t.Parallel()
	cut := map[string]float64{"a": 0.001}
	for _, c := range []struct {
		name string
		from string
		u    far
		want string
	}{
		{"a restart, not signed", "a", far{epoch: 6, sequence: 1}, IgnoredUnsigned},
		{"a restart, not signed, by a legacy node", "l", far{epoch: 6, sequence: 1}, IgnoredUnsignedLegacy},
		{"a restart, signed, by a legacy node", "l", far{epoch: 6, sequence: 1, key: 1}, IgnoredUnsignedLegacy},
		{"a restart, signed by another", "a", far{epoch: 6, sequence: 1, key: 2}, IgnoredKey},
		{"a restart, the signature of something else", "a", far{epoch: 5, sequence: 6, key: 1, change: func(u *wire.RoutingUpdate) { u.UpdateEpoch++ }}, IgnoredSignature},
		{"an edge", "a", far{epoch: 5, sequence: 6, links: cut}, IgnoredUnsigned},
		{"an edge, into what is signed", "a", far{epoch: 5, sequence: 6, links: toB, key: 1, change: func(u *wire.RoutingUpdate) { u.Connections = cut }}, IgnoredSignature},
		{"a withdrawal", "a", far{epoch: 5, sequence: 6}, IgnoredUnsigned},
		{"a withdrawal, signed by another", "a", far{epoch: 5, sequence: 6, key: 2}, IgnoredKey},
		{"a duplicate", "a", far{epoch: 1, sequence: 1, suspected: 5}, IgnoredUnsigned},
		{"a duplicate, signed by another", "a", far{epoch: 1, sequence: 1, suspected: 5, key: 2}, IgnoredKey},
		{"a repeat, not signed", "a", far{epoch: 5, sequence: 5, id: "another"}, IgnoredStale},
		{"a repeat, signed by another", "a", far{epoch: 5, sequence: 5, key: 2}, IgnoredStale},
		{"news", "a", far{epoch: 5, sequence: 6, links: toB, key: 1}, ""},
		{"a restart", "a", far{epoch: 6, sequence: 1, links: toB, key: 1}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			m := newFar(t, false)
			now := start.Add(time.Second)
			u := c.u.update()
			e := m.Receive(now, c.from, u)
			if e.Ignored != c.want {
				t.Errorf("ignored for %q, want %q", e.Ignored, c.want)
			}
			if c.want == "" {
				if epoch, _ := m.Epoch("far"); epoch != u.UpdateEpoch {
					t.Errorf("epoch is %d", epoch)
				}
				return
			}
			m.Tick(now.Add(SPFDelay))
			if epoch, _ := m.Epoch("far"); epoch != 5 || len(e.Restarted) != 0 {
				t.Errorf("epoch is %d, restarted %q", epoch, e.Restarted)
			}
			if hop := m.Routes()["far"]; hop != "b" || !maps.Equal(m.Costs()["far"], toB) {
				t.Errorf("the way to far is over %q, its links are %v", hop, m.Costs()["far"])
			}
			// It does not keep out what it looked like.
			honest := far{id: u.UpdateID, epoch: 7, sequence: 1, links: toB, key: 1}
			if c.want != IgnoredStale {
				if e := m.Receive(now, "b", honest.update()); e.Ignored != "" {
					t.Errorf("what it was made of is ignored afterwards: %s", e.Ignored)
				}
			}
		})
	}
}

// A claim to be another run of a node is not believed, but the node hears of it.
func TestForgedRestartReachesItsNode(t *testing.T) {
	t.Parallel()
	m := newFar(t, false)
	forged := far{epoch: 6, sequence: 1, key: 2}
	e := m.Receive(start, "a", forged.update())
	if len(e.Send) != 1 || len(e.Send[0].To) != 1 || e.Send[0].To[0] != "b" || e.Send[0].Update.ForwardingNode != "me" || !e.Send[0].Update.Verify() {
		t.Errorf("sent %+v, want it as it was to b", e.Send)
	}
	for from, u := range map[string]far{
		"a": forged,                                          // again
		"b": {epoch: 6, sequence: 2, key: 2},                 // from where the node is
		"l": {epoch: 5, sequence: 6, links: toB, id: "copy"}, // what legacy nodes make of an honest one
	} {
		if e := m.Receive(start, from, u.update()); len(e.Send) != 0 || e.Ignored == "" {
			t.Errorf("%+v of %s: sent %+v, ignored for %q", u, from, e.Send, e.Ignored)
		}
	}
}

// A node that only legacy nodes lead to any more is believed again without a
// signature, once signed updates have been missed; and better with one.
func TestWayOverLegacyNodesOnly(t *testing.T) {
	t.Parallel()
	m := newFar(t, false)
	u := far{epoch: 5, sequence: 6, links: toB}
	if e := m.Receive(start.Add(KeyHolds-1), "l", u.update()); e.Ignored != IgnoredUnsignedLegacy {
		t.Errorf("ignored for %q", e.Ignored)
	}
	e := m.Receive(start.Add(KeyHolds), "l", u.update())
	if e.Ignored != "" || len(e.Restarted) != 0 || m.Ext("far") != nil {
		t.Errorf("after %v: ignored for %q, restarted %q, Ext %+v", KeyHolds, e.Ignored, e.Restarted, m.Ext("far"))
	}
	// The same update, and earlier ones, come with their signature.
	if e := m.Receive(start.Add(KeyHolds), "a", far{epoch: 5, sequence: 5, links: toB, key: 1}.update()); e.Ignored == "" {
		t.Error("the last signed one was believed again")
	}
	signed := far{id: u.update().UpdateID, epoch: 5, sequence: 6, links: toB, key: 1}
	if e := m.Receive(start.Add(KeyHolds), "b", signed.update()); e.Ignored != "" || len(e.Send) == 0 {
		t.Errorf("a signed copy: ignored for %q, sent %+v", e.Ignored, e.Send)
	}
	if e := m.Receive(start.Add(KeyHolds), "b", signed.update()); e.Ignored == "" {
		t.Error("a second signed copy was believed")
	}
	if e := m.Receive(start.Add(KeyHolds), "l", far{epoch: 5, sequence: 7}.update()); e.Ignored != IgnoredUnsignedLegacy {
		t.Errorf("signed again, then not: ignored for %q", e.Ignored)
	}
}

// A lie that came first, before the key was known, ends with the first signed update.
func TestSignedIsBelievedRatherThanUnsigned(t *testing.T) {
	t.Parallel()
	m := newTest()
	m.LinkUp(start, "a", Link{Cost: 1})
	m.LinkUp(start, "b", Link{Cost: 1})
	m.Receive(start, "a", far{epoch: 900, sequence: 1, links: map[string]float64{"a": 1}}.update())
	e := m.Receive(start, "b", far{epoch: 5, sequence: 5, links: toB, key: 1}.update())
	if e.Ignored != "" || len(e.Restarted) != 1 {
		t.Errorf("ignored for %q, restarted %q", e.Ignored, e.Restarted)
	}
	if epoch, _ := m.Epoch("far"); epoch != 5 || !maps.Equal(m.Costs()["far"], toB) {
		t.Errorf("epoch %d, links %v", epoch, m.Costs()["far"])
	}
}

// A temporary key ends with its node: the next run has another, and need not wait.
func TestTemporaryKey(t *testing.T) {
	t.Parallel()
	next := far{epoch: 6, sequence: 1, links: toB, key: 2, temporary: true}
	for _, temporary := range []bool{true, false} {
		m := newFar(t, temporary)
		now := start.Add(time.Second)
		if e := m.Receive(now, "a", next.update()); e.Ignored != IgnoredKey {
			t.Errorf("while the node is there: ignored for %q", e.Ignored)
		}
		// Its neighbour misses it.
		if e := m.Receive(now, "b", of("b", 2, map[string]float64{"me": 1})); e.Ignored != "" {
			t.Fatal(e.Ignored)
		}
		want := IgnoredKey
		if temporary {
			want = ""
		}
		if e := m.Receive(now, "b", next.update()); e.Ignored != want {
			t.Errorf("temporary %t: ignored for %q, want %q", temporary, e.Ignored, want)
		}
		if !temporary {
			if e := m.Receive(start.Add(KeyHolds), "b", next.update()); e.Ignored != "" {
				t.Errorf("after %v: ignored for %q", KeyHolds, e.Ignored)
			}
		}
	}
}

// The next run may come back to where its key was held, and be a neighbour there.
func TestTemporaryKeyOfANeighbour(t *testing.T) {
	t.Parallel()
	m := newTest()
	run := func(u far) (admitted, ignored string) {
		u.links, u.temporary = map[string]float64{"me": 1}, true
		admitted = m.Admit(start, u.update(), false)
		m.LinkUp(start, "far", Link{Cost: 1})
		u.sequence++
		return admitted, m.Receive(start, "far", u.update()).Ignored
	}
	for epoch := range uint64(3) {
		if admitted, ignored := run(far{epoch: 1 + epoch, sequence: 1, key: byte(1 + epoch)}); admitted+ignored != "" {
			t.Errorf("run %d: refused for %q, ignored for %q", epoch, admitted, ignored)
		}
		m.LinkDown(start, "far")
	}
}

func TestAdmitByKey(t *testing.T) {
	t.Parallel()
	broken := func(u *wire.RoutingUpdate) { u.UpdateSequence++ }
	for _, c := range []struct {
		name   string
		u      far
		proven bool
		want   string
	}{
		{"its key", far{epoch: 5, sequence: 6, key: 1}, false, ""},
		{"its key, nothing new", far{epoch: 4, sequence: 6, key: 1}, false, ""},
		{"not signed", far{epoch: 6, sequence: 1}, false, IgnoredUnsigned},
		{"another key", far{epoch: 6, sequence: 1, key: 2}, false, IgnoredKey},
		{"a signature of something else", far{epoch: 6, sequence: 1, key: 1, change: broken}, false, IgnoredSignature},
		{"another key, with a certificate", far{epoch: 6, sequence: 1, key: 2}, true, ""},
		{"not signed, with a certificate", far{epoch: 6, sequence: 1}, true, ""},
		{"a signature of something else, with a certificate", far{epoch: 6, sequence: 1, key: 2, change: broken}, true, IgnoredSignature},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			m := newFar(t, false)
			u := c.u.update()
			if got := m.Admit(start.Add(time.Second), u, c.proven); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
			if c.want != "" {
				return
			}
			m.LinkUp(start.Add(time.Second), "far", Link{Cost: 1, Legacy: u.Ext == nil})
			if c.u.epoch > 5 {
				c.u.sequence++
				if e := m.Receive(start.Add(time.Second), "far", c.u.update()); e.Ignored != "" {
					t.Errorf("admitted, but its update is ignored for %q", e.Ignored)
				}
			}
		})
	}
}

// Repeats are not verified: nothing but the look-up is spent on them.
func BenchmarkReceiveSigned(b *testing.B) {
	m := newTest()
	m.LinkUp(start, "b", Link{Cost: 1})
	u := far{epoch: 5, sequence: 5, links: toB, key: 1}.update()
	m.Receive(start, "b", u)
	b.Run("repeat", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			v := *u
			if e := m.Receive(start, "b", &v); e.Ignored != IgnoredSeen {
				b.Fatal(e.Ignored)
			}
		}
	})
	b.Run("news", func(b *testing.B) {
		b.ReportAllocs()
		m.origins["far"].sequence, m.origins["far"].proof.sequence = 0, 0
		for b.Loop() {
			m.origins["far"].sequence, m.origins["far"].proof.sequence = 0, 0
			m.seen = seenIDs{}
			v := *u
			if e := m.Receive(start, "b", &v); e.Ignored != "" {
				b.Fatal(e.Ignored)
			}
		}
	})
}
