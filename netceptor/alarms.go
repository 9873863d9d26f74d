package netceptor

import (
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/hashicorp/go-hclog"

	"github.com/project-receptor/receptor/netceptor/internal/advert"
	"github.com/project-receptor/receptor/netceptor/internal/linkproto"
	"github.com/project-receptor/receptor/netceptor/internal/route"
)

const (
	// alarmEvery is how often the same alarm is logged: what raises it may go on.
	alarmEvery = time.Minute

	// routesSettle is how long the routes must have stood for a message from the
	// wrong side to be an alarm. While nodes change their minds, honest messages
	// take such ways, too; they are dropped and counted, and that is all.
	routesSettle = 2 * time.Second

	// maxShown bounds what a log line or an alarm shows of a peer's text.
	maxShown = 256
)

// Alarm is something that somebody should look into: a member of the mesh does
// what it must not, or a limit was met.
type Alarm struct {
	Alarm string    `json:"alarm"` // what it is, for programs
	Msg   string    `json:"msg"`   // the same for people
	Count uint64    `json:"count"`
	First time.Time `json:"first"`
	Last  time.Time `json:"last"`

	// Of the last time: the neighbour it came from, and what else is known.
	Peer   string `json:"peer,omitempty"`
	Detail string `json:"detail,omitempty"`
}

// alarm is a kind of alarm. There are few, so nobody can fill the list.
type alarm int

const (
	alarmDuplicate alarm = iota
	alarmHashTaken
	alarmSource
	alarmUpdate
	alarmForged
	alarmRefused
	alarmTables
	alarmWaiting
	alarmTLS
	alarmPlain
	alarmPanic
	alarmCount
)

var alarmTexts = [alarmCount]struct{ name, msg string }{
	alarmDuplicate: {"duplicate_node_id", "another node claims our node ID"},
	alarmHashTaken: {"hash_taken", "a node ID has the hash of another one and was refused"},
	alarmSource:    {"forged_source", "a neighbour sends messages of nodes that do not lie behind it"},
	alarmUpdate:    {"bad_update", "a neighbour passes on routing updates that cannot be"},
	alarmForged:    {"forged_update", "a neighbour passes on a routing update that its node has not signed"},
	alarmRefused:   {"link_refused", "a link was refused"},
	alarmTables:    {"table_full", "there are more nodes or services than are kept"},
	alarmWaiting:   {"connections_waiting", "more connections than may wait do not say who they are"},
	alarmTLS:       {"tls_failed", "a connection for a link got no further than TLS"},
	alarmPlain:     {"tls_required", "a link without TLS was refused"},
	alarmPanic:     {"panic", "handling a message panicked"},
}

// alarmOf tells which of the reasons to drop a message are alarms.
func alarmOf(ignored string) (alarm, bool) {
	switch ignored {
	case linkproto.IgnoredCost, route.IgnoredInvalid, route.IgnoredEpochAhead, advert.IgnoredAhead:
		return alarmUpdate, true
	case route.IgnoredUnsigned, route.IgnoredKey, route.IgnoredSignature:
		return alarmForged, true
	case route.IgnoredOrigins, route.IgnoredNeighbourOrigins,
		advert.IgnoredEntries, advert.IgnoredOfNode, advert.IgnoredNeighbour:
		return alarmTables, true
	default:
		return 0, false
	}
}

// alarms are those that were raised. The zero value is ready.
type alarms struct {
	mu     sync.Mutex
	raised [alarmCount]Alarm
	logged [alarmCount]time.Time
}

// raise notes an alarm, and logs it unless it was logged a moment ago.
func (a *alarms) raise(log hclog.Logger, what alarm, peer, detail string) {
	now := time.Now()
	a.mu.Lock()
	r := &a.raised[what]
	r.Count++
	r.Last = now
	if r.Count == 1 {
		r.Alarm, r.Msg, r.First = alarmTexts[what].name, alarmTexts[what].msg, now
	}
	r.Peer, r.Detail = peer, detail
	count := r.Count
	quiet := now.Sub(a.logged[what]) < alarmEvery
	if !quiet {
		a.logged[what] = now
	}
	a.mu.Unlock()
	if quiet {
		return
	}
	args := []any{"count", count}
	if peer != "" {
		args = append(args, "peer", shown(peer))
	}
	if detail != "" {
		args = append(args, "reason", shown(detail))
	}
	log.Warn(alarmTexts[what].msg, args...)
}

// all is a copy of what was raised.
func (a *alarms) all() []Alarm {
	a.mu.Lock()
	defer a.mu.Unlock()
	list := []Alarm{}
	for _, r := range a.raised {
		if r.Count > 0 {
			r.Peer, r.Detail = shown(r.Peer), shown(r.Detail)
			list = append(list, r)
		}
	}
	return list
}

// alarm raises one.
func (n *Node) alarm(what alarm, peer, detail string) { n.alarms.raise(n.log, what, peer, detail) }

// shown makes a text of a peer fit to be shown: at most maxShown bytes, quoted if
// they would not show as they are.
func shown(s string) string {
	cut := s
	if len(s) > maxShown {
		const ellipsis = "..."
		cut = strings.ToValidUTF8(s[:maxShown-len(ellipsis)], "") + ellipsis
	}
	if strings.ContainsFunc(cut, func(r rune) bool { return !unicode.IsPrint(r) || r == unicode.ReplacementChar }) {
		cut = strconv.Quote(cut)
	}
	return cut
}
