package supervisor

import (
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/project-receptor/receptor/worker-command/internal/unit"
)

const (
	// atOnce is how much is moved by one call, and about how much is told of at once.
	atOnce = 1 << 20

	bufferSize = 64 << 10
)

// Relay moves what comes out of a pipe to the end of a file.
type Relay struct {
	pipe, file *os.File

	copies  bool   // the file takes no pages; they are copied
	buffer  []byte // if copies
	pending []byte // read, and not written yet
}

// NewRelay takes a pipe's end, not blocking, and a file over. The file's position
// becomes its end.
func NewRelay(pipe, file *os.File) (*Relay, error) {
	c, err := file.SyscallConn()
	if err != nil {
		return nil, err
	}
	// Splice does not append. Nobody else has this open file.
	var setErr error
	err = c.Control(func(fd uintptr) {
		var flags int
		if flags, setErr = unix.FcntlInt(fd, unix.F_GETFL, 0); setErr == nil {
			_, setErr = unix.FcntlInt(fd, unix.F_SETFL, flags&^unix.O_APPEND)
		}
	})
	if err := errors.Join(err, setErr); err != nil {
		return nil, fmt.Errorf("prepare an output: %w", err)
	}
	_, err = file.Seek(0, io.SeekEnd)
	return &Relay{pipe: pipe, file: file}, err
}

// Run moves until the pipe has ended, or until Finish, and tells of every piece. A
// full disk it tries again, and tells of that, until giveUp is closed.
func (r *Relay) Run(moved func(int64), trouble func(error), giveUp <-chan struct{}) error {
	for {
		n, err := r.next()
		switch {
		case n > 0:
			moved(n)
		case err == nil:
			return nil
		case unit.Full(err):
			trouble(err)
			select {
			case <-time.After(fullRetry):
			case <-giveUp:
				return err
			}
		default:
			return err
		}
	}
}

// Finish has Run return when the pipe is empty, though others may have its other end.
func (r *Relay) Finish() error { return r.pipe.SetReadDeadline(time.Unix(1, 0)) }

// next moves what there is, and waits for that. 0 without an error: the end.
func (r *Relay) next() (n int64, err error) {
	c, err := r.pipe.SyscallConn()
	if err != nil {
		return 0, err
	}
	var moveErr error
	err = c.Read(func(fd uintptr) bool {
		n, moveErr = r.gather(int(fd))
		return !errors.Is(moveErr, unix.EAGAIN)
	})
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		return n, errors.Join(err, moveErr)
	}
	if err := c.Control(func(fd uintptr) { n, moveErr = r.gather(int(fd)) }); err != nil {
		return n, err
	}
	if errors.Is(moveErr, unix.EAGAIN) {
		return 0, nil // empty: that is the end now
	}
	return n, moveErr
}

// gather moves until there is nothing more, and not for long: a pipe that is filled as
// fast as it is emptied is told of in large pieces.
func (r *Relay) gather(pipe int) (total int64, err error) {
	for total < atOnce {
		n, err := r.move(pipe)
		if total += n; n == 0 {
			if total > 0 {
				return total, nil // what is wrong, or the end, comes again
			}
			return 0, err
		}
	}
	return total, nil
}

// move moves what there is, without waiting for it.
func (r *Relay) move(pipe int) (int64, error) {
	if !r.copies {
		c, err := r.file.SyscallConn()
		if err != nil {
			return 0, err
		}
		var n int64
		var spliceErr error
		err = c.Control(func(file uintptr) {
			for {
				n, spliceErr = unix.Splice(pipe, nil, int(file), nil, atOnce, unix.SPLICE_F_MOVE|unix.SPLICE_F_NONBLOCK)
				if !errors.Is(spliceErr, unix.EINTR) {
					return
				}
			}
		})
		if !errors.Is(spliceErr, unix.EINVAL) {
			return max(n, 0), errors.Join(err, spliceErr)
		}
		r.copies, r.buffer = true, make([]byte, bufferSize)
	}
	if len(r.pending) == 0 {
		n, err := ignoringEINTR(func() (int, error) { return unix.Read(pipe, r.buffer) })
		if n <= 0 || err != nil {
			return 0, err
		}
		r.pending = r.buffer[:n]
	}
	n, err := r.file.Write(r.pending)
	r.pending = r.pending[n:]
	if n > 0 {
		err = nil // it comes again with the rest
	}
	return int64(n), err
}

func ignoringEINTR(f func() (int, error)) (int, error) {
	for {
		if n, err := f(); !errors.Is(err, syscall.EINTR) {
			return n, err
		}
	}
}
