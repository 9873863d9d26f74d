package ctl

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"sync"

	"github.com/project-receptor/receptor/plug/terminal"
)

// commandEnd is the end of a command that was no success, which the command itself has told of.
type commandEnd struct{ status int }

func (e *commandEnd) Error() string {
	return fmt.Sprintf("the command has ended with status %d", e.status)
}

// errNoEnd means that the command may still have had something to say.
var errNoEnd = errors.New("the connection was lost before the command has ended")

// takesTerminals tells whether the service says, by its advertisement, that it is told of
// terminals. Only our own nodes can be asked so.
func (c *Client) takesTerminals(to connection) (bool, error) {
	raw, err := c.Call("explain", map[string]any{"node": to.node, "service": to.service}, nil)
	var refused *NodeError
	if errors.Is(err, errLegacy) || errors.As(err, &refused) {
		return false, nil // connect says what is wrong, if anything is
	}
	if err != nil {
		return false, err
	}
	var e struct {
		Service struct {
			Tags map[string]string `json:"tags"`
		} `json:"service"`
	}
	if err := json.Unmarshal(raw, &e); err != nil {
		return false, fmt.Errorf("read what is known of the service: %w", err)
	}
	return e.Service.Tags[terminal.Tag] == terminal.TagValue, nil
}

// beTerminal makes the terminal that standard input is that of the command that the service
// runs, until that ends or the user leaves.
func (a *app) beTerminal(ctx context.Context, c *Client, to connection) (err error) {
	if err := openPipe(c, to.node, to.service, to.tls); err != nil {
		return err
	}
	conn, in, err := c.Raw()
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(ctx, endSignals...) // they would leave the terminal raw
	defer stop()
	resized := make(chan os.Signal, 1)
	if len(resizeSignals) > 0 {
		signal.Notify(resized, resizeSignals...)
		defer signal.Stop(resized)
	}
	restore, err := makeRaw(a.Stdin)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, restore()) }()

	s := &screen{app: a, conn: conn, panicked: func() {
		if p := recover(); p != nil {
			_ = restore()
			panic(p)
		}
	}}
	opening := terminal.Opening{Size: windowSize(a.Stdin), Term: terminal.KnownTerm(a.Getenv("TERM"))}
	hello := terminal.Frame{Type: terminal.Open, Payload: opening.Append(nil)}
	if err := s.send(hello.Append([]byte(terminal.Magic))); err != nil {
		return err
	}
	shown, typed := s.show(in), s.typeKeys(a.Stdin, to.raw)
	for {
		select {
		case <-ctx.Done():
			return fmt.Errorf("stopped: %w", context.Cause(ctx))
		case err := <-shown:
			return err
		case err := <-typed:
			typed = nil
			if errors.Is(err, errLeave) {
				return &detachedError{fmt.Sprintf("Left service %s of node %s.", printable(to.service), printable(to.node))}
			}
			// Else the terminal is gone, or the stream: what it shows last says why.
		case <-resized:
			// (If that cannot be sent, the stream is gone.)
			_ = s.send(terminal.Frame{Type: terminal.Resize, Payload: windowSize(a.Stdin).Append(nil)}.Append(nil))
		}
	}
}

// screen is a terminal and the stream that it belongs to. Its goroutines end with the stream, but for the
// one that reads keys: a read at a terminal cannot be interrupted, only left to the exit.
type screen struct {
	app      *app
	conn     net.Conn
	mu       sync.Mutex // one frame at a time
	panicked func()     // deferred by each goroutine: restores the terminal
}

func (s *screen) send(b []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := s.conn.Write(b); err != nil {
		return fmt.Errorf("send to the service: %w", err)
	}
	return nil
}

// show shows what the service says, and returns how that has ended.
func (s *screen) show(in io.Reader) <-chan error {
	done := make(chan error, 1)
	go func() {
		defer s.panicked()
		done <- s.showFrames(terminal.NewReader(in))
	}()
	return done
}

func (s *screen) showFrames(in *bufio.Reader) error {
	framed, err := terminal.CopyPlain(s.app.Stdout, in)
	if err != nil || !framed {
		return err // plain bytes only: there is no end of a command to expect
	}
	for {
		f, err := terminal.ReadFrame(in)
		if errors.Is(err, io.EOF) {
			return errNoEnd
		}
		if err != nil {
			return fmt.Errorf("%w: %w", errNoEnd, err)
		}
		switch f.Type {
		case terminal.Data:
			if _, err := s.app.Stdout.Write(f.Payload); err != nil {
				return err
			}
		case terminal.Exit:
			e, err := terminal.ParseEnding(f.Payload)
			switch {
			case err != nil:
				return fmt.Errorf("read how the command has ended: %w", err)
			case e.Reason != "":
				return errors.New(e.Reason)
			case e.Status() != 0:
				return &commandEnd{e.Status()}
			}
			return nil
		case terminal.Open, terminal.Resize: // are not for us
		default: // of a later version
		}
	}
}

// errLeave is the user's wish.
var errLeave = errors.New("the user leaves")

// typeKeys sends what is typed, until the user leaves, which only raw prevents.
func (s *screen) typeKeys(keys io.Reader, raw bool) <-chan error {
	done := make(chan error, 1)
	go func() {
		defer s.panicked()
		done <- s.sendKeys(keys, raw)
	}()
	return done
}

func (s *screen) sendKeys(keys io.Reader, raw bool) error {
	var filter leaving
	b := make([]byte, 4<<10)
	for {
		n, err := keys.Read(b)
		typed, leave := b[:n], false
		if !raw {
			typed, leave = filter.filter(typed)
		}
		if len(typed) > 0 {
			if err := s.send(terminal.AppendData(nil, typed)); err != nil {
				return err
			}
		}
		switch {
		case leave:
			return errLeave
		case errors.Is(err, io.EOF): // the terminal was hung up
			return closeWrite(s.conn)
		case err != nil:
			return err
		}
	}
}

// leaving finds ~. at the beginning of a line in what is typed. The zero value is at one.
type leaving struct {
	within bool // a line
	tilde  bool // which is not sent yet
}

// filter returns what is to be sent of keys, and whether the user wants to leave.
func (l *leaving) filter(keys []byte) (send []byte, leave bool) {
	for _, k := range keys {
		switch {
		case l.tilde && k == '.':
			return send, true
		case l.tilde && k != '~':
			send = append(send, '~')
		case !l.tilde && !l.within && k == '~':
			l.tilde = true
			continue
		}
		l.tilde = false
		l.within = k != '\r' && k != '\n'
		send = append(send, k)
	}
	return send, false
}
