package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"

	"github.com/project-receptor/receptor/plug/plugtest/check"
	"github.com/project-receptor/receptor/plug/wire"
)

// stopPatience is how long a plug may take to end when it is told to.
const stopPatience = 10 * time.Second

// maxDescription bounds what "describe" may print.
const maxDescription = 1 << 20

// program is the plug under test.
type program struct {
	args   []string
	output io.Writer
}

// process is the plug while it runs.
type process struct {
	cmd   *exec.Cmd
	ended chan struct{}
	err   error // of Wait, set before ended is closed
}

// start implements check.Options.Start.
func (p program) start(ctx context.Context, socket string) (check.Process, error) {
	cmd := exec.CommandContext(ctx, p.args[0], append(p.args[1:len(p.args):len(p.args)], "--socket", socket)...) //nolint:gosec // it is what the user asks to be run
	cmd.Env = append(os.Environ(), wire.SocketEnv+"="+socket)
	cmd.Stdout, cmd.Stderr = p.output, p.output
	cmd.WaitDelay = stopPatience
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	r := &process{cmd: cmd, ended: make(chan struct{})}
	go func() {
		r.err = cmd.Wait()
		close(r.ended)
	}()
	return r, nil
}

// Ended implements check.Process.
func (r *process) Ended() <-chan struct{} { return r.ended }

// Stop implements check.Process: SIGTERM, and an orderly end with status 0.
func (r *process) Stop() error {
	select {
	case <-r.ended:
		return fmt.Errorf("the plug has ended by itself: %w", orOK(r.err))
	default:
	}
	if err := terminate(r.cmd.Process); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("tell the plug to end: %w", err)
	}
	select {
	case <-r.ended:
		return stopped(r.err)
	case <-time.After(stopPatience):
	}
	_ = r.cmd.Process.Kill()
	<-r.ended
	return fmt.Errorf("SIGTERM: expected an orderly end, got none within %v", stopPatience)
}

// Kill implements check.Process.
func (r *process) Kill() {
	_ = r.cmd.Process.Kill() // or it has ended already
	<-r.ended
}

// orOK is err, or what stands for none.
func orOK(err error) error {
	if err == nil {
		return errors.New("exit status 0")
	}
	return err
}

// describe implements check.Options.Describe.
func (p program) describe(ctx context.Context) ([]byte, error) {
	cmd := exec.CommandContext(ctx, p.args[0], append(p.args[1:len(p.args):len(p.args)], "describe")...) //nolint:gosec // it is what the user asks to be run
	cmd.Stderr = p.output
	cmd.WaitDelay = stopPatience
	var out bytes.Buffer
	cmd.Stdout = &out
	if err := cmd.Run(); err != nil {
		return nil, err
	}
	if out.Len() > maxDescription {
		return nil, fmt.Errorf("it prints %d bytes, more than a launcher reads", out.Len())
	}
	return out.Bytes(), nil
}
