package store

import "fmt"

const (
	// New work is refused when less than a twentieth of the disk is free, or
	// maxReserve: what runs needs room to write down what became of it.
	reservePart = 20
	maxReserve  = 1 << 30
)

// room tells whether new work can be taken.
func (s *Store) room() error {
	s.mu.Lock()
	units, unwritten := len(s.units)-len(s.released), s.unwritten
	s.mu.Unlock()
	if units >= maxUnits {
		return fmt.Errorf("%w: there are %d units; release some", ErrFull, units)
	}
	if unwritten {
		if err := s.heal(); err != nil {
			return fmt.Errorf("%w: the state directory cannot be written: %w", ErrFull, err)
		}
	}
	free, total, err := s.o.FS.Free()
	if err != nil {
		return fmt.Errorf("see how much room there is: %w", err)
	}
	reserve := s.o.Reserve
	if reserve == 0 {
		reserve = min(total/reservePart, maxReserve)
	}
	if free < reserve {
		return fmt.Errorf("%w: %d MiB are free on the disk of the state directory, and %d MiB are kept for the units that there are",
			ErrFull, free>>20, reserve>>20)
	}
	return nil
}
