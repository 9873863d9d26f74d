package ctl

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
)

// errUnanswered makes the exit code of a ping with a failed reply.
var errUnanswered = errors.New("not all pings were answered")

// reply is what came of one ping, or of one hop of a traceroute. Its JSON is that
// of the events of our own form.
type reply struct {
	Seq    int        `json:"seq,omitempty"`
	Hop    *int       `json:"hop,omitempty"`
	From   string     `json:"from,omitempty"`
	TimeNS int64      `json:"time_ns,omitempty"`
	Time   string     `json:"time,omitempty"`
	Error  *replyFail `json:"error,omitempty"`
}

type replyFail struct {
	Code string `json:"code,omitempty"`
	Msg  string `json:"msg"`
}

// legacyReply is the same in a legacy answer.
type legacyReply struct {
	From, TimeStr, Error string
	Time                 int64
}

func (l legacyReply) reply() reply {
	r := reply{From: l.From, TimeNS: l.Time, Time: l.TimeStr}
	if l.Error != "" {
		r.Error = &replyFail{Msg: l.Error}
	}
	return r
}

func (a *app) pingCommand() *cobra.Command {
	var count int
	var delay float64
	cmd := &cobra.Command{
		Use:   "ping NODE",
		Short: "Ping a node",
		Long: `Ping a node and print who answered, and when.

With --json each reply is one line of JSON. Exit code 2 means that at least one
ping was not answered.`,
		Args: params("node"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if count < 0 || delay < 0 || delay > 1e6 {
				return usagef("--count and --delay may not be negative, nor endless")
			}
			return a.ping(cmd.Context(), args[0], count, time.Duration(delay*float64(time.Second)))
		},
	}
	cmd.Flags().IntVar(&count, "count", 4, "how many pings")
	cmd.Flags().Float64Var(&delay, "delay", 1, "seconds between two pings")
	return cmd
}

func (a *app) ping(ctx context.Context, node string, count int, delay time.Duration) error {
	c, err := a.dial(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	var failed error
	for seq := 1; seq <= count; seq++ {
		if seq > 1 {
			if err := pause(ctx, delay); err != nil {
				return errors.Join(err, failed)
			}
		}
		r, err := pingOnce(c, node)
		if err != nil {
			return err
		}
		r.Seq = seq
		if r.Error != nil {
			failed = errUnanswered
		}
		if err := a.printPing(r); err != nil {
			return err
		}
	}
	return failed
}

// pingOnce pings in our own form, or in the legacy one.
func pingOnce(c *Client, node string) (r reply, err error) {
	_, err = c.Call("ping", map[string]any{"node": node}, func(event json.RawMessage) error {
		return json.Unmarshal(event, &r)
	})
	if !errors.Is(err, errLegacy) {
		return r, err
	}
	line, err := c.Plain("ping " + node)
	if err != nil {
		return r, err
	}
	var l legacyReply
	if err := json.Unmarshal([]byte(line), &l); err != nil {
		return r, fmt.Errorf("read answer: %w", err)
	}
	return l.reply(), nil
}

func (a *app) printPing(r reply) error {
	switch {
	case a.json:
		return writeJSONLine(a.Stdout, r)
	case r.Error == nil:
		_, err := fmt.Fprintf(a.Stdout, "Reply from %s in %s\n", printable(r.From), printable(r.Time))
		return err
	case r.From != "" && r.Time != "":
		a.error(fmt.Sprintf("%s from %s in %s", r.Error.Msg, r.From, r.Time))
	default:
		a.error(r.Error.Msg)
	}
	return nil
}

// pause waits, unless ctx is done.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
