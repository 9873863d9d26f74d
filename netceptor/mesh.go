package netceptor

import (
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/project-receptor/receptor/netceptor/internal/advert"
	"github.com/project-receptor/receptor/netceptor/internal/forward"
	"github.com/project-receptor/receptor/netceptor/internal/linkproto"
	"github.com/project-receptor/receptor/netceptor/internal/route"
	"github.com/project-receptor/receptor/netceptor/internal/wire"
)

// Errors of links that end for reasons of the mesh.
var (
	errConnected = errors.New("already connected to that node")
	errHashTaken = errors.New("node ID has the hash of another one")
	errKey       = errors.New("another node of that name is known by its key")
	errReplaced  = errors.New("the neighbour has restarted and has a new link")
	errPanic     = errors.New("handling a message panicked")
)

// Of the lines about links that come and go so many are logged, per second and at
// once: all when a thousand neighbours restart, few when one does nothing else.
// The others are at debug level, and counted.
const (
	linkLines      = 10
	linkLinesBurst = 2000
)

// phase is where a node is in its life.
type phase int

const (
	phaseNew phase = iota
	phaseRunning
	phaseClosed
)

// mesh owns the machines. Each call of a machine and the queueing of what it wants
// sent happen under one mutex; nothing under it waits.
type mesh struct {
	node *Node
	kick chan struct{} // wakes the clock goroutine; one is enough

	mu        sync.Mutex
	phase     phase
	routing   *route.Machine
	adverts   *advert.Machine
	links     map[*Link]struct{}
	waiting   waiting
	peers     map[string]*Link   // established links, by neighbour
	names     map[uint64]string  // of all known nodes, by hash
	work      []wire.WorkCommand // what our control services offer
	restarted []uint64           // for the clock goroutine to tell streams of
	ignored   map[string]uint64  // messages the machines dropped, by reason
	planned   time.Time          // when the clock goroutine wakes; zero: when kicked
	chatted   bucket             // of log lines that neighbours cause
	changed   chan struct{}      // closed and replaced at each change of Status
}

func (m *mesh) init(n *Node) {
	m.node = n
	m.kick = make(chan struct{}, 1)
	m.routing = route.New(route.Config{
		Self:  n.config.NodeID,
		Epoch: n.config.Epoch,
		Ext:   &wire.Ext{V: 1, Caps: []string{wire.CapMux}},
		NewID: newName,

		Key:       n.config.SigningKey,
		Temporary: n.config.TemporaryKey,
	})
	m.adverts = advert.New(n.config.NodeID)
	m.links = make(map[*Link]struct{})
	m.waiting = make(waiting)
	m.peers = make(map[string]*Link)
	m.names = map[uint64]string{n.self: n.config.NodeID}
	m.ignored = make(map[string]uint64)
	m.changed = make(chan struct{})
	m.rebuild()
}

// start starts the goroutines that every node has.
func (m *mesh) start() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch m.phase {
	case phaseRunning:
		return errors.New("node was started before")
	case phaseClosed:
		return errNotRunning
	case phaseNew:
	}
	m.phase = phaseRunning
	n := m.node
	n.running.Go(m.clock)
	n.running.Go(func() { n.loop.Consume(n.deliver) })
	return nil
}

// close lets no new links in. It tells whether the node was started, and whether
// this was the first call.
func (m *mesh) close() (started, first bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	started, first = m.phase == phaseRunning, m.phase != phaseClosed
	m.phase = phaseClosed
	return started, first
}

// endAll ends all links, what is queued first.
func (m *mesh) endAll() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for l := range m.links {
		m.drop(l, nil, true)
	}
}

// add takes a new link in and starts it.
func (m *mesh) add(l *Link) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.phase != phaseRunning {
		return errNotRunning
	}
	l.since = m.node.now()
	m.links[l] = struct{}{}
	if oldest := m.waiting.add(l); oldest != nil {
		m.node.counters.add(countWaited)
		m.node.alarm(alarmWaiting, "", l.config.Item)
		m.drop(oldest, errWaited, false)
	}
	m.node.running.Go(l.run)
	m.notify()
	return nil
}

// begin lets a link speak, once its connection can. It returns false if the link
// has ended meanwhile.
func (m *mesh) begin(l *Link) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.links[l]; !ok {
		return false
	}
	now := m.node.now()
	m.link(now, l, l.proto.Start(now, now.Sub(l.since)))
	return true
}

// end ends a link from outside of the machines; flushed: after what is queued.
func (m *mesh) end(l *Link, reason error, flushed bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.drop(l, reason, flushed)
}

// receive gives a message that is not data to the machines.
func (m *mesh) receive(l *Link, msg []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.links[l]; !ok {
		return // ended meanwhile
	}
	now := m.node.now()
	m.link(now, l, l.proto.Receive(now, msg))
}

// clock gives the machines their time, until the node is closed.
func (m *mesh) clock() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-m.node.quit:
			return
		case <-m.kick:
		case <-timer.C:
		}
		next, restarted := m.tick()
		for _, node := range restarted {
			if m.node.carrier != nil {
				m.node.carrier.Restarted(node)
			}
		}
		timer.Stop()
		if !next.IsZero() {
			timer.Reset(next.Sub(m.node.now()))
		}
	}
}

// tick calls every machine that is due. It returns when it wants to be called
// again, and which nodes have restarted since the last call.
func (m *mesh) tick() (next time.Time, restarted []uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.node.now()
	due := func(t time.Time) bool { return !t.IsZero() && !t.After(now) }
	if due(m.routing.Next()) {
		m.routed("", m.routing.Tick(now))
	}
	if due(m.adverts.Next()) {
		m.advertised("", m.adverts.Tick(now))
	}
	for l := range m.links {
		if due(l.proto.Next()) {
			l.path.Rest()
			m.link(now, l, l.proto.Tick(now, now.Add(-time.Since(l.path.LastReceived()))))
		}
	}
	m.planned = earlier(m.routing.Next(), m.adverts.Next())
	for l := range m.links {
		m.planned = earlier(m.planned, l.proto.Next())
	}
	restarted, m.restarted = m.restarted, nil
	return m.planned, restarted
}

// plan makes sure that the clock goroutine wakes at t. The caller holds mu.
func (m *mesh) plan(t time.Time) {
	if next := earlier(m.planned, t); !next.Equal(m.planned) {
		m.planned = next
		m.wake()
	}
}

// earlier is the earlier of two times; zero is never.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// wake lets the clock goroutine look at once.
func (m *mesh) wake() {
	select {
	case m.kick <- struct{}{}:
	default:
	}
}

// notify tells those who wait for a change of Status. The caller holds mu.
func (m *mesh) notify() {
	close(m.changed)
	m.changed = make(chan struct{})
}

// link does what the machine of a link wants. The caller holds mu.
func (m *mesh) link(now time.Time, l *Link, e linkproto.Effects) {
	if e.SendInit {
		l.path.Control(m.routing.Init().Append(nil))
	}
	if e.Established {
		m.up(now, l)
	}
	if e.Route != nil {
		m.routed(l.peer, m.routing.Receive(now, l.peer, e.Route))
	}
	if e.Advert != nil {
		m.advertised(l.peer, m.adverts.Receive(now, l.peer, e.Advert))
	}
	m.ignore(l.peer, e.Ignored)
	if e.Reject {
		m.refused(l, e.Close)
		l.path.Control([]byte{wire.TypeReject, '[', ']'})
	}
	if e.Close != nil {
		m.drop(l, e.Close, e.Reject)
	}
	m.plan(l.proto.Next())
}

// admit decides whether a link to a peer may be, when its machine asks. The
// caller holds mu.
func (m *mesh) admit(l *Link, peer string, u *wire.RoutingUpdate) error {
	epoch := u.UpdateEpoch
	if err := l.checkName(peer); err != nil {
		return err
	}
	if name, ok := m.names[wire.NodeHash(peer)]; ok && name != peer {
		m.node.counters.add(countHashTaken)
		m.node.alarm(alarmHashTaken, peer, "")
		return errHashTaken
	}
	if reason := m.routing.Admit(m.node.now(), u, l.proven(peer)); reason != "" {
		m.ignore(peer, reason)
		return fmt.Errorf("%w: %s", errKey, reason)
	}
	known, _ := m.routing.Epoch(peer)
	if old := m.peers[peer]; old != nil {
		// A peer that has restarted knows nothing of the old link, which may stand
		// half open until it is found idle.
		if epoch <= old.epoch {
			return errConnected
		}
		known = max(known, old.epoch)
		m.drop(old, errReplaced, false)
	}
	l.epoch = epoch
	if known != 0 && epoch > known {
		m.reborn(peer)
	}
	return nil
}

// reborn has streams told that a node is a new process. The caller holds mu.
func (m *mesh) reborn(name string) {
	m.restarted = append(m.restarted, wire.NodeHash(name))
	m.wake()
}

// up makes use of a link whose peer was accepted. The caller holds mu.
func (m *mesh) up(now time.Time, l *Link) {
	m.waiting.remove(l)
	l.peer = l.proto.Peer()
	l.via = wire.NodeHash(l.peer)
	l.since = now
	l.legacy = l.proto.Ext() == nil
	m.peers[l.peer] = l
	m.learn(l.peer)
	m.routed("", m.routing.LinkUp(now, l.peer, route.Link{Cost: l.proto.Cost(), Legacy: l.legacy, Whole: l.config.whole()}))
	m.advertised("", m.adverts.LinkUp(now, l.peer))
	m.rebuild()
	m.notify()
	l.established.Store(true)
	m.node.log.Log(m.chat(now), "link established", "peer", shown(l.peer), "cost", l.proto.Cost(), "legacy", l.legacy, "item", l.config.Item)
}

// chat is the level of a log line about a link that came or went: a neighbour can
// cause those as often as it likes. The caller holds mu.
func (m *mesh) chat(now time.Time) hclog.Level {
	if m.chatted.take(now, linkLines, linkLinesBurst) {
		return hclog.Info
	}
	m.node.counters.add(countUnlogged)
	return hclog.Debug
}

// drop ends a link, once. The caller holds mu.
func (m *mesh) drop(l *Link, reason error, flushed bool) {
	if _, ok := m.links[l]; !ok {
		return
	}
	delete(m.links, l)
	m.waiting.remove(l)
	l.established.Store(false)
	l.end(reason, flushed)
	if l.peer == "" { // anybody can make those, as many as they like
		m.node.log.Debug("link ended before its peer was known", "item", l.config.Item, "remote", l.config.Remote, "reason", reason)
	} else {
		m.node.log.Log(m.chat(m.node.now()), "link ended", "peer", shown(l.peer), "item", l.config.Item, "reason", reason)
	}
	if l.peer != "" && m.peers[l.peer] == l {
		delete(m.peers, l.peer)
		m.routed("", m.routing.LinkDown(m.node.now(), l.peer))
		m.rebuild()
	}
	m.notify()
}

// routed does what the routing machine wants, after a message of a neighbour or
// (empty) anything else. The caller holds mu.
func (m *mesh) routed(from string, e route.Effects) {
	for _, s := range e.Send {
		msg := s.Update.Append(nil)
		for _, to := range s.To {
			m.send(to, "", msg)
		}
	}
	for _, name := range e.Learned {
		m.learn(name)
	}
	for _, name := range e.Restarted {
		epoch, _ := m.routing.Epoch(name)
		if l := m.peers[name]; l != nil && l.epoch == epoch {
			continue // known since its link came up, and there may be new streams
		}
		m.reborn(name)
	}
	if e.Duplicate != "" {
		m.node.counters.add(countDuplicate)
		m.node.alarm(alarmDuplicate, from, e.Duplicate)
	}
	m.ignore(from, e.Ignored)
	if e.Routes {
		m.rebuild()
	}
	m.notify()
	m.plan(m.routing.Next())
}

// advertised does what the advertisement machine wants, likewise. The caller holds mu.
func (m *mesh) advertised(from string, e advert.Effects) {
	for _, s := range e.Send {
		m.send(s.To, s.Except, s.Message)
	}
	m.ignore(from, e.Ignored)
	if e.Changed {
		m.notify()
	}
	m.plan(m.adverts.Next())
}

// send queues a message for one neighbour, or for all but one. The caller holds mu.
func (m *mesh) send(to, except string, msg []byte) {
	if to != "" {
		if l := m.peers[to]; l != nil {
			l.path.Control(msg)
		}
		return
	}
	for peer, l := range m.peers {
		if peer != except {
			l.path.Control(msg)
		}
	}
}

// ignore counts a message of a neighbour that a machine dropped. The caller holds
// mu.
func (m *mesh) ignore(from, reason string) {
	if reason == "" {
		return
	}
	m.ignored[reason]++
	if what, ok := alarmOf(reason); ok {
		m.node.alarm(what, from, reason)
	}
}

// refused notes a link that is refused. Two nodes that both dial each other have
// one of their links refused for ever, which is nothing to look into. The caller
// holds mu.
func (m *mesh) refused(l *Link, reason error) {
	m.node.counters.add(countRefused)
	if !errors.Is(reason, errConnected) {
		m.node.alarm(alarmRefused, l.peer, reason.Error())
	}
}

// learn makes a name usable as source and destination. The first name with a hash
// keeps it. The caller holds mu; what the data path uses follows with the routes.
func (m *mesh) learn(name string) {
	hash := wire.NodeHash(name)
	if known, ok := m.names[hash]; !ok {
		m.names[hash] = name
	} else if known != name {
		m.node.counters.add(countHashTaken)
		m.node.alarm(alarmHashTaken, "", fmt.Sprintf("%.100q has the hash of %.100q", name, known))
	}
}

// rebuild replaces the snapshot that the data path uses. The caller holds mu.
func (m *mesh) rebuild() {
	routes, parts := m.routing.Routes(), m.routing.Parts()
	numbers := make(map[string]uint32) // of parts
	for _, part := range parts {
		if numbers[part] == 0 {
			numbers[part] = uint32(len(numbers) + 1)
		}
	}
	t := &forward.Table{Self: m.node.self, Nodes: make(map[uint64]forward.Entry, len(m.names)), Made: m.node.now()}
	before := m.node.table.Load()
	if before == nil { // the node starts
		before = new(forward.Table)
	}
	for hash, name := range m.names {
		old, was := before.Nodes[hash]
		entry := forward.Entry{Name: name, Part: numbers[parts[name]], Lost: old.Lost}
		if l := m.peers[routes[name]]; l != nil {
			entry.Next = l.path
		} else if !was || old.Next != nil {
			entry.Lost = t.Made
		}
		if _, known := m.routing.Epoch(name); !known && m.peers[name] == nil && hash != m.node.self && t.Made.Sub(entry.Lost) >= routePatience {
			delete(m.names, hash) // routing has forgotten it
			m.node.firewall.Forget()
			continue
		}
		t.Nodes[hash] = entry
	}
	m.node.table.Store(t)
}

// modern tells whether a node is one of ours with only ours on the way.
func (n *Node) modern(node uint64) bool {
	m := &n.mesh
	m.mu.Lock()
	defer m.mu.Unlock()
	name, ok := m.names[node]
	return ok && (node == n.self || m.routing.Ours(name))
}

// publish advertises one of our services to the mesh.
func (n *Node) publish(service string, kind int, tags map[string]string) {
	m := &n.mesh
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.node.now()
	ad := wire.Advert{NodeID: n.config.NodeID, Service: service, Time: now, ConnType: kind, Tags: tags}
	if isControl(ad) {
		ad.WorkCommands = m.work
	}
	m.advertised("", m.adverts.Publish(now, ad))
}

// withdraw ends the advertising of a service.
func (n *Node) withdraw(service string) {
	m := &n.mesh
	m.mu.Lock()
	defer m.mu.Unlock()
	m.advertised("", m.adverts.Withdraw(m.node.now(), service))
}

// newName is a random name for an update or an ephemeral service: 8 of [0-9a-zA-Z].
func newName() string {
	const letters = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	var name [8]byte
	for i := range name {
		name[i] = letters[randomBelow(len(letters))]
	}
	return string(name[:])
}

// randomBelow is a random number in [0,n), each as likely, for n up to 256.
func randomBelow(n int) int {
	for {
		var b [1]byte
		rand.Read(b[:])
		if int(b[0]) < 256/n*n {
			return int(b[0]) % n
		}
	}
}
