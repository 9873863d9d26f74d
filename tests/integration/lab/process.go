package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Process is a running program and what it has written.
type Process struct {
	Name string

	cmd  *exec.Cmd
	done chan struct{}

	mu      sync.Mutex
	out     bytes.Buffer
	changed chan struct{} // closed and replaced at each write
}

// lastWords is how long what a program has written last may take to arrive. Where
// its children outlive it, they may write for ever.
const lastWords = time.Second

// Start starts a program. Its standard output and error are kept together, and
// those of its children.
func Start(name string, cmd *exec.Cmd) (*Process, error) {
	p := &Process{Name: name, cmd: cmd, done: make(chan struct{}), changed: make(chan struct{})}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	cmd.Stdout, cmd.Stderr = w, w // not p: Wait would wait for the children, too
	err = cmd.Start()
	_ = w.Close() // here; the program has its own
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start %s: %w", name, err), r.Close())
	}
	read := make(chan struct{})
	go func() {
		defer close(read)
		_, _ = io.Copy(p, r) // until nobody has the other end
		_ = r.Close()
	}()
	go func() {
		// What a test expects of the end, it asks of the exit status.
		_ = cmd.Wait()
		select {
		case <-read:
		case <-time.After(lastWords):
		}
		close(p.done)
		p.notify()
	}()
	return p, nil
}

// Write takes what the program writes; it implements io.Writer for exec.
func (p *Process) Write(b []byte) (int, error) {
	p.mu.Lock()
	p.out.Write(b)
	p.mu.Unlock()
	p.notify()
	return len(b), nil
}

func (p *Process) notify() {
	p.mu.Lock()
	close(p.changed)
	p.changed = make(chan struct{})
	p.mu.Unlock()
}

// Output is what the program has written so far.
func (p *Process) Output() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.String()
}

// WaitOutput waits until the program has written text.
func (p *Process) WaitOutput(ctx context.Context, text string) error {
	for {
		p.mu.Lock()
		found, changed := strings.Contains(p.out.String(), text), p.changed
		p.mu.Unlock()
		if found {
			return nil
		}
		select {
		case <-changed:
		case <-p.done:
			if strings.Contains(p.Output(), text) {
				return nil
			}
			return fmt.Errorf("%s ended (%s) without writing %q", p.Name, p.cmd.ProcessState, text)
		case <-ctx.Done():
			return fmt.Errorf("%s has not written %q: %w", p.Name, text, ctx.Err())
		}
	}
}

// PID is the program's process ID.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Kill ends the program as by kill -9 and waits for its end.
func (p *Process) Kill() {
	p.signal(syscall.SIGKILL)
	<-p.done
}

// Freeze has the program do nothing at all until Thaw, or until it is killed.
func (p *Process) Freeze() { p.signal(syscall.SIGSTOP) }

// Thaw has it go on.
func (p *Process) Thaw() { p.signal(syscall.SIGCONT) }

// Stop asks the program to end, and ends it if it has not within ten seconds.
func (p *Process) Stop() error {
	p.signal(syscall.SIGTERM)
	select {
	case <-p.done:
		return nil
	case <-time.After(10 * time.Second):
		p.Kill()
		return fmt.Errorf("%s did not stop on SIGTERM", p.Name)
	}
}

func (p *Process) signal(s os.Signal) {
	// A process that has ended already is what was wanted.
	if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		p.mu.Lock()
		fmt.Fprintf(&p.out, "signal %v: %v\n", s, err)
		p.mu.Unlock()
	}
}

// Done is closed when the program has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// ExitCode waits for the end and returns the exit status.
func (p *Process) ExitCode(ctx context.Context) (int, error) {
	select {
	case <-p.done:
		return p.cmd.ProcessState.ExitCode(), nil
	case <-ctx.Done():
		return 0, fmt.Errorf("%s still runs: %w", p.Name, ctx.Err())
	}
}
