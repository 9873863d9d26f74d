package workceptor

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// denialPause is between two log lines about requests that were denied: who makes
// them decides how many there are.
const denialPause = 5 * time.Second

// denials are the requests that were denied.
type denials struct {
	count atomic.Uint64

	mu   sync.Mutex
	last time.Time // when one was logged
}

// Denied is how many requests were denied, for want of a signature or of rights.
func (w *Workceptor) Denied() uint64 { return w.denials.count.Load() }

// noteDenied counts a request that has failed, if it was denied.
func (w *Workceptor) noteDenied(subcommand, unit, typ string, err error) {
	var e *CommandError
	if !errors.As(err, &e) || e.Code != CodeDenied {
		return
	}
	n := w.denials.count.Add(1)
	w.denials.mu.Lock()
	quiet := time.Since(w.denials.last) < denialPause
	if !quiet {
		w.denials.last = time.Now()
	}
	w.denials.mu.Unlock()
	if !quiet {
		w.log.Warn("requests about work were denied, this one at last",
			"count", n, "subcommand", shown(subcommand), "unit", shown(unit), "type", shown(typ), "error", shown(e.Msg))
	}
}

// shown is a text of others as it is logged.
func shown(text string) string { return text[:min(len(text), 256)] }

// Unsigned is what clients that are not at the node may ask in the legacy forms,
// without a signature, about units whose types want one. In our own form it is nothing.
type Unsigned string

// What they may.
const (
	UnsignedStatus Unsigned = "status" // of a unit whose ID they know, without its parameters: existing nodes need it
	UnsignedList   Unsigned = "list"   // all of them, as with existing nodes
	UnsignedNone   Unsigned = "none"
)
