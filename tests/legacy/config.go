package legacy

import (
	"errors"
	"fmt"
	"time"
)

// Config is how a node is to be.
type Config struct {
	ID       string
	MaxIdle  time.Duration // of a link; 0 means 21 s, and less is refused
	Firewall []Rule

	// Started is the time that the epoch is made of, for a node whose clock is
	// wrong; zero means now.
	Started time.Time

	// RedialPace multiplies the pauses between dials, for tests that cannot wait
	// 5 s; 0 means 1.
	RedialPace float64

	// Control has commands of the control conversation beyond the common ones.
	Control map[string]Command
	// WorkCommands are what the control service is advertised with.
	WorkCommands []WorkCommand

	// Trace is told of every message on every link, by several goroutines; it must
	// not call the node. nil for nobody.
	Trace func(Event)
}

func (c *Config) validate() error {
	switch {
	case c.ID == "" || isLocalhost(c.ID):
		return fmt.Errorf("the node ID %q is none", c.ID)
	case c.MaxIdle != 0 && c.MaxIdle < minIdle:
		return fmt.Errorf("the idle time %v is less than %v", c.MaxIdle, minIdle)
	case c.RedialPace < 0:
		return errors.New("the pace of redialling is negative")
	}
	for i, r := range c.Firewall {
		if err := r.validate(); err != nil {
			return fmt.Errorf("firewall rule %d: %w", i, err)
		}
	}
	return nil
}

// Event is a message on a link, or something else worth knowing.
type Event struct {
	Time    time.Time
	Node    string // who tells
	Link    string // which of its links; empty for none
	Way     Way
	Message []byte // Sent, Received: only until Trace returns
	Text    string // Note
}

// Way says what an event is.
type Way int

// The ways.
const (
	Note Way = iota
	Sent
	Received
)
