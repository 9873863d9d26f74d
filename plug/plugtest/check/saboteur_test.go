package check_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"sync"

	"github.com/project-receptor/receptor/plug"
	"github.com/project-receptor/receptor/plug/plugtest"
	"github.com/project-receptor/receptor/plug/socket"
	"github.com/project-receptor/receptor/plug/wire"
)

// frame is a control frame on its way between a good plug and the core.
type frame struct {
	wire.Header
	body  map[string]any
	files []*os.File
}

// saboteur stands between a good plug and the core, and breaks one rule. Its
// functions see every control frame on its way and say what becomes of it; nil
// ones let all pass.
type saboteur struct {
	preamble func([]byte)

	// toCore and toPlug may change a frame; false drops it. answer puts a frame
	// into the other direction.
	toCore, toPlug func(f *frame, answer func(frame)) bool

	// toMesh and toMedium change what follows the first exchange of a data connection.
	toMesh, toMedium func(b []byte) []byte

	program *plug.Plug // that it stands before; nil: the good one

	only       string // a pattern: the other checks fail for the same reason
	endsHanded bool   // what was handed over is shut down when the session ends

	keepOpen bool // the end of one side of a data connection is not told to the other
	hoard    bool // what follows the first exchange is taken, though nobody wants it yet
	sessions int  // how many connections of sessions there may be; 0: all
}

// dialer puts the saboteur on a plug's way to its core.
func (s *saboteur) dialer(dial plugtest.Dialer) plugtest.Dialer {
	var mu sync.Mutex
	sessions := 0
	return func(ctx context.Context) (net.Conn, error) {
		core, err := dial(ctx)
		if err != nil {
			return nil, err
		}
		inside, outside, err := socket.Pair()
		if err != nil {
			return nil, errors.Join(err, core.Close())
		}
		go func() {
			b := make([]byte, wire.PreambleSize)
			if _, err := io.ReadFull(outside, b); err != nil {
				_, _ = core.Close(), outside.Close()
				return
			}
			isData := wire.ConnKind(b[9]) == wire.ConnData
			if !isData {
				mu.Lock()
				sessions++
				late := s.sessions > 0 && sessions > s.sessions
				mu.Unlock()
				if late {
					_, _ = core.Close(), outside.Close()
					return
				}
			}
			if s.preamble != nil {
				s.preamble(b)
			}
			_, _ = core.Write(b)
			var writing sync.Mutex
			go s.pump(outside, core, &writing, isData, s.toCore, s.toMesh)
			s.pump(core, outside, &writing, isData, s.toPlug, s.toMedium)
		}()
		return inside, nil
	}
}

// pump carries one direction until it ends.
func (s *saboteur) pump(from, to net.Conn, writing *sync.Mutex, isData bool, see func(*frame, func(frame)) bool, bytes func([]byte) []byte) {
	defer func() {
		if !isData || !s.keepOpen {
			_, _ = from.Close(), to.Close()
		}
	}()
	write := func(c net.Conn, f frame) {
		b, err := json.Marshal(f.body)
		if err != nil {
			return
		}
		writing.Lock()
		defer writing.Unlock()
		_ = plugtest.RawFrame{Header: f.Header, Body: b, Files: f.files}.Send(c) // or it is gone: its reader sees it
	}
	for first := true; first || !isData; first = false {
		raw, err := plugtest.ReadFrame(from)
		if err != nil {
			return
		}
		if s.endsHanded && !isData && raw.Type == wire.TypeLink && len(raw.Files) > 0 {
			if c, err := net.FileConn(raw.Files[0]); err == nil {
				defer func() {
					if tcp, ok := c.(*net.TCPConn); ok {
						_ = tcp.CloseWrite()
					}
					_ = c.Close()
				}()
			}
		}
		f := frame{Header: raw.Header, files: raw.Files}
		if json.Unmarshal(raw.Body, &f.body) == nil && (see == nil || see(&f, func(a frame) { write(from, a) })) {
			write(to, f)
		}
		_ = raw.Close()
	}
	out := io.Writer(to)
	if s.hoard {
		h := newHoard(to)
		defer h.wait()
		out = h
	}
	b := make([]byte, 64<<10)
	for {
		n, err := from.Read(b)
		if n > 0 {
			piece := b[:n]
			if bytes != nil {
				piece = bytes(piece)
			}
			if _, err := out.Write(piece); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// hoard takes whatever is written to it, and writes it on as that goes.
type hoard struct {
	to      io.Writer
	done    sync.WaitGroup
	mu      sync.Mutex
	arrived *sync.Cond
	queue   [][]byte
	ended   bool
}

func newHoard(to io.Writer) *hoard {
	h := &hoard{to: to}
	h.arrived = sync.NewCond(&h.mu)
	h.done.Go(func() {
		for {
			h.mu.Lock()
			for len(h.queue) == 0 && !h.ended {
				h.arrived.Wait()
			}
			queue := h.queue
			h.queue = nil
			h.mu.Unlock()
			for _, b := range queue {
				if _, err := h.to.Write(b); err != nil {
					return
				}
			}
			if len(queue) == 0 {
				return
			}
		}
	})
	return h
}

func (h *hoard) Write(b []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.queue = append(h.queue, slices.Clone(b))
	h.arrived.Signal()
	return len(b), nil
}

// wait waits until all is written on.
func (h *hoard) wait() {
	h.mu.Lock()
	h.ended = true
	h.arrived.Signal()
	h.mu.Unlock()
	h.done.Wait()
}
