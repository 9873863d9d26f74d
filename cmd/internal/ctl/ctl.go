// Package ctl is receptorctl, the operator's client: it holds a control
// conversation with a running node and prints what that says.
//
// It prefers our own form of the conversation and falls back to the legacy one,
// so that it serves legacy nodes, too. Texts, columns and exit codes that scripts
// of the legacy client rely on are kept.
package ctl

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/project-receptor/receptor/netceptor/mtls"
	"github.com/project-receptor/receptor/plug/socket"
)

// Exit codes.
const (
	exitOK    = 0
	exitError = 1
	exitUsage = 2 // and a ping that was not answered, as with legacy
)

// defaultTimeout is for one answer: a ping takes 10 s at most, a connect 15 s.
const defaultTimeout = 30 * time.Second

// Env is the world around the program.
type Env struct {
	Stdin   *os.File
	Stdout  io.Writer
	Stderr  io.Writer
	Getenv  func(string) string
	Version string
	Module  string
}

// app is one run of the program.
type app struct {
	Env
	ctx  context.Context
	find func() []string

	tls tlsFlags

	socket  string // flags
	timeout time.Duration
	json    bool
}

// Run runs the program with its arguments and returns its exit code. When ctx is
// done what runs is cut short.
func Run(ctx context.Context, env Env, args []string) int {
	a := &app{Env: env, ctx: ctx, find: func() []string { return socket.Find(socket.ControlName) }}
	return a.run(args)
}

func (a *app) run(args []string) int {
	root := a.command()
	root.SetArgs(args)
	err := root.ExecuteContext(a.ctx)
	var usage *usageError
	var detached *detachedError
	var ended *commandEnd
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &ended):
		return ended.status
	case errors.Is(err, errUnanswered): // each was reported when it happened
		return exitUsage
	case errors.Is(err, errObstacle): // as the answer says
		return exitError
	case errors.As(err, &detached):
		_, _ = fmt.Fprintf(a.Stderr, "\n%s\n", detached.text)
		return exitOK
	case a.ctx.Err() != nil && !errors.Is(err, errStillWaiting):
		_, _ = fmt.Fprintln(a.Stderr)
		return exitOK
	case errors.As(err, &usage):
		a.error(err.Error())
		return exitUsage
	}
	a.error(err.Error())
	var failed *unitError
	if errors.As(err, &failed) {
		_, _ = fmt.Fprintln(a.Stderr) // as the legacy client does
	}
	if errors.As(err, new(*submitError)) {
		return exitSubmit
	}
	return exitError
}

// command is the command line.
func (a *app) command() *cobra.Command {
	root := &cobra.Command{
		Use:           "receptorctl",
		Short:         "Talk to a running Receptor node",
		Long:          longHelp,
		Version:       a.Version,
		SilenceUsage:  true,
		SilenceErrors: true,
		// An option may be there twice: of the program, and of a command.
		TraverseChildren: true,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usagef("No such command '%s'.", args[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetOut(a.Stdout)
	root.SetErr(a.Stderr)
	root.SetVersionTemplate("receptorctl {{.Version}} (" + a.Module + ")\n")
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usagef("%v", err) })
	f := root.PersistentFlags()
	f.StringVar(&a.socket, "socket", "", "control socket: PATH, unix:PATH, tcp:HOST:PORT or tls:HOST:PORT (RECEPTORCTL_SOCKET)")
	f.DurationVar(&a.timeout, "timeout", defaultTimeout, "how long to wait for an answer; 0: for ever")
	f.BoolVar(&a.json, "json", false, "print JSON")
	a.tls.register(root)
	root.AddCommand(a.statusCommand(), a.pingCommand(), a.tracerouteCommand(), a.connectCommand(), a.explainCommand(), a.workCommand(), a.drainCommand(), a.undrainCommand(), a.versionCommand())
	return root
}

const longHelp = `receptorctl holds a control conversation with a running Receptor node.

The node is the one behind --socket, else RECEPTORCTL_SOCKET, else the only one
whose control socket is found. It may be a legacy node, too.

Exit codes:
  0  success; also when interrupted
  1  error: no node, an ERROR answer, time is up; explain: something is in the way
  2  usage error, or a ping that was not answered
connect may exit with the code of a command, and the commands below work have codes
of their own.`

// params wants exactly these parameters.
func params(names ...string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) < len(names) {
			return usagef("Missing parameter: %s", names[len(args)])
		}
		if len(args) > len(names) {
			return usagef("Got unexpected extra argument (%s)", args[len(names)])
		}
		return nil
	}
}

// dial begins the conversation.
func (a *app) dial(ctx context.Context) (*Client, error) {
	address, client, err := a.where()
	if err != nil {
		return nil, err
	}
	return Dial(ctx, address, client, a.timeout)
}

// where is the node that is meant, and how to speak TLS there.
func (a *app) where() (Address, *mtls.Client, error) {
	address, err := a.address()
	if err != nil {
		return Address{}, nil, err
	}
	client, err := a.tls.client(address.network == "tls", a.Getenv)
	return address, client, err
}

func (a *app) address() (Address, error) {
	if a.socket != "" {
		return ParseAddress(a.socket)
	}
	if s := a.Getenv("RECEPTORCTL_SOCKET"); s != "" {
		return ParseAddress(s)
	}
	return find(a.find())
}

// usageError is an error of who called us.
type usageError struct{ msg string }

func (e *usageError) Error() string { return e.msg }

func usagef(format string, args ...any) error {
	return &usageError{fmt.Sprintf(format, args...)}
}

// error reports an error, in red on a terminal.
func (a *app) error(text string) { a.report("ERROR: "+text, "\x1b[31m") }

// warn reports what does not stop us, in magenta on a terminal.
func (a *app) warn(text string) { a.report("Warning: "+text, "\x1b[35m") }

func (a *app) report(text, colour string) {
	text = printable(strings.ReplaceAll(text, "\n", " "))
	if f, ok := a.Stderr.(*os.File); ok && isTerminal(f) && a.Getenv("NO_COLOR") == "" {
		text = colour + text + "\x1b[0m"
	}
	_, _ = fmt.Fprintln(a.Stderr, text) // nobody is left to be told
}
