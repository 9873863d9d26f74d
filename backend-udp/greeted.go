package backendudp

import (
	"hash/maphash"
	"net/netip"
	"time"
)

const (
	// greetedSources is how many sources are remembered at least in part: two share a
	// place, and the later takes it. A flood of false sources makes a true one be
	// greeted again only if so many come between its first two datagrams.
	greetedSources = 65_536

	// greetedFor is how long the answer to a greeting may take: a node that has heard
	// it says so within 100 ms, and if that is lost after 10 s.
	greetedFor = 30 * time.Second
)

// greeted remembers, in a table whose size does not depend on anybody, which sources
// have been sent a greeting. It is of one goroutine.
type greeted struct {
	seed  maphash.Seed
	start time.Time
	table []uint64 // by hash: its upper 48 bits, and the second it was greeted in; nil: none yet
}

func newGreeted(now time.Time) *greeted { return &greeted{seed: maphash.MakeSeed(), start: now} }

// place is where a source is remembered, and as what, now.
func (g *greeted) place(from netip.AddrPort) (at *uint64, tag uint64) {
	if g.table == nil {
		g.table = make([]uint64, greetedSources)
	}
	hash := maphash.Comparable(g.seed, from)
	return &g.table[hash%greetedSources], hash &^ 0xffff
}

// seconds are never 0, which is an empty place.
func (g *greeted) seconds(now time.Time) uint16 { return uint16(now.Sub(g.start)/time.Second) | 1 }

// add notes that a source is being greeted.
func (g *greeted) add(now time.Time, from netip.AddrPort) {
	at, tag := g.place(from)
	*at = tag | uint64(g.seconds(now))
}

// take tells whether a source was greeted lately, and forgets it.
func (g *greeted) take(now time.Time, from netip.AddrPort) bool {
	at, tag := g.place(from)
	if *at == 0 || *at&^0xffff != tag || g.seconds(now)-uint16(*at) > uint16(greetedFor/time.Second) {
		return false
	}
	*at = 0
	return true
}
