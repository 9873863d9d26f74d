// Package launcher runs a whole node from one command line or file: it finds
// the installed plugs, checks the configuration against what they describe,
// starts the core and just the plugs that are needed, and keeps them running.
//
// It holds nothing of the node: killing it leaves core and plugs at work.
package launcher

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/project-receptor/receptor/cmd/internal/buildinfo"
	"github.com/project-receptor/receptor/cmd/internal/certs"
	"github.com/project-receptor/receptor/cmd/internal/config"
)

// Launcher is the program receptor. The zero values of its fields but Stdout
// and Stderr are usable.
type Launcher struct {
	Dirs   []string  // where programs are; nil: Dirs()
	Stdin  io.Reader // for answers; nil: none come
	Stdout io.Writer // for help and version
	Stderr *os.File  // for mistakes and logs, the children's too

	// DescribeTimeout is how long an installed plug that is not needed may hold
	// things up. 0: 1 s.
	DescribeTimeout time.Duration

	// StopTimeout is how long plugs and core together may take to end before
	// they are killed. 0: 10 s.
	StopTimeout time.Duration
}

// stopTimeout is long enough to end streams in order, and short enough for
// whoever waits at a prompt.
const stopTimeout = 10 * time.Second

// Exit statuses.
const (
	statusOK      = 0
	statusFailure = 1
	statusUsage   = 2 // wrong configuration, or the node runs already
)

// Main runs the program with a command line until a signal ends it, and
// returns the exit status. A second signal ends it at once.
func (l *Launcher) Main(args []string) int {
	ignorePipes()
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(signals)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	hurry := make(chan struct{})
	go func() { // ends with the process
		<-signals
		cancel()
		<-signals
		close(hurry)
	}()
	return l.Run(ctx, hurry, args)
}

// Run is Main with the signals as a context and a channel: ctx done ends the
// node in order, hurry closed ends it at once.
func (l *Launcher) Run(ctx context.Context, hurry <-chan struct{}, args []string) int {
	if l.Dirs == nil {
		l.Dirs = Dirs()
	}
	if l.DescribeTimeout == 0 {
		l.DescribeTimeout = describeTimeout
	}
	if l.StopTimeout == 0 {
		l.StopTimeout = stopTimeout
	}
	line, err := config.Parse(args, options()...)
	as, asErr := identify(line.Get("user"))
	if len(args) == 0 || line.Has("help") || line.Has("h") {
		return l.help(ctx, line.Get("help"), as)
	}
	if certs.Any(line.Items) {
		return l.makeCerts(ctx, line, err)
	}
	core, items, splitErr := config.Split(line.Items)
	if core.Version && err == nil && splitErr == nil {
		return l.print(buildinfo.Line("receptor"))
	}
	catalog := Discover(ctx, l.Dirs, l.DescribeTimeout, as)
	if !catalog.Complete(items) {
		catalog.Retry(ctx)
	}
	plugs, checkErr := catalog.Check(items)
	if path := line.Get("socket"); path != "" {
		var absErr error
		core.Plugs.Socket, absErr = filepath.Abs(path)
		err = errors.Join(err, absErr)
	}
	if err := errors.Join(err, asErr, splitErr, checkErr, as.checkItems(catalog, line.Items, core.Control)); err != nil {
		return l.fail(ctx, statusUsage, err)
	}
	if line.Has("check") {
		return statusOK
	}
	program, err := findCore(l.Dirs)
	if err != nil {
		return l.fail(ctx, statusFailure, err)
	}
	node := node{config: core, core: program, plugs: plugs, as: as, json: line.Has("log-json")}
	var digestErr error
	node.items, err = config.Encode(line.Items)
	node.digest, digestErr = config.Digest(line.Items)
	if err := errors.Join(err, digestErr); err != nil {
		return l.fail(ctx, statusFailure, err)
	}
	return l.launch(ctx, hurry, &node)
}

// makeCerts does the actions of a command line that names some. err is what is
// wrong with it already. A key cannot be made halfway, nor a read given up: if ctx
// ends, the goroutine does with the process.
func (l *Launcher) makeCerts(ctx context.Context, line *config.CommandLine, err error) int {
	actions, checkErr := certs.Parse(line.Items)
	if err := errors.Join(err, checkErr); err != nil {
		return l.fail(ctx, statusUsage, err)
	}
	if line.Has("check") {
		return statusOK
	}
	env := certs.Env{Stdin: l.Stdin, Stdout: l.Stdout, Now: time.Now()}
	if env.Stdin == nil {
		env.Stdin = strings.NewReader("")
	}
	done := make(chan error, 1)
	go func() {
		for _, a := range actions {
			if err := a.Run(env); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	select {
	case err := <-done:
		if err != nil {
			fmt.Fprintln(l.Stderr, err) // nobody to tell
			return statusFailure
		}
		return statusOK
	case <-ctx.Done():
		return statusFailure
	}
}

// options are the launcher's own flags.
func options() []config.Option {
	return []config.Option{
		{Name: "help", Optional: true},
		{Name: "h"},
		{Name: "socket", Value: true},
		{Name: "user", Value: true},
		{Name: "log-json"},
		{Name: "check"},
		{Name: "config-v2"}, // the form of a file shows by itself
	}
}

func (l *Launcher) print(text string) int {
	if _, err := io.WriteString(l.Stdout, text); err != nil {
		return statusFailure
	}
	return statusOK
}

// fail prints what is wrong. Nothing is wrong if somebody stopped us meanwhile.
func (l *Launcher) fail(ctx context.Context, status int, err error) int {
	if ctx.Err() != nil {
		return statusOK
	}
	fmt.Fprintln(l.Stderr, err) // nobody to tell
	return status
}

// node is what is to run.
type node struct {
	config config.Core
	items  []byte // all of them, encoded
	digest string // of the items
	core   Program
	plugs  []*Plug
	as     *identity // whom core and plugs run as; nil: whoever runs this
	json   bool      // logs
}

// launch starts core and plugs, or finds them at work, and keeps them running
// until ctx is done.
func (l *Launcher) launch(ctx context.Context, hurry <-chan struct{}, n *node) int {
	log := hclog.New(&hclog.LoggerOptions{Name: "receptor", Level: n.config.LogLevel, JSONFormat: n.json, Output: l.Stderr})
	there, err := n.adopt(ctx)
	if err != nil {
		return l.fail(ctx, statusUsage, err)
	}
	if there == nil {
		if err := n.as.prepare(n); err != nil {
			return l.fail(ctx, statusUsage, err)
		}
	}
	if n.as != nil {
		log.Info("core and plugs run as a user of their own; --user root keeps them root", "user", n.as.name)
	}
	core, plugs := newCrew(log, l.Stderr), newCrew(log, l.Stderr)
	gaveUp, ready := make(chan error, 1), make(chan struct{}, 1)
	c := &child{Program: n.core, args: n.coreArgs(), stdin: n.items, giveUp: statusUsage, as: n.as}
	if canInherit {
		c.args = append(c.args, "--ready-fd", strconv.Itoa(readyFD))
		c.ready = func() {
			select {
			case ready <- struct{}{}:
			default: // told, and not heard yet
			}
		}
	} else {
		ready <- struct{}{} // plugs wait for their core by themselves
	}
	// Not before the core is ready: another one may be on that socket.
	startPlugs := sync.OnceFunc(func() {
		for _, p := range n.plugs {
			c := &child{Program: p.Program, args: n.plugArgs(), as: n.as, netAdmin: p.Name == tunHelper, running: there.plug(p.Name)}
			plugs.start(c, func(error) {})
		}
	})
	var watch *observer
	if there != nil {
		log.Info("node runs already; attached to it", "node", n.config.NodeID, "pid", there.core.Pid)
		c.running, watch = there.core, there.observer
		startPlugs()
	}
	core.start(c, func(err error) { gaveUp <- err })

	status := statusOK
	for running := true; running; {
		select {
		case <-ready: // for the first time, or again
			startPlugs()
			watch.close()
			watch = n.watch(ctx, log)
		case <-ctx.Done():
			log.Info("stopping")
			running = false
		case err := <-gaveUp:
			log.Debug("stopping", "why", err) // the core has said why
			status, running = statusUsage, false
		}
	}
	// Plugs first: what they carry ends in order while there is a core to carry it.
	plugs.stop(l.StopTimeout/2, hurry)
	watch.close()
	core.stop(l.StopTimeout/2, hurry)
	return status
}

// watch attaches to the core that was started, so that no other launcher takes
// the node for one that nobody looks after. It returns nil where that fails: the
// node is none the worse for it.
func (n *node) watch(ctx context.Context, log hclog.Logger) *observer {
	if !canHold {
		return nil // nor could another
	}
	o, err := observe(ctx, n.config.PlugSocket())
	if err != nil && ctx.Err() == nil {
		log.Info("cannot attach to the core", "error", err)
	}
	return o
}

func (n *node) coreArgs() []string {
	args := []string{"--items-fd", "0"}
	if n.json {
		args = append(args, "--log-json")
	}
	return append(args, "--socket", n.config.PlugSocket())
}

func (n *node) plugArgs() []string {
	args := []string{"--socket", n.config.PlugSocket(), "--log-level", strings.ToLower(n.config.LogLevel.String())}
	if n.json {
		args = append(args, "--log-json")
	}
	return args
}
