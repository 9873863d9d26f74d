package integration

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/project-receptor/receptor/tests/integration/lab"
	"github.com/project-receptor/receptor/tests/legacy"
)

// A model that restarts is found again, with its new epoch, also if its clock has
// been set back meanwhile, so that its epoch is smaller.
func TestLegacyModelRestarts(t *testing.T) {
	m := newMixed(t)
	left, right := freePort(t), freePort(t)
	m.ours("a", append(listens(left), dials(right)...)...)
	m.ours("c", listens(right)...)
	start := func(at time.Time) *legacy.Node {
		n := m.model(legacy.Config{ID: "m", Started: at})
		n.DialTCP(lab.Local(left), legacy.LinkConfig{}, nil, true)
		m.reaches(n, "a", "c")
		must(t, m.WaitRoute(m.ctx, "c", "m"))
		m.pingsFrom("c", "m", "a")
		m.pings(n, "c", "a")
		return n
	}
	now := time.Now()
	n := start(now)
	first := n.Epoch()
	must(t, n.Close())
	must(t, m.WaitStatus(m.ctx, "c", func(s *lab.Status) bool { return s.RoutingTable["m"] == "" }))

	n = start(now.Add(2 * time.Second))
	if n.Epoch() <= first {
		t.Errorf("the epoch %d has not grown from %d", n.Epoch(), first)
	}
	must(t, n.Close())
	must(t, m.WaitStatus(m.ctx, "c", func(s *lab.Status) bool { return s.RoutingTable["m"] == "" }))

	n = start(now.Add(-time.Hour))
	if n.Epoch() >= first {
		t.Errorf("the epoch %d is not that of a clock set back", n.Epoch())
	}
}

// One of ours that restarts has a greater epoch, and models find it again.
func TestLegacyOursRestarts(t *testing.T) {
	m := newMixed(t)
	port, far := freePort(t), freePort(t)
	items := listens(port)
	p := m.ours("ours", items...)
	n, behind := m.model(legacy.Config{ID: "m"}), m.model(legacy.Config{ID: "behind"})
	m.listen(n, far, legacy.LinkConfig{})
	behind.DialTCP(lab.Local(far), legacy.LinkConfig{}, nil, true)
	n.DialTCP(lab.Local(port), legacy.LinkConfig{}, nil, true)
	epoch := func() uint64 {
		must(t, m.WaitRoute(m.ctx, "ours", "m", "behind"))
		m.reaches(behind, "ours")
		m.pings(behind, "ours", "m")
		m.pingsFrom("ours", "behind", "m")
		s, err := m.Status(m.ctx, "ours")
		must(t, err)
		return s.Epoch
	}
	first := epoch()
	must(t, p.Stop())
	m.eventually("the way is gone", func() bool { return behind.Routes()["ours"] == "" })
	m.ours("ours", items...)
	if second := epoch(); second <= first {
		t.Errorf("the epoch %d has not grown from %d", second, first)
	}
}

// A model that has the name of one of ours: if it started later it stops, since
// ours says so; if earlier, it says that ours is the duplicate, and ours goes on.
func TestLegacyDuplicateOfOurs(t *testing.T) {
	for name, started := range map[string]time.Duration{"later": time.Hour, "earlier": -time.Hour} {
		t.Run(name, func(t *testing.T) {
			m := newMixed(t)
			left, right := freePort(t), freePort(t)
			ours := m.ours("x", listens(left)...)
			m.ours("c", listens(right)...)
			b := m.model(legacy.Config{ID: "b"})
			b.DialTCP(lab.Local(left), legacy.LinkConfig{}, nil, true)
			b.DialTCP(lab.Local(right), legacy.LinkConfig{}, nil, true)
			must(t, m.WaitRoute(m.ctx, "x", "b", "c"))
			must(t, m.WaitRoute(m.ctx, "c", "x"))

			double := m.model(legacy.Config{ID: "x", Started: time.Now().Add(started)})
			double.DialTCP(lab.Local(right), legacy.LinkConfig{}, nil, true)
			if started > 0 {
				m.eventually("the model stops", func() bool { return double.Err() != nil })
				if !errors.Is(double.Err(), legacy.ErrDuplicate) {
					t.Errorf("the model has stopped: %v", double.Err())
				}
			} else {
				must(t, ours.WaitOutput(m.ctx, "node ID"))
				if err := double.Err(); err != nil {
					t.Errorf("the older model has stopped: %v", err)
				}
				must(t, double.Close())
			}
			select {
			case <-ours.Done():
				t.Fatal("ours has stopped")
			default:
			}
			// Ours is believed again by all.
			must(t, m.WaitStatus(m.ctx, "c", func(s *lab.Status) bool { return s.RoutingTable["x"] == "b" }))
			m.eventually("ours answers", func() bool {
				out, err := m.PingAt(m.ctx, m.Socket("c"), "x")
				return err == nil && strings.Contains(out, "Reply from x")
			})
			m.pingsFrom("x", "c", "b")
		})
	}
}

// Of two models with one name, that which started later stops, through ours.
func TestLegacyDuplicateOfModel(t *testing.T) {
	m := newMixed(t)
	left, right := freePort(t), freePort(t)
	m.ours("a", append(listens(left), dials(right)...)...)
	m.ours("c", listens(right)...)
	first := m.model(legacy.Config{ID: "x"})
	first.DialTCP(lab.Local(left), legacy.LinkConfig{}, nil, true)
	must(t, m.WaitRoute(m.ctx, "c", "a", "x"))
	second := m.model(legacy.Config{ID: "x", Started: time.Now().Add(time.Minute)})
	second.DialTCP(lab.Local(right), legacy.LinkConfig{}, nil, true)
	m.eventually("the second stops", func() bool { return second.Err() != nil })
	if !errors.Is(second.Err(), legacy.ErrDuplicate) || first.Err() != nil {
		t.Errorf("the first has ended with %v, the second with %v", first.Err(), second.Err())
	}
	m.eventually("the first is reached again", func() bool {
		out, err := m.PingAt(m.ctx, m.Socket("c"), "x")
		return err == nil && strings.Contains(out, "Reply from x")
	})
}
