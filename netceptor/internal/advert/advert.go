package advert

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/project-receptor/receptor/netceptor/internal/wire"
)

// Timing of the legacy protocol.
const (
	FirstAfter = 5 * time.Second
	Period     = 60 * time.Second
)

// Timing of our own.
const (
	// ExpireAfter is when an ad is dropped that was not repeated, by our clock: ten
	// repetitions. Legacy nodes keep them for ever.
	ExpireAfter = 10 * Period

	// GoneAfter is how long after its end a service is said to be gone: so long that one
	// that the next process of its program binds again, or the next version of that, has
	// never been away.
	GoneAfter = 10 * time.Second

	// A new neighbour gets the ads heard within ReplayFresh (a service that is gone
	// must not live on by being told from one to the next), ReplayBatch of them
	// every ReplayInterval, so that they fit into its queue. If its link ends
	// meanwhile, the rest goes to nobody.
	ReplayFresh    = 3 * Period
	ReplayBatch    = 64
	ReplayInterval = 10 * time.Millisecond

	// MaxAhead is how far the time of an ad may be ahead of our clock. One from the
	// end of time would hold for good.
	MaxAhead = 24 * time.Hour
)

// Limits against a neighbour that invents services. What is beyond them is
// ignored, with a counter: those services are not shown.
const (
	MaxSize    = 16 << 10 // bytes of a message
	MaxOfNode  = 256      // ads of one node
	MaxEntries = 65_536   // ads of all nodes
	MaxBytes   = 64 << 20 // their messages together

	// Of those, first heard through the same neighbour.
	MaxNeighbourEntries = MaxEntries / 2
	MaxNeighbourBytes   = MaxBytes / 2
)

// Why an ad is ignored: the names of counters.
const (
	IgnoredSize      = "ad_too_long"
	IgnoredMalformed = "malformed_ad"
	IgnoredOwn       = "ad_of_ours"
	IgnoredAhead     = "ad_ahead"
	IgnoredStale     = "ad_stale"
	IgnoredCancel    = "ad_cancels_nothing"
	IgnoredOfNode    = "too_many_ads_of_node"
	IgnoredEntries   = "too_many_ads"
	IgnoredNeighbour = "too_many_ads_of_neighbour"
)

// Send is a message to put on links.
type Send struct {
	To      string // a neighbour; empty: all established ones...
	Except  string // ...but this one
	Message []byte // with its type byte; it must not be changed
}

// Effects is what the shell must do after an input.
type Effects struct {
	Send    []Send
	Changed bool   // Known has changed, other than in times
	Ignored string // the message was dropped, for this reason (a counter's name)
}

// Machine keeps the advertisements of one node.
type Machine struct {
	self   string
	limits limits // the constants, but in tests

	own       map[string]*own // by service
	lastStamp time.Time       // of our own ads

	entries map[key]*entry // of others
	bytes   int            // their messages together
	ofNode  map[string]int
	firstBy map[string]*share // by neighbour: what was first heard through it
	replays map[string][]key  // by neighbour: what it has still to be sent

	// When Tick has what to do; zero: never.
	sendAt   time.Time
	goneAt   time.Time
	expireAt time.Time
	replayAt time.Time
}

type limits struct{ ofNode, entries, bytes, neighbourEntries, neighbourBytes int }

// own is a service of ours.
type own struct {
	ad     wire.Advert
	told   bool      // somebody may know of it
	goneAt time.Time // when it is told that it is gone; zero: it is there
}

// share is a part of entries.
type share struct{ entries, bytes int }

type key struct{ node, service string }

func (k key) compare(l key) int {
	return cmp.Or(cmp.Compare(k.node, l.node), cmp.Compare(k.service, l.service))
}

// entry is the latest ad of a service. If that was a Cancel, as which counts one that
// says Gone, only its time is of interest.
type entry struct {
	ad    *wire.Advert
	raw   []byte
	heard time.Time

	firstBy string // neighbour
}

// New makes a machine for the node self.
func New(self string) *Machine {
	return &Machine{
		self:    self,
		limits:  limits{MaxOfNode, MaxEntries, MaxBytes, MaxNeighbourEntries, MaxNeighbourBytes},
		own:     make(map[string]*own),
		entries: make(map[key]*entry),
		ofNode:  make(map[string]int),
		firstBy: make(map[string]*share),
		replays: make(map[string][]key),
	}
}

// Publish adds or replaces one of our services. It retains what a refers to. The
// node, time and Cancel of a do not matter.
func (m *Machine) Publish(now time.Time, a wire.Advert) Effects {
	a.NodeID, a.Cancel, a.Gone = m.self, false, false
	before := m.own[a.Service]
	m.own[a.Service] = &own{ad: a, told: before != nil && before.told}
	soonest(&m.sendAt, now.Add(FirstAfter))
	return Effects{Changed: true}
}

// Withdraw removes one of ours: it is no longer repeated, and who may know of it is
// told in a while.
func (m *Machine) Withdraw(now time.Time, service string) Effects {
	o := m.own[service]
	if o == nil || !o.goneAt.IsZero() {
		return Effects{}
	}
	left, going := 0, 0
	for _, o := range m.own {
		if o.goneAt.IsZero() {
			left++
		} else {
			going++
		}
	}
	if left == 1 {
		m.sendAt = time.Time{}
	}
	if !o.told || going >= m.limits.ofNode { // others keep no more of us, either
		delete(m.own, service)
		return Effects{Changed: true}
	}
	o.goneAt = now.Add(GoneAfter)
	soonest(&m.goneAt, o.goneAt)
	return Effects{Changed: true}
}

// farewell tells of the services that are gone by now.
func (m *Machine) farewell(now time.Time) (sends []Send) {
	m.goneAt = time.Time{}
	for _, service := range slices.Sorted(maps.Keys(m.own)) {
		switch o := m.own[service]; {
		case o.goneAt.IsZero():
		case due(o.goneAt, now):
			a := wire.Advert{NodeID: m.self, Service: service, Time: m.stamp(now), ConnType: o.ad.ConnType, Gone: true}
			sends = append(sends, Send{Message: a.Append(nil)})
			delete(m.own, service)
		default:
			soonest(&m.goneAt, o.goneAt)
		}
	}
	return sends
}

// LinkUp sends a new neighbour our own ads and those of others.
func (m *Machine) LinkUp(now time.Time, peer string) Effects {
	e := Effects{Send: m.ownAds(now, peer)}
	var replay []key
	for k, entry := range m.entries {
		if !entry.ad.Cancel && k.node != peer && now.Sub(entry.heard) <= ReplayFresh {
			replay = append(replay, k)
		}
	}
	slices.SortFunc(replay, key.compare)
	m.replays[peer] = replay
	m.replay(now, &e)
	return e
}

// Receive takes a message, type byte included, from a neighbour. It retains msg.
func (m *Machine) Receive(now time.Time, from string, msg []byte) Effects {
	if len(msg) > MaxSize {
		return Effects{Ignored: IgnoredSize}
	}
	ad, err := wire.ParseAdvert(msg)
	if err != nil {
		return Effects{Ignored: IgnoredMalformed}
	}
	if ad.Time.Sub(now) > MaxAhead {
		return Effects{Ignored: IgnoredAhead}
	}
	if ad.NodeID == m.self {
		// Of an earlier run, perhaps one whose clock was ahead: the next must be later.
		if ad.Time.After(m.lastStamp) {
			m.lastStamp = ad.Time
		}
		return Effects{Ignored: IgnoredOwn}
	}
	ad.Cancel = ad.Cancel || ad.Gone
	k := key{ad.NodeID, ad.Service}
	old := m.entries[k]
	if old != nil && !ad.Time.After(old.ad.Time) {
		return Effects{Ignored: IgnoredStale}
	}
	fresh := &entry{ad: ad, raw: msg, heard: now, firstBy: from}
	if old != nil {
		fresh.firstBy = old.firstBy
		m.remove(k, old)
	}
	if reason := m.room(fresh); reason != "" {
		if old != nil {
			m.insert(k, old)
		}
		return Effects{Ignored: reason}
	}
	m.insert(k, fresh)
	if m.expireAt.IsZero() {
		m.expireAt = now.Add(Period)
	}
	was := old != nil && !old.ad.Cancel
	if ad.Cancel && !was {
		return Effects{Ignored: IgnoredCancel}
	}
	return Effects{
		Send:    []Send{{Except: from, Message: msg}},
		Changed: !was || !alike(old.ad, ad),
	}
}

// room tells whether there is room for an entry; if not, the reason.
func (m *Machine) room(e *entry) string {
	var first share
	if s := m.firstBy[e.firstBy]; s != nil {
		first = *s
	}
	switch {
	case m.ofNode[e.ad.NodeID] >= m.limits.ofNode:
		return IgnoredOfNode
	case len(m.entries) >= m.limits.entries, m.bytes+len(e.raw) > m.limits.bytes:
		return IgnoredEntries
	case first.entries >= m.limits.neighbourEntries, first.bytes+len(e.raw) > m.limits.neighbourBytes:
		return IgnoredNeighbour
	}
	return ""
}

// insert adds an entry that there is room for.
func (m *Machine) insert(k key, e *entry) {
	m.entries[k] = e
	m.bytes += len(e.raw)
	m.ofNode[k.node]++
	s := m.firstBy[e.firstBy]
	if s == nil {
		s = &share{}
		m.firstBy[e.firstBy] = s
	}
	s.entries++
	s.bytes += len(e.raw)
}

// remove takes an entry out.
func (m *Machine) remove(k key, e *entry) {
	delete(m.entries, k)
	m.bytes -= len(e.raw)
	if m.ofNode[k.node]--; m.ofNode[k.node] == 0 {
		delete(m.ofNode, k.node)
	}
	s := m.firstBy[e.firstBy]
	s.bytes -= len(e.raw)
	if s.entries--; s.entries == 0 {
		delete(m.firstBy, e.firstBy)
	}
}

// alike tells whether two ads differ only in time.
func alike(a, b *wire.Advert) bool {
	return a.ConnType == b.ConnType && a.Cancel == b.Cancel && maps.Equal(a.Tags, b.Tags) && slices.Equal(a.WorkCommands, b.WorkCommands)
}

// Tick is called at or after Next.
func (m *Machine) Tick(now time.Time) Effects {
	var e Effects
	if due(m.sendAt, now) {
		m.sendAt = now.Add(Period)
		e.Send = m.ownAds(now, "")
	}
	if due(m.goneAt, now) {
		e.Send = append(e.Send, m.farewell(now)...)
	}
	if due(m.replayAt, now) {
		m.replay(now, &e)
	}
	if due(m.expireAt, now) {
		e.Changed = m.expire(now)
	}
	return e
}

// Next is when Tick wants to be called; zero: not before another input.
func (m *Machine) Next() time.Time {
	next := m.sendAt
	for _, t := range []time.Time{m.goneAt, m.expireAt, m.replayAt} {
		if !t.IsZero() {
			soonest(&next, t)
		}
	}
	return next
}

// ownAds are our own ads, made now, for one neighbour or (empty) for all.
func (m *Machine) ownAds(now time.Time, to string) []Send {
	var sends []Send
	for _, service := range slices.Sorted(maps.Keys(m.own)) {
		o := m.own[service]
		if !o.goneAt.IsZero() {
			continue
		}
		o.told = true
		a := o.ad
		a.Time = m.stamp(now)
		sends = append(sends, Send{To: to, Message: a.Append(nil)})
	}
	return sends
}

// stamp is a time for an ad of ours, later than all before.
func (m *Machine) stamp(now time.Time) time.Time {
	if !now.After(m.lastStamp) {
		now = m.lastStamp.Add(1)
	}
	m.lastStamp = now
	return now
}

// replay sends new neighbours a batch of what they do not have, and plans the
// next one.
func (m *Machine) replay(now time.Time, e *Effects) {
	m.replayAt = time.Time{}
	for _, peer := range slices.Sorted(maps.Keys(m.replays)) {
		left := m.replays[peer]
		batch := left[:min(len(left), ReplayBatch)]
		for _, k := range batch {
			if entry := m.entries[k]; entry != nil && !entry.ad.Cancel {
				e.Send = append(e.Send, Send{To: peer, Message: entry.raw})
			}
		}
		if len(batch) == len(left) {
			delete(m.replays, peer)
			continue
		}
		m.replays[peer] = left[len(batch):]
		m.replayAt = now.Add(ReplayInterval)
	}
}

// expire drops what was not heard for long, and plans the next time. It tells
// whether Known has changed.
func (m *Machine) expire(now time.Time) (changed bool) {
	for k, entry := range m.entries {
		if now.Sub(entry.heard) < ExpireAfter {
			continue
		}
		changed = changed || !entry.ad.Cancel
		m.remove(k, entry)
	}
	m.expireAt = time.Time{}
	if len(m.entries) > 0 {
		m.expireAt = now.Add(Period)
	}
	return changed
}

// Known is a copy of all advertisements, sorted by node and service. Ours have
// the time now, as legacy nodes show them. Tags and WorkCommands are shared and
// must not be changed.
func (m *Machine) Known(now time.Time) []wire.Advert {
	ads := make([]wire.Advert, 0, len(m.own)+len(m.entries))
	for _, o := range m.own {
		if o.goneAt.IsZero() {
			a := o.ad
			a.Time = now
			ads = append(ads, a)
		}
	}
	for _, entry := range m.entries {
		if !entry.ad.Cancel {
			ads = append(ads, *entry.ad)
		}
	}
	slices.SortFunc(ads, func(a, b wire.Advert) int {
		return key{a.NodeID, a.Service}.compare(key{b.NodeID, b.Service})
	})
	return ads
}

// soonest makes t earlier if u is, or u if t is zero.
func soonest(t *time.Time, u time.Time) {
	if t.IsZero() || u.Before(*t) {
		*t = u
	}
}

func due(t, now time.Time) bool { return !t.IsZero() && !now.Before(t) }
