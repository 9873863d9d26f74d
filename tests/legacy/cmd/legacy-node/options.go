package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/project-receptor/receptor/tests/legacy"
)

// options is the command line.
type options struct {
	config  legacy.Config
	types   map[string]legacy.Worker
	link    legacy.LinkConfig
	actions []func(n *legacy.Node) error // in the order of the flags
	trace   string
	report  time.Duration
}

// parse reads the command line. What is wrong with it goes to standard error.
func parse(args []string) (*options, error) {
	o := &options{link: legacy.LinkConfig{NodeCost: map[string]float64{}}, types: map[string]legacy.Worker{}}
	f := flag.NewFlagSet("legacy-node", flag.ContinueOnError)
	f.StringVar(&o.config.ID, "id", "", "node `ID`")
	f.DurationVar(&o.config.MaxIdle, "max-idle", 0, "idle time of links; 0 means 21s")
	f.Float64Var(&o.config.RedialPace, "redial-pace", 1, "`factor` of the pauses between dials")
	f.Float64Var(&o.link.Cost, "cost", 1, "cost of all links")
	f.StringVar(&o.trace, "trace", "", "`file` for a transcript of all links, at the end")
	f.DurationVar(&o.report, "report", 0, "how often to print the number of goroutines")
	f.Func("node-cost", "`ID=cost` of links to a node; may be repeated", func(s string) error {
		id, text, _ := strings.Cut(s, "=")
		cost, err := strconv.ParseFloat(text, 64)
		o.link.NodeCost[id] = cost
		return err
	})
	f.Func("allowed-peer", "`ID` of a node that links are kept with; may be repeated", func(s string) error {
		o.link.AllowedPeers = append(o.link.AllowedPeers, s)
		return nil
	})
	f.Func("firewall", "a rule: `action=...,fromnode=...`, also tonode, fromservice, toservice; may be repeated", o.firewall)
	f.Func("work-command", "`type=command`, a type of work and the program that runs its units, with arguments; may be repeated", func(s string) error {
		name, command, _ := strings.Cut(s, "=")
		words := strings.Fields(command)
		if name == "" || len(words) == 0 {
			return errors.New("expected type=command")
		}
		o.types[name] = program(words)
		return nil
	})
	for _, a := range []struct {
		name, usage string
		do          func(n *legacy.Node, value string) error
	}{
		{"tcp-listener", "`address` to accept links on", func(n *legacy.Node, s string) error { return only(n.ListenTCP(s, o.link, nil)) }},
		{"tcp-peer", "`address` to make a link to", func(n *legacy.Node, s string) error { return only(n.DialTCP(s, o.link, nil, true), nil) }},
		{"udp-listener", "`address` to accept links on", func(n *legacy.Node, s string) error { return only(n.ListenUDP(s, o.link)) }},
		{"udp-peer", "`address` to make a link to", func(n *legacy.Node, s string) error { return only(n.DialUDP(s, o.link, true), nil) }},
		{"ws-listener", "`address` to accept links on", func(n *legacy.Node, s string) error { return only(n.ListenWebSocket(s, "", o.link, nil)) }},
		{"ws-peer", "`URL` to make a link to", func(n *legacy.Node, s string) error { return only(n.DialWebSocket(s, nil, o.link, nil, true)) }},
		{"control-service", "`service` for the control conversation", func(n *legacy.Node, s string) error {
			_, err := n.ServeControl(s, nil)
			return err
		}},
		{"control-socket", "Unix socket `file` for the control conversation", func(n *legacy.Node, s string) error { return n.ServeControlSocket(s, 0o600) }},
		{"echo", "`service` that sends back what it gets", echo},
	} {
		f.Func(a.name, a.usage+"; may be repeated", func(s string) error {
			o.actions = append(o.actions, func(n *legacy.Node) error {
				if err := a.do(n, s); err != nil {
					return fmt.Errorf("-%s %s: %w", a.name, s, err)
				}
				return nil
			})
			return nil
		})
	}
	if err := f.Parse(args); err != nil {
		return nil, err
	}
	if f.NArg() > 0 {
		return nil, fmt.Errorf("unexpected %q: all is said by flags", f.Arg(0))
	}
	return o, nil
}

// only is the error of those who return a backend besides.
func only(_ *legacy.Backend, err error) error { return err }

func (o *options) firewall(s string) error {
	var r legacy.Rule
	for part := range strings.SplitSeq(s, ",") {
		key, value, _ := strings.Cut(part, "=")
		field := map[string]*string{
			"action": &r.Action, "fromnode": &r.FromNode, "tonode": &r.ToNode,
			"fromservice": &r.FromService, "toservice": &r.ToService,
		}[strings.ToLower(key)]
		if field == nil {
			return errors.New("expected action, fromnode, tonode, fromservice or toservice, got " + strconv.Quote(key))
		}
		*field = value
	}
	o.config.Firewall = append(o.config.Firewall, r)
	return nil
}

// build gives the node what the flags say.
func (o *options) build(n *legacy.Node) error {
	for _, do := range o.actions {
		if err := do(n); err != nil {
			return err
		}
	}
	return nil
}

// echo serves streams that get back what they send, and their end.
func echo(n *legacy.Node, serviceName string) error {
	l, err := n.Listen(serviceName, nil)
	if err != nil {
		return err
	}
	l.Advertise(legacy.ConnStream, map[string]string{"type": "Echo"}, nil)
	l.Serve(legacy.Echo)
	return nil
}

// program runs units with a command. Its last arguments are their parameters.
func program(words []string) legacy.Worker {
	return func(ctx context.Context, params string, stdin []byte, stdout io.Writer) error {
		c := exec.CommandContext(ctx, words[0], append(words[1:len(words):len(words)], strings.Fields(params)...)...)
		c.Stdin, c.Stdout, c.Stderr = bytes.NewReader(stdin), stdout, stdout
		return c.Run()
	}
}
