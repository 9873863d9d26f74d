package commandservice

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/project-receptor/receptor/command-service/internal/watch"
	"github.com/project-receptor/receptor/plug"
	"github.com/project-receptor/receptor/plug/terminal"
)

const (
	// greeting is how long a client of ours has to say that it is one before the command is
	// started for one of plain bytes, who waits for a prompt. Later is not too late: only the kind
	// of its terminal is not known to the command then.
	greeting = time.Second

	// plainFarewell is what a command has to end by itself once a client of plain bytes has ended its
	// side: it may still read answers, or be gone.
	plainFarewell = 5 * time.Second
	sayEndAgain   = 100 * time.Millisecond
)

var (
	errLeft    = errors.New("the client has left")
	errStopped = errors.New("the service was stopped, or the stream was reset")
)

// session is a stream and the command on its terminal. For the SDK, which carries the stream, it
// is the connection to an application: what is written are keys, what is read is
// what the screen shows. Its Close returns when no process of the command is left.
type session struct {
	*service
	from plug.Target
	tty  *tty
	keys *queue
	out  *output
	read *io.PipeReader // the other end of out

	client chan terminal.Opening // what the client is, once that is known
	framed atomic.Bool           // it knows frames
	wrong  chan error            // what it has said wrong
	left   chan struct{}         // closed when it has ended its side
	gone   chan struct{}         // closed by Close
	over   chan struct{}         // closed when the command has ended
	once   sync.Once             // of Close
	wg     sync.WaitGroup
}

// newSession begins a session for a stream, in a slot of the service, which it gives back.
func newSession(s *service, from plug.Target) (*session, error) {
	if _, err := s.order(""); err != nil { // else the client would only be cut off
		return nil, err
	}
	keys, command, err := openTTY(s.as)
	if err != nil {
		return nil, err
	}
	r, w := io.Pipe()
	c := &session{
		service: s, from: from, tty: keys, keys: newQueue(), out: &output{w: w}, read: r,
		client: make(chan terminal.Opening, 1), wrong: make(chan error, 1), left: make(chan struct{}), gone: make(chan struct{}), over: make(chan struct{}),
	}
	c.wg.Go(c.feed)
	c.wg.Go(func() { c.run(command) })
	return c, nil
}

// run runs the command, with the other side of the terminal, to its end.
func (c *session) run(command *os.File) {
	defer close(c.over)
	defer c.tty.Close()
	w, err := c.start(command)
	_ = command.Close() // here: the command has its own
	if err != nil {
		<-c.slots
		c.item.Log.Error("cannot run the command", "peer", c.from.Node, "error", err)
		c.out.fail(err)
		return
	}
	c.item.Log.Info("session begins", "peer", c.from.Node, "pid", w.PID)
	shown := make(chan struct{})
	c.wg.Go(func() {
		defer close(shown)
		_, _ = io.Copy(c.out, c.tty) // until nobody has the other side, or nobody reads
	})
	end, hungUp, err := c.attend(w)
	<-c.slots
	reason := fmt.Sprintf("exit code %d", end.Code)
	switch {
	case err != nil:
		reason = err.Error()
	case hungUp != nil:
		reason = hungUp.Error()
	case end.Signal != 0:
		reason = unix.SignalName(unix.Signal(end.Signal))
	}
	c.item.Log.Info("session ends", "peer", c.from.Node, "pid", w.PID, "reason", reason)
	if err != nil || end.Left > 0 {
		_ = c.tty.Close() // somebody may still have the other side
	}
	<-shown
	if err = errors.Join(hungUp, err); err != nil {
		c.out.fail(err)
		return
	}
	c.out.end(terminal.Ending{Code: end.Code, Signal: end.Signal})
}

// start starts the command when it is known for what kind of client, or that has taken too long.
func (c *session) start(command *os.File) (*watch.Watcher, error) {
	var client terminal.Opening
	wait := time.NewTimer(greeting)
	defer wait.Stop()
	select {
	case client = <-c.client:
	case <-wait.C:
	case err := <-c.wrong:
		return nil, err
	case <-c.gone:
		return nil, errStopped
	}
	o, err := c.order(client.Term)
	if err != nil {
		return nil, err
	}
	return watch.Start(o, command, c.Service+" for "+c.from.String())
}

// attend waits for the end of the command, and brings it about when the client has gone; hungUp says
// why it did.
func (c *session) attend(w *watch.Watcher) (end watch.End, hungUp, err error) {
	over := make(chan struct{})
	c.wg.Go(func() {
		defer close(over)
		end, err = w.Wait()
	})
	hangUp := func(why error) {
		if hungUp == nil {
			hungUp = why
			_ = c.tty.Close()
			w.HangUp()
		}
	}
	left, gone := c.left, c.gone
	var patience <-chan time.Time
	for {
		select {
		case <-over:
			return end, hungUp, err
		case why := <-c.wrong:
			hangUp(why)
		case <-left:
			left = nil
			if c.framed.Load() {
				hangUp(errLeft)
			} else {
				patience = time.After(plainFarewell)
			}
		case <-patience:
			hangUp(errLeft)
		case <-gone:
			gone = nil
			hangUp(errStopped)
		}
	}
}

// feed gives the command what the client types.
func (c *session) feed() {
	r := terminal.NewReader(c.keys)
	if !terminal.TakeMagic(r) {
		c.client <- terminal.Opening{}
		c.feedPlain(r)
	} else if err := c.feedFrames(r); !errors.Is(err, io.EOF) {
		c.wrong <- err
	}
	_, _ = io.Copy(io.Discard, r) // what the client still says, to its end
}

// feedPlain gives the command bytes, to their end, and then the key that says so to
// whoever reads them, again and again: to a program, and to the shell that has started
// it. What fails, fails because the command has ended.
func (c *session) feedPlain(r *bufio.Reader) {
	if _, err := io.Copy(c.tty, r); err != nil {
		return
	}
	key := []byte{c.tty.endOfFile()}
	for {
		if _, err := c.tty.Write(key); err != nil {
			return
		}
		select {
		case <-time.After(sayEndAgain):
		case <-c.over:
			return
		}
	}
}

// feedFrames does what the frames of a client say, to their end, which it returns.
func (c *session) feedFrames(r *bufio.Reader) error {
	f, err := terminal.ReadFrame(r)
	if err != nil {
		return err
	}
	o, err := terminal.ParseOpening(f.Payload)
	if f.Type != terminal.Open || err != nil {
		return fmt.Errorf("the client does not say what it is: frame %d: %w", f.Type, errors.Join(err, terminal.ErrMalformed))
	}
	if err := c.resize(o.Size); err != nil {
		return err
	}
	if err := c.out.answer(); err != nil {
		return err
	}
	c.framed.Store(true)
	c.client <- o
	for {
		f, err := terminal.ReadFrame(r)
		if err != nil {
			return err
		}
		switch f.Type {
		case terminal.Data:
			_, _ = c.tty.Write(f.Payload) // fails if the command has ended: then nobody reads it
		case terminal.Resize:
			size, err := terminal.ParseSize(f.Payload)
			if err == nil {
				err = c.resize(size)
			}
			if err != nil {
				return err
			}
		case terminal.Open, terminal.Exit:
			return fmt.Errorf("frame %d: %w", f.Type, terminal.ErrMalformed)
		default: // of a later version
		}
	}
}

// resize sets the size of the window, unless the command has ended.
func (c *session) resize(s terminal.Size) error {
	if err := c.tty.resize(s); err != nil && !errors.Is(err, os.ErrClosed) {
		return fmt.Errorf("set the size of the window: %w", err)
	}
	return nil
}

// Read implements net.Conn: what the client gets.
func (c *session) Read(b []byte) (int, error) { return c.read.Read(b) }

// Write implements net.Conn: what the client says.
func (c *session) Write(b []byte) (int, error) { return c.keys.Write(b) }

// CloseWrite is the end of what the client says. It is called once.
func (c *session) CloseWrite() error {
	c.keys.CloseWrite()
	close(c.left)
	return nil
}

// Close implements net.Conn: it ends the session, if that has not ended, and waits.
func (c *session) Close() error {
	c.once.Do(func() {
		close(c.gone)
		c.keys.Close()
		_ = c.read.CloseWithError(net.ErrClosed) // it never fails
	})
	c.wg.Wait()
	return nil
}

// LocalAddr implements net.Conn.
func (c *session) LocalAddr() net.Addr { return address(c.Service) }

// RemoteAddr implements net.Conn.
func (c *session) RemoteAddr() net.Addr { return address(c.from.String()) }

// SetDeadline implements net.Conn; there are no deadlines.
func (c *session) SetDeadline(time.Time) error { return os.ErrNoDeadline }

// SetReadDeadline implements net.Conn.
func (c *session) SetReadDeadline(time.Time) error { return os.ErrNoDeadline }

// SetWriteDeadline implements net.Conn.
func (c *session) SetWriteDeadline(time.Time) error { return os.ErrNoDeadline }

// address is a service, for people.
type address string

func (address) Network() string  { return "receptor" }
func (a address) String() string { return string(a) }
