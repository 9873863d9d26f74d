package netceptor

import (
	"bytes"
	"crypto/ed25519"
	"testing"
	"time"

	"github.com/project-receptor/receptor/netceptor/internal/wire"
)

func testKey(seed byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{seed}, ed25519.SeedSize))
}

// A node that comes back with its key is known again at once, here and farther
// away, and so is one whose key was temporary. One of its name with another key is
// refused.
func TestRestartWithKeys(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		next      byte
		temporary bool
		refused   bool
	}{
		"the same key":        {1, false, false},
		"a new temporary key": {2, true, false},
		"another key":         {2, false, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := startNode(t, Config{NodeID: "a", SigningKey: testKey(7)})
			b := startNode(t, Config{NodeID: "b", SigningKey: testKey(8)})
			join(t, a, b)
			old := startNode(t, Config{NodeID: "c", SigningKey: testKey(1), TemporaryKey: c.temporary, Epoch: NextEpoch(time.Now(), 0)})
			join(t, b, old)
			waitRoutes(t, a, b, old)
			if err := old.Close(); err != nil {
				t.Fatal(err)
			}
			waitFor(t, a, "the loss of c", func(s Status) bool { return s.RoutingTable["c"] == "" })
			fresh := startNode(t, Config{NodeID: "c", SigningKey: testKey(c.next), TemporaryKey: c.temporary, Epoch: NextEpoch(time.Now(), old.config.Epoch)})
			begun := time.Now()
			join(t, b, fresh)
			if c.refused {
				waitCounter(t, b, "update_wrong_key", 1)
				waitCounter(t, b, "link_refused", 1)
				if _, ok := alarmIn(b.Status(), "forged_update"); !ok {
					t.Errorf("no alarm: %+v", b.Status().Alarms)
				}
				return
			}
			waitRoutes(t, a, b, fresh)
			for _, n := range []*Node{a, b} {
				waitFor(t, n, "the new run of c", func(Status) bool {
					n.mesh.mu.Lock()
					defer n.mesh.mu.Unlock()
					epoch, _ := n.mesh.routing.Epoch("c")
					return epoch == fresh.config.Epoch
				})
			}
			for _, n := range []*Node{a, b} {
				for _, counter := range []string{"update_wrong_key", "update_unsigned", "update_bad_signature"} {
					if got := n.Status().Counters[counter]; got != 0 {
						t.Errorf("%s of node %s is %d after %v", counter, n.NodeID(), got, time.Since(begun))
					}
				}
			}
		})
	}
}

// A legacy neighbour relays updates without their signatures: they are neither
// believed nor an alarm while signed ones come another way.
func TestSignedNodeBesideLegacy(t *testing.T) {
	t.Parallel()
	a := startNode(t, Config{NodeID: "a", SigningKey: testKey(1)})
	b := startNode(t, Config{NodeID: "b", SigningKey: testKey(2)})
	far := startNode(t, Config{NodeID: "far", SigningKey: testKey(3)})
	join(t, a, b)
	join(t, b, far)
	waitRoutes(t, a, b, far)
	p := attachRaw(t, a, "legacy")
	for i := range uint64(3) {
		p.route(&wire.RoutingUpdate{NodeID: "far", UpdateEpoch: far.config.Epoch, UpdateSequence: 1000 + i, Connections: map[string]float64{"b": 1}})
	}
	waitCounter(t, a, "update_unsigned_by_legacy", 3)
	p.send([]byte{9}) // after them
	waitCounter(t, a, "unknown_type", 1)
	if alarm, ok := alarmIn(a.Status(), "forged_update"); ok {
		t.Errorf("alarm %+v", alarm)
	}
	if via := a.Status().RoutingTable["far"]; via != "b" {
		t.Errorf("the way to far is over %q", via)
	}
	for _, m := range p.received() {
		if m[0] == wire.TypeRoute && bytes.Contains(m, []byte(`"NodeID":"far"`)) && bytes.Contains(m, []byte("sig")) {
			t.Errorf("a legacy neighbour was told %s", m[1:])
		}
	}
}
