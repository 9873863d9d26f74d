package firewall

import (
	"hash/maphash"
	"sync/atomic"
)

// ways is how many entries may have the same place: flows that meet there do not
// push each other out at once.
const ways = 4

// memory remembers values by key, a bounded number of them. Any goroutine may use
// it, none waits, and reading allocates nothing.
type memory[K comparable, V any] struct {
	seed  maphash.Seed
	slots []atomic.Pointer[entry[K, V]]
	turn  *atomic.Uint32 // which of the ways is given up next
}

type entry[K comparable, V any] struct {
	key   K
	value V
}

// newMemory makes a memory of that many entries, a power of two.
func newMemory[K comparable, V any](entries int) memory[K, V] {
	return memory[K, V]{
		seed:  maphash.MakeSeed(), // nobody can choose keys that meet
		slots: make([]atomic.Pointer[entry[K, V]], entries),
		turn:  new(atomic.Uint32),
	}
}

// place is where the entries of a key may be.
func (m *memory[K, V]) place(key K) []atomic.Pointer[entry[K, V]] {
	at := int(maphash.Comparable(m.seed, key) & uint64(len(m.slots)-1) &^ (ways - 1))
	return m.slots[at : at+ways]
}

func (m *memory[K, V]) get(key K) (value V, ok bool) {
	place := m.place(key)
	for i := range place {
		if e := place[i].Load(); e != nil && e.key == key {
			return e.value, true
		}
	}
	return value, false
}

// put remembers a value, in a free place or instead of another.
func (m *memory[K, V]) put(key K, value V) {
	place := m.place(key)
	e := &entry[K, V]{key, value}
	for i := range place {
		if place[i].CompareAndSwap(nil, e) {
			return
		}
	}
	place[m.turn.Add(1)%ways].Store(e)
}

func (m *memory[K, V]) clear() {
	for i := range m.slots {
		m.slots[i].Store(nil)
	}
}
