package proxytcp

import (
	"sync"
	"time"

	"github.com/project-receptor/receptor/plug"
)

const (
	// quiet is how long the same failure is not logged again: an application
	// that retries would fill the log.
	quiet = time.Minute

	// maxReasons bounds the failures that are remembered. What is forgotten is
	// logged once more.
	maxReasons = 64
)

// failures tells of streams that could not be opened, in the item's state and,
// now and then, in the log.
type failures struct {
	item *plug.Item
	addr string

	mu     sync.Mutex
	logged map[string]time.Time // by reason
	down   bool                 // the item is degraded
}

// failed tells of one. The item is degraded until the next success.
func (f *failures) failed(reason error) {
	text := reason.Error()
	f.mu.Lock()
	defer f.mu.Unlock()
	if last, ok := f.logged[text]; !ok || time.Since(last) > quiet {
		if len(f.logged) >= maxReasons {
			clear(f.logged)
		}
		if f.logged == nil {
			f.logged = map[string]time.Time{}
		}
		f.logged[text] = time.Now()
		f.item.Log.Warn("cannot open a stream", "error", text)
	}
	f.down = true
	f.item.Degraded(f.addr, reason)
}

// succeeded tells that one was opened.
func (f *failures) succeeded() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.down {
		f.down = false
		f.item.Up(f.addr)
	}
}
