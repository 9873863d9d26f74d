package legacy

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

const (
	// transcriptEvents is how many events a Transcript keeps: the last of a long
	// conversation, some 40 MB at most.
	transcriptEvents = 100_000

	// keptMessage is how much of a data message is kept; of others, all.
	keptMessage = 512
)

// Transcript keeps what happens, to be read: every message on every link of the
// nodes that it traces. It may be shared by several nodes.
type Transcript struct {
	mu      sync.Mutex
	started time.Time
	events  []Event // a ring, once it is full
	next    int
	lost    int
	names   names
}

// NewTranscript makes a transcript whose times count from now.
func NewTranscript() *Transcript { return &Transcript{started: time.Now(), names: names{}} }

// Trace is for Config.Trace.
func (t *Transcript) Trace(e Event) {
	if len(e.Message) > 0 && e.Message[0] == typeData && len(e.Message) > keptMessage {
		e.Text = fmt.Sprintf(" of %d bytes", len(e.Message))
		e.Message = e.Message[:keptMessage]
	}
	e.Message = bytes.Clone(e.Message)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.names.learn(e.Node)
	if len(e.Message) > 0 && e.Message[0] == typeRouting {
		if u, err := parseUpdate(e.Message); err == nil {
			t.names.learn(u.NodeID)
			t.names.learn(u.ForwardingNode)
		}
	}
	if len(t.events) < transcriptEvents {
		t.events = append(t.events, e)
		return
	}
	t.events[t.next] = e
	t.next = (t.next + 1) % len(t.events)
	t.lost++
}

// Notes counts the notes in which a text is.
func (t *Transcript) Notes(text string) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := 0
	for _, e := range t.events {
		if e.Way == Note && strings.Contains(e.Text, text) {
			n++
		}
	}
	return n
}

// WriteTo implements io.WriterTo: a line for each event.
func (t *Transcript) WriteTo(w io.Writer) (int64, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	var out bytes.Buffer
	if t.lost > 0 {
		fmt.Fprintf(&out, "(%d events before are not kept)\n", t.lost)
	}
	for i := range t.events {
		e := t.events[(t.next+i)%len(t.events)]
		text := e.Text
		if e.Way != Note {
			text = describe(e.Message, t.names) + e.Text
		}
		fmt.Fprintf(&out, "%11.6f %s %s %s  %s\n", e.Time.Sub(t.started).Seconds(), e.Node, [...]string{"  ", "->", "<-"}[e.Way], e.Link, text)
	}
	return out.WriteTo(w)
}

// describe puts a message into words.
func describe(msg []byte, known names) string {
	if len(msg) == 0 {
		return "empty"
	}
	switch msg[0] {
	case typeData:
		m, err := parseMessage(msg)
		if err != nil {
			return fmt.Sprintf("data %x: %v", msg, err)
		}
		name := func(h uint64) string {
			if n, ok := known[h]; ok {
				return n
			}
			return fmt.Sprintf("%016x", h)
		}
		text := fmt.Sprintf("data %s:%s > %s:%s hops %d", name(m.from), m.fromService, name(m.to), m.toService, m.hops)
		switch {
		case m.toService == serviceUnreach:
			return fmt.Sprintf("%s %s", text, m.payload)
		case len(m.payload) > 0:
			return fmt.Sprintf("%s, %x...", text, m.payload[:min(len(m.payload), 8)])
		}
		return text
	case typeRouting:
		return fmt.Sprintf("route %s", msg[1:])
	case typeAdvert:
		return fmt.Sprintf("advert %s", msg[1:])
	case typeReject:
		return fmt.Sprintf("reject %s", msg[1:])
	}
	return fmt.Sprintf("type %d: %x", msg[0], msg[1:])
}
