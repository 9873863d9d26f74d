package route

import (
	"crypto/ed25519"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/project-receptor/receptor/netceptor/internal/wire"
)

// Timing of the legacy protocol.
const (
	FloodDelay  = 100 * time.Millisecond // changes within it go out as one update
	FloodPeriod = 10 * time.Second       // after the previous flood
	SeenFor     = time.Hour              // how long an UpdateID is remembered
)

// Timing of our own.
const (
	// SPFDelay is the time between a change and the new routes, at most. The first
	// change after SPFQuiet without any waits only SPFFirst: most are alone.
	SPFDelay = 100 * time.Millisecond
	SPFFirst = 10 * time.Millisecond
	SPFQuiet = time.Second

	// A new neighbour gets the updates of all origins heard within ReplayFresh,
	// ReplayBatch of them every ReplayInterval, so that they fit into its queue.
	ReplayFresh    = 3*FloodPeriod + FloodPeriod/2
	ReplayBatch    = 256
	ReplayInterval = 10 * time.Millisecond

	// ForgetAfter is when an origin that was not heard is forgotten, after 360
	// occasions. So one that came back with a smaller epoch is ignored no longer.
	ForgetAfter = time.Hour

	// AnswerInterval is the time between answers to outdated updates of one origin,
	// and between the first answers to claims to our ID; the latter doubles up to
	// FloodPeriod. Alarms about claims come at most once in AlarmInterval.
	AnswerInterval = time.Second
	AlarmInterval  = time.Minute

	// MaxAhead is how far an epoch may be ahead of our clock. An epoch at the end
	// of time would lock its node out for good.
	MaxAhead = 24 * time.Hour
)

// Limits against a neighbour that invents nodes. What is beyond them is ignored,
// with a counter: those nodes cannot be reached.
const (
	MaxOrigins          = 65_536 // nodes whose updates are kept
	MaxNeighbourOrigins = 32_768 // of those, first heard through the same neighbour
	MaxSeen             = 65_536 // UpdateIDs remembered, the latest
)

// secondHandMark is before the UpdateIDs of seen that we have from others than
// their neighbour: the same update is to come from that itself.
const secondHandMark = "2:"

// Why an update is ignored: the names of counters.
const (
	IgnoredNotNeighbour     = "update_not_of_a_neighbour"
	IgnoredInvalid          = "update_invalid"
	IgnoredNoOrigin         = "update_without_origin"
	IgnoredEcho             = "update_of_ours"
	IgnoredClaim            = "update_claims_our_id"
	IgnoredEpochAhead       = "epoch_ahead"
	IgnoredSeen             = "update_seen"
	IgnoredSecondHand       = "update_second_hand"
	IgnoredSuspicion        = "bad_suspicion"
	IgnoredUnsigned         = "update_unsigned"
	IgnoredUnsignedLegacy   = "update_unsigned_by_legacy"
	IgnoredKey              = "update_wrong_key"
	IgnoredSignature        = "update_bad_signature"
	IgnoredStale            = "update_stale"
	IgnoredOrigins          = "too_many_origins"
	IgnoredNeighbourOrigins = "too_many_origins_of_neighbour"
)

// Config is what the machine must know.
type Config struct {
	Self  string
	Epoch uint64
	Ext   *wire.Ext     // said in our own updates to neighbours that may understand; CapWhole is added when true
	NewID func() string // a fresh random UpdateID, 8 of [0-9a-zA-Z]

	Key       ed25519.PrivateKey // signs our updates; nil: they are not signed
	Temporary bool               // Key ends with this run of the node
}

// Send is an update to put on links. Sends of one Effects may share maps; nothing
// in them may be changed.
type Send struct {
	To     []string // neighbours, never empty
	Update *wire.RoutingUpdate
}

// Effects is what the shell must do after an input.
type Effects struct {
	Send      []Send
	Learned   []string // node IDs that may now be used as source or destination
	Routes    bool     // Routes or Parts has changed, or updates have brought new node IDs since last time
	Restarted []string // nodes that are known to be a new process: their old streams are dead
	Duplicate string   // a log line: another node claims our ID
	Ignored   string   // the update was dropped, for this reason (a counter's name)
}

// Machine is the routing of one node.
type Machine struct {
	config   Config
	sequence uint64 // of our last update
	limits   limits // the constants, but in tests

	neighbours map[string]*neighbour
	origins    map[string]*origin
	firstBy    map[string]int // origins first heard through each neighbour
	seen       seenIDs
	routes     map[string]string
	parts      map[string]string
	ways       map[string]Way
	learned    bool // there are origins that were not there when routes were computed

	// When Tick has what to do; zero: never.
	floodAt  time.Time
	spfAt    time.Time
	replayAt time.Time
	answerAt time.Time

	suspect    uint64 // an epoch that was claimed for us, to be denied by the next answer
	lastAnswer time.Time
	answerWait time.Duration // between lastAnswer and the next
	lastAlarm  time.Time
	lastSPF    time.Time
}

type limits struct{ origins, neighbourOrigins, seen int }

// Link is what there is to say of an established link.
type Link struct {
	Cost   float64
	Legacy bool // it must never be sent what legacy nodes do not know
	Whole  bool // its medium carries a frame of any size in one piece
}

// neighbour is the other end of an established link.
type neighbour struct {
	cost   float64
	legacy bool
	whole  bool
	untold map[string]struct{} // origins that it has still to be told of, see replay; may be nil
	denial *wire.RoutingUpdate // of its epoch, by an elder node of its name; nil: none
}

// origin is what is known of another node by its own updates.
type origin struct {
	epoch, sequence uint64
	links           map[string]float64
	ext             *wire.Ext
	update          *wire.RoutingUpdate // the latest, as received; nil: none to be passed on
	heard           time.Time
	corrected       time.Time // when someone was last told that it knows less
	firstBy         string    // neighbour
	proof           proof
}

// olderThan tells whether an update is news of an origin.
func (o *origin) olderThan(u *wire.RoutingUpdate) bool {
	return u.UpdateEpoch > o.epoch || u.UpdateEpoch == o.epoch && u.UpdateSequence > o.sequence
}

// New makes a machine.
func New(c Config) *Machine {
	return &Machine{
		config:     c,
		limits:     limits{origins: MaxOrigins, neighbourOrigins: MaxNeighbourOrigins, seen: MaxSeen},
		neighbours: make(map[string]*neighbour),
		origins:    make(map[string]*origin),
		firstBy:    make(map[string]int),
		routes:     make(map[string]string),
	}
}

// Init is a fresh update about ourselves for a link that is being set up. It
// names no connections: its receiver, who may be anybody, needs only our ID.
func (m *Machine) Init() *wire.RoutingUpdate {
	u := m.own()
	u.Connections = nil
	m.sign(u)
	return u
}

// sign signs an update about ourselves, when it says all that it is to say.
func (m *Machine) sign(u *wire.RoutingUpdate) {
	if m.config.Key != nil && u.Ext != nil {
		u.Sign(m.config.Key, m.config.Temporary)
	}
}

// own builds the next update about ourselves, unsigned.
func (m *Machine) own() *wire.RoutingUpdate {
	m.sequence++
	return &wire.RoutingUpdate{
		NodeID:         m.config.Self,
		UpdateID:       m.config.NewID(),
		UpdateEpoch:    m.config.Epoch,
		UpdateSequence: m.sequence,
		Connections:    m.ownLinks(),
		ForwardingNode: m.config.Self,
		Ext:            m.ownExt(),
	}
}

func (m *Machine) ownLinks() map[string]float64 {
	links := make(map[string]float64, len(m.neighbours))
	for peer, n := range m.neighbours {
		links[peer] = n.cost
	}
	return links
}

// ownExt is what we say of ourselves now.
func (m *Machine) ownExt() *wire.Ext {
	if m.config.Ext == nil {
		return nil
	}
	for _, n := range m.neighbours {
		if !n.whole {
			return m.config.Ext
		}
	}
	e := *m.config.Ext
	e.Caps = append(slices.Clip(e.Caps), wire.CapWhole)
	return &e
}

// LinkUp adds a neighbour, or renews it.
func (m *Machine) LinkUp(now time.Time, peer string, l Link) Effects {
	n := &neighbour{cost: l.Cost, legacy: l.Legacy, whole: l.Whole, untold: make(map[string]struct{})}
	for name := range m.origins {
		n.untold[name] = struct{}{}
	}
	m.neighbours[peer] = n
	soonest(&m.floodAt, now.Add(FloodDelay))
	m.planSPF(now)
	e := Effects{Learned: []string{peer}}
	m.replay(now, &e)
	return e
}

// LinkDown removes a neighbour.
func (m *Machine) LinkDown(now time.Time, peer string) Effects {
	gone, ok := m.neighbours[peer]
	if !ok {
		return Effects{}
	}
	if o := m.origins[peer]; o != nil && gone.denial != nil {
		o.deny(now, gone.denial) // it is not there any more to be believed instead
	}
	delete(m.neighbours, peer)
	soonest(&m.floodAt, now.Add(FloodDelay))
	m.planSPF(now)
	return Effects{}
}

// Receive takes an update that came from an established neighbour. It owns u.
func (m *Machine) Receive(now time.Time, from string, u *wire.RoutingUpdate) Effects {
	sender, ok := m.neighbours[from]
	switch {
	case !ok:
		return Effects{Ignored: IgnoredNotNeighbour}
	case u.NodeID == "":
		return Effects{Ignored: IgnoredNoOrigin}
	case u.Check() != nil:
		return Effects{Ignored: IgnoredInvalid}
	case u.NodeID == m.config.Self:
		return m.claimed(now, u)
	case u.UpdateEpoch > epochAt(now.Add(MaxAhead)):
		return Effects{Ignored: IgnoredEpochAhead}
	case u.SuspectedDuplicate != 0 && u.UpdateEpoch > u.SuspectedDuplicate:
		return Effects{Ignored: IgnoredSuspicion}
	}
	if sender.legacy {
		u.Ext = nil // a legacy node relays none; this one is not its originator's
	}
	o := m.origins[u.NodeID]
	if o != nil && o.epoch == u.UpdateEpoch {
		// What one run of a node is, it stays. Copies that came through legacy nodes
		// do not say it, and may have been faster. What is signed is of one update.
		if u.Ext == nil && o.proof.key == nil {
			u.Ext = o.ext
		} else if o.ext == nil && u.Key() == nil {
			o.ext = u.Ext
		}
	}
	secondHand := m.neighbours[u.NodeID] != nil && from != u.NodeID
	if secondHand && (o == nil || o.olderThan(u) || u.SuspectedDuplicate != 0) {
		return m.secondHand(now, o, u)
	}
	var better bool
	if !secondHand {
		var reason string
		if better, reason = m.prove(now, sender.legacy, o, u); reason != "" {
			return m.unproven(now, from, o, u, reason)
		}
	}
	if o != nil && o.epoch == u.UpdateEpoch && o.sequence == u.UpdateSequence {
		delete(sender.untold, u.NodeID)
	}
	if !m.seen.add(now, u.UpdateID, m.limits.seen) && !better {
		return Effects{Ignored: IgnoredSeen}
	}
	if u.SuspectedDuplicate != 0 {
		return m.suspected(now, from, o, u)
	}
	var e Effects
	switch {
	case o == nil:
		if len(m.origins) >= m.limits.origins {
			return Effects{Ignored: IgnoredOrigins}
		}
		if m.firstBy[from] >= m.limits.neighbourOrigins {
			return Effects{Ignored: IgnoredNeighbourOrigins}
		}
		o = &origin{firstBy: from}
		m.origins[u.NodeID] = o
		m.firstBy[from]++
		e.Learned = []string{u.NodeID}
		m.learned = true
		if u.Ext == nil { // so that the newcomer learns of us; one of ours has been told on the way
			soonest(&m.floodAt, now.Add(FloodDelay))
		}
		m.planSPF(now)
	case !better && !o.olderThan(u):
		return m.correct(now, from, o, u)
	case u.UpdateEpoch != o.epoch:
		e.Restarted = []string{u.NodeID}
	}
	if !maps.Equal(o.links, u.Connections) || o.ext.Has(wire.CapWhole) != u.Ext.Has(wire.CapWhole) {
		m.planSPF(now)
	}
	o.epoch, o.sequence = u.UpdateEpoch, u.UpdateSequence
	o.links = u.Connections
	o.ext = u.Ext
	o.update = u
	o.heard = now
	o.proof.take(now, u)
	for _, n := range m.neighbours {
		delete(n.untold, u.NodeID)
	}
	e.Send = m.pass(u, from)
	return e
}

// claimed handles an update that says it is ours: an echo, another node with our
// ID, or a lie. It goes no further. It is answered by an update of ours, since
// others may now believe it.
func (m *Machine) claimed(now time.Time, u *wire.RoutingUpdate) Effects {
	own := m.config.Epoch
	greater := u.UpdateEpoch > own || u.UpdateEpoch == own && u.UpdateSequence > m.sequence
	if !greater && (u.UpdateEpoch == own || u.SuspectedDuplicate != own) {
		return Effects{Ignored: IgnoredEcho}
	}
	e := Effects{Ignored: IgnoredClaim}
	if now.Sub(m.lastAlarm) >= AlarmInterval {
		m.lastAlarm = now
		e.Duplicate = fmt.Sprintf("another node claims our node ID %.256q: its epoch is %d, ours is %d",
			m.config.Self, u.UpdateEpoch, own)
	}
	if greater {
		m.suspect = max(m.suspect, u.UpdateEpoch)
	}
	if at := m.lastAnswer.Add(m.answerWait); now.Before(at) {
		m.answerAt = at
	} else {
		e.Send = m.answer(now)
	}
	return e
}

// secondHand handles what another node says about a neighbour of ours, before that
// has said it itself: a copy that was faster, or a lie. What a neighbour says we
// take from it alone; but it is told, so that it can deny it.
func (m *Machine) secondHand(now time.Time, o *origin, u *wire.RoutingUpdate) Effects {
	e := Effects{Ignored: IgnoredSecondHand}
	if e.Send = m.tell(now, u.NodeID, u); e.Send == nil {
		return e
	}
	if u.SuspectedDuplicate != 0 {
		if _, reason := m.prove(now, false, o, u); reason == "" {
			m.neighbours[u.NodeID].denial = u
		}
	}
	return e
}

// unproven handles an update that its signature, or the want of one, keeps from
// being believed. A claim to be another run of the node goes to it, as far as we
// know the way, so that two nodes of one name are told of in their logs.
func (m *Machine) unproven(now time.Time, from string, o *origin, u *wire.RoutingUpdate, reason string) Effects {
	e := Effects{Ignored: reason}
	if o == nil || u.UpdateEpoch == o.epoch && u.SuspectedDuplicate == 0 {
		return e
	}
	if hop := m.routes[u.NodeID]; hop != from && m.neighbours[hop] != nil {
		e.Send = m.tell(now, hop, u)
	}
	return e
}

// tell passes an update that is not believed on to one neighbour, once.
func (m *Machine) tell(now time.Time, to string, u *wire.RoutingUpdate) []Send {
	if !m.seen.add(now, secondHandMark+u.UpdateID, m.limits.seen) {
		return nil
	}
	v := *u
	v.ForwardingNode = m.config.Self
	if m.neighbours[to].legacy {
		v.Ext = nil
	}
	return []Send{{To: []string{to}, Update: &v}}
}

// answer denies a claim to our ID, and plans when the next may be denied: two
// nodes that both go on must not keep the mesh busy.
func (m *Machine) answer(now time.Time) []Send {
	m.answerWait = min(2*m.answerWait, FloodPeriod)
	if now.Sub(m.lastAnswer) >= AlarmInterval {
		m.answerWait = AnswerInterval
	}
	m.lastAnswer = now
	m.answerAt = time.Time{}
	suspect := m.suspect
	m.suspect = 0
	return m.flood(now, suspect)
}

// suspected handles an update that says that another node has its originator's
// ID. Of the two the elder is right, and only the elder can say so (Receive has
// checked that); then what is known goes back to its epoch and sequence.
func (m *Machine) suspected(now time.Time, from string, o *origin, u *wire.RoutingUpdate) Effects {
	if o != nil {
		o.deny(now, u)
	}
	return Effects{Send: m.pass(u, from)}
}

// deny goes back to what the elder of two nodes of one name is, if the other is
// what is known.
func (o *origin) deny(now time.Time, u *wire.RoutingUpdate) {
	if o.epoch == u.SuspectedDuplicate {
		o.epoch, o.sequence = u.UpdateEpoch, u.UpdateSequence
		o.ext = u.Ext
		o.proof.take(now, u)
		o.update = nil // it is of the duplicate
	}
}

// correct handles an update that is older than what is known: it says so to the
// sender. If what is known is wrong, that is how its originator comes to hear of
// it, and denies it.
func (m *Machine) correct(now time.Time, from string, o *origin, u *wire.RoutingUpdate) Effects {
	e := Effects{Ignored: IgnoredStale}
	same := u.UpdateEpoch == o.epoch && u.UpdateSequence == o.sequence
	if same || o.update == nil || now.Sub(o.corrected) < AnswerInterval {
		return e
	}
	o.corrected = now
	e.Send = []Send{m.known(from, o)}
	return e
}

// known is what is known of an origin, for one neighbour. It keeps its UpdateID:
// who has seen it ignores it.
func (m *Machine) known(to string, o *origin) Send {
	u := *o.update
	u.ForwardingNode = m.config.Self
	u.Ext = o.ext
	if m.neighbours[to].legacy {
		u.Ext = nil
	}
	return Send{To: []string{to}, Update: &u}
}

// Tick is called at or after Next.
func (m *Machine) Tick(now time.Time) Effects {
	var e Effects
	if due(m.spfAt, now) {
		m.spfAt = time.Time{}
		m.lastSPF = now
		routes, parts, ways := shortestPaths(m.config.Self, m.neighbours, m.origins)
		e.Routes = m.learned || !maps.Equal(routes, m.routes) || !maps.Equal(parts, m.parts)
		m.routes, m.parts, m.ways, m.learned = routes, parts, ways, false
		if m.replayAt.IsZero() {
			m.replayAt = now
		}
	}
	if due(m.replayAt, now) {
		m.replay(now, &e)
	}
	if due(m.answerAt, now) {
		e.Send = append(e.Send, m.answer(now)...)
	}
	if due(m.floodAt, now) {
		e.Send = append(e.Send, m.flood(now, 0)...)
		m.forget(now)
	}
	return e
}

// Next is when Tick wants to be called; zero: not before another input.
func (m *Machine) Next() time.Time {
	next := m.floodAt
	for _, t := range []time.Time{m.spfAt, m.replayAt, m.answerAt} {
		if !t.IsZero() {
			soonest(&next, t)
		}
	}
	return next
}

// flood tells all neighbours about ourselves, and plans the next time. Those who
// hold a greater epoch or sequence of us would ignore us for good, were they not
// told that the epoch is a duplicate's: suspect.
func (m *Machine) flood(now time.Time, suspect uint64) []Send {
	if len(m.neighbours) == 0 {
		m.floodAt = time.Time{}
		return nil
	}
	m.floodAt = now.Add(FloodPeriod)
	u := m.own()
	u.SuspectedDuplicate = suspect
	if suspect != 0 {
		m.floodAt = now.Add(FloodDelay) // nobody takes our links from a denial
	}
	m.sign(u)
	return m.send(u, "")
}

// pass is an update of another node, on its way to all neighbours but from.
func (m *Machine) pass(u *wire.RoutingUpdate, from string) []Send {
	v := *u
	v.ForwardingNode = m.config.Self
	return m.send(&v, from)
}

// send puts an update on all links but one: with Ext to neighbours of ours,
// without to legacy ones.
func (m *Machine) send(u *wire.RoutingUpdate, except string) []Send {
	var ours, legacy []string
	for peer, n := range m.neighbours {
		switch {
		case peer == except:
		case n.legacy && u.Ext != nil:
			legacy = append(legacy, peer)
		default:
			ours = append(ours, peer)
		}
	}
	var sends []Send
	if len(ours) > 0 {
		slices.Sort(ours)
		sends = append(sends, Send{To: ours, Update: u})
	}
	if len(legacy) > 0 {
		slices.Sort(legacy)
		sends = append(sends, Send{To: legacy, Update: plain(u)})
	}
	return sends
}

// plain is an update as a legacy node may see it.
func plain(u *wire.RoutingUpdate) *wire.RoutingUpdate {
	v := *u
	v.Ext = nil
	return &v
}

// replay tells new neighbours of a batch of what we know, and plans the next one.
//
// Of nodes of ours a neighbour of ours is told only if the way there does not lead
// over itself: else it hears of them from those that it leads to, while it would
// hear the same from each leaf of a hub. That is decided anew whenever routes are
// computed, until it has said itself that it knows them, or there is news of them,
// which goes to all.
func (m *Machine) replay(now time.Time, e *Effects) {
	m.replayAt = time.Time{}
	for _, peer := range slices.Sorted(maps.Keys(m.neighbours)) {
		n := m.neighbours[peer]
		if len(n.untold) == 0 {
			n.untold = nil
			continue
		}
		everything := n.legacy || m.besideLegacy(peer)
		var batch []string
		for name := range n.untold {
			o := m.origins[name]
			if o == nil || o.update == nil || now.Sub(o.heard) > ReplayFresh {
				delete(n.untold, name)
				continue
			}
			hop, reached := m.routes[name]
			if everything || o.ext == nil || name == peer || reached && hop != peer {
				batch = append(batch, name)
			}
		}
		slices.Sort(batch)
		if len(batch) > ReplayBatch {
			batch = batch[:ReplayBatch]
			m.replayAt = now.Add(ReplayInterval)
		}
		for _, name := range batch {
			delete(n.untold, name)
			e.Send = append(e.Send, m.known(peer, m.origins[name]))
		}
	}
}

// besideLegacy tells whether a neighbour's ways may begin with a legacy node, which
// tells it of nobody when their link comes up.
func (m *Machine) besideLegacy(peer string) bool {
	for far := range m.links(peer) {
		if o := m.origins[far]; o != nil && o.ext == nil && len(o.links) > 1 {
			return true
		}
	}
	return false
}

// forget drops the origins that were not heard for long.
func (m *Machine) forget(now time.Time) {
	for name, o := range m.origins {
		if now.Sub(o.heard) < ForgetAfter {
			continue
		}
		delete(m.origins, name)
		if m.firstBy[o.firstBy]--; m.firstBy[o.firstBy] == 0 {
			delete(m.firstBy, o.firstBy)
		}
		m.planSPF(now)
	}
}

// planSPF sees to it that the routes are computed soon.
func (m *Machine) planSPF(now time.Time) {
	if !m.spfAt.IsZero() {
		return
	}
	m.spfAt = now.Add(SPFDelay)
	if now.Sub(m.lastSPF) >= SPFQuiet {
		m.spfAt = now.Add(SPFFirst)
	}
}

// Routes is a copy of the routing table: destination to neighbour.
func (m *Machine) Routes() map[string]string { return maps.Clone(m.routes) }

// Parts tells which nodes can reach each other without us: those of the same part,
// for all that there is a route to. A message can have come from a node only
// through a neighbour of its part. It must not be changed.
func (m *Machine) Parts() map[string]string { return m.parts }

// Costs is a copy of what each known node says about its links, for status. A
// link to us that we do not have is left out; one that its other end has not
// reported yet is in.
func (m *Machine) Costs() map[string]map[string]float64 {
	self := m.config.Self
	costs := make(map[string]map[string]float64, len(m.origins)+1)
	for name, o := range m.origins {
		links := make(map[string]float64, len(o.links))
		for peer, cost := range o.links {
			if _, ok := m.neighbours[name]; ok || peer != self {
				links[peer] = cost
			}
		}
		costs[name] = links
	}
	costs[self] = m.ownLinks()
	for peer, n := range m.neighbours {
		if costs[peer] == nil {
			costs[peer] = map[string]float64{self: n.cost}
		}
	}
	return costs
}

// Way is the way to another node as of the last computation of routes; false: none.
func (m *Machine) Way(to string) (Way, bool) {
	w, ok := m.ways[to]
	return w, ok
}

// Epoch is the last known epoch of a node; false: unknown.
func (m *Machine) Epoch(node string) (uint64, bool) {
	if node == m.config.Self {
		return m.config.Epoch, true
	}
	o := m.origins[node]
	if o == nil {
		return 0, false
	}
	return o.epoch, true
}

// Ext is what a node said in its own updates; nil: a legacy node, or only known
// through one.
func (m *Machine) Ext(node string) *wire.Ext {
	if node == m.config.Self {
		return m.ownExt()
	}
	if o := m.origins[node]; o != nil {
		return o.ext
	}
	return nil
}

// Ours tells whether a node is one of ours, as far as is known: it has said so, to
// everybody, or to us alone when the link to it came up. Until its first update has
// come after that nothing else is known of a neighbour.
func (m *Machine) Ours(node string) bool {
	n := m.neighbours[node]
	return n != nil && !n.legacy || m.Ext(node) != nil
}

// epochAt is the first epoch of nodes that start at t.
func epochAt(t time.Time) uint64 { return uint64(max(t.Unix(), 0)) << 24 }

// soonest makes t earlier if u is, or u if t is zero.
func soonest(t *time.Time, u time.Time) {
	if t.IsZero() || u.Before(*t) {
		*t = u
	}
}

func due(t, now time.Time) bool { return !t.IsZero() && !now.Before(t) }
