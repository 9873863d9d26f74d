package launcher

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
)

// child is a program that is kept running.
type child struct {
	Program
	args   []string
	stdin  []byte // given to each run
	giveUp int    // exit status after which another run would not help; 0: none
	ready  func() // called when a run has said READY on the descriptor readyFD; nil: it does not say so

	as       *identity // nil: whoever runs the launcher
	netAdmin bool      // it keeps that capability

	running *os.Process // is there already, and held; the first run is its
}

// readyFD is the descriptor on which a child says that it is ready.
const readyFD = 3

// How fast a child that ends is started again: at once after a rare crash,
// rarely if it cannot run at all.
const (
	pauseMin = 100 * time.Millisecond
	pauseMax = 10 * time.Second
	healthy  = 10 * time.Second // a run that long starts the pauses over
)

// errGivenUp is the end of a child that another run would not help.
var errGivenUp = errors.New("given up")

// crew keeps children running until it is stopped. Children outlive a launcher
// that is killed: nothing of a node depends on its launcher.
type crew struct {
	log    hclog.Logger
	output *os.File // stdout and stderr of the children, which log by themselves

	ctx     context.Context // done: end in order
	end     context.CancelFunc
	now     context.Context // done: end at once
	endNow  context.CancelFunc
	running sync.WaitGroup
}

func newCrew(log hclog.Logger, output *os.File) *crew {
	c := &crew{log: log, output: output}
	c.ctx, c.end = context.WithCancel(context.Background())
	c.now, c.endNow = context.WithCancel(context.Background())
	return c
}

// start keeps a child running; ended is called if it is given up.
func (c *crew) start(p *child, ended func(error)) {
	c.running.Go(func() {
		if err := c.keep(p); err != nil {
			ended(err)
		}
	})
}

// stop asks all children to end and waits for them; those that have not ended
// within the timeout, or when hurry is done, are killed.
func (c *crew) stop(timeout time.Duration, hurry <-chan struct{}) {
	c.end()
	defer c.endNow()
	ended := make(chan struct{})
	go func() {
		c.running.Wait()
		close(ended)
	}()
	select {
	case <-ended:
	case <-time.After(timeout):
	case <-hurry:
	}
	c.endNow()
	<-ended
}

// keep runs a child again and again, until the crew stops or it is given up.
func (c *crew) keep(p *child) error {
	pause := pauseMin
	for c.ctx.Err() == nil {
		started := time.Now()
		status, err := c.run(p)
		if c.ctx.Err() != nil {
			return nil
		}
		if p.giveUp != 0 && status == p.giveUp {
			return fmt.Errorf("%s ended with exit status %d: %w", p.Name, status, errGivenUp)
		}
		if time.Since(started) >= healthy {
			pause = pauseMin
		}
		wait := pause/2 + rand.N(pause) //nolint:gosec // not a secret
		c.log.Warn("program ended; starting it again", "program", p.Name, "why", err, "in", wait.Round(time.Millisecond))
		select {
		case <-time.After(wait):
		case <-c.ctx.Done():
		}
		pause = min(2*pause, pauseMax)
	}
	return nil
}

// run runs a child once and returns its exit status, -1 if it has none, and in
// words how it ended.
func (c *crew) run(p *child) (int, error) {
	if there := p.running; there != nil {
		p.running = nil
		return -1, c.attend(p, there)
	}
	cmd := exec.Command(p.Path, p.args...) //nolint:gosec // found where only root or we can install
	cmd.Stdout, cmd.Stderr = c.output, c.output
	if p.stdin != nil {
		cmd.Stdin = bytes.NewReader(p.stdin)
	}
	cmd.WaitDelay = time.Second // whoever inherited its stdin is not waited for
	detach(cmd)
	if p.as != nil {
		p.as.become(cmd)
		if p.netAdmin {
			keepNetAdmin(cmd)
		}
	}
	if err := c.begin(p, cmd); err != nil {
		return -1, err
	}
	c.log.Debug("program started", "program", p.Name, "pid", cmd.Process.Pid)
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	err := c.wait(p, cmd.Process, ended)
	if err == nil {
		err = errors.New("exit status 0")
	}
	return cmd.ProcessState.ExitCode(), err
}

// attend is run for a process that was there already.
func (c *crew) attend(p *child, there *os.Process) error {
	ended := make(chan error, 1)
	go func() { ended <- awaitEnd(there) }()
	if err := c.wait(p, there, ended); err != nil {
		return err
	}
	return errors.New("it was no child, so its exit status is not known")
}

// begin starts a child that may say when it is ready.
func (c *crew) begin(p *child, cmd *exec.Cmd) error {
	if p.ready == nil {
		return cmd.Start()
	}
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	cmd.ExtraFiles = []*os.File{w}
	err = errors.Join(cmd.Start(), w.Close())
	c.running.Go(func() { // until the child says so or ends
		defer r.Close() // nothing was written
		if said, err := bufio.NewReader(r).ReadString('\n'); err == nil && said == "READY\n" {
			p.ready()
		}
	})
	return err
}

// wait waits for the end of a process, and brings it about when the crew stops.
func (c *crew) wait(p *child, process *os.Process, ended <-chan error) error {
	end, now := c.ctx.Done(), c.now.Done()
	for {
		select {
		case err := <-ended:
			return err
		case <-end:
			end = nil
			c.signal(p, "SIGTERM", terminate(process))
		case <-now:
			now = nil
			c.log.Warn("program does not end; killing it", "program", p.Name, "pid", process.Pid)
			c.signal(p, "SIGKILL", process.Kill())
		}
	}
}

func (c *crew) signal(p *child, name string, err error) {
	if err != nil && !errors.Is(err, os.ErrProcessDone) {
		c.log.Error("cannot signal program", "program", p.Name, "signal", name, "error", err)
	}
}
