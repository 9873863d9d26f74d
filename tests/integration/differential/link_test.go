package differential

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/project-receptor/receptor/netceptor/wiretest"
	"github.com/project-receptor/receptor/tests/legacy"
)

// typed puts the type before what follows it, as far as a frame holds it.
func typed(kind byte, b []byte) []byte {
	return append([]byte{kind}, b[:min(len(b), wiretest.MaxMessage-1)]...)
}

// Frames of links over byte streams.
var frames = format{read: func(b []byte) (r reading) {
	for rest := b; ; {
		message, more, ok := wiretest.CutFrame(rest)
		if !ok {
			break
		}
		r.ours += fmt.Sprintf("%x\n", message)
		rest = more
	}
	for _, message := range legacy.ReadFrames(b) {
		r.model += fmt.Sprintf("%x\n", message)
	}
	return r
}}

func FuzzFrames(f *testing.F) {
	all := recorded(f, -1)
	frames.fuzz(f, append(all, bytes.Join(all, nil), []byte{0, 0, 1, 0, 7, 1})...)
}

// Data messages.
var data = format{read: func(b []byte) (r reading) {
	b = typed(0, b)
	h, err := wiretest.ParseHeader(b)
	if r.oursErr = err; err == nil {
		r.ours = fmt.Sprintf("%d %x %x %q %q %x", h.Hops, h.From, h.To, h.FromService.String(), h.ToService.String(), b[36:])
	}
	m, err := legacy.ReadData(b)
	if r.modelErr = err; err == nil {
		r.model = fmt.Sprintf("%d %x %x %q %q %x", m.Hops, m.From, m.To, m.FromService, m.ToService, m.Payload)
	}
	return r
}}

func FuzzData(f *testing.F) { data.fuzz(f, recorded(f, 0)...) }

// text is a value in one form.
func text(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// Routing updates.
var updates = format{
	read: func(b []byte) (r reading) {
		b = typed(1, b)
		u, err := wiretest.ParseRoutingUpdate(b)
		if r.oursErr = err; err == nil {
			r.ours = text(legacy.Update{
				NodeID: u.NodeID, UpdateID: u.UpdateID, UpdateEpoch: u.UpdateEpoch, UpdateSequence: u.UpdateSequence,
				Connections: u.Connections, ForwardingNode: u.ForwardingNode, SuspectedDuplicate: u.SuspectedDuplicate,
			})
		}
		m, err := legacy.ReadUpdate(b)
		if r.modelErr = err; err == nil {
			r.model = text(m)
		}
		return r
	},
	deliberate: []difference{
		{
			"a long node ID", "nodes keep every name that they hear of, so ours are bounded",
			fmt.Sprintf(`{"NodeID":"a","ForwardingNode":%q}`, strings.Repeat("x", wiretest.MaxNodeID+1)),
			strictUpdate(func(u *legacy.Update) bool {
				long := len(u.NodeID) > wiretest.MaxNodeID || len(u.ForwardingNode) > wiretest.MaxNodeID
				for peer := range u.Connections {
					long = long || len(peer) > wiretest.MaxNodeID
				}
				return long
			}),
		},
		{
			"a long UpdateID", "each is remembered for an hour",
			fmt.Sprintf(`{"UpdateID":%q}`, strings.Repeat("x", wiretest.MaxUpdateID+1)),
			strictUpdate(func(u *legacy.Update) bool { return len(u.UpdateID) > wiretest.MaxUpdateID }),
		},
		{
			"a great cost", "sums of costs must stay exact enough to be compared",
			`{"Connections":{"a":1.1e9}}`,
			strictUpdate(func(u *legacy.Update) bool {
				for _, cost := range u.Connections {
					if cost > wiretest.MaxCost {
						return true
					}
				}
				return false
			}),
		},
		{
			"a key Ext that is none of ours", "no existing node sends one, and ours may be signed: who changes it must not be believed the rest",
			`{"NodeID":"a","ext":{"v":"1"}}`,
			func(b []byte, r reading) bool { return r.oursErr != nil && hasKey(b, "Ext") },
		},
	},
}

// hasKey tells whether an object has a key, in any letter case.
func hasKey(b []byte, name string) bool {
	var keys map[string]json.RawMessage
	if json.Unmarshal(b, &keys) != nil {
		return false
	}
	for key := range keys {
		if strings.EqualFold(key, name) {
			return true
		}
	}
	return false
}

// strictUpdate is for what the model takes and ours do not.
func strictUpdate(is func(*legacy.Update) bool) func([]byte, reading) bool {
	return func(b []byte, r reading) bool {
		u, err := legacy.ReadUpdate(typed(1, b))
		return err == nil && r.oursErr != nil && is(u)
	}
}

func FuzzUpdate(f *testing.F) { updates.fuzz(f, recorded(f, 1)...) }

// Service advertisements.
var adverts = format{
	read: func(b []byte) (r reading) {
		b = typed(2, b)
		a, err := wiretest.ParseAdvert(b)
		if r.oursErr = err; err == nil {
			same := legacy.Advert{NodeID: a.NodeID, Service: a.Service, Time: a.Time, ConnType: a.ConnType, Tags: a.Tags, Cancel: a.Cancel}
			for _, w := range a.WorkCommands {
				same.WorkCommands = append(same.WorkCommands, legacy.WorkCommand(w))
			}
			r.ours = advertText(same)
		}
		m, err := legacy.ReadAdvert(b)
		if r.modelErr = err; err == nil {
			r.model = advertText(*m)
		}
		return r
	},
	deliberate: []difference{
		{
			"a missing name or time", "it cannot be kept, nor told from a later one; existing nodes die of some, so it is not relayed to them",
			`{"NodeID":"a","Time":"2026-01-01T00:00:00Z"}`,
			strictAdvert(func(a *legacy.Advert) bool { return a.NodeID == "" || a.Service == "" || a.Time.IsZero() }),
		},
		{
			"a key Gone that is none of ours", "no existing node sends one; one that is no truth value says nothing that could be kept",
			`{"NodeID":"a","Service":"s","Time":"2026-01-01T00:00:00Z","gone":1}`,
			func(b []byte, r reading) bool { return r.oursErr != nil && hasKey(b, "Gone") },
		},
		{
			"a long name", "the table of advertisements is bounded, and a data message has 8 bytes for a service",
			`{"NodeID":"a","Service":"ninechars","Time":"2026-01-01T00:00:00Z"}`,
			strictAdvert(func(a *legacy.Advert) bool { return len(a.NodeID) > wiretest.MaxNodeID || len(a.Service) > 8 }),
		},
	},
}

// strictAdvert is for what the model takes and ours do not.
func strictAdvert(is func(*legacy.Advert) bool) func([]byte, reading) bool {
	return func(b []byte, r reading) bool {
		a, err := legacy.ReadAdvert(typed(2, b))
		return err == nil && r.oursErr != nil && is(a)
	}
}

func advertText(a legacy.Advert) string {
	return fmt.Sprintf("%s %q %q %d %q %v %q %v", a.Time.Format(time.RFC3339Nano), a.NodeID, a.Service, a.ConnType, a.Tags, a.Tags == nil, fmt.Sprint(a.WorkCommands), a.Cancel)
}

func FuzzAdvert(f *testing.F) { adverts.fuzz(f, recorded(f, 2)...) }

// What is said of messages that did not arrive.
var notices = format{read: func(b []byte) (r reading) {
	n, err := wiretest.ParseNotice(b)
	if r.oursErr = err; err == nil {
		r.ours = text(n)
	}
	m, err := legacy.ReadNotice(b)
	if r.modelErr = err; err == nil {
		r.model = text(wiretest.Notice{FromNode: m.FromNode, ToNode: m.ToNode, FromService: m.FromService, ToService: m.ToService, Problem: m.Problem})
	}
	return r
}}

func FuzzNotice(f *testing.F) {
	var seeds [][]byte
	for _, m := range recorded(f, 0) {
		if len(m) > 35 && bytes.HasPrefix(m[27:], []byte("unreach\x00{")) {
			seeds = append(seeds, m[35:])
		}
	}
	notices.fuzz(f, seeds...)
}
