package supervisor

import (
	"encoding/json"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/project-receptor/receptor/worker-command/internal/unit"
)

// tellEvery is the shortest time between two messages to a plug: what grows in that
// time is told together.
const tellEvery = 2 * time.Millisecond

// teller tells plugs how the unit fares, and takes their orders. There is one plug, or
// for a moment two.
type teller struct {
	listener *net.UnixListener
	relays   []*Relay
	orders   chan unit.Order
	ended    chan struct{} // closed: it is stopped
	end      sync.Once
	running  sync.WaitGroup

	mu      sync.Mutex
	told    unit.Told
	changed chan struct{} // closed and replaced when told changes
}

func newTeller(l *net.UnixListener, relays []*Relay) *teller {
	return &teller{listener: l, relays: relays, orders: make(chan unit.Order), ended: make(chan struct{}), changed: make(chan struct{})}
}

func (t *teller) start() {
	t.running.Go(func() {
		for {
			c, err := t.listener.AcceptUnix()
			if err != nil {
				return // stopped. (Out of descriptors it cannot be: it has a dozen.)
			}
			t.running.Go(func() { t.serve(c) })
		}
	})
}

// stop closes all connections, if it has not, by which plugs know that the unit has ended.
func (t *teller) stop() {
	t.end.Do(func() { close(t.ended) })
	t.listener.Close()
	t.running.Wait()
}

func (t *teller) change(f func(*unit.Told)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	f(&t.told)
	close(t.changed)
	t.changed = make(chan struct{})
}

func (t *teller) now() unit.Told {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.told
}

// serve serves one plug.
func (t *teller) serve(c *net.UnixConn) {
	gone := make(chan struct{})
	t.running.Go(func() {
		defer close(gone)
		t.listen(c)
	})
	t.running.Go(func() {
		select {
		case <-t.ended:
		case <-gone:
		}
		c.Close() // so that nothing waits for the other side
	})
	rights, err := t.rights()
	for err == nil {
		t.mu.Lock()
		told, changed := t.told, t.changed
		t.mu.Unlock()
		var data []byte
		if data, err = json.Marshal(told); err == nil {
			_, _, err = c.WriteMsgUnix(data, rights, nil) // an error: it is gone, or will see that this one is
		}
		rights = nil
		for _, wait := range []<-chan struct{}{changed, after(tellEvery)} {
			select {
			case <-wait:
			case <-gone:
				return
			case <-t.ended:
				return
			}
		}
	}
}

// after is closed after d.
func after(d time.Duration) <-chan struct{} {
	done := make(chan struct{})
	time.AfterFunc(d, func() { close(done) })
	return done
}

// listen takes orders until the plug has gone.
func (t *teller) listen(c *net.UnixConn) {
	b := make([]byte, unit.MaxMessage)
	for {
		n, err := c.Read(b)
		if err != nil || n == 0 {
			return
		}
		var o unit.Order
		if json.Unmarshal(b[:n], &o) != nil {
			continue // of a plug that is newer
		}
		select {
		case t.orders <- o:
		case <-t.ended:
			return
		}
	}
}

// rights are the descriptors that a plug saves output with.
func (t *teller) rights() ([]byte, error) {
	var fds []int
	for _, r := range t.relays {
		for _, f := range []*os.File{r.pipe, r.file} {
			fd, err := descriptor(f)
			if err != nil {
				return nil, err
			}
			fds = append(fds, fd)
		}
	}
	return unix.UnixRights(fds...), nil
}

// descriptor is that of a file that stays open. (File.Fd would have it block.)
func descriptor(f *os.File) (int, error) {
	fd := -1
	c, err := f.SyscallConn()
	if err == nil {
		err = c.Control(func(d uintptr) { fd = int(d) })
	}
	return fd, err
}
