package commandservice

import (
	"io"
	"sync"

	"github.com/project-receptor/receptor/plug/terminal"
)

// output is what a client gets: plain bytes until it has said that it understands frames,
// then frames.
type output struct {
	mu     sync.Mutex
	w      *io.PipeWriter
	framed bool
}

// Write implements io.Writer, with what the terminal shows.
func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.framed {
		return o.w.Write(b)
	}
	if _, err := o.w.Write(terminal.AppendData(nil, b)); err != nil {
		return 0, err
	}
	return len(b), nil
}

// answer tells the client that frames follow.
func (o *output) answer() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.framed = true
	_, err := io.WriteString(o.w, terminal.Magic)
	return err
}

// end tells the client how the command has ended, if it understands that, and ends the stream.
func (o *output) end(e terminal.Ending) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.framed {
		// It fails if the client is gone.
		_, _ = o.w.Write(terminal.Frame{Type: terminal.Exit, Payload: e.Append(nil)}.Append(nil))
	}
	_ = o.w.Close()
}

// fail ends the stream because there is no end of the command to tell of: a client that understands
// that is told why, for others the stream is reset.
func (o *output) fail(why error) {
	o.mu.Lock()
	framed := o.framed
	o.mu.Unlock()
	if framed {
		o.end(terminal.Ending{Reason: why.Error()})
		return
	}
	_ = o.w.CloseWithError(why) // it never fails
}
