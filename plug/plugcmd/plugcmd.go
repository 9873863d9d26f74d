// Package plugcmd is the command line that all plug programs share: describe, replace,
// --socket, --log-level, --version, --help, signals and exit statuses.
package plugcmd

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"

	"github.com/hashicorp/go-hclog"

	"github.com/project-receptor/receptor/plug"
	"github.com/project-receptor/receptor/plug/socket"
	"github.com/project-receptor/receptor/plug/successor"
	"github.com/project-receptor/receptor/plug/wire"
)

// The exit statuses.
const (
	exitOK    = 0 // after an orderly stop, --help, --version or describe
	exitFail  = 1
	exitUsage = 2 // a bad command line, or no core to attach to
)

// Main runs the program for p with the process's arguments and returns the exit
// status: 0 after an orderly stop, 1 on failure, 2 for a bad command line or
// when there is no core to attach to. An empty p.Version is taken from the
// build.
func Main(p *plug.Plug) int { return MainWith(p, Extra{}) }

// Extra is what a program has beyond what all plugs share.
type Extra struct {
	Options []Option

	// Start, if set, is called before the plug attaches, with the path of its core's
	// socket. An error ends the program, with status 2.
	Start func(log hclog.Logger, socket string) error
}

// Option is one of a program's own. It takes a value and may be repeated.
type Option struct {
	Name  string // without dashes
	Value string // what the help calls its value
	Help  string
	Set   func(value string) error
}

// MainWith is Main for a program that has more.
func MainWith(p *plug.Plug, extra Extra) int {
	ignorePipes()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal kills
	c := command{plug: p, extra: extra, stdout: os.Stdout, stderr: os.Stderr, getenv: os.Getenv, find: socket.Find, leave: leaves()}
	return c.run(ctx, os.Args[1:])
}

// command is one run of a plug's program.
type command struct {
	plug           *plug.Plug
	extra          Extra
	stdout, stderr io.Writer
	getenv         func(string) string
	find           func(name string) []string
	leave          <-chan struct{} // closed when a signal asks for that
}

// options are the flags.
type options struct {
	socket, name  string
	level         hclog.Level
	json          bool
	noHandoff     bool
	takeover      bool
	readyFD       int // 0: none
	version, help bool
	describe      bool
	replace       int // process; 0: none
}

func (c *command) run(ctx context.Context, args []string) int {
	module, version := build()
	if c.plug.Version == "" {
		c.plug.Version = version
	}
	o, err := c.parse(args)
	switch {
	case err != nil:
		c.printf(c.stderr, "%s: %v; see --help\n", c.plug.Program, err)
		return exitUsage
	case o.help:
		c.help()
		return exitOK
	case o.version:
		c.printf(c.stdout, "%s %s (%s)\n", c.plug.Program, c.plug.Version, module)
		return exitOK
	case o.describe:
		return c.describe(o)
	case o.replace != 0:
		return c.replace(o)
	}
	path, ok := c.socket(o)
	if !ok {
		return exitUsage
	}
	return c.serve(ctx, o, path)
}

func (c *command) parse(args []string) (options, error) {
	o := options{level: hclog.Info}
	f := flag.NewFlagSet(c.plug.Program, flag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.StringVar(&o.socket, "socket", "", "")
	f.StringVar(&o.name, "name", "", "")
	f.BoolVar(&o.json, "log-json", false, "")
	f.BoolVar(&o.noHandoff, "no-handoff", false, "")
	f.BoolVar(&o.takeover, "takeover", false, "")
	f.IntVar(&o.readyFD, "ready-fd", 0, "")
	f.BoolVar(&o.version, "version", false, "")
	f.Func("log-level", "", func(s string) error {
		if o.level = hclog.LevelFromString(s); o.level == hclog.NoLevel {
			return errors.New("expected trace, debug, info, warn, error or off")
		}
		return nil
	})
	for _, own := range c.extra.Options {
		f.Func(own.Name, "", own.Set)
	}
	err := f.Parse(args)
	switch { // flags may stand on either side
	case err != nil:
	case f.Arg(0) == "describe":
		o.describe = true
		err = f.Parse(f.Args()[1:])
	case f.Arg(0) == "replace":
		if o.replace, err = strconv.Atoi(f.Arg(1)); err != nil || o.replace <= 0 {
			return o, errors.New("replace: expected the number of a process")
		}
		err = f.Parse(f.Args()[2:])
	}
	switch {
	case errors.Is(err, flag.ErrHelp):
		o.help = true
		return o, nil
	case err != nil:
		return o, err
	case f.NArg() > 0:
		return o, fmt.Errorf("unknown argument %q", f.Arg(0))
	}
	return o, nil
}

// describe prints what the plug would tell a core, for the launcher and people.
func (c *command) describe(o options) int {
	h, err := c.plug.Hello(o.name)
	if err != nil {
		c.printf(c.stderr, "%s: %v\n", c.plug.Program, err)
		return exitFail
	}
	e := json.NewEncoder(c.stdout)
	e.SetIndent("", "  ")
	if err := e.Encode(h); err != nil {
		c.printf(c.stderr, "%s: print the description: %v\n", c.plug.Program, err)
		return exitFail
	}
	return exitOK
}

// replace starts a successor of a process of this program.
func (c *command) replace(o options) int {
	next, err := successor.Replace(c.plug.Program, o.replace)
	if err != nil {
		c.printf(c.stderr, "%s: process %d is not replaced: %v\n", c.plug.Program, o.replace, err)
		return exitFail
	}
	c.printf(c.stderr, "%s: process %d takes over from process %d\n", c.plug.Program, next, o.replace)
	return exitOK
}

// socket is the path of the core's socket: as given, or the only one there is.
// Else it says what this program is and how to attach it.
func (c *command) socket(o options) (path string, ok bool) {
	if o.socket != "" {
		return o.socket, true
	}
	if path := c.getenv(wire.SocketEnv); path != "" {
		return path, true
	}
	found := c.find(socket.PlugName)
	if len(found) == 1 {
		return found[0], true
	}
	var kinds []string
	for _, k := range c.plug.Kinds {
		kinds = append(kinds, k.Kind)
	}
	c.printf(c.stderr, "%s is a plug: attached to a receptor-core, it gives it %s.\n", c.plug.Program, strings.Join(kinds, ", "))
	if len(found) == 0 {
		c.printf(c.stderr, "No core's socket is to be seen here. Name it, with --socket PATH or %s, and the plug\n"+
			"waits for its core; or let receptor start core and plugs.\n", wire.SocketEnv)
	} else {
		c.printf(c.stderr, "Several cores are here. Choose one with --socket PATH or %s:\n  %s\n", wire.SocketEnv, strings.Join(found, "\n  "))
	}
	return "", false
}

// printf writes to the user, who is gone if that fails.
func (c *command) printf(w io.Writer, format string, args ...any) {
	_, _ = fmt.Fprintf(w, format, args...)
}

func (c *command) serve(ctx context.Context, o options, path string) int {
	log := hclog.New(&hclog.LoggerOptions{
		Name:       strings.TrimPrefix(c.plug.Program, "receptor-"),
		Level:      o.level,
		Output:     c.stderr,
		JSONFormat: o.json,
	})
	if c.extra.Start != nil {
		if err := c.extra.Start(log, path); err != nil {
			log.Error("cannot run", "error", err)
			return exitUsage
		}
	}
	m := manager{path: c.getenv("NOTIFY_SOCKET"), log: log, leave: c.leave, readyFD: o.readyFD}
	log.Info("starting", "version", c.plug.Version, "socket", path)
	m.say("READY=1\nSTATUS=waiting for the core at " + path)
	err := plug.Run(ctx, c.plug, plug.Options{
		Name:      o.name,
		Logger:    log,
		NoHandoff: o.noHandoff,
		Takeover:  o.takeover,
		Leave:     c.leave,
		Dial:      func(ctx context.Context) (net.Conn, error) { return socket.Dial(ctx, path) },
		OnAttach: func(node string) {
			if node == "" {
				m.say("STATUS=waiting for the core at " + path)
				return
			}
			m.attached(node)
		},
	})
	m.say("STOPPING=1")
	if err != nil {
		log.Error("cannot run", "error", err)
		return exitFail
	}
	log.Info("stopped")
	return exitOK
}

// manager is the service manager, if there is one. It hears of this process only while
// that is its service: not before it has taken over, nor once it is to leave.
type manager struct {
	path    string // of its socket; empty: there is none
	log     hclog.Logger
	leave   <-chan struct{}
	readyFD int // where whoever has started a successor waits; 0: nobody does
}

// say tells it a state.
func (m *manager) say(state string) {
	select {
	case <-m.leave:
		return
	default:
	}
	if m.readyFD != 0 {
		return
	}
	if err := successor.Notify(m.path, state); err != nil {
		m.log.Warn("cannot tell the service manager", "error", err)
	}
}

// attached tells it, or whoever has started a successor, of a core.
func (m *manager) attached(node string) {
	if m.readyFD == 0 {
		m.say("STATUS=attached to node " + node)
		return
	}
	if err := successor.Ready(m.readyFD, node); err != nil {
		m.log.Warn("cannot tell who has started this process", "error", err)
	}
	m.readyFD = 0
}

// build is the main module and its version.
func build() (module, version string) {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown module", "(unknown)"
	}
	return info.Main.Path, info.Main.Version
}
