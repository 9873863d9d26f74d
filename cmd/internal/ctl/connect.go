package ctl

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/signal"
	"strings"

	"github.com/spf13/cobra"
)

// connection is what connect is told.
type connection struct {
	node, service string
	tls           string // the TLS client profile of the node; empty: none
	raw           bool
}

func (a *app) connectCommand() *cobra.Command {
	var to connection
	cmd := &cobra.Command{
		Use:   "connect NODE SERVICE",
		Short: "Connect standard input and output to a service",
		Long: `Connect standard input and output to a service on a node.

Bytes pass as they are, and the end of standard input is passed on while the
answer is still read. It ends when both directions have; at a terminal, when the
service ends. --raw gives every key to the service, ^C and ^D too.

If the service is a command service that says so in its advertisement, and
standard input is a terminal, the command has that terminal: every key, the size
of the window, the kind in TERM. The exit code is the command's, or 128 and the
number of the signal that has ended it. The keys Enter, ~ and . leave, and the
command is hung up; ~~ at the beginning of a line is one ~. With --raw no keys
leave.`,
		Args: params("node", "service"),
		RunE: func(cmd *cobra.Command, args []string) error {
			to.node, to.service = args[0], args[1]
			return a.connect(cmd.Context(), to)
		},
	}
	cmd.Flags().BoolVarP(&to.raw, "raw", "r", false, "put the terminal into raw mode")
	cmd.Flags().StringVar(&to.tls, "tls-client", "", "tls-client of the node, by which the service has to prove who it is")
	return cmd
}

func (a *app) connect(ctx context.Context, to connection) (err error) {
	c, err := a.dial(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	atTerminal := isTerminal(a.Stdin)
	if atTerminal && hasRawMode {
		commands, err := c.takesTerminals(to)
		if err != nil {
			return err
		}
		if commands {
			return a.beTerminal(ctx, c, to)
		}
	}
	if err := openPipe(c, to.node, to.service, to.tls); err != nil {
		return err
	}
	if to.raw && atTerminal {
		var stop context.CancelFunc
		ctx, stop = signal.NotifyContext(ctx, endSignals...) // else they would leave the terminal raw
		defer stop()
		restore, err := makeRaw(a.Stdin)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, restore()) }()
	}
	err = a.pipe(ctx, c, atTerminal)
	if atTerminal {
		_, _ = fmt.Fprintln(a.Stdout)
	}
	return err
}

// openPipe makes a pipe of the conversation, by a TLS client profile if there is one.
func openPipe(c *Client, node, service, tls string) error {
	args := map[string]any{"node": node, "service": service}
	if tls != "" {
		args["tls"] = tls
	}
	_, err := c.Call("connect", args, nil)
	if !errors.Is(err, errLegacy) {
		return err
	}
	if strings.Contains(node+service+tls, " ") {
		return usagef("a legacy node cannot connect to names with spaces")
	}
	answer, err := c.Plain(fmt.Sprintf("connect %s %s %s", node, service, tls))
	if err == nil && answer != "Connecting" {
		err = fmt.Errorf("unexpected answer %.60q", answer)
	}
	return err
}

// pipe copies both ways until the service has ended and, if somebody can still
// end it, standard input has. The goroutine that reads standard input may outlive
// it at a terminal: a read there cannot be interrupted, only left to the exit.
func (a *app) pipe(ctx context.Context, c *Client, atTerminal bool) error {
	conn, in, err := c.Raw()
	if err != nil {
		return err
	}
	sent, received := make(chan error, 1), make(chan error, 1)
	go func() {
		_, err := io.Copy(conn, a.Stdin)
		if err == nil {
			err = closeWrite(conn)
		}
		sent <- err
	}()
	go func() {
		_, err := io.Copy(a.Stdout, in)
		received <- err
	}()
	for sent != nil || received != nil {
		select {
		case <-ctx.Done():
			return fmt.Errorf("stopped: %w", context.Cause(ctx))
		case err := <-received:
			if err != nil {
				return fmt.Errorf("copy from the service: %w", err)
			}
			received = nil
			if atTerminal {
				return nil
			}
		case err := <-sent:
			if err != nil && received == nil {
				return nil // the service has ended, and wants no more
			}
			if err != nil {
				return fmt.Errorf("copy to the service: %w", err)
			}
			sent = nil
		}
	}
	return nil
}

func closeWrite(c any) error {
	if w, ok := c.(interface{ CloseWrite() error }); ok {
		return w.CloseWrite()
	}
	return errors.ErrUnsupported
}
