package plughost

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"
)

// The states of a plug.
const (
	plugAttached = "attached"
	plugStalled  = "stalled"  // it does not answer and gets no new streams
	plugDraining = "draining" // it takes on nothing new, perhaps as a newer process took over
)

// PlugStatus is one attached plug.
type PlugStatus struct {
	Name    string    `json:"name"`
	Program string    `json:"program"`
	Version string    `json:"version"`
	UID     int       `json:"uid"`
	PID     int       `json:"pid"`
	State   string    `json:"state"` // attached, stalled, draining
	Since   time.Time `json:"since"`
	Kinds   []string  `json:"kinds"`
	Objects int       `json:"objects"`     // links and streams: those that it carries, and those that it has handed over
	Handed  int       `json:"handed_over"` // of these, whose socket the core has
	Err     string    `json:"err,omitempty"`

	Counters map[string]uint64 `json:"counters,omitempty"` // as the plug reports them
}

// Plugs returns the attached plugs, sorted by name.
func (h *Host) Plugs() []PlugStatus {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := make([]PlugStatus, 0, len(h.guests))
	for _, g := range h.guests {
		out = append(out, g.plugStatus())
	}
	slices.SortFunc(out, func(a, b PlugStatus) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// plugStatus is what is known of the plug. Callers hold mu.
func (g *guest) plugStatus() PlugStatus {
	s := PlugStatus{
		Name:    g.hello.Name,
		Program: g.hello.Program,
		Version: g.hello.ProgramVersion,
		UID:     int(g.cred.UID),
		PID:     g.cred.PID,
		State:   plugAttached,
		Since:   g.since,
		Kinds:   []string{},
	}
	if g.draining {
		s.State = plugDraining
	}
	if g.stalled {
		s.State = plugStalled
	}
	for _, k := range g.kinds {
		s.Kinds = append(s.Kinds, k.Kind)
	}
	for _, n := range g.objects {
		s.Objects += n
	}
	for _, o := range g.host.handed {
		if o.holder == g {
			s.Handed++
		}
	}
	problems := g.problems
	if g.configErr != "" {
		problems = append(slices.Clip(problems), "configuration: "+g.configErr)
	}
	if g.detail != "" {
		problems = append(slices.Clip(problems), g.detail)
	}
	s.Err = clip(strings.Join(problems, "; "))
	s.Counters = maps.Clone(g.counters)
	return s
}
