// The receptor-plugcheck program tells whether a plug, in whatever language,
// keeps to the plug protocol: it plays the core and the medium to it, and
// prints a line for each rule.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/project-receptor/receptor/plug/plugtest/check"
	"github.com/project-receptor/receptor/plug/wire"
)

// The exit statuses.
const (
	exitOK    = 0 // no check has failed
	exitFail  = 1
	exitUsage = 2
)

const usage = `Usage: receptor-plugcheck link|stream|worker|packet --exec PROGRAM [options]
       receptor-plugcheck link|stream|worker|packet --list

Runs the plug PROGRAM once for each check, plays the core to it (and the medium:
TCP or UDP on loopback, or whoever submits work), and prints a line for each: "ok
ID", "FAIL ID: what was expected, and what came", or "skip ID: why". Lines with
"(hand-off)" are of a core that takes sockets.

Options:
  --exec PROGRAM         the plug, with its arguments if it needs some; it gets
                         --socket PATH and ` + wire.SocketEnv + `
  --medium MEDIUM        what carries the links: tcp, which is the default; udp, a datagram is a
                         message; ws, a WebSocket message is. none: another, such as a terminal or
                         a network interface; checks that need its other end are skipped
  --listen-kind KIND     items that listen; default: the first kind of the role with direction in
  --listen-param N=V     a parameter of these; may be given several times
  --dial-kind KIND       items that connect; default: the first kind of the role with direction out
  --dial-param N=V       a parameter of these; may be given several times
  --work-kind KIND       items that work; default: the first kind of the role worker
  --work-param N=V       a parameter of these; may be given several times
  --work-type TYPE       the type of work that they offer; default: the first
  --quick TEXT           payload of a unit that ends by itself, with exit code 0;
                         default: "receptor-plugcheck" and a newline
  --quick-output TEXT    what that writes to stdout; default: it does not matter
  --fails TEXT           payload of a unit that ends by itself, with --fails-code N
  --long TEXT            payload of a unit that runs until it is stopped; checks
                         that need --fails or --long are skipped without
  --long-output TEXT     what that writes to stdout at first
  --long-unit-param N=V  a parameter of that unit; likewise --quick-unit-param and
                         --fails-unit-param. In texts \n is a new line
  --handoff              only with hand-off: the core grants fdpass, and takes sockets
  --no-handoff           only with all bytes relayed; default: both, one after the other
  --run PATTERN          only these IDs: link/relay-bytes, link, link/end-*
  --timeout DURATION     of each check; default 30s
  --parallel N           run N checks at once; default 1. Not with fixed addresses in V
  --json                 one JSON object a line
  --verbose              pass on what the plug writes
  --list                 print the IDs and what they mean
  --version              print the version
  --help                 print this

In V, @PORT@ and @ADDR@ are the port and the host:port of the medium, @NODE@ and
@SERVICE@ a mesh address, @DIR@ a directory of the item's own, which is not there
yet. Required parameters that are not given get these by their types (port, address,
node, service, path), and bindaddr gets 127.0.0.1.

Exit status: 0 if no check has failed, 1 if one has, 2 for a bad command line.
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr)) //nolint:gocritic // the process ends: nothing is left to stop
}

// command is the command line.
type command struct {
	check.Options
	exec                          string
	handoff, relay                bool
	json, verbose, list, ver, man bool
}

// printf writes to the user, who is gone if that fails.
func printf(w io.Writer, format string, args ...any) { _, _ = fmt.Fprintf(w, format, args...) }

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	c, err := parse(args)
	switch {
	case err != nil:
		printf(stderr, "receptor-plugcheck: %v; see --help\n", err)
		return exitUsage
	case c.man:
		printf(stdout, "%s", usage)
		return exitOK
	case c.ver:
		module, version := "unknown module", "(unknown)"
		if info, ok := debug.ReadBuildInfo(); ok {
			module, version = info.Main.Path, info.Main.Version
		}
		printf(stdout, "receptor-plugcheck %s (%s)\n", version, module)
		return exitOK
	case c.list:
		told := map[string]bool{} // of what is checked with and without hand-off once
		for _, k := range check.Checks(c.Role, c.Mode, c.Pattern) {
			if !told[k.ID] && (!k.PlaysMedium || c.Medium != check.MediumNone) {
				told[k.ID] = true
				printf(stdout, "%-32s %s\n", k.ID, k.About)
			}
		}
		return exitOK
	}
	p := program{args: strings.Fields(c.exec), output: io.Discard}
	if c.verbose {
		p.output = stderr
	}
	c.Start, c.Describe = p.start, p.describe
	good := check.Run(ctx, c.Options, func(r check.Result) {
		if !c.json {
			printf(stdout, "%s\n", r)
			return
		}
		b, err := json.Marshal(r)
		if err != nil {
			printf(stderr, "receptor-plugcheck: print a result: %v\n", err)
			return
		}
		printf(stdout, "%s\n", b)
	})
	if !good {
		return exitFail
	}
	return exitOK
}

func parse(args []string) (command, error) {
	c := command{Options: check.Options{
		Listen: check.Item{Params: map[string]any{}},
		Dial:   check.Item{Params: map[string]any{}},
		Work:   check.Work{Item: check.Item{Params: map[string]any{}}},
	}}
	f := flag.NewFlagSet("receptor-plugcheck", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.StringVar(&c.exec, "exec", "", "")
	f.StringVar(&c.Medium, "medium", check.MediumTCP, "")
	f.StringVar(&c.Listen.Kind, "listen-kind", "", "")
	f.StringVar(&c.Dial.Kind, "dial-kind", "", "")
	f.Func("listen-param", "", setParam(c.Listen.Params))
	f.Func("dial-param", "", setParam(c.Dial.Params))
	f.StringVar(&c.Work.Kind, "work-kind", "", "")
	f.Func("work-param", "", setParam(c.Work.Params))
	f.StringVar(&c.Work.Type, "work-type", "", "")
	c.Work.Quick.Payload = "receptor-plugcheck\n"
	for name, u := range map[string]*check.Unit{"quick": &c.Work.Quick, "fails": &c.Work.Fails, "long": &c.Work.Long} {
		u.Params = map[string]string{}
		f.Func(name, "", setText(&u.Payload))
		f.Func(name+"-output", "", setText(&u.Output))
		f.Func(name+"-unit-param", "", eachParam(func(name, value string) { u.Params[name] = value }))
	}
	f.IntVar(&c.Work.Fails.Code, "fails-code", 1, "")
	f.StringVar(&c.Pattern, "run", "", "")
	f.BoolVar(&c.handoff, "handoff", false, "")
	f.BoolVar(&c.relay, "no-handoff", false, "")
	f.DurationVar(&c.Timeout, "timeout", check.DefaultTimeout, "")
	f.IntVar(&c.Parallel, "parallel", 1, "")
	f.BoolVar(&c.json, "json", false, "")
	f.BoolVar(&c.verbose, "verbose", false, "")
	f.BoolVar(&c.list, "list", false, "")
	f.BoolVar(&c.ver, "version", false, "")
	err := f.Parse(args)
	if err == nil && f.NArg() > 0 { // flags may stand on either side of the role
		c.Role = f.Arg(0)
		err = f.Parse(f.Args()[1:])
	}
	switch {
	case c.handoff:
		c.Mode = check.Handoff
	case c.relay:
		c.Mode = check.Relay
	}
	switch {
	case errors.Is(err, flag.ErrHelp):
		c.man = true
		return c, nil
	case err != nil:
		return c, err
	case c.ver:
		return c, nil
	case f.NArg() > 0:
		return c, fmt.Errorf("unknown argument %q", f.Arg(0))
	case !slices.Contains([]string{wire.RoleLink, wire.RoleStream, wire.RoleWorker, wire.RolePacket}, c.Role):
		return c, fmt.Errorf("role: expected link, stream, worker or packet, got %q", c.Role)
	case !slices.Contains(media(c.Role), c.Medium):
		return c, fmt.Errorf("--medium: expected %s, got %q", strings.Join(media(c.Role), " or "), c.Medium)
	case c.handoff && c.relay:
		return c, errors.New("--handoff and --no-handoff: expected one of them at most")
	case len(check.Checks(c.Role, c.Mode, c.Pattern)) == 0:
		return c, fmt.Errorf("--run %s names no check of role %s", c.Pattern, c.Role)
	case !c.list && strings.TrimSpace(c.exec) == "":
		return c, errors.New("--exec: expected a program")
	case c.Timeout < time.Second:
		return c, fmt.Errorf("--timeout: expected at least 1s, got %v", c.Timeout)
	}
	return c, nil
}

// media are those of a role.
func media(role string) []string {
	switch role {
	case wire.RoleLink:
		return []string{check.MediumTCP, check.MediumUDP, check.MediumWS, check.MediumNone}
	case wire.RoleWorker:
		return []string{check.MediumTCP}
	default:
		return []string{check.MediumTCP, check.MediumNone}
	}
}

// setParam files name=value in params.
func setParam(params map[string]any) func(string) error {
	return eachParam(func(name, value string) { params[name] = value })
}

// eachParam takes NAME=VALUE.
func eachParam(set func(name, value string)) func(string) error {
	return func(text string) error {
		name, value, ok := strings.Cut(text, "=")
		if !ok || name == "" {
			return fmt.Errorf("expected NAME=VALUE, got %q", text)
		}
		set(name, value)
		return nil
	}
}

// setText sets a text in which \n is a new line.
func setText(to *string) func(string) error {
	return func(text string) error {
		*to = strings.ReplaceAll(text, `\n`, "\n")
		return nil
	}
}
